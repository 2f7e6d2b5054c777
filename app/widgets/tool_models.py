"""A checkpoint file to choose: the ones used last, another one, or by dropping it; says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app import lora_facts, preferences, recent, theme
from app.background import Background
from app.texts import tr
from app.widgets.drop_zone import dropped_paths
from app.widgets.named import named

if TYPE_CHECKING:
    from PySide6.QtGui import QDragEnterEvent, QDropEvent

    from app.lora_facts import ModelFacts

SUFFIXES = (".safetensors", ".ckpt", ".pt")


class ModelChoice(QWidget):
    """One model file.

    Signals:
        changed: another file, or what it is became known.
    """

    changed = Signal()

    def __init__(self, name: str, label: str) -> None:
        """name: of the widgets inside. label: what the model is for, e.g. "Model"."""
        super().__init__()
        self.setAcceptDrops(True)
        self.facts: ModelFacts | None = None
        self._reader = Background("look at model")
        self._reader.done.connect(self._on_looked)
        caption = QLabel(label)
        self.box = named(QComboBox(), f"tool_{name}", spoken=label)
        self.box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.box.setMinimumContentsLength(12)
        self.box.setPlaceholderText(tr("Choose a model file"))
        caption.setBuddy(self.box)
        for base in recent.bases():
            if base.endswith(SUFFIXES):
                self.box.addItem(Path(base).name, base)
        self.box.setCurrentIndex(-1)
        self.box.currentIndexChanged.connect(self._on_chosen)
        self.browse = named(QPushButton(tr("Choose…")), f"tool_{name}_browse")
        self.browse.setAccessibleName(tr("{label}: choose a file", label=label))
        self.browse.setAutoDefault(False)
        self.browse.clicked.connect(self._on_browse)
        self._about = theme.role(named(QLabel(wordWrap=True), f"tool_{name}_about"), "muted")
        self._about.hide()
        row = QHBoxLayout()
        row.addWidget(self.box, 1)
        row.addWidget(self.browse)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.5))
        column.addWidget(caption)
        column.addLayout(row)
        column.addWidget(self._about)

    @property
    def path(self) -> Path | None:
        """The file; None until one is chosen."""
        found = self.box.currentData()
        return Path(found) if found else None

    def choose(self, path: Path) -> None:
        """Takes another file."""
        at = self.box.findData(str(path))
        if at < 0:
            with QSignalBlocker(self.box):  # into an empty box it would be chosen at once
                self.box.insertItem(0, path.name, str(path))
                self.box.setCurrentIndex(-1)
            at = 0
        self.box.setCurrentIndex(at)

    def wait(self, timeout_s: float) -> None:
        """Blocks until the file is looked at; for tests."""
        self._reader.wait(timeout_s)

    def first_field(self) -> QWidget:
        """The list when it offers something, else the button."""
        return self.box if self.box.count() else self.browse

    def _on_chosen(self) -> None:
        self.facts = None
        self._about.hide()
        path = self.path
        if path is not None:
            self.box.setToolTip(str(path))
            self._reader.drop_waiting()
            self._reader.run(lambda: lora_facts.look_at_model(path))
        self.changed.emit()

    def _on_looked(self, facts: ModelFacts) -> None:
        if facts.path != self.path:
            return
        self.facts = facts
        self._about.setText(facts.problem or facts.about)
        theme.role(self._about, "bad" if facts.problem else "muted")
        self._about.show()
        self.changed.emit()

    def _on_browse(self) -> None:
        start = str(self.path.parent) if self.path else str(preferences.get("model_folder", str(Path.home())))
        pattern = tr("Models ({pattern})", pattern=" ".join(f"*{suffix}" for suffix in SUFFIXES))
        name, _ = QFileDialog.getOpenFileName(self, tr("Choose a model file"), start, pattern)
        if name:
            preferences.put("model_folder", str(Path(name).parent))
            self.choose(Path(name))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Takes one model file."""
        paths = dropped_paths(event.mimeData())
        if len(paths) == 1 and paths[0].suffix in SUFFIXES:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Chooses what was dropped."""
        event.acceptProposedAction()
        self.choose(dropped_paths(event.mimeData())[0])
