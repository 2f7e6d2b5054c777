"""Rows of pieces of stroke that stand like letters, at any slant, and how much they look like letters. Imports no torch.

The rules follow Epshtein, Ofek and Wexler 2010 (https://doi.org/10.1109/CVPR.2010.5540041): letters of a line have one height,
one width of stroke and one shade, or one share of white if they are see-through. What tells them from other things in a row
is that they differ in shape, and that each is like some letter of Pillow's typeface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trainer.pixel_letters import Members, measured
from trainer.pixel_strokes import LETTER, Boxes, Pieces, boxes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Numbers = NDArray[Any]

FEWEST_LETTERS = 4
LEVEL = np.radians(3)  # a smaller slant is none
ANGLES = 36  # that are told apart in half a turn


class Rows(NamedTuple):
    """Rows of pieces (R,): what is measured of each (R, MEASURES), its box in the picture (R, 4), and its contrast in levels."""

    measures: Numbers
    box: Numbers
    contrast: Numbers


def rows(p: Pieces, strokes: Bytes) -> Iterator[Rows]:
    """All that may be lines of letters, level or along the commonest slants, in pieces of what was found in `strokes` (H, W)."""
    level = boxes(p, 0)
    for angle in (0.0, *_slants(p, level)):
        bounds = boxes(p, angle) if angle else level
        found = [kept for row in _chains(p, bounds) if len(kept := _single(p, bounds, row)) >= FEWEST_LETTERS]
        if found:
            number = np.array([len(row) for row in found])
            start = np.cumsum(number) - number
            piece, row = np.concatenate(found), np.repeat(np.arange(len(found)), number)
            contrast = np.add.reduceat(p.contrast[piece], start) / number
            threshold = np.maximum(0.5 * contrast, np.add.reduceat(p.level[piece], start) / number)
            members = Members(piece, row, start, number, threshold)
            upright = level.of(members.piece)
            low = [np.minimum.reduceat(bound, start) for bound in upright[:2]]
            high = [np.maximum.reduceat(bound, start) for bound in upright[2:]]
            measures = measured(p, bounds.of(members.piece), members, strokes, angle)
            yield Rows(measures, np.stack(low + high, 1), contrast)


def _pairs(start: Numbers, end: Numbers) -> tuple[Numbers, Numbers]:
    """Of (N,) sorted starts: i < j for every j that starts before the end of i."""
    number = np.maximum(np.searchsorted(start, end, "right") - np.arange(len(start)) - 1, 0)
    one = np.repeat(np.arange(len(start)), number)
    return one, np.arange(len(one)) - np.repeat(np.cumsum(number) - number, number) + one + 1


def _alike(p: Pieces, at: Numbers, one: Numbers, other: Numbers) -> tuple[Numbers, Numbers]:
    """How far the pieces `at` differ in contrast or share of white, and in width of stroke; 0 to 1."""
    shade, stroke = [], p.width[at]
    for values in (p.contrast[at], p.alpha[at]):
        a, b = values[one], values[other]
        shade.append(np.abs(a - b) / np.maximum(a, b))
    a, b = stroke[one], stroke[other]
    return np.minimum(*shade), 1 - np.minimum(a, b) / np.maximum(a, b)


def _slants(p: Pieces, level: Boxes) -> list[float]:
    """The two commonest directions, radians, in which pieces that are alike lie side by side, unless they are level."""
    size = np.maximum(level.right - level.left, level.bottom - level.top)
    x, y = (level.left + level.right) / 2, (level.top + level.bottom) / 2
    at = np.flatnonzero(size <= 2 * LETTER[1])
    at = at[np.argsort(x[at], kind="stable")]
    x, y, size = x[at], y[at], size[at]
    one, other = _pairs(x, x + 1.7 * np.minimum(1.8 * size, 2 * LETTER[1]))
    across, down, greater = x[other] - x[one], y[other] - y[one], np.maximum(size[one], size[other])
    distance = np.hypot(across, down)
    near = (distance < 1.7 * greater) & (distance > 0.45 * greater)
    near &= greater < 1.8 * np.minimum(size[one], size[other])
    one, other, across, down = one[near], other[near], across[near], down[near]
    shade, stroke = _alike(p, at, one, other)
    near = (shade < 0.3) & (stroke < 0.3)
    angle = np.arctan2(down[near], across[near])
    place = np.floor((angle / np.pi + 0.5) * ANGLES).astype(np.int64) % ANGLES
    votes = np.bincount(place, minlength=ANGLES).astype(np.float64)
    votes += 0.6 * (np.roll(votes, 1) + np.roll(votes, -1))
    out = []
    for _ in range(2):
        best = int(votes.argmax())
        if votes[best] < FEWEST_LETTERS - 1:
            break
        about = (place - best + 1) % ANGLES < 3
        out.append(float(np.angle(np.exp(2j * angle[about]).mean()) / 2))
        votes[(best + np.arange(-2, 3)) % ANGLES] = 0
    return [slant for slant in out if abs(slant) > LEVEL]


def _chains(p: Pieces, bounds: Boxes) -> Iterator[Numbers]:
    """Members of each row of pieces as large as letters: side by side, of one height and shade, on one line."""
    tall, wide = bounds.bottom - bounds.top, bounds.right - bounds.left
    is_letter = (tall >= LETTER[0] - 0.5) & (tall <= 1.1 * LETTER[1]) & (wide <= 3 * tall)
    at = np.flatnonzero(is_letter & (p.area > 0.12 * tall * wide))
    at = at[np.argsort(bounds.left[at], kind="stable")]
    if len(at) < FEWEST_LETTERS:
        return
    left, top, right, bottom = bounds.of(at)
    tall = tall[at]
    one, other = _pairs(left, right + 0.9 * np.minimum(1.9 * tall, LETTER[1]))
    gap = left[other] - right[one]
    near = np.abs(bottom[one] - bottom[other]) < 0.33 * LETTER[1]
    near &= gap < 0.9 * np.maximum(tall[one], tall[other])
    one, other, gap = one[near], other[near], gap[near]
    greater, less = np.maximum(tall[one], tall[other]), np.minimum(tall[one], tall[other])
    near = np.abs(bottom[one] - bottom[other]) < 0.3 * greater
    near &= (gap > -0.25 * greater) & (greater < 1.9 * less)
    near &= left[other] + right[other] - left[one] - right[one] > 0.4 * greater
    near &= np.minimum(bottom[one], bottom[other]) - np.maximum(top[one], top[other]) > 0.6 * less
    one, other, gap = one[near], other[near], gap[near] / greater[near]
    shade, stroke = _alike(p, at, one, other)
    near = (shade < 0.35) & (stroke < 0.45)
    one, other, cost = one[near], other[near], (gap + 1.5 * shade + 1.5 * stroke)[near]
    order = np.lexsort((cost, one))
    first, where = np.unique(one[order], return_index=True)
    label = list(range(len(at)))
    for i, j in zip(first[::-1].tolist(), other[order][where][::-1].tolist(), strict=True):
        label[i] = label[j]  # from the right: the next one's row is known
    labels = np.array(label)
    order = np.argsort(labels, kind="stable")
    start = np.flatnonzero(np.diff(labels[order], prepend=-1))
    number = np.diff(start, append=len(order))
    for i, n in zip(start[number >= FEWEST_LETTERS], number[number >= FEWEST_LETTERS], strict=True):
        yield at[order[i : i + n]]


def _single(p: Pieces, bounds: Boxes, row: Numbers) -> Numbers:
    """The row from left to right without doubles, as each contrast gives; the ones most like the others stay."""
    left, top, right, bottom = bounds.of(row)
    shade = p.contrast[row]
    middle = len(row) // 2
    base, usual, height = np.sort(bottom)[middle], np.sort(shade)[middle], np.sort(bottom - top)[middle]
    cost = np.abs(bottom - base) / height + np.abs(shade - usual) / usual
    starts, ends, kept = left.tolist(), right.tolist(), list[int]()
    for i in np.argsort(cost, kind="stable").tolist():
        start, end = starts[i], ends[i]
        if all(min(end, ends[k]) - max(start, starts[k]) < 0.5 * min(end - start, ends[k] - starts[k]) for k in kept):
            kept.append(i)
    kept.sort(key=lambda i: starts[i])
    return row[kept]
