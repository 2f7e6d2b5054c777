"""Where the app keeps things: one folder in the user's home, and the cache. Imports neither torch nor Qt."""

from __future__ import annotations

import os
from pathlib import Path

from trainer.user_folders import user_cache_folder


def home() -> Path:
    """The app's folder: `LoRA Atelier` in the user's home, or what LORA_ATELIER_HOME says. It need not exist."""
    given = os.environ.get("LORA_ATELIER_HOME", "")
    return Path(given).expanduser().absolute() if given else Path.home() / "LoRA Atelier"


def projects() -> Path:
    """One folder a project, each with a project.toml and the history of its caption edits."""
    return home() / "projects"


def runs() -> Path:
    """Where the app makes run folders."""
    return home() / "runs"


def exports() -> Path:
    """Where LoRA files for other programs go, unless the user chooses another folder."""
    return home() / "loras"


def thumbnails() -> Path:
    """Small pictures, which can be thrown away at any time."""
    if os.environ.get("LORA_ATELIER_HOME"):
        return home() / "cache" / "thumbnails"
    return user_cache_folder() / "thumbnails"
