"""A strip at the top of the window that tells something and offers what to do; it never blocks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QToolButton, QWidget

from app import theme
from app.texts import tr
from app.widgets.named import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtCore import QEvent


class Banner(QFrame):
    """One sentence and up to three buttons.

    Signals:
        dismissed: the user closed it without choosing.
    """

    dismissed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        theme.role(self, "banner")
        self._text = named(QLabel(wordWrap=True), "banner_text")
        self._buttons: list[QPushButton] = []
        self._close = named(QToolButton(), "banner_close", tip=tr("Dismiss"), spoken=tr("Dismiss"))
        self._close.clicked.connect(self._on_close)
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(theme.space(2), theme.space(0.75), theme.space(1), theme.space(0.75))
        self._row.setSpacing(theme.space(1))
        self._row.addWidget(self._text, 1)
        self._row.addWidget(self._close)
        self._restyle()
        self.hide()

    @property
    def text(self) -> str:
        """The sentence that is shown; empty while hidden."""
        return "" if self.isHidden() else self._text.text()

    def tell(self, text: str, *actions: tuple[str, Callable[[], object]]) -> None:
        """Shows a sentence with a button for each (label, action); the first is the usual choice."""
        for button in self._buttons:
            self._row.removeWidget(button)
            button.deleteLater()
        self._buttons = []
        self._text.setText(text)
        for i, (label, action) in enumerate(actions):
            button = named(QPushButton(label), f"banner_action_{i}")
            button.clicked.connect(partial(self._on_action, action))
            self._row.insertWidget(1 + i, button)
            self._buttons.append(button)
        self.show()

    def _on_action(self, action: Callable[[], object], _checked: bool = False) -> None:
        self.hide()
        action()

    def _on_close(self) -> None:
        self.hide()
        self.dismissed.emit()

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == event.Type.PaletteChange:
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._close.setIcon(theme.icon("close", "muted"))
