"""What is asked before captions are written by a model: which pictures, what becomes of their captions, and how it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from PySide6.QtCore import QEvent, Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app import preferences, theme
from app.texts import counted, tr
from app.widgets.auto_caption_models import ModelChoice
from app.widgets.named import named
from trainer.caption_plan import LEAST_CONFIDENCE, MODES, Mode, Rules, parts_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class Scope(NamedTuple):
    """Pictures that may be meant. indexes: in `Pictures.items`."""

    title: str
    indexes: Sequence[int]


class AutoCaptionForm(QWidget):
    """Remembers what was asked for.

    Attributes:
        models: the choice of the captioner.

    Signals:
        rulesChanged: proposals become other captions now.
        changed: another model, other pictures, or another prompt.
    """

    rulesChanged = Signal()
    changed = Signal()

    def __init__(self, scopes: Sequence[Scope], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scopes = [scope for scope in scopes if scope.indexes]
        self.models = ModelChoice()
        self._make_pictures()
        self._make_tags()
        self._make_words()
        self._make_more()
        self._lay_out()
        self._restore()
        self._connect()
        self._refresh()

    # ---- what is wanted

    @property
    def indexes(self) -> Sequence[int]:
        """The pictures that are meant, also those that have a caption."""
        at = self._scope.currentIndex()
        return self._scopes[at].indexes if at >= 0 else ()

    @property
    def mode(self) -> Mode:
        """What becomes of captions that exist."""
        return MODES[self._modes.checkedId()]

    @property
    def rules(self) -> Rules:
        """How proposals become captions."""
        return Rules(
            self.mode, self._threshold.value(), self._characters.value(), self._ratings.isChecked(),
            parts_of(self._blacklist.text()), self._prefix.text(), self._suffix.text(),
            not self._underscores.isChecked(), self._escape.isChecked(),
        )  # fmt: skip

    def choose_mode(self, mode: Mode) -> None:
        """Chooses what becomes of captions that exist."""
        self._modes.button(MODES.index(mode)).setChecked(True)

    def words(self) -> list[str]:
        """The words of `lora-atelier caption` that say how the model works."""
        kind = self.models.kind
        out = [f"--model={self.models.model}"]
        prompt = {"length": str(self._length.currentData()), "beginning": self._beginning.text().strip()}
        if kind is not None and kind.prompt and prompt[kind.prompt]:
            out.append(f"--prompt={prompt[kind.prompt]}")
        if self._batch.value():
            out.append(f"--batch={self._batch.value()}")
        return out

    def remember(self) -> None:
        """The same is proposed next time."""
        self.models.remember()
        texts = {box.objectName(): box.text() for box in self._texts()}
        numbers = {box.objectName(): box.value() for box in (self._threshold, self._characters, self._batch)}
        ticks = {box.objectName(): box.isChecked() for box in self._ticks()}
        more = {"mode": self.mode, "length": str(self._length.currentData())}
        preferences.put("auto_caption", texts | numbers | ticks | more)

    # ---- building

    def _make_pictures(self) -> None:
        self._scope = named(QComboBox(), "caption_scope", spoken=tr("Pictures"))
        for scope in self._scopes:
            self._scope.addItem(scope.title)
        self._modes = QButtonGroup(self)
        texts = (tr("Leave it as it is"), tr("Add to it"), tr("Replace it"))
        for at, (mode, text) in enumerate(zip(MODES, texts, strict=True)):
            self._modes.addButton(named(QRadioButton(text), f"caption_mode_{mode}"), at)

    def _make_tags(self) -> None:
        self._threshold = _share("caption_threshold", tr("Tags, from a confidence of"))
        self._characters = _share("caption_characters", tr("Names, from a confidence of"))
        self._threshold.setToolTip(tr("Lower: more tags, and more wrong ones. It can be changed while you review."))
        self._characters.setToolTip(tr("Names of known characters; at 1 hardly any are taken."))
        self._tags = QWidget()
        grid = _grid(self._tags)
        for at, (text, box) in enumerate(
            ((tr("Tags, from a confidence of"), self._threshold), (tr("Names, from a confidence of"), self._characters))
        ):
            grid.addWidget(_label(text, box), at, 0)
            grid.addWidget(box, at, 1)

    def _make_words(self) -> None:
        self._length = named(QComboBox(), "caption_length", spoken=tr("Length"))
        for text, value in ((tr("A short sentence"), "short"), (tr("Two or three sentences"), "detailed"), (tr("A paragraph"), "long")):  # fmt: skip
            self._length.addItem(text, value)
        self._length.setToolTip(tr("SD and SDXL read about 75 words of it; a paragraph may be longer."))
        self._beginning = _text("caption_beginning", tr("e.g. a painting of"))
        self._beginning.setToolTip(
            tr("Or a question for BLIP-2 that ends in a colon, e.g. Question: what is it? Answer:")
        )
        self._length_row, self._beginning_row = QWidget(), QWidget()
        for row, text, box in (
            (self._length_row, tr("It writes"), self._length),
            (self._beginning_row, tr("Sentences begin with"), self._beginning),
        ):
            column = _column(row)
            column.addWidget(_label(text, box))
            column.addWidget(box)

    def _make_more(self) -> None:
        self._prefix = _text("caption_prefix", tr("e.g. oil painting"))
        self._prefix.setToolTip(tr("The trigger word need not stand here: training puts it in front by itself."))
        self._suffix = _text("caption_suffix", tr("At the end of every caption"))
        self._blacklist = _text("caption_blacklist", tr("e.g. watermark, *_background"))
        self._blacklist.setToolTip(
            tr("Tags that are not taken, or phrases that are taken out of sentences. * stands for any letters.")
        )
        self._underscores = named(QCheckBox(tr("Keep underscores")), "caption_underscores")
        self._escape = named(QCheckBox(tr("Backslash before brackets")), "caption_escape")
        self._escape.setToolTip(tr("For programs that read brackets as weights"))
        self._ratings = named(QCheckBox(tr("Also the rating of the picture")), "caption_ratings")
        self._batch = named(QSpinBox(), "caption_batch", spoken=tr("Pictures at once"))
        self._batch.setRange(0, 64)
        self._batch.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._batch.setSpecialValueText(tr("as fits"))
        self._more_button = theme.role(named(QPushButton(tr("More"), autoDefault=False), "caption_more"), "quiet")
        self._more_button.setCheckable(True)
        self._more = QWidget()
        column = _column(self._more)
        column.addWidget(_label(tr("At the end"), self._suffix))
        column.addWidget(self._suffix)
        for box in self._ticks():
            column.addWidget(box)
        batch = QWidget()
        grid = _grid(batch)
        grid.addWidget(_label(tr("Pictures at once"), self._batch), 0, 0)
        grid.addWidget(self._batch, 0, 1)
        column.addWidget(batch)
        self._more.hide()

    def _lay_out(self) -> None:
        column = _column(self)
        column.setSpacing(theme.space(0.75))
        column.setContentsMargins(0, 0, theme.space(1), 0)
        column.addWidget(_heading(tr("Model")))
        column.addWidget(self.models)
        column.addSpacing(theme.space(1))
        column.addWidget(_heading(tr("Pictures")))
        column.addWidget(self._scope)
        column.addWidget(theme.role(QLabel(tr("When a picture has a caption:")), "muted"))
        for button in self._modes.buttons():
            column.addWidget(button)
        column.addSpacing(theme.space(1))
        column.addWidget(_heading(tr("Captions")))
        for part in (self._tags, self._length_row, self._beginning_row):
            column.addWidget(part)
        for text, box in ((tr("In front of each"), self._prefix), (tr("Not wanted"), self._blacklist)):
            column.addWidget(_label(text, box))
            column.addWidget(box)
        column.addWidget(self._more_button, 0, Qt.AlignmentFlag.AlignLeft)
        column.addWidget(self._more)
        column.addStretch(1)

    def _connect(self) -> None:
        self.models.changed.connect(self._on_model)
        self._scope.currentIndexChanged.connect(self.changed)
        self._length.currentIndexChanged.connect(self.changed)
        self._beginning.textChanged.connect(self.changed)
        self._modes.idToggled.connect(self._on_mode)
        self._more_button.toggled.connect(self._on_more)
        for box in (self._prefix, self._suffix, self._blacklist):
            box.textChanged.connect(self.rulesChanged)
        for number in (self._threshold, self._characters):
            number.valueChanged.connect(self.rulesChanged)
        for tick in self._ticks():
            tick.toggled.connect(self.rulesChanged)

    def _restore(self) -> None:
        known: dict[str, Any] = preferences.get("auto_caption", {})
        for text in self._texts():
            text.setText(str(known.get(text.objectName(), "")))
        for box, standard in ((self._threshold, 0.35), (self._characters, 0.85)):
            value = known.get(box.objectName(), standard)
            box.setValue(value if isinstance(value, int | float) else standard)
        batch = known.get(self._batch.objectName(), 0)
        self._batch.setValue(batch if isinstance(batch, int) else 0)
        for tick in self._ticks():
            tick.setChecked(known.get(tick.objectName()) is True)
        mode = known.get("mode", MODES[0])
        self._modes.button(MODES.index(mode) if mode in MODES else 0).setChecked(True)
        self._length.setCurrentIndex(max(0, self._length.findData(known.get("length", "detailed"))))
        self._more_button.setChecked(bool(self._suffix.text() or any(t.isChecked() for t in self._ticks())))

    def _texts(self) -> tuple[QLineEdit, ...]:
        return self._prefix, self._suffix, self._blacklist, self._beginning

    def _ticks(self) -> tuple[QCheckBox, ...]:
        return self._underscores, self._escape, self._ratings

    # ---- what happens

    def _on_model(self) -> None:
        self._refresh()
        self.changed.emit()

    def _on_mode(self, _at: int, checked: bool) -> None:
        if checked:
            self.rulesChanged.emit()
            self.changed.emit()

    def _on_more(self, shown: bool) -> None:
        self._more.setVisible(shown)
        self._restyle()

    def _refresh(self) -> None:
        """Only what the captioner understands is asked."""
        kind = self.models.kind
        is_tagger = kind is not None and kind.says == "tags"
        self._tags.setVisible(is_tagger)
        self._length_row.setVisible(kind is not None and kind.prompt == "length")
        self._beginning_row.setVisible(kind is not None and kind.prompt == "beginning")
        for tick in self._ticks():
            tick.setVisible(is_tagger)
        self._on_more(self._more_button.isChecked())

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icon in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_more_button"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._more_button.setIcon(theme.icon("chevron_down" if self._more_button.isChecked() else "chevron_right"))


def scopes(everything: int, shown: Sequence[int], selected: Sequence[int]) -> list[Scope]:
    """What may be meant, the likeliest first. everything: how many pictures there are."""
    out = [Scope(tr("All {pictures}", pictures=counted(everything, "picture", "pictures")), range(everything))]
    if 0 < len(shown) < everything:
        out.insert(0, Scope(tr("The {pictures} shown", pictures=counted(len(shown), "picture", "pictures")), shown))
    if selected:
        only = Scope(tr("The {pictures} selected", pictures=counted(len(selected), "picture", "pictures")), selected)
        out.insert(0 if len(selected) > 1 else len(out), only)
    return out


def _share(name: str, spoken: str) -> QDoubleSpinBox:
    box = named(QDoubleSpinBox(), name, spoken=spoken)
    box.setRange(LEAST_CONFIDENCE, 1)
    box.setSingleStep(0.05)
    box.setDecimals(2)
    box.setAlignment(Qt.AlignmentFlag.AlignCenter)
    return box


def _text(name: str, hint: str) -> QLineEdit:
    return named(QLineEdit(placeholderText=hint), name)


def _label(text: str, buddy: QWidget) -> QLabel:
    label = theme.role(QLabel(text, wordWrap=True), "muted")
    label.setBuddy(buddy)
    if not buddy.accessibleName():
        buddy.setAccessibleName(text)
    return label


def _heading(text: str) -> QLabel:
    return theme.role(QLabel(text), "heading")


def _column(widget: QWidget) -> QVBoxLayout:
    column = QVBoxLayout(widget)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(theme.space(0.75))
    return column


def _grid(widget: QWidget) -> QGridLayout:
    grid = QGridLayout(widget)
    grid.setContentsMargins(0, 0, 0, 0)
    grid.setHorizontalSpacing(theme.space(1))
    grid.setVerticalSpacing(theme.space(0.75))
    grid.setColumnStretch(0, 1)
    return grid
