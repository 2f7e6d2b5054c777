"""Changes to files that can be taken back: a journal is written first, and what goes away is kept. Imports no torch.

DATA FOLDER/.lora-atelier/undo/20261124-101530-1/
journal.json     {"version", "label", "state", "changes": [{"path", "to"} | {"path", "before", "after"}]}
files/...        what was set aside

The state is "begun", then "done", then "undone". Whatever moment a crash comes at, each file is as before or as after its
change, and `undo` puts back what was changed. Scans pass over folders whose names begin with a dot.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.errors import DataError, os_message
from trainer.run_folder import put, write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

HOME = Path(".lora-atelier", "undo")
JOURNAL, FILES = "journal.json", "files"
VERSION = 1


@dataclass(frozen=True)
class Move:
    """A file gets another name. to: None sets it aside, into the undo folder."""

    path: Path
    to: Path | None = None


@dataclass(frozen=True)
class Write:
    """A small file gets other bytes. before: as they were, None when it is new."""

    path: Path
    before: bytes | None
    after: bytes | None


Change = Move | Write


class _ChangedMeanwhile(Exception):
    """A file is neither as before nor as after its change."""


@dataclass(frozen=True)
class Step:
    """Changes that are taken back together. is_done: False for one that a crash has cut off."""

    id: str
    label: str
    is_done: bool


@dataclass(frozen=True)
class Outcome:
    """What came of it. changed: how many files; problems: a sentence for each that is as it was."""

    id: str
    changed: int
    problems: tuple[str, ...] = ()


def steps(root: Path) -> list[Step]:
    """What can be taken back in a data set's folder, the last first."""
    out = []
    for folder in sorted((root / HOME).glob("*/"), key=lambda p: p.name, reverse=True):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            journal = _read(folder)
            if journal["state"] != "undone":
                out.append(Step(folder.name, str(journal["label"]), journal["state"] == "done"))
    return out


def carry_out(root: Path, label: str, changes: Sequence[Change]) -> Outcome:
    """Makes the changes; one that fails does not stop the others, and no file that exists is ever written over by another.

    Raises:
        DataError: nothing can be kept in the folder, so that nothing was changed.
    """
    try:
        folder = _new_folder(root)
        aside = {c: folder / FILES / f"{n:05d}" / c.path.name for n, c in enumerate(changes) if isinstance(c, Move)}
        whole = [Move(c.path, c.to or aside[c]) if isinstance(c, Move) else c for c in changes]
        journal = {"version": VERSION, "label": label, "state": "begun", "changes": [_plain(c, root) for c in whole]}
        _keep(folder, journal)
    except OSError as error:
        raise DataError(os_message(f"The folder {root} cannot be mended", error)) from None
    problems = []
    for change in whole:
        try:
            _do(change)
        except OSError as error:
            problems.append(_sentence(change.path, error))
    if len(problems) == len(whole):
        _forget(folder)
    else:
        _keep(folder, journal | {"state": "done"})
    return Outcome(folder.name, len(whole) - len(problems), tuple(problems))


def undo(root: Path, step: str = "") -> Outcome:
    """Takes a step back, the last one unless named. What another program changed meanwhile stays as that left it.

    Raises:
        DataError: there is nothing to take back.
    """
    known = [s.id for s in steps(root)]
    if not known or (step and step not in known):
        raise DataError(f"There is no repair to take back in {root}.")
    folder = root / HOME / (step or known[0])
    journal = _read(folder)
    problems, is_stuck, changed = [], False, 0
    for values in reversed(journal["changes"]):
        change = _change(values, root)
        try:
            changed += _undo(change)
        except _ChangedMeanwhile as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(_sentence(change.path, error))
            is_stuck = True
    if not is_stuck:
        _keep(folder, journal | {"state": "undone"})
        _forget(folder)
    return Outcome(folder.name, changed, tuple(problems))


def _do(change: Change) -> None:
    if isinstance(change, Write):
        put(change.path, change.after)
    else:
        assert change.to is not None
        _rename(change.path, change.to)


def _undo(change: Change) -> bool:
    """Puts a file back; whether there was something to do.

    Raises:
        _ChangedMeanwhile: by another program; a sentence.
    """
    if isinstance(change, Write):
        now = change.path.read_bytes() if change.path.exists() else None
        if now == change.before:
            return False
        if now != change.after:
            raise _ChangedMeanwhile(
                f"{change.path.name} was changed by another program meanwhile; it was left as it is."
            )
        put(change.path, change.before)
        return True
    assert change.to is not None
    if not os.path.lexists(change.to):
        if os.path.lexists(change.path):
            return False
        raise _ChangedMeanwhile(f"{change.to.name} was moved away by another program meanwhile; it cannot be put back.")
    if os.path.lexists(change.path):
        raise _ChangedMeanwhile(
            f"There is another {change.path.name} now; the earlier one stays in {change.to.parent}."
        )
    _rename(change.to, change.path)
    return True


def _rename(path: Path, to: Path) -> None:
    """Moves a file, also to another disk, never over another one."""
    if os.path.lexists(to):
        raise FileExistsError(17, f"there is a file {to.name} already")
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.rename(to)
    except OSError as error:
        if error.errno != 18:  # EXDEV: another disk
            raise
        write_atomically(to, lambda p: shutil.copy2(path, p))
        path.unlink()


def _new_folder(root: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1, 10_000):
        with contextlib.suppress(FileExistsError):
            folder = root / HOME / f"{stamp}-{number:04d}"
            folder.mkdir(parents=True)
            return folder
    raise OSError(f"{root / HOME} is full")


def _keep(folder: Path, journal: dict[str, Any]) -> None:
    text = json.dumps(journal)
    write_atomically(folder / JOURNAL, lambda p: p.write_text(text, encoding="ascii"))


def _forget(folder: Path) -> None:
    """Removes a folder of which nothing is needed any more. Files that could not be put back stay, and with them the folder."""
    for parent, _, names in os.walk(folder, topdown=False):
        if Path(parent) == folder and names == [JOURNAL] and not any(p.is_dir() for p in folder.iterdir()):
            (folder / JOURNAL).unlink()
        with contextlib.suppress(OSError):
            os.rmdir(parent)


def _read(folder: Path) -> dict[str, Any]:
    journal = json.loads((folder / JOURNAL).read_bytes())
    if not isinstance(journal, dict) or journal["version"] > VERSION:
        raise ValueError(folder)
    return journal


def _plain(change: Change, root: Path) -> dict[str, Any]:
    if isinstance(change, Move):
        assert change.to is not None
        return {"path": _inside(change.path, root), "to": _inside(change.to, root)}
    return {"path": _inside(change.path, root), "before": _text(change.before), "after": _text(change.after)}


def _change(values: dict[str, Any], root: Path) -> Change:
    path = root / values["path"]
    if "to" in values:
        return Move(path, root / values["to"])
    return Write(path, _bytes(values["before"]), _bytes(values["after"]))


def _inside(path: Path, root: Path) -> str:
    """Relative to the data set's folder where it lies in it, so that undo still works when that is moved as a whole."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else os.path.abspath(path)


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


def _sentence(path: Path, error: OSError) -> str:
    return f"{path.name} was left as it is: {error.strerror or error}. It is in {path.parent}."
