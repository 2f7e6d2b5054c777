"""What a step computes on, made ready beforehand: batches are read, drawn and converted in a thread while the step before runs.

All chance of a batch comes from its own seed, so that it is the same whoever makes it, and when.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch

from trainer import diffusion
from trainer.batches import torch_seed
from trainer.families.backbone import Conditioning
from trainer.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trainer.batches import Batches, Entry
    from trainer.cache import Cache
    from trainer.diffusion import Schedule
    from trainer.settings import TrainingSettings


@dataclass(frozen=True)
class Batch:
    """Pictures of one size as a step sees them; a slice of a batch is a batch.

    noisy (B, C, h, w) in the compute dtype; target (B, C, h, w) in fp32; t (B,); size_ids (B, 6); weights (B,) of the losses;
    mask (B, 1, h, w) or None; texts: the captions; told: their encodings, None while text encoders are trained.
    whole: how many pictures are in the batch that this is a slice of, over all processes. seed: of what layers draw by chance
    (dropout).
    """

    noisy: torch.Tensor
    target: torch.Tensor
    t: torch.Tensor
    size_ids: torch.Tensor
    weights: torch.Tensor
    mask: torch.Tensor | None
    texts: tuple[str, ...]
    told: Conditioning | None
    whole: int
    seed: int

    def __len__(self) -> int:
        """How many pictures."""
        return len(self.texts)

    def __getitem__(self, some: slice) -> Batch:
        """The pictures of a slice."""
        return self._each(lambda tensor: tensor[some], texts=self.texts[some], told=self.told and self.told[some])

    def slices(self, at_most: int) -> Iterator[Batch]:
        """The batch in slices of at most so many pictures; 0: as a whole."""
        size = min(at_most or len(self), len(self))
        return (self[start : start + size] for start in range(0, len(self), size))

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; from pinned memory, nothing waits for the copies."""
        told = None if self.told is None else self.told.to(device, self.told.states.dtype)
        return self._each(lambda tensor: tensor.to(device, non_blocking=True), told=told)

    def pinned(self) -> Batch:
        """The batch in memory from which a GPU reads by itself."""
        told = self.told
        if told is not None:
            told = Conditioning(told.states.pin_memory(), None if told.pooled is None else told.pooled.pin_memory())
        return self._each(torch.Tensor.pin_memory, told=told)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor], **others: object) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {name: change(value) for name, value in values.items() if isinstance(value, torch.Tensor)}
        return replace(self, **changed, **others)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Maker:
    """Makes batches: latents from the cache, noise, timesteps, targets and weights.

    device: what they are made for; they themselves stay on the CPU. ranks: the processes that share each batch.
    """

    settings: TrainingSettings
    batches: Batches
    cache: Cache
    schedule: Schedule
    device: torch.device
    dtype: torch.dtype
    ranks: Ranks = ALONE

    def batch(self, number: int) -> Batch:
        """This process's share of batch `number` of the run.

        Raises:
            RunError: a picture or caption is no longer in the cache.
        """
        s, views = self.settings, self.batches.batch(number)
        whole, (own, factor) = len(views), self.ranks.slice_of(len(views))
        views = views[own]
        latents, masks = zip(*(self.cache.picture(v.entry, v.mirrored) for v in views), strict=True)
        x0, seed = torch.stack(latents), torch_seed(s.seed, number)  # (B, C, h, w)
        everybody = x0.new_empty(whole, *x0.shape[1:])
        drawn = diffusion.draw(everybody, s, torch.Generator().manual_seed(seed)).part(own)
        dropout = self.ranks.dropout_seed(seed)
        texts, told = tuple(v.text for v in views), None
        if not s.train_text_encoder:
            told = Conditioning.cat(self.cache.conditioning(text) for text in texts).to(x0.device, self.dtype)
        made = Batch(
            self.schedule.noisy(x0, drawn.input_noise, drawn.t).to(self.dtype),
            self.schedule.target(x0, drawn.noise, drawn.t),
            drawn.t,
            torch.tensor([size_ids(v.entry) for v in views]),
            diffusion.loss_weights(self.schedule, drawn.t, s) * torch.tensor([v.entry.weight * factor for v in views]),
            diffusion.stacked_masks(masks, x0),
            texts,
            told,
            whole,
            seed ^ 1 if dropout is None else dropout,  # layers must not draw the numbers again that made the noise
        )
        return made.pinned() if self.device.type == "cuda" else made


class Feed:
    """Batches by their number; the one after is made in a thread while the caller computes on this one."""

    def __init__(self, make: Callable[[int], Batch], end: int) -> None:
        """make: gives the batch of a number. end: the run has no batch of that number."""
        self._make, self._end = make, end
        self._next: tuple[int, Future[Batch]] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")

    def batch(self, number: int) -> Batch:
        """The batch of that number, which may be any; quickest in order.

        An error while it was made is raised here, as itself; asked again, the batch is made anew.
        """
        waiting, self._next = self._next, None
        future = waiting[1] if waiting and waiting[0] == number else self._thread.submit(self._make, number)
        made = future.result()
        if number + 1 < self._end:
            self._next = number + 1, self._thread.submit(self._make, number + 1)
        return made

    def close(self) -> None:
        """Ends the thread."""
        self._next = None
        self._thread.shutdown(cancel_futures=True)


def size_ids(entry: Entry) -> list[int]:
    """Original height and width, crop top and left, target height and width: SDXL's size conditioning.

    Podell et al. 2023, section 2.2, https://arxiv.org/abs/2307.01952
    """
    picture, fit = entry.picture, entry.fit
    width, height = picture.seen_px
    return [height, width, fit.corner[1], fit.corner[0], fit.size[1], fit.size[0]]
