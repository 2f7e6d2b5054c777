"""Proposed captions as a table for views: the picture, what it says now, what it would say, and whether that is wanted. QtCore only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, QTimer, Signal

from app.background import Background
from app.texts import tr
from trainer.caption_plan import Proposal, Rules, planned

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtCore import QObject

AnyIndex = QModelIndex | QPersistentModelIndex
PICTURE, BEFORE, AFTER = range(3)
COUNT_EVERY_MS = 50
_NOWHERE = QModelIndex()
_FLAGS = Qt.ItemFlag


@dataclass(eq=False)
class Row:
    """A picture and its proposal. text: what it would say; problem: why it could not be described; edited: by the user."""

    path: Path
    before: str
    proposal: Proposal
    text: str
    problem: str = ""
    ticked: bool = True
    edited: bool = False

    @property
    def is_changed(self) -> bool:
        """Whether the caption would become another."""
        return self.text != self.before


class ProposalRows(QAbstractTableModel):
    """What a captioner has proposed so far. A row that an edit makes unfit for the filter stays until the filter is set again.

    Other rules change all rows that the user has not edited, in the background.

    Signals:
        counted: ticks, texts or the number of rows changed.
    """

    counted = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.rows: list[Row] = []
        self._shown: list[Row] = []
        self._places: dict[Path, Row] = {}
        self._only_changed = False
        self._rules = Rules()
        self._background = Background("plan captions")
        self._background.done.connect(self._on_planned)
        self._soon = QTimer(
            self, singleShot=True, interval=COUNT_EVERY_MS
        )  # counting takes ms when there are thousands
        self._soon.timeout.connect(self.counted)

    # ---- what there is

    def row(self, at: int) -> Row:
        """The row that is shown at a place."""
        return self._shown[at]

    def place_of(self, path: Path) -> int:
        """Where a picture is shown; -1 when it is not."""
        return next((i for i, row in enumerate(self._shown) if row.path == path), -1)

    def chosen(self) -> dict[Path, str]:
        """The captions that are ticked and would change something."""
        return {row.path: row.text for row in self.rows if row.ticked and row.is_changed}

    @property
    def changed_count(self) -> int:
        """Rows whose caption would become another."""
        return sum(row.is_changed for row in self.rows)

    def wait(self, timeout_s: float) -> None:
        """Blocks until other rules are applied; for tests."""
        self._background.wait(timeout_s)

    # ---- changing it

    def add(self, path: Path, before: str, proposal: Proposal, problem: str = "") -> None:
        """One more picture, or another proposal for it; what the user wrote himself stays."""
        text = before if problem else planned(before, proposal, self._rules)
        if (known := self._places.get(path)) is not None:
            known.proposal, known.problem, known.before = proposal, problem, before
            if not known.edited:
                known.text, known.ticked = text, True
            if (at := self.place_of(path)) >= 0:
                self.dataChanged.emit(self.index(at, 0), self.index(at, AFTER))
        else:
            row = Row(path, before, proposal, text, problem)
            self.rows.append(row)
            self._places[path] = row
            if self._is_shown(row):
                at = len(self._shown)
                self.beginInsertRows(_NOWHERE, at, at)
                self._shown.append(row)
                self.endInsertRows()
        if not self._soon.isActive():
            self._soon.start()

    def set_rules(self, rules: Rules) -> None:
        """Plans all captions anew that the user has not edited."""
        if rules == self._rules:
            return
        self._rules = rules
        todo = [(row, row.before, row.proposal) for row in self.rows if not row.edited and not row.problem]

        def work() -> tuple[Rules, list[tuple[Row, Proposal, str]]]:
            return rules, [(row, proposal, planned(before, proposal, rules)) for row, before, proposal in todo]

        self._background.drop_waiting()
        self._background.run(work)

    def set_only_changed(self, only: bool) -> None:
        """Hides rows that change nothing."""
        self._only_changed = only
        self._filter()

    def tick_all(self, ticked: bool) -> None:
        """Ticks all rows, also those that are hidden, or none."""
        for row in self.rows:
            row.ticked = ticked
        self._repaint()

    def toggle(self, places: list[int]) -> None:
        """Ticks these rows, or takes the ticks away when all have one."""
        rows = [self._shown[at] for at in places]
        ticked = not all(row.ticked for row in rows)
        for row in rows:
            row.ticked = ticked
        self._repaint()

    def _on_planned(self, result: tuple[Rules, list[tuple[Row, Proposal, str]]]) -> None:
        rules, texts = result
        if rules != self._rules:
            return
        for row, proposal, text in texts:
            if not row.edited and row.proposal is proposal:
                row.text = text
        self._filter()

    def _is_shown(self, row: Row) -> bool:
        return not self._only_changed or row.is_changed or bool(row.problem)

    def _filter(self) -> None:
        shown = [row for row in self.rows if self._is_shown(row)]
        if shown != self._shown:
            self.beginResetModel()
            self._shown = shown
            self.endResetModel()
        self._repaint()

    def _repaint(self) -> None:
        if self._shown:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._shown) - 1, AFTER))
        self.counted.emit()

    # ---- Qt

    def rowCount(self, parent: AnyIndex = _NOWHERE) -> int:
        """How many are shown."""
        return 0 if parent.isValid() else len(self._shown)

    def columnCount(self, parent: AnyIndex = _NOWHERE) -> int:
        """Picture, now, proposed."""
        return 0 if parent.isValid() else 3

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """The columns' names."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return (tr("Picture"), tr("Now"), tr("Proposed"))[section]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Texts, ticks, and the path of the picture for its thumbnail."""
        row = self._shown[index.row()]
        column = index.column()
        if role == Qt.ItemDataRole.CheckStateRole and column == PICTURE:
            wanted = row.ticked and row.is_changed
            return Qt.CheckState.Checked if wanted else Qt.CheckState.Unchecked
        if role == Qt.ItemDataRole.UserRole:
            return row
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return (row.path.name, row.before, row.problem or row.text)[column]
        if role == Qt.ItemDataRole.ToolTipRole:
            return (str(row.path), row.before, row.problem or row.text)[column]
        return None

    def flags(self, index: AnyIndex) -> Qt.ItemFlag:
        """Proposals can be edited, and ticked when they change something."""
        if not index.isValid():
            return _FLAGS.NoItemFlags
        flags = _FLAGS.ItemIsEnabled | _FLAGS.ItemIsSelectable
        row = self._shown[index.row()]
        if index.column() == PICTURE and row.is_changed:
            flags |= _FLAGS.ItemIsUserCheckable
        if index.column() == AFTER:
            flags |= _FLAGS.ItemIsEditable
        return flags

    def setData(self, index: AnyIndex, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        """The user ticks a row or writes another caption."""
        row = self._shown[index.row()]
        if role == Qt.ItemDataRole.CheckStateRole and row.is_changed:
            row.ticked = Qt.CheckState(value) == Qt.CheckState.Checked
        elif role == Qt.ItemDataRole.EditRole and index.column() == AFTER:
            text = " ".join(str(value).split())
            if text == row.text and not row.problem:
                return False
            row.text, row.edited, row.ticked, row.problem = text, True, True, ""
        else:
            return False
        self.dataChanged.emit(self.index(index.row(), 0), self.index(index.row(), AFTER))
        self.counted.emit()
        return True
