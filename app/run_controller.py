"""One run and its worker: starts it, hears its events, tells it what to do, says how it ended. QtCore only."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer, Signal

from app import run_record
from app.texts import tr
from app.worker_process import Outcome, WorkerProcess, missing_program
from trainer import control
from trainer import events as e
from trainer.run_folder import new_lines

if TYPE_CHECKING:
    from app.run_record import RunRecord
    from trainer.run_folder import RunFolder

FOLLOW_MS = 250
SLICE_MS = 8  # events are taken in slices of this length, so that a flood of them never blocks the window


class RunController(QObject):
    """A run, with or without a worker process of our own.

    `start` makes the worker; `attach` follows one that an earlier window left in the background.

    Attributes:
        record: what is known of the run.
        outcome: how it ended; complete after `ended`.

    Signals:
        eventTaken(Event): `record` has it already.
        stateChanged(str): one of `run_record.ACTIVE` or `ENDED`.
        ended: the worker is gone; see `sentence`.
    """

    eventTaken = Signal(object)
    stateChanged = Signal(str)
    ended = Signal()
    _arrived = Signal()

    def __init__(self, folder: RunFolder, wrapper: tuple[str, ...] = (), parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.folder = folder
        self.record: RunRecord = run_record.read(folder)
        self.outcome = Outcome(folder, self.record.finished, self.record.failed, started=self.record.started)
        self._wrapper = wrapper
        self._worker: WorkerProcess | None = None
        self._events: queue.SimpleQueue[e.Event | None] = queue.SimpleQueue()  # None: the worker is gone
        self._woken = False  # whether `_on_arrived` will still look into the queue
        self._killed = False
        self._arrived.connect(self._on_arrived)
        self._follower = QTimer(self, interval=FOLLOW_MS)
        self._follower.timeout.connect(self._on_follow)
        self._read_to = 0

    # ---- life

    @property
    def state(self) -> str:
        """Where the run stands."""
        return self.record.state

    @property
    def is_running(self) -> bool:
        """Whether a worker is at work, ours or one we follow."""
        return self._worker is not None or self._follower.isActive()

    def start(self) -> None:
        """Starts the worker; a run with checkpoints goes on from the last one. A worker that cannot start ends the run."""
        assert not self.is_running
        self._killed = False
        self._set_state("starting")
        try:
            self._worker = WorkerProcess(self.folder, self._wrapper, log=True)
        except OSError as error:
            problem = missing_program(self._wrapper) or error.strerror or str(error)
            self.outcome = Outcome(self.folder, problem=problem)
            self._end()
            return
        self.outcome = self._worker.outcome
        threading.Thread(target=self._listen, args=(self._worker,), name="worker events", daemon=True).start()

    def attach(self) -> None:
        """Follows a worker that is at work in this folder already."""
        assert not self.is_running
        self.record = run_record.read(self.folder)
        self.outcome = Outcome(self.folder, self.record.finished, self.record.failed, started=self.record.started)
        self._read_to = self.record.read_to
        self._follower.start()
        self.stateChanged.emit(self.state)

    # ---- what the worker is told

    def pause(self) -> None:
        """Stand still after the present step."""
        self._tell(e.Pause())

    def resume(self) -> None:
        """Go on after a pause."""
        self._tell(e.Resume())

    def stop(self, *, keep: bool) -> None:
        """Save and end; `keep` also writes the LoRA file ("stop and keep")."""
        self._set_state("stopping")
        self._tell(e.Stop(export=keep))

    def save_now(self) -> None:
        """Write a checkpoint after the present step."""
        self._tell(e.SaveNow())

    def sample_now(self) -> None:
        """Draw the previews after the present step."""
        self._tell(e.SampleNow())

    def detach(self) -> None:
        """Leaves the worker to go on in the background when this window closes; see `attach`."""
        self._tell(e.Detach())
        self._follower.stop()

    def kill(self) -> None:
        """Ends our worker at once; what was saved stays. A worker that we only follow cannot be ended so."""
        if self._worker is not None:
            self._killed = True
            self._worker.kill()

    @property
    def can_kill(self) -> bool:
        """Whether the worker is ours, so that `kill` works."""
        return self._worker is not None

    # ---- how it went

    def sentence(self) -> str:
        """How the run ended, and what to do; empty while it goes on."""
        if self.is_running:
            return ""
        steps = self.folder.checkpoints()
        if steps:
            way_on = tr("Press Resume to go on from step {step}.", step=f"{steps[-1]:,}")
        else:
            way_on = tr("Press Start again.")
        if self._killed and self.outcome.finished is None:
            return tr("You ended the run at once. What was saved before is kept. {way_on}", way_on=way_on)
        if self.outcome.problem and self._wrapper:
            way_on = tr("Look at “Where runs are computed” in the menu. {way_on}", way_on=way_on)
        return self.outcome.sentence(way_on)

    def log_tail(self) -> str:
        """The end of the log."""
        return self.outcome.log_tail()

    # ---- inside

    def _tell(self, command: e.Command) -> None:
        if self._worker is not None:
            self._worker.tell(command)
        elif self._follower.isActive():
            control.append(self.folder.commands_path, command)

    def _listen(self, worker: WorkerProcess) -> None:
        """In a thread of its own: hands events over; the window is woken once for as many as there are."""
        for event in worker.events():
            self._hand_over(event)
        self._hand_over(None)

    def _hand_over(self, event: e.Event | None) -> None:
        self._events.put(event)
        if not self._woken:  # first put, then look: the other way round an event could lie there unheard
            self._woken = True
            try:
                self._arrived.emit()
            except RuntimeError:  # this controller is gone, with the window; the worker goes on by itself
                return

    def _on_arrived(self) -> None:
        self._woken = False
        until = time.perf_counter() + SLICE_MS / 1000
        while not self._events.empty():
            event = self._events.get()
            if event is None:
                self._end()
                return
            self._take(event)
            if time.perf_counter() > until and not self._events.empty():
                self._woken = True
                # Not 0: Qt would make a posted event of it, and those made while posted events are sent come before timers.
                QTimer.singleShot(1, self, self._on_arrived)
                return

    def _take(self, event: e.Event) -> None:
        before = self.record.state
        self.record.take(event)
        if before == "stopping" and self.record.state in ("preparing", "training", "paused"):
            self.record.state = "stopping"
        self.eventTaken.emit(event)
        if self.record.state != before:
            self.stateChanged.emit(self.record.state)

    def _on_follow(self) -> None:
        """Reads what a worker in the background has told since; it is gone when it holds the folder no more."""
        held = self.folder.is_held()
        lines, self._read_to = new_lines(self.folder.events_path, self._read_to)
        for line in lines:
            try:
                event = e.decode(line)
            except e.ProtocolError as error:
                self.outcome.garbage.append(str(error))
                continue
            if isinstance(event, e.Event):
                self.outcome.take(event)
                self._take(event)
        if not held:
            self._end()

    def _end(self) -> None:
        self._follower.stop()
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        if not (self._killed or self._wrapper):
            self.outcome.lower_after_kill()
        if self.record.state in run_record.ACTIVE:
            self._set_state("failed" if self.outcome.problem else "lost")
        self.record.checkpoints = self.folder.checkpoints()
        self.ended.emit()

    def _set_state(self, state: str) -> None:
        if state != self.record.state:
            self.record.state = state
            self.stateChanged.emit(state)
