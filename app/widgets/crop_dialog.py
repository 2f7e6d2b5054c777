"""The crop editor: which part of each picture is trained, kept beside the project; the pictures stay as they are."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, Qt
from PySide6.QtWidgets import QComboBox, QLabel, QPushButton, QWidget

from app import theme
from app.picture_scan import RULE_SETTINGS, rules_of
from app.texts import tr
from app.widgets import crop_geometry as geometry
from app.widgets.crop_view import CropView
from app.widgets.edit_dialog import EditDialog
from app.widgets.named import named
from trainer import buckets
from trainer.edits import CENTRE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from app.pictures import Pictures
    from app.project import Project
    from app.widgets.edit_dialog import Loaded


class CropDialog(EditDialog):
    """Crops one picture after the other; every change is applied at once, as a step of undo.

    Attributes:
        view: the picture with its rectangle.
    """

    def __init__(
        self, project: Project, pictures: Pictures, paths: Sequence[Path], start: Path, parent: QWidget | None = None
    ) -> None:
        """As `EditDialog`."""
        super().__init__(project, pictures, paths, start, parent)
        self.setObjectName("crop_dialog")
        self.setWindowTitle(tr("Crop"))
        self._done, self._undone = 0, 0  # steps of undo that were made here
        self.view = CropView()
        self._sentence = named(QLabel(wordWrap=True), "crop_as_trained")
        self._sentence.setTextFormat(Qt.TextFormat.RichText)
        self._sentence.setMinimumHeight(2 * self._sentence.fontMetrics().lineSpacing())  # or the view would jump
        self._sentence.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._shape = named(QComboBox(), "crop_shape", spoken=tr("Shape"))
        self._shape.setToolTip(tr("Keep a shape: that of a training size loses nothing more."))
        self._shape.setMaxVisibleItems(20)
        self._reset = named(QPushButton(tr("Whole picture"), autoDefault=False), "crop_reset", tip=tr("No crop  (R)"))
        self._reset.setIcon(theme.icon("reset"))
        self._centre = self.tool("crop_centre", "target", tr("Focus in the middle  (F)"), self._on_centre)
        hint = theme.role(named(QLabel(wordWrap=True), "crop_hint"), "muted")
        hint.setText(
            tr(
                "Drag the target, or double-click, to choose what stays in view. Arrow keys move the crop by a pixel, with "
                "Shift by ten, with Ctrl its size, with Alt the target."
            )
        )
        self.column.addWidget(self.view, 1)
        for label in (self._sentence, hint):
            self.column.addWidget(label)
        shape = QLabel(tr("Shape"))
        shape.setBuddy(self._shape)
        for widget in (shape, self._shape, self._reset, self._centre):
            self.foot.addWidget(widget)
        self.foot.addStretch(1)
        self._fill_shapes()
        self._connect()
        self.show_path(start)
        self.view.setFocus()

    def _connect(self) -> None:
        self.view.moved.connect(self._refresh)
        self.view.settled.connect(self.keep)
        self._shape.activated.connect(self._on_shape)
        self._reset.clicked.connect(self._on_reset)
        self.on_key("R", self._on_reset)
        self.on_key("F", self._on_centre)
        self._pictures.edits.changed.connect(self._on_edited)
        self._project.changed.connect(self._on_project_changed)

    def _fill_shapes(self) -> None:
        """Free, square, and the sizes that training knows, from tall to wide."""
        rules = rules_of(self._project.value)
        self.view.set_rules(rules)
        chosen = self._shape.currentData()
        self._shape.clear()
        self._shape.addItem(tr("Free"), None)
        self._shape.addItem("1 : 1", 1.0)
        others = [size for size in buckets.sizes(rules) if size[0] != size[1]]
        if others:
            self._shape.insertSeparator(2)
        for width, height in others:
            self._shape.addItem(f"{width} × {height}", width / height)
        self._shape.setCurrentIndex(max(0, self._shape.findData(chosen)) if chosen is not None else 0)

    # ---- what an EditDialog asks for

    def clear(self) -> None:
        """Nothing yet."""
        self.view.show_picture(None, (1, 1))
        self._refresh()

    def show_loaded(self, loaded: Loaded) -> None:
        """The picture with the crop it has."""
        edit = self._pictures.edits.of(self.index)
        self.view.show_picture(loaded.image, edit.size, loaded.problem)
        self.view.set_crop(edit.box, edit.focus)
        self._refresh()

    def facts(self) -> str:
        """The size and place of the crop too."""
        box, whole = self.view.box, super().facts()
        if not self.is_loaded or box is None:
            return whole
        place = tr("{w} × {h} at {x}, {y}", w=box[2] - box[0], h=box[3] - box[1], x=box[0], y=box[1])
        return tr("{crop} of {whole}", crop=place, whole=whole)

    def keep(self) -> None:
        """Applies the crop, if it is another."""
        edit = self._pictures.edits.of(self.index)
        if self.is_loaded and (self.view.box, self.view.focus) != (edit.box, edit.focus):
            self._done, self._undone = self._done + 1, 0
            self._pictures.edits.crop(self.index, self.view.box, self.view.focus)
        self._refresh()

    def undo(self) -> None:
        """Takes back the last crop that was made here."""
        if self.is_loaded:
            self.keep()
        if self._done:
            self._done, self._undone = self._done - 1, self._undone + 1
            self._pictures.undo()
            self._refresh()

    def redo(self) -> None:
        """Makes it again."""
        if self._undone:
            self._done, self._undone = self._done + 1, self._undone - 1
            self._pictures.redo()
            self._refresh()

    # ---- what the user does

    def _on_shape(self, _row: int) -> None:
        self.view.shape(self._shape.currentData())
        self.view.setFocus()

    def _on_reset(self) -> None:
        if self.is_loaded:
            self._shape.setCurrentIndex(0)
            self.view.ratio = None
            self.view.set_crop(None, CENTRE)
            self.keep()

    def _on_centre(self) -> None:
        if self.is_loaded:
            self.view.set_crop(self.view.box, CENTRE)
            self.keep()

    # ---- keeping up

    def _on_edited(self, indexes: list[int]) -> None:
        """Undo may lead to another picture."""
        if not self.is_loaded or not indexes:
            return
        if self.index not in indexes:
            path = self._pictures.items[indexes[0]].picture.path
            if path in self._paths:
                self.show_path(path)
            return
        edit = self._pictures.edits.of(self.index)
        if (self.view.box, self.view.focus) != (edit.box, edit.focus):
            self.view.set_crop(edit.box, edit.focus)
        self._refresh()

    def _on_project_changed(self, names: frozenset[str]) -> None:
        if names & set(RULE_SETTINGS):
            self._fill_shapes()
            self._refresh()

    def _refresh(self) -> None:
        text, warning = "", ""
        if self.is_loaded:
            text, warning = geometry.sentences(self.view.fit, self._pictures.edits.of(self.index).size)
        warn = theme.colours().warn
        self._sentence.setText(f"{html.escape(text)} <span style='color: {warn}'>{html.escape(warning)}</span>")
        self.view.setAccessibleDescription(f"{text} {warning}".strip())
        self._shape.setEnabled(self.is_loaded)
        self._reset.setEnabled(self.is_loaded and (self.view.box is not None or self.view.focus != CENTRE))
        self._centre.setEnabled(self.is_loaded and self.view.focus != CENTRE)
        self._undo.setEnabled(self._done > 0)
        self._redo.setEnabled(self._undone > 0)
        self.refresh_head()

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == QEvent.Type.PaletteChange and hasattr(self, "_reset"):
            self._reset.setIcon(theme.icon("reset"))
            self._refresh()
        super().changeEvent(event)
