"""The picture of the crop editor: a rectangle with handles, thirds, the focus, and the part that training will see."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QImage, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app import theme
from app.texts import tr
from app.widgets import crop_geometry as geometry
from trainer import buckets
from trainer.edits import CENTRE

if TYPE_CHECKING:
    from PySide6.QtGui import QKeyEvent, QMouseEvent

    from app.widgets.crop_geometry import Point, Rectangle, Size
    from trainer.edits import Box
    from trainer.pixels import Fit

SETTLED_MS = 400  # after so long without a key, what the keys did is one step of undo
FAR_PX = 10  # how far an arrow key with Shift goes
_ARROWS = {Qt.Key.Key_Left: (-1, 0), Qt.Key.Key_Right: (1, 0), Qt.Key.Key_Up: (0, -1), Qt.Key.Key_Down: (0, 1)}
_HANDLES = ((-1, -1), (1, -1), (1, 1), (-1, 1), (0, -1), (1, 0), (0, 1), (-1, 0))  # corners first: edges reach them
_CURSORS = {
    (-1, -1): Qt.CursorShape.SizeFDiagCursor, (1, 1): Qt.CursorShape.SizeFDiagCursor, (1, -1): Qt.CursorShape.SizeBDiagCursor,
    (-1, 1): Qt.CursorShape.SizeBDiagCursor, (0, -1): Qt.CursorShape.SizeVerCursor, (0, 1): Qt.CursorShape.SizeVerCursor,
    (-1, 0): Qt.CursorShape.SizeHorCursor, (1, 0): Qt.CursorShape.SizeHorCursor,
}  # fmt: skip


class CropView(QWidget):
    """Shows a picture and changes its crop and focus with mouse and keys; a crop of the whole picture is none.

    Signals:
        moved: crop or focus are being changed.
        settled: they were changed; the end of a drag, or of some key presses.
    """

    moved = Signal()
    settled = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("crop_view")
        self.setAccessibleName(tr("Crop"))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._image: QImage | None = None
        self._words = ""
        self._size: Size = (1, 1)
        self._box: Rectangle = (0, 0, 1, 1)
        self._focus: Point = CENTRE
        self._rules = buckets.Rules(512)
        self.ratio: float | None = None
        self._grip: tuple[int, int] | str = ""  # what is being dragged: a handle, "focus", "box" or "new"
        self._start: tuple[Point, Rectangle] = ((0, 0), (0, 0, 1, 1))
        self._timer = QTimer(self, singleShot=True, interval=SETTLED_MS)
        self._timer.timeout.connect(self.settled)

    # ---- what it shows

    def show_picture(self, image: QImage | None, size: Size, words: str = "") -> None:
        """Another picture, of `size` px upright (`image` may be smaller), or words while there is none."""
        self._image, self._size, self._words = image, size, words
        self._grip = ""
        self.set_crop(None, CENTRE)

    def set_crop(self, box: Box | None, focus: Point) -> None:
        """The crop as it is kept."""
        self._timer.stop()
        self._box = (0, 0, *self._size) if box is None else box
        self._focus = focus
        self.update()

    def set_rules(self, rules: buckets.Rules) -> None:
        """How pictures are fitted into sizes."""
        self._rules = rules
        self.update()

    @property
    def box(self) -> Box | None:
        """The crop in whole px; None for the whole picture."""
        box = geometry.rounded(self._box, self._size)
        return None if box == (0, 0, *self._size) else box

    @property
    def focus(self) -> Point:
        """What stays in view, as parts of the crop."""
        return self._focus

    @property
    def fit(self) -> Fit:
        """How it would be trained."""
        box = self.box
        left, top, right, bottom = box or (0, 0, *self._size)
        return replace(buckets.fit(right - left, bottom - top, self._rules, self._focus), box=box)

    def shape(self, ratio: float | None) -> None:
        """Keeps a ratio of width by height from now on, and gives the crop that shape."""
        self.ratio = ratio
        if ratio is not None and self._image is not None:
            self._set(geometry.of_ratio(self._box, ratio, self._focus_at()), self._focus)
            self.settle()

    def settle(self) -> None:
        """What was done so far is done."""
        self._timer.stop()
        self.settled.emit()

    # ---- places

    def _target(self) -> QRectF:
        """Where the picture is drawn."""
        margin = theme.space(1.5)
        room = QRectF(self.rect()).adjusted(margin, margin, -margin, -margin)
        size = QSize(*self._size).toSizeF().scaled(room.size(), Qt.AspectRatioMode.KeepAspectRatio)
        out = QRectF(QPointF(), size)
        out.moveCenter(room.center())
        return out

    @property
    def scale(self) -> float:
        """Logical px of the screen by px of the picture."""
        return self._target().width() / self._size[0]

    def to_screen(self, at: Point) -> QPointF:
        """A place in the picture as one in the widget."""
        return self._target().topLeft() + QPointF(*at) * self.scale

    def to_picture(self, at: QPointF) -> Point:
        """A place in the widget as one in the picture."""
        place = (at - self._target().topLeft()) / self.scale
        return place.x(), place.y()

    def _on_screen(self, box: Rectangle) -> QRectF:
        return QRectF(self.to_screen(box[:2]), self.to_screen(box[2:]))

    def _focus_at(self, box: Rectangle | None = None) -> Point:
        left, top, right, bottom = box or self._box
        return left + self._focus[0] * (right - left), top + self._focus[1] * (bottom - top)

    def _is_whole(self) -> bool:
        return self.box is None

    def _grip_at(self, at: QPointF) -> tuple[int, int] | str:
        """What a press there takes hold of."""
        reach = theme.space(1.25)
        if (self.to_screen(self._focus_at()) - at).manhattanLength() < reach * 1.5:
            return "focus"
        frame = self._on_screen(self._box)
        for x, y in _HANDLES:
            place = QPointF(_along(frame.left(), frame.right(), x), _along(frame.top(), frame.bottom(), y))
            near_x = abs(at.x() - place.x()) < reach if x else frame.left() < at.x() < frame.right()
            near_y = abs(at.y() - place.y()) < reach if y else frame.top() < at.y() < frame.bottom()
            if near_x and near_y:
                return x, y
        return "box" if frame.contains(at) and not self._is_whole() else "new"

    # ---- changing it

    def _set(self, box: Rectangle, focus: Point) -> None:
        self._box, self._focus = box, (_part(focus[0]), _part(focus[1]))
        self.update()
        self.moved.emit()

    def _reshape(self, box: Rectangle) -> None:
        """Another rectangle; a focus that was chosen stays where it is in the picture."""
        focus = CENTRE
        if self._focus != CENTRE:
            x, y = self._focus_at()
            focus = ((x - box[0]) / (box[2] - box[0]), (y - box[1]) / (box[3] - box[1]))
        self._set(box, focus)

    def _put_focus(self, at: Point) -> None:
        left, top, right, bottom = self._box
        x, y = (at[0] - left) / (right - left), (at[1] - top) / (bottom - top)
        near = theme.space(0.75) / self.scale
        is_centre = abs(x - 0.5) * (right - left) < near and abs(y - 0.5) * (bottom - top) < near
        self._set(self._box, CENTRE if is_centre else (round(x, 4), round(y, 4)))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Takes hold of a handle, the focus, the rectangle, or begins a new one."""
        if event.button() != Qt.MouseButton.LeftButton or self._image is None:
            return
        self._grip = self._grip_at(event.position())
        self._start = (self.to_picture(event.position()), self._box)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Drags it."""
        if self._image is None:
            return
        if not self._grip:
            self._show_cursor(self._grip_at(event.position()))
            return
        at, (start, box) = self.to_picture(event.position()), self._start
        by = (at[0] - start[0], at[1] - start[1])
        if self._grip == "focus":
            self._put_focus(at)
        elif self._grip == "box":
            self._set(geometry.moved(box, by, self._size), self._focus)
        elif isinstance(self._grip, tuple):
            self._reshape(geometry.dragged(box, self._grip, at, self._size, self.ratio))
        elif max(map(abs, by)) * self.scale > theme.space(0.75):
            x, y = (min(max(0.0, p), float(whole)) for p, whole in zip(start, self._size, strict=True))
            corner = (1 if by[0] >= 0 else -1, 1 if by[1] >= 0 else -1)
            self._focus = CENTRE
            self._set(geometry.dragged((x, y, x, y), corner, at, self._size, self.ratio), CENTRE)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """The end of a drag."""
        if event.button() == Qt.MouseButton.LeftButton and self._grip:
            self._grip = ""
            self.settle()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Puts the focus there."""
        if event.button() == Qt.MouseButton.LeftButton and self._image is not None:
            self._grip = ""
            self._put_focus(self.to_picture(event.position()))
            self.settle()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrow keys move the rectangle by a pixel, with Ctrl its right and lower edge, with Alt the focus; Shift: by ten."""
        arrow, modifiers = _ARROWS.get(Qt.Key(event.key())), event.modifiers()
        if arrow is None or self._image is None:
            super().keyPressEvent(event)
            return
        step = FAR_PX if modifiers & Qt.KeyboardModifier.ShiftModifier else 1
        by = (arrow[0] * step, arrow[1] * step)
        if modifiers & Qt.KeyboardModifier.AltModifier:
            x, y = self._focus_at()
            width, height = self._box[2] - self._box[0], self._box[3] - self._box[1]
            self._set(self._box, ((x + by[0] - self._box[0]) / width, (y + by[1] - self._box[1]) / height))
        elif modifiers & Qt.KeyboardModifier.ControlModifier:
            corner = (self._box[2] + by[0], self._box[3] + by[1])
            handle = (abs(arrow[0]), abs(arrow[1]))
            self._reshape(geometry.dragged(self._box, handle, corner, self._size, self.ratio))
        else:
            self._set(geometry.moved(self._box, by, self._size), self._focus)
        self._timer.start()

    def _show_cursor(self, grip: tuple[int, int] | str) -> None:
        if isinstance(grip, tuple):
            self.setCursor(_CURSORS[grip])
        else:
            shapes = {"focus": Qt.CursorShape.PointingHandCursor, "box": Qt.CursorShape.SizeAllCursor}
            self.setCursor(shapes.get(grip, Qt.CursorShape.CrossCursor))

    # ---- painting

    def sizeHint(self) -> QSize:
        """As large as may be."""
        return QSize(theme.space(100), theme.space(70))

    def minimumSizeHint(self) -> QSize:
        """Small enough for any screen."""
        return QSize(theme.space(30), theme.space(20))

    def paintEvent(self, event: QPaintEvent) -> None:
        """The picture, veiled where training does not see it."""
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        if self._image is None:
            painter.setPen(theme.colour("muted"))
            area = QRectF(self.rect()).adjusted(24, 8, -24, -8)
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self._words)
            return
        target, fit = self._target(), self.fit
        frame, seen = self._on_screen(self._box), self._on_screen(geometry.seen(fit, self._size))
        painter.drawImage(target, self._image)
        _veil(painter, target, frame, 0.74)
        if fit.size != fit.resized:
            _veil(painter, frame, seen, 0.45)
        _thirds(painter, frame)
        if fit.size != fit.resized:
            painter.setPen(QPen(theme.colour("accent"), 1.5, Qt.PenStyle.DashLine))
            painter.drawRect(seen)
        self._paint_frame(painter, frame)
        _paint_focus(painter, self.to_screen(self._focus_at()))

    def _paint_frame(self, painter: QPainter, frame: QRectF) -> None:
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for colour, width in ((QColor(0, 0, 0, 120), 3.0), (QColor(255, 255, 255), 1.5)):
            painter.setPen(QPen(colour, width))
            painter.drawRect(frame)
        side = theme.space(1.1)
        painter.setPen(QPen(theme.colour("accent"), 2))
        painter.setBrush(QColor(255, 255, 255))
        for x, y in _HANDLES:
            at = QPointF(_along(frame.left(), frame.right(), x), _along(frame.top(), frame.bottom(), y))
            painter.drawRoundedRect(QRectF(at.x() - side / 2, at.y() - side / 2, side, side), 2, 2)

    def changeEvent(self, event: QEvent) -> None:
        """Repaints in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange:
            self.update()
        super().changeEvent(event)


def _veil(painter: QPainter, whole: QRectF, without: QRectF, opacity: float) -> None:
    path = QPainterPath()
    path.addRect(whole)
    path.addRect(without)
    tint = QColor(theme.colours().window)
    tint.setAlphaF(opacity)
    painter.fillPath(path, tint)


def _thirds(painter: QPainter, frame: QRectF) -> None:
    for colour, shift in ((QColor(0, 0, 0, 70), 1.0), (QColor(255, 255, 255, 150), 0.0)):
        painter.setPen(QPen(colour, 1))
        for part in (1 / 3, 2 / 3):
            x = frame.left() + frame.width() * part + shift
            y = frame.top() + frame.height() * part + shift
            painter.drawLine(QPointF(x, frame.top()), QPointF(x, frame.bottom()))
            painter.drawLine(QPointF(frame.left(), y), QPointF(frame.right(), y))


def _paint_focus(painter: QPainter, at: QPointF) -> None:
    """A small target, seen on any ground."""
    radius = theme.space(1)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for colour, width in ((QColor(255, 255, 255), 4.0), (theme.colour("accent"), 2.0)):
        painter.setPen(QPen(colour, width))
        painter.drawEllipse(at, radius, radius)
        for x, y in _ARROWS.values():
            way = QPointF(x, y)
            painter.drawLine(at + way * radius * 0.6, at + way * radius * 1.5)


def _along(near: float, far: float, sign: int) -> float:
    return near if sign < 0 else far if sign > 0 else (near + far) / 2


def _part(value: float) -> float:
    return min(1.0, max(0.0, value))
