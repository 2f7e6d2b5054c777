"""What is known of a run, built from its events: live, or read again from events.jsonl. Imports neither torch nor Qt."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainer import events as e

if TYPE_CHECKING:
    from pathlib import Path

    from trainer.run_folder import RunFolder

RECENT_STEPS = 50  # the speed is their mean

# The states of a run. "lost": events.jsonl ends without a last word and no worker holds the folder.
ACTIVE = ("starting", "preparing", "training", "paused", "stopping")
ENDED = ("finished", "stopped", "failed", "lost")


@dataclass
class RunRecord:
    """Everything that the screens show of a run.

    steps, losses, rates, seconds: one entry a step, in order (rates: of the UNet). After a resume from a checkpoint, the
    steps that are done again replace the old ones. previews: file by prompt number and step. proof: which
    programs load the last file that was exported, a sentence. read_to: bytes of events.jsonl that are in here, when it was
    read from there.
    """

    folder: RunFolder
    state: str = "starting"
    started: e.Started | None = None
    phase: e.Phase | None = None
    steps: array[int] = field(default_factory=lambda: array("q"))
    losses: array[float] = field(default_factory=lambda: array("d"))
    rates: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    validations: list[tuple[int, float]] = field(default_factory=list)
    checkpoints: list[int] = field(default_factory=list)
    previews: dict[int, dict[int, Path]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    exported: list[Path] = field(default_factory=list)
    proof: str = ""
    memory_gb: float = 0.0
    memory_peak_gb: float = 0.0
    failed: e.Failed | None = None
    finished: e.Finished | None = None
    read_to: int = 0

    def take(self, event: e.Event) -> None:
        """Adds an event."""
        match event:
            case e.Hello():
                self.state, self.phase, self.failed, self.finished = "preparing", None, None, None
            case e.Phase():
                self.phase = event
            case e.Started():
                self.started, self.state, self.phase = event, "training", None
                self._forget_after(event.step)
            case e.StepDone():
                self._step(event)
            case e.Validated():
                self.validations = [*(v for v in self.validations if v[0] != event.step), (event.step, event.loss)]
            case e.CheckpointSaved():
                self.checkpoints = sorted({*self.checkpoints, event.step})
            case e.PreviewDrawn():
                self.phase = None
                self.previews.setdefault(event.prompt, {})[event.step] = self.folder.path / event.path
            case e.Paused():
                self.state = "paused"
            case e.Resumed():
                self.state = "training"
            case e.Exported():
                path = self.folder.path / event.path
                self.exported, self.proof = [*(p for p in self.exported if p != path), path], event.proof
            case e.Warned() | e.Adapted():
                if event.message not in self.warnings:  # a worker that resumes the run says it again
                    self.warnings.append(event.message)
                if isinstance(event, e.Adapted) and self.started is not None:
                    self.started = event.applied(self.started)
            case e.Failed():
                self.failed, self.state = event, "failed"
            case e.Finished():
                self.finished, self.state = event, "finished" if event.completed else "stopped"

    @property
    def step(self) -> int:
        """The last step that was done."""
        return self.steps[-1] if self.steps else (self.started.step if self.started else 0)

    @property
    def total_steps(self) -> int:
        """Length of the run; 0 until it is known."""
        return self.started.total_steps if self.started else 0

    @property
    def progress(self) -> float:
        """Share that is done, in [0, 1]."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else 0.0

    @property
    def seconds_per_step(self) -> float:
        """Mean of the last steps; 0 before the first."""
        recent = self.seconds[-RECENT_STEPS:]
        return sum(recent) / len(recent) if recent else 0.0

    @property
    def seconds_left(self) -> float | None:
        """An estimate, or None before the third step of a run."""
        if len(self.seconds) < 3 or not self.total_steps:
            return None
        return (self.total_steps - self.step) * self.seconds_per_step

    @property
    def is_active(self) -> bool:
        """Whether it is on its way."""
        return self.state in ACTIVE

    @property
    def preview_steps(self) -> list[int]:
        """All steps at which something was drawn, in order."""
        return sorted({step for by_step in self.previews.values() for step in by_step})

    def smoothed(self, weight: float = 0.98) -> array[float]:
        """The losses as an exponential moving average that starts unbiased (Kingma & Ba 2015, section 3)."""
        out, mean, scale = array("d"), 0.0, 0.0
        for loss in self.losses:
            if loss == loss:
                mean, scale = weight * mean + (1 - weight) * loss, weight * scale + (1 - weight)
            out.append(mean / scale if scale else float("nan"))
        return out

    def _step(self, event: e.StepDone) -> None:
        self.phase = None
        self.steps.append(event.step)
        self.losses.append(event.loss)
        self.rates.append(event.learning_rates.get("unet", 0.0))
        self.seconds.append(event.seconds)
        self.memory_gb = event.memory_gb
        self.memory_peak_gb = max(self.memory_peak_gb, event.memory_gb)

    def _forget_after(self, step: int) -> None:
        """A resumed run goes on from `step`; what had come after it is done again."""
        while self.steps and self.steps[-1] > step:
            for values in (self.steps, self.losses, self.rates, self.seconds):
                values.pop()
        self.validations = [(s, loss) for s, loss in self.validations if s <= step]


def read(folder: RunFolder) -> RunRecord:
    """The record of a run that is on disk; lines that are no events are passed over, as a crash may have cut one."""
    record = RunRecord(folder)
    try:
        with folder.events_path.open("rb") as lines:
            for line in lines:
                try:
                    event = e.decode(line.decode("utf-8", "replace"))
                except e.ProtocolError:
                    if not line.endswith(b"\n"):
                        break  # it is being written
                else:
                    if isinstance(event, e.Event):
                        record.take(event)
                record.read_to += len(line)
    except OSError:
        pass  # a run that never started has no events
    if record.is_active and not folder.is_held():
        record.state = "lost" if record.state != "starting" else "starting"
    record.checkpoints = folder.checkpoints()  # old ones are removed while the run goes on
    return record
