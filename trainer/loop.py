"""The whole run, in the order things happen."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from trainer import checkpoint, occasions
from trainer import device as devices
from trainer.errors import DivergedError
from trainer.events import (
    Finished,
    Pause,
    Paused,
    Resume,
    Resumed,
    SampleNow,
    SaveNow,
    Started,
    StepDone,
    Stop,
)
from trainer.session import Session, prepare
from trainer.training_step import optimizer_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trainer.control import Control
    from trainer.events import Event
    from trainer.run_folder import RunFolder

REPORT_SECONDS = 0.2  # how often losses are read from the device; reading is a sync point


def train(folder: RunFolder, emit: Callable[[Event], None], control: Control) -> None:
    """Trains the run in `folder` from its last checkpoint (or from the start) to its end.

    Raises:
        AtelierError: the run cannot start or go on; the last good checkpoint stays as it is.
    """
    orders = _Orders()
    session = _prepare_or_stop(folder, emit, control, orders)
    if session is None:
        emit(Finished(max(folder.checkpoints(), default=0), completed=False))
        return
    step, total = _resume(session), session.batches.total_steps
    emit(_started(session, step))
    if step == 0:
        occasions.draw_previews(session, 0, emit)
        occasions.validate(session, 0, emit)
    losses, saved_at = _Losses(session, emit), step
    while step < total and not orders.stop:
        losses.add(step + 1, *optimizer_step(session, step, total))
        step += 1
        orders.take(control.poll())
        if step == total or orders.any or losses.due or occasions.anything_is_due(session, step):
            losses.report()
        if orders.pause:
            saved_at = occasions.save(session, step, emit)
            emit(Paused(step))
            orders.wait_for_resume(control)
            if not orders.stop:
                emit(Resumed(step))
        if saved_at != step and (step == total or orders.save or orders.stop or occasions.save_is_due(session, step)):
            saved_at = occasions.save(session, step, emit)
        if step == total or orders.sample or occasions.preview_is_due(session, step):
            occasions.draw_previews(session, step, emit)
        if step == total or step % session.settings.validate_every_steps == 0:
            occasions.validate(session, step, emit)
        orders.done()
        losses.restart_clock()
    if orders.stop is None or orders.stop.export:
        occasions.write_export(session, step, emit)
    emit(Finished(step, completed=step == total))


@dataclass
class _Orders:
    """What the user asked for since the last step."""

    stop: Stop | None = None
    pause: bool = False
    save: bool = False
    sample: bool = False

    @property
    def any(self) -> bool:
        return bool(self.stop or self.pause or self.save or self.sample)

    def take(self, commands: Sequence[object]) -> None:
        for command in commands:
            match command:
                case Stop():
                    self.stop = command
                case Pause():
                    self.pause = True
                case Resume():
                    self.pause = False
                case SaveNow():
                    self.save = True
                case SampleNow():
                    self.sample = True

    def wait_for_resume(self, control: Control) -> None:
        while self.pause and not self.stop:
            self.take([control.wait()])

    def done(self) -> None:
        self.save = self.sample = self.pause = False


@dataclass
class _Losses:
    """Losses that wait on the device until an event is due."""

    session: Session
    emit: Callable[[Event], None]
    waiting: list[tuple[int, torch.Tensor, dict[str, float], float]] = field(default_factory=list)
    read_at: float = field(default_factory=time.monotonic)
    step_ended_at: float = field(default_factory=time.monotonic)

    @property
    def due(self) -> bool:
        return time.monotonic() - self.read_at >= REPORT_SECONDS

    def add(self, step: int, loss: torch.Tensor, rates: dict[str, float]) -> None:
        now = time.monotonic()
        self.waiting.append((step, loss, rates, now - self.step_ended_at))
        self.step_ended_at = now

    def report(self) -> None:
        """Reads the losses (a sync point), tells them, and stops a run whose loss is no longer a number."""
        if not self.waiting:
            return
        asked_at = time.monotonic()
        values = torch.stack([loss for _, loss, _, _ in self.waiting]).tolist()
        waited = (time.monotonic() - asked_at) / len(self.waiting)  # a GPU was still at work on these steps
        memory = devices.memory_gb(self.session.device)
        for (step, _, rates, seconds), value in zip(self.waiting, values, strict=True):
            self.emit(StepDone(step, value, rates, seconds + waited, memory))
            if value != value or value in (float("inf"), float("-inf")):
                raise DivergedError(
                    f"The loss is no longer a finite number at step {step}: the run diverged. Resume from the last checkpoint with "
                    f"a lower learning rate (it was {rates['unet']:g}), or with precision bf16 or fp32."
                )
        self.waiting, self.read_at = [], time.monotonic()

    def restart_clock(self) -> None:
        self.step_ended_at = time.monotonic()


def _prepare_or_stop(
    folder: RunFolder, emit: Callable[[Event], None], control: Control, orders: _Orders
) -> Session | None:
    """The session, or None when the user stopped while pictures were still being encoded; other orders are kept."""

    def tell(event: Event) -> None:
        emit(event)
        orders.take(control.poll())
        if orders.stop:
            raise _StoppedEarly

    try:
        return prepare(folder, tell)
    except _StoppedEarly:
        return None


class _StoppedEarly(Exception):
    """The user stopped before the first step."""


def _resume(session: Session) -> int:
    """Restores the last checkpoint, if there is one; returns the step to go on from."""
    steps = session.folder.checkpoints()
    if not steps:
        return 0
    checkpoint.restore(session.folder, session.trained, steps[-1])
    return steps[-1]


def _started(session: Session, step: int) -> Started:
    parameters = sum(p.numel() for p in session.trained.adapter.parameters())
    return Started(
        step, session.batches.total_steps, len(session.pictures.training), session.batches.steps_per_epoch, parameters,
        str(session.device), devices.precision_name(session.dtype), session.packed,
    )  # fmt: skip
