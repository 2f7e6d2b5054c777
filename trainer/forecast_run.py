"""All that can be told of a run before it starts: length, time, memory, its file, and what it leaves on the disk. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer import adapter_sizes, forecast, forecast_memory, machine, memory_model, metadata, preflight
from trainer.batches import Batches, entries_of
from trainer.families import anatomy
from trainer.user_folders import free_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainer.adapter_sizes import Adapted
    from trainer.batches import Entry
    from trainer.dataset import DataSet
    from trainer.families.anatomy import Anatomy
    from trainer.forecast import Length, PastRun
    from trainer.forecast_memory import Outlook
    from trainer.settings import TrainingSettings

_TENSOR_HEADER = 200  # bytes of a cache file besides its numbers
_SOME_TIME = 1.8e9  # unix seconds: a date is as long as any other
_PREVIEW_RATE = 1.6  # bytes of a PNG for a pixel, of pictures such as models draw


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
    entries += entries_of(prior, settings, is_prior=True) if prior is not None else []
    batches = Batches(entries, settings)
    length = forecast.length_of(batches, settings)
    spot = machine.spot(settings, history, is_elsewhere=is_elsewhere)
    size = memory_model.largest_size((e.fit.size for e in entries), settings.resolution)
    layers = adapter_sizes.adapted(body, settings)
    written = _Written(settings, body, layers, entries, batches.per_epoch, length, spot.precision)
    return Forecast(
        length, forecast.seconds(settings, length.total_steps, history),
        forecast_memory.outlook(body, settings, spot, size, history),
        written.disk(), sum(item.parameters for item in layers),
    )  # fmt: skip


@dataclass(frozen=True)
class _Written:
    """What a run will write. per_epoch: batches; precision: of the frozen weights."""

    settings: TrainingSettings
    body: Anatomy
    layers: list[Adapted]
    entries: list[Entry]
    per_epoch: int
    length: Length
    precision: str

    def disk(self) -> Disk:
        """All of it."""
        s, total = self.settings, self.length.total_steps
        every = s.save_every_epochs * self.length.steps_per_epoch or s.save_every_steps or total
        saved = -(-total // max(1, every))
        kept = min(saved, s.keep_checkpoints) if s.keep_checkpoints else saved
        drawn = 1 + -(-total // s.preview_every_steps) if s.preview_every_steps else 0
        pixels = sum((p.width or s.resolution) * (p.height or s.resolution) for p in s.previews)
        return Disk(
            self._cache() if s.cache == "disk" else 0,
            kept * adapter_sizes.checkpoint_bytes(self.layers, s.optimizer),
            round(drawn * pixels * _PREVIEW_RATE),
            adapter_sizes.file_bytes(self.layers, self.body, s, self._metadata()),
            _free(s.runs_folder),
        )

    def _metadata(self) -> dict[str, str]:
        s, total = self.settings, self.length.total_steps
        own, prior = (tuple(e for e in self.entries if e.is_prior is is_prior) for is_prior in (False, True))
        facts = metadata.Facts(
            self.body.family,
            s.prediction == "v_prediction",
            self.precision,
            own,
            prior,
            self.per_epoch,
            total,
            _SOME_TIME,
        )
        return metadata.build(s, facts, step=total, finished=_SOME_TIME)

    def _cache(self) -> int:
        """Latents in fp32, of mirrored pictures twice; captions in the run's precision, unless the encoders are trained."""
        s, by, element = self.settings, self.body.scale, 4 if self.precision == "fp32" else 2
        views = sum((1 + e.flip) * (16 * math.prod(e.fit.size) // by**2 + _TENSOR_HEADER) for e in self.entries)
        if s.train_text_encoder:
            return views
        texts = {
            "",
            *(t for e in self.entries for t in e.texts),
            *(t for p in s.previews for t in (p.prompt, p.negative)),
        }
        return views + len(texts) * (memory_model.tokens(s) * self.body.context * element + _TENSOR_HEADER)


def _free(folder: Path) -> int | None:
    """Bytes free where the folder is, or will be; None where the system does not tell."""
    try:
        return free_bytes(folder.expanduser().absolute())
    except OSError:
        return None
