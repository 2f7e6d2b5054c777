"""The checkpoints of a run side by side: a row for each prompt, a column for each step, the untrained base always in sight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFont, QFontMetrics, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap, QResizeEvent
from PySide6.QtWidgets import QAbstractScrollArea, QToolTip, QWidget

from app import theme
from app.texts import tr
from app.widgets.picture_loader import PictureLoader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

BASE = 0  # the step of the untrained base


@dataclass(frozen=True)
class Column:
    """A step. note: a muted line under its title; is_good: the note is good news."""

    step: int
    title: str
    note: str = ""
    is_good: bool = False


class CheckpointGrid(QAbstractScrollArea):
    """Pictures by prompt and step. Left and right choose a step, Enter enlarges.

    Attributes:
        loader: decodes the pictures.

    Signals:
        stepChosen(int): another checkpoint was chosen.
        enlargeWanted(int, int): prompt number and step of a picture to look at.
    """

    stepChosen = Signal(int)
    enlargeWanted = Signal(int, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("checkpoint_grid")
        self.setAccessibleName(tr("Checkpoints by prompt"))
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFrameShape(self.Shape.NoFrame)
        self.viewport().setMouseTracking(True)
        self.viewport().setAutoFillBackground(False)
        self._columns: list[Column] = []
        self._rows: list[tuple[int, str]] = []
        self._pictures: dict[tuple[int, int], Path] = {}
        self._chosen = BASE
        self._hovered: tuple[int, int] | None = None
        self.loader = PictureLoader(self)
        self.loader.loaded.connect(self._on_loaded)

    # ---- content

    def set_content(self, prompts: Mapping[int, str], columns: Sequence[Column], pictures: Mapping[tuple[int, int], Path]) -> None:
        """Shows other results. columns: the base first; the chosen step stays when it is still there, else it is the last."""
        self._rows = list(prompts.items()) or [(0, "")]
        self._columns = list(columns)
        self._pictures = dict(pictures)
        for path in self._pictures.values():
            if self.loader.is_broken(path):
                self.loader.forget(path)
        steps = self.steps()
        self._chosen = self._chosen if self._chosen in steps else steps[-1] if steps else BASE
        self._hovered = None
        self._lay_out()
        self._reveal_chosen()

    def steps(self) -> list[int]:
        """The steps that can be chosen."""
        return [c.step for c in self._columns if c.step != BASE]

    @property
    def chosen(self) -> int:
        """The chosen step; 0 when there is none."""
        return self._chosen

    def choose(self, step: int) -> None:
        """Chooses a step."""
        if step in self.steps() and step != self._chosen:
            self._chosen = step
            self._reveal_chosen()
            self.setAccessibleDescription(tr("Step {step} is chosen", step=step))
            self.viewport().update()
            self.stepChosen.emit(step)

    # ---- geometry, in px of the viewport

    def _gap(self) -> int:
        return theme.space(1)

    def _side(self) -> int:
        """Of a cell: as many as fit, within limits that keep them recognisable."""
        room = self.viewport().width() - 2 * self._gap()
        fitting = room // max(1, len(self._columns)) - self._gap() - 1
        return max(theme.space(13), min(theme.space(24), fitting))

    def _header_height(self) -> int:
        return 2 * self.fontMetrics().height() + theme.space(2)

    def _prompt_height(self) -> int:
        return self.fontMetrics().height() + theme.space(1.5)

    def _row_height(self) -> int:
        return self._prompt_height() + self._side()

    def _column_x(self, index: int) -> int:
        """Left edge of a column's cells; the base stays where it is."""
        x = self._gap() + index * (self._side() + self._gap()) + (0 if index == 0 else self._gap())
        return x if index == 0 else x - self.horizontalScrollBar().value()

    def cell_rect(self, prompt: int, step: int) -> QRectF:
        """Where a picture is."""
        row = next(i for i, (number, _) in enumerate(self._rows) if number == prompt)
        column = next(i for i, c in enumerate(self._columns) if c.step == step)
        top = self._header_height() + row * self._row_height() + self._prompt_height() - self.verticalScrollBar().value()
        return QRectF(self._column_x(column), top, self._side(), self._side())

    def _column_at(self, x: float) -> int | None:
        """A column's index; the base lies over those that are scrolled under it."""
        for index in range(len(self._columns)):
            if self._column_x(index) <= x < self._column_x(index) + self._side() + (self._gap() if index == 0 else 0):
                return index
        return None

    def _cell_at(self, at: QPointF) -> tuple[int, int] | None:
        column = self._column_at(at.x())
        if column is None or at.y() < self._header_height():
            return None
        row, rest = divmod(int(at.y()) - self._header_height() + self.verticalScrollBar().value(), self._row_height())
        if row >= len(self._rows) or rest < self._prompt_height():
            return None
        return self._rows[row][0], self._columns[column].step

    def _lay_out(self) -> None:
        width = self._gap() + len(self._columns) * (self._side() + self._gap()) + 2 * self._gap()
        height = self._header_height() + len(self._rows) * self._row_height() + 2 * self._gap()
        for bar, whole, room, page in (
            (self.horizontalScrollBar(), width, self.viewport().width(), self._side()),
            (self.verticalScrollBar(), height, self.viewport().height(), self._row_height()),
        ):
            bar.setRange(0, max(0, whole - room))
            bar.setPageStep(room)
            bar.setSingleStep(page // 3)
        self.viewport().update()

    def _reveal_chosen(self) -> None:
        index = next((i for i, c in enumerate(self._columns) if c.step == self._chosen), 0)
        if index == 0:
            return
        bar, left = self.horizontalScrollBar(), self._column_x(index)
        bar.setValue(bar.value() + min(0, left - self._column_x(0) - self._side() - 2 * self._gap()))
        bar.setValue(bar.value() + max(0, self._column_x(index) + self._side() + 2 * self._gap() - self.viewport().width()))

    # ---- Qt

    def sizeHint(self) -> QSize:
        """Room for a base, three steps and two prompts."""
        return QSize(theme.space(70), theme.space(50))

    def minimumSizeHint(self) -> QSize:
        """Room for a base and one step."""
        return QSize(theme.space(36), theme.space(26))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Cells grow with the window."""
        self._lay_out()
        self._reveal_chosen()
        super().resizeEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and right choose; Enter or the space bar enlarges."""
        steps = self.steps()
        if event.key() in (Qt.Key.Key_Left, Qt.Key.Key_Right, Qt.Key.Key_Home, Qt.Key.Key_End) and steps:
            at = steps.index(self._chosen)
            moved = {Qt.Key.Key_Left: at - 1, Qt.Key.Key_Right: at + 1, Qt.Key.Key_Home: 0}.get(Qt.Key(event.key()), len(steps) - 1)
            self.choose(steps[min(len(steps) - 1, max(0, moved))])
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            shown = next((number for number, _ in self._rows if (number, self._chosen) in self._pictures), None)
            if shown is not None:
                self.enlargeWanted.emit(shown, self._chosen)
        else:
            super().keyPressEvent(event)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Chooses a column; a picture in the chosen one, or of the base, is enlarged."""
        if event.button() != Qt.MouseButton.LeftButton:
            return
        column, cell = self._column_at(event.position().x()), self._cell_at(event.position())
        if column is None:
            return
        step = self._columns[column].step
        if step in (BASE, self._chosen):
            if cell is not None and cell in self._pictures:
                self.enlargeWanted.emit(*cell)
        else:
            self.choose(step)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Shows what a click does."""
        self._hover(self._cell_at(event.position()))

    def viewportEvent(self, event: QEvent) -> bool:
        """Tool tips with the whole prompt; the hover ends where the mouse leaves."""
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            cell = self._cell_at(QPointF(event.pos()))
            text = dict(self._rows).get(cell[0], "") if cell else ""
            QToolTip.showText(event.globalPos(), text, self.viewport())
            return True
        if event.type() == QEvent.Type.Leave:
            self._hover(None)
        return super().viewportEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Another theme or font."""
        if event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange) and hasattr(self, "_rows"):
            self._lay_out()
        super().changeEvent(event)

    def focusInEvent(self, event: object) -> None:
        """The ring grows stronger."""
        self.viewport().update()

    def focusOutEvent(self, event: object) -> None:
        """The ring grows weaker."""
        self.viewport().update()

    def scrollContentsBy(self, dx: int, dy: int) -> None:
        """Header and base stay, so all is painted anew."""
        self.viewport().update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The steps that scroll, then the base over them, then the header over both."""
        if not self._columns:
            return
        painter = QPainter(self.viewport())
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        whole, header = self.viewport().rect(), self._header_height()
        edge = self._column_x(0) + self._side() + self._gap()
        self._paint_ring(painter, edge)
        for index in range(len(self._columns) - 1, -1, -1):
            painter.setClipRect(whole if index == 0 else whole.adjusted(edge, 0, 0, 0))
            self._paint_header(painter, index)
            painter.setClipRect(whole.adjusted(edge if index else 0, header, 0, 0))
            for prompt, _ in self._rows:
                self._paint_cell(painter, prompt, self._columns[index].step)
        painter.setClipRect(whole.adjusted(0, header, 0, 0))
        self._paint_prompts(painter)

    # ---- painting

    def _paint_ring(self, painter: QPainter, edge: int) -> None:
        """Around the whole chosen column."""
        index = next((i for i, c in enumerate(self._columns) if c.step == self._chosen and i), None)
        if index is None:
            return
        half = self._gap() / 2
        bottom = self._header_height() + len(self._rows) * self._row_height() - self.verticalScrollBar().value() + self._gap()
        ring = QRectF(self._column_x(index) - half, 1, self._side() + 2 * half, bottom - 2)
        painter.setClipRect(self.viewport().rect().adjusted(edge, 0, 0, 0))
        painter.setPen(QPen(theme.colour("accent"), 3 if self.hasFocus() else 2))
        painter.setBrush(theme.colour("accent_soft"))
        painter.drawRoundedRect(ring, 10, 10)

    def _paint_header(self, painter: QPainter, index: int) -> None:
        column, metrics = self._columns[index], self.fontMetrics()
        box = QRectF(self._column_x(index), theme.space(0.75), self._side(), metrics.height())
        is_chosen = index > 0 and column.step == self._chosen
        bold = QFont(self.font())
        bold.setWeight(QFont.Weight.DemiBold)
        painter.setFont(bold)
        painter.setPen(theme.colour("text"))
        title = QFontMetrics(bold).elidedText(column.title, Qt.TextElideMode.ElideRight, self._side())
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, title)
        painter.setFont(self.font())
        painter.setPen(theme.colour("good" if column.is_good else "text" if is_chosen else "muted"))
        note = metrics.elidedText(column.note, Qt.TextElideMode.ElideRight, self._side())
        painter.drawText(box.translated(0, metrics.height()), Qt.AlignmentFlag.AlignCenter, note)

    def _paint_prompts(self, painter: QPainter) -> None:
        """One line over each row, from the left edge on, however far the columns are scrolled."""
        metrics = self.fontMetrics()
        painter.setFont(self.font())
        for row, (_, text) in enumerate(self._rows):
            top = self._header_height() + row * self._row_height() - self.verticalScrollBar().value()
            line = QRectF(self._gap(), top, self.viewport().width() - 2 * self._gap(), self._prompt_height())
            shown = metrics.elidedText(text or tr("without a prompt"), Qt.TextElideMode.ElideRight, int(line.width()))
            painter.setPen(theme.colour("muted"))
            painter.drawText(line, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)

    def _paint_cell(self, painter: QPainter, prompt: int, step: int) -> None:
        rect = self.cell_rect(prompt, step)
        if not rect.intersects(QRectF(self.viewport().rect())):
            return
        path = self._pictures.get((prompt, step))
        pixmap = self.loader.get(path, round(self._side() * self.devicePixelRatioF())) if path else None
        if pixmap is None or pixmap.isNull():
            text = tr("not drawn") if path is None else tr("cannot be read") if self.loader.is_broken(path) else ""
            painter.setPen(QPen(theme.colour("border"), 1, Qt.PenStyle.DashLine if path is None else Qt.PenStyle.SolidLine))
            painter.setBrush(theme.colour("window"))
            painter.drawRoundedRect(rect.adjusted(0.5, 0.5, -0.5, -0.5), 6, 6)
            painter.setPen(theme.colour("muted"))
            painter.drawText(rect, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, text)
            return
        _paint_picture(painter, rect, pixmap)
        if self._hovered == (prompt, step):
            painter.setPen(QPen(theme.colour("accent"), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(rect.adjusted(1, 1, -1, -1))
            if step in (BASE, self._chosen):
                side = theme.space(3)
                badge = QRectF(rect.right() - side - 6, rect.top() + 6, side, side)
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(theme.colour("surface"))
                painter.drawEllipse(badge)
                inner = badge.adjusted(side * 0.2, side * 0.2, -side * 0.2, -side * 0.2)
                icon = theme.pixmap("zoom", int(inner.width()))
                painter.drawPixmap(inner, icon, QRectF(icon.rect()))

    # ---- inside

    def _hover(self, cell: tuple[int, int] | None) -> None:
        cell = cell if cell in self._pictures else None
        if cell != self._hovered:
            self._hovered = cell
            self.viewport().setCursor(Qt.CursorShape.PointingHandCursor if cell else Qt.CursorShape.ArrowCursor)
            self.viewport().update()

    def _on_loaded(self, path: object) -> None:
        self.viewport().update()


def _paint_picture(painter: QPainter, rect: QRectF, pixmap: QPixmap) -> None:
    """The whole picture, centred; previews need not be square."""
    fitted = pixmap.size().toSizeF().scaled(rect.size(), Qt.AspectRatioMode.KeepAspectRatio)
    place = QRectF(QPointF(), fitted)
    place.moveCenter(rect.center())
    painter.fillRect(rect, theme.colour("raised"))
    painter.drawPixmap(place, pixmap, QRectF(pixmap.rect()))


def centre_of(grid: CheckpointGrid, prompt: int, step: int) -> QPoint:
    """The middle of a picture, for clicks of tests and tours."""
    return grid.cell_rect(prompt, step).center().toPoint()
