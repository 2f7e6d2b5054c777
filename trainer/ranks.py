"""Which of a run's processes this one is, and what they do together; a single process has nothing to do. Imports no torch.

`accelerate launch` and `torchrun` start the same worker several times and say in the environment which is which. The first
one ("rank 0") talks to the window and writes; the others only compute. `trainer.rank_group` is what several of them use.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer.errors import RunError
from trainer.events import Command, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from trainer.control import Control
    from trainer.events import Failed


@dataclass(frozen=True)
class Launch:
    """What the launcher says: this process's number, of how many; its number on this machine, of how many there."""

    number: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1

    @property
    def name(self) -> str:
        """For people, who count from 1."""
        return f"process {self.number + 1} of {self.world}"


def launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """What the environment says; one process when no launcher has set it.

    Raises:
        RunError: the launcher's variables contradict each other.
    """
    if environment.get("WORLD_SIZE", "1") == "1" or "RANK" not in environment:
        return Launch()
    names = {"RANK": "", "WORLD_SIZE": "", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": environment["WORLD_SIZE"]}
    values = [environment.get(name, default) for name, default in names.items()]
    told = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
    if not all(value.isdecimal() for value in values) or "MASTER_ADDR" not in environment:
        raise RunError(
            f"The launcher's variables make no sense: {told}. Start the run with accelerate launch or torchrun."
        )
    number, world, local, local_world = map(int, values)
    if not (number < world and local < local_world <= world):
        raise RunError(
            f"The launcher's variables make no sense: {told}. Start the run with accelerate launch or torchrun."
        )
    return Launch(number, world, local, local_world)


class Ranks:
    """All processes of a run, seen from one of them. This one is alone: nothing is shared and nobody is waited for.

    Attributes:
        launch: which one this is, of how many.
    """

    launch = Launch()

    @property
    def world(self) -> int:
        """How many processes train together."""
        return self.launch.world

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder and talks to the window."""
        return self.launch.number == 0

    def device_name(self, wanted: str) -> str:
        """The setting `device` as it is for this process."""
        return wanted

    def connect(self, device: torch.device) -> None:
        """Makes ready what follows, for tensors on that device."""

    def part(self) -> None:
        """The end of what processes do together; called by all at the same time."""

    def end(self, failure: Failed | None) -> None:
        """This process ends, well or with a failure that the first one tells; nobody is left waiting for it."""

    def owns(self, key: str) -> bool:
        """Whether what has this key (a hash in hex) is this process's to compute; everything has one owner."""
        return True

    def slice_of(self, count: int) -> tuple[slice, float]:
        """Which pictures of a batch of `count` this process computes, and a factor for their losses.

        The factor is 0 where there are fewer pictures than processes: then some compute one that counts elsewhere.
        """
        return slice(0, count), 1.0

    def gather(self, sentences: list[str]) -> list[str]:
        """Everybody's sentences, each once, in an order that is the same for all. All wait here until the last has come."""
        return sentences

    def agree(self, number: int) -> int:
        """The first process's number."""
        return number

    def equalize(self, parameters: Sequence[torch.Tensor]) -> None:
        """Gives everybody the first process's values."""

    def add_up(self, parameters: Sequence[torch.Tensor], loss: torch.Tensor) -> torch.Tensor:
        """Replaces gradients by their sums over all processes; returns the sum of `loss`, a scalar on the device, unread."""
        return loss

    def dropout_seed(self, seed: int) -> int | None:
        """The seed of what a process draws for itself in a batch, or None when it goes on after the common draws."""
        return None

    def control(self, inner: Control, earlier: Sequence[Command] = ()) -> Control:
        """Commands as all processes hear them, at the same step. earlier: those that only this one has heard so far."""
        return inner


ALONE = Ranks()


class SharedControl:
    """Passes the commands that the first process hears on to all, so that they act after the same step.

    `poll` must be called by all processes equally often; so must `wait`.
    """

    def __init__(
        self,
        writes: bool,
        inner: Control,
        tell: Callable[[str], str],
        earlier: Sequence[Command],
        pace: Callable[[], Any],
    ) -> None:
        """tell: takes the first process's text to all. pace: the pause between two looks while nothing happens."""
        self._writes, self._inner, self._tell, self._pace = writes, inner, tell, pace
        self._untold, self._ready = list(earlier), list[Command]()

    def poll(self) -> list[Command]:
        """The commands that came in."""
        heard = list(self._inner.poll()) if self._writes else []
        lines = [encode(command) for command in self._untold + heard]
        text = self._tell(json.dumps(lines) if lines else "")
        if not self._writes and text:
            heard = [command for line in json.loads(text) if isinstance(command := decode(line), Command)]
        self._untold = []
        out, self._ready = self._ready + heard, []
        return out

    def wait(self) -> Command:
        """The next command; waits for it. Meanwhile the processes keep hearing from each other."""
        while not self._ready:
            self._ready = self.poll()
            if not self._ready and self._writes:
                self._pace()
        return self._ready.pop(0)
