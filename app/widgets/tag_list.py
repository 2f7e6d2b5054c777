"""All tags of the data set with their counts, to filter by and to change everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QPoint,
    QRectF,
    QSize,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from PySide6.QtGui import QColor, QKeySequence, QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QInputDialog,
    QLabel,
    QLineEdit,
    QListView,
    QMenu,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.texts import counted, tr
from app.widgets.named import named

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent
    from PySide6.QtGui import QKeyEvent

    from app.pictures import Pictures

CountRole = Qt.ItemDataRole.UserRole + 1
AnyIndex = QModelIndex | QPersistentModelIndex
_ROOT = QModelIndex()


class TagModel(QAbstractListModel):
    """Tags, the most frequent first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._tags: list[tuple[str, int]] = []

    def set_counts(self, counts: dict[str, int]) -> None:
        """Shows other tags."""
        tags = list(counts.items())
        if tags != self._tags:
            self.beginResetModel()
            self._tags = tags
            self.endResetModel()

    @property
    def highest(self) -> int:
        """The largest count."""
        return max((count for _, count in self._tags), default=0)

    def rowCount(self, parent: AnyIndex = _ROOT) -> int:
        """A flat list."""
        return 0 if parent.isValid() else len(self._tags)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """The tag, its count, and both in a sentence."""
        if not index.isValid():
            return None
        tag, count = self._tags[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return tag
        if role == CountRole:
            return count
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            return tr("{tag}: {pictures}", tag=tag, pictures=counted(count, "picture", "pictures"))
        return None


class TagList(QWidget):
    """Filters, and offers to remove, rename and add.

    Signals:
        filterWanted(str): show only pictures with this tag; empty: show all again.
        removeWanted(str): take this tag out of every caption.
        renameWanted(str, str): put another tag in its place everywhere.
        addWanted(str): add the tag to the selected pictures.
    """

    filterWanted = Signal(str)
    removeWanted = Signal(str)
    renameWanted = Signal(str, str)
    addWanted = Signal(str)

    def __init__(self, pictures: Pictures, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._pictures = pictures
        self._active = ""
        self.can_add = False
        self._model = TagModel(self)
        self._proxy = QSortFilterProxyModel(self)
        self._proxy.setFilterCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self._proxy.setSourceModel(self._model)
        self._search = named(
            QLineEdit(placeholderText=tr("Find a tag"), clearButtonEnabled=True), "tag_search", spoken=tr("Find a tag")
        )
        self._search.textChanged.connect(self._proxy.setFilterFixedString)
        self.view = named(_View(uniformItemSizes=True), "tags", spoken=tr("Tags"))
        self.view.setModel(self._proxy)
        self.view.setItemDelegate(_Delegate(self))
        self.view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.view.customContextMenuRequested.connect(self._on_menu_wanted)
        self.view.clicked.connect(self._on_clicked)
        self.view.enterPressed.connect(self._on_clicked)
        self.view.renamePressed.connect(lambda index: self._rename(str(index.data())))
        self._empty = theme.role(
            QLabel(tr("No tags yet. They are the parts of captions between commas."), wordWrap=True), "muted"
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.75))
        column.addWidget(self._search)
        column.addWidget(self._empty)
        column.addWidget(self.view, 1)
        for signal in (pictures.scanned, pictures.captionsChanged, pictures.includedChanged):
            signal.connect(self._refresh)
        self._refresh()

    @property
    def active(self) -> str:
        """The tag that is filtered by, or empty."""
        return self._active

    def set_active(self, tag: str) -> None:
        """Marks the tag that is filtered by."""
        self._active = tag
        self.view.viewport().update()

    def menu_for(self, tag: str) -> QMenu:
        """What can be done with a tag."""
        menu = QMenu(self)
        if tag == self._active:
            menu.addAction(tr("Show all pictures"), lambda: self._toggle(tag))
        else:
            menu.addAction(tr("Show its pictures"), lambda: self._toggle(tag))
        menu.addAction(tr("Add to the selected pictures"), lambda: self.addWanted.emit(tag)).setEnabled(self.can_add)
        menu.addSeparator()
        menu.addAction(tr("Rename everywhere…"), lambda: self._rename(tag)).setShortcut(QKeySequence("F2"))
        menu.addAction(tr("Remove everywhere"), lambda: self.removeWanted.emit(tag))
        return menu

    def _on_menu_wanted(self, at: QPoint) -> None:
        index = self.view.indexAt(at)
        index = index if index.isValid() else self.view.currentIndex()
        if index.isValid():
            menu = self.menu_for(str(index.data()))
            menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
            menu.popup(self.view.viewport().mapToGlobal(at))

    def _on_clicked(self, index: QModelIndex) -> None:
        self._toggle(str(index.data()))

    def _toggle(self, tag: str) -> None:
        self.set_active("" if tag == self._active else tag)
        self.filterWanted.emit(self._active)

    def _rename(self, tag: str) -> None:
        new, given = QInputDialog.getText(
            self, tr("Rename a tag"), tr("Everywhere, put this in its place:"), QLineEdit.EchoMode.Normal, tag
        )
        if given and new.strip() and new.strip() != tag:
            self.renameWanted.emit(tag, new.strip())

    def _refresh(self, _indexes: object = None) -> None:
        counts = self._pictures.tag_counts()
        self._model.set_counts(counts)
        self._empty.setVisible(not counts)
        self.view.setVisible(bool(counts))
        if self._active and self._active not in counts:
            self.set_active("")
            self.filterWanted.emit("")

    def highest_count(self) -> int:
        """The count that fills a bar."""
        return self._model.highest

    def changeEvent(self, event: QEvent) -> None:
        """Repaints in the theme's colours."""
        if event.type() == event.Type.PaletteChange and hasattr(self, "view"):
            self.view.viewport().update()
        super().changeEvent(event)


class _View(QListView):
    enterPressed = Signal(QModelIndex)
    renamePressed = Signal(QModelIndex)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter filters, F2 renames."""
        pressed = {
            Qt.Key.Key_Return: self.enterPressed,
            Qt.Key.Key_Enter: self.enterPressed,
            Qt.Key.Key_F2: self.renamePressed,
        }
        signal = pressed.get(Qt.Key(event.key()))
        if signal is not None and self.currentIndex().isValid():
            signal.emit(self.currentIndex())
        else:
            super().keyPressEvent(event)


class _Delegate(QStyledItemDelegate):
    """The tag, its count to the right, and a thin bar below as long as its share of the most frequent tag's count."""

    def __init__(self, tags: TagList) -> None:
        super().__init__(tags)
        self._tags = tags

    def sizeHint(self, option: QStyleOptionViewItem, index: AnyIndex) -> QSize:
        """One line and the bar."""
        return QSize(theme.space(10), theme.space(4))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """Painted by hand, as thousands of tags must scroll."""
        view: Any = option
        tag, count = str(index.data()), int(index.data(CountRole))
        chosen = tag == self._tags.active
        area, pad = QRectF(view.rect), theme.space(0.75)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        hovered = bool(view.state & QStyle.StateFlag.State_MouseOver)
        focused = bool(view.state & QStyle.StateFlag.State_HasFocus)
        if chosen or hovered or focused:
            painter.setBrush(theme.colour("accent_soft" if chosen else "raised"))
            painter.drawRoundedRect(area.adjusted(1, 1, -1, -1), 6, 6)
        inner = area.adjusted(pad, 0, -pad, 0)
        line = inner.adjusted(0, 0, 0, -theme.space(0.75))
        number = f"{count:,}"
        width = view.fontMetrics.horizontalAdvance(number)
        painter.setPen(theme.colour("muted"))
        painter.drawText(line, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, number)
        painter.setPen(theme.colour("text"))
        shown = view.fontMetrics.elidedText(tag, Qt.TextElideMode.ElideRight, int(line.width() - width - pad))
        painter.drawText(line, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, shown)
        bar = QRectF(inner.x(), area.bottom() - theme.space(0.9), inner.width(), 3)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(_faint(theme.colour("border")))
        painter.drawRoundedRect(bar, 1.5, 1.5)
        bar.setWidth(max(3, bar.width() * count / max(1, self._tags.highest_count())))
        painter.setBrush(theme.colour("accent"))
        painter.drawRoundedRect(bar, 1.5, 1.5)
        painter.restore()


def _faint(colour: QColor) -> QColor:
    colour.setAlphaF(0.45)
    return colour
