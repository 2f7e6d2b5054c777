"""The preview prompts as an item model: what the project holds, one row a picture, one column a setting."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal

from app import field_words, theme
from app.field_numbers import read, shown
from app.texts import tr
from trainer.settings import PreviewPrompt, field_info
from trainer.settings_file import check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PySide6.QtCore import QObject

Index = QModelIndex | QPersistentModelIndex
Row = dict[str, Any]

SIZE = "size"  # width and height in one column
COLUMNS = ("prompt", "negative", "seed", SIZE, "guidance", "steps", "sampler")
WHOLE = ("seed", "steps")
_SIDES = re.compile(r"\s*(\d+)\s*[x×*, ]\s*(\d+)\s*(?:px)?\s*", re.IGNORECASE)
_ROLE = Qt.ItemDataRole


class PromptModel(QAbstractTableModel):
    """Shows the rows that it was given; asks for others through a signal and changes nothing itself.

    Signals:
        edited(list): the user wants these rows.
    """

    edited = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._rows: list[Row] = []
        self._errors: list[dict[str, str]] = []

    @property
    def rows(self) -> list[Row]:
        """What is shown; only what differs from the defaults need be in a row."""
        return [dict(row) for row in self._rows]

    def set_rows(self, given: object) -> None:
        """Shows other rows; what stayed the same at the top and bottom keeps its selection and its open editor."""
        new = [dict(row) if isinstance(row, dict) else {} for row in given] if isinstance(given, list) else []
        old, start, end = self._rows, 0, 0
        while start < min(len(old), len(new)) and old[start] == new[start]:
            start += 1
        while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
            end += 1
        gone, come = len(old) - start - end, new[start : len(new) - end]
        common = min(gone, len(come))
        self._put(start, come[:common])
        if gone > common:
            self.beginRemoveRows(QModelIndex(), start + common, start + gone - 1)
            del self._rows[start + common : start + gone], self._errors[start + common : start + gone]
            self.endRemoveRows()
        elif len(come) > common:
            self.beginInsertRows(QModelIndex(), start + common, start + len(come) - 1)
            self._rows[start + common : start + common] = come[common:]
            self._errors[start + common : start + common] = [_mistakes(row) for row in come[common:]]
            self.endInsertRows()

    def _put(self, start: int, rows: Sequence[Row]) -> None:
        if rows:
            self._rows[start : start + len(rows)] = rows
            self._errors[start : start + len(rows)] = [_mistakes(row) for row in rows]
            last = self.index(start + len(rows) - 1, len(COLUMNS) - 1)
            self.dataChanged.emit(self.index(start, 0), last)

    def error(self, row: int, column: int) -> str:
        """Why a cell cannot be used; empty when it can."""
        names = ("width", "height") if COLUMNS[column] == SIZE else (COLUMNS[column],)
        return next((self._errors[row][n] for n in names if n in self._errors[row]), "")

    # ---- Qt

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        """Prompts."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        """Settings of a prompt."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _ROLE.DisplayRole) -> Any:
        """Labels and helps from the settings model."""
        if orientation != Qt.Orientation.Horizontal or not 0 <= section < len(COLUMNS):
            return section + 1 if role == _ROLE.DisplayRole else None
        name = COLUMNS[section]
        if role == _ROLE.DisplayRole:
            titles = {SIZE: tr("Size"), "negative": tr("Negative"), "guidance": tr("CFG")}
            return titles.get(name) or tr(field_info(PreviewPrompt, name).label)
        if role == _ROLE.ToolTipRole:
            return (
                tr("Width × height; empty takes the training resolution.")
                if name == SIZE
                else tr(field_info(PreviewPrompt, name).help)
            )
        return (
            int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter) if role == _ROLE.TextAlignmentRole else None
        )

    def flags(self, index: Index) -> Qt.ItemFlag:
        """Everything can be edited."""
        return super().flags(index) | Qt.ItemFlag.ItemIsEditable if index.isValid() else Qt.ItemFlag.NoItemFlags

    def data(self, index: Index, role: int = _ROLE.DisplayRole) -> Any:
        """The value in words, or as it is edited; mistakes as colour and tooltip."""
        if not index.isValid():
            return None
        name = COLUMNS[index.column()]
        if role == _ROLE.EditRole:
            return self._edit_value(index.row(), name)
        if role == _ROLE.DisplayRole:
            return self._shown(index.row(), name)
        error = self.error(index.row(), index.column())
        if role == _ROLE.ForegroundRole:
            if error:
                return theme.colour("bad")
            return theme.colour("muted") if name == SIZE and not self._edit_value(index.row(), name) else None
        if role in (_ROLE.ToolTipRole, _ROLE.AccessibleDescriptionRole):
            return error or str(self._shown(index.row(), name))
        return None

    def setData(self, index: Index, value: Any, role: int = _ROLE.EditRole) -> bool:
        """Asks for the row with another value; what cannot be read is kept as it was typed."""
        if role != _ROLE.EditRole or not index.isValid():
            return False
        name = COLUMNS[index.column()]
        if value == self._edit_value(index.row(), name):
            return False
        wanted = _size(str(value)) if name == SIZE else {name: _read(name, value)}
        rows = self.rows
        rows[index.row()] = {k: v for k, v in (rows[index.row()] | wanted).items() if k == "prompt" or v != _default(k)}
        self.edited.emit(rows)
        return True

    def _edit_value(self, row: int, name: str) -> Any:
        values = self._rows[row]
        if name == SIZE:
            width, height = values.get("width", 0), values.get("height", 0)
            return "" if width == 0 and height == 0 else str(width) if isinstance(width, str) else f"{width} × {height}"
        value = values.get(name, _default(name))
        if name == "guidance" and isinstance(value, (int, float)):
            return shown(value)
        return str(value)

    def _shown(self, row: int, name: str) -> str:
        value = self._edit_value(row, name)
        if name == "sampler":
            return field_words.choice(name, value).words
        return str(value) or (tr("as trained") if name == SIZE else "")


def _default(name: str) -> Any:
    field = PreviewPrompt.model_fields.get(name)
    return None if field is None else field.default


def _read(name: str, value: Any) -> Any:
    if name in WHOLE or name == "guidance":
        return read(str(value), whole=name in WHOLE)
    return str(value)


def _size(text: str) -> Row:
    """Reads "512 × 768", "512x768", "512" or nothing; other text is kept as the width, so that it can be explained."""
    if sides := _SIDES.fullmatch(text):
        return {"width": int(sides[1]), "height": int(sides[2])}
    side = read(text, whole=True)
    return {"width": side or 0, "height": side if isinstance(side, int) else 0}


def _mistakes(row: Row) -> dict[str, str]:
    """The sentence for each value of a row that cannot be used."""
    found = {}
    for name, value in row.items():
        if mistakes := check({"previews": [{name: value}]}):
            found[name] = str(mistakes[0]).partition(": ")[2]
    return found
