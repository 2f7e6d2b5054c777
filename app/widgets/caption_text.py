"""The field a caption is written in, and the lines below it: its length in tokens, and the text as the model sees it."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QTextCursor
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPlainTextEdit, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from app import theme
from app.caption_tags import Reading, in_lines
from app.texts import tr
from app.widgets.named import named
from trainer.captions import with_trigger

if TYPE_CHECKING:
    from PySide6.QtGui import QFocusEvent

    from app.project import Project
    from app.token_counter import TokenCounter

CUT_CHARACTERS = 60  # so much of what is cut off is shown
LINES = 5.2  # of the field, its frame included
_STEPS = {
    (Qt.Key.Key_PageDown, Qt.KeyboardModifier.NoModifier): 1, (Qt.Key.Key_Down, Qt.KeyboardModifier.ControlModifier): 1,
    (Qt.Key.Key_PageUp, Qt.KeyboardModifier.NoModifier): -1, (Qt.Key.Key_Up, Qt.KeyboardModifier.ControlModifier): -1,
    (Qt.Key.Key_Return, Qt.KeyboardModifier.NoModifier): 1, (Qt.Key.Key_Enter, Qt.KeyboardModifier.KeypadModifier): 1,
}  # fmt: skip


class CaptionText(QPlainTextEdit):
    """A caption wraps; Enter goes to the next picture, Shift+Enter begins another line, which can be another variant.

    When it has nothing of its own to undo, Ctrl+Z is left to the page.

    Signals:
        stepWanted(int): 1 for the next picture, -1 for the previous.
        left: the focus went elsewhere.
    """

    stepWanted = Signal(int)
    left = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("caption_text")
        self.setAccessibleName(tr("Caption"))
        self.setPlaceholderText(tr("What is in the picture? For example: night, full moon, ink drawing"))
        self.setTabChangesFocus(True)
        self.setMinimumHeight(round(self.fontMetrics().lineSpacing() * LINES))
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)

    @property
    def caption(self) -> str:
        """What is written, as captions are kept."""
        return in_lines(self.toPlainText())

    def replace_all(self, caption: str) -> None:
        """Writes another caption, as a step that Ctrl+Z takes back."""
        cursor = self.textCursor()
        cursor.select(QTextCursor.SelectionType.Document)
        cursor.insertText(caption)

    def sizeHint(self) -> QSize:
        """No higher than it must be; what room there is goes to the picture."""
        return QSize(super().sizeHint().width(), self.minimumHeight())

    def event(self, event: QEvent) -> bool:
        """Leaves undo and redo to the page where the text has none."""
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent):
            document = self.document()
            undo = event.matches(QKeySequence.StandardKey.Undo) and not document.isUndoAvailable()
            redo = event.matches(QKeySequence.StandardKey.Redo) and not document.isRedoAvailable()
            if undo or redo:
                event.ignore()
                return False
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter, Page Up and Down, Ctrl+Up and Down change the picture; Shift+Enter begins a line."""
        step = _STEPS.get((Qt.Key(event.key()), event.modifiers()))
        if event.key() == Qt.Key.Key_Return and event.modifiers() == Qt.KeyboardModifier.ShiftModifier:
            self.textCursor().insertBlock()
            return
        if step is None:
            super().keyPressEvent(event)
        else:
            self.stepWanted.emit(step)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Tells that the user is done, but not for a menu or another window."""
        super().focusOutEvent(event)
        if event.reason() != Qt.FocusReason.PopupFocusReason:
            self.left.emit()


class CaptionMeter(QWidget):
    """Below a caption.

    Signals:
        triggerWanted: there is no trigger word, and the user wants one.
    """

    triggerWanted = Signal()

    def __init__(self, project: Project, counter: TokenCounter, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._project, self._counter = project, counter
        self._lines, self._line = [""], 0
        self._tokens = theme.role(named(QLabel(), "token_count"), "muted")
        self._title = theme.role(QLabel(tr("As the model sees it")), "muted")
        self._seen = named(QLabel(wordWrap=True), "seen_caption")
        self._seen.setTextFormat(Qt.TextFormat.RichText)
        self._seen.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._seen.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self._warning = theme.role(named(QLabel(wordWrap=True), "token_warning"), "warn")
        self._note = theme.role(named(QLabel(wordWrap=True), "seen_note"), "muted")
        self._trigger = theme.role(named(QPushButton(tr("Set a trigger word")), "set_trigger"), "link")
        self._trigger.setCursor(Qt.CursorShape.PointingHandCursor)
        self._trigger.setToolTip(
            tr("The word that will call what is learnt, e.g. zorblin. It is put in front of every caption.")
        )
        self._trigger.clicked.connect(self.triggerWanted)
        head = QHBoxLayout()
        head.addWidget(self._title, 1)
        head.addWidget(self._tokens)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.5))
        column.addLayout(head)
        for widget in (self._seen, self._warning, self._note):
            column.addWidget(widget)
        column.addWidget(self._trigger, 0, Qt.AlignmentFlag.AlignLeft)
        project.changed.connect(self._on_changed)
        counter.changed.connect(self._refresh)
        self._refresh()

    def set_caption(self, caption: str, line: int = 0) -> None:
        """Measures another caption. line: which of its lines is looked at, for when they are variants."""
        self._lines = in_lines(caption).split("\n")
        self._line = min(max(line, 0), len(self._lines) - 1)
        self._refresh()

    @property
    def _is_variant(self) -> bool:
        return len(self._lines) > 1 and self._reading.variants

    @property
    def seen_text(self) -> str:
        """What the model is given, before it cuts the end."""
        text = self._lines[self._line] if self._is_variant else " ".join(self._lines)
        text = with_trigger(text, self._trigger_word())
        separator = self._reading.separator
        if separator and separator in text:
            text = ", ".join(part for part in map(str.strip, text.split(separator)) if part)
        return text

    @property
    def _reading(self) -> Reading:
        return Reading.of(self._project.value)

    def _trigger_word(self) -> str:
        return str(self._project.value("trigger")).strip()

    def _refresh(self) -> None:
        trigger, text = self._trigger_word(), self.seen_text
        count = self._counter.count(text)
        self._tokens.setText(count.sentence)
        self._tokens.setToolTip(self._counter.problem)
        theme.role(self._tokens, "warn" if count.over else "muted")
        self._warning.setText(count.warning)
        self._warning.setVisible(bool(count.over))
        if text:
            c = theme.colours()
            rest = text[count.seen :]
            rest = rest if len(rest) <= CUT_CHARACTERS else rest[:CUT_CHARACTERS] + "…"
            cut = f'<s style="color:{c.muted}">{html.escape(rest)}</s>' if rest else ""
            self._seen.setText(_with_mark(text[: count.seen], trigger, c.accent) + cut)
        else:
            self._seen.setText(html.escape(tr("Nothing: it has no caption.")))
        self._trigger.setVisible(not trigger)
        note = self._mixing_note()
        if self._is_variant:
            which = tr("Line {n} of {count}; one of them each time.", n=self._line + 1, count=len(self._lines))
            note = f"{which} {note}".strip()
        self._note.setText(note)
        self._note.setVisible(bool(note) and bool(text))

    def _mixing_note(self) -> str:
        shuffled, dropped = self._project.value("shuffle_tags"), self._project.value("tag_dropout")
        if shuffled and dropped:
            return tr("Its tags are mixed, and some are dropped at random.")
        if shuffled:
            return tr("Its tags are mixed each time.")
        return tr("Some tags are dropped at random.") if dropped else ""

    def _on_changed(self, names: frozenset[str]) -> None:
        if names & {"trigger", "shuffle_tags", "tag_dropout", "caption_lines", "keep_separator"}:
            self._refresh()

    def changeEvent(self, event: QEvent) -> None:
        """Renews the colours in the text."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_trigger"):
            self._refresh()
        super().changeEvent(event)


def _with_mark(text: str, trigger: str, colour: str) -> str:
    """HTML with the first occurrence of the trigger in bold and coloured."""
    found = re.search(re.escape(trigger), text, re.IGNORECASE) if trigger else None
    if found is None:
        return html.escape(text)
    before, word, after = text[: found.start()], found[0], text[found.end() :]
    return f'{html.escape(before)}<b style="color:{colour}">{html.escape(word)}</b>{html.escape(after)}'
