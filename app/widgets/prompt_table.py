"""The table of preview prompts: the pictures that are drawn again and again while the LoRA learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractItemModel, QEvent, QModelIndex, QPersistentModelIndex, QSize, Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)  # fmt: skip

from app import field_words, theme
from app.prompts import suggestions
from app.texts import tr
from app.widgets.named import named
from app.widgets.prompt_model import COLUMNS, PromptModel
from trainer.settings import PreviewPrompt
from trainer.settings_file import choices

if TYPE_CHECKING:
    from app.project import Project

MOST_ROWS_SEEN = 8
Index = QModelIndex | QPersistentModelIndex


class PromptTable(QWidget):
    """Edits a project's preview prompts. `pictures` is an `app.pictures.Pictures`, or has its items."""

    def __init__(self, project: Project, pictures: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("prompt_table")
        self._project, self._pictures = project, pictures
        self.model = PromptModel(self)
        self.model.edited.connect(self._on_edited)
        self._table = named(QTableView(), "prompts", spoken=tr("Preview prompts"))
        self._delegate = _Delegate(self._table)
        self._empty = theme.role(named(QLabel(wordWrap=True), "prompts_empty"), "muted")
        self._empty.setText(
            tr("No previews yet: training would show no pictures. Take some from your captions, or write your own.")
        )
        self._error = theme.role(named(QLabel(wordWrap=True), "prompts_error"), "bad")
        self._error.setTextFormat(Qt.TextFormat.PlainText)
        self._add = named(QPushButton(tr("Add")), "prompt_add", tip=tr("Add a prompt"))
        self._suggest = named(
            QPushButton(tr("Suggest from captions")), "prompt_suggest",
            tip=tr("Three of your captions, and one without the trigger word to see what the base model keeps"),
        )  # fmt: skip
        self._tools = {
            "copy": named(QToolButton(), "prompt_copy", tip=tr("Duplicate"), spoken=tr("Duplicate the prompt")),
            "up": named(QToolButton(), "prompt_up", tip=tr("Up (Alt+↑)"), spoken=tr("Move the prompt up")),
            "down": named(QToolButton(), "prompt_down", tip=tr("Down (Alt+↓)"), spoken=tr("Move the prompt down")),
            "trash": named(QToolButton(), "prompt_remove", tip=tr("Remove (Delete)"), spoken=tr("Remove the prompt")),
        }
        self._set_up_table()
        self._connect()
        self._lay_out()
        self._restyle()
        project.changed.connect(self._on_project_changed)
        self.refresh()

    def _set_up_table(self) -> None:
        table = self._table
        table.setModel(self.model)
        table.setItemDelegate(self._delegate)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        triggers = QAbstractItemView.EditTrigger
        table.setEditTriggers(
            triggers.DoubleClicked | triggers.SelectedClicked | triggers.EditKeyPressed | triggers.AnyKeyPressed
        )
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setTabKeyNavigation(False)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(theme.space(4.5))
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        header = table.horizontalHeader()
        header.setHighlightSections(False)
        header.setMinimumSectionSize(theme.space(6))
        widths = {"negative": 14, "seed": 8, "size": 13, "guidance": 6, "steps": 7, "sampler": 15}
        for column, name in enumerate(COLUMNS):
            if name == "prompt":
                header.setSectionResizeMode(column, QHeaderView.ResizeMode.Stretch)
            else:
                table.setColumnWidth(column, theme.space(widths[name]))

    def _connect(self) -> None:
        self._add.clicked.connect(self._on_add)
        self._suggest.clicked.connect(self._on_suggest)
        self._tools["copy"].clicked.connect(self._on_duplicate)
        self._tools["trash"].clicked.connect(self._on_remove)
        self._tools["up"].clicked.connect(lambda: self._move(-1))
        self._tools["down"].clicked.connect(lambda: self._move(1))
        context = Qt.ShortcutContext.WidgetShortcut
        QShortcut(QKeySequence("Alt+Up"), self._table, lambda: self._move(-1), context=context)
        QShortcut(QKeySequence("Alt+Down"), self._table, lambda: self._move(1), context=context)
        QShortcut(QKeySequence("Delete"), self._table, self._on_remove, context=context)
        self._table.selectionModel().currentRowChanged.connect(self._update_tools)

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        buttons.setSpacing(theme.space(0.75))
        buttons.addWidget(self._suggest)
        buttons.addWidget(self._add)
        buttons.addStretch(1)
        for tool in self._tools.values():
            buttons.addWidget(tool)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(1))
        column.addWidget(self._empty)
        self._card = theme.role(QFrame(), "card")
        inside = QVBoxLayout(self._card)
        inside.setContentsMargins(theme.space(0.5), theme.space(0.5), theme.space(0.5), theme.space(0.5))
        inside.addWidget(self._table)
        column.addWidget(self._card)
        column.addWidget(self._error)
        column.addLayout(buttons)
        self.setFocusProxy(self._table)

    # ---- the project

    def refresh(self) -> None:
        """Shows what the project holds."""
        self.model.set_rows(self._project.value("previews"))
        count = self.model.rowCount()
        self._empty.setVisible(count == 0)
        self._card.setVisible(count > 0)
        header = self._table.horizontalHeader().sizeHint().height()
        rows = min(count, MOST_ROWS_SEEN) * self._table.verticalHeader().defaultSectionSize()
        self._table.setFixedHeight(header + rows + 2 * self._table.frameWidth() + 2)
        self._update_tools()

    def show_error(self, sentence: str) -> None:
        """Puts a sentence under the table; empty takes it away."""
        self._error.setText(sentence)
        self._error.setVisible(bool(sentence))

    def _on_project_changed(self, names: frozenset[str]) -> None:
        if "previews" in names:
            self.refresh()

    def _on_edited(self, rows: list[dict[str, Any]]) -> None:
        self._project.set_many({"previews": rows})

    # ---- rows

    def _current(self) -> int:
        row = self._table.currentIndex().row()
        return row if row < self.model.rowCount() else -1

    def _on_add(self) -> None:
        trigger = self._project.value("trigger")
        rows = [*self.model.rows, {"prompt": str(trigger)}]
        self._on_edited(rows)
        self._go_to(len(rows) - 1)
        self._table.edit(self.model.index(len(rows) - 1, 0))

    def _on_duplicate(self) -> None:
        row, rows = self._current(), self.model.rows
        if row >= 0:
            self._on_edited([*rows[: row + 1], dict(rows[row]), *rows[row + 1 :]])
            self._go_to(row + 1)

    def _on_remove(self) -> None:
        row, rows = self._current(), self.model.rows
        if row >= 0:
            self._on_edited([*rows[:row], *rows[row + 1 :]])
            self._go_to(min(row, self.model.rowCount() - 1))

    def _move(self, by: int) -> None:
        row, rows = self._current(), self.model.rows
        if row >= 0 and 0 <= row + by < len(rows):
            rows[row], rows[row + by] = rows[row + by], rows[row]
            self._on_edited(rows)
            self._go_to(row + by)

    def _on_suggest(self) -> None:
        seen = {row.get("prompt", "") for row in self.model.rows}
        found = suggestions(
            [i.caption for i in self._pictures.items if i.included], str(self._project.value("trigger"))
        )
        new = [{"prompt": text} for text in found if text not in seen]
        if new:
            self._on_edited([*self.model.rows, *new])
            self._go_to(self.model.rowCount() - len(new))

    def _go_to(self, row: int) -> None:
        if row >= 0:
            self._table.setCurrentIndex(self.model.index(row, 0))
        self._update_tools()

    def _update_tools(self) -> None:
        row, count = self._current(), self.model.rowCount()
        for name, tool in self._tools.items():
            tool.setVisible(count > 0)
            tool.setEnabled(row >= 0 and not (name == "up" and row == 0) and not (name == "down" and row == count - 1))

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_tools"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        for name, tool in self._tools.items():
            tool.setIcon(theme.icon(name))
            tool.setIconSize(QSize(theme.space(2.25), theme.space(2.25)))
        self._add.setIcon(theme.icon("plus"))
        self._suggest.setIcon(theme.icon("star", "accent"))


class _Delegate(QStyledItemDelegate):
    """A line for most columns, a list for the sampler."""

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:
        """The editor of a cell."""
        if COLUMNS[index.column()] != "sampler":
            editor = super().createEditor(parent, option, index)
            editor.setObjectName("prompt_cell")
            return editor
        box = named(QComboBox(parent), "prompt_sampler")
        for value in choices(PreviewPrompt, "sampler"):
            words = field_words.choice("sampler", value)
            box.addItem(words.words, value)
            box.setItemData(box.count() - 1, words.hint, Qt.ItemDataRole.ToolTipRole)
        box.activated.connect(lambda: self.commitData.emit(box))
        return box

    def setEditorData(self, editor: QWidget, index: Index) -> None:
        """Shows the cell's value in the editor."""
        if isinstance(editor, QComboBox):
            editor.setCurrentIndex(max(0, editor.findData(index.data(Qt.ItemDataRole.EditRole))))
        else:
            super().setEditorData(editor, index)

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: Index) -> None:
        """Takes the editor's value."""
        if isinstance(editor, QComboBox):
            model.setData(index, editor.currentData())
        else:
            super().setModelData(editor, model, index)
