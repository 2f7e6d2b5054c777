"""Blur, the blocks of JPEG, and bars at the edges, measured in a picture's luma. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Floats = NDArray[Any]  # float32

BAR_LEVELS = 14  # how far JPEG takes a pixel of a plain bar away from the bar's grey
BAR_STRAY = 0.02  # share of a bar's line that may be farther away still
BAR_EDGE_LEVELS = 10  # where a bar ends, the picture differs by at least this
BAR_EDGE = 0.55  # share of the length along which it must; a figure before a plain ground begins along less
BAR_BEYOND = 0.35  # share of the pixels behind that end which differ from the bar
BAR_STEEP = 0.25  # share of the difference behind it that is reached within 3 px of the end
BAR_FRAY = 16  # px, the largest block of JPEG
BAR_LARGEST = 0.42  # of the side
GRID_AREA = 640  # px at the middle in which the grid is looked for
LARGEST_STEP = 32  # levels between two blocks
FEWEST_VALUES = 16  # of one wave, not rounded to nothing
NEAR_MULTIPLES = 0.5  # mean cosine of their places between multiples of the step: 1 upon them, about 0 anywhere
LONE_BAR_LARGEST = 0.2  # of the side, with none opposite: a plain sky over a level sea is larger


class Border(NamedTuple):
    """Plain bars, px."""

    left: int
    top: int
    right: int
    bottom: int


def border(pixels: Bytes) -> Border:
    """Bars of one colour at the edges of (H, W, 3), each with a straight end along most of its length.

    A plain ground around a drawn figure is none: the figure begins at another depth in each column.
    """
    top, bottom = _bars(pixels)
    left, right = _bars(pixels[top : len(pixels) - bottom].swapaxes(0, 1))
    if (left or right) and not (top or bottom):  # a frame's upper bar may end along the inner part only
        top, bottom = _bars(pixels[:, left : pixels.shape[1] - right])
    return Border(left, top, right, bottom)


def _bars(pixels: Bytes) -> tuple[int, int]:
    """Depth of the bars at the start and the end of the rows of (H, W, 3)."""
    if min(pixels.shape[:2]) < 16:
        return 0, 0
    step = max(1, pixels.shape[1] // 256)
    lines = pixels[:, step // 2 :: step].astype(np.int16)
    first, last = _bar(lines), _bar(lines[::-1])
    if not (first and last) and max(first, last) > LONE_BAR_LARGEST * len(pixels):
        return 0, 0
    return first, last


def _bar(lines: NDArray[np.int16]) -> int:
    """Depth of the bar at the first of the lines (H, W, 3), or 0."""
    colour = np.median(lines[:2], (0, 1))
    reach = lines[: int(BAR_LARGEST * len(lines)) + BAR_FRAY + 3]
    if (np.abs(reach[0] - colour).max(1) > BAR_LEVELS).mean() > BAR_STRAY:
        return 0
    away = np.abs(reach - colour).max(2)
    plain = (away > BAR_LEVELS).mean(1) < BAR_STRAY
    stray = int(plain.argmin())
    if plain[stray] or stray + 3 >= len(reach):
        return 0
    fray = min(BAR_FRAY, len(lines) // 32)
    typical = np.median(away[stray : stray + fray + 3], 1)
    end = stray + int((typical > typical.max() / 2).argmax())  # JPEG frays a bar's end
    jump = np.abs(lines[end : end + 3] - np.median(lines[max(0, stray - 8) : max(1, stray - 3)], 0)).max((0, 2))
    straight = (away[max(0, end - 3)] > 2 * BAR_LEVELS).mean() < 0.2  # just before, hardly anything has begun
    rise = np.median(np.abs(lines[end + 1] - lines[max(0, end - 3)]).max(1))
    beyond = away[end + 2 : end + 2 + max(4, len(lines) // 12)]
    if not len(beyond):
        return 0
    found = (
        straight
        and (jump > BAR_EDGE_LEVELS).mean() > BAR_EDGE
        and (beyond > BAR_EDGE_LEVELS).mean() > BAR_BEYOND  # a line is crossed, a bar is left
        and rise > BAR_STEEP * np.median(beyond.max(0))  # a glow rises slowly
    )
    return end if found else 0


def blockiness(luma: Bytes) -> float:
    """How coarsely JPEG once rounded (H, W), relative to quality 50: about 0.5 for 75, 2 for 25; 0 if nothing shows it.

    What is rounded stays visible in any file format: in the right 8 x 8 grid, the cosine transform's values lie near the
    multiples of one step (after Fan and de Queiroz 2003, https://doi.org/10.1109/TIP.2002.807361). Unlike the height of
    the steps between blocks, which finds the grid here, that depends little on what the picture shows.

    Args:
        luma: as decoded; a crop has its grid elsewhere, a rescaled picture has none any more.
    """
    if min(luma.shape) < 64:
        return 0.0
    rows, columns = (min(n, GRID_AREA) for n in luma.shape)
    top, left = ((n - m) // 2 // 8 * 8 for n, m in zip(luma.shape, (rows, columns), strict=True))
    middle = luma[top : top + rows, left : left + columns]
    down, across = _grids(middle.T), _grids(middle)
    return max(_rounding(middle[y:, x:]) for y in down for x in across)


def _grids(luma: Bytes) -> set[int]:
    """Columns of (H, W), modulo 8, at which blocks may begin: 0, and where small steps stand out the most."""
    luma = np.ascontiguousarray(luma)
    step = np.maximum(luma[:, 1:], luma[:, :-1]) - np.minimum(luma[:, 1:], luma[:, :-1])
    centre, around = step[:, 1:-1], np.maximum(step[:, :-2], step[:, 2:])
    stands_out = (centre > around) & (centre < LARGEST_STEP)
    profile = stands_out.sum(0)[: stands_out.shape[1] // 8 * 8].reshape(-1, 8).mean(0)
    return {0, (int(profile.argmax()) + 2) % 8}


def _rounding(luma: Bytes) -> float:
    """Median of the steps found in (H, W) whose blocks begin at its corner, as shares of those of quality 50."""
    rows, columns = (n // 8 for n in luma.shape)
    blocks = luma[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).swapaxes(1, 2).reshape(-1, 64)
    wanted = (blocks.min(1) > 2) & (blocks.max(1) < 253)  # what was cut off at black or white fits no step
    values = blocks[wanted].astype(np.float32) @ _WAVES.T
    found = []
    for value, (_, _, step) in zip(np.abs(values).T, _TABLE, strict=True):
        counts = np.bincount((value * 2 + 0.5).astype(np.int64).clip(0, _BINS), minlength=_BINS + 1)[:_BINS]
        number = counts @ _BEYOND
        near = (counts @ _NEAR) / np.maximum(number, 1)
        sure = (number >= FEWEST_VALUES) & (near > NEAR_MULTIPLES)
        found.append(float(_STEPS[sure][-1]) / step if sure.any() else 0.0)
    return float(np.median(found))


# (down, across, step at quality 50) of the waves looked at: JPEG's luma table, ITU-T T.81, annex K
_TABLE = ((0, 1, 11), (1, 0, 12), (1, 1, 12), (0, 2, 10), (2, 0, 14), (1, 2, 14), (2, 1, 13), (0, 3, 16), (3, 0, 14))
_BINS = 512  # of half a level
_STEPS = np.unique(np.geomspace(4, 120, 90).round(1))
_POSITIONS = np.arange(_BINS)[:, None] / 2
_BEYOND = (_POSITIONS > _STEPS / 4).astype(np.float64)
_NEAR = _BEYOND * np.cos(2 * np.pi * _POSITIONS / _STEPS)


def _wave(down: int, across: int) -> Floats:
    """(64,) of the orthonormal cosine transform of 8 x 8."""
    at = (np.arange(8) + 0.5) * np.pi / 8
    wave = np.outer(np.cos(at * down), np.cos(at * across))
    flat: Floats = (wave / np.sqrt((wave**2).sum())).astype(np.float32).ravel()
    return flat


_WAVES = np.stack([_wave(down, across) for down, across, _ in _TABLE])
