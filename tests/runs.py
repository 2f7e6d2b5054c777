"""Short runs on tiny models, and controls that give commands at a chosen step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer import loop, run_folder, settings_file
from trainer.control import NoControl
from trainer.events import Command, Event, Started, StepDone

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.run_folder import RunFolder


def make_run(model: Path, pictures: Path, runs: Path, **changes: Any) -> RunFolder:
    """A run folder for a few fp32 steps at 64 px on the CPU."""
    values = {
        "base": str(model), "data": str(pictures), "runs_folder": str(runs), "resolution": 64, "bucket_step": 32, "bucket_min": 32, "steps": 4,
        "rank": 2, "alpha": 2.0, "precision": "fp32", "device": "cpu", "targets": ["attention"], "save_every_steps": 0, "learning_rate": 1e-2,
        "schedule": "constant", "name": "test",
    } | changes  # fmt: skip
    return run_folder.create(settings_file.from_dict(values))


def train(folder: RunFolder, control: Any = None) -> list[Event]:
    """Runs the loop in this process and returns its events."""
    events: list[Event] = []
    control = control or NoControl()

    def tell(event: Event) -> None:
        events.append(event)
        if isinstance(event, Started) and isinstance(control, AtPoll):
            control.armed = True

    loop.train(folder, tell, control)
    return events


def losses(events: list[Event]) -> list[float]:
    """The loss of each step."""
    return [e.loss for e in events if isinstance(e, StepDone)]


class AtPoll:
    """Gives commands after the n-th step of this run (0: before the first), and while paused those of `paused`, one by one."""

    def __init__(self, commands: dict[int, list[Command]], paused: list[Command] | None = None) -> None:
        self._commands, self._paused, self._polls, self.armed = commands, paused or [], 0, False

    def poll(self) -> list[Command]:
        """The commands of this step."""
        if self.armed:
            self._polls += 1
        return self._commands.get(self._polls, [])

    def wait(self) -> Command:
        """The next command of a pause."""
        return self._paused.pop(0)
