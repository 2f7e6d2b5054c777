"""The complete form of all settings, made from the settings model: grouped, searchable, with a way back for each change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QSize, Qt, QTimer
from PySide6.QtGui import QIcon, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)  # fmt: skip

from app import field_words, theme
from app.form_section import FormSection
from app.texts import tr
from app.widgets.named import named
from app.widgets.scrolling import scrolling
from trainer.settings import GROUPS, TrainingSettings, info
from trainer.settings_file import choices

if TYPE_CHECKING:
    from app.form_row import FormRow
    from app.project import Project

HIDDEN = ("previews", "concepts", "edits")  # a table on the recipe page, and what the dataset page is for
PATIENCE_MS = 700  # a value that is being typed is not scolded sooner


class SettingsForm(QWidget):
    """All settings of a project but those that have a place of their own. Shows what the project holds, and tells it what the user changes."""

    def __init__(self, project: Project, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._project = project
        self.names = tuple(n for n in TrainingSettings.model_fields if n not in HIDDEN)
        self._haystacks = {name: _haystack(name) for name in self.names}
        self._sections: dict[str, FormSection] = {}
        self._mistakes = self._errors()
        self._patience = QTimer(self, singleShot=True, interval=PATIENCE_MS)
        self._patience.timeout.connect(self._show_all_errors)
        self._build()
        project.changed.connect(self._on_project_changed)
        self._groups.setCurrentRow(0)
        self._show_all_errors()

    def row(self, name: str) -> FormRow:
        """The row of a setting; made if it was not seen yet."""
        return self._sections[info(name).group].row(name)

    def focus_field(self, name: str) -> None:
        """Brings a row into view and puts the cursor into it."""
        if name not in self.names:
            return
        self._search.clear()
        self._changed_only.setChecked(False)
        self._groups.setCurrentRow(GROUPS.index(info(name).group))
        row = self.row(name)
        self._content.adjustSize()
        self._scroll.ensureWidgetVisible(row, 0, theme.space(4))
        row.editor.setFocus(Qt.FocusReason.OtherFocusReason)

    # ---- building

    def _build(self) -> None:
        self._search = named(QLineEdit(), "settings_search")
        self._search.setPlaceholderText(tr("Search all settings"))
        self._search.setAccessibleName(tr("Search all settings"))
        self._search.setClearButtonEnabled(True)
        self._search.textChanged.connect(self._refilter)
        QShortcut(QKeySequence.StandardKey.Find, self, self._search.setFocus, context=Qt.ShortcutContext.WidgetWithChildrenShortcut)  # fmt: skip
        self._changed_only = named(QCheckBox(tr("Changed only")), "settings_changed_only")
        self._changed_only.setToolTip(tr("Show only what differs from the defaults"))
        self._changed_only.toggled.connect(self._refilter)
        self._groups = named(QListWidget(), "settings_groups")
        self._groups.setAccessibleName(tr("Groups of settings"))
        self._groups.setFrameShape(QFrame.Shape.NoFrame)
        self._groups.setIconSize(QSize(theme.space(2), theme.space(2)))
        self._groups.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._groups.setFixedWidth(theme.space(22))
        for group in GROUPS:
            item = QListWidgetItem(tr(group))
            item.setData(Qt.ItemDataRole.UserRole, group)
            self._groups.addItem(item)
        self._groups.currentRowChanged.connect(self._on_group_chosen)
        self._groups.itemClicked.connect(self._on_group_clicked)
        left = QVBoxLayout()
        left.setSpacing(theme.space(1))
        left.addWidget(self._search)
        left.addWidget(self._changed_only)
        left.addWidget(self._groups, 1)
        self._search.setFixedWidth(self._groups.width())
        whole = QHBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(theme.space(2))
        whole.addLayout(left)
        whole.addWidget(self._build_scroll(), 1)

    def _build_scroll(self) -> QScrollArea:
        self._content = QWidget()
        column = QVBoxLayout(self._content)
        column.setContentsMargins(0, 0, theme.space(1), 0)
        self._nothing = theme.role(named(QLabel(wordWrap=True), "settings_nothing"), "muted")
        column.addWidget(self._nothing)
        for group in GROUPS:
            names = [n for n in self.names if info(n).group == group]
            self._sections[group] = FormSection(group, names, self._on_row_made, self._content)
            column.addWidget(self._sections[group])
        column.addStretch(1)
        self._scroll = named(scrolling(self._content), "settings_scroll")
        return self._scroll

    def _on_row_made(self, row: FormRow) -> None:
        row.edited.connect(self._project.set)
        row.resetClicked.connect(self._on_reset_clicked)
        row.show_value(self._project.value(row.name), changed=self._project.is_changed(row.name))
        row.show_error(self._mistakes.get(row.name, ""))

    # ---- what is shown

    def _on_group_chosen(self, index: int) -> None:
        if index >= 0:
            self._refilter()
            self._scroll.verticalScrollBar().setValue(0)

    def _on_group_clicked(self) -> None:
        """A click on a group ends the search."""
        self._search.clear()
        self._changed_only.setChecked(False)

    def _refilter(self) -> None:
        wanted = self._search.text().casefold().split()
        only_changed = self._changed_only.isChecked()
        chosen = self._groups.currentItem()
        names = set(self.names)
        if not wanted and not only_changed and chosen is not None:
            names &= set(self._sections[chosen.data(Qt.ItemDataRole.UserRole)].names)
        if wanted:
            names = {n for n in names if all(word in self._haystacks[n] for word in wanted)}
        if only_changed:
            names = {n for n in names if self._project.is_changed(n)}
        for section in self._sections.values():
            section.show_only(names)
        if wanted or only_changed:
            self._groups.clearSelection()
        elif chosen is not None:
            chosen.setSelected(True)
        words = (
            tr("No setting matches. Try another word, such as “rate” or “noise”.")
            if wanted
            else tr("Nothing differs from the defaults.")
        )
        self._nothing.setText(words)
        self._nothing.setVisible(not names)

    # ---- the project

    def _on_project_changed(self, names: frozenset[str]) -> None:
        for section in self._sections.values():
            for name in names & section.rows.keys():
                section.rows[name].show_value(self._project.value(name), changed=self._project.is_changed(name))
        if self._changed_only.isChecked():
            self._refilter()
        self._show_errors(patient=True)

    def _on_reset_clicked(self, name: str) -> None:
        self._project.reset([name])
        self.row(name).editor.setFocus(Qt.FocusReason.OtherFocusReason)

    def _errors(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for mistake in self._project.mistakes():
            found.setdefault(mistake.field, str(mistake))
        return found

    def _show_all_errors(self) -> None:
        self._show_errors(patient=False)

    def _show_errors(self, *, patient: bool) -> None:
        errors = self._mistakes = self._errors()
        for section in self._sections.values():
            for name, row in section.rows.items():
                sentence = errors.get(name, "")
                if patient and sentence and not row.error and row.has_focus():
                    self._patience.start()
                else:
                    row.show_error(sentence)
        for index, group in enumerate(GROUPS):
            members = self._sections[group].names
            changed = sum(self._project.is_changed(n) for n in members)
            item = self._groups.item(index)
            item.setText(f"{tr(group)}  ·  {changed}" if changed else tr(group))
            item.setToolTip(tr("{count} changed", count=changed) if changed else "")
            item.setIcon(theme.icon("warning", "bad") if any(n in errors for n in members) else QIcon())

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and self._sections:
            self._show_errors(patient=True)
        super().changeEvent(event)


def _haystack(name: str) -> str:
    about = info(name)
    words = [name, name.replace("_", " "), about.label, about.help, about.group, about.unit]
    for value in choices(TrainingSettings, name):
        words += [str(value), field_words.choice(name, value).words]
    return " ".join(words).casefold()
