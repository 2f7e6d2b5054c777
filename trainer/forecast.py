"""How long a run will be: steps, image views, time, from the settings and from earlier runs here. Imports no torch."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainer import families, preflight
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
LATEST = 5  # so many of the runs that are alike count
FULL_WIDTH = 320  # channels of the first block of every SD model of full size

# What a preview costs, in seconds of one trained picture of its size: a trained picture is about one pass forward and two
# back, a sampling step one pass forward (two with guidance), and the autoencoder draws the picture at the end.
PASS_COST = 0.35
DECODE_COST = 1.0


@dataclass(frozen=True)
class Length:
    """total_steps: optimizer steps; views: pictures seen in them, repeats counted."""

    total_steps: int
    steps_per_epoch: int
    views: int


@dataclass(frozen=True)
class PastRun:
    """An earlier run on this machine. seconds_per_step: median of its last steps; kind: see `kind_of`.

    device, precision, packed: as it was computed; peak_gb: the most memory it held, 0 when that is not known.
    """

    settings: TrainingSettings
    seconds_per_step: float
    kind: str
    device: str = ""
    precision: str = ""
    packed: bool = False
    peak_gb: float = 0.0


def length(settings: TrainingSettings, data: DataSet, prior: DataSet | None = None) -> Length:
    """The run's length. prior: the regularisation pictures."""
    plain = settings.model_copy(update={"caption_variants": 1})  # the texts do not matter, and are slow for thousands
    entries = entries_of(data, plain) + (entries_of(prior, plain, is_prior=True) if prior is not None else [])
    return length_of(Batches(entries, settings), settings)


def length_of(batches: Batches, settings: TrainingSettings) -> Length:
    """The length of a run over these batches."""
    views = round(batches.total_steps * settings.accumulation * batches.views_per_epoch / batches.per_epoch)
    return Length(batches.total_steps, batches.steps_per_epoch, views)


def seconds(settings: TrainingSettings, total_steps: int, history: Sequence[PastRun]) -> float | None:
    """Expected time of a run, from earlier ones of the same family and size; None when there is none.

    A step's time is taken to grow with the pixels of its pictures, and the median over the runs is taken: of those on the
    same device with the same precision, if there are any. history: the latest run first.
    """
    kind = kind_of(settings.base)
    alike = [run for run in history if run.kind == kind]
    alike = [run for run in alike if _manner(run.settings) == _manner(settings)] or alike
    if not alike:
        return None
    per_pixel = statistics.median(run.seconds_per_step / _work(run.settings) for run in alike[:LATEST])
    return START_SECONDS + per_pixel * (_work(settings) * total_steps + _preview_work(settings, total_steps))


def history(runs_folder: Path, limit: int = 20) -> list[PastRun]:
    """The latest runs of a folder that have done steps, the latest first; reads only the ends of their events."""
    try:
        found = [path / "events.jsonl" for path in runs_folder.iterdir()]
        dated = sorted(((p.stat().st_mtime_ns, p.parent) for p in found if p.is_file()), reverse=True)
    except OSError:  # there are no runs yet, or one is being removed just now
        return []
    runs = (_past(folder, changed) for changed, folder in dated[: 2 * limit])  # some never came to a step
    return [run for run in runs if run is not None][:limit]


def kind_of(base: str) -> str:
    """What makes models equally fast: family and width; for a model that is not there any more, its name."""
    try:
        path = preflight.base_path(base)
        family = families.detect(path)
        config = json.loads((path / "unet" / "config.json").read_text("utf-8")) if path.is_dir() else {}
    except (AtelierError, OSError, ValueError):
        return base
    widths = config.get("block_out_channels") if isinstance(config, dict) else None
    return f"{family.id} {widths[0] if isinstance(widths, list) and widths else FULL_WIDTH}"


@functools.lru_cache(maxsize=64)
def _past(folder: Path, changed_ns: int) -> PastRun | None:
    """A run of the history, or None when it did no step; cached until its events change."""
    try:
        with (folder / "events.jsonl").open("rb") as file:
            head = file.read(TAIL_BYTES)
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            tail = file.read()
        times = [t for e in _events(tail, "step_done") if (t := _positive(e, "seconds"))]
        settings = RunFolder(folder).settings() if times else None
    except (AtelierError, OSError):
        return None
    if settings is None:
        return None
    started = (_events(tail, "started") or _events(head, "started") or [{}])[-1]
    device, precision = (str(started.get(name, "")) for name in ("device", "precision"))
    peaks = [_positive(e, "memory_peak_gb") for e in _events(tail, "finished")]
    return PastRun(
        settings, statistics.median(times), kind_of(settings.base), device, precision, started.get("packed") is True, max(peaks, default=0.0)
    )  # fmt: skip


def _events(raw: bytes, kind: str) -> list[dict[str, Any]]:
    """The events of a kind among the lines; a line that is cut off counts as none."""
    out = []
    for line in raw.decode("utf-8", "replace").splitlines():
        if kind in line:
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                out += [event] if isinstance(event, dict) and event.get("type") == kind else []
    return out


def _positive(event: dict[str, Any], name: str) -> float:
    """A number above 0 in an event, or 0."""
    value = event.get(name)
    return float(value) if isinstance(value, int | float) and 0 < value < math.inf else 0.0


def _manner(settings: TrainingSettings) -> tuple[object, ...]:
    """What changes the speed of a step besides its pictures."""
    s = settings
    return s.device, s.precision, s.gradient_checkpointing, s.train_text_encoder, s.quantization, s.offload


def _work(settings: TrainingSettings) -> float:
    """Pixels that are trained in a step."""
    return settings.resolution**2 * settings.batch_size * settings.accumulation


def _preview_work(settings: TrainingSettings, total_steps: int) -> float:
    """The previews of the whole run in trained pixels: at step 0, every so many steps, and at the end."""
    every = settings.preview_every_steps
    if not every:
        return 0.0
    times = 1 + -(-total_steps // every)
    side = settings.resolution
    return times * sum(
        (p.width or side) * (p.height or side) * (p.steps * (2 if p.guidance > 1 else 1) * PASS_COST + DECODE_COST)
        for p in settings.previews
    )
