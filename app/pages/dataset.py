"""The pictures and their captions: the grid in the middle, tags and sizes to the left, the selected picture to the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QDialog, QLabel, QSplitter, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from app import theme
from app.texts import tr
from app.thumbnails import Thumbnails
from app.widgets.auto_caption_dialog import AutoCaptionDialog
from app.widgets.batch_edit import BatchEdit
from app.widgets.bucket_chart import BucketChart
from app.widgets.bulk_dialog import BulkDialog
from app.widgets.caption_editor import CaptionEditor
from app.widgets.change_dialog import Targets
from app.widgets.checkup_panel import CheckupPanel
from app.widgets.concepts_panel import ConceptsPanel
from app.widgets.dataset_bar import DatasetBar
from app.widgets.drop_zone import DropZone
from app.widgets.message_card import MessageCard
from app.widgets.named import named
from app.widgets.picture_tools import PictureTools
from app.widgets.replace_dialog import ReplaceDialog
from app.widgets.scrolling import scrolling
from app.widgets.tag_list import TagList
from app.widgets.thumbnail_grid import ThumbnailGrid

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtGui import QShowEvent

    from app.checkup import Checkup
    from app.pictures import Pictures
    from app.project import Project


class DatasetPage(QWidget):
    """Everything about the pictures of the open project.

    Attributes:
        grid, editor, batch, tags, chart, bar, tools: its parts.
        splitter: holds the three columns; its sizes are worth remembering.

    Signals:
        addPicturesRequested: choose a folder of pictures to add.
        filesRequested: choose single pictures to add.
        triggerWanted: go where the trigger word is set.
    """

    addPicturesRequested = Signal()
    filesRequested = Signal()
    triggerWanted = Signal()

    def __init__(
        self, project: Project, pictures: Pictures, checkup: Checkup | None = None, parent: QWidget | None = None
    ) -> None:
        """checkup: the data set doctor; without it there is no such tab."""
        super().__init__(parent)
        self.setObjectName("dataset_page")
        self._checkup = checkup
        self.doctor = None if checkup is None else CheckupPanel(checkup)
        self._project, self._pictures = project, pictures
        self._is_fresh = True  # the project was opened just now: its first picture will be shown
        self.thumbnails = Thumbnails(self)
        self.grid = ThumbnailGrid(pictures, self.thumbnails)
        self.bar = DatasetBar(pictures, self.grid.make_zoom_slider())
        self.tags = TagList(pictures)
        self.chart = BucketChart(pictures)
        self.editor = CaptionEditor(project, pictures)
        self.batch = BatchEdit(project, pictures)
        self.tools = PictureTools(project, pictures, self.grid, self.editor.preview, self.editor.save)
        self._notes = theme.role(named(QLabel(wordWrap=True), "folder_problems"), "warn")
        self._states = QStackedWidget()
        self._lay_out()
        self._connect()
        self._add_shortcuts()
        self._on_scanned()

    # ---- building

    def _lay_out(self) -> None:
        self.splitter = named(QSplitter(Qt.Orientation.Horizontal, childrenCollapsible=False), "dataset_splitter")
        self.splitter.setHandleWidth(theme.space(1.5))
        self.splitter.addWidget(self._left())
        self.splitter.addWidget(self._middle())
        self.splitter.addWidget(self._right())
        self.splitter.setStretchFactor(1, 1)
        self.splitter.setSizes([theme.space(29), theme.space(75), theme.space(38)])
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(theme.space(2), theme.space(1.5), theme.space(2), theme.space(1.5))
        column.setSpacing(theme.space(1.25))
        column.addWidget(self.bar)
        column.addWidget(self._notes)
        column.addWidget(self.splitter, 1)
        self._content = content
        self._empty = QWidget()
        drop = DropZone()
        drop.folderWanted.connect(self.addPicturesRequested)
        drop.filesWanted.connect(self.filesRequested)
        around = QVBoxLayout(self._empty)
        around.setContentsMargins(*[theme.space(3)] * 4)
        around.addWidget(drop)
        self._looking = MessageCard("picture")
        self._looking.set_text(tr("Looking at the pictures…"), tr("A moment: sizes and captions are being read."))
        self._broken = MessageCard("warning", "warn")
        self._broken.add_button(
            "choose_folder_again", tr("Choose a folder…"), self.addPicturesRequested.emit, primary=True
        )
        self._broken.add_button("show_folders", tr("Folders and concepts…"), self.show_folders)
        self._broken.add_button("look_again", tr("Look again"), self._pictures.rescan)
        for state in (content, self._empty, self._looking, self._broken):
            self._states.addWidget(state)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self._states)

    def _left(self) -> QWidget:
        tabs = named(QTabWidget(documentMode=True), "dataset_tabs")
        tabs.tabBar().setDrawBase(False)
        tabs.setUsesScrollButtons(False)
        parts: list[tuple[QWidget, str]] = [(self.tags, tr("Tags")), (self.chart, tr("Sizes"))]
        if self.doctor is not None:
            parts.append((self.doctor, tr("Check")))
            self.doctor.countChanged.connect(lambda n: tabs.setTabText(2, tr("Check ({n})", n=n) if n else tr("Check")))
            self.doctor.picturesChosen.connect(self._on_pictures_chosen)
        for page, title in parts:
            holder = QWidget()
            column = QVBoxLayout(holder)
            column.setContentsMargins(0, theme.space(1), 0, 0)
            column.addWidget(page)
            tabs.addTab(holder, title)
        tabs.setMinimumWidth(theme.space(24))
        return tabs

    def _middle(self) -> QWidget:
        self._middle_states = QStackedWidget()
        self._nothing_found = MessageCard("search")
        self._nothing_found.set_text(tr("No picture matches."))
        self._nothing_found.add_button("show_all", tr("Show all pictures"), self.clear_filter)
        self._middle_states.addWidget(self.grid)
        self._middle_states.addWidget(self._nothing_found)
        self._middle_states.setMinimumWidth(theme.space(24))
        return self._middle_states

    def _right(self) -> QWidget:
        self._side = QStackedWidget()
        for part in (self.editor, self.batch):
            scroll = scrolling(part)
            self._side.addWidget(scroll)
        self._side.setMinimumWidth(theme.space(30))
        return self._side

    def _connect(self) -> None:
        pictures = self._pictures
        self._project.opened.connect(self._on_opened)
        pictures.scanned.connect(self._on_scanned)
        pictures.scanningChanged.connect(self._show_state)
        self.grid.selectionChangedTo.connect(self._on_selected)
        self.grid.activated.connect(self._on_activated)
        self.editor.stepWanted.connect(self.step)
        self.editor.triggerWanted.connect(self.triggerWanted)
        self.batch.triggerWanted.connect(self.triggerWanted)
        self.batch.replaceWanted.connect(self.replace_text)
        self.batch.bulkWanted.connect(self.change_captions)
        self.bar.filterChanged.connect(self._apply_filter)
        self.bar.tagCleared.connect(lambda: self._on_tag_wanted(""))
        self.bar.undoWanted.connect(self.undo)
        self.bar.redoWanted.connect(self.redo)
        self.bar.addWanted.connect(self.addPicturesRequested)
        self.bar.captionsWanted.connect(self.write_captions)
        self.bar.foldersWanted.connect(self.show_folders)
        self.chart.picturesChosen.connect(self._on_pictures_chosen)
        self.tags.filterWanted.connect(self._on_tag_wanted)
        self.tags.removeWanted.connect(lambda tag: self._save_then(lambda: pictures.remove_tags(self._all(), [tag])))
        self.tags.renameWanted.connect(
            lambda old, new: self._save_then(lambda: pictures.replace_tag(self._all(), old, new))
        )
        self.tags.addWanted.connect(
            lambda tag: self._save_then(lambda: pictures.add_tags(self.grid.selected(), [tag], front=False))
        )

    def _add_shortcuts(self) -> None:
        redo = {QKeySequence(keys).toString() for keys in ("Ctrl+Shift+Z", "Ctrl+Y")}
        for keys, action in (
            ("Ctrl+Z", self.undo), *((keys, self.redo) for keys in sorted(redo)), ("Ctrl+F", self._on_find), ("Ctrl+H", self.replace_text),
            ("Ctrl+Up", lambda: self.step(-1)), ("Ctrl+Down", lambda: self.step(1)),
        ):  # fmt: skip
            shortcut = QShortcut(QKeySequence(keys), self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(action)

    def showEvent(self, event: QShowEvent) -> None:
        """The arrow keys go through the pictures at once."""
        super().showEvent(event)
        self.grid.setFocus(Qt.FocusReason.OtherFocusReason)

    def close_down(self) -> None:
        """Ends what works in the background; for the window's close."""
        self.thumbnails.close()
        if self._checkup is not None:
            self._checkup.finish()

    # ---- what the user does

    def undo(self) -> None:
        """Takes the last caption edit back, also the one that is being written."""
        self._save_then(self._pictures.undo)

    def redo(self) -> None:
        """Does it again."""
        self._save_then(self._pictures.redo)

    def step(self, by: int) -> None:
        """Goes to the next (1) or previous (-1) picture of those that are shown."""
        model = self.grid.list_model
        row = model.row_of(self.editor.index if self._is_single else self.grid.current())
        row = min(max(row + by, 0), model.rowCount() - 1)
        if row >= 0:
            self.grid.select([model.source_index(row)])

    def write_captions(self) -> None:
        """Has a model describe the pictures; what it proposes is reviewed first."""
        if not self._pictures.items:
            return
        self.editor.save()
        model = self.grid.list_model
        shown = [model.source_index(row) for row in range(model.rowCount())]
        dialog = AutoCaptionDialog(self._pictures, shown, self.grid.selected(), self.window())
        dialog.finished.connect(lambda: self.grid.setFocus())
        dialog.open()

    def show_folders(self) -> None:
        """The project's folders and concepts."""
        self.editor.save()
        ConceptsPanel(self._project, self._pictures, self.window()).open()

    def replace_text(self) -> None:
        """Finds and replaces in captions."""
        if self._pictures.items:
            self._open(ReplaceDialog(self._pictures, self._targets(), self.window()))

    def change_captions(self, text: str = "") -> None:
        """Changes many captions, with a preview. text: tags that were written already."""
        if self._pictures.items:
            self._open(BulkDialog(self._pictures, self._targets(), text, self.window()))

    def _targets(self) -> Targets:
        self.editor.save()
        model = self.grid.list_model
        return Targets(self.grid.selected(), [model.source_index(row) for row in range(model.rowCount())])

    def _open(self, dialog: QDialog) -> None:
        dialog.finished.connect(lambda: self.grid.setFocus())
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def clear_filter(self) -> None:
        """Shows all pictures."""
        self.tags.set_active("")
        self.bar.clear()
        self._apply_filter()

    @property
    def _is_single(self) -> bool:
        return self._side.currentIndex() == 0

    def _all(self) -> range:
        return range(len(self._pictures.items))

    def _save_then(self, act: Callable[[], None]) -> None:
        """The caption that is being written comes first, so that nothing is lost or done to the old text."""
        self.editor.save()
        act()

    def _on_find(self) -> None:
        self.bar.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.bar.search.selectAll()

    def _on_tag_wanted(self, tag: str) -> None:
        self.tags.set_active(tag)
        self._apply_filter()

    def _apply_filter(self) -> None:
        self.bar.show_tag(self.tags.active)
        self.grid.list_model.set_filter(text=self.bar.text, tag=self.tags.active, only_problems=self.bar.only_problems)
        found = self.grid.list_model.rowCount() > 0 or not self._pictures.items
        self._middle_states.setCurrentWidget(self.grid if found else self._nothing_found)

    def _on_pictures_chosen(self, indexes: list[int]) -> None:
        if len(self.grid.list_model.rows_of(indexes)) < len(indexes):
            self.clear_filter()
        self.grid.select(indexes)

    def _on_selected(self, indexes: list[int]) -> None:
        model = self.grid.list_model
        if len(indexes) == 1:
            self.editor.show_picture(indexes[0])
            self._side.setCurrentIndex(0)
        else:
            self.editor.show_picture(-1)
            self.batch.set_targets(indexes, [model.source_index(row) for row in range(model.rowCount())])
            self._side.setCurrentIndex(1)
        self.tags.can_add = bool(indexes)

    def _on_activated(self, _index: int) -> None:
        if self._is_single:
            self.editor.begin_writing()

    # ---- what there is

    def _on_opened(self) -> None:
        self._is_fresh = True
        self.clear_filter()
        self._show_state()

    def _on_scanned(self) -> None:
        if self._is_fresh and self._pictures.items:
            self._is_fresh = False
            self.grid.select([0])
        elif not self.grid.selected():
            self._on_selected([])
        self._apply_filter()
        problems = self._pictures.problems
        shown = problems[:2] + ([tr("… and {count} more.", count=len(problems) - 2)] if len(problems) > 2 else [])
        self._notes.setText("\n".join(shown))
        self._notes.setToolTip("\n".join(problems[:40]))
        self._notes.setVisible(bool(problems))
        self._show_state()

    def _show_state(self, _scanning: bool = False) -> None:
        pictures = self._pictures
        if pictures.items:
            state = self._content
        elif pictures.scanning:
            state = self._looking
        elif pictures.error and any(self._project.folders()[0]):
            state = self._broken
            self._broken.set_text(tr("The pictures cannot be used."), pictures.error)
        else:
            state = self._empty
        self._looking.set_busy(state is self._looking)
        self._states.setCurrentWidget(state)
