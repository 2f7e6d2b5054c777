"""Where runs are computed: the command that starts the worker, with examples, what it will run, and what is wrong with it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app import preferences, theme
from app.texts import tr
from app.widgets.named import named
from app.worker_process import command_for, command_words, missing_program
from trainer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtGui import QShowEvent

WIDTH_CHARACTERS = 100
SEVERAL_GPUS = "accelerate launch --multi_gpu --num_processes 2 --no_python lora-atelier"
OVER_SSH = "ssh gpu-box lora-atelier"
COPIED = "sh {script} gpu-box"


class WorkerDialog(QDialog):
    """Asks for the worker's command and remembers it. Empty: this computer, one device."""

    def __init__(self, folder: Path, parent: QWidget | None = None) -> None:
        """folder: a run folder, for the example of what will run; it need not exist."""
        super().__init__(parent)
        self._folder = folder
        self.setObjectName("worker_dialog")
        self.setWindowTitle(tr("Where runs are computed"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.field = named(QLineEdit(), "worker_command", spoken=tr("Command that starts the worker"))
        self.field.setPlaceholderText(tr("empty: this computer, one GPU"))
        self.field.setClearButtonEnabled(True)
        self._shown = theme.role(named(QLabel(wordWrap=True), "worker_shown"), "muted")
        self._problem = theme.role(named(QLabel(wordWrap=True), "worker_problem"), "bad")
        for label in (self._shown, self._problem):
            label.setTextFormat(Qt.TextFormat.PlainText)
        self._buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel, parent=self
        )
        self._ok = named(self._buttons.button(QDialogButtonBox.StandardButton.Ok), "worker_ok")
        self._ok.setText(tr("Use it"))
        named(self._buttons.button(QDialogButtonBox.StandardButton.Cancel), "worker_cancel")
        self._buttons.accepted.connect(self._on_accepted)
        self._buttons.rejected.connect(self.reject)
        self._lay_out()
        self.field.textChanged.connect(self._on_changed)
        self.field.setText(preferences.get("worker_command", ""))
        self._on_changed()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(*(theme.space(3),) * 4)
        column.setSpacing(theme.space(1.5))
        about = tr(
            "Runs are trained by a worker, a program of its own. This is the command that starts it; “worker” and the run folder "
            "follow, or stand where you write {place}.",
            place="{run}",
        )
        column.addWidget(theme.role(QLabel(tr("The worker's command")), "heading"))
        column.addWidget(theme.role(QLabel(about, wordWrap=True), "muted"))
        column.addWidget(self.field)
        column.addLayout(self._examples())
        column.addWidget(self._shown)
        column.addWidget(self._problem)
        paths = tr(
            "On another machine the same version of LoRA Atelier must be installed, and the run folder, pictures and base model "
            "must have the same paths as here, e.g. on a shared drive. “Another machine, copied” brings the run folder there and "
            "its results back by itself."
        )
        column.addWidget(theme.role(QLabel(paths, wordWrap=True), "muted"))
        column.addWidget(self._buttons)

    def _examples(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(theme.space(1.5))
        row.addWidget(theme.role(QLabel(tr("Examples:")), "muted"))
        script = Path(__file__).parents[2] / "packaging" / "over_ssh.sh"
        copied = COPIED.format(script=shlex.quote(str(script)))
        examples = [(tr("Two GPUs"), "gpus", SEVERAL_GPUS), (tr("Another machine"), "ssh", OVER_SSH)]
        if script.is_file():
            examples.append((tr("Another machine, copied"), "copied", copied))
        for title, name, command in examples:
            button = theme.role(named(QPushButton(title), f"worker_example_{name}", tip=command), "link")
            button.setAutoDefault(False)
            button.clicked.connect(self._setter(command))
            row.addWidget(button)
        row.addStretch(1)
        return row

    def _setter(self, command: str) -> Callable[[], None]:
        def put() -> None:
            self.field.setText(command)
            self.field.setFocus()

        return put

    # ---- slots

    def _on_changed(self) -> None:
        """Says what would run, and what is wrong with it. A program that is missing may still come, so it can be kept."""
        problem, shown = "", tr("Runs are trained on this computer.")
        try:
            words = command_words(self.field.text())
        except ConfigError as error:
            words, problem = (), str(error)
        self._ok.setEnabled(not problem)
        if words:
            shown = tr("This will run:  {command}", command=_told(command_for(self._folder, words)))
            if missing := missing_program(words):
                problem = missing[0].upper() + missing[1:] + "."
        self._shown.setText(shown)
        self._shown.setVisible(not problem or bool(words))
        self._problem.setText(problem)
        self._problem.setVisible(bool(problem))
        self._fit()

    def _fit(self) -> None:
        """As high as the wrapped sentences need, in any font."""
        column = self.layout()
        assert column is not None
        self.setMinimumWidth(self.fontMetrics().averageCharWidth() * WIDTH_CHARACTERS)
        self.setMinimumHeight(column.totalHeightForWidth(max(self.width(), self.minimumWidth())))

    def _on_accepted(self) -> None:
        preferences.put("worker_command", self.field.text().strip())
        self.accept()

    # ---- Qt

    def showEvent(self, event: QShowEvent) -> None:
        """The fonts are known now."""
        super().showEvent(event)
        self._fit()


def _told(words: list[str]) -> str:
    """The words in one line; what is quoted for another shell already is not quoted again."""
    return " ".join(word if word.startswith("'") else shlex.quote(word) for word in words)
