"""The checkpoints of a run side by side: a row for each prompt, a column for each step, the untrained base always in sight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QFont,
    QFontMetrics,
    QHelpEvent,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPixmap,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QToolTip, QWidget

from app import theme
from app.texts import tr
from app.widgets.checkpoint_geometry import GridGeometry
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
        self.setCornerWidget(QWidget())
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

    def set_content(
        self, prompts: Mapping[int, str], columns: Sequence[Column], pictures: Mapping[tuple[int, int], Path]
    ) -> None:
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

    # ---- geometry

    def _place(self) -> GridGeometry:
        """Where everything is now: cells are as large as fit, within limits that keep them recognisable."""
        gap, line = theme.space(1), self.fontMetrics().height()
        fitting = (self.viewport().width() - gap) // max(1, len(self._columns)) - gap - 1
        return GridGeometry(
            side=max(theme.space(13), min(theme.space(28), fitting)), gap=gap, header=2 * line + theme.space(2),
            prompt=line + theme.space(1.5), columns=len(self._columns), rows=len(self._rows),
            scrolled_x=self.horizontalScrollBar().value(), scrolled_y=self.verticalScrollBar().value(),
        )  # fmt: skip

    def cell_rect(self, prompt: int, step: int) -> QRectF:
        """Where a picture is, in px of the viewport."""
        row = next(i for i, (number, _) in enumerate(self._rows) if number == prompt)
        return self._place().cell(row, next(i for i, c in enumerate(self._columns) if c.step == step))

    def _cell_at(self, at: QPointF) -> tuple[int, int] | None:
        """Prompt number and step."""
        found = self._place().cell_at(at)
        return None if found is None else (self._rows[found[0]][0], self._columns[found[1]].step)

    def _lay_out(self) -> None:
        place = self._place()
        for bar, whole, room, page in (
            (self.horizontalScrollBar(), place.width, self.viewport().width(), place.side),
            (self.verticalScrollBar(), place.height, self.viewport().height(), place.row),
        ):
            bar.setRange(0, max(0, whole - room))
            bar.setPageStep(room)
            bar.setSingleStep(page // 3)
        self.viewport().update()

    def _reveal_chosen(self) -> None:
        index = next((i for i, c in enumerate(self._columns) if c.step == self._chosen), 0)
        if index == 0:
            return
        bar, place = self.horizontalScrollBar(), self._place()
        left, right = place.x(index) - place.gap, place.x(index) + place.side + place.gap
        bar.setValue(bar.value() + min(0, left - place.base_edge) + max(0, right - self.viewport().width()))

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
            moved = {Qt.Key.Key_Left: at - 1, Qt.Key.Key_Right: at + 1, Qt.Key.Key_Home: 0}.get(
                Qt.Key(event.key()), len(steps) - 1
            )
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
        column, cell = self._place().column_at(event.position().x()), self._cell_at(event.position())
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
        painter, place = QPainter(self.viewport()), self._place()
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        whole = self.viewport().rect()
        self._paint_ring(painter, place)
        for index in range(len(self._columns) - 1, -1, -1):
            painter.setClipRect(whole.adjusted(place.base_edge if index else 0, 0, 0, 0))
            self._paint_header(painter, place, index)
            painter.setClipRect(whole.adjusted(place.base_edge if index else 0, place.header, 0, 0))
            for prompt, _ in self._rows:
                self._paint_cell(painter, prompt, self._columns[index].step)
        painter.setClipRect(whole.adjusted(0, place.header, 0, 0))
        self._paint_prompts(painter, place)

    # ---- painting

    def _paint_ring(self, painter: QPainter, place: GridGeometry) -> None:
        """Around the whole chosen column."""
        index = next((i for i, c in enumerate(self._columns) if c.step == self._chosen and i), None)
        if index is None:
            return
        half = place.gap / 2
        ring = QRectF(place.x(index) - half, 1, place.side + 2 * half, place.height - place.scrolled_y - place.gap - 1)
        painter.setClipRect(self.viewport().rect().adjusted(place.base_edge, 0, 0, 0))
        painter.setPen(QPen(theme.colour("accent"), 3 if self.hasFocus() else 2))
        painter.setBrush(theme.colour("accent_soft"))
        painter.drawRoundedRect(ring, 10, 10)

    def _paint_header(self, painter: QPainter, place: GridGeometry, index: int) -> None:
        column, metrics = self._columns[index], self.fontMetrics()
        box = QRectF(place.x(index), theme.space(0.75), place.side, metrics.height())
        bold = QFont(self.font())
        bold.setWeight(QFont.Weight.DemiBold)
        painter.setFont(bold)
        painter.setPen(theme.colour("text"))
        title = QFontMetrics(bold).elidedText(column.title, Qt.TextElideMode.ElideRight, place.side)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, title)
        painter.setFont(self.font())
        is_chosen = index > 0 and column.step == self._chosen
        painter.setPen(theme.colour("good" if column.is_good else "text" if is_chosen else "muted"))
        note = metrics.elidedText(column.note, Qt.TextElideMode.ElideRight, place.side)
        painter.drawText(box.translated(0, metrics.height()), Qt.AlignmentFlag.AlignCenter, note)

    def _paint_prompts(self, painter: QPainter, place: GridGeometry) -> None:
        """One line over each row, from the left edge on, however far the columns are scrolled."""
        metrics = self.fontMetrics()
        painter.setFont(self.font())
        for row, (_, text) in enumerate(self._rows):
            line = QRectF(place.x(0), place.top(row), self.viewport().width() - 2 * place.x(0), place.prompt)
            shown = metrics.elidedText(text or tr("without a prompt"), Qt.TextElideMode.ElideRight, int(line.width()))
            painter.setPen(theme.colour("muted"))
            painter.drawText(line, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)

    def _paint_cell(self, painter: QPainter, prompt: int, step: int) -> None:
        rect = self.cell_rect(prompt, step)
        if not rect.intersects(QRectF(self.viewport().rect())):
            return
        path = self._pictures.get((prompt, step))
        pixmap = self.loader.get(path, round(rect.width() * self.devicePixelRatioF())) if path else None
        if pixmap is None or pixmap.isNull():
            text = tr("not drawn") if path is None else tr("cannot be read") if self.loader.is_broken(path) else ""
            painter.setPen(
                QPen(theme.colour("border"), 1, Qt.PenStyle.DashLine if path is None else Qt.PenStyle.SolidLine)
            )
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
