"""Has the base model draw regularisation pictures: what to draw, how many, how far it is."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app import base_fit, theme
from app.generate_command import MOST
from app.texts import tr
from app.widgets.named import named
from app.widgets.task_dialog import TaskDialog
from trainer.run_folder import safe_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.pictures import Pictures
    from app.project import Project

FOLDER = "regularisation"  # in the project's own folder
_FEWEST = 10
_CLASSES = (
    "woman", "man", "girl", "boy", "person", "creature", "monster", "robot", "dog", "cat", "horse", "bird", "animal", "car",
    "house", "landscape", "shoe", "bag", "bottle", "chair",
)  # fmt: skip
_USUAL = {"style": "a picture", "object": "a photo of an object"}
_MODEL = ("vae", "precision", "prediction", "clip_skip", "device")


def suggestion(captions: Iterable[str], preset: str) -> str:
    """A prompt for the general class of what the captions show, e.g. "a photo of a woman"."""
    texts = list(captions)
    found = Counter(word for text in texts for word in set(re.findall(r"[a-z]+", text.lower())) & set(_CLASSES))
    if preset == "style":
        return _USUAL["style"]
    if found and (best := found.most_common(1)[0])[1] * 2 >= len(texts):
        return f"a photo of {'an' if best[0][0] in 'aeiou' else 'a'} {best[0]}"
    return _USUAL.get(preset, "a photo of a person")


class GenerateDialog(TaskDialog):
    """Pictures that were drawn stay when it is cancelled, and the same prompt goes on from there.

    Signals:
        made(Path): the folder holds all pictures.
    """

    made = Signal(object)

    def __init__(self, project: Project, pictures: Pictures, parent: QWidget | None = None) -> None:
        super().__init__("generate_dialog", tr("Generate regularisation pictures"), parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._project = project
        captions = [item.caption for item in pictures.items if item.included]
        self._prompt = named(QLineEdit(suggestion(captions, project.preset)), "generate_prompt", spoken=tr("Prompt"))
        self._negative = named(QLineEdit(), "generate_negative", spoken=tr("Negative prompt"))
        self._count = named(QSpinBox(minimum=1, maximum=MOST), "generate_count", spoken=tr("Pictures"))
        self._count.setValue(min(MOST, max(_FEWEST, pictures.views)))
        self._steps = named(QSpinBox(minimum=1, maximum=200, value=20), "generate_steps", spoken=tr("Steps"))
        self._guidance = named(QDoubleSpinBox(minimum=1, maximum=30, value=7, decimals=1), "generate_guidance", spoken=tr("CFG scale"))  # fmt: skip
        self._seed = named(QSpinBox(minimum=0, maximum=2**31 - 1, value=42), "generate_seed", spoken=tr("Seed"))
        self._start = theme.role(named(QPushButton(tr("Draw the pictures")), "generate_start"), "primary")
        self._close = named(QPushButton(tr("Close"), autoDefault=False), "generate_close")
        self._standing = theme.role(named(QLabel(wordWrap=True, textFormat=Qt.TextFormat.PlainText), "generate_standing"), "muted")  # fmt: skip
        self._lay_out()
        self._connect()
        kept = self.progress.sizePolicy()
        kept.setRetainSizeWhenHidden(True)  # or the fields would be squeezed when it appears
        self.progress.setSizePolicy(kept)
        self._refresh()
        self.resize(theme.space(68), self.sizeHint().height())

    # ---- building

    def _lay_out(self) -> None:
        about = QLabel(tr("The base model {base} draws pictures of the general class. Trained beside yours, they keep it from forgetting what others of that class look like.", base=base_fit.title(str(self._project.value("base")))), wordWrap=True)  # fmt: skip
        self._fields = QWidget()
        form = QFormLayout(self._fields)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(theme.space(1))
        form.setHorizontalSpacing(theme.space(2))
        form.addRow(tr("Prompt"), self._prompt)
        form.addRow(tr("Negative prompt"), self._negative)
        form.addRow(tr("Pictures"), self._count)
        numbers = QHBoxLayout()
        numbers.setSpacing(theme.space(1.5))
        numbers.addWidget(self._steps, 1)
        for label, editor in ((tr("CFG scale"), self._guidance), (tr("Seed"), self._seed)):
            numbers.addWidget(QLabel(label))
            numbers.addWidget(editor, 1)
        form.addRow(tr("Steps"), numbers)
        foot = QHBoxLayout()
        foot.setSpacing(theme.space(1))
        foot.addStretch(1)
        foot.addWidget(self._close)
        foot.addWidget(self._start)
        body = QVBoxLayout()
        body.setContentsMargins(*[theme.space(2)] * 4)
        body.setSpacing(theme.space(1.5))
        for widget in (about, self._fields, self._standing, self.progress):
            body.addWidget(widget)
        body.addStretch(1)
        body.addLayout(foot)
        self._put_under_banner(body)

    def _connect(self) -> None:
        for signal in (self._prompt.textChanged, self._count.valueChanged):
            signal.connect(self._refresh)
        self._start.clicked.connect(self._on_start)
        self._close.clicked.connect(self.reject)

    # ---- what it will do

    @property
    def folder(self) -> Path:
        """Where the pictures go: a folder for each prompt."""
        return self._project.folder / FOLDER / safe_name(self._prompt.text().strip() or "class")

    def words(self) -> list[str]:
        """The sub-command's words."""
        given: dict[str, Any] = {
            "base": self._project.value("base"), "prompt": self._prompt.text().strip(), "negative": self._negative.text().strip(),
            "count": self._count.value(), "steps": self._steps.value(), "guidance": self._guidance.value(), "seed": self._seed.value(),
            "out": self.folder,
        }  # fmt: skip
        given |= {name: self._project.value(name) for name in _MODEL if self._project.is_changed(name)}
        # With =, as a prompt may begin with a dash.
        return ["generate", "--json", *(f"--{name.replace('_', '-')}={value}" for name, value in given.items())]

    def _refresh(self) -> None:
        running, cancelling = self.task.is_running, self.task.is_cancelling
        self._fields.setEnabled(not running)
        self._start.setEnabled(bool(self._prompt.text().strip()) and not running)
        self._start.setVisible(not running)
        self.progress.setVisible(running)
        self._close.setEnabled(not cancelling)
        self._close.setText(tr("Stopping…") if cancelling else tr("Stop") if running else tr("Close"))
        self._standing.setText(
            tr("As many as your pictures are seen in an epoch is usual. They go to {folder}; those that are there already are kept.", folder=f"{FOLDER}/{self.folder.name}")
        )  # fmt: skip

    # ---- what happens

    def _on_start(self) -> None:
        self._work(self.words())

    def _on_done(self, said: dict[str, Any]) -> None:
        self.made.emit(Path(str(said["path"])))
        self.accept()

    def _on_cancelled(self) -> None:
        self._refresh()
        self.banner.tell(tr("Stopped. The pictures that were drawn are kept; the same prompt goes on from there."))
