"""Operations on the tags of many captions, with a preview of every change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QComboBox, QLabel, QLineEdit, QWidget

from app.caption_changes import OPERATIONS
from app.texts import tr
from app.widgets.change_dialog import ChangeDialog
from app.widgets.named import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.caption_changes import Operation
    from app.pictures import Pictures
    from app.widgets.change_dialog import Targets


class BulkDialog(ChangeDialog):
    """Does one operation to all captions, those selected or those shown."""

    def __init__(self, pictures: Pictures, targets: Targets, text: str = "", parent: QWidget | None = None) -> None:
        """text: tags that were written already."""
        super().__init__(pictures, targets, tr("Change many captions"), parent)
        self.setObjectName("bulk_dialog")
        self._operation = named(QComboBox(), "bulk_operation", spoken=tr("What to do"))
        self._operation.setMaxVisibleItems(len(OPERATIONS))
        for operation in OPERATIONS:
            self._operation.addItem(tr(operation.title), operation.name)
        self._labels = [QLabel(), QLabel()]
        self._texts = [named(QLineEdit(), f"bulk_text_{n}") for n in (1, 2)]
        self._texts[0].setText(text)
        self.form.addRow(tr("Do this"), self._operation)
        for label, field in zip(self._labels, self._texts, strict=True):
            self.form.addRow(label, field)
            label.setBuddy(field)
            field.textChanged.connect(self.replan)
        self.form.addRow(tr("In"), self._scope)
        self._operation.currentIndexChanged.connect(self._on_operation)
        self._on_operation()

    @property
    def operation(self) -> Operation:
        """What is to be done."""
        return OPERATIONS[self._operation.currentIndex()]

    def choose(self, name: str) -> None:
        """Another operation, by its name."""
        self._operation.setCurrentIndex(self._operation.findData(name))

    def _on_operation(self) -> None:
        wanted = self.operation.fields
        for place, field in enumerate(self._texts):
            self.form.setRowVisible(field, place < len(wanted))
            self._labels[place].setText(
                [tr("Text"), tr("By")][place] if "tag" not in "".join(wanted).lower() else [tr("Tags"), tr("By")][place]
            )
            field.setPlaceholderText(tr(wanted[place]) if place < len(wanted) else "")
            field.setAccessibleName(field.placeholderText())
        self.replan()

    def change(self) -> Callable[[], Callable[[str], str]] | None:
        """What stands in the fields."""
        operation, reading = self.operation, self.pictures.reading
        texts = [field.text() for field in self._texts[: len(operation.fields)]]
        if texts and not texts[0].strip():
            return None
        return lambda: lambda caption: operation.change(caption, texts, reading)

    def label(self) -> str:
        """`Add tags in front: “a”`."""
        texts = [field.text().strip() for field in self._texts[: len(self.operation.fields)]]
        said = " → ".join(f"“{text}”" for text in texts)
        return f"{tr(self.operation.title)}: {said}" if said else tr(self.operation.title)
