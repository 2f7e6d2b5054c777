"""Thumbnails for the window: given at once from memory, else made in two threads, the last asked for first."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QRectF, QSize, Qt, QThreadPool, Signal
from PySide6.QtGui import QImage, QPainter, QPen

from app import places, theme, thumbnail_store
from app.background import Background
from trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from app.thumbnail_store import Stamp

THREADS = 2
MEMORY_BYTES = 64_000_000
MOST_WAITING = 600  # more than any screen shows; of a wild scroll only the end is of interest


@dataclass
class _Kept:
    side_px: int
    image: QImage
    stamp: Stamp
    checked: int  # at which round of `recheck`


@dataclass(frozen=True)
class _Wanted:
    """A thumbnail to be made. known: the file as it was when we have one of this size already, else None."""

    path: Path
    side_px: int
    known: Stamp | None


@dataclass(frozen=True)
class _Made:
    """What came of it. image: null when the file has not changed; broken: it is no picture or gone."""

    wanted: _Wanted
    image: QImage
    stamp: Stamp = (0, 0)
    broken: bool = False


class _Relay(QObject):
    """Brings thumbnails to the window's thread; it belongs to nobody, so that a late one finds no one and is dropped."""

    made = Signal(object)


class _Workshop:
    """What the threads share: those that are waited for, the newest last, and how many threads are at work."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: OrderedDict[Path, _Wanted] = OrderedDict()
        self.at_work: dict[Path, _Wanted] = {}
        self.threads = 0
        self.relay = _Relay()
        self.folder = places.thumbnails()
        self.open_gate = threading.Event()
        self.open_gate.set()

    def work(self) -> None:
        """In a thread: makes thumbnails until none is waited for."""
        while True:
            with self.lock:
                if not self.waiting:
                    self.threads -= 1
                    return
                path, wanted = self.waiting.popitem()
                self.at_work[path] = wanted
            self.open_gate.wait()
            made = _make(wanted, self)
            with self.lock:
                if self.at_work.get(path) is wanted:  # the other thread may be at it too, at another size
                    del self.at_work[path]
            self.relay.made.emit(made)


class Thumbnails(QObject):
    """Small pictures by path.

    Signals:
        ready(str): the thumbnail of this path can be asked for now; also when the file turned out to be broken.
    """

    ready = Signal(str)

    def __init__(self, parent: QObject | None = None, *, memory_bytes: int = MEMORY_BYTES) -> None:
        super().__init__(parent)
        self._memory_bytes = memory_bytes
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()
        self._bytes = 0
        self._broken: set[Path] = set()
        self._round = 0
        self._workshop = _Workshop()
        self._workshop.relay.made.connect(self._on_made)
        self._pool = QThreadPool(self, maxThreadCount=THREADS)
        self._pruning = Background("prune thumbnails")
        folder = self._workshop.folder
        self._pruning.run(lambda: thumbnail_store.prune(folder))

    def request(self, path: Path, side_px: int) -> QImage | None:
        """The thumbnail, its longest side at most `side_px` device pixels; None while it is made.

        Meanwhile it is given at another size if one is there. A picture that cannot be read gives a drawn sheet.
        """
        if path in self._broken:
            return _placeholder(side_px)
        kept = self._kept.get(path)
        if kept is None:
            self._want(_Wanted(path, side_px, None))
            return None
        self._kept.move_to_end(path)
        if kept.side_px != side_px:
            self._want(_Wanted(path, side_px, None))
        elif kept.checked != self._round:
            self._want(_Wanted(path, side_px, kept.stamp))
        return kept.image

    def is_broken(self, path: Path) -> bool:
        """Whether the file turned out to be no picture."""
        return path in self._broken

    def keep_only(self, paths: Iterable[Path]) -> None:
        """Drops what is waited for, but for these: the rest was scrolled away."""
        wanted = set(paths)
        with self._workshop.lock:
            waiting = self._workshop.waiting
            for path in [p for p in waiting if p not in wanted]:
                del waiting[path]

    def recheck(self) -> None:
        """From now on looks whether the files have changed, when they are asked for next."""
        self._round += 1
        self._broken.clear()

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Keeps the threads from taking Python's lock, for the few ms of a paint; what they do without it goes on.

        A paint calls Qt some hundred times and gives the lock away each time; it would wait for it as often.
        """
        self._workshop.open_gate.clear()
        try:
            yield
        finally:
            self._workshop.open_gate.set()

    @property
    def memory_bytes(self) -> int:
        """How much the thumbnails in memory take."""
        return self._bytes

    @property
    def waiting_count(self) -> int:
        """How many thumbnails are waited for."""
        with self._workshop.lock:
            return len(self._workshop.waiting) + len(self._workshop.at_work)

    def close(self) -> None:
        """Drops what is waited for and lets the threads end."""
        self.keep_only(())
        self._pool.waitForDone()
        self._pruning.wait(5)

    def _want(self, wanted: _Wanted) -> None:
        shop = self._workshop
        with shop.lock:
            if shop.at_work.get(wanted.path) == wanted:
                return
            shop.waiting[wanted.path] = wanted
            shop.waiting.move_to_end(wanted.path)
            if len(shop.waiting) > MOST_WAITING:
                shop.waiting.popitem(last=False)
            starts = shop.threads < THREADS
            shop.threads += starts
        if starts:
            self._pool.start(shop.work)

    def _on_made(self, made: _Made) -> None:
        wanted = made.wanted
        if made.broken:
            self._forget(wanted.path)
            self._broken.add(wanted.path)
        elif made.image.isNull():
            if (kept := self._kept.get(wanted.path)) is not None:
                kept.checked = self._round
            return
        else:
            self._forget(wanted.path)
            self._kept[wanted.path] = _Kept(wanted.side_px, made.image, made.stamp, self._round)
            self._bytes += made.image.sizeInBytes()
            while self._bytes > self._memory_bytes and len(self._kept) > 1:
                self._forget(next(iter(self._kept)))
        self.ready.emit(str(wanted.path))

    def _forget(self, path: Path) -> None:
        if (kept := self._kept.pop(path, None)) is not None:
            self._bytes -= kept.image.sizeInBytes()


def _make(wanted: _Wanted, shop: _Workshop) -> _Made:
    try:
        stamp = thumbnail_store.stamp_of(wanted.path)
        if stamp == wanted.known:
            return _Made(wanted, QImage(), stamp)
        picture = thumbnail_store.thumbnail(wanted.path, wanted.side_px, shop.folder, stamp, shop.open_gate.wait)
    except (DataError, OSError):
        return _Made(wanted, QImage(), broken=True)
    width, height = picture.size
    raw = picture.tobytes("raw", "BGRX")
    return _Made(wanted, QImage(raw, width, height, 4 * width, QImage.Format.Format_RGB32).copy(), stamp)


def _placeholder(side_px: int) -> QImage:
    """A sheet with a crossed-out picture on it, in the colours of now."""
    image = QImage(QSize(side_px, side_px), QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(theme.colour("raised"))
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    line = max(1.5, side_px / 90)
    painter.setPen(QPen(theme.colour("muted"), line, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
    frame = QRectF(0, 0, side_px * 0.34, side_px * 0.28)
    frame.moveCenter(QRectF(image.rect()).center())
    painter.drawRoundedRect(frame, side_px / 40, side_px / 40)
    painter.drawLine(frame.bottomLeft(), frame.topRight())
    painter.end()
    return image
