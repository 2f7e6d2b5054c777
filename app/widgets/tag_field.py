"""A field for one tag or several, which proposes tags while one types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QModelIndex, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QCompleter, QLineEdit, QListView, QWidget

from app.texts import tr

if TYPE_CHECKING:
    from PySide6.QtGui import QFocusEvent

    from app.pictures import Pictures
    from app.tag_names import Suggestion, TagNames

TAG = Qt.ItemDataRole.UserRole + 1


class TagField(QLineEdit):
    """Enter, a comma or a choice from the list gives the tag.

    Signals:
        given(str): a tag, or several with commas.
        leftEmpty(int, bool): out of an empty field by -1 to the left or 1 to the right; whether to remove what is there.
        left: the focus went elsewhere.
    """

    given = Signal(str)
    leftEmpty = Signal(int, bool)
    left = Signal()

    def __init__(self, pictures: Pictures, names: TagNames, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._pictures, self._names = pictures, names
        self._model = QStandardItemModel(self)
        completer = QCompleter(self._model, self)
        completer.setCompletionMode(QCompleter.CompletionMode.UnfilteredPopupCompletion)
        completer.setCompletionRole(TAG)
        completer.setMaxVisibleItems(12)
        completer.setWidget(self)
        self._popup = QListView()
        self._popup.setObjectName("tag_proposals")
        completer.setPopup(self._popup)
        overloads: Any = completer.activated
        overloads[QModelIndex].connect(self._on_chosen)
        self._completer = completer
        self._popup.installEventFilter(self)
        self.textEdited.connect(self._on_edited)

    @property
    def proposals(self) -> list[str]:
        """The tags in the list now."""
        return [str(self._model.item(row).data(TAG)) for row in range(self._model.rowCount())]

    def give(self) -> None:
        """Hands over what is written, and empties the field."""
        text = self.text().strip(" ,")
        self._popup.hide()
        self.clear()
        if text:
            self.given.emit(text)

    def _on_edited(self, text: str) -> None:
        if "," in text:
            self.give()
            return
        found = self._names.search(text, self._pictures.tag_counts())
        self._model.clear()
        for suggestion in found:
            item = QStandardItem(_line(suggestion))
            item.setData(suggestion.tag, TAG)
            self._model.appendRow(item)
        if found:
            popup = self._popup
            width = popup.sizeHintForColumn(0) + popup.verticalScrollBar().sizeHint().width() + 36
            area = self.rect()
            area.setWidth(max(width, self.width()))
            self._completer.complete(area)
        else:
            self._popup.hide()

    def _on_chosen(self, index: QModelIndex) -> None:
        self.setText(str(index.data(TAG)))
        self.give()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Tab takes the first proposal; Enter without a choice takes what is written."""
        popup = self._popup
        if watched is popup and event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            if event.key() == Qt.Key.Key_Tab:
                current = popup.currentIndex()
                self.setText(str((current if current.isValid() else self._model.index(0, 0)).data(TAG)))
                self.give()
                return True
            if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not popup.currentIndex().isValid():
                self.give()
                return True
        return super().eventFilter(watched, event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter gives the tag; where there is none, keys go on to the tags."""
        key = event.key()
        at_start = not self.text()
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.text().strip():
            self.give()
        elif at_start and key in (Qt.Key.Key_Left, Qt.Key.Key_Backspace):
            self.leftEmpty.emit(-1, key == Qt.Key.Key_Backspace)
        elif at_start and key == Qt.Key.Key_Right:
            self.leftEmpty.emit(1, False)
        elif at_start and key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            event.ignore()
        else:
            super().keyPressEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """What is written counts when the user goes elsewhere, but not for the list."""
        super().focusOutEvent(event)
        if event.reason() not in (Qt.FocusReason.PopupFocusReason, Qt.FocusReason.ActiveWindowFocusReason):
            self.give()
            self.left.emit()


def _line(suggestion: Suggestion) -> str:
    name = f"{suggestion.alias} → {suggestion.tag}" if suggestion.alias else suggestion.tag
    if suggestion.in_set:
        return tr("{tag}   {count} here", tag=name, count=f"{suggestion.count:,}")
    return f"{name}   {suggestion.count:,}" if suggestion.count else name
