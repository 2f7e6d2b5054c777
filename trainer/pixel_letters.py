"""What is measured of rows of pieces of stroke, to tell letters from other things that stand in a row. Imports no torch."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainer.pixel_strokes import Boxes, Pieces

    Bytes = NDArray[np.uint8]
    Numbers = NDArray[Any]

GRID = 8  # cells a side by which shapes are compared
POINTS = 48  # along a row, at which it is looked above, below and inside
NEAR = 4  # the next pieces of a row with which each is compared
BAR = 0.35  # of the height; what is not as wide has no shape of its own
GLYPHS = "ABCDEFGHJKLMNOPQRSTUVWXYZabcdefghjkmnopqrstuvwxyz0123456789@&?"  # without bars
MEASURES = (
    "letter", "letters", "kinds", "bars",
    "same", "diverse", "alike",
    "number", "base", "heights", "fill", "fill_spread", "width_spread", "shape_spread", "gap", "gap_spread", "pitch_spread",
    "contrast", "contrast_spread", "alpha", "alpha_spread", "spread", "stroke", "stroke_spread", "holes", "height",
    "beside", "inside",
)  # fmt: skip


class Members(NamedTuple):
    """The pieces of all rows (N,), one row after another, from left to right."""

    piece: Numbers
    row: Numbers  # (N,)
    start: Numbers  # (R,)
    number: Numbers  # (R,)
    threshold: Numbers  # (R,) levels, above which there is a stroke beside others

    def mean(self, values: Numbers) -> Numbers:
        """(N,) to (R,)."""
        mean: Numbers = np.add.reduceat(values, self.start) / self.number
        return mean

    def spread(self, values: Numbers) -> Numbers:
        """The standard deviation, (N,) to (R,)."""
        mean = self.mean(values)
        spread: Numbers = np.sqrt(np.maximum(self.mean(values * values) - mean * mean, 0))
        return spread

    def median(self, values: Numbers) -> Numbers:
        """The lower of two in the middle, (N,) to (R,)."""
        median: Numbers = values[np.lexsort((values, self.row))][self.start + (self.number - 1) // 2]
        return median

    def to_next(self, values: Numbers) -> Numbers:
        """(N - 1,) of neighbours to (N,): the last of each row, which has no next, gets the median of the others."""
        out = np.append(values, np.inf)
        last = self.start + self.number - 1
        out[last] = np.inf
        rank = np.lexsort((out, self.row))
        out[last] = out[rank][self.start + (self.number - 2) // 2]
        return out

    def pairs(self, lag: int) -> tuple[Numbers, Numbers]:
        """Of each row the members that are `lag` places apart."""
        one = np.flatnonzero(self.row[lag:] == self.row[: len(self.row) - lag])
        return one, one + lag


def measured(p: Pieces, b: Boxes, m: Members, strokes: Bytes, angle: float) -> Numbers:
    """All MEASURES of each row, (R, MEASURES): those of shapes, of the row, and of what is about it.

    Args:
        p: all pieces.
        b: the bounds of the members along the slant.
        m: the rows.
        strokes: (H, W) in which the pieces were found.
        angle: the slant, radians.
    """
    shapes = _shapes(strokes, b, np.maximum(p.level, 0.5 * p.contrast)[m.piece], angle)
    size = np.stack([b.right - b.left, b.bottom - b.top])
    columns = (
        *_letters(shapes, size[0] / size[1], m),
        *_differences(shapes, size / m.median(size[1])[m.row], p.area[m.piece], m),
        *_order(p, b, m, strokes, angle),
    )
    return np.stack(columns, 1)


def _order(p: Pieces, b: Boxes, m: Members, strokes: Bytes, angle: float) -> tuple[Numbers, ...]:
    """How evenly the rows stand, what they are drawn with, and what is about them."""
    tall, wide, x = b.bottom - b.top, b.right - b.left, (b.left + b.right) / 2
    height = m.median(tall)
    tallest = height[m.row]
    along = x - m.mean(x)[m.row]
    slope = m.mean(along * (b.bottom - m.mean(b.bottom)[m.row])) / m.mean(along * along) if angle else 0 * height
    bottom = b.bottom - slope[m.row] * along
    base = m.median(bottom)
    beside, inside = _about(b, m, strokes, (angle, slope, m.median(b.top - slope[m.row] * along), base))
    contrast, alpha, stroke, area = (v[m.piece] for v in (p.contrast, p.alpha, p.width, p.area))
    gap = m.to_next(b.left[1:] - b.right[:-1]) / tallest
    step = m.to_next(np.diff(x)) / tallest
    fill = area / (tall * wide)
    return (
        np.log(m.number),
        m.mean(np.abs(bottom - base[m.row]) <= np.maximum(1, 0.08 * tallest)),
        m.mean(np.abs(tall - tallest) <= np.maximum(1, 0.12 * tallest)),
        np.abs(m.mean(fill) - 0.5),
        m.spread(fill),
        m.spread(wide / tallest),
        m.spread(np.log(area / p.perimeter[m.piece] ** 2)),
        m.mean(gap),
        m.spread(gap),
        m.median(np.abs(step - m.median(step)[m.row])),
        m.mean(contrast),
        m.spread(contrast) / m.mean(contrast),
        m.mean(alpha),
        m.spread(alpha) / m.mean(alpha),
        m.mean(p.spread[m.piece]),
        m.mean(stroke) / height,
        m.spread(stroke) / m.mean(stroke),
        m.mean(p.holes[m.piece]),
        height,
        beside / np.maximum(inside, 0.02),
        inside,
    )


def _about(
    b: Boxes, m: Members, strokes: Bytes, line: tuple[float, Numbers, Numbers, Numbers]
) -> tuple[Numbers, Numbers]:
    """The shares (R,) of strokes above or below the rows, whichever is more, and between their tops and bottoms.

    line: slant, what is left of it, top and bottom at the middle of each row.
    """
    angle, slope, top, base = line
    height = np.maximum(base - top, 1)[:, None]
    places = np.array([0.33, 0.45, 0.6])
    across = np.concatenate(
        [
            top[:, None] - height * places,
            base[:, None] + height * places,
            top[:, None] + height * np.linspace(0.05, 0.95, 6),
        ],
        1,
    )
    left, right = np.minimum.reduceat(b.left, m.start), np.maximum.reduceat(b.right, m.start)
    along = left[:, None] + (right - left)[:, None] * (np.arange(POINTS) + 0.5) / POINTS
    tilt = slope[:, None] * (along - m.mean((b.left + b.right) / 2)[:, None])
    values, is_inside = _sampled(strokes, along[:, None], across[..., None] + tilt[:, None], angle)
    is_set = (values > m.threshold[:, None, None]) & is_inside
    share = is_set.mean(2)
    return np.maximum(share[:, :3].mean(1), share[:, 3:6].mean(1)), share[:, 6:].mean(1)


def _sampled(strokes: Bytes, along: Numbers, across: Numbers, angle: float) -> tuple[Bytes, NDArray[np.bool_]]:
    """The strokes at places of turned axes (broadcast against each other), and which of them lie in the picture."""
    c, s = np.cos(angle), np.sin(angle)
    x = np.floor(along * c - across * s).astype(np.int64)
    y = np.floor(along * s + across * c).astype(np.int64)
    is_inside = (x >= 0) & (y >= 0) & (x < strokes.shape[1]) & (y < strokes.shape[0])
    return strokes[y.clip(0, strokes.shape[0] - 1), x.clip(0, strokes.shape[1] - 1)], is_inside


def _shapes(strokes: Bytes, b: Boxes, threshold: Numbers, angle: float) -> Numbers:
    """What fills the cells of each member's box, (N, GRID * GRID), of mean 0 and length 1."""
    place = (np.arange(2 * GRID) + 0.5) / (2 * GRID)
    along = b.left[:, None] + (b.right - b.left)[:, None] * place
    across = b.top[:, None] + (b.bottom - b.top)[:, None] * place
    values, _ = _sampled(strokes, along[:, None, :], across[:, :, None], angle)
    is_set = (values > threshold[:, None, None]).astype(np.float32)
    return _normed(is_set.reshape(-1, GRID, 2, GRID, 2).mean((2, 4)).reshape(len(threshold), -1))


def _normed(shapes: Numbers) -> Numbers:
    centred: Numbers = shapes - shapes.mean(1, keepdims=True)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6)
    return centred


@lru_cache(maxsize=1)
def _glyphs() -> tuple[Numbers, Numbers]:
    """Shapes and log of width by height of the letters of Pillow's typeface, light ones and then bold ones."""
    typeface = ImageFont.load_default(80)
    shapes, ratios = [], []
    for stroke in (0, 4):
        for glyph in GLYPHS:
            picture = Image.new("L", (160, 160))
            ImageDraw.Draw(picture).text((20, 20), glyph, 255, typeface, stroke_width=stroke)
            picture = picture.crop(picture.getbbox())
            shapes.append(np.asarray(picture.resize((GRID, GRID), Image.Resampling.BOX), np.float32).ravel())
            ratios.append(np.log(picture.width / picture.height))
    return _normed(np.array(shapes)), np.array(ratios, np.float32)


def _letters(shapes: Numbers, ratio: Numbers, m: Members) -> tuple[Numbers, ...]:
    """How like letters the members are: on average, share of good ones, number of different ones, share of bars."""
    glyphs, ratios = _glyphs()
    likeness = shapes @ glyphs.T - 0.5 * np.minimum(np.abs(np.log(ratio)[:, None] - ratios), 1)
    best = likeness.max(1)
    which = likeness.argmax(1) % len(GLYPHS)
    is_bar = ratio < BAR
    bars = m.mean(is_bar)
    mean = np.where(bars < 1, m.mean(np.where(is_bar, 0, best)) / np.maximum(1 - bars, 1e-6), 0.5)
    found = np.zeros((len(m.number), len(GLYPHS)))
    is_clear = ~is_bar & (best > 0.6)
    found[m.row[is_clear], which[is_clear]] = 1
    return mean, m.mean(~is_bar & (best > 0.7)), np.minimum(found.sum(1), 8), bars


def _differences(shapes: Numbers, size: Numbers, area: Numbers, m: Members) -> tuple[Numbers, ...]:
    """Of neighbours in a row: the share that is the same, the mean difference in size, the mean likeness of shape.

    size: widths and heights by the height of the row, (2, N).
    """
    one, other = (np.concatenate(v) for v in zip(*(m.pairs(lag) for lag in range(1, NEAR + 1)), strict=True))
    by_size = np.abs(size[:, one] - size[:, other]).max(0)
    by_area = np.abs(area[one] - area[other]) / np.maximum(area[one], area[other])
    alike = (shapes[one] * shapes[other]).sum(1)
    row = m.row[one]
    number = np.bincount(row, minlength=len(m.number))
    columns = ((by_size < 0.07) & (by_area < 0.1), np.minimum(np.maximum(by_size, by_area), 1), alike)
    same, diverse, likeness = (np.bincount(row, v, len(m.number)) / number for v in columns)
    return same, diverse, likeness
