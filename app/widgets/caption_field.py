"""Where a caption is written, as text or as tags: the switch between them, the tag list to complete from, and a hint about lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QTextCursor
from PySide6.QtWidgets import (
    QButtonGroup,
    QFileDialog,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import preferences, theme
from app.caption_tags import Reading
from app.tag_names import TagNames
from app.texts import counted, tr
from app.widgets.named import named
from app.widgets.note import Note
from app.widgets.scrolling import scrolling
from app.widgets.tag_chips import TagChips

if TYPE_CHECKING:
    from app.pictures import Pictures
    from app.project import Project
    from app.widgets.caption_text import CaptionText

PREFERENCE = "captions_as_tags"


class CaptionField(QWidget):
    """Both show the same caption, which `text` holds; what is done to the tags is written into it.

    Attributes:
        text: the caption as text. chips: as tags. names: what tags are completed from.

    Signals:
        left: the focus left the tags.
        stepWanted(int): 1 for the next picture, -1 for the previous, from the tags.
    """

    left = Signal()
    stepWanted = Signal(int)

    def __init__(self, project: Project, pictures: Pictures, text: CaptionText, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._project, self.text = project, text
        self.names = TagNames(self)
        self.chips = TagChips(pictures, self.names)
        self.chips.edited.connect(text.replace_all)
        self.chips.undoWanted.connect(text.undo)
        self.chips.redoWanted.connect(text.redo)
        self.chips.left.connect(self.left)
        self.chips.stepWanted.connect(self.stepWanted)
        for widget in (self.chips, self.chips.field):
            widget.installEventFilter(self)
        self._note = Note("caption_lines_note")
        self._list_note = Note("tag_list_note")
        self.names.failed.connect(self._list_note.say)
        self.names.changed.connect(self._on_names_changed)
        self._lay_out()
        project.changed.connect(self._on_project_changed)
        self.show_tags(preferences.get(PREFERENCE, False))

    def _lay_out(self) -> None:
        self._as_text = self._switch("caption_as_text", tr("Text"), tr("The caption as text"))
        self._as_tags = self._switch("caption_as_tags", tr("Tags"), tr("The caption as tags, to move and remove"))
        group = QButtonGroup(self)
        group.addButton(self._as_text)
        group.addButton(self._as_tags)
        self._as_tags.toggled.connect(self._on_switched)
        self._more = named(
            QToolButton(popupMode=QToolButton.ToolButtonPopupMode.InstantPopup),
            "tag_list_menu",
            tip=tr("A list of tags to complete from"),
            spoken=tr("Tag list"),
        )
        self._more.setText("…")
        self._more.setMenu(QMenu(self._more))
        self._more.menu().aboutToShow.connect(self._fill_menu)
        head = QHBoxLayout()
        head.setSpacing(theme.space(0.25))
        head.addWidget(self._as_text)
        head.addWidget(self._as_tags)
        head.addStretch(1)
        head.addWidget(self._more)
        scroll = scrolling(self.chips)
        scroll.setMinimumHeight(round(self.text.minimumHeight() * 1.3))
        self.chips.lookedAt.connect(lambda area: scroll.ensureVisible(area.x(), area.center().y(), 0, area.height()))
        self._stack = QStackedWidget()
        self._stack.addWidget(self.text)
        self._stack.addWidget(scroll)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.5))
        column.addLayout(head)
        column.addWidget(self._stack, 1)
        column.addWidget(self._note)
        column.addWidget(self._list_note)

    def _switch(self, name: str, text: str, tip: str) -> QPushButton:
        button = theme.role(named(QPushButton(text), name, tip=tip), "quiet")
        button.setCheckable(True)
        return button

    # ---- which of the two

    @property
    def shows_tags(self) -> bool:
        """Whether the caption is shown as tags."""
        return self._stack.currentIndex() == 1

    def show_tags(self, wanted: bool) -> None:
        """Shows the caption as tags or as text, and remembers it."""
        (self._as_tags if wanted else self._as_text).setChecked(True)
        self._stack.setCurrentIndex(1 if wanted else 0)
        self._more.setVisible(wanted)
        self.refresh()

    def begin_writing(self) -> None:
        """Puts the cursor at the caption's end."""
        if self.shows_tags:
            self.chips.field.setFocus(Qt.FocusReason.OtherFocusReason)
            return
        self.text.setFocus(Qt.FocusReason.OtherFocusReason)
        self.text.moveCursor(QTextCursor.MoveOperation.End)

    def refresh(self) -> None:
        """Shows the tags of the text as it is now."""
        reading = Reading.of(self._project.value)
        if self.shows_tags:
            self.chips.set_caption(self.text.caption, reading)
        lines = self.text.caption.count("\n") + 1
        if lines > 1 and not reading.variants:
            text = tr("Its {lines} are joined to one.", lines=counted(lines, "line", "lines"))
            self._note.say(text, tr("Use lines as variants"), self._use_variants)
        else:
            self._note.say("")

    def _on_switched(self, tags: bool) -> None:
        preferences.put(PREFERENCE, tags)
        self.show_tags(tags)
        self.begin_writing()

    def _use_variants(self) -> None:
        self._project.set("caption_lines", "variants")

    def _on_project_changed(self, names: frozenset[str]) -> None:
        if names & {"caption_lines", "keep_separator", "prompt_weights"}:
            self.refresh()

    # ---- the tag list

    def _fill_menu(self) -> None:
        menu = self._more.menu()
        menu.clear()
        if self.names.file is not None:
            tags = counted(len(self.names.file.tags), "tag", "tags")
            menu.addAction(tr("{file}: {tags}", file=self.names.file.path.name, tags=tags)).setEnabled(False)
        menu.addAction(tr("Choose a tag list…"), self._on_choose_list)
        menu.addAction(tr("Without a tag list"), lambda: self.names.choose(None)).setEnabled(
            self.names.file is not None
        )

    def _on_choose_list(self) -> None:
        start = str(self.names.file.path.parent) if self.names.file is not None else ""
        kinds = tr("Tag lists (*.csv *.txt)")
        chosen, _ = QFileDialog.getOpenFileName(self, tr("Choose a tag list"), start, kinds)
        if chosen:
            self.names.choose(Path(chosen))

    def _on_names_changed(self) -> None:
        self._list_note.say("")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Takes Ctrl+Z in the tags while the text has something to undo; else it is the page's."""
        if event.type() in (QEvent.Type.ShortcutOverride, QEvent.Type.KeyPress) and isinstance(event, QKeyEvent):
            own = self.chips.field if watched is self.chips.field else None
            document = self.text.document()
            undo = event.matches(QKeySequence.StandardKey.Undo) and document.isUndoAvailable()
            redo = event.matches(QKeySequence.StandardKey.Redo) and document.isRedoAvailable()
            if (undo or redo) and not (own is not None and own.text()):
                if event.type() == QEvent.Type.KeyPress:
                    (self.text.undo if undo else self.text.redo)()
                event.accept()
                return True
        return super().eventFilter(watched, event)
