"""The trigger word and the name: the two texts that every project needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from app import fields, theme
from app.texts import tr
from app.widgets.named import named
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.project import Project

NAMES = ("trigger", "name")


class NameFields(QWidget):
    """Two fields side by side, bound to a project."""

    def __init__(self, project: Project, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self.editors: dict[str, fields.Editor] = {}
        self._errors: dict[str, QLabel] = {}
        helps = {
            "trigger": tr("The word that calls it up in a prompt. Best is one that means nothing else."),
            "name": tr("Of the LoRA and its file."),
        }
        labels = {"trigger": tr("Trigger word"), "name": tr("Name")}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(theme.space(3))
        grid.setVerticalSpacing(theme.space(0.6))
        for column, name in enumerate(NAMES):
            editor = fields.make(TrainingSettings, name)
            editor.edited.connect(lambda value, name=name: self._on_edited(name, value))
            label = theme.role(QLabel(labels[name]), "heading")
            label.setBuddy(editor)
            error = theme.role(named(QLabel(wordWrap=True), f"simple_{name}_error"), "bad")
            error.setTextFormat(Qt.TextFormat.PlainText)
            error.hide()
            help_label = theme.role(QLabel(helps[name], wordWrap=True), "muted")
            help_label.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
            for row, widget in enumerate((label, editor, error, help_label)):
                grid.addWidget(widget, row, column)
            grid.setColumnStretch(column, 1)
            self.editors[name], self._errors[name] = editor, error
        project.changed.connect(self._on_project_changed)
        self._on_project_changed()

    def show_errors(self, errors: Mapping[str, str]) -> None:
        """Puts the mistakes under their fields."""
        for name, label in self._errors.items():
            label.setText(errors.get(name, ""))
            label.setVisible(name in errors)
            self.editors[name].set_error(name in errors)

    def _on_edited(self, name: str, value: Any) -> None:
        self._project.set(name, value)

    def _on_project_changed(self) -> None:
        for name, editor in self.editors.items():
            editor.set_value(self._project.value(name))
        trigger = str(self._project.value("trigger"))
        placeholders = {"trigger": tr("e.g. zorblin"), "name": trigger or tr("like the picture folder")}
        for name, words in placeholders.items():
            editor = self.editors[name]
            if isinstance(editor, fields.TextEditor):
                editor.set_placeholder(words)
