"""All previews of a run in a table: rows are prompts, columns are steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPainterPath, QPen
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from app import theme
from app.texts import tr
from app.widgets.previews import Previews, step_name

if TYPE_CHECKING:
    from pathlib import Path

    from app.widgets.picture_loader import PictureLoader

ANY = Qt.ItemDataRole.UserRole  # the path of a cell's picture


class PreviewModel(QAbstractTableModel):
    """Cells hold the pixmap (DecorationRole), the path (UserRole) and words for screen readers."""

    def __init__(self, loader: PictureLoader, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.previews = Previews()
        self.side_px = 192
        self._steps: list[int] = []
        self._rows = 0
        self._loader = loader
        loader.loaded.connect(self._on_loaded)

    def refresh(self, previews: Previews) -> None:
        """Takes what is there now; a run that goes on only adds columns and fills cells."""
        steps, rows = previews.steps(), previews.rows
        old = self._steps
        if rows == self._rows and steps[: len(old)] == old:
            if len(steps) > len(old):
                self.beginInsertColumns(QModelIndex(), len(old), len(steps) - 1)
                self.previews, self._steps = previews, steps
                self.endInsertColumns()
            else:
                self.previews = previews
            if rows and steps:
                self.dataChanged.emit(self.index(0, max(0, len(old) - 1)), self.index(rows - 1, len(steps) - 1))
        else:
            self.beginResetModel()
            self.previews, self._steps, self._rows = previews, steps, rows
            self.endResetModel()

    def step_at(self, column: int) -> int:
        """The step of a column."""
        return self._steps[column]

    def column_of(self, step: int) -> int:
        """The column of a step."""
        return self._steps.index(step)

    # ---- Qt

    def rowCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: B008 - Qt's own default
        """Prompts."""
        return 0 if parent.isValid() else self._rows

    def columnCount(self, parent: QModelIndex | QPersistentModelIndex = QModelIndex()) -> int:  # noqa: B008
        """Steps."""
        return 0 if parent.isValid() else len(self._steps)

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """A cell's picture and words."""
        if not index.isValid():
            return None
        row, step = index.row(), self._steps[index.column()]
        path = self.previews.path(row, step)
        if role == Qt.ItemDataRole.DecorationRole:
            return None if path is None else self._loader.get(path, self.side_px)
        if role == ANY:
            return path
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return f"{self.previews.prompt(row)}\n{step_name(step)}" if path else None
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Steps above, prompts at the left."""
        across = orientation == Qt.Orientation.Horizontal
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            if not across:
                return self.previews.prompt(section)
            step = self._steps[section]
            return f"{step:,}" if step and role == Qt.ItemDataRole.DisplayRole else step_name(step)
        if role == Qt.ItemDataRole.TextAlignmentRole and not across:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return None

    def _on_loaded(self, path: Path) -> None:
        for row, by_step in self.previews.files.items():
            for step, its_path in by_step.items():
                if its_path == path and step in self._steps and row < self._rows:
                    cell = self.index(row, self._steps.index(step))
                    self.dataChanged.emit(cell, cell, [Qt.ItemDataRole.DecorationRole])
                    return


class _Painter(QStyledItemDelegate):
    """A picture with round corners; a frame around the current one and the selected ones."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """One cell."""
        box = QRectF(option.rect).adjusted(3, 3, -3, -3)
        side = min(box.width(), box.height())
        square = QRectF(0, 0, side, side)
        square.moveCenter(box.center())
        painter.save()
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        outline = QPainterPath()
        outline.addRoundedRect(square, 5, 5)
        pixmap = index.data(Qt.ItemDataRole.DecorationRole)
        if index.data(ANY) is not None:
            painter.fillPath(outline, theme.colour("raised"))
        if pixmap is not None:
            painter.setClipPath(outline)
            painter.drawPixmap(square, pixmap, _middle(pixmap.size()))
            painter.setClipping(False)
        if option.state & QStyle.StateFlag.State_Selected:
            painter.setPen(QPen(theme.colour("accent"), 2.5))
            painter.drawPath(outline)
        painter.restore()


def _middle(size: QSize) -> QRectF:
    """The largest square in the middle of a picture."""
    side = min(size.width(), size.height())
    return QRectF((size.width() - side) / 2, (size.height() - side) / 2, side, side)


class PreviewTable(QTableView):
    """The table as it is seen; it stays at the newest column unless the user has scrolled back.

    Signals:
        enlarged(int, int): prompt number and step of a picture that was clicked, or on which Enter was pressed.
        stepChosen(int): the keyboard went to a picture of this step.
    """

    enlarged = Signal(int, int)
    stepChosen = Signal(int)

    def __init__(self, loader: PictureLoader, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("preview_table")
        self.setAccessibleName(tr("All previews: a row for each prompt, a column for each step"))
        self.previews_model = PreviewModel(loader, self)
        self.setModel(self.previews_model)
        self.setItemDelegate(_Painter(self))
        theme.role(self, "plain")
        self.setShowGrid(False)
        self.setCornerButtonEnabled(False)
        self.setTabKeyNavigation(False)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setMouseTracking(True)
        side, across, down = theme.space(7.5), self.horizontalHeader(), self.verticalHeader()
        for header in (across, down):
            header.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
            header.setDefaultSectionSize(side)
            header.setHighlightSections(False)
            header.setSectionsClickable(False)
        across.setFixedHeight(theme.space(3.4))
        down.setFixedWidth(theme.space(17))
        down.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.previews_model.side_px = round(side * 2)
        self.clicked.connect(self._on_clicked)
        self.selectionModel().currentChanged.connect(self._on_current_changed)
        self._quiet = False  # whether the current cell changes by other means than the keyboard
        self._plain_click = True
        self._stay = True  # at the newest column, until the user scrolls back
        bar = self.horizontalScrollBar()
        bar.rangeChanged.connect(self._on_range_changed)
        bar.valueChanged.connect(self._on_scrolled)

    def refresh(self, previews: Previews) -> None:
        """Shows what is there now."""
        self._quiet = True
        self.previews_model.refresh(previews)
        self._quiet = False
        self.updateGeometry()

    def show_step(self, step: int) -> None:
        """Brings a step's column into view."""
        row = max(0, self.rowAt(1))  # the rows stay where they are
        self.scrollTo(self.previews_model.index(row, self.previews_model.column_of(step)))

    def chosen(self) -> list[tuple[int, int]]:
        """Prompt number and step of the selected pictures, in the order of steps."""
        model = self.previews_model
        cells = [(i.row(), model.step_at(i.column())) for i in self.selectedIndexes() if i.data(ANY) is not None]
        return sorted(cells, key=lambda cell: (cell[1], cell[0]))

    def sizeHint(self) -> QSize:
        """As high as all rows together."""
        rows = max(1, self.previews_model.rowCount())
        height = self.horizontalHeader().height() + rows * self.verticalHeader().defaultSectionSize() + theme.space(2)
        return QSize(theme.space(50), height)

    # ---- Qt

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Ctrl and Shift choose several pictures, for a comparison; a plain click enlarges."""
        self._plain_click = event.modifiers() == Qt.KeyboardModifier.NoModifier
        self._quiet = True
        super().mousePressEvent(event)
        self._quiet = False

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter enlarges."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self._enlarge(self.currentIndex())
        else:
            super().keyPressEvent(event)

    # ---- inside

    def _enlarge(self, index: QModelIndex) -> None:
        if index.isValid() and index.data(ANY) is not None:
            self.enlarged.emit(index.row(), self.previews_model.step_at(index.column()))

    def _on_clicked(self, index: QModelIndex) -> None:
        if self._plain_click:
            self._enlarge(index)

    def _on_range_changed(self, _low: int, high: int) -> None:
        if self._stay:
            self.horizontalScrollBar().setValue(high)

    def _on_scrolled(self, value: int) -> None:
        self._stay = value >= self.horizontalScrollBar().maximum() - 2

    def _on_current_changed(self, current: QModelIndex, _previous: QModelIndex) -> None:
        if current.isValid() and not self._quiet and self.hasFocus():
            self.stepChosen.emit(self.previews_model.step_at(current.column()))
