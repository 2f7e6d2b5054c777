"""All that can be told of a run before it starts: length, time, memory, its file, and what it leaves on the disk. Imports no torch."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer import adapter_sizes, forecast, forecast_memory, machine, memory_model, metadata, preflight
from trainer.batches import Batches, entries_of
from trainer.families import anatomy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainer.batches import Entry
    from trainer.dataset import DataSet
    from trainer.families.anatomy import Anatomy
    from trainer.forecast import Length, PastRun
    from trainer.forecast_memory import Outlook
    from trainer.settings import TrainingSettings

_TENSOR_HEADER = 200  # bytes of a cache file besides its numbers
_PREVIEW_RATE = 1.6  # bytes of a PNG for a pixel, of pictures such as models draw
_TOKENS = 77


@dataclass(frozen=True)
class Disk:
    """Bytes a run will write. cache: once for these pictures and captions, used again by later runs; free: on its disk."""

    cache: int
    checkpoints: int
    previews: int
    file: int
    free: int | None

    @property
    def run(self) -> int:
        """In the run's own folder."""
        return self.checkpoints + self.previews + self.file

    @property
    def is_short(self) -> bool:
        """Whether the disk has less room than the run will take."""
        return self.free is not None and self.run + self.cache > self.free


@dataclass(frozen=True)
class Forecast:
    """What is to be expected. seconds: None where no run on this machine was alike; trained: numbers that are trained."""

    length: Length
    seconds: float | None
    memory: Outlook
    disk: Disk
    trained: int


def foretell(
    settings: TrainingSettings, data: DataSet, prior: DataSet | None, history: Sequence[PastRun], *, is_elsewhere: bool = False,
) -> Forecast:  # fmt: skip
    """The forecast of a run with these pictures.

    prior: the regularisation pictures; history: earlier runs, the latest first; is_elsewhere: another machine computes.

    Raises:
        ModelError: the base model cannot be used.
        ConfigError: the base model was not given, or must be downloaded first.
    """
    body = anatomy.of(preflight.base_path(settings.base), settings.vae)
    entries = entries_of(data, settings)
    others = entries_of(prior, settings, is_prior=True) if prior is not None else []
    length = forecast.length(settings, data, prior)
    spot = machine.spot(settings, history, is_elsewhere=is_elsewhere)
    size = memory_model.largest_size((e.fit.size for e in (*entries, *others)), settings.resolution)
    layers = adapter_sizes.adapted(body, settings)
    return Forecast(
        length, forecast.seconds(settings, length.total_steps, history),
        forecast_memory.outlook(body, settings, spot, size, history),
        _disk(settings, body, layers, entries, others, length, spot.precision), sum(item.parameters for item in layers),
    )  # fmt: skip


def _disk(
    s: TrainingSettings, body: Anatomy, layers: list[adapter_sizes.Adapted], entries: list[Entry], others: list[Entry],
    length: Length, precision: str,
) -> Disk:  # fmt: skip
    each = adapter_sizes.checkpoint_bytes(layers, s.optimizer)
    total = length.total_steps
    every = s.save_every_epochs * length.steps_per_epoch or s.save_every_steps or total
    saved = -(-total // max(1, every))
    kept = min(saved, s.keep_checkpoints) if s.keep_checkpoints else saved
    drawn = 1 + -(-total // s.preview_every_steps) if s.preview_every_steps else 0
    pixels = sum((p.width or s.resolution) * (p.height or s.resolution) for p in s.previews)
    cache = _cache(s, body, [*entries, *others], precision) if s.cache == "disk" else 0
    return Disk(
        cache, kept * each, round(drawn * pixels * _PREVIEW_RATE),
        adapter_sizes.file_bytes(layers, body, s, _metadata(s, body, entries, others, length, precision)), _free(s.runs_folder),
    )  # fmt: skip


def _metadata(
    s: TrainingSettings, body: Anatomy, entries: list[Entry], others: list[Entry], length: Length, precision: str
) -> dict[str, str]:
    per_epoch = Batches([*entries, *others], s).per_epoch if entries else 1
    facts = metadata.Facts(
        body.family, s.prediction == "v_prediction", precision, tuple(entries), tuple(others), per_epoch,
        length.total_steps, 1.8e9,
    )  # fmt: skip
    return metadata.build(s, facts, step=length.total_steps, finished=1.8e9)


def _cache(s: TrainingSettings, body: Anatomy, entries: list[Entry], precision: str) -> int:
    """Latents in fp32, of mirrored pictures twice; captions in the run's precision, unless the encoders are trained."""
    by, element = body.scale, 4 if precision == "fp32" else 2
    views = sum((1 + e.flip) * (16 * math.prod(e.fit.size) // by**2 + _TENSOR_HEADER) for e in entries)
    if s.train_text_encoder:
        return views
    texts = {""} | {text for e in entries for text in e.texts} | {t for p in s.previews for t in (p.prompt, p.negative)}
    return views + len(texts) * (_TOKENS * s.max_tokens // 75 * body.context * element + _TENSOR_HEADER)


def _free(folder: Path) -> int | None:
    """Bytes free where the folder is, or will be."""
    folder = folder.expanduser().absolute()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    try:
        return shutil.disk_usage(existing).free
    except OSError:
        return None
