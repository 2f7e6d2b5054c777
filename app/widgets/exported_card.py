"""What is said after an export: where the file is, and where other programs want it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from app import theme
from app.texts import size, tr
from app.widgets.named import named

if TYPE_CHECKING:
    from pathlib import Path

FOLDERS = (("A1111, Forge", "models/Lora"), ("ComfyUI", "models/loras"))


class ExportedCard(QWidget):
    """The good end of an export.

    Signals:
        againWanted: back to the form.
    """

    againWanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._path: Path | None = None
        self._tick = QLabel()
        self._sentence = theme.role(named(QLabel(wordWrap=True), "exported_sentence"), "good")
        self._where = named(QLabel(wordWrap=True), "exported_path")
        self._hint = named(QLabel(wordWrap=True, textFormat=Qt.TextFormat.RichText), "exported_hint")
        self._show = theme.role(named(QPushButton(tr("Show in folder")), "exported_show"), "primary")
        self._copy = named(QPushButton(tr("Copy path")), "exported_copy")
        self._again = theme.role(named(QPushButton(tr("Export another")), "exported_again"), "quiet")
        self._show.clicked.connect(self._on_show)
        self._copy.clicked.connect(self._on_copy)
        self._again.clicked.connect(self.againWanted)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(1.25))
        column.addWidget(self._tick, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self._sentence)
        column.addWidget(self._where)
        column.addWidget(self._show)
        column.addWidget(self._copy)
        column.addSpacing(theme.space(0.5))
        column.addWidget(self._hint)
        column.addStretch(1)
        column.addWidget(self._again, 0, Qt.AlignmentFlag.AlignLeft)
        self._restyle()

    @property
    def path(self) -> Path | None:
        """The file it speaks of."""
        return self._path

    def show_file(self, path: Path, size_bytes: int, trigger: str) -> None:
        """Speaks of a file that was just written."""
        self._path = path
        self._sentence.setText(
            tr("{name} is ready: {size}, written and checked.", name=path.name, size=size(size_bytes))
        )
        self._where.setText(_breakable(str(path.parent)))
        self._where.setToolTip(str(path))
        self._copy.setText(tr("Copy path"))
        rows = "".join(
            f"<tr><td style='padding-right:16px; padding-top:4px'>{program}</td><td style='padding-top:4px'><b>{folder}</b></td></tr>"
            for program, folder in FOLDERS
        )
        word = tr("Then write <b>{trigger}</b> in the prompt.", trigger=trigger.replace("<", "&lt;")) if trigger else ""
        self._hint.setText(
            f"<p>{tr('To use it, put it into this folder of your program:')}</p><table>{rows}</table><p>{word}</p>"
        )

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange:
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._tick.setPixmap(theme.pixmap("tick_plain", theme.space(4), "good"))
        self._show.setIcon(theme.icon("folder", "on_accent"))
        self._copy.setIcon(theme.icon("copy"))

    def _on_show(self) -> None:
        if self._path is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._path.parent)))

    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(str(self._path))
        self._copy.setText(tr("Copied"))


def _breakable(path: str) -> str:
    """A path that a label can break after each folder."""
    return path.replace("/", "/\u200b").replace("\\", "\\\u200b")
