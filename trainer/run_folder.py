"""The folder of a run: where each file is, atomic writes, the lock, the list of checkpoints. Imports no torch.

runs/2026-11-24_zorblin/
run.toml  events.jsonl  commands.jsonl  log.txt
checkpoints/000200/ lora.safetensors, state.safetensors, state.json
samples/000200_p0_s42.png
export/zorblin.safetensors
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import re
import shutil
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from trainer import settings_file
from trainer.errors import RunError, os_message
from trainer.settings import DEMO, TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

EDITS = "edits"  # the run's copy of crops and masks
_NAME_BYTES = 200  # file systems take 255; the date, suffixes and a temporary file's ending come on top
_NO_NAMES = {  # Windows keeps these for devices, A1111 for "no network" and an easter egg
    "none", "addams", "con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)),
}  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """The layout of one run."""

    path: Path

    @property
    def settings_path(self) -> Path:
        """The frozen settings."""
        return self.path / "run.toml"

    @property
    def events_path(self) -> Path:
        """Every event, a line each."""
        return self.path / "events.jsonl"

    @property
    def commands_path(self) -> Path:
        """Commands to a worker that goes on in the background, a line each."""
        return self.path / "commands.jsonl"

    @property
    def log_path(self) -> Path:
        """What libraries print, and tracebacks."""
        return self.path / "log.txt"

    @property
    def samples(self) -> Path:
        """Preview pictures."""
        return self.path / "samples"

    @property
    def export(self) -> Path:
        """Finished LoRA files."""
        return self.path / "export"

    def checkpoint(self, step: int) -> Path:
        """The folder of a checkpoint; it need not exist."""
        return self.path / "checkpoints" / f"{step:06d}"

    def checkpoints(self) -> list[int]:
        """Steps of the whole checkpoints, oldest first; half-written ones do not count."""
        folder = self.path / "checkpoints"
        if not folder.is_dir():
            return []
        return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal() and (p / "state.json").is_file())

    def sample(self, step: int, prompt: int, seed: int) -> Path:
        """The file of a preview picture."""
        return self.samples / f"{step:06d}_p{prompt}_s{seed}.png"

    def settings(self) -> TrainingSettings:
        """The run's settings.

        Raises:
            ConfigError: run.toml is missing or holds a value that cannot be used.
        """
        return settings_file.read(self.settings_path)

    def relative(self, path: Path) -> str:
        """The path as events give it."""
        return path.relative_to(self.path).as_posix()

    def is_held(self) -> bool:
        """Whether a worker is at work in this folder now."""
        try:
            with (self.path / ".lock").open("r+b") as lock:
                return not self._take(lock)
        except (OSError, RunError):  # nobody was here yet, or nobody can be: a worker needs the lock too
            return False

    @contextlib.contextmanager
    def locked(self, patience_s: float = 1.0) -> Iterator[None]:
        """Keeps a second worker out of this folder; the operating system lets go when the process dies.

        It is tried for `patience_s`, as `is_held` holds the lock for a moment.

        Raises:
            RunError: another worker holds it, or the folder cannot be written.
        """
        try:
            lock = (self.path / ".lock").open("a+b")
        except OSError as error:
            raise RunError(os_message(f"The run folder {self.path} cannot be used", error)) from None
        with lock:
            until = time.monotonic() + patience_s
            while not self._take(lock):
                if time.monotonic() >= until:
                    raise RunError(f"Another worker is training in {self.path}. Stop it first, or start a new run.")
                time.sleep(0.05)
            yield

    def _take(self, lock: BinaryIO) -> bool:
        """Takes the lock unless another process has it."""
        try:
            if sys.platform == "win32":
                msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
                raise RunError(os_message(f"The run folder {self.path} cannot be locked", error)) from None
            return False
        return True


def create(settings: TrainingSettings, *, today: datetime.date | None = None) -> RunFolder:
    """A fresh run folder with the settings in it, named by date and title; never one that exists.

    Raises:
        RunError: the runs folder cannot be written, or a path is not Unicode, so that run.toml cannot hold it.
    """
    text = _frozen(settings)
    date = (today or datetime.date.today()).isoformat()
    stem = f"{date}_{safe_name(settings.title)}"
    parent = settings.runs_folder.expanduser().absolute()
    for number in range(1, 10_000):
        path = parent / (stem if number == 1 else f"{stem}_{number}")
        try:
            path.mkdir(parents=True)
            if settings.edits is not None and settings.edits.expanduser().is_dir():
                shutil.copytree(settings.edits.expanduser(), path / EDITS)
            write_atomically(RunFolder(path).settings_path, lambda p: p.write_bytes(text))
        except (FileExistsError, NotADirectoryError):
            if not parent.is_dir():
                raise RunError(f"The runs folder {parent} is a file; choose a folder.") from None
            continue
        except OSError as error:
            raise RunError(os_message(f"No run folder can be made in {parent}", error)) from None
        return RunFolder(path)
    raise RunError(f"{parent} already holds 10,000 runs named {stem}; give the LoRA another name.")


def safe_name(title: str) -> str:
    """A file name that every system and every LoRA program takes: no separators, no `:,<>{}`, at most 80 characters."""
    name = re.sub(r'[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\:*?"<>|,{}\s]+', "_", title).strip("._ ")[:80]
    name = name.encode()[:_NAME_BYTES].decode(errors="ignore").rstrip("._ ")
    return name if name and name.lower().split(".")[0] not in _NO_NAMES else f"lora_{name}".rstrip("_")


def new_lines(path: Path, start: int) -> tuple[list[str], int]:
    """The whole lines that a growing file has from byte `start` on, and where the next ones begin.

    Nothing when the file is not there, or is being written: the next look finds it.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            whole, newline, _ = file.read().rpartition(b"\n")
    except OSError:
        return [], start
    lines = [line for line in whole.decode("utf-8", "replace").split("\n") if line.strip()]
    return lines, start + len(whole) + len(newline)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets `write` fill a temporary file beside `path`, syncs it and renames it; a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(partial)
        with partial.open("rb+") as f:
            os.fsync(f.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def put(path: Path, data: bytes | None) -> None:
    """Writes a file of the user's, through a link to the file it names and with its permissions; None removes it.

    Raises:
        PermissionError: it is read-only; renaming over it would succeed, against the user's wish.
        OSError: it cannot be written.
    """
    path = path.resolve()
    there = path.exists()
    if there and not path.stat().st_mode & stat.S_IWUSR:
        raise PermissionError(13, f"{path.name} is read-only")
    if data is None:
        path.unlink(missing_ok=True)
        return

    def write(partial: Path) -> None:
        partial.write_bytes(data)
        if there:
            shutil.copymode(path, partial)

    write_atomically(path, write)


def write_folder_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """As `write_atomically`, for a folder that does not exist yet or is replaced as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        write(partial)
        for file in (found for found in partial.rglob("*") if found.is_file()):
            with file.open("rb+") as f:
                os.fsync(f.fileno())
        old = path.with_name(f".{path.name}.old")
        if path.exists():
            path.replace(old)
        partial.replace(path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _frozen(settings: TrainingSettings) -> bytes:
    """The text of the run's run.toml, with absolute paths."""
    text = settings_file.dumps(settings.model_copy(update=_absolute_paths(settings)))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        near = ascii(text[max(0, error.start - 40) : error.end])
        raise RunError(
            f"A path has characters that are not Unicode, at the end of {near}. Rename the folder."
        ) from None


def _absolute_paths(settings: TrainingSettings) -> dict[str, Any]:
    """The settings' paths as absolute ones, so that the run folder can be opened from anywhere."""
    out: dict[str, Any] = {
        "more_data": tuple(p.expanduser().absolute() for p in settings.more_data),
        "concepts": tuple(c.model_copy(update={"folder": c.folder.expanduser().absolute()}) for c in settings.concepts),
    }
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Path) and value != Path():
            out[name] = value.expanduser().absolute()
    if settings.edits is not None:
        out["edits"] = Path(EDITS)  # the run's own copy; relative to run.toml, so that the folder can be moved
    if settings.base not in (DEMO, "") and Path(settings.base).expanduser().exists():
        out["base"] = str(Path(settings.base).expanduser().absolute())
    return out
