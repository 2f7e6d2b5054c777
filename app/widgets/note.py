"""A quiet sentence with one thing to do about it, e.g. Undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QWidget

from app import theme
from app.widgets.named import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtCore import QEvent


class Note(QFrame):
    """Hidden until it has something to say."""

    def __init__(self, name: str, icon: str = "info", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName(name)
        theme.role(self, "note")
        self._icon_name = icon
        self._action: Callable[[], None] | None = None
        self._icon = QLabel()
        self._text = named(QLabel(wordWrap=True), f"{name}_text")
        self._text.setTextFormat(Qt.TextFormat.PlainText)
        self._button = theme.role(named(QPushButton(), f"{name}_button"), "link")
        self._button.clicked.connect(self._on_clicked)
        row = QHBoxLayout(self)
        row.setContentsMargins(theme.space(1.5), theme.space(1), theme.space(1.5), theme.space(1))
        row.setSpacing(theme.space(1.25))
        row.addWidget(self._icon)
        row.addWidget(self._text, 1)
        row.addWidget(self._button)
        self._restyle()
        self.hide()

    def say(self, text: str, button: str = "", action: Callable[[], None] | None = None) -> None:
        """Shows a sentence and perhaps a button; an empty text hides the note."""
        self._text.setText(text)
        self._button.setText(button)
        self._button.setVisible(bool(button))
        self._action = action
        self.setVisible(bool(text))

    def _on_clicked(self) -> None:
        action = self._action
        self.hide()
        if action is not None:
            action()

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == event.Type.PaletteChange and hasattr(self, "_icon"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._icon.setPixmap(theme.pixmap(self._icon_name, theme.space(2), "accent"))
