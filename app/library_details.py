"""What the library tells of one run or LoRA file, and throwing one away. QtCore only."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QFile

from app.texts import size, tr
from trainer import lora_description, settings_file
from trainer.errors import AtelierError, RunError
from trainer.lora_description import NOT_SAID, Description
from trainer.run_folder import RunFolder
from trainer.settings import TrainingSettings, info

if TYPE_CHECKING:
    from app.library import Entry

# State of a run: what a person reads, and its colour in app/theme.py
_STATES = {
    "finished": ("Finished", "good"), "stopped": ("Stopped", "muted"), "failed": ("Failed", "bad"), "lost": ("Cut off", "warn"),
    "starting": ("Not started", "muted"), "preparing": ("Training", "accent"), "training": ("Training", "accent"),
    "paused": ("Paused", "accent"), "stopping": ("Stopping", "accent"), "unreadable": ("Cannot be read", "bad"),
}  # fmt: skip
_HIDDEN = ("version", "name", "trigger", "base", "runs_folder", "previews", "description")


def state(entry: Entry) -> tuple[str, str]:
    """How it stands, in words, and the colour of that."""
    if entry.state in _STATES:
        word, colour = _STATES[entry.state]
        return tr(word), colour
    return tr("{method} file", method=entry.method or "LoRA"), "warn" if entry.problem else "rate"


def date(entry: Entry) -> str:
    """When it changed last: "24 Nov", with the year when that is another."""
    if not entry.changed:
        return ""
    day = datetime.datetime.fromtimestamp(entry.changed)
    return f"{day:{'%d %b' if day.year == datetime.datetime.now().year else '%d %b %Y'}}".lstrip("0")


def progress(entry: Entry) -> str:
    """How far it is: "step 120 of 300", "300 steps", or empty."""
    if not entry.step:
        return ""
    if entry.kind == "lora" or entry.step >= entry.total_steps:
        return tr("{step} steps", step=f"{entry.step:,}")
    return tr("step {step} of {total}", step=f"{entry.step:,}", total=f"{entry.total_steps:,}")


def describe(entry: Entry) -> Description:
    """Everything that is known; of a file this reads all of it for its hashes, so it belongs in a thread.

    Raises:
        AtelierError: it cannot be read; a sentence.
    """
    if entry.kind == "lora":
        found = lora_description.describe(entry.path)
        rows = {heading: [row for row in rows if row[1] != NOT_SAID] for heading, rows in found.rows.items()}
        rows["File"] = [row for row in rows["File"] if row[0] != "note"]  # the entry's problem says it
        return Description(found.title, rows, found.problem)
    try:
        values = settings_file.read_dict(entry.path / "run.toml")
    except AtelierError:
        if not entry.problem:
            raise
        values = {}
    about = [
        (tr("base model"), entry.base), (tr("length"), progress(entry)), (tr("last change"), date(entry)), (tr("size"), size(entry.size_bytes)),
        (tr("checkpoints"), ", ".join(map(str, RunFolder(entry.path).checkpoints()))), (tr("folder"), str(entry.path)),
    ]  # fmt: skip
    settings = [(info(name).label, _shown(value)) for name, value in values.items() if _tells(name, value)]
    return Description(entry.title, {tr("Run"): [row for row in about if row[1]], tr("Settings"): settings})


def throw_away(entry: Entry) -> None:
    """Moves the run folder or the file to the system's trash; never deletes.

    Raises:
        RunError: it is in use, or the system has no trash there.
    """
    if entry.kind == "run" and RunFolder(entry.path).is_held():
        raise RunError(tr("“{title}” is training. Stop it first.", title=entry.title))
    if not _move_to_trash(str(entry.path)):
        raise RunError(tr("{path} could not be moved to the trash. Delete it in your file manager.", path=entry.path))


def _move_to_trash(path: str) -> bool:
    moved = QFile.moveToTrash(path)
    return bool(moved[0] if isinstance(moved, tuple) else moved)


def _tells(name: str, value: Any) -> bool:
    """Whether a setting is worth a row: it differs from the default."""
    if name in _HIDDEN or name not in TrainingSettings.model_fields:
        return False
    usual = TrainingSettings.model_fields[name].default
    return bool(value != (list(usual) if isinstance(usual, tuple) else usual))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return tr("yes") if value else tr("no")
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
