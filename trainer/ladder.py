"""Goes on where memory ran out: the work is done again in a way that needs less, until it fits or nothing is left to try.

A step that failed has changed neither weights nor optimizer unless it failed in the update itself; then the run goes back to
its last checkpoint, from which it does the same again. What each rung is: `trainer.rungs`.
"""

from __future__ import annotations

import dataclasses
import errno
import re
import traceback
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import torch

from trainer import checkpoint, heap, rungs
from trainer import device as devices
from trainer.errors import RunError, os_message
from trainer.events import Adapted, Warned
from trainer.session import checkpoint_gradients
from trainer.training_step import gradients, update

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.events import Event
    from trainer.run_folder import RunFolder
    from trainer.session import Session

    Emit = Callable[[Event], None]

P = ParamSpec("P")
T = TypeVar("T")

# What allocators say; oneDNN only says what it could not make, and Python that it has no room for a thread's stack.
_SIGNS = re.compile(
    "out of memory|not enough memory|allocate memory|ALLOC_FAILED|OutOfMemory|can't start new thread"
    "|could not (create|execute) a (memory|primitive)(?! desc)"
)


_LEFT_OUT = {
    rungs.PREVIEW: "There is not enough memory to draw the previews, so they are left out; the training goes on. Make the previews smaller.",
    rungs.VALIDATION: "There is not enough memory to measure the held-out pictures, so that is left out; the training goes on.",
}  # fmt: skip


class WentBackError(Exception):
    """The run is at its last checkpoint, or at its start: memory ran out while weights were being changed."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, the GPU's or the computer's, whoever noticed it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and _SIGNS.search(str(error)) is not None


class Ladder:
    """A run's session, and the work that is done with it, again and again with less until memory suffices."""

    def __init__(self, folder: RunFolder, emit: Emit, make: Callable[[Emit], Session], *, adapts: bool = True) -> None:
        """make: prepares the session from the run folder, as `rungs.lowered` says.

        adapts: False lets every failure pass, as for one of several processes, whose steps must stay alike.
        """
        self._folder, self._make, self._emit, self._adapts = folder, make, emit, adapts
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """The run made ready. Another one after some rungs, so nobody may keep it: its model would stay in memory."""
        assert self._session is not None, "the run is not prepared"
        return self._session

    def prepare(self, emit: Emit) -> None:
        """Makes the run ready; tells `emit` what it is doing.

        Raises:
            AtelierError: it cannot be made ready, or memory does not suffice whatever is lowered.
        """
        if (words := rungs.read(self._folder).words) and self._folder.settings().out_of_memory != "stop":
            emit(Warned(f"Memory ran out in this run before, so it goes on with less: {words}. Remove {rungs.FILE} from its folder to try without."))  # fmt: skip
        self._prepare(emit)

    def _prepare(self, emit: Emit) -> None:
        while self._session is None:
            try:
                self._session = self._make(emit)
            except Exception as error:
                if not (self._adapts and is_out_of_memory(error)):
                    raise
                traceback.print_exc()
            if self._session is None:  # out of the handler: the error holds on to what was loaded
                self._lower(rungs.PREPARING, max(self._folder.checkpoints(), default=0))

    def run(
        self, what: str, work: Callable[Concatenate[Session, int, P], T], step: int, *more: P.args, **named: P.kwargs
    ) -> T | None:
        """Does `work` for a step with the session. what: it is, one of `trainer.rungs`.

        None is given for previews and measurements that do not fit into memory whatever is lowered: they are left out.

        Raises:
            RunError: memory does not suffice whatever is lowered.
            WentBackError: the run has to go on from its last checkpoint, which is not restored yet.
        """
        while True:
            try:
                out = work(self.session, step, *more, **named)
                self._tidy(what)
                return out
            except Exception as error:
                if not (self._adapts and is_out_of_memory(error)):
                    raise
                traceback.print_exc()
            # Out of the handler: the error holds on to all that the step had computed.
            rung = self._lower(what, step)
            if what == rungs.UPDATE:
                self._make_anew(None)
                raise WentBackError
            if rung is None:
                return None
            self._take(rung)

    def step(self, step: int, total: int) -> tuple[torch.Tensor, dict[str, float]]:
        """An optimizer step: its loss (on the device, unread) and the learning rates.

        Raises:
            RunError: memory does not suffice whatever is lowered.
            WentBackError: as `run`.
        """
        loss, rates = self.run(rungs.STEP, gradients, step), self.run(rungs.UPDATE, update, step, total)
        assert loss is not None and rates is not None, "a step is not left out"
        return loss, rates

    def close(self) -> None:
        """Lets go of the session."""
        if self._session is not None:
            self._session.feed.close()
        self._session = None

    # ---- rungs

    def _lower(self, what: str, step: int) -> rungs.Rung | None:
        """Finds the next rung, remembers and tells it; None when the work can be left out instead.

        Raises:
            RunError: there is none.
        """
        self._free()
        device = devices.choose(self._folder.settings().device) if self._session is None else self._session.device
        spot = rungs.Spot(device.type, self._session is None or self._session.packed)  # type: ignore[arg-type]
        rung = rungs.following(self._folder, what, spot)
        if rung is None:
            if what in _LEFT_OUT and self._folder.settings().out_of_memory != "stop":
                self._emit(Warned(_LEFT_OUT[what]))
                return None
            raise RunError(devices.out_of_memory_advice(device))
        try:
            rungs.take(self._folder, rung)
        except OSError as error:
            raise RunError(os_message("Memory is full, and what would need less could not be noted", error)) from error
        changed = rung.settings
        unpacks, quantization = changed.get("packed_weights") == "off", changed.get("quantization", "")
        self._emit(Adapted(step, rung.words, what, unpacks, quantization))
        return rung

    def _take(self, rung: rungs.Rung) -> None:
        """Does what a rung says to the session."""
        session = self.session
        if rung.rebuilds:
            snapshot = checkpoint.Snapshot.of(session.trained)
            del session
            self._make_anew(snapshot)
            return
        settings = rungs.lowered(self._folder)
        if "gradient_checkpointing" in rung.settings:
            checkpoint_gradients(session.backbone, settings)
        if rung.name == rungs.TILES:
            session.backbone.tiles = True
        self._session = dataclasses.replace(session, settings=settings)

    def _make_anew(self, snapshot: checkpoint.Snapshot | None) -> None:
        """Prepares the run again as it is lowered now, with the weights and the optimizer of the snapshot, if any."""
        self.close()
        devices.collect()
        self._prepare(self._emit)
        if snapshot is not None:
            snapshot.put_back(self.session.trained)

    # ---- memory

    def _tidy(self, what: str) -> None:
        """After previews and the like, a run that is short of memory lets go of what they needed."""
        if what != rungs.STEP and rungs.FREES in rungs.read(self._folder).taken:
            self._free()

    def _free(self) -> None:
        """Lets go of everything that can be loaded or computed again."""
        heap.steady()
        if self._session is not None:
            self._session.trained.optimizer.zero_grad(set_to_none=True)
            self._session.backbone.free_vae()
            if not self._session.settings.train_text_encoder:
                self._session.backbone.free_text_encoders()
        devices.collect()
