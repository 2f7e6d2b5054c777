"""The pictures as a list for views, all or those that match a filter. QtCore only."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, Qt, Signal

from app.caption_tags import PLAIN, Reading, tags_of
from app.texts import tr

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from PySide6.QtCore import QObject

    from app.pictures import Item, Pictures

AnyIndex = QModelIndex | QPersistentModelIndex
_NOWHERE = QModelIndex()


KINDS: dict[str, Callable[[Item], bool]] = {
    "is:cropped": lambda item: item.is_cropped,
    "is:masked": lambda item: item.picture.mask is not None,
    "is:out": lambda item: not item.included,
}


@dataclass(frozen=True)
class Filter:
    """Which pictures are shown. text: stands in the file's path or the caption; tag: is one of the caption's; in any case.

    The texts in KINDS mean pictures that are so, instead.
    """

    text: str = ""
    tag: str = ""
    only_problems: bool = False
    reading: Reading = PLAIN

    def lets_through(self, item: Item) -> bool:
        """Whether the picture is shown."""
        if self.only_problems and not item.problems:
            return False
        if (is_so := KINDS.get(self.text.casefold())) is not None:
            if not is_so(item):
                return False
        elif self.text and self.text.casefold() not in f"{item.picture.relative}\n{item.caption}".casefold():
            return False
        return not self.tag or self._is_tagged(item.caption)

    def _is_tagged(self, caption: str) -> bool:
        tag = self.tag.casefold()
        if tag not in caption.casefold():  # far quicker than parting the tags
            return False
        return any(part.casefold() == tag for part in tags_of(caption, self.reading))


class PictureListModel(QAbstractListModel):
    """Rows of `Pictures`. A picture that an edit makes unfit for the filter stays until the filter is set again.

    Signals:
        filterChanged: other pictures are shown.
    """

    filterChanged = Signal()

    def __init__(self, pictures: Pictures, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pictures = pictures
        self._filter = Filter()
        self._items: list[Item] = []
        self._sources: list[int] = []
        self._rows: dict[int, int] = {}
        self._fill()
        pictures.scanned.connect(self._on_scanned)
        pictures.captionsChanged.connect(self._on_changed)
        pictures.includedChanged.connect(self._on_changed)
        pictures.fitsChanged.connect(self._on_fits_changed)

    @property
    def filter(self) -> Filter:
        """Which pictures are shown."""
        return self._filter

    def set_filter(self, *, text: str = "", tag: str = "", only_problems: bool = False) -> None:
        """Shows the pictures that match all of these."""
        self._filter = Filter(text.strip(), tag.strip(), only_problems, self._pictures.reading)
        self._on_scanned()
        self.filterChanged.emit()

    def item(self, row: int) -> Item:
        """The picture of a row."""
        return self._items[row]

    def source_index(self, row: int) -> int:
        """The picture's place in `Pictures.items`."""
        return self._sources[row]

    def row_of(self, source: int) -> int:
        """The row of a place in `Pictures.items`, or -1 when the filter hides it."""
        return self._rows.get(source, -1)

    def rows_of(self, sources: Iterable[int]) -> list[int]:
        """The rows of these places that are shown, in order."""
        return sorted(row for source in sources if (row := self._rows.get(source, -1)) >= 0)

    def rowCount(self, parent: AnyIndex = _NOWHERE) -> int:
        """How many pictures are shown."""
        return 0 if parent.isValid() else len(self._items)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """The file's name; what is wrong with it as tooltip; its place in `Pictures.items` as UserRole."""
        if not index.isValid() or index.row() >= len(self._items):
            return None
        item = self._items[index.row()]
        if role == Qt.ItemDataRole.DisplayRole:
            return item.picture.path.name
        if role == Qt.ItemDataRole.ToolTipRole:
            return _tooltip(item)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return _spoken(item)
        return self._sources[index.row()] if role == Qt.ItemDataRole.UserRole else None

    def _fill(self) -> None:
        lets_through = self._filter.lets_through
        found = [(i, item) for i, item in enumerate(self._pictures.items) if lets_through(item)]
        self._sources = [i for i, _ in found]
        self._items = [item for _, item in found]
        self._rows = {source: row for row, source in enumerate(self._sources)}

    def _on_scanned(self) -> None:
        self.beginResetModel()
        self._fill()
        self.endResetModel()

    def _on_changed(self, sources: list[int]) -> None:
        if rows := [row for source in sources if (row := self._rows.get(source, -1)) >= 0]:
            self.dataChanged.emit(self.index(min(rows)), self.index(max(rows)))

    def _on_fits_changed(self) -> None:
        if self._items:
            self.dataChanged.emit(self.index(0), self.index(len(self._items) - 1))


def _tooltip(item: Item) -> str:
    picture = item.picture
    lines = [f"<b>{html.escape(picture.relative)}</b>", f"{picture.width_px} × {picture.height_px} px"]
    if picture.repeats > 1:
        lines.append(tr("seen {times} times in an epoch", times=picture.repeats))
    if item.is_cropped:
        lines.append(tr("cropped to {w} × {h} px", w=picture.seen_px[0], h=picture.seen_px[1]))
    if picture.mask is not None:
        lines.append(tr("has a mask"))
    if not item.included:
        lines.append(tr("Left out of training."))
    lines += [f"⚠ {html.escape(problem)}" for problem in item.problems]
    return "<br>".join(lines)


def _spoken(item: Item) -> str:
    parts = [item.picture.path.name, item.caption or tr("no caption")]
    return ". ".join([*parts, *([] if item.included else [tr("Left out")]), *item.problems])
