"""How long a run will be: steps, image views, time, from the settings and from earlier runs here. Imports no torch."""

from __future__ import annotations

import functools
import json
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer.batches import Batches, entries_of
from trainer.errors import AtelierError
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainer.dataset import DataSet
    from trainer.settings import TrainingSettings

TAIL_BYTES = 64_000  # the last few hundred steps
START_SECONDS = 8.0  # loading the worker's libraries


@dataclass(frozen=True)
class Length:
    """total_steps: optimizer steps; views: pictures seen in them, repeats counted."""

    total_steps: int
    steps_per_epoch: int
    views: int


@dataclass(frozen=True)
class PastRun:
    """An earlier run on this machine. seconds_per_step: median of its last steps."""

    settings: TrainingSettings
    seconds_per_step: float


def length(settings: TrainingSettings, data: DataSet, prior: DataSet | None = None) -> Length:
    """The run's length. prior: the regularisation pictures."""
    regularization = entries_of(prior, settings, trigger=False) if prior is not None else []
    batches = Batches(entries_of(data, settings), regularization, settings)
    views = batches.total_steps * settings.batch_size * settings.accumulation
    return Length(batches.total_steps, batches.steps_per_epoch, views)


def seconds(settings: TrainingSettings, total_steps: int, history: Sequence[PastRun]) -> float | None:
    """Expected time of a run, from earlier ones with the same base model; None when there is none.

    A step's time is taken to grow with the pixels of its pictures; the median over the runs is taken.
    """
    work = _work(settings)
    same = [r.seconds_per_step / _work(r.settings) for r in history if r.settings.base == settings.base]
    return START_SECONDS + statistics.median(same) * work * total_steps if same else None


def history(runs_folder: Path, limit: int = 20) -> list[PastRun]:
    """The latest runs of a folder that have done steps; reads only the ends of their events."""
    if not runs_folder.is_dir():
        return []
    found = [(p / "events.jsonl") for p in runs_folder.iterdir() if (p / "events.jsonl").is_file()]
    dated = sorted(((p.stat().st_mtime_ns, p) for p in found), reverse=True)[:limit]
    runs = [_past(path.parent, changed) for changed, path in dated]
    return [run for run in runs if run is not None]


@functools.lru_cache(maxsize=64)
def _past(folder: Path, changed_ns: int) -> PastRun | None:
    """A run of the history, or None when it did no step; cached until its events change."""
    with (folder / "events.jsonl").open("rb") as file:
        file.seek(max(0, (folder / "events.jsonl").stat().st_size - TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    times = [t for line in lines if (t := _seconds_of(line)) is not None]
    try:
        return PastRun(RunFolder(folder).settings(), statistics.median(times)) if times else None
    except AtelierError:
        return None


def _seconds_of(line: str) -> float | None:
    try:
        event: Any = json.loads(line)
    except ValueError:
        return None
    value = event.get("seconds") if isinstance(event, dict) and event.get("type") == "step_done" else None
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _work(settings: TrainingSettings) -> float:
    return settings.resolution**2 * settings.batch_size * settings.accumulation
