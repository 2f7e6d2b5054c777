"""The window: a rail with five places, the page, and the bar with Train. The only place that knows all pages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import QByteArray, QSize, Qt, QTimer
from PySide6.QtGui import QAction, QActionGroup, QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QMainWindow,
    QMenu,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app import garbage, preferences, project, theme
from app.pages.start import StartPage
from app.pictures import Pictures
from app.plan import Planner
from app.project import Project
from app.run_queue import RunQueue
from app.texts import tr
from app.user_actions import UserActions
from app.widgets.banner import Banner
from app.widgets.drop_zone import DropOverlay, dropped_paths
from app.widgets.forecast_row import ForecastRow
from app.widgets.named import named
from app.widgets.train_bar import TrainBar

if TYPE_CHECKING:
    from collections.abc import Callable

    from PySide6.QtCore import QEvent
    from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDragLeaveEvent, QDropEvent

    from app.pages.dataset import DatasetPage
    from app.pages.library import LibraryPage
    from app.pages.recipe import RecipePage
    from app.pages.results import ResultsPage
    from app.pages.training import TrainingPage
    from app.run_controller import RunController

PLACES = ("dataset", "recipe", "training", "results", "library")
RESCAN_AFTER_MS = 5_000  # the window was left for so long that pictures or captions may have been changed outside
MOST_RECENT = 10


class MainWindow(QMainWindow):
    """Everything that is on the screen. What the user does beyond looking is in `app.user_actions`."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("main_window")
        self.project = Project(self)
        self.pictures = Pictures(self.project, self)
        self.planner = Planner(self.project, self.pictures, self)
        self.queue = RunQueue(self)
        self.banner = Banner()
        self.forecast = ForecastRow()
        self.bar = TrainBar()
        self.do = UserActions(self)
        self._pages: dict[str, QWidget] = {}
        self._rail_buttons: dict[str, QToolButton] = {}
        self._stack = QStackedWidget()
        self._left_at = QTimer(self, singleShot=True, interval=RESCAN_AFTER_MS)
        self._left_at.timeout.connect(self.do.tidy_up)
        self._build()
        self._connect()
        self.setAcceptDrops(True)
        self.resize(1280, 800)
        self.setMinimumSize(theme.space(90), theme.space(58))
        geometry = preferences.get("geometry", "")
        if geometry:
            self.restoreGeometry(QByteArray.fromHex(geometry.encode()))
        self.go("start")
        self._on_project_opened()
        garbage.pass_over()

    # ---- places

    def go(self, name: str) -> QWidget:
        """Shows a place: "start" or one of PLACES; it is built when it is shown first."""
        page = self.page(name)
        self._stack.setCurrentWidget(page)
        page.setFocus(Qt.FocusReason.OtherFocusReason)
        self._rail_group.setExclusive(name in self._rail_buttons)  # on the start page none of them is pressed
        for place, button in self._rail_buttons.items():
            button.setChecked(place == name)
        if name == "library":
            self.library.refresh()
        return page

    def page(self, name: str) -> QWidget:
        """A place, built if it is not there yet."""
        if name not in self._pages:
            page = getattr(self, f"_build_{name}")()
            self._pages[name] = page
            self._stack.addWidget(page)
        return self._pages[name]

    @property
    def place(self) -> str:
        """Name of the place that is shown."""
        shown = self._stack.currentWidget()
        return next((name for name, page in self._pages.items() if page is shown), "")

    @property
    def start(self) -> StartPage:
        """The first screen."""
        return self.page("start")  # type: ignore[return-value]

    @property
    def dataset(self) -> DatasetPage:
        """Pictures and captions."""
        return self.page("dataset")  # type: ignore[return-value]

    @property
    def recipe(self) -> RecipePage:
        """What is taught, and how."""
        return self.page("recipe")  # type: ignore[return-value]

    @property
    def training(self) -> TrainingPage:
        """The run."""
        return self.page("training")  # type: ignore[return-value]

    @property
    def results(self) -> ResultsPage:
        """Checkpoints and export."""
        return self.page("results")  # type: ignore[return-value]

    @property
    def library(self) -> LibraryPage:
        """All runs and files."""
        return self.page("library")  # type: ignore[return-value]

    def is_built(self, name: str) -> bool:
        """Whether a place has been shown yet."""
        return name in self._pages

    def _build_start(self) -> QWidget:
        page = StartPage()
        page.folderWanted.connect(self.do.choose_folder)
        page.filesWanted.connect(self.do.choose_files)
        page.demoWanted.connect(self.do.open_demo)
        page.projectChosen.connect(self.do.open_project)
        return page

    def _build_dataset(self) -> QWidget:
        from app.checkup import Checkup
        from app.pages.dataset import DatasetPage

        page = DatasetPage(self.project, self.pictures, Checkup(self.project, self.pictures, self))
        page.addPicturesRequested.connect(self.do.choose_folder)
        page.filesRequested.connect(self.do.choose_files)
        page.triggerWanted.connect(lambda: self.do.mend("trigger"))
        return page

    def _build_recipe(self) -> QWidget:
        from app.pages.recipe import RecipePage

        return RecipePage(self.project, self.pictures)

    def _build_training(self) -> QWidget:
        from app.pages.training import TrainingPage
        from app.widgets.queue_list import QueueList

        page = TrainingPage()
        page.queue_box.add(QueueList(self.queue))
        page.resultsWanted.connect(self.do.show_results)
        page.resumeRequested.connect(lambda controller: self.queue.enqueue(controller.folder))
        page.show_run(self.queue.current)
        return page

    def _build_results(self) -> QWidget:
        from app.pages.results import ResultsPage

        return ResultsPage()

    def _build_library(self) -> QWidget:
        from app.pages.library import LibraryPage

        page = LibraryPage()
        page.continueRun.connect(self.do.continue_run)
        page.showResults.connect(self.do.show_results)
        page.useSettings.connect(self.do.use_settings)
        page.trainFurther.connect(self.do.train_further)
        page.useBase.connect(self.do.use_base)
        return page

    # ---- building

    def _build(self) -> None:
        self._overlay = DropOverlay(self)
        middle = QWidget()
        column = QVBoxLayout(middle)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.banner)
        column.addWidget(self._stack, 1)
        column.addWidget(self.forecast)
        column.addWidget(self.bar)
        whole = QWidget()
        row = QHBoxLayout(whole)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self._rail())
        row.addWidget(middle, 1)
        self.setCentralWidget(whole)
        for i, name in enumerate(PLACES, start=1):
            QShortcut(QKeySequence(f"Ctrl+{i}"), self, partial(self._on_rail, name))
        QShortcut(QKeySequence("Ctrl+Return"), self, self.do.train)

    def _rail(self) -> QFrame:
        rail = theme.role(QFrame(), "rail")
        column = QVBoxLayout(rail)
        column.setContentsMargins(theme.space(0.75), theme.space(1), theme.space(0.75), theme.space(1))
        column.setSpacing(theme.space(0.5))
        self._menu_button = named(QToolButton(), "project_menu", tip=tr("Projects and preferences"))
        self._menu_button.setText(tr("Projects"))
        self._menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self._menu_button.setMenu(self._menu())
        self._rail_group = QButtonGroup(self)
        titles = (tr("Dataset"), tr("Recipe"), tr("Training"), tr("Results"), tr("Library"))
        buttons = [self._menu_button]
        for i, (name, title) in enumerate(zip(PLACES, titles, strict=True), start=1):
            button = named(QToolButton(), f"rail_{name}", tip=f"{title}  (Ctrl+{i})")
            button.setText(title)
            button.setCheckable(True)
            button.clicked.connect(partial(self._on_rail, name))
            self._rail_group.addButton(button)
            self._rail_buttons[name] = button
            buttons.append(button)
        for button in buttons:
            theme.role(button, "rail")
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
            button.setMinimumWidth(theme.space(9))
            button.setIconSize(QSize(theme.space(2.5), theme.space(2.5)))
            column.addWidget(button)
        column.insertSpacing(1, theme.space(1))
        column.addStretch(1)
        self._restyle()
        return rail

    def _menu(self) -> QMenu:
        menu = QMenu(self)
        add: Callable[..., QAction] = menu.addAction
        add(tr("Start page"), lambda: self.go("start")).setShortcut(QKeySequence("Ctrl+0"))
        add(tr("New project from a folder…"), self.do.new_project).setShortcut(QKeySequence.StandardKey.New)
        add(tr("Open a project or run.toml…"), self.do.choose_project).setShortcut(QKeySequence.StandardKey.Open)
        add(tr("Import video frames…"), self.do.choose_frames)
        self._recent_menu = menu.addMenu(tr("Recent projects"))
        self._recent_menu.aboutToShow.connect(self._fill_recent)
        add(tr("Rename this project…"), self.do.rename)
        menu.addSeparator()
        themes = menu.addMenu(tr("Appearance"))
        choice = QActionGroup(self)
        for scheme, title in zip(theme.SCHEMES, (tr("As the system"), tr("Light"), tr("Dark")), strict=True):
            action = themes.addAction(title, partial(self.do.set_theme, scheme))
            action.setCheckable(True)
            action.setChecked(preferences.get("theme", "system") == scheme)
            choice.addAction(action)
        add(tr("Where runs are computed…"), self.do.set_worker_command)
        add(tr("About LoRA Atelier"), self.do.about)
        menu.addSeparator()
        add(tr("Quit"), self.close).setShortcut(QKeySequence.StandardKey.Quit)
        return menu

    def _fill_recent(self) -> None:
        self._recent_menu.clear()
        for path in project.recent()[:MOST_RECENT]:
            self._recent_menu.addAction(path.parent.name, partial(self.do.open_project, path))

    def _connect(self) -> None:
        self.bar.trainClicked.connect(self.do.train)
        self.bar.problemClicked.connect(self.do.mend)
        self.forecast.mendChosen.connect(self.do.change_recipe)
        self.planner.planned.connect(self._on_planned)
        self.pictures.scanningChanged.connect(lambda _busy: self._on_planned())
        self.pictures.scanned.connect(self.do.suggest_previews)
        self.pictures.failed.connect(lambda sentence: self.banner.tell(sentence))
        self.project.opened.connect(self._on_project_opened)
        self.project.saveFailed.connect(
            lambda sentence: self.banner.tell(sentence, (tr("Try again"), self.project.save))
        )
        self.queue.currentChanged.connect(self._on_current_changed)
        self.queue.changed.connect(self._on_queue_changed)
        self.queue.ended.connect(self.do.tell_end)

    # ---- what happens

    def _on_rail(self, place: str, _checked: bool = False) -> None:
        self.go(place)

    def _on_planned(self) -> None:
        if not self.project.is_open:
            self.bar.set_plan(None)
        elif self.pictures.scanning:
            self.bar.set_plan(self.planner.plan, busy=tr("Looking at the pictures…"))
        else:
            self.bar.set_plan(self.planner.plan)
        told = self.planner.plan.forecast if self.project.is_open else None
        self.forecast.set_outlook(told.memory if told else None)

    def _on_project_opened(self) -> None:
        for name in ("dataset", "recipe"):
            self._rail_buttons[name].setEnabled(self.project.is_open)
        self._on_planned()
        self.update_title()

    def _on_current_changed(self, controller: RunController) -> None:
        controller.eventTaken.connect(self.update_title)
        controller.stateChanged.connect(self.update_title)
        if self.is_built("training"):
            self.training.show_run(controller)

    def _on_queue_changed(self) -> None:
        self.bar.set_running(self.queue.is_running)
        self.update_title()

    def update_title(self) -> None:
        """Shows the project and, while a run trains, how far it is, in the title and on the application's icon."""
        parts = [self.project.title] if self.project.is_open else []
        current, percent = self.queue.current, 0
        if current is not None and self.queue.is_running:
            percent = int(current.record.progress * 100)
            parts.insert(0, f"{percent} %")
        title = " · ".join([*parts, tr("LoRA Atelier")])
        if title != self.windowTitle():
            self.setWindowTitle(title)
            self.do.show_percent(percent)

    def save_all(self) -> None:
        """The caption that is being typed, captions that are being written, and the project are on disk afterwards."""
        if self.is_built("dataset"):
            self.dataset.editor.save()
        self.pictures.finish_writing()
        self.project.save()

    # ---- dropping

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Takes files, and says what will happen with them."""
        paths = dropped_paths(event.mimeData())
        if paths:
            event.acceptProposedAction()
            self._overlay.appear(self.do.drop_hint(paths))

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:
        """The user thought better of it."""
        self._overlay.hide()

    def dropEvent(self, event: QDropEvent) -> None:
        """Begins a project, or takes a model, a LoRA, settings."""
        self._overlay.hide()
        event.acceptProposedAction()
        paths = dropped_paths(event.mimeData())
        QTimer.singleShot(0, self, lambda: self.do.take(paths))  # the program that was dragged from must not wait

    # ---- window

    def changeEvent(self, event: QEvent) -> None:
        """Renews icons with the theme; looks at the pictures again when the user comes back."""
        if event.type() == event.Type.PaletteChange and self._rail_buttons:
            self._restyle()
        if event.type() == event.Type.ActivationChange:
            if not self.isActiveWindow():
                self._left_at.start()
            elif self.project.is_open and not self._left_at.isActive() and not self.queue.is_running:
                self.pictures.rescan()
        super().changeEvent(event)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Asks what becomes of a run; saves the project."""
        if not self.do.may_close():
            event.ignore()
            return
        self.save_all()
        self.planner.wait()
        self.do.imports.importer.finish()
        if self.is_built("dataset"):
            self.dataset.close_down()
        preferences.put("geometry", bytes(self.saveGeometry().toHex().data()).decode())
        super().closeEvent(event)

    def _restyle(self) -> None:
        self._menu_button.setIcon(theme.icon("folder", "muted"))
        for name, button in self._rail_buttons.items():
            button.setIcon(theme.icon(name))
