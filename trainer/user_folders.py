"""Where this system keeps what can be made again, and how much room there is. Imports no torch."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def user_cache_folder() -> Path:
    """Where this system keeps caches: LORA_ATELIER_CACHE if set, else the platform's own place."""
    if given := os.environ.get("LORA_ATELIER_CACHE"):
        return Path(given)
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return root / "lora-atelier"


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there. folder: an absolute path."""
    return next(p for p in (folder, *folder.parents) if p.exists())


def free_bytes(folder: Path) -> int:
    """Room on the disk where the folder is or will be.

    Raises:
        OSError: the system does not tell.
    """
    return shutil.disk_usage(existing(folder)).free
