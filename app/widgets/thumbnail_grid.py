"""The grid of thumbnails: only what is visible is drawn, so that 5,000 pictures scroll as smoothly as ten."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QEvent, QItemSelection, QItemSelectionModel, QPoint, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QRegion
from PySide6.QtWidgets import QListView, QSlider

from app import theme
from app.texts import tr
from app.widgets.picture_list_model import PictureListModel
from app.widgets.picture_menu import PictureMenu
from app.widgets.thumbnail_delegate import ThumbnailDelegate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PySide6.QtCore import QItemSelectionRange
    from PySide6.QtGui import QContextMenuEvent, QKeyEvent, QMouseEvent, QPaintEvent, QResizeEvent, QWheelEvent
    from PySide6.QtWidgets import QWidget

    from app.pictures import Pictures
    from app.thumbnails import Thumbnails

__all__ = ["PictureListModel", "ThumbnailGrid"]
ZOOM_PX = (96, 256)
ZOOM_STEP_PX = 16
SETTLED_MS = 40  # after so long without scrolling, thumbnails that are out of sight are not made any more


class ThumbnailGrid(QListView):
    """Pictures to look at, select and leave out. Delete leaves out of training; no file is ever deleted here.

    Attributes:
        list_model: the rows and their filter.

    Signals:
        selectionChangedTo(list[int]): places in `Pictures.items`, in their order.
        activated(int): Return or a double click on a picture.
        zoomChanged(int): the thumbnails' size in px.
        cropWanted, maskWanted: of the selected pictures, from the menu.
    """

    selectionChangedTo = Signal(object)
    activated = Signal(int)
    zoomChanged = Signal(int)
    cropWanted = Signal()
    maskWanted = Signal()

    def __init__(self, pictures: Pictures, thumbnails: Thumbnails, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("thumbnail_grid")
        self.setAccessibleName(tr("Pictures"))
        self._pictures = pictures
        self._thumbnails = thumbnails
        self._selected: list[Path] = []
        self._current: Path | None = None
        self._restoring = False
        self.list_model = PictureListModel(pictures, self)
        self._delegate = ThumbnailDelegate(self.list_model, thumbnails, self)
        self._settled = QTimer(self, singleShot=True, interval=SETTLED_MS)
        self._settled.timeout.connect(self._on_settled)
        self._set_up()
        self.list_model.modelAboutToBeReset.connect(self._on_about_to_be_reset)
        self.list_model.modelReset.connect(self._on_reset)
        self.selectionModel().selectionChanged.connect(self._on_selection_changed)
        self.verticalScrollBar().valueChanged.connect(self._settled.start)
        thumbnails.ready.connect(self._on_ready)
        pictures.scanned.connect(thumbnails.recheck)

    def _set_up(self) -> None:
        self.setModel(self.list_model)
        self.setItemDelegate(self._delegate)
        self.setFlow(QListView.Flow.LeftToRight)
        self.setWrapping(True)
        self.setUniformItemSizes(True)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setSelectionMode(QListView.SelectionMode.ExtendedSelection)
        self.setSelectionRectVisible(True)
        self.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)  # or columns would come and go with it
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        self.setMouseTracking(True)
        self._spread()

    # ---- selection

    def selected(self) -> list[int]:
        """The selected pictures' places in `Pictures.items`, in their order."""
        return [self.list_model.source_index(row) for row in self._selected_rows()]

    def select(self, sources: Iterable[int]) -> None:
        """Selects these pictures, those that the filter shows, and makes the first of them current."""
        rows = self.list_model.rows_of(sources)
        self.selectionModel().select(self._selection(rows), QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if rows:
            first = self.list_model.index(rows[0])
            self.selectionModel().setCurrentIndex(first, QItemSelectionModel.SelectionFlag.NoUpdate)
            self.scrollTo(first)

    def current(self) -> int:
        """The place of the picture where the keyboard is, or -1."""
        index = self.currentIndex()
        return self.list_model.source_index(index.row()) if index.isValid() else -1

    def set_selected_included(self, included: bool) -> None:
        """Takes the selected pictures in or leaves them out of training."""
        self._pictures.set_included(self.selected(), included)

    # ---- size

    @property
    def zoom_px(self) -> int:
        """The thumbnails' longest side in logical px."""
        return self._delegate.zoom_px

    def set_zoom(self, zoom_px: int) -> None:
        """Another size, within `ZOOM_PX`; what was at the top stays in sight."""
        zoom_px = min(max(zoom_px, ZOOM_PX[0]), ZOOM_PX[1])
        if zoom_px == self.zoom_px:
            return
        top = self.indexAt(QPoint(self.gridSize().width() // 2, theme.space(2)))
        self._delegate.zoom_px = zoom_px
        self._spread()
        if top.isValid():
            self.scrollTo(top, QListView.ScrollHint.PositionAtTop)
        self.zoomChanged.emit(zoom_px)

    def make_zoom_slider(self) -> QSlider:
        """A slider for the size, to be put anywhere."""
        slider = QSlider(Qt.Orientation.Horizontal)
        slider.setObjectName("zoom")
        slider.setAccessibleName(tr("Size of the thumbnails"))
        slider.setToolTip(tr("Size of the thumbnails (Ctrl and the mouse wheel)"))
        slider.setRange(*ZOOM_PX)
        slider.setSingleStep(ZOOM_STEP_PX)
        slider.setPageStep(2 * ZOOM_STEP_PX)
        slider.setFixedWidth(theme.space(14))
        slider.setValue(self.zoom_px)
        slider.valueChanged.connect(self.set_zoom)
        self.zoomChanged.connect(slider.setValue)
        return slider

    def _spread(self) -> None:
        """Cells as wide as makes the columns fill the view."""
        tile = self._delegate.tile_size()
        wide = self.viewport().width() - 1
        cell = max(tile.width(), wide // max(1, wide // (tile.width() + theme.space(0.5))))
        size = QSize(cell, tile.height() + theme.space(0.75))
        self._delegate.cell = size
        if size != self.gridSize():
            self.setGridSize(size)
        self.verticalScrollBar().setSingleStep(max(20, size.height() // 3))

    # ---- what the user does

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Delete leaves out, Return activates, Ctrl + and - zoom; the rest is the list's."""
        if event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.set_selected_included(False)
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self.current() >= 0:
                self.activated.emit(self.current())
        elif event.matches(QKeySequence.StandardKey.ZoomIn):
            self.set_zoom(self.zoom_px + ZOOM_STEP_PX)
        elif event.matches(QKeySequence.StandardKey.ZoomOut):
            self.set_zoom(self.zoom_px - ZOOM_STEP_PX)
        else:
            super().keyPressEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Activates the picture."""
        index = self.indexAt(event.position().toPoint())
        if index.isValid() and event.button() == Qt.MouseButton.LeftButton:
            self.activated.emit(self.list_model.source_index(index.row()))

    def wheelEvent(self, event: QWheelEvent) -> None:
        """With Ctrl: zooms."""
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.set_zoom(self.zoom_px + (ZOOM_STEP_PX if event.angleDelta().y() > 0 else -ZOOM_STEP_PX))
            event.accept()
        else:
            super().wheelEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """What can be done with the selected pictures."""
        selected = self.selected()
        if selected:
            menu = PictureMenu(self._pictures, selected, self)
            menu.cropWanted.connect(self.cropWanted)
            menu.maskWanted.connect(self.maskWanted)
            menu.popup(event.globalPos())

    # ---- keeping up

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paints while the thumbnails' threads stand still."""
        with self._thumbnails.held_back():
            super().paintEvent(event)

    def visualRegionForSelection(self, selection: QItemSelection) -> QRegion:
        """What is painted anew when the selection changes, of the rows in sight; Qt would go through all of them."""
        seen, out = self.visible_rows(), QRegion()
        for part in cast("Iterable[QItemSelectionRange]", selection):
            for row in range(max(part.top(), seen.start), min(part.bottom() + 1, seen.stop)):
                out += self.visualRect(self.list_model.index(row))
        return out

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Spreads the columns anew."""
        self._spread()
        super().resizeEvent(event)
        self._settled.start()

    def changeEvent(self, event: QEvent) -> None:
        """Renews colours, icons and distances."""
        super().changeEvent(event)
        changed = event.type() in (QEvent.Type.PaletteChange, QEvent.Type.FontChange, QEvent.Type.StyleChange)
        if changed and hasattr(self, "_delegate"):  # Qt sends some while the widget is being made
            self._delegate.renew()
            self._spread()
            self.viewport().update()

    def visible_rows(self) -> range:
        """The rows in sight."""
        cell = self.gridSize()
        columns = max(1, (self.viewport().width() - 1) // cell.width())
        top = self.verticalScrollBar().value()
        first = top // cell.height() * columns
        last = ((top + self.viewport().height()) // cell.height() + 1) * columns
        return range(min(first, self.list_model.rowCount()), min(last, self.list_model.rowCount()))

    def _on_settled(self) -> None:
        self._thumbnails.keep_only(self.list_model.item(row).picture.path for row in self.visible_rows())

    def _on_ready(self, path: str) -> None:
        row = self.list_model.row_of(self._pictures.index_of(Path(path)))
        if row >= 0:
            self.update(self.list_model.index(row))

    def _on_selection_changed(self) -> None:
        if not self._restoring:
            self.selectionChangedTo.emit(self.selected())

    def _on_about_to_be_reset(self) -> None:
        self._selected = [self.list_model.item(row).picture.path for row in self._selected_rows()]
        index = self.currentIndex()
        self._current = self.list_model.item(index.row()).picture.path if index.isValid() else None
        self._restoring = True

    def _on_reset(self) -> None:
        """Selects the same pictures again, by their paths."""
        place = self._pictures.index_of
        rows = self.list_model.rows_of(place(path) for path in self._selected)
        flags = QItemSelectionModel.SelectionFlag
        if self._current is not None and (row := self.list_model.row_of(place(self._current))) >= 0:
            self.selectionModel().setCurrentIndex(self.list_model.index(row), flags.NoUpdate)
        self.selectionModel().select(self._selection(rows), flags.ClearAndSelect)
        self._restoring = False
        self._settled.start()
        self.selectionChangedTo.emit(self.selected())

    def _selected_rows(self) -> list[int]:
        ranges = cast("Iterable[QItemSelectionRange]", self.selectionModel().selection())  # not known to be iterable
        return sorted(row for part in ranges for row in range(part.top(), part.bottom() + 1))

    def _selection(self, rows: list[int]) -> QItemSelection:
        """Sorted rows as few ranges."""
        out = QItemSelection()
        start = 0
        for i in range(1, len(rows) + 1):
            if i == len(rows) or rows[i] != rows[i - 1] + 1:
                out.select(self.list_model.index(rows[start]), self.list_model.index(rows[i - 1]))
                start = i
        return out
