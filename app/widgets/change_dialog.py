"""A dialog that changes many captions: to which, what, a preview of all changes, and one step of undo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QComboBox, QDialog, QFormLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from app import theme
from app.texts import counted, tr
from app.widgets.change_preview import ChangePreview
from app.widgets.named import named

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.pictures import Pictures

SIZE = 92, 72  # steps of theme.space: width and height


@dataclass(frozen=True)
class Targets:
    """The pictures that are selected and that are shown, as places in `Pictures.items`."""

    selected: list[int]
    shown: list[int]


class ChangeDialog(QDialog):
    """Subclasses fill `form` and say what is to be done.

    Attributes:
        preview: what would change. form: the rows above it.
    """

    def __init__(self, pictures: Pictures, targets: Targets, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.pictures = pictures
        self.preview = ChangePreview()
        self.form = QFormLayout()
        self.form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.form.setSpacing(theme.space(1))
        self._scope = named(QComboBox(), "change_scope", tip=tr("Which captions"), spoken=tr("Which captions"))
        self._fill_scope(targets)
        self._apply = theme.role(named(QPushButton(tr("Apply")), "change_apply"), "primary")
        self._apply.clicked.connect(self._on_apply)
        close = named(QPushButton(tr("Close")), "change_close")
        close.clicked.connect(self.reject)
        close.setAutoDefault(False)
        self._apply.setDefault(True)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(close)
        buttons.addWidget(self._apply)
        column = QVBoxLayout(self)
        column.setContentsMargins(*[theme.space(2)] * 4)
        column.setSpacing(theme.space(1.5))
        column.addLayout(self.form)
        column.addWidget(self.preview, 1)
        column.addLayout(buttons)
        self.resize(*(theme.space(side) for side in SIZE))
        self._scope.currentIndexChanged.connect(self.replan)
        self.preview.planned.connect(self._refresh)
        pictures.captionsChanged.connect(self.replan)
        pictures.scanned.connect(self.replan)
        self.finished.connect(self.preview.close_quietly)
        self._refresh()

    def _fill_scope(self, targets: Targets) -> None:
        items = self.pictures.items
        self._paths: list[list[Path]] = []

        def add(text: str, places: list[int]) -> None:
            self._scope.addItem(tr(text, pictures=counted(len(places), "picture", "pictures")))
            self._paths.append([items[place].picture.path for place in places])

        add("All {pictures}", list(range(len(items))))
        if targets.selected:
            add("The {pictures} selected", targets.selected)
        if len(targets.shown) < len(items):
            add("The {pictures} shown", targets.shown)
        self._scope.setCurrentIndex(
            1 if len(targets.selected) > 1 or (len(self._paths) == 2 and not targets.selected) else 0
        )

    def change(self) -> Callable[[], Callable[[str], str]] | None:
        """What is to be done now, as `ChangePreview.plan` takes it."""
        raise NotImplementedError

    def label(self) -> str:
        """What was done, for the undo menu."""
        raise NotImplementedError

    def replan(self, _changed: object = None) -> None:
        """Works the preview out anew."""
        items, at = self.pictures.items, self.pictures.index_of
        places = (at(path) for path in self._paths[self._scope.currentIndex()])
        captions = [(items[i].picture.path, items[i].caption) for i in places if i >= 0]
        self.preview.plan(captions, self.change())

    def _refresh(self) -> None:
        count = len(self.preview.found.changes)
        self._apply.setEnabled(bool(count) and self.preview.is_current)
        text = tr("Change {captions}", captions=counted(count, "caption", "captions")) if count else tr("Change")
        self._apply.setText(text)

    def _on_apply(self) -> None:
        items, at = self.pictures.items, self.pictures.index_of
        changes = self.preview.found.changes
        if not self.preview.is_current or any(at(c.path) < 0 or items[at(c.path)].caption != c.before for c in changes):
            self.replan()  # something was changed meanwhile: the user sees it first
            return
        what = tr("{what} in {captions}", what=self.label(), captions=counted(len(changes), "caption", "captions"))
        self.pictures.set_captions({at(c.path): c.after for c in changes}, what)
        self.accept()
