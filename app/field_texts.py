"""Editors of text: a line, several lines, a list of lines, a path, a list of paths, a colour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QSize, Qt
from PySide6.QtGui import QColor, QIcon, QPainter, QPen, QPixmap
from PySide6.QtWidgets import (
    QColorDialog,
    QFileDialog,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QToolButton,
    QVBoxLayout,
    QWidget,
)  # fmt: skip

from app import theme
from app.field_base import Editor
from app.texts import tr

if TYPE_CHECKING:
    from PySide6.QtGui import QDragEnterEvent, QDropEvent

LINES = 3  # of a long text


class TextEditor(Editor):
    """A line of text."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._line = QLineEdit()
        self._line.setMinimumWidth(theme.space(20))
        self._line.textEdited.connect(self._on_text_edited)
        self._row.addWidget(self._line, 1)
        self.setFocusProxy(self._line)

    def set_placeholder(self, text: str) -> None:
        """What an empty line says."""
        self._line.setPlaceholderText(text)

    def value(self) -> Any:
        """The text."""
        return self._line.text()

    def set_value(self, value: Any) -> None:
        """Shows a text, the cursor where it was."""
        if self._line.text() != str(value):
            self._line.setText(str(value))

    def _on_text_edited(self, text: str) -> None:
        self.edited.emit(text)


class LongTextEditor(Editor):
    """Several lines of text."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._edit = QPlainTextEdit()
        self._edit.setTabChangesFocus(True)
        self._edit.setFixedHeight(theme.space(2 * LINES + 2))
        self._edit.setMinimumWidth(theme.space(20))
        self._edit.textChanged.connect(self._on_text_changed)
        self._row.addWidget(self._edit, 1)
        self.setFocusProxy(self._edit)

    def value(self) -> Any:
        """The text."""
        return self._edit.toPlainText()

    def set_value(self, value: Any) -> None:
        """Shows a value."""
        if self.value() == value:
            return
        self._edit.blockSignals(True)
        self._edit.setPlainText(self._as_text(value))
        self._edit.blockSignals(False)

    def _as_text(self, value: Any) -> str:
        return str(value)

    def _on_text_changed(self) -> None:
        self.edited.emit(self.value())


class LinesEditor(LongTextEditor):
    """A list of texts, one a line; for paths there is a button, and files can be dropped.

    What a file said that is no list is kept until the user edits it.
    """

    def __init__(self, *, paths: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._kept: Any = []
        self._edit.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._edit.setPlaceholderText(tr("One folder or picture a line") if paths else tr("One a line"))
        self._edit.setAcceptDrops(False)
        self.setAcceptDrops(paths)
        if paths:
            self._add = QPushButton(tr("Add a folder…"))
            self._add.clicked.connect(self._on_add)
            column = QVBoxLayout()
            column.addWidget(self._add)
            column.addStretch(1)
            self._row.addLayout(column)

    def describe(self, name: str, label: str, help_text: str) -> None:
        """Names the button, too."""
        super().describe(name, label, help_text)
        for button in self.findChildren(QPushButton):
            button.setObjectName(f"{name}_add")

    def value(self) -> Any:
        """The lines that are not empty."""
        return self._kept

    def set_value(self, value: Any) -> None:
        """Shows a list."""
        super().set_value(value)
        self._kept = value

    def _as_text(self, value: Any) -> str:
        return "\n".join(map(str, value)) if isinstance(value, list) else str(value)

    def _on_text_changed(self) -> None:
        self._kept = [line.strip() for line in self._edit.toPlainText().splitlines() if line.strip()]
        self.edited.emit(self._kept)

    def _on_add(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, tr("Add a folder of pictures"))
        if folder:
            self._append([folder])

    def _append(self, paths: list[str]) -> None:
        given = self._kept if isinstance(self._kept, list) else []
        self.set_value([*given, *(p for p in paths if p not in given)])
        self.edited.emit(self._kept)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Takes files."""
        if _files(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Adds what was dropped."""
        event.acceptProposedAction()
        self._append(_files(event))


class PathEditor(TextEditor):
    """A folder or a file: typed, chosen in a dialog, or dropped."""

    def __init__(self, *, files: str = "", parent: QWidget | None = None) -> None:
        """An editor for a folder, or for a file when `files` is a pattern such as "*.safetensors"."""
        super().__init__(parent)
        self._files = files
        self._line.setAcceptDrops(False)
        self.setAcceptDrops(True)
        self._browse = QToolButton()
        self._browse.setIcon(theme.icon("folder"))
        words = tr("Choose a file…") if files else tr("Choose a folder…")
        self._browse.setToolTip(words)
        self._browse.setAccessibleName(words)
        self._browse.clicked.connect(self._on_browse)
        self._row.addWidget(self._browse)
        self.set_placeholder(tr("none"))

    def describe(self, name: str, label: str, help_text: str) -> None:
        """Names the button, too."""
        super().describe(name, label, help_text)
        self._browse.setObjectName(f"{name}_browse")

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_browse"):
            self._browse.setIcon(theme.icon("folder"))
        super().changeEvent(event)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Takes one path."""
        if len(_files(event)) == 1:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Takes what was dropped as if it was typed."""
        event.acceptProposedAction()
        self._take(_files(event)[0])

    def _on_browse(self) -> None:
        start = self._line.text() if self._line.text() and Path(self._line.text()).exists() else ""
        if self._files:
            chosen = QFileDialog.getOpenFileName(self, tr("Choose a file"), start, self._files)[0]
        else:
            chosen = QFileDialog.getExistingDirectory(self, tr("Choose a folder"), start)
        if chosen:
            self._take(chosen)

    def _take(self, path: str) -> None:
        self.set_value(path)
        self.edited.emit(path)


class ColourEditor(TextEditor):
    """A colour: typed, or picked with the swatch."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._swatch = QToolButton()
        self._swatch.setIconSize(QSize(theme.space(3), theme.space(2)))
        self._swatch.setToolTip(tr("Pick a colour…"))
        self._swatch.setAccessibleName(tr("Pick a colour"))
        self._swatch.clicked.connect(self._on_pick)
        self._line.setFixedWidth(theme.space(13))
        self._line.setMinimumWidth(0)
        self._line.textChanged.connect(self._paint)
        self._row.insertWidget(0, self._swatch)
        self._row.addStretch(1)
        self._paint("")

    def describe(self, name: str, label: str, help_text: str) -> None:
        """Names the swatch, too."""
        super().describe(name, label, help_text)
        self._swatch.setObjectName(f"{name}_pick")

    def _on_pick(self) -> None:
        before = QColor(self._line.text())
        chosen = QColorDialog.getColor(before if before.isValid() else QColor("white"), self, tr("Behind transparency"))
        if chosen.isValid():
            self.set_value(chosen.name())
            self.edited.emit(chosen.name())

    def _paint(self, text: str) -> None:
        size = self._swatch.iconSize()
        pixmap = QPixmap(size * 2)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = QColor(text)
        painter.setPen(QPen(theme.colour("muted"), 2))
        painter.setBrush(colour if colour.isValid() else Qt.BrushStyle.NoBrush)
        painter.drawRoundedRect(pixmap.rect().adjusted(1, 1, -2, -2), 8, 8)
        painter.end()
        pixmap.setDevicePixelRatio(2)
        self._swatch.setIcon(QIcon(pixmap))


def _files(event: QDragEnterEvent | QDropEvent) -> list[str]:
    return [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
