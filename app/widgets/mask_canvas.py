"""The surface of the mask painter: the picture, red where it is not trained; brush, eraser and fill, zoom and pan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QImage, QNativeGestureEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme
from app.background import Background
from app.texts import tr
from app.widgets import mask_veil
from app.widgets.mask_paint import MaskPaint, similar

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PySide6.QtGui import QFocusEvent, QKeyEvent, QMouseEvent, QWheelEvent

    from app.widgets.mask_paint import Area

TOOLS = ("brush", "eraser", "fill")
BRUSH_PX = (2, 300)  # across, in logical px of the screen
ZOOM = (1.0, 24.0)  # times as large as fits


@dataclass(frozen=True)
class _Flood:
    """A flooded area. paint: of the picture that it was asked for."""

    paint: MaskPaint
    area: NDArray[np.bool_]
    trains: bool


class MaskCanvas(QWidget):
    """Paints on one mask after the other. The right button does the opposite of the left.

    Attributes:
        paint: the mask, None while there is no picture.
        tool: one of TOOLS. softness: 0 to 1. tolerance: of fills, 0 to 255. opacity: of the red, 0 to 1.

    Signals:
        painted: the mask is another, or what can be undone.
        brushChanged(int): the brush's size in px of the screen.
    """

    painted = Signal()
    brushChanged = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("mask_canvas")
        self.setAccessibleName(tr("Mask"))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.paint: MaskPaint | None = None
        self.tool, self.softness, self.tolerance, self.opacity = "brush", 0.3, 24, mask_veil.OPACITY
        self._brush_px = 40
        self._colours = mask_veil.colours()
        self._image = QImage()
        self._rgb: NDArray[np.uint8] = np.zeros((1, 1, 3), np.uint8)
        self._veil: NDArray[np.uint32] = np.zeros((1, 1), np.uint32)
        self._words = ""
        self._zoom, self._middle = 1.0, QPointF(0.5, 0.5)  # what lies in the middle, as parts of the picture
        self._stroke_from: tuple[float, float] | None = None
        self._pan_from: QPointF | None = None
        self._space = False
        self._pointer: QPointF | None = None
        self._floods = Background("fill the mask")
        self._floods.done.connect(self._on_flooded)

    # ---- what it shows

    def show_picture(self, image: QImage | None, paint: MaskPaint | None, words: str = "") -> None:
        """Another picture and its mask of the same size, or words while there is none."""
        self.paint, self._words = paint, words
        self._image = QImage() if image is None else image
        self._stroke_from = self._pan_from = None
        if image is not None and paint is not None:
            plain = image.convertToFormat(QImage.Format.Format_RGB888)
            rows = np.frombuffer(plain.constBits(), np.uint8).reshape(plain.height(), plain.bytesPerLine())
            self._rgb = rows[:, : 3 * plain.width()].reshape(plain.height(), plain.width(), 3).copy()
            self._veil = self._colours[paint.values]
        self.fit_in()

    @property
    def brush_px(self) -> int:
        """The brush's width in px of the screen."""
        return self._brush_px

    def set_brush(self, brush_px: int) -> None:
        """Another width, within BRUSH_PX."""
        self._brush_px = min(max(brush_px, BRUSH_PX[0]), BRUSH_PX[1])
        self.update()
        self.brushChanged.emit(self._brush_px)

    def set_opacity(self, opacity: float) -> None:
        """How much of the picture the red hides, 0 to 1."""
        self.opacity = opacity
        self.update()

    def refresh(self, area: Area | None = None) -> None:
        """The mask is another, in this area or everywhere."""
        if self.paint is None:
            return
        x0, y0, x1, y1 = self.paint.whole if area is None else area
        if x0 < x1 and y0 < y1:
            self._veil[y0:y1, x0:x1] = self._colours[self.paint.values[y0:y1, x0:x1]]
            place = QRectF(self._to_screen(QPointF(x0, y0)), self._to_screen(QPointF(x1, y1)))
            self.update(place.toAlignedRect().adjusted(-2, -2, 2, 2))

    # ---- zoom and pan

    @property
    def zoom(self) -> float:
        """1 shows the whole picture."""
        return self._zoom

    def fit_in(self) -> None:
        """The whole picture."""
        self._zoom, self._middle = 1.0, QPointF(0.5, 0.5)
        self.update()

    def zoom_by(self, factor: float, at: QPointF | None = None) -> None:
        """Larger or smaller; what is at a place of the widget stays there."""
        at = QRectF(self.rect()).center() if at is None else at
        fixed = self._to_picture(at)
        self._zoom = min(max(self._zoom * factor, ZOOM[0]), ZOOM[1])
        self._pan(at - self._to_screen(fixed))

    def _pan(self, by: QPointF) -> None:
        target = self._target()
        x, y = self._middle.x() - by.x() / target.width(), self._middle.y() - by.y() / target.height()
        room = [min(0.5, side / 2 / shown) for side, shown in zip(
            (self.width(), self.height()), (target.width(), target.height()), strict=True
        )]  # fmt: skip
        self._middle = QPointF(*(min(max(v, r), 1 - r) for v, r in zip((x, y), room, strict=True)))
        self.update()

    def _target(self) -> QRectF:
        """Where the whole picture lies, in px of the widget; it may reach far beyond it."""
        size = self._image.size().toSizeF()
        if self._image.isNull():
            size = QSize(1, 1).toSizeF()
        size = size.scaled(self.size().toSizeF(), Qt.AspectRatioMode.KeepAspectRatio) * self._zoom
        centre = QRectF(self.rect()).center()
        corner = centre - QPointF(self._middle.x() * size.width(), self._middle.y() * size.height())
        return QRectF(corner, size)

    @property
    def scale(self) -> float:
        """Logical px of the screen by px of the mask."""
        return self._target().width() / max(1, self._image.width())

    def _to_screen(self, at: QPointF) -> QPointF:
        return self._target().topLeft() + at * self.scale

    def _to_picture(self, at: QPointF) -> QPointF:
        return (at - self._target().topLeft()) / self.scale

    # ---- mouse and keys

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begins a stroke, fills, or begins to pan."""
        if self.paint is None or self._stroke_from is not None:
            return
        at, button = event.position(), event.button()
        if button == Qt.MouseButton.MiddleButton or (button == Qt.MouseButton.LeftButton and self._space):
            self._pan_from = at
            self.setCursor(Qt.CursorShape.ClosedHandCursor)
        elif button in (Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton):
            trains = (self.tool != "eraser") == (button == Qt.MouseButton.LeftButton)
            place = self._to_picture(at)
            if self.tool == "fill":
                self._flood(place, trains=trains)
            else:
                self._stroke_from = (place.x(), place.y())
                self.refresh(self.paint.begin(trains=trains))
                self._stroke_to(place)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Goes on with it."""
        at = event.position()
        before, self._pointer = self._pointer, at
        if self._pan_from is not None:
            self._pan(at - self._pan_from)
            self._pan_from = at
        elif self._stroke_from is not None:
            self._stroke_to(self._to_picture(at))
        for place in (before, at):
            if place is not None:
                self.update(self._ring(place).toAlignedRect().adjusted(-3, -3, 3, 3))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """The stroke is done."""
        if self._pan_from is not None:
            self._pan_from = None
            self._show_cursor()
        elif self._stroke_from is not None and self.paint is not None:
            self._stroke_from = None
            self.paint.end()
            self.painted.emit()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """The brush's size; with Ctrl zooms."""
        steps = event.angleDelta().y() / 120
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.zoom_by(1.2**steps, event.position())
        elif steps:
            self.grow(1 if steps > 0 else -1)
        event.accept()

    def grow(self, steps: int) -> None:
        """A larger (1) or smaller (-1) brush, by a tenth."""
        self.set_brush(self._brush_px + steps * max(1, self._brush_px // 10))

    def event(self, event: QEvent) -> bool:
        """Pinching zooms."""
        if isinstance(event, QNativeGestureEvent) and event.gestureType() == Qt.NativeGestureType.ZoomNativeGesture:
            self.zoom_by(1 + event.value(), event.position())
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Space makes the mouse pan."""
        if event.key() == Qt.Key.Key_Space:
            self._space = True
            self._show_cursor()
        else:
            super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        """The end of that."""
        if event.key() == Qt.Key.Key_Space and not event.isAutoRepeat():
            self._space = False
            self._show_cursor()
        else:
            super().keyReleaseEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """The release of a key would not be heard."""
        self._space = False
        self._show_cursor()
        super().focusOutEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        """No brush is shown."""
        self._pointer = None
        self.update()

    def _show_cursor(self) -> None:
        self.setCursor(Qt.CursorShape.OpenHandCursor if self._space else Qt.CursorShape.CrossCursor)

    def _stroke_to(self, place: QPointF) -> None:
        if self.paint is None or self._stroke_from is None:
            return
        end = (place.x(), place.y())
        radius = self._brush_px / 2 / self.scale
        self.refresh(self.paint.stroke(self._stroke_from, end, radius, self.softness))
        self._stroke_from = end

    def _flood(self, place: QPointF, *, trains: bool) -> None:
        paint, rgb, tolerance = self.paint, self._rgb, self.tolerance
        at = (int(place.x()), int(place.y()))
        if paint is not None and 0 <= at[0] < rgb.shape[1] and 0 <= at[1] < rgb.shape[0]:
            self._floods.run(lambda: _Flood(paint, similar(rgb, at, tolerance), trains))

    def _on_flooded(self, flood: _Flood) -> None:
        if flood.paint is self.paint and self._stroke_from is None:
            flood.paint.fill(flood.area, trains=flood.trains)
            self.refresh()
            self.painted.emit()

    # ---- painting

    def sizeHint(self) -> QSize:
        """As large as may be."""
        return QSize(theme.space(90), theme.space(70))

    def minimumSizeHint(self) -> QSize:
        """Small enough for any screen."""
        return QSize(theme.space(30), theme.space(20))

    def paintEvent(self, event: QPaintEvent) -> None:
        """The picture, the red over it, and the brush."""
        painter = QPainter(self)
        if self.paint is None:
            painter.setPen(theme.colour("muted"))
            area = QRectF(self.rect()).adjusted(24, 8, -24, -8)
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self._words)
            return
        target = self._target()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, self.scale < 4)
        painter.drawImage(target, self._image)
        painter.setOpacity(self.opacity)
        painter.drawImage(target, mask_veil.image(self._veil))
        painter.setOpacity(1)
        if self._pointer is not None and self.tool != "fill" and not self._space:
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setBrush(Qt.BrushStyle.NoBrush)
            for colour, line in ((QColor(0, 0, 0, 160), 3.0), (QColor(255, 255, 255), 1.2)):
                painter.setPen(QPen(colour, line))
                painter.drawEllipse(self._ring(self._pointer))

    def _ring(self, at: QPointF) -> QRectF:
        half = self._brush_px / 2
        return QRectF(at.x() - half, at.y() - half, 2 * half, 2 * half)

    def changeEvent(self, event: QEvent) -> None:
        """Repaints in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange:
            self.update()
        super().changeEvent(event)
