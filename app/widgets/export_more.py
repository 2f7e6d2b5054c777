"""What few people need to say of an export: description, tags, for which programs, precision, what comes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QLabel, QLineEdit, QPlainTextEdit, QVBoxLayout, QWidget

from app import preferences, theme
from app.texts import tr
from app.widgets.named import named

if TYPE_CHECKING:
    from app.run_results import Results

DESCRIPTION_LINES = 3


class ExportMore(QWidget):
    """The fields; all have a value that suits most people.

    Signals:
        changed: what would be written is another.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._make_fields()
        self._make_boxes()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.5))
        for label, field in (
            (tr("Description"), self.description), (tr("Tags"), self.tags), (tr("For"), self.names), (tr("Precision"), self.precision),
        ):  # fmt: skip
            caption = theme.role(QLabel(label), "muted")
            caption.setBuddy(field)
            column.addWidget(caption)
            column.addWidget(field)
            column.addSpacing(theme.space(0.75))
        for box in (self.beside, self.prove, self.with_data):
            column.addWidget(box)

    def propose(self, results: Results) -> None:
        """A run's own words and choices."""
        self.description.setPlainText(results.settings.description)
        self.tags.setText(results.tags)
        self.tags.setCursorPosition(0)
        self.precision.setCurrentIndex(max(0, self.precision.findData(results.settings.export_precision)))
        self.with_data.setChecked(False)

    @property
    def is_peft(self) -> bool:
        """Whether it is for scripts, which want other names in the file."""
        return bool(self.names.currentData() == "peft")

    def _make_fields(self) -> None:
        self.description = named(QPlainTextEdit(tabChangesFocus=True), "export_description", spoken=tr("Description"))
        self.description.setPlaceholderText(tr("What it draws, and how to use it"))
        line = self.description.fontMetrics().lineSpacing()
        self.description.setFixedHeight(DESCRIPTION_LINES * line + theme.space(2))
        tip = tr("Words to find it by, separated by commas")
        self.tags = named(QLineEdit(), "export_tags", spoken=tr("Tags"), tip=tip)
        self.tags.setPlaceholderText(tr("character, monster, green"))
        tip = tr(
            "Scripts with diffusers or PEFT may want their own layer names; all programs with a window want the first"
        )
        self.names = named(QComboBox(), "export_names", spoken=tr("For"), tip=tip)
        self.names.addItem(tr("A1111, Forge, ComfyUI, Civitai"), "kohya")
        self.names.addItem(tr("diffusers, PEFT scripts"), "peft")
        tip = tr("fp16 is what everybody shares")
        self.precision = named(QComboBox(), "export_precision", spoken=tr("File precision"), tip=tip)
        for label, value in ((tr("fp16 (usual)"), "fp16"), (tr("bf16"), "bf16"), (tr("fp32 (twice the size)"), "fp32")):
            self.precision.addItem(label, value)
        for choice in (self.names, self.precision):
            choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            choice.currentIndexChanged.connect(self._on_changed)

    def _make_boxes(self) -> None:
        tip = tr("From these A1111, Forge and InvokeAI know the LoRA's picture and its trigger word")
        self.beside = named(QCheckBox(tr("Picture and trigger word beside it")), "export_beside", tip=tip)
        tip = tr("Loads the base model and compares what the file does with what was trained; takes a minute")
        self.prove = named(QCheckBox(tr("Prove that it loads")), "export_prove", tip=tip)
        tip = tr("As a zip in the Civitai bundle. The pictures go as they are, with all that their files say.")
        self.with_data = named(QCheckBox(tr("Training pictures in the bundle")), "export_with_data", tip=tip)
        for box in (self.beside, self.prove):
            box.setChecked(preferences.get(box.objectName(), True))
            box.toggled.connect(self._on_toggled)

    def _on_toggled(self) -> None:
        for box in (self.beside, self.prove):
            preferences.put(box.objectName(), box.isChecked())

    def _on_changed(self) -> None:
        self.beside.setEnabled(not self.is_peft)
        self.changed.emit()
