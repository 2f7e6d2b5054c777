"""All runs and LoRA files that the user has, found on disk from headers and the ends of files. QtCore only.

library.json in the app's folder remembers runs folders and files that lie elsewhere.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import places
from app.run_record import RunRecord
from app.texts import tr
from trainer import events, lora_file, lora_kinds, metadata_settings, settings_file
from trainer.errors import AtelierError, ModelError, os_message
from trainer.metadata import base_name
from trainer.run_folder import RunFolder, write_atomically
from trainer.settings import DEMO, TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEAD_BYTES, TAIL_BYTES = 32_768, 65_536  # of events.jsonl; the start says how long the run is, the end how it stands
_SAMPLE = re.compile(r"(\d+)_p(\d+)_s\d+\.png")


@dataclass(frozen=True)
class Entry:
    """A run or a LoRA file.

    kind: "run" or "lora". path: the run folder or the file. folder: what "open the folder" opens. changed: unix seconds.
    state: of a run, as in `run_record`; of a file "" or "unreadable". problem: why it cannot be read. run: the run a file
    came from; has_checkpoints: there are results to look at. method: of a LoRA file, e.g. "LoCon"; added: it is listed because the user added it, and can be taken off the list again.
    """

    kind: str
    title: str
    path: Path
    folder: Path
    base: str = ""
    trigger: str = ""
    changed: float = 0.0
    size_bytes: int = 0
    picture: Path | None = None
    state: str = ""
    step: int = 0
    total_steps: int = 0
    problem: str = ""
    run: Path | None = None
    added: bool = False
    has_checkpoints: bool = False
    method: str = ""

    @property
    def can_continue(self) -> bool:
        """Whether it is a run that has steps left and no worker."""
        return self.kind == "run" and self.state in ("stopped", "failed", "lost", "starting")

    @property
    def is_active(self) -> bool:
        """Whether a worker is at work on it."""
        return self.kind == "run" and self.state in ("preparing", "training", "paused", "stopping")

    def matches(self, words: str) -> bool:
        """Whether every word occurs in its title, base, trigger words or file name."""
        text = " ".join((self.title, self.base, self.trigger, self.path.name)).casefold()
        return all(word in text for word in words.casefold().split())


def scan(more_runs: Iterable[Path] = ()) -> list[Entry]:
    """Everything, the newest first. Reads many small pieces of files, so it belongs in a thread."""
    added_runs, added_files = _remembered()
    found: dict[Path, Entry] = {}
    for parent in dict.fromkeys([places.runs(), *added_runs, *more_runs]):
        for folder in _run_folders(parent):
            found.setdefault(folder, read_run(RunFolder(folder)))
    runs = [path for path, entry in found.items() if entry.kind == "run"]
    for file in (
        *_lora_files(places.exports(), "**/*"),
        *(f for run in runs for f in _lora_files(run / "export", "*")),
    ):
        found.setdefault(file, read_lora(file))
    for file in added_files:
        if file.is_file():
            found.setdefault(file, read_lora(file, added=True))
    return sorted(found.values(), key=lambda e: (-e.changed, e.title))


def read_run(folder: RunFolder) -> Entry:
    """A run, from its settings and the two ends of its events."""
    values: dict[str, Any] = {}
    problem = ""
    try:
        values = settings_file.read_dict(folder.settings_path)
        settings = settings_file.from_dict(values, where=folder.settings_path.name)
        title, base, trigger, steps = settings.title, base_name(settings), settings.trigger, settings.steps
    except AtelierError as error:
        problem = str(error)
        title, base, trigger, steps = str(values.get("name") or folder.path.name), str(values.get("base", "")), "", 0
    record = _ends(folder)
    size, changed = _size_and_date(folder.path)
    if record.is_active and not folder.is_held():
        record.state = "lost" if record.state != "starting" else "starting"
    checkpoints = folder.checkpoints()
    step = record.finished.step if record.finished else max([record.step, *checkpoints])
    return Entry(
        "run", title, folder.path, folder.path, tr("Demo model") if base == DEMO else base, trigger, changed, size,
        last_sample(folder), record.state, step, record.total_steps or steps, problem, has_checkpoints=bool(checkpoints),
    )  # fmt: skip


def read_lora(path: Path, *, added: bool = False) -> Entry:
    """A LoRA file, from its header alone."""
    unreadable = Entry("lora", path.stem, path, path.parent, state="unreadable", added=added)
    try:
        stat = path.stat()
        unreadable = replace(unreadable, changed=stat.st_mtime, size_bytes=stat.st_size)
        header = lora_file.read_header(path)
    except OSError as error:
        return replace(unreadable, problem=os_message(tr("{path} cannot be read", path=path), error))
    except ModelError as error:
        return replace(unreadable, problem=str(error))
    said, kind = header.metadata, lora_kinds.identify_header(header, path.name)
    base = said.get("ss_sd_model_name", "")
    run = path.parent.parent if (path.parent.parent / "run.toml").is_file() else None
    step = said.get("ss_steps", "")
    return Entry(
        "lora", said.get("modelspec.title") or path.stem, path, path.parent,
        tr("Demo model") if base == DEMO else _known(base) or (kind.family.title if kind.family else ""),
        said.get("modelspec.trigger_phrase", ""), stat.st_mtime, stat.st_size, _picture_of(path, run),
        step=int(step) if step.isdecimal() and len(step) < 10 else 0, run=run, added=added, method=kind.method,
        problem="" if kind.usable else kind.sentence,
    )  # fmt: skip


def settings_of(entry: Entry) -> dict[str, Any]:
    """The settings of a run, or of a LoRA file as far as it tells them, for a new project.

    Raises:
        AtelierError: they cannot be read, or the file tells none.
    """
    run = entry.path if entry.kind == "run" else entry.run
    if run is not None:
        values = settings_file.read_dict(run / "run.toml")
    else:
        values = metadata_settings.settings_from_metadata(lora_file.read_header(entry.path).metadata)
        if not values:
            raise ModelError(tr("{name} does not say how it was trained.", name=entry.path.name))
    return {
        name: value for name, value in values.items() if name in TrainingSettings.model_fields and name != "runs_folder"
    }


# ---- what the user added


def add_files(paths: Iterable[Path]) -> None:
    """Lists LoRA files that lie elsewhere.

    Raises:
        ModelError: one of them holds no LoRA, and none is added; or the list cannot be written.
    """
    new = [path.absolute() for path in paths]
    for path in new:
        kind = lora_kinds.identify_header(lora_file.read_header(path), path.name)
        if not kind.method:  # others, as LoHa, are listed with what they are
            raise ModelError(kind.sentence)
    runs, files = _remembered()
    _remember(runs, [*files, *new])


def add_runs_folder(path: Path) -> None:
    """Lists the runs of a folder that lies elsewhere.

    Raises:
        ModelError: the list cannot be written.
    """
    runs, files = _remembered()
    if path.absolute() not in (*runs, places.runs().absolute()):
        _remember([*runs, path.absolute()], files)


def forget_file(path: Path) -> None:
    """Takes an added file off the list; the file stays."""
    runs, files = _remembered()
    _remember(runs, [file for file in files if file != path])


def _remembered() -> tuple[list[Path], list[Path]]:
    """Runs folders and files. A list that cannot be read counts as empty; it is only a convenience."""
    try:
        values = json.loads((places.home() / "library.json").read_text(encoding="utf-8"))
        return [Path(p) for p in values["runs_folders"]], [Path(p) for p in values["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return [], []


def _remember(runs: list[Path], files: list[Path]) -> None:
    text = json.dumps(
        {"runs_folders": list(dict.fromkeys(map(str, runs))), "files": list(dict.fromkeys(map(str, files)))}, indent=1
    )
    try:
        write_atomically(places.home() / "library.json", lambda p: p.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise ModelError(os_message(tr("The library could not be saved"), error)) from None


# ---- reading


def _run_folders(parent: Path) -> Iterator[Path]:
    if (parent / "run.toml").is_file():
        yield parent
        return
    try:
        folders = sorted(parent.iterdir())
    except OSError:  # not there (yet), or a drive that is not plugged in
        return
    yield from (folder for folder in folders if (folder / "run.toml").is_file())


def _lora_files(folder: Path, pattern: str) -> list[Path]:
    return [p for p in sorted(folder.glob(f"{pattern}.safetensors")) if not p.name.startswith(".")]


def _ends(folder: RunFolder) -> RunRecord:
    """The record as far as the head and the tail of events.jsonl tell it."""
    record = RunRecord(folder)
    try:
        with folder.events_path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            pieces = [file.read(HEAD_BYTES if size > HEAD_BYTES + TAIL_BYTES else size)]
            if len(pieces[0]) < size:
                file.seek(size - TAIL_BYTES)
                pieces.append(file.read())
    except OSError:
        return record  # it has never started
    for line in b"\n".join(pieces).decode("utf-8", "replace").splitlines():
        try:
            event = events.decode(line)
        except events.ProtocolError:
            continue
        if isinstance(event, events.Event):
            record.take(event)
    return record


def _size_and_date(folder: Path) -> tuple[int, float]:
    """Bytes of all files in it, and when something in it changed last."""
    size, changed = 0, 0.0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                stat = os.stat(os.path.join(parent, name))
            except OSError:
                continue  # a temporary file that was there a moment ago
            size += stat.st_size
            if name != ".lock":  # asking who holds a run touches it
                changed = max(changed, stat.st_mtime)
    return size, changed


def last_sample(folder: RunFolder) -> Path | None:
    """The first prompt's picture of the last preview."""
    if not folder.samples.is_dir():
        return None
    found = [((int(m[1]), -int(m[2])), p) for p in folder.samples.iterdir() if (m := _SAMPLE.fullmatch(p.name))]
    return max(found)[1] if found else None


def _picture_of(path: Path, run: Path | None) -> Path | None:
    """The picture beside a LoRA file, as browsers of LoRAs look for it, or its run's."""
    for ending in (".preview.png", ".png", ".preview.jpg", ".jpg", ".jpeg", ".webp"):
        beside = path.with_name(f"{path.stem}{ending}")
        if beside.is_file():
            return beside
    return last_sample(RunFolder(run)) if run else None


def _known(text: str) -> str:
    return "" if text == "None" else text
