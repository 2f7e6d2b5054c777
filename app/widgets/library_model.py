"""The library's entries as a list for views, searched and filtered. QtCore only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QSortFilterProxyModel, Qt

from app import library_details
from app.texts import size, tr

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PySide6.QtCore import QObject

    from app.library import Entry

AnyIndex = QModelIndex | QPersistentModelIndex
ENTRY_ROLE = Qt.ItemDataRole.UserRole
_NOWHERE = QModelIndex()


class LibraryModel(QAbstractListModel):
    """A row for each entry, in the order given."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._entries: list[Entry] = []

    def set_entries(self, entries: Sequence[Entry]) -> None:
        """Shows other entries; the same ones again change nothing, so that a refresh is not seen."""
        if list(entries) == self._entries:
            return
        if [e.path for e in entries] == [e.path for e in self._entries]:
            self._entries = list(entries)
            self.dataChanged.emit(self.index(0), self.index(len(self._entries) - 1))
            return
        self.beginResetModel()
        self._entries = list(entries)
        self.endResetModel()

    @property
    def entries(self) -> list[Entry]:
        """All of them."""
        return list(self._entries)

    def rowCount(self, parent: AnyIndex = _NOWHERE) -> int:
        """How many there are."""
        return 0 if parent.isValid() else len(self._entries)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Title, spoken description, tool tip, and the entry itself."""
        if not index.isValid() or not 0 <= index.row() < len(self._entries):
            return None
        entry = self._entries[index.row()]
        if role == ENTRY_ROLE:
            return entry
        if role == Qt.ItemDataRole.DisplayRole:
            return entry.title
        if role == Qt.ItemDataRole.ToolTipRole:
            return entry.problem or str(entry.path)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            kind = tr("Run") if entry.kind == "run" else tr("LoRA file")
            parts = (
                kind,
                entry.title,
                library_details.state(entry)[0],
                library_details.date(entry),
                size(entry.size_bytes),
            )
            return ", ".join(part for part in dict.fromkeys(parts) if part)
        return None


class LibraryFilter(QSortFilterProxyModel):
    """Those that match the search and are of the kind that is shown."""

    def __init__(self, source: LibraryModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._words, self._kind = "", ""
        self.setSourceModel(source)

    def search(self, words: str) -> None:
        """Every word must occur."""
        self.beginFilterChange()
        self._words = words
        self.endFilterChange()

    def show_kind(self, kind: str) -> None:
        """Shows one kind: "run", "lora", or "" for both."""
        self.beginFilterChange()
        self._kind = kind
        self.endFilterChange()

    def row_of(self, path: Path | None) -> int:
        """The row of an entry, or -1."""
        return next((row for row in range(self.rowCount()) if self.index(row, 0).data(ENTRY_ROLE).path == path), -1)

    def filterAcceptsRow(self, row: int, parent: AnyIndex) -> bool:
        """Whether the entry is shown."""
        entry: Entry | None = self.sourceModel().index(row, 0, parent).data(ENTRY_ROLE)
        return entry is not None and self._kind in ("", entry.kind) and entry.matches(self._words)
