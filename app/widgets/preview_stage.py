"""The previews of one step, large: one picture for each prompt, as many side by side as give the largest pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QFontMetricsF,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
    QPixmap,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from app import theme
from app.texts import tr
from app.widgets.previews import Previews, step_name

if TYPE_CHECKING:
    from pathlib import Path

    from app.widgets.picture_loader import PictureLoader


class PreviewStage(QWidget):
    """Painted pictures with their prompt below.

    Signals:
        enlarged(int, int): prompt number and step of a picture that was clicked, or on which Enter was pressed.
    """

    enlarged = Signal(int, int)

    def __init__(self, loader: PictureLoader, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("preview_stage")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._previews, self._step, self._current, self._hovered = Previews(), 0, 0, -1
        self._loader = loader
        loader.loaded.connect(self._on_loaded)

    def show_step(self, previews: Previews, step: int) -> None:
        """Shows each prompt as it looked at this step, or at the last one before at which it was drawn."""
        self._previews, self._step = previews, step
        self._current = min(self._current, max(0, previews.rows - 1))
        self.setAccessibleName(tr("Previews, {step}", step=step_name(step)))
        self.update()

    def shown(self) -> list[Path | None]:
        """The files that are shown."""
        latest = [self._previews.latest(row, self._step) for row in range(self._previews.rows)]
        return [found[1] if found else None for found in latest]

    def cell(self, row: int) -> QRectF:
        """Where the picture of a prompt is."""
        columns, side = self._grid()
        gap, caption = theme.space(1), self._caption_height()
        rows = -(-self._previews.rows // columns)
        left = (self.width() - columns * side - (columns - 1) * gap) / 2
        top = max(0.0, (self.height() - rows * (side + caption) - (rows - 1) * gap) / 2)
        x, y = row % columns, row // columns
        return QRectF(left + x * (side + gap), top + y * (side + caption + gap), side, side)

    def sizeHint(self) -> QSize:
        """Room for a row of pictures."""
        return QSize(theme.space(70), theme.space(24))

    def minimumSizeHint(self) -> QSize:
        """A row of small pictures."""
        return QSize(theme.space(24), theme.space(14))

    # ---- Qt

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """The picture under the mouse is the current one."""
        row = self._row_at(event.position())
        if row >= 0:
            self._current = row
            self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """A click enlarges."""
        if event.button() == Qt.MouseButton.LeftButton and self._row_at(event.position()) == self._current:
            self._enlarge()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """What can be clicked shows itself."""
        row = self._row_at(event.position())
        if row != self._hovered:
            self._hovered = row
            self.setCursor(Qt.CursorShape.PointingHandCursor if row >= 0 else Qt.CursorShape.ArrowCursor)
            self.update()

    def leaveEvent(self, event: QEvent) -> None:
        """Nothing is under the mouse."""
        self._hovered = -1
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrow keys go from picture to picture, Enter enlarges."""
        columns = self._grid()[0]
        moves = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1, Qt.Key.Key_Up: -columns, Qt.Key.Key_Down: columns}
        if event.key() in moves:
            to = self._current + moves[Qt.Key(event.key())]
            if 0 <= to < self._previews.rows:
                self._current = to
                self.update()
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self._enlarge()
        else:
            super().keyPressEvent(event)

    def event(self, event: QEvent) -> bool:
        """The whole prompt as a tooltip."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            row = self._row_at(QPointF(event.pos()))
            QToolTip.showText(event.globalPos(), self._previews.prompt(row) if row >= 0 else "", self)
            return True
        return super().event(event)

    def changeEvent(self, event: QEvent) -> None:
        """Another theme."""
        if event.type() == QEvent.Type.PaletteChange:
            self.update()
        super().changeEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Pictures and prompts."""
        if not self._previews.rows:
            return
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        for row in range(self._previews.rows):
            self._paint_cell(painter, row)

    # ---- inside

    def _paint_cell(self, painter: QPainter, row: int) -> None:
        square = self.cell(row)
        found = self._previews.latest(row, self._step)
        pixmap = None if found is None else self._loader.get(found[1], round(square.width() * self.devicePixelRatioF()))
        place = square if pixmap is None else _fitted(pixmap, square)
        outline = QPainterPath()
        outline.addRoundedRect(place, 8, 8)
        painter.fillPath(outline, theme.colour("raised"))
        if pixmap is not None:
            painter.save()
            painter.setClipPath(outline)
            painter.drawPixmap(place, pixmap, QRectF(pixmap.rect()))
            painter.restore()
        else:
            broken = found is not None and self._loader.is_broken(found[1])
            words = tr("This picture cannot be read") if broken else tr("Not drawn yet") if found is None else ""
            painter.setPen(theme.colour("muted"))
            painter.drawText(
                square.adjusted(6, 6, -6, -6), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, words
            )
        if row == self._hovered or (self.hasFocus() and row == self._current):
            painter.setPen(QPen(theme.colour("accent"), 2.5))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawPath(outline)
        metrics = QFontMetricsF(self.font())
        below = QRectF(square.left(), square.bottom(), square.width(), self._caption_height())
        text = metrics.elidedText(self._previews.prompt(row), Qt.TextElideMode.ElideRight, below.width())
        painter.setPen(theme.colour("muted"))
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, text)

    def _grid(self) -> tuple[int, float]:
        """How many pictures stand side by side, and how large they are, so that they are as large as can be."""
        count, gap, caption = max(1, self._previews.rows), theme.space(1), self._caption_height()
        best = (1, 0.0)
        for columns in range(1, count + 1):
            rows = -(-count // columns)
            across = (self.width() - (columns - 1) * gap) / columns
            down = (self.height() - (rows - 1) * gap) / rows - caption
            if min(across, down) > best[1]:
                best = (columns, min(across, down))
        return best[0], max(best[1], theme.space(4))

    def _caption_height(self) -> float:
        return QFontMetricsF(self.font()).height() + theme.space(0.5)

    def _row_at(self, at: QPointF) -> int:
        return next((row for row in range(self._previews.rows) if self.cell(row).contains(at)), -1)

    def _enlarge(self) -> None:
        found = self._previews.latest(self._current, self._step)
        if found is not None:
            self.enlarged.emit(self._current, found[0])

    def _on_loaded(self, path: Path) -> None:
        if path in self.shown():
            self.update()


def _fitted(pixmap: QPixmap, square: QRectF) -> QRectF:
    size = pixmap.size().toSizeF().scaled(square.size(), Qt.AspectRatioMode.KeepAspectRatio)
    out = QRectF(QPointF(), size)
    out.moveCenter(square.center())
    return out
