"""The run's log in a drawer at the bottom: follows the file while it is open, searches, copies."""

from __future__ import annotations

import codecs
import os
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QKeyCombination, QObject, QSize, Qt, QTimer, QUrl, Signal
from PySide6.QtGui import (
    QDesktopServices,
    QFontDatabase,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
    QShortcut,
    QTextCursor,
    QTextDocument,
)
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.texts import tr
from app.widgets.named import named

if TYPE_CHECKING:
    from pathlib import Path

FIRST_BYTES = 256_000  # of the end of a long log
CHUNK_BYTES = 64_000  # at most so much in one go, so that the window stays fluid
EVERY_MS = 400
MAX_LINES = 5_000


class LogDrawer(QFrame):
    """A bar with the word Log; open, the log's text lies below it.

    Signals:
        toggled(bool): it was opened or closed.
    """

    toggled = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("log_drawer")
        theme.role(self, "bar")
        self._path: Path | None = None
        self._read_to = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._timer = QTimer(self, interval=EVERY_MS)
        self._timer.timeout.connect(self.read_more)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.space(1), theme.space(0.5), theme.space(1), theme.space(0.5))
        column.setSpacing(theme.space(0.5))
        column.addLayout(self._make_bar())
        self._text = named(QPlainTextEdit(readOnly=True), "log_text")
        self._text.setAccessibleName(tr("The run's log"))
        self._text.setMaximumBlockCount(MAX_LINES)
        self._text.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self._text.setFixedHeight(theme.space(18))
        column.addWidget(self._text)
        QShortcut(
            QKeySequence.StandardKey.Find,
            self,
            self._search.setFocus,
            context=Qt.ShortcutContext.WidgetWithChildrenShortcut,
        )
        self._renew_icons()
        self._show_open(False)

    # ---- what others use

    def set_path(self, path: Path | None) -> None:
        """The log of another run, or none."""
        if path == self._path:
            return
        self._path = path
        self._begin_anew()
        if self.is_open:
            self.read_more()

    @property
    def is_open(self) -> bool:
        """Whether the text can be seen."""
        return self._head.isChecked()

    def set_open(self, is_open: bool) -> None:
        """Opens or closes it."""
        self._head.setChecked(is_open)

    def text(self) -> str:
        """What is shown."""
        return self._text.toPlainText()

    def read_more(self) -> None:
        """Takes what was added to the file since, a chunk at a time."""
        if self._path is None:
            return
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if size < self._read_to:  # it has been begun anew
                    self._begin_anew()
                if self._read_to == 0 and size > FIRST_BYTES:
                    file.seek(size - FIRST_BYTES)
                    file.readline()  # from a line's beginning
                    self._read_to = file.tell()
                file.seek(self._read_to)
                chunk = file.read(CHUNK_BYTES)
                self._read_to = file.tell()
        except FileNotFoundError:
            self._hint.setText(tr("Nothing has been written yet"))
            return
        except OSError as error:
            self._hint.setText(tr("The log cannot be read: {reason}", reason=error.strerror or error))
            return
        if chunk:
            self._append(self._decoder.decode(chunk).replace("\r\n", "\n").replace("\r", "\n"))
            if self._hint.text() == tr("Nothing has been written yet"):
                self._hint.setText("")
        elif not self._read_to:
            self._hint.setText(tr("Nothing has been written yet"))
        if self._read_to < size:
            QTimer.singleShot(0, self, self.read_more)

    def search(self, *, backwards: bool = False) -> bool:
        """Finds the next place of the searched words, and again from the other end; returns whether there is one."""
        words = self._search.text()
        if not words:
            self._hint.setText("")
            return False
        how = QTextDocument.FindFlag.FindBackward if backwards else QTextDocument.FindFlag(0)
        found = self._text.find(words, how)
        if not found:
            before = self._text.textCursor()
            self._text.moveCursor(QTextCursor.MoveOperation.End if backwards else QTextCursor.MoveOperation.Start)
            found = self._text.find(words, how)
            if not found:
                self._text.setTextCursor(before)
        self._hint.setText("" if found else tr("“{words}” is not in the log", words=words))
        return found

    # ---- Qt

    def changeEvent(self, event: QEvent) -> None:
        """Another theme."""
        if event.type() == QEvent.Type.PaletteChange:
            self._renew_icons()
        super().changeEvent(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Shift+Enter in the search field searches backwards, Escape closes the drawer."""
        if watched is self._search and event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            if event.keyCombination() == QKeyCombination(Qt.KeyboardModifier.ShiftModifier, Qt.Key.Key_Return):
                self.search(backwards=True)
                return True
            if event.key() == Qt.Key.Key_Escape:
                self.set_open(False)
                return True
        return super().eventFilter(watched, event)

    # ---- inside

    def _make_bar(self) -> QHBoxLayout:
        self._head = named(QToolButton(), "log_head")
        self._head.setToolTip(tr("What the training program writes down: for when something goes wrong"))
        self._head.setText(tr("Log"))
        self._head.setCheckable(True)
        self._head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._head.toggled.connect(self._on_toggled)
        self._hint = theme.role(named(QLabel(), "log_hint"), "muted")
        self._search = named(QLineEdit(placeholderText=tr("Search the log"), clearButtonEnabled=True), "log_search")
        self._search.setAccessibleName(tr("Search the log"))
        self._search.setMaximumWidth(theme.space(26))
        self._search.returnPressed.connect(self.search)
        self._search.installEventFilter(self)
        self._copy = self._tool("log_copy", tr("Copy"), tr("Copy the marked text, or the whole log"), self._on_copy)
        self._open = self._tool("log_open", tr("Open"), tr("Open the log in your text editor"), self._on_open)
        row = QHBoxLayout()
        row.setSpacing(theme.space(1))
        row.addWidget(self._head)
        row.addWidget(self._hint)
        row.addStretch(1)
        for widget in (self._search, self._copy, self._open):
            row.addWidget(widget)
        return row

    def _tool(self, name: str, text: str, help_text: str, slot: object) -> QPushButton:
        button = theme.role(named(QPushButton(text), name), "quiet")
        button.setToolTip(help_text)
        button.clicked.connect(slot)
        return button

    def _renew_icons(self) -> None:
        self._head.setIcon(theme.icon("chevron_down" if self._head.isChecked() else "chevron_right", "muted"))
        self._copy.setIcon(theme.icon("copy"))
        self._open.setIcon(theme.icon("folder"))
        self._head.setIconSize(QSize(theme.space(2), theme.space(2)))

    def _show_open(self, is_open: bool) -> None:
        for widget in (self._text, self._search, self._copy, self._open, self._hint):
            widget.setVisible(is_open)

    def _begin_anew(self) -> None:
        self._read_to = 0
        self._decoder.reset()
        self._text.clear()
        self._hint.setText("")

    def _append(self, text: str) -> None:
        bar = self._text.verticalScrollBar()
        at_end = bar.value() >= bar.maximum() - 2
        cursor = QTextCursor(self._text.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        cursor.insertText(text)
        if at_end:
            bar.setValue(bar.maximum())

    def _on_toggled(self, is_open: bool) -> None:
        self._show_open(is_open)
        self._renew_icons()
        if is_open:
            self.read_more()
            self._timer.start()
        else:
            self._timer.stop()
        self.toggled.emit(is_open)

    def _on_copy(self) -> None:
        marked = self._text.textCursor().selectedText().replace("\u2029", "\n")
        QGuiApplication.clipboard().setText(marked or self.text())
        self._hint.setText(tr("Copied"))

    def _on_open(self) -> None:
        if (
            self._path is None
            or not self._path.exists()
            or not QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._path)))
        ):
            self._hint.setText(tr("The log cannot be opened; it is {path}", path=self._path or ""))
