"""The captions that would become others, old above new with what differs marked; worked out in the background."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QRectF,
    QSize,
    Qt,
    QTimer,
    Signal,
)
from PySide6.QtGui import QColor, QFontMetricsF, QPainter
from PySide6.QtWidgets import (
    QLabel,
    QListView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.background import Background
from app.caption_changes import ChangeError, Changes, planned
from app.texts import counted, tr
from app.widgets.named import named

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.caption_changes import CaptionChange

CONTEXT = 28  # characters before the first change that are shown
SOON_MS = 120
AnyIndex = QModelIndex | QPersistentModelIndex
Span = tuple[str, bool]  # text, and whether it differs
_ROOT = QModelIndex()


@lru_cache(maxsize=512)
def spans(before: str, after: str) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Both texts in pieces that are the same or differ; long beginnings that are the same are shortened."""
    before, after = (text.replace("\n", " ⏎ ") for text in (before, after))
    same = (
        len(before)
        if after.startswith(before)
        else next(i for i, (a, b) in enumerate(zip(before + "\0", after + "\0", strict=False)) if a != b)
    )
    cut = max(0, same - CONTEXT)
    old, new = (re.findall(r"\w+|\s+|.", text[cut:][:600]) for text in (before, after))
    out: tuple[list[Span], list[Span]] = ([], [])
    if cut:
        for side in out:
            side.append(("…", False))
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        for side, text in zip(out, ("".join(old[a:b]), "".join(new[c:d])), strict=True):
            if text:
                side.append((text, kind != "equal"))
    return tuple(out[0]), tuple(out[1])


class _Rows(QAbstractListModel):
    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.changes: list[CaptionChange] = []

    def set_changes(self, changes: list[CaptionChange]) -> None:
        self.beginResetModel()
        self.changes = changes
        self.endResetModel()

    def rowCount(self, parent: AnyIndex = _ROOT) -> int:
        return 0 if parent.isValid() else len(self.changes)

    def data(self, index: AnyIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        change = self.changes[index.row()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.AccessibleTextRole):
            return f"{change.path.name}: {change.before} → {change.after}"
        return f"{change.before}\n→\n{change.after}" if role == Qt.ItemDataRole.ToolTipRole else None


class ChangePreview(QWidget):
    """Shows what a change would do.

    Attributes:
        found: what it would do; the problem in it is shown.
        is_current: whether `found` belongs to the change that was asked for last.

    Signals:
        planned: `found` is new, or not current any more.
    """

    planned = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.found, self.is_current = Changes(), True
        self._number = 0
        self._wanted: Callable[[], Changes] = Changes
        self._soon = QTimer(self, singleShot=True, interval=SOON_MS)
        self._soon.timeout.connect(self._on_soon)
        self._background = Background("plan caption changes")
        self._background.done.connect(self._on_planned)
        self._count = theme.role(named(QLabel(wordWrap=True), "change_count"), "muted")
        self._problem = theme.role(named(QLabel(wordWrap=True), "change_problem"), "bad")
        self._problem.setTextFormat(Qt.TextFormat.PlainText)
        self._rows = _Rows(self)
        self.view = named(QListView(uniformItemSizes=True), "change_list", spoken=tr("Captions that change"))
        self.view.setModel(self._rows)
        self.view.setItemDelegate(_Delegate(self))
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.view.setVerticalScrollMode(QListView.ScrollMode.ScrollPerPixel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.75))
        column.addWidget(self._problem)
        column.addWidget(self._count)
        column.addWidget(self.view, 1)
        self._show()

    def plan(self, captions: list[tuple[Path, str]], make: Callable[[], Callable[[str], str]] | None) -> None:
        """Works out another change, soon.

        Args:
            captions: all that may be changed.
            make: gives the change, or raises ChangeError; runs in the background. None for no change.
        """

        def work() -> Changes:
            if make is None:
                return Changes()
            try:
                return planned(captions, make())
            except ChangeError as error:
                return Changes(problem=str(error))

        self._number += 1
        self._wanted, self.is_current = work, False
        self._soon.start()
        self.planned.emit()

    def close_quietly(self) -> None:
        """Nothing more is worked out."""
        self._number += 1
        self._soon.stop()
        self._background.drop_waiting()

    def _on_soon(self) -> None:
        number, work = self._number, self._wanted
        self._background.drop_waiting()
        self._background.run(lambda: (number, work()))

    def _on_planned(self, found: tuple[int, Changes]) -> None:
        number, changes = found
        if number == self._number:
            self.found, self.is_current = changes, True
            self._show()
            self.planned.emit()

    def _show(self) -> None:
        self._rows.set_changes(self.found.changes)
        self._problem.setText(tr(self.found.problem))
        self._problem.setVisible(bool(self.found.problem))
        count, checked = len(self.found.changes), self.found.checked
        captions = counted(checked, "caption", "captions")
        text = tr("{count} of {captions} would change.", count=f"{count:,}", captions=captions)
        if not count:
            text = tr("None of {captions} would change.", captions=captions)
        self._count.setText(text if checked else "")
        self._count.setVisible(bool(checked))


class _Delegate(QStyledItemDelegate):
    """The file's name, the old caption with what goes struck through, the new one with what comes in colour."""

    def sizeHint(self, option: QStyleOptionViewItem, index: AnyIndex) -> QSize:
        """Three lines."""
        view: Any = option
        return QSize(theme.space(20), view.fontMetrics.height() * 3 + theme.space(1.5))

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: AnyIndex) -> None:
        """By hand, as thousands of rows must scroll."""
        view: Any = option
        change: CaptionChange = index.model().changes[index.row()]  # type: ignore[attr-defined]
        painter.save()
        if view.state & QStyle.StateFlag.State_Selected:
            painter.fillRect(view.rect, theme.colour("accent_soft"))
        line = QFontMetricsF(view.font).height()
        area = QRectF(view.rect).adjusted(theme.space(1), theme.space(0.75), -theme.space(1), 0)
        area.setHeight(line)
        painter.setPen(theme.colour("muted"))
        painter.drawText(area, Qt.AlignmentFlag.AlignVCenter, change.path.name)
        old, new = spans(change.before, change.after)
        area.translate(0, line)
        _paint_spans(painter, area, old, theme.colour("bad"), strike=True)
        area.translate(0, line)
        _paint_spans(painter, area, new, theme.colour("good"), strike=False)
        painter.setPen(theme.colour("border"))
        painter.drawLine(view.rect.bottomLeft(), view.rect.bottomRight())
        painter.restore()


def _paint_spans(painter: QPainter, area: QRectF, parts: tuple[Span, ...], colour: QColor, *, strike: bool) -> None:
    """Text in one line, cut at the end; what differs stands on a tint of the colour."""
    font, x = painter.font(), area.left()
    metrics = QFontMetricsF(font)
    if not parts:
        painter.setPen(theme.colour("muted"))
        painter.drawText(area, Qt.AlignmentFlag.AlignVCenter, tr("no caption"))
    for text, differs in parts:
        shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, area.right() - x)
        width = metrics.horizontalAdvance(shown)
        place = QRectF(x, area.top(), width + 1, area.height())
        if differs:
            tint = QColor(colour)
            tint.setAlphaF(0.16)
            painter.fillRect(place, tint)
            font.setStrikeOut(strike)
        painter.setFont(font)
        painter.setPen(colour if differs else theme.colour("text"))
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, shown)
        font.setStrikeOut(False)
        painter.setFont(font)
        x += width
        if shown != text or x >= area.right():
            return
