"""The runs of this window: the one that trains and those that wait. QtCore only.

What waits and what trains is written down (runs/queue.json), so that neither a crash nor a power cut loses it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal

from app import places, preferences
from app.run_controller import RunController
from trainer import run_folder
from trainer.run_folder import RunFolder, write_atomically

if TYPE_CHECKING:
    from trainer.settings import TrainingSettings


class RunQueue(QObject):
    """Trains one run after the other.

    Attributes:
        current: the run that trains or was the last to, or None.
        waiting: the runs that come next, in order.
        waiting_is_paused: set while the window waits to close; nothing new is started.

    Signals:
        currentChanged(RunController): another run is the current one now.
        changed: what waits has changed.
        ended(RunController): a run has ended, well or not.
    """

    currentChanged = Signal(object)
    changed = Signal()
    ended = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.current: RunController | None = None
        self.waiting: list[RunFolder] = []
        self.waiting_is_paused = False  # the window is about to close: nothing new is started

    @property
    def is_running(self) -> bool:
        """Whether a worker is at work."""
        return self.current is not None and self.current.is_running

    def add(self, settings: TrainingSettings) -> RunFolder:
        """Makes a run folder and trains it now, or after those that wait.

        Raises:
            RunError: no run folder can be made.
        """
        folder = run_folder.create(settings)
        self.enqueue(folder)
        return folder

    def enqueue(self, folder: RunFolder) -> None:
        """Trains the run in a folder (from its last checkpoint) now, or after those that wait."""
        if folder in self.waiting or (self.is_running and self.current is not None and self.current.folder == folder):
            return
        self.waiting.append(folder)
        if self.is_running:
            self.note()
        else:
            self.start_next()

    def start_next(self) -> None:
        """Starts the first run that waits, if there is one and nothing trains."""
        if self.waiting and not self.is_running and not self.waiting_is_paused:
            controller = RunController(self.waiting.pop(0), preferences.worker_command())
            self._show(controller)
            controller.start()
            self.note()

    def attach(self, folder: RunFolder) -> None:
        """Follows a run that goes on in the background."""
        controller = RunController(folder)
        controller.attach()
        self._show(controller)

    def move(self, index: int, to: int) -> None:
        """Another place for a run that waits."""
        if 0 <= index < len(self.waiting) and 0 <= to < len(self.waiting) and index != to:
            self.waiting.insert(to, self.waiting.pop(index))
            self.note()

    def remove(self, index: int) -> None:
        """Takes a run out of the queue; its folder stays."""
        del self.waiting[index]
        self.note()

    def _show(self, controller: RunController) -> None:
        if self.current is not None:
            self.current.deleteLater()
        self.current = controller
        controller.setParent(self)
        controller.ended.connect(lambda: self._on_ended(controller))
        self.note()
        self.currentChanged.emit(controller)

    def _on_ended(self, controller: RunController) -> None:
        self.note()
        self.ended.emit(controller)
        QTimer.singleShot(0, self, self.start_next)

    def note(self) -> None:
        """Writes down what trains and what waits."""
        training = str(self.current.folder.path) if self.current is not None and self.is_running else ""
        text = json.dumps({"training": training, "waiting": [str(f.path) for f in self.waiting]})
        write_atomically(_path(), lambda p: p.write_text(text, encoding="utf-8"))
        self.changed.emit()


def left_over() -> tuple[RunFolder | None, list[RunFolder]]:
    """What an earlier window left: the run that it trained, if that has not been ended in order, and those that waited."""
    try:
        raw = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None, []
    if not isinstance(raw, dict):
        return None, []
    found = [RunFolder(Path(str(p))) for p in (raw.get("training"), *(raw.get("waiting") or ())) if p]
    alive = [f for f in found if f.settings_path.is_file()]
    training = alive[0] if alive and raw.get("training") == str(alive[0].path) else None
    return training, [f for f in alive if f != training]


def _path() -> Path:
    return places.home() / "queue.json"
