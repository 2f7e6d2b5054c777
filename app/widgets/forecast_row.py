"""The strip above the bar when a run would not fit: why, and the changes that make it fit, one click each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from app import forecast_words, theme
from app.texts import tr
from app.widgets.named import named

if TYPE_CHECKING:
    from PySide6.QtCore import QEvent

    from trainer.forecast_memory import Mend, Outlook


class ForecastRow(QFrame):
    """Hidden while a run fits.

    Signals:
        mendChosen(dict): settings that the user wants to change, by name.
    """

    mendChosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        theme.role(self, "forecast")
        self.setObjectName("forecast_row")
        self._mends: tuple[Mend, ...] = ()
        self._dismissed = ""  # the verdict that the user closed the strip at
        self._verdict = ""
        self._sign = QLabel()
        self._text = named(QLabel(wordWrap=True), "forecast_text")
        self._text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.MinimumExpanding)
        self._close = named(QToolButton(), "forecast_close", tip=tr("Dismiss"), spoken=tr("Dismiss"))
        self._close.clicked.connect(self._on_closed)
        self._rows = QVBoxLayout()
        self._rows.setSpacing(theme.space(0.5))
        self._buttons: list[QPushButton] = []
        words = QVBoxLayout()
        words.setSpacing(theme.space(0.75))
        words.addWidget(self._text)
        words.addLayout(self._rows)
        row = QHBoxLayout(self)
        row.setContentsMargins(theme.space(2), theme.space(1), theme.space(1), theme.space(1))
        row.setSpacing(theme.space(1))
        row.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(words, 1)
        row.addWidget(self._close, 0, Qt.AlignmentFlag.AlignTop)
        self._restyle()
        self.hide()

    def set_outlook(self, outlook: Outlook | None) -> None:
        """Shows what is foretold; None or a run that fits hides the strip."""
        sentence = forecast_words.problem(outlook) if outlook else ""
        self._verdict = outlook.verdict if outlook and sentence else ""
        if not self._verdict:
            self._dismissed = ""
        self.setVisible(bool(sentence) and self._dismissed != self._verdict)
        if outlook is None or not sentence:
            return
        self._text.setText(sentence)
        self._mends = outlook.mends
        had_focus = next((i for i, button in enumerate(self._buttons) if button.hasFocus()), -1)
        for button in self._buttons:
            self._rows.removeWidget(button)
            button.deleteLater()
        self._buttons = [self._button(i, forecast_words.mend(mend, outlook)) for i, mend in enumerate(self._mends)]
        if 0 <= had_focus < len(self._buttons):
            self._buttons[had_focus].setFocus(Qt.FocusReason.OtherFocusReason)
        self._restyle()

    def _button(self, number: int, text: str) -> QPushButton:
        button = named(
            QPushButton(text), f"forecast_mend_{number}", tip=tr("Change the recipe so; Ctrl+Z takes it back")
        )
        theme.role(button, "mend")
        button.setCursor(Qt.CursorShape.PointingHandCursor)
        button.clicked.connect(partial(self._on_chosen, number))
        self._rows.addWidget(button, 0, Qt.AlignmentFlag.AlignLeft)
        return button

    def _on_chosen(self, number: int, _checked: bool = False) -> None:
        self.mendChosen.emit(dict(self._mends[number].changes))

    def _on_closed(self) -> None:
        self._dismissed = self._verdict
        self.hide()

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == event.Type.PaletteChange:
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        colour = "bad" if self._verdict == "no" else "warn"
        self._sign.setPixmap(theme.pixmap("warning", theme.space(2.2), colour))
        self._close.setIcon(theme.icon("close", "muted"))
        for button in self._buttons:
            button.setIcon(theme.icon("tick_plain", "accent"))
