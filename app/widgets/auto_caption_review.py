"""The list in which proposed captions are looked through, edited and ticked before any of them is written."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QModelIndex, QObject, QPersistentModelIndex, QPoint, QRect, QSize, Qt
from PySide6.QtGui import QFontMetricsF, QKeyEvent, QPainter, QResizeEvent, QTextDocument
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPlainTextEdit,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.caption_tags import tags_of
from app.texts import counted, tr
from app.widgets.auto_caption_rows import AFTER, BEFORE, PICTURE, ProposalRows, Row
from app.widgets.named import named

if TYPE_CHECKING:
    from PySide6.QtCore import QAbstractItemModel

    from app.thumbnails import Thumbnails

ROW_STEPS, PICTURE_STEPS = 13, 18  # of a row's height and the first column's width, in `theme.space`
BEFORE_SHARE = 0.4  # of what is left for both captions


class Review(QWidget):
    """Head with counts and filters, and the table.

    Attributes:
        rows: what is reviewed.
        view: the table.
    """

    def __init__(self, thumbnails: Thumbnails, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows = ProposalRows(self)
        self.view = _View(self.rows, thumbnails)
        self._count = named(QLabel(), "review_count")
        self._all = named(QCheckBox(tr("All")), "review_all", tip=tr("Tick all captions, or none"))
        self._all.setTristate(True)
        self._all.clicked.connect(self._on_all)
        self._only = named(QCheckBox(tr("Only changes")), "review_only_changed")
        self._only.setToolTip(tr("Hides the pictures whose caption would stay as it is"))
        self._only.toggled.connect(self.rows.set_only_changed)
        head = QHBoxLayout()
        head.setSpacing(theme.space(2))
        head.addWidget(self._all)
        head.addWidget(self._count, 1)
        head.addWidget(self._only)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(1))
        column.addLayout(head)
        column.addWidget(self.view, 1)
        self.rows.counted.connect(self._refresh)
        self._refresh()

    def _on_all(self) -> None:
        self.rows.tick_all(len(self.rows.chosen()) < self.rows.changed_count)

    def _refresh(self) -> None:
        described, changed, chosen = len(self.rows.rows), self.rows.changed_count, len(self.rows.chosen())
        problems = sum(bool(row.problem) for row in self.rows.rows)
        parts = [tr("{pictures} described", pictures=counted(described - problems, "picture", "pictures"))]
        parts.append(tr("{count} of {changes} chosen", count=f"{chosen:,}", changes=counted(changed, "change", "changes")))  # fmt: skip
        if problems:
            parts.append(tr("{count} cannot be read", count=problems))
        self._count.setText(" · ".join(parts))
        state = Qt.CheckState
        self._all.setCheckState(state.Unchecked if not chosen else state.Checked if chosen == changed else state.PartiallyChecked)  # fmt: skip
        self._all.setEnabled(changed > 0)


class _View(QTableView):
    """Space ticks the selected rows; Enter or a double click edits a proposal."""

    def __init__(self, rows: ProposalRows, thumbnails: Thumbnails) -> None:
        super().__init__()
        named(self, "review", spoken=tr("Proposed captions"))
        self.setModel(rows)
        self._rows, self._thumbnails = rows, thumbnails
        self.setItemDelegate(_Delegate(thumbnails, self))
        self.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.setVerticalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        head = self.horizontalHeader()
        head.setHighlightSections(False)
        head.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        head.setStretchLastSection(True)
        triggers = QTableView.EditTrigger
        self.setEditTriggers(triggers.DoubleClicked | triggers.EditKeyPressed)
        self._measure()
        thumbnails.ready.connect(self._on_thumbnail)

    def _measure(self) -> None:
        self.verticalHeader().setDefaultSectionSize(theme.space(ROW_STEPS))
        self.horizontalHeader().resizeSection(PICTURE, theme.space(PICTURE_STEPS))
        left = self.viewport().width() - theme.space(PICTURE_STEPS)
        self.horizontalHeader().resizeSection(BEFORE, max(theme.space(10), round(left * BEFORE_SHARE)))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Shares out the width."""
        super().resizeEvent(event)
        self._measure()

    def _on_thumbnail(self, _path: str) -> None:
        self.viewport().update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Space ticks, Enter edits."""
        chosen = sorted({index.row() for index in self.selectedIndexes()})
        if event.key() == Qt.Key.Key_Space and chosen:
            self._rows.toggle(chosen)
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.currentIndex().isValid():
            self.edit(self._rows.index(self.currentIndex().row(), AFTER))
        else:
            super().keyPressEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Keeps up with the font."""
        if event.type() == QEvent.Type.FontChange and hasattr(self, "_rows"):
            self._measure()
        super().changeEvent(event)


class _Delegate(QStyledItemDelegate):
    """Paints a thumbnail with its tick, and captions on several lines, with what is new in them in colour."""

    def __init__(self, thumbnails: Thumbnails, parent: QObject) -> None:
        super().__init__(parent)
        self._thumbnails = thumbnails

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> None:  # fmt: skip
        """One cell."""
        row: Row = index.data(Qt.ItemDataRole.UserRole)
        plain = QStyleOptionViewItem(option)
        self.initStyleOption(plain, index)
        text, plain.text = plain.text, ""
        plain.state &= ~QStyle.StateFlag.State_HasFocus
        if index.column() == PICTURE:
            plain.features &= ~QStyleOptionViewItem.ViewItemFeature.HasCheckIndicator
        style = plain.widget.style()
        style.drawControl(QStyle.ControlElement.CE_ItemViewItem, plain, painter, plain.widget)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.setPen(theme.colour("border"))
        painter.drawLine(option.rect.bottomLeft(), option.rect.bottomRight())
        if index.column() == PICTURE:
            self._paint_picture(painter, plain, row)
        else:
            painter.setPen(theme.colour("muted"))
            self._paint_text(painter, option.rect, _rich(row, text, is_after=index.column() == AFTER))
        painter.restore()

    def _paint_picture(self, painter: QPainter, option: QStyleOptionViewItem, row: Row) -> None:
        if row.is_changed:
            tick = QStyleOptionViewItem(option)
            tick.rect = self._tick_rect(option.rect)
            on = QStyle.StateFlag.State_On if row.ticked else QStyle.StateFlag.State_Off
            tick.state = QStyle.StateFlag.State_Enabled | on
            box = QStyle.PrimitiveElement.PE_IndicatorCheckBox
            self._checkbox().style().drawPrimitive(box, tick, painter, self._checkbox())
        pad = theme.space(0.75)
        left = self._tick_rect(option.rect).right() + theme.space(1)
        room = QRect(left, option.rect.top() + pad, option.rect.right() - left - pad, option.rect.height() - 2 * pad)
        side = min(room.width(), room.height())
        ratio = painter.device().devicePixelRatioF()
        image = self._thumbnails.request(row.path, round(side * ratio))
        if image is not None:
            size = image.size().scaled(QSize(side, side), Qt.AspectRatioMode.KeepAspectRatio)
            target = QRect(QPoint(), size)
            target.moveCenter(QRect(left, room.top(), side, room.height()).center())
            painter.drawImage(target, image)

    def _checkbox(self) -> QCheckBox:
        """Wears the style sheet's look of a tick, which a table's own ticks do not."""
        if not hasattr(self, "_box"):
            view = self.parent()
            assert isinstance(view, QWidget)
            self._box = QCheckBox(view)
            self._box.hide()
        return self._box

    def _tick_rect(self, cell: QRect) -> QRect:
        side = 20
        return QRect(cell.left() + theme.space(1), cell.center().y() - side // 2, side, side)

    def _paint_text(self, painter: QPainter, cell: QRect, rich: str) -> None:
        pad = theme.space(0.75)
        room = cell.adjusted(pad, pad, -pad, -pad)
        document = QTextDocument()
        document.setDocumentMargin(0)
        document.setDefaultFont(QApplication.font())
        document.setTextWidth(room.width())
        document.setHtml(rich)
        line = QFontMetricsF(QApplication.font()).height()
        if document.size().height() > room.height() + line / 4:  # whole lines only, and a sign that there is more
            room.setHeight(round((room.height() // line) * line))
            more = QRect(room.left(), room.bottom() - pad, room.width(), 2 * pad)
            painter.drawText(more, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, "…")
        painter.setClipRect(room)
        painter.translate(room.topLeft())
        document.drawContents(painter)

    def editorEvent(self, event: QEvent, model: QAbstractItemModel, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> bool:  # fmt: skip
        """A click beside or on the tick of a picture ticks it."""
        if event.type() == QEvent.Type.MouseButtonRelease and index.column() == PICTURE:
            position = event.position().toPoint()  # type: ignore[attr-defined]
            if position.x() <= self._tick_rect(option.rect).right() + theme.space(0.5):
                row: Row = index.data(Qt.ItemDataRole.UserRole)
                state = Qt.CheckState.Unchecked if row.ticked else Qt.CheckState.Checked
                return model.setData(index, state, Qt.ItemDataRole.CheckStateRole)
            return False
        return super().editorEvent(event, model, option, index)

    # ---- editing

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QWidget:  # fmt: skip
        """Several lines."""
        return named(QPlainTextEdit(parent), "review_editor", spoken=tr("Proposed caption"))

    def setEditorData(self, editor: QWidget, index: QModelIndex | QPersistentModelIndex) -> None:
        """The caption, with the cursor at its end."""
        assert isinstance(editor, QPlainTextEdit)
        row: Row = index.data(Qt.ItemDataRole.UserRole)
        editor.setPlainText(row.text)
        editor.moveCursor(editor.textCursor().MoveOperation.End)

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: QModelIndex | QPersistentModelIndex) -> None:  # fmt: skip
        """Keeps it."""
        assert isinstance(editor, QPlainTextEdit)
        model.setData(index, editor.toPlainText())

    def eventFilter(self, editor: QObject, event: QEvent) -> bool:
        """Enter keeps what was written; Escape, as always, does not."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and isinstance(editor, QPlainTextEdit):
            is_enter = event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
            if is_enter and not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
                self.commitData.emit(editor)
                self.closeEditor.emit(editor)
                return True
        return super().eventFilter(editor, event)


def _rich(row: Row, text: str, *, is_after: bool) -> str:
    """The caption with what is new in colour; muted when it stays, or when there is none."""
    colours = theme.colours()
    if is_after and row.problem:
        return f'<span style="color:{colours.bad}">{html.escape(row.problem)}</span>'
    if not text:
        nothing = tr("Nothing proposed") if is_after else tr("No caption")
        return f'<span style="color:{colours.muted}"><i>{html.escape(nothing)}</i></span>'
    if not is_after or not row.is_changed:
        colour = colours.text if not is_after and row.is_changed else colours.muted
        return f'<span style="color:{colour}">{html.escape(text)}</span>'
    known = {tag.casefold() for tag in tags_of(row.before)}
    parts = [
        html.escape(tag) if tag.casefold() in known else f'<span style="color:{colours.good}">{html.escape(tag)}</span>'
        for tag in tags_of(text)
    ]
    is_all_new = not any(tag.casefold() in known for tag in tags_of(text))
    body = html.escape(text) if is_all_new else ", ".join(parts)
    return f'<span style="color:{colours.text}">{body}</span>'
