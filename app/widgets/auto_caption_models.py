"""Which captioner writes: those used last, well-known ones with what they are good for, a folder, or any from Hugging Face."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app import preferences, theme
from app.background import Background
from app.texts import tr
from app.widgets.fetch_dialog import FetchDialog
from app.widgets.named import named
from trainer import captioner_files, hub
from trainer.errors import ModelError

if TYPE_CHECKING:
    from trainer.captioner_files import Kind

KEPT = 6
_FOLDER, _HUB = "<folder>", "<hub>"


class Suggestion(NamedTuple):
    """A well-known captioner. about: what it is good for."""

    name: str
    title: str
    about: str


SUGGESTED = (
    Suggestion("SmilingWolf/wd-swinv2-tagger-v3", "WD tagger v3", "Tags for drawings, anime and characters. Quick, also without a graphics card."),
    Suggestion("SmilingWolf/wd-eva02-large-tagger-v3", "WD tagger v3, large", "The same tags, seen more exactly. Several times slower."),
    Suggestion("florence-community/Florence-2-base", "Florence-2", "Sentences for photos and paintings, short or long. The best to begin with."),
    Suggestion("florence-community/Florence-2-large", "Florence-2, large", "Sees more details than the small one, and is slower."),
    Suggestion("Salesforce/blip-image-captioning-large", "BLIP", "One short, plain sentence. Small and quick."),
    Suggestion("Salesforce/blip2-opt-2.7b", "BLIP-2", "One plain sentence, or the answer to a question. Large: wants a graphics card of 12 GB or more."),
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What is known of a captioner. kind: None while it is not here or cannot be used, as `problem` says."""

    model: str
    kind: Kind | None = None
    problem: str = ""
    must_fetch: bool = False


class ModelChoice(QWidget):
    """A list to choose from, with what the chosen one is good for and whether it is on this computer.

    Attributes:
        found: what is known of the chosen one; another model's until it was looked at.

    Signals:
        changed: another was chosen, or it is known now.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.found = Found("")
        self._model = ""
        self._background = Background("look at captioner")
        self._background.done.connect(self._on_found)
        self._list = named(QComboBox(), "captioner", spoken=tr("Captioner"))
        self._list.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._list.setMinimumContentsLength(16)
        self._list.activated.connect(self._on_activated)
        self._about = theme.role(named(QLabel(wordWrap=True), "captioner_about"), "muted")
        self._state = named(QLabel(wordWrap=True), "captioner_state")
        for label in (self._about, self._state):
            label.setTextFormat(Qt.TextFormat.PlainText)
        self._fetch = named(QPushButton(tr("Download…"), autoDefault=False), "captioner_fetch")
        self._fetch.clicked.connect(lambda: self._open_fetch(self._model))
        row = QHBoxLayout()
        row.setSpacing(theme.space(1))
        row.addWidget(self._state, 1)
        row.addWidget(self._fetch)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.75))
        column.addWidget(self._list)
        column.addWidget(self._about)
        column.addLayout(row)
        self.setFocusProxy(self._list)
        self._fill()
        self.choose(next(iter(_recent()), SUGGESTED[0].name))

    @property
    def model(self) -> str:
        """The chosen one: a folder, or a name on Hugging Face."""
        return self._model

    @property
    def kind(self) -> Kind | None:
        """Its kind, once it is known that it is here and can be used."""
        return self.found.kind if self.found.model == self._model else None

    def choose(self, model: str) -> None:
        """Chooses one and looks at it in the background."""
        self._model = model
        if self._list.findData(model) < 0:
            self._list.insertItem(0, _title(model), model)
            self._list.setItemData(0, model, Qt.ItemDataRole.ToolTipRole)
        self._list.setCurrentIndex(self._list.findData(model))
        self._about.setText(next((tr(s.about) for s in SUGGESTED if s.name == model), _breakable(model)))
        self._show(Found(model))
        self._background.drop_waiting()
        self._background.run(lambda: look(model))
        self.changed.emit()

    def remember(self) -> None:
        """It is used: it stands first from now on."""
        preferences.put("captioners", [self._model, *(m for m in _recent() if m != self._model)][:KEPT])

    def wait(self, timeout_s: float) -> None:
        """Blocks until it was looked at; for tests."""
        self._background.wait(timeout_s)

    def _fill(self) -> None:
        recent = _recent()
        names = [*recent, *(s.name for s in SUGGESTED if s.name not in recent)]
        for name in names:
            self._list.addItem(_title(name), name)
            self._list.setItemData(self._list.count() - 1, name, Qt.ItemDataRole.ToolTipRole)
        self._list.insertSeparator(self._list.count())
        self._list.addItem(tr("A folder on this computer…"), _FOLDER)
        self._list.addItem(tr("Another from Hugging Face…"), _HUB)

    def _show(self, found: Found) -> None:
        if found.kind is not None:
            text, role = tr("On this computer · {kind}", kind=found.kind.title), "good"
        elif found.must_fetch:
            text, role = tr("Not on this computer yet"), "warn"
        else:
            text, role = found.problem, "bad"
        theme.role(self._state, role)
        self._state.setText(_breakable(text) or tr("Looking…"))
        self._fetch.setVisible(found.must_fetch)

    def _on_found(self, found: Found) -> None:
        if found.model == self._model:
            self.found = found
            self._show(found)
            self.changed.emit()

    def _on_activated(self, at: int) -> None:
        wanted = str(self._list.itemData(at))
        self._list.setCurrentIndex(self._list.findData(self._model))
        if wanted == _HUB:
            self._open_fetch("")
        elif wanted == _FOLDER:
            start = self._model if Path(self._model).is_dir() else str(Path.home())
            if chosen := QFileDialog.getExistingDirectory(self, tr("Choose the folder of a captioner"), start):
                self.choose(chosen)
        else:
            self.choose(wanted)

    def _open_fetch(self, name: str) -> None:
        dialog = FetchDialog(name, self.window(), tuple((s.title, s.name) for s in SUGGESTED if s.name != name)[:3])
        dialog.fetched.connect(self.choose)
        dialog.open()


def look(model: str) -> Found:
    """What is known of a captioner; reads a few small files, for a thread."""
    try:
        if hub.is_name(model):
            folder = hub.cached(model)
            if folder is None:
                return Found(model, must_fetch=True)
        else:
            folder = Path(model).expanduser()
        kind = captioner_files.kind_of(folder)
    except (ModelError, OSError) as error:
        return Found(model, problem=str(error))
    missing = captioner_files.missing_package(kind)
    return Found(model, None if missing else kind, missing)


def _recent() -> list[str]:
    return [m for m in preferences.get("captioners", []) if isinstance(m, str)][:KEPT]


def _title(model: str) -> str:
    known = next((s.title for s in SUGGESTED if s.name == model), "")
    return known or (model if hub.is_name(model) else Path(model).name) or model


def _breakable(text: str) -> str:
    """A path in it may go on in the next line after each folder."""
    return text.replace("/", "/\u200b").replace("\\", "\\\u200b")
