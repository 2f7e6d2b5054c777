"""One picture, large, as training sees it: upright, on its background, with what is cropped away under a veil."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPainterPath, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme
from app.background import Background
from app.texts import tr
from trainer import pixels
from trainer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtCore import QEvent

    from trainer.pixels import Fit

SIDE_PX = 1024  # decoded no larger; the panel is narrower than that on any screen
ROUND_PX = 8


@dataclass(frozen=True)
class _Loaded:
    path: Path
    background: str
    image: QImage | None
    problem: str = ""


class PicturePreview(QWidget):
    """Shows a picture of the data set; decodes it in the background, and the newest one asked for wins."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("picture_preview")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumHeight(theme.space(12))
        self._wanted: tuple[Path, str] | None = None
        self._pixmap: QPixmap | None = None
        self._fit: Fit | None = None
        self._included = True
        self.problem = ""
        self._loader = Background("load picture")
        self._loader.done.connect(self._on_loaded)

    @property
    def is_loaded(self) -> bool:
        """Whether the picture is there."""
        return self._pixmap is not None

    def show_picture(
        self, path: Path | None, fit: Fit | None = None, *, included: bool = True, background: str = "#ffffff"
    ) -> None:
        """Shows a file; None shows nothing. fit: what is cropped away; background: behind what is transparent."""
        self._fit, self._included = fit, included
        wanted = None if path is None else (path, background)
        if wanted != self._wanted:
            self._wanted, self._pixmap, self.problem = wanted, None, ""
            self._loader.drop_waiting()
            if path is not None:
                self._loader.run(lambda: _load(path, background))
        self.update()

    def sizeHint(self) -> QSize:
        """Small, as it takes what room the words leave."""
        return QSize(theme.space(30), theme.space(15))

    def paintEvent(self, event: QPaintEvent) -> None:
        """The picture in the middle, or why there is none."""
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        area = QRectF(self.rect())
        if self._pixmap is None:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.colour("raised"))
            painter.drawRoundedRect(area, ROUND_PX, ROUND_PX)
            painter.setPen(theme.colour("muted"))
            painter.drawText(
                area.adjusted(16, 8, -16, -8), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self.problem
            )
            return
        size = self._pixmap.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
        target = QRectF(
            (self.width() - size.width()) / 2, (self.height() - size.height()) / 2, size.width(), size.height()
        )
        outline = QPainterPath()
        outline.addRoundedRect(target, ROUND_PX, ROUND_PX)
        painter.setClipPath(outline)
        painter.setOpacity(1 if self._included else 0.45)
        painter.drawPixmap(target, self._pixmap, QRectF(self._pixmap.rect()))
        painter.setOpacity(1)
        if self._fit is not None and self._fit.size != self._fit.resized:
            self._paint_crop(painter, target, self._fit)

    def _paint_crop(self, painter: QPainter, target: QRectF, fit: Fit) -> None:
        """A veil over what training does not see."""
        scale_x, scale_y = target.width() / fit.resized[0], target.height() / fit.resized[1]
        seen = QRectF(
            target.x() + fit.corner[0] * scale_x, target.y() + fit.corner[1] * scale_y, fit.size[0] * scale_x, fit.size[1] * scale_y
        )  # fmt: skip
        veil = QPainterPath()
        veil.addRect(target)
        veil.addRect(seen)
        tint = QColor(theme.colours().window)
        tint.setAlphaF(0.72)
        painter.fillPath(veil, tint)
        painter.setPen(QPen(theme.colour("accent"), 1, Qt.PenStyle.DashLine))
        painter.drawRect(seen)

    def changeEvent(self, event: QEvent) -> None:
        """Repaints in the theme's colours."""
        if event.type() == event.Type.PaletteChange:
            self.update()
        super().changeEvent(event)

    def _on_loaded(self, loaded: _Loaded) -> None:
        if (loaded.path, loaded.background) != self._wanted:
            return
        self.problem = loaded.problem
        self._pixmap = None if loaded.image is None else QPixmap.fromImage(loaded.image)
        self.update()


def _load(path: Path, background: str) -> _Loaded:
    """Decodes in a thread; a file that is gone or broken gives a sentence."""
    try:
        picture = pixels.open_rgb(path, background)
    except DataError as error:
        return _Loaded(
            path, background, None, tr("{error} It may have been moved; drop the folder again.", error=error)
        )
    picture.thumbnail((SIDE_PX, SIDE_PX))
    image = QImage(picture.tobytes(), picture.width, picture.height, 3 * picture.width, QImage.Format.Format_RGB888)
    return _Loaded(path, background, image.copy())
