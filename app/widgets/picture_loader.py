"""Previews as pixmaps: decoded in a pool at the size that is shown, kept while there is room."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QRunnable, QSize, Qt, QThreadPool, Signal
from PySide6.QtGui import QImage, QImageReader, QPixmap

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 120_000_000  # of decoded pictures
SIDES = (192, 384, 768, 1536, 4096)  # pictures are decoded at the next of these, so that a resize seldom decodes anew


class _Done(QObject):
    """Carries a picture to the window's thread; it belongs to nobody, so that a late one finds no one and is dropped."""

    decoded = Signal(object, int, QImage)


class _Decoding(QRunnable):
    def __init__(self, path: Path, side_px: int, done: _Done) -> None:
        super().__init__()
        self._path, self._side_px, self._done = path, side_px, done

    def run(self) -> None:
        """In a thread of the pool."""
        reader = QImageReader(str(self._path))
        size = reader.size()
        if size.isValid() and max(size.width(), size.height()) > self._side_px:
            reader.setScaledSize(size.scaled(QSize(self._side_px, self._side_px), Qt.AspectRatioMode.KeepAspectRatio))
        self._done.decoded.emit(self._path, self._side_px, reader.read())


class PictureLoader(QObject):
    """Gives pictures at once when it has them, else later.

    Signals:
        loaded(Path): the picture can be asked for again; also when it turned out that it cannot be read.
    """

    loaded = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._done = _Done()
        self._done.decoded.connect(self._on_decoded)
        self._kept: OrderedDict[tuple[Path, int], QPixmap] = OrderedDict()
        self._bytes = 0
        self._asked: set[tuple[Path, int]] = set()
        self._broken: set[Path] = set()
        self.texts: dict[Path, str] = {}

    def get(self, path: Path, side_px: int) -> QPixmap | None:
        """The picture with its longest side near `side_px` (device pixels); None while it is being decoded.

        Meanwhile it is given at another size if one is there.
        """
        key = (path, next((s for s in SIDES if s >= side_px), SIDES[-1]))
        if (found := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return found
        if key not in self._asked and path not in self._broken:
            self._asked.add(key)
            QThreadPool.globalInstance().start(_Decoding(path, key[1], self._done))
        return next((self._kept[path, side] for side in reversed(SIDES) if (path, side) in self._kept), None)

    def is_broken(self, path: Path) -> bool:
        """Whether the file cannot be read."""
        return path in self._broken

    def parameters(self, path: Path) -> str:
        """The generation parameters in a picture that was loaded, as A1111 writes them."""
        return self.texts.get(path, "")

    def forget(self, path: Path) -> None:
        """The file has been written anew."""
        self._broken.discard(path)
        for side in SIDES:
            self._drop((path, side))

    def _on_decoded(self, path: Path, side_px: int, image: QImage) -> None:
        self._asked.discard((path, side_px))
        if image.isNull():
            self._broken.add(path)
        else:
            self._drop((path, side_px))
            self._kept[path, side_px] = QPixmap.fromImage(image)
            self._bytes += _bytes(self._kept[path, side_px])
            self.texts[path] = image.text("parameters")
            while self._bytes > MAX_BYTES and len(self._kept) > 1:
                self._drop(next(iter(self._kept)))
        self.loaded.emit(path)

    def _drop(self, key: tuple[Path, int]) -> None:
        if (pixmap := self._kept.pop(key, None)) is not None:
            self._bytes -= _bytes(pixmap)


def _bytes(pixmap: QPixmap) -> int:
    return pixmap.width() * pixmap.height() * 4
