"""The order in which pictures are seen: seeded, by bucket, resumable. Batch n is the same on any machine.

Imports no torch.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from trainer import buckets, captions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.dataset import DataSet, Picture
    from trainer.pixels import Fit
    from trainer.settings import TrainingSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A picture as it is trained: how it is scaled and cropped, the texts it may be shown with, its weight in the loss.

    caption_dropout: how often it is shown without its text. is_prior: whether it keeps the model from forgetting
    (regularisation) instead of teaching.
    """

    picture: Picture
    fit: Fit
    texts: tuple[str, ...]
    weight: float = 1.0
    flip: bool = False
    caption_dropout: float = 0.0
    is_prior: bool = False


@dataclass(frozen=True)
class View:
    """An entry as it is seen once."""

    entry: Entry
    text: str
    mirrored: bool


def entries_of(data: DataSet, settings: TrainingSettings, *, is_prior: bool = False) -> list[Entry]:
    """The data set's pictures as entries, each as its concept says. is_prior: they are all regularisation pictures."""
    rules = buckets.Rules(
        settings.resolution,
        settings.bucket_step,
        settings.bucket_min,
        settings.bucket_max,
        settings.upscale,
        settings.buckets,
    )
    ways = [(settings, 1.0, is_prior)]
    ways += [(concept.applied(settings), concept.weight, concept.regularization) for concept in settings.concepts]
    out = []
    for picture in data.pictures:
        own, weight, prior = ways[picture.concept]
        if prior:  # the class's pictures are not what the trigger word calls
            own, weight = own.model_copy(update={"trigger": ""}), weight * settings.prior_weight
        fit = replace(buckets.fit(*picture.seen_px, rules, picture.focus), box=picture.box)
        texts = captions.variants(picture.caption, own, str(settings.seed), picture.lines)
        out.append(Entry(picture, fit, tuple(texts), weight, own.flip, own.caption_dropout, prior))
    return out


class Batches:
    """An endless stream of batches of views, every batch from one bucket.

    Attributes:
        per_epoch: batches in a pass over all pictures, the same in every epoch.
    """

    def __init__(self, entries: Sequence[Entry], settings: TrainingSettings, world: int = 1) -> None:
        """world: processes that share every batch, each `batch_size` pictures of it; so there are fewer, larger ones."""
        self._settings, self._size = settings, settings.batch_size * world
        self._views = [e for e in entries if not e.is_prior for _ in range(e.picture.repeats)]
        prior = [e for e in entries if e.is_prior for _ in range(e.picture.repeats)]
        self._views += balanced(prior, len(self._views), settings.seed)
        sizes = buckets.counts([e.fit for e in self._views])
        self.per_epoch = sum(-(-count // self._size) for count in sizes.values())
        self._order = lru_cache(maxsize=2)(self._shuffled)

    @property
    def views_per_epoch(self) -> int:
        """Pictures seen in an epoch, repeats and regularisation pictures counted."""
        return len(self._views)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch, the last one perhaps reaching into the next."""
        return -(-self.per_epoch // self._settings.accumulation)

    @property
    def total_steps(self) -> int:
        """Length of the run in optimizer steps."""
        if self._settings.epochs:
            return -(-self._settings.epochs * self.per_epoch // self._settings.accumulation)
        return self._settings.steps

    def epoch(self, step: int) -> float:
        """How many passes over all pictures have been made after `step` steps."""
        return step * self._settings.accumulation / self.per_epoch

    def batch(self, number: int) -> list[View]:
        """Batch `number` of the run, counted from 0 (there are `accumulation` of them in a step)."""
        epoch, place = divmod(number, self.per_epoch)
        rng = random.Random(f"{self._settings.seed}/batch/{number}")
        return [self._seen(entry, rng) for entry in self._order(epoch)[place]]

    def _seen(self, entry: Entry, rng: random.Random) -> View:
        text = rng.choice(entry.texts)
        if rng.random() < entry.caption_dropout:
            text = ""
        return View(entry, text, entry.flip and rng.random() < 0.5)

    def _shuffled(self, epoch: int) -> list[list[Entry]]:
        rng = random.Random(f"{self._settings.seed}/epoch/{epoch}")
        by_size: dict[buckets.Size, list[Entry]] = {}
        for entry in self._views:
            by_size.setdefault(entry.fit.size, []).append(entry)
        out = []
        for size in sorted(by_size):
            members = by_size[size]
            rng.shuffle(members)
            out += [members[i : i + self._size] for i in range(0, len(members), self._size)]
        rng.shuffle(out)
        return out


def balanced(prior: list[T], count: int, seed: int) -> list[T]:
    """About as many views of regularisation pictures as of training pictures: repeated, or a seeded choice of too many."""
    if len(prior) > count:
        return random.Random(f"{seed}/prior").sample(prior, count)
    return prior * (count // len(prior)) if prior else []


def torch_seed(seed: int, number: int) -> int:
    """The seed of all of torch's draws in batch `number`, 63 bits; stateless, so that a resumed run draws the same."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=8).digest(), "little") >> 1
