"""Changing the captions of many pictures at once: add, remove, replace tags, the trigger word; leave out and take in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QStringListModel, Qt, Signal
from PySide6.QtWidgets import QCompleter, QGridLayout, QHBoxLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from app import theme
from app.caption_tags import tags_of
from app.texts import counted, tr
from app.widgets.named import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.pictures import Pictures
    from app.project import Project


class BatchEdit(QWidget):
    """Acts on the selected pictures, or on all while none is selected.

    Signals:
        triggerWanted: there is no trigger word, and the user wants to put one in front.
        replaceWanted: find and replace.
        bulkWanted(str): other changes, with a preview; the tags that are written already.
    """

    triggerWanted = Signal()
    replaceWanted = Signal()
    bulkWanted = Signal(str)

    def __init__(self, project: Project, pictures: Pictures, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._project, self._pictures = project, pictures
        self._selection: list[int] = []
        self._shown: list[int] = []
        self._title = theme.role(named(QLabel(wordWrap=True), "batch_title"), "heading")
        self._hint = theme.role(named(QLabel(wordWrap=True), "batch_hint"), "muted")
        self._known = QStringListModel(self)
        self._tags = self._field("batch_tags", tr("Tags, with commas between"))
        self._front = self._button("batch_add_front", tr("Add in front"), self._on_add_front)
        self._end = self._button("batch_add_end", tr("Add at the end"), self._on_add_end)
        self._remove = self._button("batch_remove", tr("Remove"), self._on_remove)
        self._old = self._field("batch_old", tr("This tag"))
        self._new = self._field("batch_new", tr("By this"))
        self._replace = self._button("batch_replace", tr("Replace"), self._on_replace)
        self._find = self._button("batch_find", tr("Find and replace…"), self.replaceWanted.emit)
        self._find.setToolTip(tr("In the text of captions, also by a pattern  (Ctrl+H)"))
        self._more = self._button(
            "batch_more", tr("Sort, tidy up, and more…"), lambda: self.bulkWanted.emit(self._tags.text())
        )
        self._more.setToolTip(
            tr("Sort, remove duplicates, lower case, text in front…: see every change before it is made")
        )
        self._trigger = self._button("batch_trigger", "", self._on_trigger)
        self._leave_out = self._button("batch_leave_out", tr("Leave out"), self._on_leave_out)
        self._leave_out.setToolTip(tr("Training does not see them; the files stay where they are.  (Delete)"))
        self._take_in = self._button("batch_take_in", tr("Take in"), self._on_take_in)
        self._lay_out()
        self._tags.textChanged.connect(self._refresh)
        self._tags.returnPressed.connect(self._end.click)
        self._old.textChanged.connect(self._refresh)
        self._new.returnPressed.connect(self._replace.click)
        pictures.scanned.connect(self._on_scanned)
        for signal in (pictures.captionsChanged, pictures.includedChanged):
            signal.connect(self._on_items_changed)
        project.changed.connect(self._on_project_changed)
        self._on_scanned()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(0.75))
        column.addWidget(self._title)
        column.addWidget(self._hint)
        column.addSpacing(theme.space(1))
        column.addWidget(theme.role(QLabel(tr("Add or remove tags")), "muted"))
        column.addWidget(self._tags)
        buttons = QGridLayout()
        buttons.setSpacing(theme.space(0.75))
        buttons.addWidget(self._front, 0, 0)
        buttons.addWidget(self._end, 0, 1)
        buttons.addWidget(self._remove, 1, 0, 1, 2)
        column.addLayout(buttons)
        column.addSpacing(theme.space(1.5))
        column.addWidget(theme.role(QLabel(tr("Replace a tag")), "muted"))
        row = QHBoxLayout()
        row.setSpacing(theme.space(0.75))
        row.addWidget(self._old)
        row.addWidget(QLabel("→"))
        row.addWidget(self._new)
        column.addLayout(row)
        column.addWidget(self._replace)
        column.addSpacing(theme.space(1.5))
        column.addWidget(theme.role(QLabel(tr("See every change first")), "muted"))
        column.addWidget(self._find)
        column.addWidget(self._more)
        column.addSpacing(theme.space(1.5))
        column.addWidget(theme.role(QLabel(tr("Trigger word")), "muted"))
        column.addWidget(self._trigger)
        column.addSpacing(theme.space(1.5))
        column.addWidget(theme.role(QLabel(tr("In training")), "muted"))
        row = QHBoxLayout()
        row.setSpacing(theme.space(0.75))
        row.addWidget(self._leave_out)
        row.addWidget(self._take_in)
        column.addLayout(row)
        column.addStretch(1)

    def set_targets(self, selection: list[int], shown: list[int]) -> None:
        """Acts on the selection from now on or, when it is empty, on those that are shown; places in `Pictures.items`."""
        self._selection, self._shown = list(selection), list(shown)
        self._refresh()

    @property
    def indexes(self) -> list[int]:
        """The pictures that a button would change."""
        return self._selection or self._shown

    # ---- what the buttons do

    def _on_add_front(self) -> None:
        self._add(front=True)

    def _on_add_end(self) -> None:
        self._add(front=False)

    def _add(self, *, front: bool) -> None:
        self._pictures.add_tags(self.indexes, tags_of(self._tags.text()), front=front)
        self._tags.clear()

    def _on_remove(self) -> None:
        self._pictures.remove_tags(self.indexes, tags_of(self._tags.text()))
        self._tags.clear()

    def _on_replace(self) -> None:
        self._pictures.replace_tag(self.indexes, self._old.text().strip(), self._new.text().strip())
        self._old.clear()
        self._new.clear()

    def _on_trigger(self) -> None:
        if str(self._project.value("trigger")).strip():
            self._pictures.prepend_trigger(self.indexes)
        else:
            self.triggerWanted.emit()

    def _on_leave_out(self) -> None:
        self._pictures.set_included(self.indexes, False)

    def _on_take_in(self) -> None:
        self._pictures.set_included(self.indexes, True)

    # ---- what they look like

    def _on_scanned(self) -> None:
        self._selection, self._shown = [], list(range(len(self._pictures.items)))
        self._on_items_changed()

    def _on_items_changed(self, _indexes: object = None) -> None:
        self._known.setStringList(list(self._pictures.tag_counts()))
        self._refresh()

    def _on_project_changed(self, names: frozenset[str]) -> None:
        if "trigger" in names:
            self._refresh()

    def _refresh(self, _text: str = "") -> None:
        items = self._pictures.items
        chosen = [items[i] for i in self.indexes]
        if not chosen:
            self._title.setText(tr("No picture is shown"))
            self._hint.setText("")
        elif self._selection:
            self._title.setText(tr("{pictures} selected", pictures=counted(len(chosen), "picture", "pictures")))
            self._hint.setText(tr("What you do here changes all of them, and can be undone."))
        else:
            text = "All {pictures}" if len(chosen) == len(items) else "The {pictures} shown"
            self._title.setText(tr(text, pictures=counted(len(chosen), "picture", "pictures")))
            self._hint.setText(tr("Click a picture to write its caption. What you do here changes all of them."))
        tags, old = tags_of(self._tags.text()), self._old.text().strip().casefold()
        reading = self._pictures.reading
        present = (
            {tag.casefold() for item in chosen for tag in tags_of(item.caption, reading)} if tags or old else set()
        )
        self._front.setEnabled(bool(tags and chosen))
        self._end.setEnabled(bool(tags and chosen))
        self._remove.setEnabled(any(tag.casefold() in present for tag in tags))
        self._replace.setEnabled(old in present)
        self._replace.setToolTip(tr("None of these pictures has this tag.") if old and old not in present else "")
        trigger = str(self._project.value("trigger")).strip()
        self._trigger.setText(tr("Put “{trigger}” in front", trigger=trigger) if trigger else tr("Set a trigger word…"))
        for button in (self._trigger, self._find, self._more):
            button.setEnabled(bool(chosen))
        # Leaving out every picture is never meant: it is offered for some only.
        self._leave_out.setEnabled(len(chosen) < len(items) and any(item.included for item in chosen))
        self._take_in.setEnabled(any(not item.included for item in chosen))

    def _field(self, name: str, hint: str) -> QLineEdit:
        field = named(QLineEdit(placeholderText=hint), name, tip=hint, spoken=hint)
        completer = QCompleter(self._known, field)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        field.setCompleter(completer)
        return field

    def _button(self, name: str, text: str, slot: Callable[[], None]) -> QPushButton:
        button = named(QPushButton(text), name)
        button.clicked.connect(slot)
        return button
