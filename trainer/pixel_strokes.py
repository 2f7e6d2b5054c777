"""Pieces of stroke in a grey picture: what is thin and lighter than its ground, cut into connected parts. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Integers = NDArray[np.int64]
    Mask = NDArray[np.bool_]
    Numbers = NDArray[Any]

STROKE = 9  # px, wider than the strokes of letters of 8 to 40 px
LINE = 3  # px, narrower than the gaps of large letters
LETTER = (8, 44)  # px, height
MOST_HOLES = 4  # of a letter; "8" and "@" have two
BLOCK = 16  # px
LARGEST_SHARE = 0.33  # of strokes about a block; where there are more, they are texture


class Pieces(NamedTuple):
    """Connected pieces of stroke (P,) and the runs of pixels of which they consist (R,), in the order of the pieces."""

    row: Integers
    left: Integers
    right: Integers
    first: Integers  # the number of a piece's first run
    level: Integers  # of contrast, above which a piece was cut out
    area: Integers
    contrast: Numbers  # mean difference from the ground, levels
    alpha: Numbers  # the same as a share of what lies between the ground and white
    spread: Numbers  # of the difference from the ground, as a share of it
    perimeter: Integers  # px, along the pixels' edges
    holes: Integers

    @property
    def width(self) -> Numbers:
        """Of the strokes, px."""
        return 2 * self.area / self.perimeter


class Boxes(NamedTuple):
    """Bounds (P,) along axes that may be turned; top is less than bottom."""

    left: Numbers
    top: Numbers
    right: Numbers
    bottom: Numbers

    def of(self, members: NDArray[Any]) -> Boxes:
        """Those of some."""
        return Boxes(*(bound[members] for bound in self))


def opened(pixels: Bytes) -> Bytes:
    """The ground: morphological opening by a square of STROKE px."""
    return _passed(pixels, STROKE, np.minimum, np.maximum)


def opened_without_lines(pixels: Bytes) -> Bytes:
    """The ground as if no dark lines thinner than LINE px were on it, nor darker gaps; nowhere lighter than the picture."""
    return np.minimum(opened(_passed(pixels, LINE, np.maximum, np.minimum)), pixels)


def _passed(pixels: Bytes, side: int, first: np.ufunc, second: np.ufunc) -> Bytes:
    """The extremes within squares of `side` px, and then the opposite extremes of these."""
    return _running(_running(np.pad(pixels, side - 1, "edge"), side, first), side, second)


def _running(pixels: Bytes, side: int, extreme: np.ufunc) -> Bytes:
    """The least or greatest of `side` px in both directions; the picture shrinks by side - 1."""
    for _ in range(2):
        span = 1
        while span < side:
            step = min(span, side - span)
            pixels = extreme(pixels[:-step], pixels[step:])
            span += step
        pixels = np.ascontiguousarray(pixels.T)
    return pixels


def pieces(pixels: Bytes, ground: Bytes, contrasts: tuple[int, ...]) -> Pieces | None:
    """Pieces about as large as letters of what is lighter than the ground (H, W) by more than each of `contrasts` levels."""
    strokes = pixels - ground
    found = []
    for contrast in contrasts:
        mask = strokes > contrast
        if not mask.any():
            break
        part = _connected(_without_texture(mask), strokes, ground, contrast)
        if part is not None:
            found.append(part)
    if not found:
        return None
    runs = np.cumsum([0] + [len(part.row) for part in found[:-1]])
    both = Pieces(*(np.concatenate(values) for values in zip(*found, strict=True)))
    return both._replace(first=np.concatenate([part.first + n for part, n in zip(found, runs, strict=True)]))


def boxes(p: Pieces, angle: float) -> Boxes:
    """The pieces' bounds along a line that falls by `angle` radians (less than a quarter turn), and across it."""
    c, s = np.cos(angle), np.sin(angle)
    upper, lower = p.row * s, (p.row + 1) * s
    one, other = -p.left * s, -p.right * s
    return Boxes(
        np.minimum.reduceat(p.left * c + np.minimum(upper, lower), p.first),
        np.minimum.reduceat(np.minimum(one, other) + p.row * c, p.first),
        np.maximum.reduceat(p.right * c + np.maximum(upper, lower), p.first),
        np.maximum.reduceat(np.maximum(one, other) + (p.row + 1) * c, p.first),
    )


def _without_texture(mask: Mask) -> Mask:
    """Without the blocks in and about which much is set."""
    if np.count_nonzero(mask) < LARGEST_SHARE / 9 * mask.size:
        return mask
    height, width = mask.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    whole = np.zeros((rows * BLOCK, columns * BLOCK), np.uint8)
    whole[:height, :width] = mask
    share = whole.reshape(rows, BLOCK, -1).sum(1, dtype=np.uint8).reshape(rows, columns, BLOCK).sum(2) / BLOCK**2
    near = np.pad(share, 1, "edge")
    about = np.mean([near[i : i + rows, j : j + columns] for i in range(3) for j in range(3)], axis=0)
    full: Mask = about > LARGEST_SHARE
    if not full.any():
        return mask
    return mask & ~full.repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]


def _connected(mask: Mask, strokes: Bytes, ground: Bytes, level: int) -> Pieces | None:
    """Connected pieces (8 neighbours) of what is set in (H, W), if they are about as large as letters."""
    height, width = mask.shape
    edged = np.zeros((height, width + 2), np.bool_)
    edged[:, 1:-1] = mask
    change = np.flatnonzero(edged[:, 1:] != edged[:, :-1])  # in (H, W + 1), starts and ends in turns
    if not len(change):
        return None
    row, left = np.divmod(change[::2], width + 1)
    right = change[1::2] - row * (width + 1)
    label, upper, overlap = _joined(row, left, right, width)
    is_first = label == np.arange(len(label))
    piece = (np.cumsum(is_first) - 1)[label]
    count = int(is_first.sum())
    area = np.bincount(piece, right - left, count)
    low, high = np.full((2, count), max(mask.shape)), np.zeros((2, count), np.int64)
    for bound, values in zip(low, (left, row), strict=True):
        np.minimum.at(bound, piece, values)
    for bound, values in zip(high, (right, row + 1), strict=True):
        np.maximum.at(bound, piece, values)
    wide, tall = high - low
    runs = np.bincount(piece, minlength=count)
    holes = 1 - runs + np.bincount(piece[upper], minlength=count)
    is_letter = (np.maximum(wide, tall) >= LETTER[0]) & (np.maximum(wide, tall) <= 3 * LETTER[1]) & (area >= 10)
    is_letter &= (area > 0.06 * wide * tall) & (holes <= MOST_HOLES)
    chosen = np.flatnonzero(is_letter)
    if not len(chosen):
        return None
    area = area[chosen].astype(np.int64)
    perimeter = 2 * (runs[chosen] + area - np.bincount(piece[upper], overlap, count)[chosen].astype(np.int64))
    kept = np.flatnonzero(is_letter[piece])
    kept = kept[np.argsort(piece[kept], kind="stable")]
    row, left, right = row[kept], left[kept], right[kept]
    first = np.searchsorted(piece[kept], chosen)
    contrast, alpha, spread = _differences(row * width + left, right - left, first, (strokes, ground))
    return Pieces(
        row, left, right, first, np.full_like(first, level), area, contrast, alpha, spread, perimeter, holes[chosen]
    )


def _differences(
    start: Integers, length: Integers, first: Integers, picture: tuple[Bytes, Bytes]
) -> tuple[Numbers, Numbers, Numbers]:
    """Contrast, alpha and spread of the pieces (P,) whose runs (R,) these are."""
    before = np.cumsum(length) - length
    pixels = np.arange(int(length.sum())) + np.repeat(start - before, length)
    value = picture[0].ravel()[pixels].astype(np.float32)
    share = value / np.maximum(255.0 - picture[1].ravel()[pixels], 8)
    bounds = before[first]
    area = np.add.reduceat(np.ones_like(value), bounds)
    contrast, square, alpha = (np.add.reduceat(v, bounds) / area for v in (value, value * value, share))
    return contrast, alpha, np.sqrt(np.maximum(square - contrast * contrast, 0)) / contrast


def _joined(row: Integers, left: Integers, right: Integers, width: int) -> tuple[Integers, Integers, Integers]:
    """A label per run, the same for runs that touch; of each pair of touching runs the upper one, and how far both overlap."""
    pitch = width + 3
    starts, ends = row * pitch + left, row * pitch + right
    first = np.searchsorted(ends, starts + pitch, "left")  # of the next row's runs: the first that touches
    last = np.searchsorted(starts, ends + pitch, "right")
    number = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(row)), number)
    lower = np.arange(len(upper)) - np.repeat(np.cumsum(number) - number, number) + first[upper]
    overlap = np.maximum(np.minimum(right[upper], right[lower]) - np.maximum(left[upper], left[lower]), 0)
    label = np.arange(len(row))
    while True:  # the smallest label spreads; pointers jump, so that a few rounds do
        least = np.minimum(label[upper], label[lower])
        new = label.copy()
        np.minimum.at(new, label[upper], least)
        np.minimum.at(new, label[lower], least)
        new = new[new]
        if (new == label).all():
            return label, upper, overlap
        label = new[new]
