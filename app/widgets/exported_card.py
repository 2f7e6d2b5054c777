"""What is said after an export: where the file is, that it loads, and where it is wanted next."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app import theme
from app.texts import size, tr
from app.widgets.named import named
from app.widgets.scrolling import scrolling

if TYPE_CHECKING:
    from pathlib import Path

    from app.exporter import Exported

FOLDERS = (("A1111, Forge", "models/Lora"), ("ComfyUI", "models/loras"))


class ExportedCard(QWidget):
    """The good end of an export.

    Signals:
        againWanted: back to the form.
    """

    againWanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._made: Exported | None = None
        self._tick = QLabel()
        self._sentence = theme.role(named(QLabel(wordWrap=True), "exported_sentence"), "good")
        self._where = named(QLabel(wordWrap=True), "exported_path")
        self._proof_icon = QLabel()
        self._proof = named(QLabel(wordWrap=True, textFormat=Qt.TextFormat.PlainText), "exported_proof")
        self._note = theme.role(named(QLabel(wordWrap=True), "exported_note"), "warn")
        self._hint = named(QLabel(wordWrap=True, textFormat=Qt.TextFormat.RichText), "exported_hint")
        self._show = theme.role(named(QPushButton(tr("Show in folder")), "exported_show"), "primary")
        self._copy = named(QPushButton(tr("Copy path")), "exported_copy")
        self._again = theme.role(named(QPushButton(tr("Export another")), "exported_again"), "quiet")
        self._show.clicked.connect(self._on_show)
        self._copy.clicked.connect(self._on_copy)
        self._again.clicked.connect(self.againWanted)
        self._lay_out()
        self._restyle()

    @property
    def path(self) -> Path | None:
        """The file it speaks of."""
        return self._made.path if self._made is not None else None

    def show_made(self, made: Exported, trigger: str, *, is_peft: bool = False) -> None:
        """Speaks of what was just written. is_peft: for scripts, not for programs with a folder of LoRAs."""
        self._made = made
        name = made.bundle.name if made.bundle is not None else made.path.name
        ready = tr("{name} is ready: {size}, written and checked.", name=name, size=size(made.size_bytes))
        self._sentence.setText(tr("{name} is ready.", name=name) if made.bundle is not None else ready)
        shown = made.bundle if made.bundle is not None else made.path
        self._where.setText(_breakable(str(shown.parent)))
        self._where.setToolTip(str(shown))
        self._proof.setText(made.proof)
        theme.role(self._proof, "" if made.is_proved else "muted")
        self._note.setText(made.note)
        for widget, text in ((self._proof_row, made.proof), (self._note, made.note)):
            widget.setVisible(bool(text))
        self._copy.setText(tr("Copy path"))
        self._hint.setText(
            _for_civitai(trigger, with_data=made.with_data)
            if made.bundle
            else _for_scripts(made)
            if is_peft
            else _folders(trigger)
        )
        self._restyle()

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange:
            self._restyle()
        super().changeEvent(event)

    def _lay_out(self) -> None:
        self._proof_row = theme.role(QFrame(), "note")
        row = QHBoxLayout(self._proof_row)
        row.setContentsMargins(theme.space(1.25), theme.space(1), theme.space(1.25), theme.space(1))
        row.setSpacing(theme.space(1))
        row.addWidget(self._proof_icon, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._proof, 1)
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, theme.space(0.5), 0)
        column.setSpacing(theme.space(1.25))
        column.addWidget(self._tick, 0, Qt.AlignmentFlag.AlignLeft)
        for widget in (self._sentence, self._where, self._proof_row, self._note, self._show, self._copy, self._hint):
            column.addWidget(widget)
        column.addStretch(1)
        scroll = scrolling(inner)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(scroll, 1)
        whole.addWidget(self._again, 0, Qt.AlignmentFlag.AlignLeft)

    def _restyle(self) -> None:
        is_proved = self._made is not None and self._made.is_proved
        self._tick.setPixmap(theme.pixmap("tick_plain", theme.space(4), "good"))
        icon, colour = ("tick_plain", "good") if is_proved else ("info", "muted")
        self._proof_icon.setPixmap(theme.pixmap(icon, theme.space(2), colour))
        self._show.setIcon(theme.icon("folder", "on_accent"))
        self._copy.setIcon(theme.icon("copy"))

    def _on_show(self) -> None:
        if self._made is not None:
            folder = self._made.bundle or self._made.path.parent
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder)))

    def _on_copy(self) -> None:
        if self._made is not None:
            QGuiApplication.clipboard().setText(str(self._made.bundle or self._made.path))
            self._copy.setText(tr("Copied"))


def _folders(trigger: str) -> str:
    rows = "".join(
        f"<tr><td style='padding-right:16px; padding-top:4px'>{program}</td><td style='padding-top:4px'><b>{folder}</b></td></tr>"
        for program, folder in FOLDERS
    )
    word = tr("Then write <b>{trigger}</b> in the prompt.", trigger=escape(trigger)) if trigger else ""
    return f"<p>{tr('To use it, put it into this folder of your program:')}</p><table>{rows}</table><p>{word}</p>"


def _for_scripts(made: Exported) -> str:
    call = f'pipe.load_lora_weights("{made.path.parent}", weight_name="{made.path.name}")'
    return f"<p>{tr('To use it in a script:')}</p><p><code>{escape(_breakable(call))}</code></p>"


def _for_civitai(trigger: str, *, with_data: bool) -> str:
    data = tr(", and <b>_data.zip</b> as training data") if with_data else ""
    steps = [
        tr("On civitai.com choose <b>Create</b>, then <b>Upload a model</b>; its type is LoRA."),
        tr("Copy name and text from <b>description.md</b>."),
        tr("Choose the base model it names"),
        tr("Upload the <b>.safetensors</b> file{data}.", data=data),
        tr("Drop all pictures; their prompts and the LoRA are recognised."),
    ]
    word = tr("; the trigger word is <b>{trigger}</b>.", trigger=escape(trigger)) if trigger else "."
    steps[2] += word
    items = "".join(f"<li style='margin-bottom:4px'>{step}</li>" for step in steps)
    return f"<p>{tr('What to do on Civitai:')}</p><ol style='margin-left:-18px'>{items}</ol>"


def _breakable(path: str) -> str:
    """A path that a label can break after each folder."""
    return path.replace("/", "/\u200b").replace("\\", "\\\u200b")
