"""The recipe page: what to teach, which model, how long. Everything else is behind "All settings"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)  # fmt: skip

from app import theme
from app.form import SettingsForm
from app.texts import tr
from app.widgets.base_choice import BaseChoice
from app.widgets.length_slider import LengthSlider
from app.widgets.name_fields import NameFields
from app.widgets.named import named
from app.widgets.note import Note
from app.widgets.preset_cards import PresetCards
from app.widgets.preset_values import PresetValues
from app.widgets.prompt_table import PromptTable
from app.widgets.scrolling import scrolling
from trainer.settings import TrainingSettings, notes

if TYPE_CHECKING:
    from app.project import Project

COLUMN_WIDTH = 122  # in theme.space, about 860 px


class RecipePage(QWidget):
    """Two views of a project's settings: a calm column for everybody, and the complete form.

    `pictures` is an `app.pictures.Pictures`, or has its items, count and signals.
    """

    def __init__(self, project: Project, pictures: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("recipe_page")
        self._project = project
        self.cards = PresetCards()
        self.base = BaseChoice(project)
        self.names = NameFields(project)
        self.length = LengthSlider(project, pictures)
        self.values = PresetValues(project)
        self.prompts = PromptTable(project, pictures)
        self._form: SettingsForm | None = None
        self._pick_one = theme.role(named(QLabel(), "recipe_choose"), "muted")
        self._hints = [Note(f"recipe_hint_{n}") for n in range(4)]
        self._toggle = named(QPushButton(), "recipe_toggle")
        self._more = named(QPushButton(tr("Advanced: all settings")), "recipe_advanced")
        self._lay_out()
        self.cards.chosen.connect(self._on_preset_chosen)
        self._toggle.clicked.connect(self._on_toggled)
        self._more.clicked.connect(self._on_toggled)
        project.opened.connect(self._on_opened)
        project.changed.connect(self._refresh)
        self._restyle()
        self.setTabOrder(self._more, self._toggle)
        self._show_view(advanced=False)
        self._refresh()

    @property
    def form(self) -> SettingsForm:
        """The complete form; made when it is first wanted."""
        if self._form is None:
            self._form = SettingsForm(self._project)
            self._advanced_column.addWidget(self._form, 1)
        return self._form

    @property
    def is_advanced(self) -> bool:
        """Whether the complete form is shown."""
        return self._views.currentIndex() == 1

    def focus_field(self, name: str) -> None:
        """Brings the setting into view and puts the cursor into it; opens the complete form if it is only there."""
        simple: dict[str, QWidget] = {
            "base": self.base,
            "steps": self.length,
            "previews": self.prompts,
            **self.names.editors,
        }
        if widget := simple.get(name):
            self._show_view(advanced=False)
            self._scroll.ensureWidgetVisible(widget, 0, theme.space(4))
            widget.setFocus(Qt.FocusReason.OtherFocusReason)
        elif name in TrainingSettings.model_fields:
            self._show_view(advanced=True)
            self.form.focus_field(name)

    # ---- building

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setContentsMargins(theme.space(2), theme.space(2), theme.space(2), theme.space(0.5))
        head.addWidget(theme.role(QLabel(tr("Recipe")), "title"))
        head.addStretch(1)
        head.addWidget(self._toggle)
        self._views = QStackedWidget()
        self._views.addWidget(self._simple_view())
        self._views.addWidget(self._advanced_view())
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(theme.space(0.5))
        whole.addLayout(head)
        whole.addWidget(self._views, 1)

    def _simple_view(self) -> QWidget:
        column_widget = QWidget()
        column_widget.setMaximumWidth(theme.space(COLUMN_WIDTH))
        column = QVBoxLayout(column_widget)
        column.setContentsMargins(0, theme.space(1), 0, theme.space(4))
        column.setSpacing(theme.space(4))
        column.addWidget(_part(tr("What do you want to teach?"), self._pick_one, self.cards))
        column.addWidget(_part(tr("Base model"), self.base))
        column.addWidget(self.names)
        column.addWidget(_part(tr("How long"), self.length, card=True))
        self._values_part = _part(tr("What this preset does"), self.values, card=True)
        column.addWidget(self._values_part)
        previews = tr("Drawn at the start, while it learns, and at the end, always from the same noise.")
        column.addWidget(
            _part(tr("Preview pictures"), theme.role(QLabel(previews, wordWrap=True), "muted"), self.prompts)
        )
        hints = QVBoxLayout()
        hints.setSpacing(theme.space(1))
        for hint in self._hints:
            hints.addWidget(hint)
        column.addLayout(hints)
        column.addWidget(self._more, 0, Qt.AlignmentFlag.AlignLeft)
        column.addStretch(1)
        centred = QWidget()
        row = QHBoxLayout(centred)
        row.setContentsMargins(theme.space(2), 0, theme.space(2), 0)
        row.addStretch(1)
        row.addWidget(column_widget, 1000)
        row.addStretch(1)
        self._scroll = named(scrolling(centred), "recipe_scroll")
        return self._scroll

    def _advanced_view(self) -> QWidget:
        view = QWidget()
        self._advanced_column = QVBoxLayout(view)
        self._advanced_column.setContentsMargins(theme.space(2), theme.space(1), theme.space(1), theme.space(1))
        return view

    # ---- what happens

    def _show_view(self, *, advanced: bool) -> None:
        if advanced:
            self.form.show()
        self._views.setCurrentIndex(int(advanced))
        self._toggle.setText(tr("Simple view") if advanced else tr("All settings"))

    def _on_toggled(self) -> None:
        self._show_view(advanced=not self.is_advanced)

    def _on_opened(self) -> None:
        self._show_view(advanced=False)
        self._scroll.verticalScrollBar().setValue(0)

    def _on_preset_chosen(self, name: str) -> None:
        self._project.apply_preset(name)
        self._refresh()  # a preset that changes no value says nothing
        self.values.refresh()

    def _refresh(self) -> None:
        preset = self._project.preset
        self.cards.set_preset(preset)
        self._pick_one.setText(tr("Choose what you want to teach; everything else is then filled in."))
        self._pick_one.setVisible(not preset)
        self._values_part.setVisible(bool(preset))
        errors: dict[str, str] = {}
        for mistake in self._project.mistakes():
            errors.setdefault(mistake.field, str(mistake))
        self.names.show_errors(errors)
        self.base.picker.set_error(errors.get("base", ""))
        self.prompts.show_error(errors.get("previews", ""))
        self._show_hints([] if errors else notes(self._project.settings()))

    def _show_hints(self, sentences: list[str]) -> None:
        for index, hint in enumerate(self._hints):
            hint.say(tr(sentences[index]) if index < len(sentences) else "")

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_more"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._toggle.setIcon(theme.icon("recipe"))
        self._more.setIcon(theme.icon("recipe"))


def _part(title: str, *widgets: QWidget, card: bool = False) -> QWidget:
    """A heading and what belongs to it, perhaps on a card."""
    part = QWidget()
    column = QVBoxLayout(part)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(theme.space(1.25))
    column.addWidget(theme.role(QLabel(title), "heading"))
    inside = column
    if card:
        frame = theme.role(QFrame(), "card")
        frame.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        inside = QVBoxLayout(frame)
        inside.setContentsMargins(theme.space(2), theme.space(2), theme.space(2), theme.space(2))
        column.addWidget(frame)
    for widget in widgets:
        inside.addWidget(widget)
    return part
