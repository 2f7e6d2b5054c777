"""The project's base model: choosing another one also adapts the picture size, unless the user has set it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QVBoxLayout, QWidget

from app import base_fit, theme
from app.texts import tr
from app.widgets.base_picker import BasePicker
from app.widgets.note import Note

if TYPE_CHECKING:
    from app.base_fit import Found
    from app.project import Project

_SIZES = ("resolution", "bucket_step", "bucket_min")


class BaseChoice(QWidget):
    """A `BasePicker` bound to a project, with a note under it."""

    def __init__(self, project: Project, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self._known: Found | None = None  # of the base that was shown until now
        self._chosen = ""  # by the user, and not looked at yet
        self.picker = BasePicker()
        self.note = Note("size_note")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(1))
        column.addWidget(self.picker)
        column.addWidget(self.note)
        self.setFocusProxy(self.picker)
        self.picker.chosen.connect(self._on_chosen)
        self.picker.found.connect(self._on_found)
        self.picker.fetched.connect(self._on_fetched)
        project.opened.connect(self._on_opened)
        project.changed.connect(self._on_project_changed)
        self._on_project_changed(frozenset({"base"}))

    def _on_opened(self) -> None:
        self._known, self._chosen = None, ""
        self.note.say("")

    def _on_project_changed(self, names: frozenset[str]) -> None:
        if names & {"base", *_SIZES}:
            self.note.say("")
        if "base" in names:
            self.picker.set_base(str(self._project.value("base")))

    def _on_chosen(self, base: str) -> None:
        self._chosen = base
        self._project.set_many({"base": base})

    def _on_fetched(self) -> None:
        """The setting is the same, but what it stands for is there now: the plan and the vocabulary must be made anew."""
        self._chosen = str(self._project.value("base"))
        self._project.changed.emit(frozenset({"base"}))

    def _on_found(self, found: Found) -> None:
        before, self._known = self._known, found if found.family is not None else self._known
        changes = self._changes(found, before)
        chosen, self._chosen = found.base == self._chosen, ""
        if "resolution" not in changes:
            return
        size, name = f"{found.resolution:,}", base_fit.title(found.base)
        if chosen:
            self._project.set_many(changes)
            self.note.say(
                tr("Resolution is now {size} px, which {name} was made for.", size=size, name=name),
                tr("Undo"),
                self._project.undo,
            )
        else:
            text = tr(
                "{name} was made for pictures of {size} px; this project trains at another size.", name=name, size=size
            )
            self.note.say(text, tr("Use {size} px", size=size), lambda: self._project.set_many(changes))

    def _changes(self, found: Found, before: Found | None) -> dict[str, object]:
        now = {name: self._project.value(name) for name in _SIZES}
        untouched = frozenset(n for n in _SIZES if not self._project.is_changed(n))
        return base_fit.changes(found, before, now, untouched)
