"""A message in the middle of an empty area: an icon, a sentence, and what can be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from app import theme
from app.widgets.named import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtCore import QEvent


class MessageCard(QWidget):
    """Says why there is nothing to see here."""

    def __init__(self, icon: str, colour: str = "muted", parent: QWidget | None = None) -> None:
        """icon: from resources/icons; colour: of app/theme.py."""
        super().__init__(parent)
        self._icon_name, self._colour = icon, colour
        self._icon = QLabel(alignment=Qt.AlignmentFlag.AlignCenter)
        self._text = theme.role(
            named(QLabel(alignment=Qt.AlignmentFlag.AlignCenter, wordWrap=True), "message"), "heading"
        )
        self._detail = theme.role(QLabel(alignment=Qt.AlignmentFlag.AlignCenter, wordWrap=True), "muted")
        self._busy = QProgressBar(textVisible=False)
        self._busy.setRange(0, 1)
        self._busy.setFixedWidth(theme.space(30))
        self._buttons = QHBoxLayout()
        self._buttons.setSpacing(theme.space(1))
        self._buttons.addStretch(1)
        self._buttons.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.space(4), theme.space(2), theme.space(4), theme.space(2))
        column.setSpacing(theme.space(1.25))
        column.addStretch(2)
        for widget in (self._icon, self._text, self._detail):
            column.addWidget(widget)
        column.addWidget(self._busy, 0, Qt.AlignmentFlag.AlignHCenter)
        column.addLayout(self._buttons)
        column.addStretch(3)
        self._busy.hide()
        self._restyle()

    @property
    def text(self) -> str:
        """The sentence."""
        return self._text.text()

    def set_text(self, text: str, detail: str = "") -> None:
        """Another sentence, and a smaller one below it."""
        self._text.setText(text)
        self._detail.setText(detail)
        self._detail.setVisible(bool(detail))

    def set_busy(self, busy: bool) -> None:
        """Something goes on, for an unknown time."""
        self._busy.setRange(0, 0 if busy else 1)
        self._busy.setVisible(busy)

    def add_button(self, name: str, label: str, action: Callable[[], object], *, primary: bool = False) -> QPushButton:
        """One more thing that can be done."""
        button = named(QPushButton(label), name)
        if primary:
            theme.role(button, "primary")
        button.clicked.connect(lambda _checked=False: action())
        self._buttons.insertWidget(self._buttons.count() - 1, button)
        return button

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == event.Type.PaletteChange:
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._icon.setPixmap(theme.pixmap(self._icon_name, theme.space(5), self._colour))
