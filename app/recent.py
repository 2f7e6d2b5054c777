"""The base models that were used last, the newest first. A small JSON file; imports neither torch nor Qt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from app import places
from trainer.run_folder import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

KEPT = 8


def bases() -> list[str]:
    """Paths of base models, the last used first; empty when none was used or the file cannot be read."""
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [p for p in found if isinstance(p, str)][:KEPT] if isinstance(found, list) else []


def add_base(base: str) -> None:
    """Puts a base model in front.

    Raises:
        OSError: the list cannot be written.
    """
    before = bases()
    if before[:1] != [base]:
        text = json.dumps([base, *(p for p in before if p != base)][:KEPT], indent=1)
        write_atomically(_path(), lambda p: p.write_text(text, encoding="utf-8"))


def _path() -> Path:
    return places.home() / "recent_bases.json"
