"""The library page: every run and every LoRA file, found again by looking or by searching."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QItemSelectionModel, QModelIndex, QSize, Qt, Signal
from PySide6.QtGui import QShortcut
from PySide6.QtWidgets import (
    QButtonGroup,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QStackedLayout,
    QVBoxLayout,
    QWidget,
)

from app import library, library_details, places, theme
from app.background import Background
from app.texts import tr
from app.widgets.ask import confirm
from app.widgets.library_delegate import CardView, LibraryDelegate
from app.widgets.library_detail import LibraryDetail
from app.widgets.library_model import ENTRY_ROLE, LibraryFilter, LibraryModel
from app.widgets.message_card import MessageCard
from app.widgets.named import named
from app.widgets.picture_loader import PictureLoader
from app.widgets.tool_bench import ToolBench
from app.widgets.tool_selection import SelectionPanel
from trainer.errors import AtelierError
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtCore import QEvent, QPoint

    from app.library import Entry


class LibraryPage(QWidget):
    """Cards of runs and LoRA files, a search, and the chosen one in full at the right.

    Signals:
        continueRun(RunFolder): train on from the last checkpoint.
        showResults(RunFolder): the checkpoints of the run.
        useSettings(dict, str): values of settings, plain types, and a title for a new project.
        trainFurther(Path): go on from this LoRA file.
        useBase(Path): train on this model file.
    """

    continueRun = Signal(object)
    showResults = Signal(object)
    useSettings = Signal(object, str)
    trainFurther = Signal(object)
    useBase = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("library_page")
        self._wanted: Path | None = None
        self._worker = Background("library")
        self._worker.done.connect(self._on_done)
        self.model = LibraryModel(self)
        self.shown = LibraryFilter(self.model, self)
        self.loader = PictureLoader(self)
        self.detail = LibraryDetail(self.loader)
        self.bench = ToolBench(self, self.loader)
        self.selection = SelectionPanel(self.bench)
        self._make_head()
        self._make_list()
        self._lay_out()
        self._connect_detail()
        self._restyle()
        self._message.set_text(tr("Looking…"))

    # ---- what the window uses

    def refresh(self) -> None:
        """Looks for runs and files anew, in the background."""
        self._work(lambda: None)

    def select(self, path: Path) -> None:
        """Chooses the entry of a run folder or file, as soon as it is known."""
        self._wanted = path
        self._choose(path)

    # ---- building

    def _make_head(self) -> None:
        self.search = named(QLineEdit(clearButtonEnabled=True), "library_search", spoken=tr("Search"))
        self.search.setPlaceholderText(tr("Search by name, trigger word or base"))
        self._search_icon = self.search.addAction(
            theme.icon("search", "muted"), QLineEdit.ActionPosition.LeadingPosition
        )
        self.search.textChanged.connect(self._on_searched)
        QShortcut("Ctrl+F", self, context=Qt.ShortcutContext.WidgetWithChildrenShortcut).activated.connect(
            self.search.setFocus
        )
        self._kinds = QButtonGroup(self)
        for label, kind, name in (
            (tr("All"), "", "all"),
            (tr("Runs"), "run", "runs"),
            (tr("LoRA files"), "lora", "loras"),
        ):
            button = named(QPushButton(label), f"library_{name}")
            button.setCheckable(True)
            button.setChecked(not kind)
            button.setProperty("kind", kind)
            self._kinds.addButton(button)
        self._kinds.buttonClicked.connect(self._on_kind)
        self.add_button = named(
            QPushButton(tr("Add a file…")), "library_add", tip=tr("List a LoRA file that lies elsewhere")
        )
        self.add_button.clicked.connect(self._on_add)
        self.tools_button = named(
            QPushButton(tr("Tools")), "library_tools", tip=tr("Merge, resize, convert, bake and extract LoRA files")
        )
        self.tools_button.setMenu(self.bench.menu(self.tools_button))
        self.detail.tools.setMenu(self.bench.menu(self.detail))
        self._problem = theme.role(named(QLabel(wordWrap=True), "library_problem"), "bad")
        self._problem.hide()

    def _make_list(self) -> None:
        self.delegate = LibraryDelegate(self.loader, self)
        self.view = named(CardView(), "library_list", spoken=tr("Runs and LoRA files"))
        self.view.setItemDelegate(self.delegate)
        self.view.setModel(self.shown)
        self.view.setSelectionMode(CardView.SelectionMode.ExtendedSelection)
        self.view.selectionModel().currentChanged.connect(self._on_current)
        self.view.selectionModel().selectionChanged.connect(lambda *_: self._show_current())
        self.view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.view.customContextMenuRequested.connect(self._on_menu)
        self.view.activated.connect(self._on_activated)
        self.model.dataChanged.connect(lambda *_: self._show_current())
        self.loader.loaded.connect(lambda _path: self.view.viewport().update())

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(theme.space(1))
        head.addWidget(theme.role(QLabel(tr("Library")), "title"))
        head.addSpacing(theme.space(1))
        head.addWidget(self.search, 1)
        for button in self._kinds.buttons():
            head.addWidget(button)
        head.addWidget(self.add_button)
        head.addWidget(self.tools_button)
        self._message = MessageCard("library")
        middle = QWidget()
        self._layers = QStackedLayout(middle)
        self._layers.addWidget(self._message)
        self._layers.addWidget(self.view)
        body = QHBoxLayout()
        body.setSpacing(theme.space(1.5))
        body.addWidget(middle, 1)
        for panel in (self.detail, self.selection):
            panel.setFixedWidth(theme.space(40))
            panel.hide()
            body.addWidget(panel)
        column = QVBoxLayout(self)
        column.setContentsMargins(theme.space(3), theme.space(2), theme.space(2), theme.space(2))
        column.setSpacing(theme.space(1))
        column.addLayout(head)
        column.addWidget(self._problem)
        column.addLayout(body, 1)

    def _connect_detail(self) -> None:
        self.detail.resultsWanted.connect(
            lambda entry: self.showResults.emit(RunFolder(entry.path if entry.kind == "run" else entry.run))
        )
        self.detail.continueWanted.connect(lambda entry: self.continueRun.emit(RunFolder(entry.path)))
        self.detail.furtherWanted.connect(lambda entry: self.trainFurther.emit(entry.path))
        self.detail.settingsWanted.connect(self._on_use_settings)
        self.detail.removeWanted.connect(self._on_remove)
        self.bench.made.connect(self._on_made)
        self.bench.useWanted.connect(
            lambda path, is_model: (self.useBase if is_model else self.trainFurther).emit(path)
        )

    # ---- Qt

    def sizeHint(self) -> QSize:
        """The window's usual place for a page."""
        return QSize(theme.space(130), theme.space(75))

    def changeEvent(self, event: QEvent) -> None:
        """Renews the icons in the theme's colours."""
        if event.type() == event.Type.PaletteChange and hasattr(self, "_layers"):
            self._restyle()
        super().changeEvent(event)

    def _restyle(self) -> None:
        self.add_button.setIcon(theme.icon("plus"))
        self._search_icon.setIcon(theme.icon("search", "muted"))

    # ---- work

    def _work(self, change: Callable[[], object]) -> None:
        """Does something to the files and then looks anew, both in the background."""
        self._worker.run(lambda: _changed_and_scanned(change))

    def _on_done(self, found: _Found) -> None:
        self._problem.setText(found.problem)
        self._problem.setVisible(bool(found.problem))
        kept = self._wanted or (self.detail.entry.path if self.detail.entry else None)
        chosen = [] if self._wanted else [entry.path for entry in self.chosen]
        self.model.set_entries(found.entries)
        self.bench.know(found.entries)
        if self._wanted in {entry.path for entry in found.entries} and self.shown.row_of(self._wanted) < 0:
            self.search.clear()  # what was just made or added is seen
            self._kinds.buttons()[0].click()
        if not self._choose_several(chosen):
            self._choose(kept)
        self._show_message()

    def _choose(self, path: Path | None) -> None:
        """Chooses that entry, or the first one when it is gone."""
        row = self.shown.row_of(path)
        if row >= 0 and path == self._wanted:
            self._wanted = None
        if self.shown.rowCount():
            self.view.setCurrentIndex(self.shown.index(max(0, row), 0))
        self._show_current()

    def _choose_several(self, paths: list[Path]) -> bool:
        """Chooses what is left of several; whether that is more than one."""
        rows = [row for row in map(self.shown.row_of, paths) if row >= 0]
        if len(rows) < 2:
            return False
        selection = self.view.selectionModel()
        selection.setCurrentIndex(self.shown.index(rows[0], 0), QItemSelectionModel.SelectionFlag.ClearAndSelect)
        for row in rows[1:]:
            selection.select(self.shown.index(row, 0), QItemSelectionModel.SelectionFlag.Select)
        return True

    @property
    def chosen(self) -> list[Entry]:
        """What is selected, in the order of the list; else the one that the keyboard is at."""
        indexes = sorted(self.view.selectionModel().selectedIndexes(), key=QModelIndex.row)
        return [index.data(ENTRY_ROLE) for index in indexes or [self.view.currentIndex()] if index.isValid()]

    def _show_current(self) -> None:
        chosen = self.chosen
        entry = chosen[0] if len(chosen) == 1 else None
        self.bench.choose(chosen)
        if len(chosen) > 1:
            self.selection.show_entries(chosen)
        if entry != self.detail.entry:
            self.detail.show_entry(entry)
        self.selection.setVisible(len(chosen) > 1)

    def _show_message(self) -> None:
        if self.shown.rowCount():
            self._layers.setCurrentWidget(self.view)
            return
        if self.model.rowCount():
            self._message.set_text(tr("Nothing matches"), tr("Try another word, or look at all."))
        else:
            self._message.set_text(
                tr("Your runs and LoRA files will be here"),
                tr("They appear by themselves. Files from elsewhere can be added."),
            )
        self._layers.setCurrentWidget(self._message)

    # ---- what the user does

    def _on_searched(self, text: str) -> None:
        self.shown.search(text)
        self._after_filter()

    def _on_kind(self, button: QPushButton) -> None:
        self.shown.show_kind(button.property("kind"))
        self._after_filter()

    def _after_filter(self) -> None:
        if not self.view.currentIndex().isValid() and self.shown.rowCount():
            self.view.setCurrentIndex(self.shown.index(0, 0))
        self._show_current()
        self._show_message()

    def _on_current(self, current: QModelIndex, _previous: QModelIndex) -> None:
        self._show_current()

    def _on_activated(self, _index: QModelIndex) -> None:
        if len(self.chosen) > 1:
            self.bench.open("merge")
        else:
            self.detail.do_the_usual()

    def _on_menu(self, at: QPoint) -> None:
        menu = self.bench.menu(self.view)
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(self.view.viewport().mapToGlobal(at))

    def _on_made(self, path: Path, is_model: bool) -> None:
        """A tool has written a file: a LoRA is listed and chosen."""
        if not is_model:
            self._wanted = path
            is_found = places.exports() in path.parents
            self._work(lambda: None if is_found else library.add_files([path]))

    def _on_add(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(
            self, tr("Choose LoRA files"), str(Path.home()), tr("LoRA files (*.safetensors)")
        )
        if names:
            files = [Path(name) for name in names]
            self._wanted = files[0].absolute()
            self._work(lambda: library.add_files(files))

    def _on_use_settings(self, entry: Entry) -> None:
        try:
            values = library.settings_of(entry)  # one small file, or the header of one
        except AtelierError as error:
            self._problem.setText(str(error))
            self._problem.show()
            return
        self.useSettings.emit(values, entry.title)

    def _on_remove(self, entry: Entry) -> None:
        if entry.added:
            self._work(lambda: library.forget_file(entry.path))
            return
        if entry.kind == "run":
            details = tr(
                "The whole run goes to the trash, with its checkpoints, previews and everything in its export folder:\n{path}",
                path=entry.path,
            )
        else:
            details = tr("The file goes to the trash:\n{path}", path=entry.path)
        if confirm(self, tr("Delete “{title}”?", title=entry.title), details, tr("Move to trash")):
            self._work(lambda: library_details.throw_away(entry))


@dataclass(frozen=True)
class _Found:
    entries: list[Entry]
    problem: str


def _changed_and_scanned(change: Callable[[], object]) -> _Found:
    problem = ""
    try:
        change()
    except AtelierError as error:
        problem = str(error)
    return _Found(library.scan(), problem)
