"""The bar above the pictures: search, filters, what there is, size, undo and redo, adding pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QAction, QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QLabel, QLineEdit, QPushButton, QSizePolicy, QToolButton, QWidget

from app import theme
from app.texts import counted, tr
from app.widgets.named import named

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent

    from app.pictures import Pictures


class DatasetBar(QWidget):
    """Tools; what they do is up to the page.

    Attributes:
        search: the search box.

    Signals:
        filterChanged: text, `only_problems` or the tag is another; ask the properties.
        tagCleared: the user takes the tag filter away.
        undoWanted, redoWanted: of caption edits.
        captionsWanted: have a model write captions.
        addWanted: add pictures.
        foldersWanted: see folders and concepts.
    """

    filterChanged = Signal()
    tagCleared = Signal()
    undoWanted = Signal()
    redoWanted = Signal()
    captionsWanted = Signal()
    addWanted = Signal()
    foldersWanted = Signal()

    def __init__(self, pictures: Pictures, zoom: QWidget, parent: QWidget | None = None) -> None:
        """zoom: the grid's slider."""
        super().__init__(parent)
        self._pictures = pictures
        self.search = named(QLineEdit(placeholderText=tr("Search"), clearButtonEnabled=True), "search")
        self.search.setToolTip(
            tr("In file names and captions  (Ctrl+F). is:cropped, is:masked and is:out show such pictures only.")
        )
        self.search.setAccessibleName(tr("Search in file names and captions"))
        self.search.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.search.setMinimumWidth(theme.space(10))
        self.search.setMaximumWidth(theme.space(30))
        self._glass = QAction(self.search)
        self.search.addAction(self._glass, QLineEdit.ActionPosition.LeadingPosition)
        self.search.textChanged.connect(self.filterChanged)
        escape = QShortcut(QKeySequence(Qt.Key.Key_Escape), self.search, context=Qt.ShortcutContext.WidgetShortcut)
        escape.activated.connect(self.search.clear)
        self._problems = named(QPushButton(tr("Only problems")), "only_problems")
        self._problems.setCheckable(True)
        self._problems.toggled.connect(self.filterChanged)
        self._tag = named(QToolButton(), "tag_filter", tip=tr("Show all pictures again"))
        self._tag.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._tag.setCheckable(True)  # for its looks
        self._tag.clicked.connect(self.tagCleared)
        self._tag.hide()
        self._count = theme.role(named(QLabel(), "picture_count"), "muted")
        self._count.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self._undo = named(QToolButton(), "undo", spoken=tr("Undo"))
        self._redo = named(QToolButton(), "redo", spoken=tr("Redo"))
        self._undo.clicked.connect(self.undoWanted)
        self._redo.clicked.connect(self.redoWanted)
        self._write = named(
            QPushButton(tr("Write captions…")), "write_captions", tip=tr("Have a model describe the pictures")
        )
        self._write.clicked.connect(self.captionsWanted)
        self._add = named(
            QPushButton(tr("Add pictures…")), "add_pictures", tip=tr("Or drop them anywhere on the window")
        )
        self._add.clicked.connect(self.addWanted)
        self._folders = named(
            QToolButton(), "folders", tip=tr("Folders and concepts: trigger words, repeats, regularisation…"),
            spoken=tr("Folders and concepts"),
        )  # fmt: skip
        self._folders.clicked.connect(self.foldersWanted)
        self._lay_out(zoom)
        for signal in (pictures.scanned, pictures.captionsChanged, pictures.includedChanged, pictures.fitsChanged):
            signal.connect(self.refresh)
        pictures.historyChanged.connect(self._refresh_history)
        self._restyle()
        self.refresh()

    def _lay_out(self, zoom: QWidget) -> None:
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(theme.space(1))
        row.addWidget(self.search, 2)
        row.addWidget(self._problems)
        row.addWidget(self._tag)
        row.addStretch(1)
        row.addWidget(self._count)
        row.addSpacing(theme.space(0.5))
        zoom.setMinimumHeight(theme.space(3.5))  # or its knob would be cut
        row.addWidget(zoom)
        row.addWidget(self._undo)
        row.addWidget(self._redo)
        row.addWidget(self._folders)
        row.addWidget(self._write)
        row.addWidget(self._add)

    # ---- the filter

    @property
    def text(self) -> str:
        """What is searched for."""
        return self.search.text()

    @property
    def only_problems(self) -> bool:
        """Whether only pictures with problems are wanted."""
        return self._problems.isChecked()

    def clear(self) -> None:
        """Takes search and "Only problems" away."""
        self.search.clear()
        self._problems.setChecked(False)

    def show_tag(self, tag: str) -> None:
        """The tag that is filtered by, empty for none."""
        self._tag.setVisible(bool(tag))
        self._tag.setChecked(True)
        self._tag.setText(self.fontMetrics().elidedText(tag, Qt.TextElideMode.ElideRight, theme.space(18)))
        self._tag.setAccessibleName(tr("Show all pictures again, not only “{tag}”", tag=tag))

    # ---- keeping up

    def refresh(self, _indexes: object = None) -> None:
        """Counts anew."""
        items = self._pictures.items
        left_out = len(items) - self._pictures.included_count
        text = counted(len(items), "picture", "pictures")
        self._count.setText(tr("{pictures}, {count} left out", pictures=text, count=left_out) if left_out else text)
        problems = sum(bool(item.problems) for item in items)
        self._problems.setText(tr("Only problems ({count})", count=problems) if problems else tr("Only problems"))
        self._problems.setToolTip(
            tr("{pictures} may need a look", pictures=counted(problems, "picture", "pictures"))
            if problems
            else tr("All pictures are fine")
        )
        self._problems.setEnabled(bool(problems) or self._problems.isChecked())
        self._refresh_history()

    def _refresh_history(self) -> None:
        self._undo.setEnabled(self._pictures.can_undo)
        self._redo.setEnabled(self._pictures.can_redo)
        undo, redo = self._pictures.undo_text, self._pictures.redo_text
        self._undo.setToolTip(tr("Undo: {what}  (Ctrl+Z)", what=undo) if undo else tr("No caption edit to undo"))
        self._redo.setToolTip(tr("Redo: {what}  (Ctrl+Shift+Z)", what=redo) if redo else tr("No caption edit to redo"))

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == event.Type.PaletteChange and hasattr(self, "_add"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        side = theme.space(2.25)
        self._glass.setIcon(theme.icon("search", "muted"))
        for button, name in (
            (self._undo, "undo"),
            (self._redo, "redo"),
            (self._folders, "folder"),
            (self._add, "plus"),
            (self._tag, "close"),
        ):
            button.setIcon(theme.icon(name))
            button.setIconSize(QSize(side, side) if button is not self._tag else QSize(side * 2 // 3, side * 2 // 3))
        self._problems.setIcon(theme.icon("warning", "warn"))
