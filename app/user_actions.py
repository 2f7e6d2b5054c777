"""What the user does with the window as a whole: open, drop, train, close. Dialogs and questions are here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QFileDialog, QInputDialog, QLineEdit, QMessageBox

from app import garbage, intake, library, opening, places, preferences, theme
from app.import_actions import ImportActions
from app.prompts import common_trigger, suggestions
from app.texts import counted, tr
from app.widgets import notice
from app.widgets.worker_dialog import WorkerDialog
from trainer import __version__, lora_description
from trainer.errors import AtelierError
from trainer.pixels import supported_suffixes
from trainer.settings import info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from app.main_window import MainWindow
    from app.run_controller import RunController
    from trainer.run_folder import RunFolder

PICTURE_FIELDS = ("data", "more_data", "left_out", "concepts", "edits", "")


class UserActions:
    """Acts on one main window."""

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self._closing = False
        self._wants_previews = False
        self.imports = ImportActions(window, self._begun)

    # ---- projects

    def new_project(self) -> None:
        """A new project from a folder that is chosen."""
        folder = self._ask_folder(tr("Choose the folder with your pictures"))
        if folder:
            self._try(lambda: self._new(intake.classify([folder]).paths))

    def choose_folder(self) -> None:
        """Pictures for the open project, or for a new one."""
        folder = self._ask_folder(tr("Choose the folder with your pictures"))
        if folder:
            self.take([folder])

    def choose_files(self) -> None:
        """Single pictures for the open project, or for a new one."""
        kinds = " ".join(f"*{s}" for s in supported_suffixes())
        names, _ = QFileDialog.getOpenFileNames(
            self._window, tr("Choose pictures"), str(Path.home()), tr("Pictures ({kinds})", kinds=kinds)
        )
        if names:
            self.take([Path(n) for n in names])

    def choose_frames(self) -> None:
        """The frames of a video, without those that show the same again."""
        folder = self._ask_folder(tr("Choose the folder with the frames of a video"))
        if folder:
            self.imports.frames(folder)

    def choose_project(self) -> None:
        """Opens a project file or the settings of a run."""
        name, _ = QFileDialog.getOpenFileName(
            self._window, tr("Open"), str(places.projects()), tr("Projects and runs (project.toml run.toml *.toml)")
        )
        if name:
            self.take([Path(name)])

    def open_project(self, path: Path) -> None:
        """Opens a project file."""
        self._open(lambda: self._window.project.open(path))

    def open_demo(self) -> None:
        """Opens the demo: everything is filled in, Train is the next click."""
        self._open(lambda: opening.demo(self._window.project))

    def rename(self) -> None:
        """Another title for the open project."""
        project = self._window.project
        if not project.is_open:
            return
        title, given = QInputDialog.getText(
            self._window, tr("Rename"), tr("Name of this project:"), QLineEdit.EchoMode.Normal, project.title
        )
        if given:
            project.rename(title)
            self._window.update_title()

    def use_settings(self, values: dict[str, Any], title: str) -> None:
        """A new project with the settings of a run or a LoRA."""
        self._open(lambda: opening.from_settings(self._window.project, values, title), place="recipe")

    # ---- dropping

    def drop_hint(self, paths: Sequence[Path]) -> str:
        """What will happen with what is dragged over the window; a guess by names, as it must be quick."""
        first = paths[0]
        if first.suffix == ".safetensors":
            return tr("Drop to use this model or LoRA")
        if first.suffix == ".toml":
            return tr("Drop to open these settings")
        if self._window.project.is_open and self._window.place != "start":
            return tr("Drop to add to “{title}”", title=self._window.project.title)
        return tr("Drop to start a project")

    def take(self, paths: Sequence[Path]) -> None:
        """Does what fits to files that were dropped or chosen."""
        self._try(lambda: self._take(intake.classify(paths)))

    def _take(self, found: intake.Intake) -> None:
        project, banner, path = self._window.project, self._window.banner, found.paths[0]
        if found.kind == "project":
            self._open(lambda: project.open(path))
        elif found.kind == "settings":
            self._open(lambda: opening.from_run_file(project, path), place="recipe")
        elif found.kind == "archive":
            self.imports.archive(path)
        elif found.kind == "base":
            self.use_base(path)
        elif found.kind == "lora":
            further = (tr("Train it further"), lambda: self.train_further(path))
            banner.tell(
                tr("{name} is a LoRA.", name=path.name), further, (tr("Look inside"), lambda: self.look_inside(path))
            )
        elif project.is_open and self._window.place != "start":
            self._add(found.paths)
        else:
            self._new(found.paths)
        if found.ignored:
            banner.tell(tr("Left aside, as there are no pictures in it: {names}.", names=", ".join(found.ignored[:5])))

    def _new(self, paths: Sequence[Path]) -> None:
        opening.from_pictures(self._window.project, paths)
        self._begun()

    def _begun(self) -> None:
        """A project was begun with pictures."""
        self._wants_previews = True
        self._opened()

    def suggest_previews(self) -> None:
        """A new project gets its trigger word and preview prompts from the captions, once they are read."""
        project = self._window.project
        if self._wants_previews and project.is_open and not project.value("previews"):
            texts = [item.caption for item in self._window.pictures.items if item.included]
            trigger = common_trigger(texts) or project.value("trigger")
            prompts = [{"prompt": text} for text in suggestions(texts, trigger)]
            project.set_many({"trigger": trigger, "previews": prompts})
            project.forget_history()
        self._wants_previews = False

    def _add(self, paths: Sequence[Path]) -> None:
        added = opening.add_pictures(self._window.project, paths)
        new = (tr("Make a new project of them"), lambda: self._try(lambda: self._anew(paths)))
        text = tr("{what} added to “{title}”.", what=_named(paths), title=self._window.project.title)
        self._window.banner.tell(text if added else tr("{what} was in this project already.", what=_named(paths)), new)
        self._window.go("dataset")

    def _anew(self, paths: Sequence[Path]) -> None:
        self._window.project.undo()
        self._new(paths)

    def use_base(self, path: Path) -> None:
        """A model file is the base of the open project, or of the next one."""
        preferences.put("last_base", str(path))
        project = self._window.project
        if project.is_open:
            project.set("base", str(path))
            self._window.banner.tell(tr("{name} is the base model now.", name=path.name), (tr("Undo"), project.undo))
        else:
            self._window.banner.tell(
                tr("{name} will be the base model of the next project. Drop pictures to begin.", name=path.name)
            )

    def train_further(self, path: Path) -> None:
        """The open project goes on from a LoRA file."""
        project = self._window.project
        if not project.is_open:
            self._window.banner.tell(
                tr("Open or begin a project with pictures first; then drop {name} again.", name=path.name)
            )
            return
        project.set("start_from", str(path))
        self._window.banner.tell(tr("The next run goes on from {name}.", name=path.name), (tr("Undo"), project.undo))

    def look_inside(self, path: Path) -> None:
        """Shows what a LoRA file says about itself."""
        self._try(lambda: notice.show_description(self._window, lora_description.describe(path)))

    # ---- training

    def train(self) -> None:
        """Starts the run of the plan, or queues it."""
        window = self._window
        plan = window.planner.plan
        if not window.planner.is_current or plan.settings is None or not plan.is_ready:
            return
        settings = plan.settings
        window.save_all()
        self._try(lambda: self._started(window.queue.add(settings)))

    def _started(self, folder: RunFolder) -> None:
        window = self._window
        preferences.put("last_base", str(window.project.value("base")))
        if folder.path.parent != places.runs():
            library.add_runs_folder(folder.path.parent)
        if window.queue.waiting:
            window.banner.tell(tr("Queued: {count} to go.", count=counted(len(window.queue.waiting), "run", "runs")))
        window.go("training")

    def continue_run(self, folder: RunFolder) -> None:
        """Resumes a run of the library, or follows it when it is at work in the background."""
        if folder.is_held():
            current = self._window.queue.current
            if current is None or current.folder != folder:
                self._window.queue.attach(folder)
        else:
            self._window.queue.enqueue(folder)
        self._window.go("training")

    def show_results(self, folder: RunFolder) -> None:
        """The checkpoints of a run."""
        self._window.results.show_run(folder)
        self._window.go("results")

    def mend(self, field: str) -> None:
        """Goes where a problem can be mended."""
        if field in PICTURE_FIELDS:
            self._window.go("dataset")
        else:
            self._window.go("recipe")
            self._window.recipe.focus_field(field)

    def change_recipe(self, changes: Mapping[str, Any]) -> None:
        """Makes a change that the forecast proposes, as one step of undo."""
        project = self._window.project
        project.set_many(changes)
        names = ", ".join(info(name).label for name in changes)
        self._window.banner.tell(tr("Changed in the recipe: {names}.", names=names), (tr("Undo"), project.undo))

    def tell_end(self, controller: RunController) -> None:
        """A run has ended: notification, results, and closing if that was waiting for it."""
        window = self._window
        if self._closing:
            window.close()
            return
        if not window.isActiveWindow():
            notice.notify(window, controller.folder.settings().title, controller.sentence())
        if window.is_built("results") and controller.record.checkpoints:
            window.results.show_run(controller.folder)

    def show_percent(self, percent: int) -> None:
        """On the application's icon, where the system has such a badge; 0 removes it."""
        app = QGuiApplication.instance()
        if isinstance(app, QGuiApplication):
            app.setBadgeNumber(percent)

    # ---- the window

    def tidy_up(self) -> None:
        """After the window was left: a search for unused objects, which would hold up whoever works in a dialog of ours."""
        if QApplication.activeWindow() is None:
            garbage.search()

    def offer_left_over(self, training: RunFolder | None, waiting: Sequence[RunFolder]) -> None:
        """What an earlier window left: a run that goes on in the background, one that was cut off, a queue."""
        window = self._window
        window.queue.waiting = list(waiting)
        window.queue.changed.emit()
        if training is None:
            return
        name = training.path.name
        see: tuple[str, Callable[[], object]]
        if training.is_held():
            see = (tr("Watch it"), lambda: self.continue_run(training))
            window.banner.tell(tr("“{name}” is still training in the background.", name=name), see)
        elif training.checkpoints():
            see = (tr("Resume"), lambda: self.continue_run(training))
            step = training.checkpoints()[-1]
            text = tr("“{name}” was cut off; everything up to step {step} is safe.", name=name, step=step)
            window.banner.tell(text, see, (tr("Leave it"), self._leave))
        else:
            see = (tr("Start it again"), lambda: self.continue_run(training))
            window.banner.tell(
                tr("“{name}” was cut off before its first checkpoint.", name=name), see, (tr("Leave it"), self._leave)
            )

    def _leave(self) -> None:
        self._window.queue.note()

    def may_close(self) -> bool:
        """Asks what becomes of the run that trains; False keeps the window open."""
        queue = self._window.queue
        if not queue.is_running or queue.current is None:
            return True
        box = QMessageBox(QMessageBox.Icon.Question, tr("LoRA Atelier"), tr("A run is training."), parent=self._window)
        box.setInformativeText(tr("It can go on without this window; the next start finds it again."))
        go_on = box.addButton(tr("Keep training in the background"), QMessageBox.ButtonRole.AcceptRole)
        keep = box.addButton(tr("Stop and keep"), QMessageBox.ButtonRole.DestructiveRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        box.setDefaultButton(go_on)
        box.exec()
        if box.clickedButton() is go_on:
            queue.current.detach()
            return True
        if box.clickedButton() is keep:
            self._closing = True
            queue.waiting_is_paused = True
            queue.current.stop(keep=True)
            self._window.banner.tell(tr("Stopping after this step; the window closes when the LoRA is saved."))
        return False

    def set_theme(self, scheme: str) -> None:
        """Light, dark, or as the system."""
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        preferences.put("theme", scheme)
        theme.apply(app, scheme)

    def set_worker_command(self) -> None:
        """Another machine, or several cards: the command that starts the worker."""
        WorkerDialog(places.runs() / "zorblin", self._window).open()

    def about(self) -> None:
        """Version and where things are."""
        text = tr(
            "LoRA Atelier {version}\n\nProjects, runs and exported LoRAs are in\n{home}",
            version=__version__,
            home=places.home(),
        )
        QMessageBox.about(self._window, tr("About"), text)

    # ---- inside

    def _open(self, act: Callable[[], None], place: str = "dataset") -> None:
        """Opens or makes a project, and goes there if that went well."""

        def open_and_go() -> None:
            act()
            self._opened(place)

        self._try(open_and_go)

    def _opened(self, place: str = "dataset") -> None:
        self._window.banner.hide()
        self._window.go(place)

    def _ask_folder(self, title: str) -> Path | None:
        name = QFileDialog.getExistingDirectory(
            self._window, title, str(preferences.get("last_folder", str(Path.home())))
        )
        if not name:
            return None
        preferences.put("last_folder", str(Path(name).parent))
        return Path(name)

    def _try(self, act: Callable[[], object]) -> None:
        """What the user can mend is told in the banner."""
        try:
            act()
        except AtelierError as error:
            self._window.banner.tell(str(error))


def _named(paths: Sequence[Path]) -> str:
    return paths[0].name if len(paths) == 1 else counted(len(paths), "folder or picture", "folders and pictures")
