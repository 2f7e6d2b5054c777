"""One folder of the project in the list of folders and concepts: how many pictures, how often seen, how trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QRectF, QSize, Qt, Signal
from PySide6.QtGui import QPainter, QPixmap
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import theme
from app.field_base import NoStrayWheel
from app.texts import tr
from app.widgets.concept_chart import sentence
from app.widgets.named import named
from trainer.settings import Concept, field_info

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PySide6.QtCore import QEvent

    from app.concepts import Folder

_FIELDS: dict[str, tuple[tuple[str, ...], ...]] = {  # lines of fields by kind of folder
    "own": (("trigger", "repeats", "flip"),),
    "concept": (("trigger", "regularization"), ("repeats", "weight", "flip")),
    "prior": (("weight",),),
    "more": (),
}


class ConceptRow(QFrame):
    """Shows a folder; what is changed is up to the panel.

    Signals:
        edited(field, value): the user changed a field of `Concept`; None: as the run has it.
        removeWanted: the project shall do without this folder (its files stay).
        conceptWanted: the folder shall be a concept of its own.
    """

    edited = Signal(str, object)
    removeWanted = Signal()
    conceptWanted = Signal()

    def __init__(self, folder: Folder, name: str, parent: QWidget | None = None) -> None:
        """name: of the row's widgets, for tests: they are called `trigger_<name>` and so on."""
        super().__init__(parent)
        theme.role(named(self, f"folder_{name}"), "card")
        self.folder, self._name = folder, name
        self._wheel = NoStrayWheel(self)
        self._dot = QLabel()
        self._title = theme.role(named(QLabel(textFormat=Qt.TextFormat.PlainText), f"title_{name}"), "heading")
        self._title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._seen = theme.role(named(QLabel(wordWrap=True, textFormat=Qt.TextFormat.PlainText), f"seen_{name}"), "muted")  # fmt: skip
        self._remove = named(QToolButton(), f"remove_{name}", tip=tr("Take this folder out of the project; its files stay"), spoken=tr("Take {folder} out", folder=folder.title))  # fmt: skip
        self._remove.clicked.connect(self.removeWanted)
        self._lay_out()
        self._restyle()

    # ---- building

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(theme.space(1))
        head.addWidget(self._dot)
        head.addWidget(self._title, 1)
        if self.folder.kind in ("more", "prior"):
            own = named(QPushButton(tr("Make it a concept of its own")), f"concept_{self._name}", tip=tr("With its own trigger word, repeats and weight"))  # fmt: skip
            own.clicked.connect(self.conceptWanted)
            head.addWidget(own)
        head.addWidget(self._remove)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.space(1.5), theme.space(1), theme.space(1), theme.space(1.25))
        column.setSpacing(theme.space(0.75))
        column.addLayout(head)
        column.addWidget(self._seen)
        self._make_editors()
        for fields in _FIELDS[self.folder.kind]:
            column.addLayout(self._line(fields))

    def _line(self, fields: tuple[str, ...]) -> QHBoxLayout:
        """Fields side by side, each below its label."""
        line = QHBoxLayout()
        line.setSpacing(theme.space(1.5))
        for field in fields:
            label = tr("What they do") if field == "regularization" else tr(field_info(Concept, field).label)
            one = QVBoxLayout()
            one.setSpacing(theme.space(0.25))
            one.addWidget(theme.role(QLabel(label), "muted"))
            one.addWidget(self._editors[field])
            self._editors[field].show()
            one.addStretch(1)  # spin boxes are a little taller
            line.addLayout(one, 2 if field in ("trigger", "regularization") else 1)
        return line

    def _make_editors(self) -> None:
        """All of them, as rows of another kind show other ones; those that are not laid out stay hidden."""
        self._trigger = named(QLineEdit(), f"trigger_{self._name}")
        self._trigger.editingFinished.connect(self._on_trigger)
        self._repeats = named(QSpinBox(minimum=1, maximum=1000), f"repeats_{self._name}")
        self._repeats.valueChanged.connect(lambda value: self.edited.emit("repeats", value))
        self._weight = named(QDoubleSpinBox(minimum=0, maximum=10, decimals=2, singleStep=0.1), f"weight_{self._name}")  # fmt: skip
        self._weight.valueChanged.connect(lambda value: self.edited.emit("weight", round(value, 2)))
        for spin in (self._repeats, self._weight):
            spin.setKeyboardTracking(False)  # or the folders would be read anew at every digit
        self._flip = named(QComboBox(), f"flip_{self._name}")
        self._flip.activated.connect(lambda at: self.edited.emit("flip", self._flip.itemData(at)))
        self._role = named(QComboBox(), f"role_{self._name}")
        for text in (tr("Teaches"), tr("Keeps the model from forgetting")):
            self._role.addItem(text)
        self._role.activated.connect(lambda at: self.edited.emit("regularization", bool(at)))
        self._editors: dict[str, QWidget] = {
            "trigger": self._trigger,
            "repeats": self._repeats,
            "weight": self._weight,
            "flip": self._flip,
            "regularization": self._role,
        }
        for field, editor in self._editors.items():
            about = field_info(Concept, field)
            editor.setParent(self)
            editor.hide()
            editor.setMinimumWidth(theme.space(8))
            editor.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            editor.setAccessibleName(f"{tr(about.label)}, {self.folder.title}")
            editor.setToolTip(tr(about.help))
            editor.installEventFilter(self._wheel)

    # ---- showing

    def show_values(self, folder: Folder, values: Mapping[str, Any], run: Mapping[str, Any]) -> None:
        """Shows what is so now; emits nothing.

        Args:
            folder: with its numbers.
            values: the fields of `Concept` that the folder has.
            run: the run's own "trigger" and "flip", for those that it has not.
        """
        self.folder = folder
        self._title.setText(folder.title)
        self._title.setToolTip(str(folder.path))
        self._seen.setText(self._sentence())
        for editor in (self._trigger, self._repeats, self._weight, self._flip, self._role):
            editor.blockSignals(True)
        trigger = values.get("trigger")
        if not (self._trigger.hasFocus() and self._trigger.isModified()):  # what is being typed stays
            self._trigger.setText(str(trigger or ""))
        concept = folder.kind == "concept"
        usual = str(run.get("trigger") or "")
        self._trigger.setPlaceholderText(tr("as the run: {word}", word=usual) if concept and usual and trigger is None else tr("none"))  # fmt: skip
        self._trigger.setEnabled(not folder.is_prior)
        if folder.is_prior:
            self._trigger.setText("")
            self._trigger.setPlaceholderText(tr("none"))
        self._repeats.setValue(_number(values.get("repeats"), 1))
        self._weight.setValue(_number(values.get("weight"), 1.0))
        self._flip.clear()
        if concept:
            self._flip.addItem(
                tr("as the run: {value}", value=tr("on") if run.get("flip") is True else tr("off")), None
            )
        self._flip.addItem(tr("on"), True)
        self._flip.addItem(tr("off"), False)
        self._flip.setCurrentIndex(
            max(0, self._flip.findData(values.get("flip") if concept else values.get("flip") is True))
        )
        self._role.setCurrentIndex(int(folder.is_prior))
        for editor in (self._trigger, self._repeats, self._weight, self._flip, self._role):
            editor.blockSignals(False)
        self._restyle()

    def _sentence(self) -> str:
        role = {
            "own": tr("The run's own pictures"), "more": tr("Trained together with the run's own pictures"),
            "prior": tr("Regularisation pictures of the run: they keep the model from forgetting"),
        }  # fmt: skip
        what = role.get(self.folder.kind) or (tr("Regularisation pictures") if self.folder.is_prior else tr("A concept of its own"))  # fmt: skip
        return f"{what}. {sentence(self.folder)}."

    def _on_trigger(self) -> None:
        if self._trigger.isModified():
            self._trigger.setModified(False)
            text = self._trigger.text().strip()
            self.edited.emit("trigger", text or (None if self.folder.kind == "concept" else ""))

    def changeEvent(self, event: QEvent) -> None:
        """New colours."""
        if event.type() == event.Type.PaletteChange and hasattr(self, "_remove"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        side = theme.space(2)
        self._remove.setIcon(theme.icon("trash"))
        self._remove.setIconSize(QSize(side, side))
        self._dot.setPixmap(_dot(self.folder, theme.space(2.5), self.devicePixelRatioF()))


def _dot(folder: Folder, side: int, ratio: float) -> QPixmap:
    """The concept's number on its colour, as on its thumbnails; a plain disc for what is no concept."""
    out = QPixmap(round(side * ratio), round(side * ratio))
    out.setDevicePixelRatio(ratio)
    out.fill(Qt.GlobalColor.transparent)
    painter = QPainter(out)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(Qt.PenStyle.NoPen)
    hue = theme.colour("muted") if folder.kind == "prior" else theme.concept_colour(folder.number)
    painter.setBrush(hue)
    painter.drawEllipse(QRectF(0, 0, side, side))
    if folder.number:
        painter.setPen(theme.colour("surface"))
        painter.drawText(QRectF(0, 0, side, side), Qt.AlignmentFlag.AlignCenter, str(folder.number))
    painter.end()
    return out


def _number(given: Any, usual: float) -> Any:
    return given if isinstance(given, (int, float)) and not isinstance(given, bool) else usual
