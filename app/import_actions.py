"""Zip files and video frames that the user brings: told in the banner while they are imported, then added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app import importer, opening
from app.importer import Importer
from app.texts import tr
from trainer.errors import AtelierError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from app.importer import Imported
    from app.main_window import MainWindow
    from trainer.tasks import Tell


class ImportActions:
    """Acts on one main window, for `UserActions`.

    Attributes:
        importer: does the work.
    """

    def __init__(self, window: MainWindow, begun: Callable[[], None]) -> None:
        """begun: called when a project was begun with what was imported."""
        self._window, self._begun = window, begun
        self._into: Path | None = None  # the project's folder; None begins a new one
        self._name, self._shown = "", -1
        self.importer = Importer(window)
        self.importer.progressed.connect(self._on_progressed)
        self.importer.done.connect(self._on_done)
        self.importer.failed.connect(lambda sentence: window.banner.tell(sentence))
        self.importer.cancelled.connect(lambda: window.banner.hide())

    def archive(self, path: Path) -> None:
        """Unpacks a zip file and adds its pictures."""
        self._start(importer.unpack, path)

    def frames(self, folder: Path) -> None:
        """Adds the frames of a video, without those that show the same again."""
        self._start(importer.keep_different, folder)

    def _start(self, work: Callable[[Path, Path, Tell], Imported], path: Path) -> None:
        banner = self._window.banner
        if self.importer.is_running:
            banner.tell(tr("{name} is still being imported. Wait for it, then try again.", name=self._name))
            return
        project = self._window.project
        self._into = project.folder if project.is_open and self._window.place != "start" else None
        self._name, self._shown = path.name, -1
        self.importer.start(work, path)
        banner.tell(tr("Importing {name}…", name=path.name), (tr("Cancel"), self.importer.cancel))

    def _on_progressed(self, label: str, done: int, total: int) -> None:
        percent = 100 * done // total if total else 0
        if self.importer.is_running and percent // 5 != self._shown:  # not so often that the button cannot be hit
            self._shown = percent // 5
            text = tr("{what} {name}… {percent} %", what=label, name=self._name, percent=percent)
            self._window.banner.tell(text, (tr("Cancel"), self.importer.cancel))

    def _on_done(self, found: Imported) -> None:
        window, project = self._window, self._window.project
        is_new = not project.is_open or project.folder != self._into  # nor into one that was opened meanwhile
        try:
            opening.imported(project, found.folder, is_new=is_new)
        except AtelierError as error:
            window.banner.tell(str(error))
            return
        if is_new:
            self._begun()
        else:
            window.go("dataset")
        window.banner.tell(found.sentence, *([] if is_new else [(tr("Undo"), project.undo)]))
