"""The whole run, in the order things happen."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from trainer import checkpoint, occasions, ranks, rungs
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
from trainer.ladder import Ladder, WentBackError
from trainer.session import Session, prepare
from trainer.training_step import optimizer_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trainer.content_hashes import ModelHashes
    from trainer.control import Control
    from trainer.events import Command, Event
    from trainer.run_folder import RunFolder

REPORT_SECONDS = 0.2  # how often losses are read from the device; reading is a sync point


def train(
    folder: RunFolder, emit: Callable[[Event], None], control: Control, among: ranks.Ranks = ranks.ALONE,
    hashes: ModelHashes | None = None,
) -> None:  # fmt: skip
    """Trains the run in `folder` from its last checkpoint (or from the start) to its end.

    among: the processes that train it together; each of them calls this, and all but the first only compute.
    hashes: of the base model, begun while the libraries were imported.

    Raises:
        AtelierError: the run cannot start or go on; the last good checkpoint stays as it is.
    """
    orders = _Orders()
    ladder = Ladder(folder, emit, lambda tell: prepare(folder, tell, among, hashes), adapts=among.world == 1)
    with contextlib.closing(ladder):
        if _prepare_or_stop(ladder, emit, control, orders):
            _train(ladder, emit, among.control(control, orders.commands), orders)
        else:
            emit(Finished(max(folder.checkpoints(), default=0), completed=False))


def _train(ladder: Ladder, emit: Callable[[Event], None], control: Control, orders: _Orders) -> None:
    """All that comes after the run was made ready. What needs memory is done through `ladder`."""
    step, total = _resume(ladder.session), ladder.session.batches.total_steps
    if not ladder.session.ranks.writes:
        _help(ladder.session, step, control)
        return
    emit(_started(ladder.session, step))
    if step == 0:
        ladder.run(rungs.PREVIEW, occasions.draw_previews, 0, emit)
        ladder.run(rungs.VALIDATION, occasions.validate, 0, emit)
    losses = _Losses(ladder.session.device, emit)
    saved_at: int | None = step
    while step < total and not orders.stop:
        try:
            losses.add(step + 1, *ladder.step(step, total))
        except WentBackError:
            saved_at = step = _resume(ladder.session)
            losses.forget()
            emit(_started(ladder.session, step))
            continue
        step += 1
        orders.take(control.poll())
        if step == total or orders.any or losses.due or occasions.anything_is_due(ladder.session, step):
            losses.report()
        if orders.pause:
            saved_at = ladder.run(rungs.SAVING, occasions.save, step, emit)
            emit(Paused(step))
            orders.wait_for_resume(control)
            if not orders.stop:
                emit(Resumed(step))
        if saved_at != step and (
            step == total or orders.save or orders.stop or occasions.save_is_due(ladder.session, step)
        ):
            saved_at = ladder.run(rungs.SAVING, occasions.save, step, emit)
        if step == total or orders.sample or occasions.preview_is_due(ladder.session, step):
            ladder.run(rungs.PREVIEW, occasions.draw_previews, step, emit)
        if step == total or step % ladder.session.settings.validate_every_steps == 0:
            ladder.run(rungs.VALIDATION, occasions.validate, step, emit)
        orders.done()
        losses.restart_clock()
    ladder.session.ranks.part()
    if orders.stop is None or orders.stop.export:
        ladder.run(rungs.SAVING, occasions.write_export, step, emit)
    emit(Finished(step, completed=step == total, memory_peak_gb=devices.memory_peak_gb(ladder.session.device)))


def _help(session: Session, step: int, control: Control) -> None:
    """What the other processes of a run do: the same steps as the first one, and nothing else."""
    orders, total = _Orders(), session.batches.total_steps
    while step < total and not orders.stop:
        optimizer_step(session, step, total)
        step += 1
        orders.take(control.poll())
        if orders.pause:
            orders.wait_for_resume(control)
        orders.done()
    session.ranks.part()


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

    @property
    def commands(self) -> list[Command]:
        """The commands that give these orders."""
        asked = {Pause(): self.pause, SaveNow(): self.save, SampleNow(): self.sample}
        return [command for command, is_asked in asked.items() if is_asked]

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

    device: torch.device
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
        memory = devices.memory_gb(self.device)
        for (step, _, rates, seconds), value in zip(self.waiting, values, strict=True):
            self.emit(StepDone(step, value, rates, seconds + waited, memory))
            if value != value or value in (float("inf"), float("-inf")):
                raise DivergedError(
                    f"The loss is no longer a finite number at step {step}: the run diverged. Resume from the last checkpoint with "
                    f"a lower learning rate (it was {rates['unet']:g}), or with precision bf16 or fp32."
                )
        self.waiting, self.read_at = [], time.monotonic()

    def forget(self) -> None:
        """The steps that wait will be done again."""
        self.waiting = []
        self.restart_clock()

    def restart_clock(self) -> None:
        self.step_ended_at = time.monotonic()


def _prepare_or_stop(ladder: Ladder, emit: Callable[[Event], None], control: Control, orders: _Orders) -> bool:
    """Whether the session is made, or the user stopped while pictures were still being encoded; other orders are kept."""

    def tell(event: Event) -> None:
        emit(event)
        orders.take(control.poll())
        if orders.stop:
            raise _StoppedEarly

    try:
        ladder.prepare(tell)
    except _StoppedEarly:
        return False
    return True


class _StoppedEarly(Exception):
    """The user stopped before the first step."""


def _resume(session: Session) -> int:
    """Restores the last checkpoint, if there is one; returns the step to go on from."""
    step = session.ranks.agree(max(session.folder.checkpoints(), default=0))
    if step:
        checkpoint.restore(session.folder, session.trained, step)
    session.ranks.equalize(session.trained.adapter.parameters())
    return step


def _started(session: Session, step: int) -> Started:
    parameters = sum(p.numel() for p in session.trained.adapter.parameters())
    return Started(
        step, session.batches.total_steps, len(session.pictures.training), session.batches.steps_per_epoch, parameters,
        str(session.device), devices.precision_name(session.dtype), session.packed, session.settings.quantization,
        session.ranks.world,
    )  # fmt: skip
