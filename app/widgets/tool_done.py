"""The good end of a LoRA tool: the new file, and what can be done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app import theme
from app.texts import tr
from app.widgets.named import named
from app.widgets.picture_menu import show_in_folder

if TYPE_CHECKING:
    from pathlib import Path


class Done(QWidget):
    """What is shown instead of the form.

    Signals:
        useWanted: the user wants to work with the file.
    """

    useWanted = Signal()

    def __init__(self, is_model: bool) -> None:
        super().__init__()
        self._path: Path | None = None
        self._tick = QLabel()
        self._name = theme.role(named(QLabel(wordWrap=True), "tool_done_name"), "heading")
        self._sentence = named(QLabel(wordWrap=True), "tool_done")
        self._sentence.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        for label in (self._name, self._sentence):
            label.setTextFormat(Qt.TextFormat.PlainText)
        self.show_button = named(QPushButton(tr("Show in folder"), autoDefault=False), "tool_show")
        self.use_button = named(
            QPushButton(tr("Use as base model") if is_model else tr("Train it further"), autoDefault=False), "tool_use"
        )
        self.use_button.setToolTip(
            tr("The open project is trained on it") if is_model else tr("The open project goes on from this file")
        )
        self.show_button.clicked.connect(self._on_show)
        self.use_button.clicked.connect(self.useWanted)
        buttons = QHBoxLayout()
        buttons.addWidget(self.show_button)
        buttons.addWidget(self.use_button)
        buttons.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(1.25))
        column.addWidget(self._tick, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self._name)
        column.addWidget(self._sentence)
        column.addLayout(buttons)
        column.addStretch(1)
        self._restyle()

    def tell(self, path: Path, sentence: str, *, can_use: bool) -> None:
        """Speaks of a file that was just written."""
        self._path = path
        self.use_button.setVisible(can_use)
        self._name.setText(tr("{name} is ready", name=path.name))
        self._sentence.setText(sentence.replace("/", "/\u200b").replace("\\", "\\\u200b"))  # a path may break there
        self._sentence.setToolTip(str(path))

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange:
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._tick.setPixmap(theme.pixmap("tick_plain", theme.space(4), "good"))
        self.show_button.setIcon(theme.icon("folder"))

    def _on_show(self) -> None:
        if self._path is not None:
            show_in_folder(self._path)
