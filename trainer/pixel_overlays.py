"""Lettering laid over a picture: captions, addresses, watermarks; found by the shape and order of letters. Imports no torch.

Strokes are what a small opening or closing takes away (top-hat transform), at three scales. Pieces of stroke that are as
large as letters and stand in line (one height, one baseline, close together, of one shade, yet of different shapes) are
lettering; the rules follow Epshtein, Ofek and Wexler 2010 (https://doi.org/10.1109/CVPR.2010.5540041) and rather miss some
than find what is none. Slanting, handwritten and lone letters are missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Integers = NDArray[np.int64]

LARGEST_SIDE = 896  # px at which small lettering is looked for
SCALES = (1, 2, 4)
STROKE = 9  # px, wider than the strokes of letters of 8 to 40 px
LETTER = (8, 44)  # px, height
CONTRASTS = (12, 18, 26, 36, 50)  # levels between stroke and ground that are tried: half-transparent to opaque
FAINT = 75  # levels between letters and ground, below which they are see-through
FEWEST_LETTERS = 4
LETTERING = 2.3  # of the sum in _lettering; at 1.3 every tenth clean picture of texture has a row above it
LARGEST_SHARE = 0.12  # of strokes in a picture; where there are more, they are texture
LARGEST_ENLARGEMENT = 1.75  # of small pictures, in which letters are small
MANY_LINES = 3  # of lettering are a watermark that is repeated


class Overlay(NamedTuple):
    """Lettering: none (""), in lines ("text"), or half-transparent, large or repeated ("watermark"); left, top, right, bottom px."""

    kind: Literal["", "text", "watermark"] = ""
    box: tuple[int, int, int, int] = (0, 0, 0, 0)


class _Pieces(NamedTuple):
    """Connected pieces of stroke, each (P,)."""

    left: Integers
    top: Integers
    right: Integers
    bottom: Integers
    area: Integers
    contrast: NDArray[Any]  # mean difference from the ground

    def of(self, members: NDArray[Any]) -> _Pieces:
        return _Pieces(*(values[members] for values in self))


class _Line(NamedTuple):
    box: tuple[int, int, int, int]
    contrast: float


def overlay(luma: Image.Image) -> Overlay:
    """What is written over an upright grey picture."""
    small = min(LARGEST_ENLARGEMENT, LARGEST_SIDE / max(luma.size))
    size = [max(1, round(n * small)) for n in luma.size]
    picture = luma.resize((size[0], size[1]), Image.Resampling.BOX if small < 1 else Image.Resampling.BICUBIC)
    lines: list[_Line] = []
    for scale in SCALES:
        pixels = np.asarray(picture.reduce(scale) if scale > 1 else picture)
        if min(pixels.shape) < 3 * STROKE:
            break
        for found in _lines(pixels, CONTRASTS[2::2] if scale == 1 else CONTRASTS):
            box = tuple(round(v * scale / small) for v in found.box)
            lines.append(found._replace(box=(box[0], box[1], box[2], box[3])))
    if not lines:
        return Overlay()
    boxes = np.array([line.box for line in lines])
    faint = float(np.median([line.contrast for line in lines])) < FAINT
    tallest = max(line.box[3] - line.box[1] for line in lines) > 0.09 * luma.height
    repeated = len({round(line.box[1] / luma.height * 25) for line in lines}) >= MANY_LINES
    low, high = boxes.min(0), boxes.max(0)
    return Overlay(
        "watermark" if faint or tallest or repeated else "text", (int(low[0]), int(low[1]), int(high[2]), int(high[3]))
    )


def _lines(pixels: Bytes, contrasts: tuple[int, ...]) -> Iterator[_Line]:
    for strokes in (pixels - _opened(pixels), 255 - pixels - _opened(255 - pixels)):
        sums = np.concatenate([[0], np.cumsum(strokes, dtype=np.int64)])
        for contrast in contrasts:
            mask = strokes > contrast
            if 0 < mask.mean() < LARGEST_SHARE:
                pieces = _pieces(mask, sums)
                for members in _rows(pieces):
                    letters = pieces.of(members)
                    if _lettering(letters, mask) > LETTERING:
                        yield _Line(_box(letters), float(letters.contrast.mean()))


def _box(p: _Pieces) -> tuple[int, int, int, int]:
    return int(p.left.min()), int(p.top.min()), int(p.right.max()), int(p.bottom.max())


def _opened(pixels: Bytes) -> Bytes:
    """Morphological opening by a square of STROKE px."""
    margin = STROKE - 1
    low = _running(np.pad(pixels, margin, "edge"), np.minimum)
    return _running(low, np.maximum)


def _running(pixels: Bytes, extreme: np.ufunc) -> Bytes:
    """The least or greatest of STROKE px in both directions; each side shrinks by STROKE - 1."""
    for _ in range(2):
        span = 1
        while span < STROKE:
            step = min(span, STROKE - span)
            pixels = extreme(pixels[:-step], pixels[step:])
            span += step
        pixels = np.ascontiguousarray(pixels.T)
    return pixels


def _pieces(mask: NDArray[np.bool_], sums: Integers) -> _Pieces:
    """Connected pieces (8 neighbours) of what is set in (H, W); `sums` of the strokes before each pixel (H * W + 1,)."""
    height, width = mask.shape
    flat = np.zeros((height, width + 2), np.int8)
    flat[:, 1:-1] = mask
    change = np.diff(flat, axis=1).ravel()  # (H * (W + 1),)
    start, end = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    row, left = np.divmod(start, width + 1)
    right = end - row * (width + 1)
    _, piece = np.unique(_joined(row, left, right, width), return_inverse=True)
    count = int(piece.max()) + 1
    area = np.bincount(piece, right - left, count)
    contrast = np.bincount(piece, sums[row * width + right] - sums[row * width + left], count) / area
    low, high = np.full((2, count), max(mask.shape)), np.zeros((2, count), np.int64)
    for bound, values in zip(low, (left, row), strict=True):
        np.minimum.at(bound, piece, values)
    for bound, values in zip(high, (right, row + 1), strict=True):
        np.maximum.at(bound, piece, values)
    return _Pieces(low[0], low[1], high[0], high[1], area.astype(np.int64), contrast)


def _joined(row: Integers, left: Integers, right: Integers, width: int) -> Integers:
    """One label per run; runs of neighbouring rows that touch have the same."""
    pitch = width + 3
    starts, ends = row * pitch + left, row * pitch + right
    first = np.searchsorted(ends, starts + pitch, "left")  # of the next row's runs: the first that touches
    last = np.searchsorted(starts, ends + pitch, "right")
    number = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(row)), number)
    lower = np.arange(len(upper)) - np.repeat(np.cumsum(number) - number, number) + first[upper]
    label = np.arange(len(row))
    while True:  # the smallest label spreads; pointers jump, so that a few rounds do
        least = np.minimum(label[upper], label[lower])
        new = label.copy()
        np.minimum.at(new, label[upper], least)
        np.minimum.at(new, label[lower], least)
        new = new[new]
        if (new == label).all():
            return label
        label = new[new]


def _rows(pieces: _Pieces) -> Iterator[Integers]:
    """Members of each row of pieces as large as letters: side by side, of one height and contrast, on one line."""
    tall, wide = pieces.bottom - pieces.top, pieces.right - pieces.left
    fill = pieces.area / np.maximum(tall * wide, 1)
    at = np.flatnonzero((tall >= LETTER[0]) & (tall <= LETTER[1]) & (wide <= 3 * tall) & (fill > 0.12))
    at = at[np.argsort(pieces.left[at], kind="stable")]
    if len(at) < FEWEST_LETTERS:
        return
    p = pieces.of(at)
    last = np.searchsorted(p.left, p.right + LETTER[1], "right")
    number = last - np.arange(len(at)) - 1
    one = np.repeat(np.arange(len(at)), number)
    other = np.arange(len(one)) - np.repeat(np.cumsum(number) - number, number) + one + 1
    a, b = p.of(one), p.of(other)
    tall_a, tall_b = a.bottom - a.top, b.bottom - b.top
    taller, less = np.maximum(tall_a, tall_b), np.minimum(tall_a, tall_b)
    gap = b.left - a.right
    near = (gap > -0.2 * taller) & (gap < 0.9 * taller) & (b.left > a.left) & (taller < 1.9 * less)
    near &= np.minimum(a.bottom, b.bottom) - np.maximum(a.top, b.top) > 0.6 * less
    near &= np.abs(a.bottom - b.bottom) < 0.3 * taller
    near &= np.abs(a.contrast - b.contrast) < 0.35 * np.maximum(a.contrast, b.contrast)
    one, other, gap = one[near], other[near], gap[near]
    order = np.lexsort((gap, one))
    first, where = np.unique(one[order], return_index=True)
    label = np.arange(len(at))
    for i, j in zip(first[::-1], other[order][where][::-1], strict=True):  # from the right: the next one's row is known
        label[i] = label[j]
    order = np.argsort(label, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        if len(members) >= FEWEST_LETTERS:
            yield at[members]


def _lettering(p: _Pieces, mask: NDArray[np.bool_]) -> float:
    """How much a row of pieces looks like letters: a sum of what tells them apart, above LETTERING if it does.

    Letters are several, stand on one line, have few heights, are half filled by their strokes, differ in width, are evenly
    spaced and strong, and nothing is above or below them. The weights are a logistic regression's on drawn pictures.
    """
    left, top, right, bottom = p.left.min(), int(np.median(p.top)), p.right.max(), int(np.median(p.bottom))
    tall, wide = p.bottom - p.top, p.right - p.left
    height, line = float(np.median(tall)), max(1, bottom - top)
    beside = [
        mask[max(0, top - line * 6 // 10) : max(0, top - line // 3), left:right],
        mask[bottom + line // 3 : bottom + line * 6 // 10, left:right],
    ]
    inside = max(1e-3, float(mask[top : top + line, left:right].mean()))
    fill = p.area / (tall * wide)
    gaps = float((p.left[1:] - p.right[:-1]).std()) / height
    return float(
        1.1 * np.log(len(tall))
        + 0.4 * float((np.abs(p.bottom - bottom) <= max(1.0, 0.08 * height)).mean())
        + 0.6 * float((np.abs(tall - height) <= max(1.0, 0.12 * height)).mean())
        - 16.8 * abs(float(fill.mean()) - 0.55)
        - 1.2 * min(float(fill.std()), 0.15)
        + 8.5 * min(float((wide / height).std()), 0.4)
        - 6.0 * min(max(float(b.mean()) if b.size else 0.0 for b in beside) / inside, 0.5)
        - 6.0 * min(float(p.contrast.std() / p.contrast.mean()), 0.3)
        - 1.8 * min(gaps, 0.5)
        + 1.9 * min(float(p.contrast.mean()) / 100, 1.5)
        - 1.9
    )
