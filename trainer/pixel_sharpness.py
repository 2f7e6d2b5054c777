"""How sharp a picture is where it is sharpest, at the size at which it is trained. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]  # float32

BLURRED = 0.28  # of sharpness: an edge takes more than 3.5 px; Gaussian blur of 1.8 px, or enlarged about 4 times
LEAST_CONTRAST = 24  # levels within 24 px, below which there is no edge to judge
LARGEST_NOISE = 5.0  # levels of the slopes in flat places; where all is steeper, it is texture
FEWEST_EDGES = 12  # places; with fewer, a picture is smooth because it shows something smooth
SHARPEST = 0.06  # share of the places with edges that decide: a sharp subject before a soft background is sharp
_PLACE = 8  # px
_WAYS = ((1, 0), (2, 1), (1, 1), (1, 2), (0, 1), (-1, 2), (-1, 1), (-2, 1))  # (x, y): every 22.5 degrees


def sharpness(luma: Image.Image, training_px: int) -> float:
    """The steepest share of an edge that lies within one pixel: about 1 for drawn edges, 0.5 in photographs, 0.1 if blurred.

    The width of edges tells blur, whatever their contrast and number (Marziliano et al. 2002,
    https://doi.org/10.1109/ICIP.2002.1038902; Crete et al. 2007, https://doi.org/10.1117/12.702790). Here: the steepest slope
    in each place of 8 x 8 px over the contrast around it, of the sharpest places. A movement leaves edges along it sharp, so
    what is much smoother in one direction than across it (by the exponent of the structure function) is judged in that one.

    Args:
        luma: grey, without bars at its edges.
        training_px: side of a square of the area at which it is trained; a larger picture is reduced to it before.
    """
    small = training_px / (luma.width * luma.height) ** 0.5
    if small < 1:
        size = (max(1, round(luma.width * small)), max(1, round(luma.height * small)))
        luma = luma.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    pixels = np.asarray(luma, np.float32)
    if min(pixels.shape) < 3 * _PLACE + 2:
        return 1.0
    steep, across = _edges(pixels)
    if len(steep) < FEWEST_EDGES:
        return 1.0
    value = _high(steep)
    exponents = np.array([_exponent(pixels, x, y) for x, y in _WAYS])
    way = int(exponents.argmax())
    smoother = exponents[way] - exponents[[(way + turn) % 8 for turn in (3, 4, 5)]].mean()
    along = np.abs((across - np.arctan2(*_WAYS[way][::-1]) + np.pi / 2) % np.pi - np.pi / 2) < np.pi / 10
    in_it = _high(steep[along]) if along.sum() > 8 else 1.0
    if exponents[way] > 1.4 and in_it < 0.3:
        return min(value, in_it, BLURRED * 0.99)
    if exponents[way] > 1.38 and smoother > 0.5:  # hardly an edge is left across the movement
        return min(value, BLURRED * 0.99)
    return value


def _high(steep: Floats) -> float:
    ordered = np.sort(steep)[::-1]
    return float(ordered[min(len(ordered) - 1, max(int(SHARPEST * len(ordered)), 4))])


def _edges(pixels: Floats) -> tuple[Floats, Floats]:
    """(P,) the steepness, 0 to 1, of the places of (H, W) with contrast, and (P,) the direction across it, 0 to pi."""
    right = pixels[:, 1:] - pixels[:, :-1]
    down = pixels[1:] - pixels[:-1]
    right, down = (right[:-1] + right[1:]) / 2, (down[:, :-1] + down[:, 1:]) / 2
    slope = _places(right**2 + down**2)
    at = slope.argmax(2)[..., None]
    steepest = np.sqrt(np.take_along_axis(slope, at, 2)[..., 0])
    direction = np.arctan2(*(np.take_along_axis(_places(v), at, 2)[..., 0] for v in (down, right))) % np.pi
    inner = _places(pixels[:-1, :-1])
    contrast = _around(inner.max(2), np.maximum) - _around(inner.min(2), np.minimum)
    noise = min(float(np.percentile(steepest, 10)), LARGEST_NOISE)
    edge = contrast > max(LEAST_CONTRAST, 5 * noise)
    steep = (steepest - noise)[edge] / np.maximum(contrast[edge] - noise, 1)
    return steep.clip(0, 1), direction[edge]


def _places(values: Floats) -> Floats:
    """(H, W) as (H / 8, W / 8, 64)."""
    rows, columns = (n // _PLACE for n in values.shape)
    cut = values[: rows * _PLACE, : columns * _PLACE].reshape(rows, _PLACE, columns, _PLACE)
    return cut.swapaxes(1, 2).reshape(rows, columns, -1)


def _around(values: Floats, extreme: np.ufunc) -> Floats:
    """The least or greatest of 3 x 3."""
    padded = np.pad(values, 1, "edge")
    rows = extreme(extreme(padded[:-2], padded[1:-1]), padded[2:])
    out: Floats = extreme(extreme(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return out


def _exponent(pixels: Floats, x: int, y: int) -> float:
    """How mean squared differences grow with distance in one direction: 2 where smooth, 1 for edges, less for texture."""
    if x < 0:
        pixels, x = pixels[:, ::-1], -x
    near, far = (
        float(
            np.mean((pixels[k * y :: 2, k * x :] - pixels[: len(pixels) - k * y : 2, : pixels.shape[1] - k * x]) ** 2)
        )
        for k in (1, 3)
    )
    return float(np.log((far + 1) / (near + 0.5)) / np.log(3))
