"""Events of a run as a progress bar and a few lines in a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from tqdm import tqdm

from trainer.events import (
    Adapted,
    CheckpointSaved,
    Event,
    Exported,
    Paused,
    Phase,
    PreviewDrawn,
    Started,
    StepDone,
    Validated,
    Warned,
)

if TYPE_CHECKING:
    from pathlib import Path

SMOOTHING = 0.05  # of the shown loss; a single step's loss mostly shows which timestep was drawn
QUIET_SECONDS = 10.0  # without a terminal, a line this often


class Progress:
    """Shows events as they come in. On a terminal one living line, else a plain line now and then."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._bar = folder, None
        self._phase, self._loss, self._total = "", float("nan"), 0
        self._line_at = 0.0
        self._seconds: list[float] = []
        self.started = False
        self.previews: list[Path] = []
        self.exported: Exported | None = None

    def show(self, event: Event) -> None:
        """One event."""
        match event:
            case Phase():
                self._show_phase(event)
            case Started():
                self._start(event)
            case StepDone():
                self._step(event)
            case Warned() | Adapted():
                self._print(f"Note: {event.message}")
            case Validated():
                self._print(f"Step {event.step}: loss on held-out pictures {event.loss:.4f}")
            case PreviewDrawn():
                self.previews.append(self._folder / event.path)
            case CheckpointSaved():
                self._print(f"Step {event.step}: checkpoint saved in {event.path}")
            case Exported():
                self.exported = event
            case Paused():
                self._print(f"Paused at step {event.step}.")

    def close(self) -> None:
        """Leaves the line."""
        if self._bar is not None:
            self._bar.close()

    def _show_phase(self, event: Phase) -> None:
        if self._bar is not None:
            self._bar.set_description_str(event.title if event.done < event.total else "Training")
        elif event.title != self._phase:
            self._phase = event.title
            count = f" ({event.total})" if event.total else ""
            print(f"{event.title}{count} ...", flush=True)

    def _start(self, event: Started) -> None:
        self._total, self.started = event.total_steps, True
        together = f", {event.processes} processes together" if event.processes > 1 else ""
        print(
            f"{event.pictures} pictures, {event.total_steps:,} steps, {event.trainable_parameters:,} trainable parameters, "
            f"{event.precision} on {event.device}{together}.",
            flush=True,
        )
        if self._bar is not None:  # the run went back to a checkpoint
            self._bar.update(event.step - self._bar.n)
        elif sys.stderr.isatty():
            self._bar = tqdm(
                total=event.total_steps, initial=event.step, unit="step", desc="Training", dynamic_ncols=True, smoothing=SMOOTHING,
                bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {postfix} left {remaining}",
            )  # fmt: skip

    def _step(self, event: StepDone) -> None:
        first = self._loss != self._loss
        self._loss = event.loss if first else self._loss + SMOOTHING * (event.loss - self._loss)
        self._seconds = [*self._seconds[-49:], event.seconds]
        text = f"loss {self._loss:.4f}, lr {event.learning_rates.get('unet', 0):.1e}, {event.memory_gb:.1f} GB"
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(event.step - self._bar.n)
        elif time.monotonic() - self._line_at > QUIET_SECONDS or event.step == self._total:
            self._line_at = time.monotonic()
            left = (self._total - event.step) * sum(self._seconds) / len(self._seconds)
            print(f"Step {event.step} of {self._total}: {text}, {_duration(left)} left", flush=True)

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text)
        else:
            print(text, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else (f"{minutes} min {rest} s" if minutes else f"{rest} s")
