"""Several processes that train one LoRA together: process group, sums of gradients, and what happens when one fails.

accelerate makes the process group (gloo between CPUs, NCCL between GPUs); its launcher, or torchrun, starts the processes.

The arithmetic is that of torch's DistributedDataParallel, without its wrapper around the UNet: adapters are some hundred small
tensors, so one sum of one flat buffer a step is quicker than buckets that follow the backward pass; the buffer carries the loss
along for nothing; text encoders are trained by the same sum; checkpointing, accumulation and quantised bases need no exceptions.
And DDP averages the processes' means, which is wrong where a bucket's last batch is shared unequally: here each process's loss
is divided by the size of the whole batch, and gradients are added.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed
from accelerate import PartialState
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from trainer.control import FILE_POLL_SECONDS
from trainer.errors import ConfigError, RunError
from trainer.events import Failed, ProtocolError, decode, encode
from trainer.ranks import Launch, Ranks, SharedControl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from trainer.control import Control
    from trainer.events import Command

MEETING = timedelta(minutes=10)  # for all processes to start; a cold disk takes its time to import torch
PATIENCE = timedelta(
    hours=12
)  # the others wait while the first draws previews; who dies is noticed by the watch, not by this
WATCH_SECONDS = 0.3
HEARING_SECONDS = 20.0  # how long a process that failed stays, so that the first one can say why
_FAILED, _HEARD, _OVER = "failed", "heard", "over"


class RankGroup(Ranks):
    """This process among the others."""

    def __init__(self, launch: Launch, on_failure: Callable[[Failed], None]) -> None:
        """Waits for the others. on_failure: called in a thread, in the first process, when another one cannot go on."""
        self.launch = launch
        try:
            self._store = next(rendezvous("env://", timeout=MEETING))[0]
        except (RuntimeError, ValueError) as error:
            raise RunError(f"The {launch.world} processes of the run did not find each other: {error}") from error
        self._watch = _Watch(self._store, launch, on_failure)
        self._talk: torch.distributed.ProcessGroup | None = None  # a group for texts and numbers on the CPU
        self._gatherings = self._meetings = 0

    # ---- life

    def device_name(self, wanted: str) -> str:
        """The setting `device` as it is for this process: each takes the GPU of its number on this machine."""
        if wanted == "auto" and os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1", "yes"):
            return "cpu"  # accelerate launch --cpu
        if wanted not in ("auto", "cuda", "cpu"):
            raise ConfigError(
                "device",
                f'Device is "{wanted}", but the run has {self.world} processes, which cannot share it. Use auto, cuda or cpu.',
            )
        if wanted == "cpu" or not torch.cuda.is_available():
            return "cpu" if wanted == "auto" else wanted
        if (there := torch.cuda.device_count()) < self.launch.local_world:
            raise ConfigError(
                "device",
                f"The run has {self.launch.local_world} processes on a machine with {there} GPU(s). Start one a GPU.",
            )
        return f"cuda:{self.launch.local}"

    def connect(self, device: torch.device) -> None:
        """Makes the process group."""
        if torch.distributed.is_initialized():
            return
        self._meetings += 1
        with self._together():
            PartialState(
                cpu=device.type == "cpu", backend="gloo" if device.type == "cpu" else "nccl", timeout=PATIENCE,
                store=PrefixStore(f"meeting{self._meetings}", self._store),
                rank=self.launch.number, world_size=self.world,
            )  # fmt: skip
            self._talk = None if device.type == "cpu" else torch.distributed.new_group(backend="gloo", timeout=PATIENCE)

    def part(self) -> None:
        """Ends the process group, so that the first process can export for as long as it takes."""
        self._wait()
        self._watch.stop()
        PartialState().destroy_process_group()
        PartialState._reset_state()  # else it would say that the group is still there

    def end(self, failure: Failed | None) -> None:
        """A helper that failed stays until the first process has said why; when that one ends, it sends the others home."""
        if failure is not None:  # the watch stays: the launcher may end this process before it has said why
            if self.launch.number:
                self._watch.tell_failure(failure)
            return
        if not self.launch.number:
            with contextlib.suppress(RuntimeError):  # nobody is there to hear it
                self._store.set(_OVER, "1")
                self._store.check([_OVER])  # `set` alone does not wait until the store has it
        self._watch.stop()

    # ---- shares

    def owns(self, key: str) -> bool:
        """By the key's own chance: about as many for each, and no need to agree on what is missing."""
        return int(key[:8], 16) % self.world == self.launch.number

    def slice_of(self, count: int) -> tuple[slice, float]:
        """Contiguous parts, sizes differing by at most one, the first process's the largest."""
        each, left = divmod(count, self.world)
        own = each + (self.launch.number < left)
        first = self.launch.number * each + min(self.launch.number, left)
        return (slice(first, first + own), 1.0) if own else (slice(0, 1), 0.0)

    def dropout_seed(self, seed: int) -> int | None:
        """Its own, or all processes would drop the same."""
        return (seed + self.launch.number * 0x9E3779B97F4A7C15) % 2**63

    # ---- what all do together

    def gather(self, sentences: list[str]) -> list[str]:
        """Through the store, as text."""
        self._gatherings += 1
        with self._together():
            self._store.set(f"gathering{self._gatherings}/{self.launch.number}", json.dumps(sentences))
        self._wait()
        with self._together():
            keys = [f"gathering{self._gatherings}/{number}" for number in range(self.world)]
            return list(dict.fromkeys(s for key in keys for s in json.loads(self._store.get(key))))

    def agree(self, number: int) -> int:
        """Broadcast from the first."""
        told = torch.tensor([number])
        with self._together():
            torch.distributed.broadcast(told, 0, group=self._talk)
        return int(told)

    @torch.no_grad()
    def equalize(self, parameters: Sequence[torch.Tensor]) -> None:
        """One broadcast of one flat buffer."""
        flat = torch.cat([p.detach().flatten() for p in parameters])
        with self._together():
            torch.distributed.broadcast(flat, 0)
        _spread(flat, parameters)

    @torch.no_grad()
    def add_up(self, parameters: Sequence[torch.Tensor], loss: torch.Tensor) -> torch.Tensor:
        """One sum of one flat buffer; no process reads it on the host."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([*(g.flatten() for g in gradients), loss.float().reshape(1)])
        with self._together():
            torch.distributed.all_reduce(flat)
        _spread(flat, gradients)
        return flat[-1]

    def control(self, inner: Control, earlier: Sequence[Command] = ()) -> Control:
        """Commands are told after each step, 16 bytes when there are none."""
        return SharedControl(self.writes, inner, self._tell, earlier, lambda: time.sleep(FILE_POLL_SECONDS))

    def _tell(self, text: str) -> str:
        raw = text.encode()
        size = self.agree(len(raw))
        if not size:
            return ""
        told = torch.frombuffer(bytearray(raw if self.writes else size), dtype=torch.uint8)
        with self._together():
            torch.distributed.broadcast(told, 0, group=self._talk)
        return bytes(told.tolist()).decode()

    def _wait(self) -> None:
        with self._together():
            torch.distributed.barrier(group=self._talk)

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """A connection that broke means that a process is gone; its own word is better than the library's."""
        try:
            yield
        except RuntimeError as error:
            self._watch.go_home_if_over()
            raise RunError(self._watch.last_words(2.0).message) from error


class _Watch:
    """A thread that notices when another process fails or is gone, while this one waits for it in a sum.

    The launcher ends all processes with SIGTERM when one of them dies. Python would only act on that after the sum, that is
    never; but it writes the signal's number into the wake-up pipe at once, and that is what the thread waits at.
    """

    def __init__(self, store: Store, launch: Launch, on_failure: Callable[[Failed], None]) -> None:
        self._launch, self._on_failure = launch, on_failure
        self._store = store.clone()  # type: ignore[attr-defined]  # its own connection: the other one may be waiting
        self._end, self._failed = threading.Event(), False
        self._pipe: tuple[int, int] | None = None
        self._before: object = None
        if os.name == "posix" and threading.current_thread() is threading.main_thread():
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)
            self._before = signal.signal(signal.SIGTERM, lambda *_: None)
            signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._run, daemon=True, name="other processes")
        self._thread.start()

    def stop(self) -> None:
        """From now on every process may end when it likes.

        The thread has ended before this returns: an interpreter that ends while a thread asks the store is aborted by C++.
        """
        self._end.set()
        if self._pipe is not None:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, self._before)  # type: ignore[arg-type]
            self._pipe = None
        self._thread.join(HEARING_SECONDS)

    def tell_failure(self, failed: Failed) -> None:
        """See `RankGroup.end`."""
        self._failed = True
        until = time.monotonic() + HEARING_SECONDS
        with contextlib.suppress(RuntimeError):  # the store is gone: so is the first process
            self._store.set(_FAILED, encode(_of(self._launch, failed)))
            while time.monotonic() < until and not self._has(_HEARD) and not self._has(_OVER):
                time.sleep(WATCH_SECONDS)

    def last_words(self, patience_s: float) -> Failed:
        """Why another process ended; in general terms when it could not say."""
        until = time.monotonic() + patience_s
        with contextlib.suppress(RuntimeError, ProtocolError):
            while not self._has(_FAILED) and time.monotonic() < until:
                time.sleep(WATCH_SECONDS)
            if self._has(_FAILED) and isinstance(failed := decode(self._store.get(_FAILED).decode()), Failed):
                self._store.set(_HEARD, "1")
                return failed
        return Failed(
            f"One of the run's {self._launch.world} processes ended without a word, often because the system ran out of memory; "
            "so the others were ended too. What was saved is kept; the log may say more. Resume the run, perhaps with fewer processes."
        )

    def go_home_if_over(self) -> None:
        """Ends this process, well, when the first one is done: its connection may break before the thread looks again."""
        with contextlib.suppress(RuntimeError):  # the store is gone too, so nobody can say that all is well
            if self._launch.number and self._has(_OVER):
                os._exit(0)

    def _run(self) -> None:
        while not self._end.is_set():
            ended = self._launcher_ends_us()
            try:
                over, failed = self._has(_OVER), self._has(_FAILED)
            except RuntimeError:  # the store's process is gone: the launcher or the first process
                ended, over, failed = True, False, False
            if self._end.is_set():
                return
            if self._launch.number and (over or ended or (failed and not self._failed)):
                os._exit(0 if over else 1)
            if not self._launch.number and (failed or ended):
                self._on_failure(self.last_words(1.0))
                os._exit(1)

    def _launcher_ends_us(self) -> bool:
        pipe = self._pipe
        if pipe is None:
            self._end.wait(WATCH_SECONDS)
            return False
        readable, _, _ = select.select([pipe[0]], [], [], WATCH_SECONDS)
        return bool(readable) and signal.SIGTERM in os.read(pipe[0], 64)

    def _has(self, key: str) -> bool:
        return bool(self._store.check([key]))


def _of(launch: Launch, failed: Failed) -> Failed:
    """The failure, with the process that had it."""
    return Failed(f"In {launch.name}: {failed.message}", failed.field, failed.unforeseen)


def _spread(flat: torch.Tensor, over: Sequence[torch.Tensor]) -> None:
    """Writes a flat buffer back into the tensors that it was made of."""
    parts = torch.split(flat[: sum(t.numel() for t in over)], [t.numel() for t in over])
    torch._foreach_copy_(list(over), [part.view_as(t) for part, t in zip(parts, over, strict=True)])
