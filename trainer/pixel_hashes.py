"""Which pictures show the same: thumbnails as perceptual hashes, laid over each other until they agree. Imports no torch.

A hash of a few bits cannot tell a crop of a picture from the same figure in another pose before the same wall: both differ
a little. So a hash here is a thumbnail (48 x 48 luma, 8 x 8 of both colour differences), and two of them are compared in two
steps. Every pair: the correlation of 8 x 8 luma, in matrix products, and of 16 crops where that is high. What correlates: the
inverse compositional Lucas-Kanade method (Baker and Matthews 2004,
https://doi.org/10.1023/B:VISI.0000011205.11775.fd) finds shift, zoom, brightness and contrast that lay one over the other,
with the zoom's ratio known from both shapes. Then every place must agree, as far as its own edges allow.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from trainer.pixel_alignment import (
    CHROMA_SIDE,
    COARSE_SIDE,
    CROPS,
    GAIN,
    LARGEST_CROP,
    SAME,
    SIDE,
    Thumbnails,
    disagreement,
    softened,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Floats = NDArray[Any]  # float32
    Indices = NDArray[np.intp]

FIRST_CORRELATION = 0.68  # of 8 x 8 luma of one picture and of the middle of the other
SECOND_CORRELATION = 0.85  # of 8 x 8 luma of one and of the likest of 16 crops of the other
MEAN_DIFFERENCE = 40.0  # levels of mean luma: copies were brightened at most slightly
COLOUR_DIFFERENCE = 8.0  # levels of mean Cb and Cr
_BLOCK, _CHUNK = 1024, 500  # pictures and pairs at a time: what fits into a processor's cache and into 100 MB
_MIDDLE = (0.04, 0.04)  # cut from both ends of a side


class Seen(Protocol):
    """What of a picture's measures is compared."""

    @property
    def hash(self) -> str: ...  # noqa: D102
    @property
    def width_px(self) -> int: ...  # noqa: D102
    @property
    def height_px(self) -> int: ...  # noqa: D102
    @property
    def content_sha256(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Group:
    """Pictures that show the same: the same bytes ("exact"), nearly the same pixels ("near"), or mirrored ("flipped").

    "near" and "flipped" name one picture of each "exact" group, "flipped" one of each "near" group: the first in order.
    """

    kind: str
    keys: tuple[str, ...]


class _Pairs(NamedTuple):
    one: Indices  # (P,) of the first thumbnails
    other: Indices  # (P,) of the second ones
    swapped: NDArray[np.bool_]  # (P,) whether `one` may be a crop of `other`, rather than the other way round
    crop: Indices  # (P,) the number of the likest crop
    likeness: Floats  # (P,) the second correlation


def picture_hash(picture: Image.Image) -> str:
    """The perceptual hash of an upright RGB picture: its thumbnail, in base64."""
    smallest = min(picture.size)
    if smallest > 8 * SIDE:
        picture = picture.reduce(smallest // (4 * SIDE))
    parts = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR).convert("YCbCr").split()
    chroma = [p.resize((CHROMA_SIDE, CHROMA_SIDE), Image.Resampling.BOX) for p in parts[1:]]
    return base64.b64encode(b"".join(p.tobytes() for p in (parts[0], *chroma))).decode("ascii")


def mirrored_hash(text: str) -> str:
    """The hash that the picture would have with left and right swapped."""
    values = np.frombuffer(base64.b64decode(text), np.uint8)
    luma = values[: SIDE * SIDE].reshape(SIDE, SIDE)[:, ::-1]
    chroma = values[SIDE * SIDE :].reshape(2, CHROMA_SIDE, CHROMA_SIDE)[..., ::-1]
    return base64.b64encode(luma.tobytes() + chroma.tobytes()).decode("ascii")


def near_duplicates(measures: Mapping[str, Seen]) -> list[Group]:
    """Groups of pictures that show the same, in the order of their first keys; unreadable ones count for "exact" only.

    10,000 pictures take about 3 s, and 12 s more where each resembles about ten others.
    """
    by_content: dict[str, list[str]] = {}
    for key, seen in measures.items():
        by_content.setdefault(seen.content_sha256 or key, []).append(key)
    out = [Group("exact", tuple(keys)) for keys in by_content.values() if len(keys) > 1]
    keys = [keys[0] for keys in by_content.values() if measures[keys[0]].hash]
    if len(keys) < 2:
        return out
    upright = _thumbnails([measures[k] for k in keys])
    near, flipped = _Sets(len(keys)), _Sets(len(keys))
    _join(near, upright, upright)
    out += [Group("near", tuple(keys[i] for i in members)) for members in near.groups()]
    mirror = Thumbnails(upright.luma[:, :, ::-1], upright.coarse[:, :, ::-1], upright.chroma[..., ::-1], upright.ratio)
    _join(flipped, upright, mirror, known=near)
    return out + [Group("flipped", tuple(keys[i] for i in members)) for members in flipped.groups()]


def _thumbnails(seen: list[Seen]) -> Thumbnails:
    values = np.stack([np.frombuffer(base64.b64decode(s.hash), np.uint8) for s in seen]).astype(np.float32)
    luma = softened(values[:, : SIDE * SIDE].reshape(-1, SIDE, SIDE), np.full(len(seen), 0.25, np.float32))
    chroma = values[:, SIDE * SIDE :]
    ratio = np.array([s.width_px / s.height_px for s in seen], np.float32)
    few = _window(COARSE_SIDE, SIDE, (0, 0))
    return Thumbnails(luma, few @ luma @ few.T, chroma.reshape(-1, 2, CHROMA_SIDE, CHROMA_SIDE), ratio)


class _Sets:
    """Disjoint sets of 0 to count - 1; the smallest member stands for its set."""

    def __init__(self, count: int) -> None:
        self.roots = list(range(count))

    def root(self, member: int) -> int:
        while self.roots[member] != member:
            self.roots[member] = member = self.roots[self.roots[member]]
        return member

    def join(self, first: int, second: int) -> None:
        first, second = sorted((self.root(first), self.root(second)))
        self.roots[second] = first

    def groups(self) -> list[list[int]]:
        out: dict[int, list[int]] = {}
        for member in range(len(self.roots)):
            out.setdefault(self.root(member), []).append(member)
        return [members for members in out.values() if len(members) > 1]


def _join(sets: _Sets, first: Thumbnails, second: Thumbnails, known: _Sets | None = None) -> None:
    """Join what agrees, the likest first, so that what is joined already need not be compared.

    Args:
        sets: of pictures; of the roots in `known`, if given.
        first: thumbnails.
        second: those of the same pictures, or of their mirror images.
        known: sets of pictures that are one picture.
    """
    pairs = _candidates(first, second)
    count = len(first.ratio)
    both = first if first is second else Thumbnails(*(np.concatenate(p) for p in zip(first, second, strict=True)))
    other = pairs.other + (0 if first is second else count)
    whole, part = np.where(pairs.swapped, other, pairs.one), np.where(pairs.swapped, pairs.one, other)
    order = np.argsort(-pairs.likeness, kind="stable")
    same_picture = np.array([known.root(i) if known else i for i in range(count)])
    roots = same_picture
    for start in range(0, len(order), _CHUNK):
        chunk = order[start : start + _CHUNK]
        chunk = chunk[roots[pairs.one[chunk]] != roots[pairs.other[chunk]]]
        same = chunk[disagreement(both, whole[chunk], part[chunk], pairs.crop[chunk]) < SAME]
        for pair in same:
            sets.join(int(roots[pairs.one[pair]]), int(roots[pairs.other[pair]]))
        if same.size:
            roots = np.array([sets.root(i) for i in range(count)])[same_picture]


def _candidates(first: Thumbnails, second: Thumbnails) -> _Pairs:
    """Pairs of different pictures that may show the same."""
    crops = [tuple(_unit(t.luma, across, down) for t in (first, second)) for across, down in CROPS]
    found = []
    for one, other in _correlated(first, second):
        best, swapped = np.zeros(len(one), np.float32), np.zeros(len(one), np.bool_)
        crop = np.zeros(len(one), np.intp)
        for number, (first_crop, second_crop) in enumerate(crops):
            ways = (first_crop, one, crops[0][1], other), (second_crop, other, crops[0][0], one)
            for swap, (whole, i, part, j) in enumerate(ways):
                likeness = np.einsum("pc,pc->p", whole[i], part[j])
                swapped[likeness > best], crop[likeness > best] = bool(swap), number
                np.maximum(best, likeness, out=best)
        wanted = best > SECOND_CORRELATION
        found.append(_Pairs(one[wanted], other[wanted], swapped[wanted], crop[wanted], best[wanted]))
    return _Pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _correlated(first: Thumbnails, second: Thumbnails) -> Iterator[tuple[Indices, Indices]]:
    """Pairs i < j whose whole pictures are a little alike in luma, brightness, colour and shape."""
    parts = [_unit(t.luma, *CROPS[0]) for t in (first, second)]
    middles = [_unit(t.luma, _MIDDLE, _MIDDLE) for t in (first, second)]
    light, contrast = ([f(t.luma, (1, 2)) for t in (first, second)] for f in (np.mean, np.std))
    colour = [t.chroma.mean((2, 3)) for t in (first, second)]
    for start in range(0, len(parts[0]), _BLOCK):
        rows = slice(start, start + _BLOCK)
        near = middles[0][rows] @ parts[1][start:].T > FIRST_CORRELATION
        near |= parts[0][rows] @ middles[1][start:].T > FIRST_CORRELATION
        one, other = (i + start for i in np.nonzero(np.triu(near, 1)))
        gain = (contrast[0][one] + 3) / (contrast[1][other] + 3)
        wanted = (gain > GAIN[0]) & (gain < GAIN[1]) & (np.abs(light[0][one] - light[1][other]) < MEAN_DIFFERENCE)
        one, other = one[wanted], other[wanted]
        shape = np.abs(np.log(first.ratio[one] / second.ratio[other])) < -2 * np.log(1 - LARGEST_CROP)
        wanted = shape & (np.abs(colour[0][one] - colour[1][other]) < COLOUR_DIFFERENCE).all(1)
        yield one[wanted], other[wanted]


def _unit(luma: Floats, across: tuple[float, float], down: tuple[float, float]) -> Floats:
    """(N, 64): 8 x 8 luma without these shares of the sides, less its mean, of length 1 (shorter if nearly flat)."""
    small = (_window(8, SIDE, down) @ luma @ _window(8, SIDE, across).T).reshape(len(luma), -1)
    small = small - small.mean(1, keepdims=True)
    unit: Floats = small / np.sqrt((small**2).sum(1, keepdims=True) + 16.0)
    return unit


def _window(cells: int, of: int, cut: tuple[float, float]) -> Floats:
    """(cells, of): takes means over equal parts of what is left without `cut` at the ends."""
    edges = np.linspace(cut[0] * of, (1 - cut[1]) * of, cells + 1)
    low, high = edges[:-1, None], edges[1:, None]
    here = np.arange(of)
    share = np.clip(np.minimum(high, here + 1) - np.maximum(low, here), 0, 1) / (high - low)
    window: Floats = share.astype(np.float32)
    return window
