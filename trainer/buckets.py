"""Aspect-ratio buckets: which sizes there are, which one a picture gets, and how it is scaled and cropped into it.

Pure arithmetic; imports no torch. Idea: NovelAI's aspect-ratio bucketing (2022), https://github.com/NovelAI/novelai-aspect-ratio-bucketing
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from trainer.pixels import Fit

Size = tuple[int, int]  # width, height in px


@dataclass(frozen=True)
class Rules:
    """Bounds of the buckets, in px. step: every side is a multiple of it. enabled: off means one square for all."""

    resolution: int
    step: int = 64
    smallest: int = 256
    largest: int = 2048
    upscale: bool = True
    enabled: bool = True


@lru_cache(maxsize=16)
def sizes(rules: Rules) -> tuple[Size, ...]:
    """All bucket sizes: multiples of the step whose area is at most the square of the resolution, by aspect ratio.

    For each width the largest height that fits, and the mirror of each; the square itself is always among them.
    """
    square = _square(rules)
    if not rules.enabled:
        return (square,)
    area, out = rules.resolution**2, {square}
    low = min(rules.smallest, square[0])
    for width in range(_up(low, rules.step), min(rules.largest, area // low) + 1, rules.step):
        height = min(rules.largest, area // width) // rules.step * rules.step
        if height >= low:
            out |= {(width, height), (height, width)}
    return tuple(sorted(out, key=lambda s: (s[0] / s[1], s)))


def fit(width: int, height: int, rules: Rules, focus: tuple[float, float] = (0.5, 0.5)) -> Fit:
    """How a picture of that size is trained: in the bucket of the nearest aspect ratio (by its logarithm).

    focus: the point, as parts of width and height, that lies as near to the middle as it can.

    Without upscaling, a picture that is smaller than its bucket keeps its own size, cut to multiples of the step and, if it
    is very long, to the bucket's length. One that is narrower than a step is enlarged all the same.
    """
    own = (width // rules.step * rules.step, height // rules.step * rules.step)
    keeps_size = rules.enabled and not rules.upscale and min(own) >= rules.step
    if keeps_size and own[0] * own[1] <= rules.resolution**2 and max(own) <= rules.largest:
        return Fit(own, (width, height), _corner(own, (width, height), focus))
    aspect = math.log(width / height)
    size = min(sizes(rules), key=lambda s: (abs(math.log(s[0] / s[1]) - aspect), -s[0] * s[1]))
    scale = max(size[0] / width, size[1] / height)
    if keeps_size and scale > 1:
        size, scale = (min(size[0], own[0]), min(size[1], own[1])), 1.0
    resized = (max(size[0], round(width * scale)), max(size[1], round(height * scale)))
    return Fit(size, resized, _corner(size, resized, focus))


def counts(fits: list[Fit]) -> dict[Size, int]:
    """How many pictures each bucket holds, by size."""
    return dict(sorted(Counter(f.size for f in fits).items()))


def cropped_share(fit: Fit) -> float:
    """The part of the picture's area that training does not see, in [0, 1]."""
    return 1 - fit.size[0] * fit.size[1] / (fit.resized[0] * fit.resized[1])


def _corner(size: Size, resized: Size, focus: tuple[float, float]) -> tuple[int, int]:
    """Where the crop begins: centred on the focus, but within the picture."""
    x, y = (
        (whole - part) // 2 if at == 0.5 else min(max(0, round(at * whole - part / 2)), whole - part)
        for part, whole, at in zip(size, resized, focus, strict=True)
    )
    return x, y


def _square(rules: Rules) -> Size:
    side = max(8, rules.resolution // rules.step * rules.step)
    return (side, side)


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
