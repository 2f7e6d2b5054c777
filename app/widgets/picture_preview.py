"""One picture, large, as training sees it: upright, on its background, veiled where it is cropped, red where a mask is."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter, QPainterPath, QPaintEvent, QPen, QPixmap
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from app import theme
from app.background import Background
from app.texts import tr
from app.widgets import crop_geometry, mask_veil
from app.widgets.named import named
from trainer import pixels
from trainer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PySide6.QtCore import QEvent

    from trainer.pixels import Fit

SIDE_PX = 1024  # decoded no larger; the panel is narrower than that on any screen
ROUND_PX = 8


@dataclass(frozen=True)
class _Wanted:
    """What is shown. mask: a file whose black parts are red."""

    path: Path
    background: str
    mask: Path | None


@dataclass(frozen=True)
class _Loaded:
    """size: of the picture upright, px; veil: of the mask, as `mask_veil` has it."""

    wanted: _Wanted
    image: QImage | None
    problem: str = ""
    size: tuple[int, int] = (1, 1)
    veil: NDArray[np.uint32] | None = None


class PicturePreview(QWidget):
    """Shows a picture of the data set; decodes it in the background, and the newest one asked for wins.

    Signals:
        cropWanted, maskWanted: crop the picture, paint its mask.
    """

    cropWanted = Signal()
    maskWanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("picture_preview")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumHeight(theme.space(12))
        self._wanted: _Wanted | None = None
        self._size = (1, 1)
        self._veil: NDArray[np.uint32] | None = None
        self._pixmap: QPixmap | None = None
        self._fit: Fit | None = None
        self._included = True
        self.problem = ""
        self._loader = Background("load picture")
        self._loader.done.connect(self._on_loaded)
        self._lay_out()

    def _lay_out(self) -> None:
        """Two buttons below the picture, and one that shows the mask while there is one."""
        self._buttons = QWidget(self)
        row = QHBoxLayout(self._buttons)
        row.setContentsMargins(0, theme.space(0.5), 0, 0)
        row.setSpacing(theme.space(0.5))
        self._crop = self._button("preview_crop", tr("Crop…"), tr("Choose the part that is trained  (C)"))
        self._mask = self._button("preview_mask", tr("Mask…"), tr("Paint what is trained and what is not  (Shift+M)"))
        self._show_mask = self._button("preview_show_mask", "", tr("Show the mask: red is not trained  (M)"))
        self._show_mask.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
        self._show_mask.setAccessibleName(tr("Show the mask"))
        self._show_mask.setCheckable(True)
        self._show_mask.setChecked(True)
        self._crop.clicked.connect(self.cropWanted)
        self._mask.clicked.connect(self.maskWanted)
        self._show_mask.toggled.connect(self._on_show_mask)
        for button in (self._crop, self._mask, self._show_mask):
            row.addWidget(button)
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addStretch(1)
        column.addWidget(self._buttons)
        self._restyle()
        self._refresh_buttons()

    def _button(self, name: str, text: str, tip: str) -> QToolButton:
        button = named(QToolButton(), name, tip=tip)
        button.setText(text)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        return button

    @property
    def is_loaded(self) -> bool:
        """Whether the picture is there."""
        return self._pixmap is not None

    def show_picture(
        self,
        path: Path | None,
        fit: Fit | None = None,
        *,
        included: bool = True,
        background: str = "#ffffff",
        mask: Path | None = None,
    ) -> None:
        """Shows a file; None shows nothing. fit: what is cropped away; background: behind what is transparent."""
        self._fit, self._included = fit, included
        wanted = None if path is None else _Wanted(path, background, mask)
        if wanted != self._wanted:
            is_same = wanted is not None and self._wanted is not None and wanted.path == self._wanted.path
            self._wanted, self._veil = wanted, None
            if not is_same:  # else it stays until its new mask is there
                self._pixmap, self.problem = None, ""
            self._loader.drop_waiting()
            if wanted is not None:
                self._loader.run(lambda: _load(wanted))
        self._refresh_buttons()
        self.update()

    @property
    def has_veil(self) -> bool:
        """Whether a mask is seen."""
        return self._veil is not None and self._show_mask.isChecked()

    def toggle_mask(self) -> None:
        """Shows or hides the mask."""
        self._show_mask.toggle()

    def _on_show_mask(self, _shown: bool) -> None:
        self.update()

    def _refresh_buttons(self) -> None:
        self._crop.setEnabled(self._wanted is not None)
        self._mask.setEnabled(self._wanted is not None)
        self._show_mask.setVisible(self._wanted is not None and self._wanted.mask is not None)

    def sizeHint(self) -> QSize:
        """Small, as it takes what room the words leave."""
        return QSize(theme.space(30), theme.space(15))

    def paintEvent(self, event: QPaintEvent) -> None:
        """The picture in the middle, or why there is none."""
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        area = QRectF(0, 0, self.width(), self._buttons.y())
        if self._pixmap is None:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.colour("raised"))
            painter.drawRoundedRect(area, ROUND_PX, ROUND_PX)
            painter.setPen(theme.colour("muted"))
            painter.drawText(
                area.adjusted(16, 8, -16, -8), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self.problem
            )
            return
        target = QRectF(
            QPointF(), self._pixmap.size().toSizeF().scaled(area.size(), Qt.AspectRatioMode.KeepAspectRatio)
        )
        target.moveCenter(area.center())
        outline = QPainterPath()
        outline.addRoundedRect(target, ROUND_PX, ROUND_PX)
        painter.setClipPath(outline)
        painter.setOpacity(1 if self._included else 0.45)
        painter.drawPixmap(target, self._pixmap, QRectF(self._pixmap.rect()))
        if self._veil is not None and self.has_veil:
            painter.setOpacity(mask_veil.OPACITY)
            painter.drawImage(target, mask_veil.image(self._veil))
        painter.setOpacity(1)
        if self._fit is not None and (self._fit.box is not None or self._fit.size != self._fit.resized):
            self._paint_crop(painter, target, self._fit)

    def _paint_crop(self, painter: QPainter, target: QRectF, fit: Fit) -> None:
        """A veil over what training does not see."""
        left, top, right, bottom = crop_geometry.seen(fit, self._size)
        scale = target.width() / self._size[0]
        seen = QRectF(left, top, right - left, bottom - top)
        seen = QRectF(target.topLeft() + seen.topLeft() * scale, seen.size() * scale)
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
        if event.type() == event.Type.PaletteChange and hasattr(self, "_show_mask"):
            self._restyle()
            self.update()
        super().changeEvent(event)

    def _restyle(self) -> None:
        for button, icon in ((self._crop, "crop"), (self._mask, "brush"), (self._show_mask, "mask")):
            button.setIcon(theme.icon(icon))

    def _on_loaded(self, loaded: _Loaded) -> None:
        if loaded.wanted != self._wanted:
            return
        self.problem, self._size, self._veil = loaded.problem, loaded.size, loaded.veil
        self._pixmap = None if loaded.image is None else QPixmap.fromImage(loaded.image)
        self.update()


def _load(wanted: _Wanted) -> _Loaded:
    """Decodes in a thread; a file that is gone or broken gives a sentence. A mask that cannot be read is not shown."""
    try:
        picture = pixels.open_rgb(wanted.path, wanted.background)
    except DataError as error:
        return _Loaded(wanted, None, tr("{error} It may have been moved; drop the folder again.", error=error))
    size, veil = picture.size, None
    picture.thumbnail((SIDE_PX, SIDE_PX))
    image = QImage(picture.tobytes(), picture.width, picture.height, 3 * picture.width, QImage.Format.Format_RGB888)
    with contextlib.suppress(DataError):  # the training that needs it says so
        if wanted.mask is not None and (mask := pixels.mask(wanted.path, wanted.mask, alpha=False)) is not None:
            veil = mask_veil.colours()[np.asarray(mask.resize(picture.size))]
    return _Loaded(wanted, image.copy(), "", size, veil)
