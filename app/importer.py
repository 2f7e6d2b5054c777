"""Takes pictures out of zip files, and frames of videos without those that show the same again. QtCore only.

Both go to a folder beside the projects first (`STAGED`), in a thread; what wants them moves that to where it belongs.
"""

from __future__ import annotations

import re
import shutil
import stat
import threading
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from PySide6.QtCore import QObject, Qt, Signal

from app import places
from app.background import Background
from app.texts import counted, tr
from trainer import captions, pixels
from trainer.errors import AtelierError, DataError, os_message
from trainer.run_folder import safe_name
from trainer.tasks import Cancelled, each

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.tasks import Tell

STAGED = ".importing"  # in the projects' folder
MOST_FILES, MOST_BYTES = 50_000, 50_000_000_000
BOMB_RATIO, BOMB_BYTES = 100, 20_000_000  # no picture or caption of that size was ever packed that well
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Imported:
    """A folder of pictures that waits to be moved. sentence: what was done, for people."""

    folder: Path
    sentence: str


class _Frame(NamedTuple):
    """What is compared of a frame."""

    hash: str
    width_px: int
    height_px: int
    content_sha256: str


def unpack(archive: Path, into: Path, tell: Tell) -> Imported:
    """Takes the pictures and captions of a zip file out, into a folder named as the file in `into`.

    Raises:
        DataError: it is no zip file, is locked, too large, holds no pictures, or paths that lead elsewhere.
        OSError: a file cannot be written.
        Cancelled: by `tell`.
    """
    target = into / safe_name(archive.stem)
    try:
        with zipfile.ZipFile(archive) as opened:
            wanted = _wanted(opened, archive.name)
            for info, path in each(wanted, tr("Unpacking"), tell):
                _extract(opened, info, target / path, tell)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        text = tr("{name} cannot be unpacked ({error}). Pack it again, or unpack it and drop the folder.", name=archive.name, error=error)  # fmt: skip
        raise DataError(text) from None
    pictures = sum(path.suffix.lower() in pixels.supported_suffixes() for _, path in wanted)
    rest = len(wanted) - pictures
    sentence = tr("{pictures} of {name} unpacked", pictures=counted(pictures, "picture", "pictures"), name=archive.name)
    if rest:
        sentence = tr("{sentence}, with {captions}", sentence=sentence, captions=counted(rest, "caption", "captions"))
    return Imported(target, f"{sentence}.")


def _wanted(opened: zipfile.ZipFile, name: str) -> list[tuple[zipfile.ZipInfo, Path]]:
    """The pictures and captions, and where they go."""
    kinds = {*pixels.supported_suffixes(), *captions.CAPTION_SUFFIXES}
    out: dict[Path, zipfile.ZipInfo] = {}
    total = 0
    for info in opened.infolist():
        path = _inside(info.filename, name)
        if info.is_dir() or path is None or path.suffix.lower() not in kinds or stat.S_ISLNK(info.external_attr >> 16):
            continue
        if info.flag_bits & 1:
            raise DataError(tr("{name} is locked with a password. Unpack it and drop the folder.", name=name))
        total += info.file_size
        if info.file_size > BOMB_BYTES and info.file_size > BOMB_RATIO * max(1, info.compress_size):
            raise DataError(tr("{name} is not unpacked: {file} would grow more than {ratio} times, which no picture does.", name=name, file=path, ratio=BOMB_RATIO))  # fmt: skip
        out[path] = info
    if len(out) > MOST_FILES or total > MOST_BYTES:
        raise DataError(tr("{name} is not unpacked: it holds {files:,} files of {size:.0f} GB. Unpack what you need and drop the folder.", name=name, files=len(out), size=total / 1e9))  # fmt: skip
    if not any(path.suffix.lower() in pixels.supported_suffixes() for path in out):
        text = tr("{name} holds no pictures ({kinds}).", name=name, kinds=", ".join(pixels.supported_suffixes()))
        raise DataError(text)
    return [(info, path) for path, info in out.items()]


def _inside(given: str, name: str) -> Path | None:
    """Where a file of the archive goes; None for hidden ones.

    Raises:
        DataError: its path leads out of the archive.
    """
    parts = PurePosixPath(given.replace("\\", "/")).parts
    if any(part in ("..", "/") or part.endswith(":") for part in parts):
        raise DataError(tr("{name} is not unpacked: it wants to write to {path}, outside of its folder.", name=name, path=given))  # fmt: skip
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return None
    usable = [re.sub(r'[<>:"|?*\x00-\x1f]', "_", part).rstrip(". ") or "_" for part in parts]
    return Path(*usable) if usable else None


def _extract(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, tell: Tell) -> None:
    """What an archive says of a file's size is not believed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(info) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > info.file_size:
                raise zipfile.BadZipFile(tr("{file} is larger than it says", file=info.filename))
            file.write(chunk)
            if written % (64 * _CHUNK) == 0:
                tell(tr("Unpacking"), 0, 0)


def keep_different(folder: Path, into: Path, tell: Tell) -> Imported:
    """Copies the frames of a video, only the first of each run that shows the same, into a folder of that name in `into`.

    A frame is compared with the first of its run, so that slow movement is not one long run. Captions are copied too.

    Raises:
        DataError: there is no picture.
        OSError: a file cannot be written.
        Cancelled: by `tell`.
    """
    from trainer import pixel_hashes  # NumPy takes a while to load, and few import frames

    kinds = pixels.supported_suffixes()
    found = sorted(
        (p for p in folder.iterdir() if p.suffix.lower() in kinds and not p.name.startswith(".")), key=_in_order
    )
    if not found:
        raise DataError(tr("{folder} holds no pictures ({kinds}).", folder=folder, kinds=", ".join(kinds)))
    target = into / safe_name(folder.name)
    target.mkdir(parents=True)
    last: _Frame | None = None
    kept = 0
    for path in each(found, tr("Comparing frames"), tell):
        try:
            with pixels.open_rgb(path) as picture:
                frame = _Frame(pixel_hashes.picture_hash(picture), *picture.size, "")
        except DataError:  # a frame that cannot be read is no loss among hundreds
            continue
        if last is not None and _is_same(last, frame):
            continue
        last = frame
        kept += 1
        for file in (path, captions.caption_file(path)):
            if file is not None:
                shutil.copyfile(file, target / file.name)
    if not kept:
        raise DataError(tr("None of the {count} frames in {folder} can be read.", count=len(found), folder=folder))
    return Imported(
        target, tr("{kept} of {frames} kept: one of each run that shows the same.", kept=f"{kept:,}", frames=counted(len(found), "frame", "frames"))
    )  # fmt: skip


def _is_same(one: _Frame, other: _Frame) -> bool:
    """Whether two frames show the same; mirrored ones do not."""
    from trainer import pixel_hashes

    return any(group.kind != "flipped" for group in pixel_hashes.near_duplicates({"one": one, "other": other}))


def _in_order(path: Path) -> list[tuple[int, int, str]]:
    """Sorts frame_10 after frame_9."""
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p.lower()) for p in re.split(r"(\d+)", path.name) if p]


class Importer(QObject):
    """One import at a time, in a thread.

    Signals:
        progressed(str, int, int): label, done and total.
        done(Imported): move its folder away.
        failed(str): a sentence; nothing is left.
        cancelled: the user thought better of it; nothing is left.
    """

    progressed = Signal(str, int, int)
    done = Signal(object)
    failed = Signal(str)
    cancelled = Signal()
    _told = Signal(str, int, int)  # from the thread

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.is_running = False
        self._given_up = threading.Event()
        self._background = Background("import")
        self._background.done.connect(self._on_done)
        self._told.connect(self.progressed, Qt.ConnectionType.QueuedConnection)

    def start(self, work: Callable[[Path, Path, Tell], Imported], source: Path) -> None:
        """work: `unpack` or `keep_different`."""
        assert not self.is_running
        self.is_running = True
        self._given_up.clear()
        staged = places.projects() / STAGED
        self._background.run(lambda: self._worked(work, source, staged))

    def cancel(self) -> None:
        """Ends it soon."""
        self._given_up.set()

    def finish(self, timeout_s: float | None = None) -> None:
        """Ends it and waits; for the end of the window."""
        self.cancel()
        self._background.wait(timeout_s)

    def _worked(
        self, work: Callable[[Path, Path, Tell], Imported], source: Path, staged: Path
    ) -> Imported | str | None:
        """What came of it; a sentence when it failed, None when it was cancelled. In the thread."""

        def tell(label: str, done: int, total: int) -> None:
            if self._given_up.is_set():
                raise Cancelled
            self._told.emit(label, done, total)

        shutil.rmtree(staged, ignore_errors=True)  # what a window left that was ended meanwhile
        out: Imported | str | None = None
        try:
            out = work(source, staged, tell)
        except Cancelled:
            pass
        except AtelierError as error:
            out = str(error)
        except OSError as error:
            out = os_message(tr("{name} could not be imported", name=source.name), error)
        if not isinstance(out, Imported):
            shutil.rmtree(staged, ignore_errors=True)
        return out

    def _on_done(self, result: Imported | str | None) -> None:
        self.is_running = False
        if isinstance(result, Imported):
            self.done.emit(result)
        elif result is None:
            self.cancelled.emit()
        else:
            self.failed.emit(result)
