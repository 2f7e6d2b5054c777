"""One picture of the data set: large, its caption, how the model sees it, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QTextCursor
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QVBoxLayout, QWidget

from app import theme
from app.texts import tr
from app.token_counter import TokenCounter
from app.widgets.caption_field import CaptionField
from app.widgets.caption_text import CaptionMeter, CaptionText
from app.widgets.named import named
from app.widgets.picture_preview import PicturePreview
from trainer import buckets

if TYPE_CHECKING:
    from pathlib import Path

    from PySide6.QtCore import QEvent
    from PySide6.QtGui import QResizeEvent

    from app.pictures import Item, Pictures
    from app.project import Project
    from trainer.pixels import Fit

SAVE_AFTER_MS = 800


class CaptionEditor(QWidget):
    """Shows one picture and saves its caption by itself: after a pause, when the focus leaves, when another is shown.

    However often it is saved while one picture is shown, that is one step of undo.

    Signals:
        stepWanted(int): 1 for the next picture, -1 for the previous.
        triggerWanted: there is no trigger word, and the user wants one.
    """

    stepWanted = Signal(int)
    triggerWanted = Signal()

    def __init__(self, project: Project, pictures: Pictures, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._project, self._pictures = project, pictures
        self._path: Path | None = None
        self._dirty = False
        self._saving = False
        self._saved_label = ""  # of the step of undo that this visit made; further saves replace it
        self._timer = QTimer(self, singleShot=True, interval=SAVE_AFTER_MS)
        self._timer.timeout.connect(self.save)
        self.preview = PicturePreview()
        self.text = CaptionText()
        self.field = CaptionField(project, pictures, self.text)
        self.field.left.connect(self.save)
        self.field.stepWanted.connect(self.stepWanted)
        self.text.textChanged.connect(self._on_text_changed)
        self.text.cursorPositionChanged.connect(self._show_meter)
        self.text.left.connect(self.save)
        self.text.stepWanted.connect(self.stepWanted)
        self.meter = CaptionMeter(project, TokenCounter(project, self))
        self.meter.triggerWanted.connect(self.triggerWanted)
        self._lay_out()
        pictures.scanned.connect(self._on_scanned)
        pictures.captionsChanged.connect(self._on_captions_changed)
        pictures.includedChanged.connect(self._refresh_facts)
        pictures.fitsChanged.connect(self._refresh_facts)
        project.changed.connect(self._on_project_changed)
        self._restyle()

    def _lay_out(self) -> None:
        self._name = theme.role(named(QLabel(), "picture_name"), "heading")
        self._name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._previous = named(
            QToolButton(), "previous_picture", tip=tr("Previous picture  (Page Up)"), spoken=tr("Previous picture")
        )
        self._next = named(
            QToolButton(), "next_picture", tip=tr("Next picture  (Enter or Page Down)"), spoken=tr("Next picture")
        )
        self._previous.clicked.connect(lambda: self.stepWanted.emit(-1))
        self._next.clicked.connect(lambda: self.stepWanted.emit(1))
        self._sizes = theme.role(named(QLabel(wordWrap=True), "picture_sizes"), "muted")
        self._problems = theme.role(named(QLabel(wordWrap=True), "picture_problems"), "warn")
        self._include = named(QPushButton(), "include_picture")
        self._include.clicked.connect(self._on_include)
        head = QHBoxLayout()
        head.setSpacing(theme.space(0.25))
        head.addWidget(self._name, 1)
        head.addWidget(self._previous)
        head.addWidget(self._next)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(theme.space(1))
        column.addWidget(self.preview, 3)
        facts = QVBoxLayout()
        facts.setSpacing(theme.space(0.25))
        facts.addLayout(head)
        facts.addWidget(self._sizes)
        facts.addWidget(self._problems)
        column.addLayout(facts)
        column.addWidget(self.field, 1)
        column.addWidget(self.meter)
        column.addWidget(self._include, 0, Qt.AlignmentFlag.AlignLeft)

    # ---- which picture

    @property
    def index(self) -> int:
        """The picture that is shown, as a place in `Pictures.items`; -1 for none."""
        return -1 if self._path is None else self._pictures.index_of(self._path)

    def show_picture(self, index: int) -> None:
        """Shows another picture; what was written about the one before is saved first. -1 shows none."""
        path = self._pictures.items[index].picture.path if 0 <= index < len(self._pictures.items) else None
        if path == self._path:
            return
        self.save()
        self._path, self._saved_label = path, ""
        item = self._item()
        self._set_text("" if item is None else item.caption)
        self._refresh_facts()

    def begin_writing(self) -> None:
        """Puts the cursor at the end of the caption."""
        self.field.begin_writing()

    def _item(self) -> Item | None:
        return self._pictures.items[self.index] if self.index >= 0 else None

    # ---- the caption

    def save(self) -> None:
        """Saves the caption now if it was changed."""
        self._timer.stop()
        item = self._item()
        if not self._dirty or item is None:
            self._dirty = False
            return
        self._dirty = False
        text = self.text.caption
        if text == item.caption:
            return
        label = tr("Caption of {name}", name=item.picture.path.name)
        self._saving = True
        try:
            if self._saved_label and self._pictures.undo_text == self._saved_label:
                self._pictures.undo()  # so that the whole visit becomes one step
            self._pictures.set_captions({self.index: text}, label)
        finally:
            self._saving = False
        self._saved_label = label if self._pictures.undo_text == label else ""
        self._refresh_facts()

    def _on_text_changed(self) -> None:
        self._dirty = True
        self._timer.start()
        self.field.refresh()
        self._show_meter()

    def _show_meter(self) -> None:
        self.meter.set_caption(self.text.toPlainText(), self.text.textCursor().blockNumber())

    def _set_text(self, caption: str) -> None:
        """Shows a caption that is saved already."""
        self._timer.stop()
        blocked = self.text.blockSignals(True)
        self.text.setPlainText(caption)
        if self.text.hasFocus():
            self.text.moveCursor(QTextCursor.MoveOperation.End)
        self.text.blockSignals(blocked)
        self._dirty = False
        self.field.refresh()
        self._show_meter()

    def _on_captions_changed(self, indexes: list[int]) -> None:
        if self._saving or self.index not in indexes:
            return
        item = self._item()
        if item is not None and self.text.caption != item.caption:
            self._set_text(item.caption)
            self._saved_label = ""
        self._refresh_facts()

    def _on_scanned(self) -> None:
        item = self._item()
        if item is None:
            self._path, self._saved_label = None, ""
            self._set_text("")
        elif not self._dirty and self.text.caption != item.caption:
            self._set_text(item.caption)
        self._refresh_facts()

    # ---- facts

    def _refresh_facts(self, _indexes: object = None) -> None:
        item = self._item()
        index = self.index
        self.setEnabled(item is not None)
        if item is None:
            self.preview.show_picture(None)
            self._show_name()
            return
        fit = self._pictures.fit(index)
        background = str(self._project.value("background"))
        self.preview.show_picture(
            item.picture.path, fit, included=item.included, background=background, mask=item.picture.mask
        )
        self._show_name()
        self._name.setToolTip(str(item.picture.path))
        self._sizes.setText(size_sentence(*item.picture.seen_px, fit))
        problems = [] if item.included else [tr("Left out: training does not see it.")]
        self._problems.setText("\n".join([*problems, *item.problems]))
        self._problems.setVisible(bool(self._problems.text()))
        self._include.setText(tr("Leave out of training") if item.included else tr("Train on it again"))
        self._include.setToolTip(tr("The file stays where it is.  (Delete)") if item.included else "")
        self._restyle()

    def _show_name(self) -> None:
        name = "" if self._path is None else self._path.name
        width = max(theme.space(8), self._name.width())
        self._name.setText(self._name.fontMetrics().elidedText(name, Qt.TextElideMode.ElideMiddle, width))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """A long file name is shortened to the room there is."""
        super().resizeEvent(event)
        self._show_name()

    def _on_include(self) -> None:
        item = self._item()
        if item is not None:
            self._pictures.set_included([self.index], not item.included)

    def _on_project_changed(self, names: frozenset[str]) -> None:
        if "background" in names:
            self._refresh_facts()

    # ---- looks

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == event.Type.PaletteChange and hasattr(self, "_include"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self._previous.setIcon(theme.icon("up"))
        self._next.setIcon(theme.icon("down"))
        item = self._item()
        self._include.setIcon(theme.icon("eye_off" if item is None or item.included else "plus"))


def size_sentence(width_px: int, height_px: int, fit: Fit) -> str:
    """`1920 × 1080 → 640 × 384, 3 % cropped`."""
    crop = tr("{w} × {h}", w=width_px, h=height_px)
    crop = tr("Crop {size}", size=crop) if fit.box is not None else crop
    text = tr("{crop} → {tw} × {th}", crop=crop, tw=fit.size[0], th=fit.size[1])
    percent = round(100 * buckets.cropped_share(fit))
    return tr("{sizes}, {percent} % cropped", sizes=text, percent=percent) if percent else text
