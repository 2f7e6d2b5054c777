"""One setting in the form: label, editor, unit, help, the way back to the default, and its mistake under it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, QRectF, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QGridLayout, QLabel, QSizePolicy, QToolButton, QWidget

from app import field_words, fields, theme
from app.project import default
from app.texts import tr
from app.widgets.named import named
from trainer.settings import TrainingSettings, info

if TYPE_CHECKING:
    from PySide6.QtGui import QPaintEvent

MARK_PX = 3


class FormRow(QWidget):
    """Shows one setting; knows no project.

    Signals:
        edited(name, value): the user changed it.
        resetClicked(name): the user wants the default back.
    """

    edited = Signal(str, object)
    resetClicked = Signal(str)

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        about = info(name)
        self.name = name
        self._changed = False
        self.setObjectName(f"row_{name}")
        self.editor = fields.make(TrainingSettings, name)
        self.editor.edited.connect(self._on_edited)
        self._label = QLabel(tr(about.label), wordWrap=True)
        self._label.setBuddy(self.editor)
        self._label.setFixedWidth(theme.space(21))
        self._label.setMinimumHeight(theme.space(3.6))
        self._help = _sentence(tr(about.help), "muted")
        self._error = _sentence("", "bad")
        self._error.setObjectName(f"{name}_error")
        self._error.hide()
        self._reset = named(QToolButton(), f"{name}_reset")
        words = tr("Back to the default: {value}", value=field_words.in_words(name, default(name)))
        self._reset.setToolTip(words)
        self._reset.setAccessibleName(f"{tr(about.label)}: {words}")
        self._reset.clicked.connect(self._on_reset)
        keep = self._reset.sizePolicy()
        keep.setRetainSizeWhenHidden(True)
        self._reset.setSizePolicy(keep)
        self._reset.hide()
        grid = QGridLayout(self)
        grid.setContentsMargins(theme.space(1.5), theme.space(0.75), theme.space(1), theme.space(0.75))
        grid.setHorizontalSpacing(theme.space(1.5))
        grid.setVerticalSpacing(theme.space(0.4))
        grid.addWidget(self._label, 0, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self.editor, 0, 1)
        grid.addWidget(self._reset, 0, 2, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self._error, 1, 1, 1, 2)
        grid.addWidget(self._help, 2, 1, 1, 2)
        grid.setColumnStretch(1, 1)
        self._restyle()

    @property
    def error(self) -> str:
        """The sentence under the row."""
        return self._error.text()

    def show_value(self, value: Any, *, changed: bool) -> None:
        """Shows the value, and whether it differs from the default."""
        self.editor.set_value(value)
        if changed != self._changed:
            self._changed = changed
            self._reset.setVisible(changed)
            font = self._label.font()
            font.setBold(changed)
            self._label.setFont(font)
            self.update()

    def show_error(self, sentence: str) -> None:
        """Puts a sentence under the row; empty takes it away."""
        if sentence != self._error.text():
            self._error.setText(sentence)
            self._error.setVisible(bool(sentence))
            self.editor.set_error(bool(sentence))

    def has_focus(self) -> bool:
        """Whether the user is in it."""
        inside = self.focusWidget()
        return inside is not None and inside.hasFocus()

    def paintEvent(self, event: QPaintEvent) -> None:
        """A bar at the left of what was changed."""
        if self._changed:
            painter = QPainter(self)
            painter.setRenderHint(QPainter.RenderHint.Antialiasing)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(theme.colour("accent"))
            inset = theme.space(0.75)
            painter.drawRoundedRect(QRectF(0, inset, MARK_PX, self.height() - 2 * inset), 1.5, 1.5)

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_reset"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._reset.setIcon(theme.icon("reset", "accent"))

    def _on_edited(self, value: object) -> None:
        self.edited.emit(self.name, value)

    def _on_reset(self) -> None:
        self.resetClicked.emit(self.name)


def _sentence(text: str, role: str) -> QLabel:
    label = theme.role(QLabel(text, wordWrap=True), role)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label
