"""How far two thumbnails differ once one is laid over the other, as a crop of the same picture. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]  # float32
    Indices = NDArray[np.intp]

SIDE, COARSE_SIDE, CHROMA_SIDE = 48, 16, 8
LARGEST_CROP = 0.095  # of a picture at each side, which a copy may lack; 0.08 and what the estimate may be off
BRIGHTEST = 245.0  # levels from which on a brightened copy may have lost what was there
LARGEST_TINT = 8.0  # levels of Cb and Cr, on the mean, in the same place
NOISE_LEVELS = 2.5  # what JPEG of quality 40 leaves in a cell of the thumbnail
SLIP_CELLS = 0.2  # how far an edge may lie off after the estimate, in cells of the thumbnail
SAME = 2.2  # largest disagreement of one place, in units of what the two above allow
GAIN = (0.75, 1.33)
_ENDS = ((0.0, 0.0), (0.06, 0.0), (0.0, 0.06), (0.06, 0.06))  # cut from both ends of a side
CROPS = tuple((across, down) for across in _ENDS for down in _ENDS)


class Thumbnails(NamedTuple):
    """Of N pictures."""

    luma: Floats  # (N, 48, 48), 0 to 255
    coarse: Floats  # (N, 16, 16)
    chroma: Floats  # (N, 2, 8, 8)
    ratio: Floats  # (N,), width / height


def disagreement(seen: Thumbnails, whole: Indices, part: Indices, crop: Indices) -> Floats:
    """(P,) how far `part` differs from the likest part of `whole` at its worst place.

    In units of what JPEG and resampling explain; inf if they are not alike at all.
    """
    out = np.full(len(whole), np.inf, np.float32)
    stretch = seen.ratio[part] / seen.ratio[whole]  # zoom in x over zoom in y
    start = np.array(CROPS, np.float32)[crop]  # (P, across or down, both ends)
    x, y = (0.5 + (start[:, side, 0] - start[:, side, 1]) / 2 for side in (0, 1))
    place = _Place(x, y, np.minimum(1 - start[:, 1].sum(1), 1 / stretch), stretch)
    alive = np.arange(len(whole))
    for images, rounds, limit in ((seen.coarse, 3, 8 * SAME), (seen.coarse, 4, 4 * SAME), (seen.luma, 4, np.inf)):
        if not alive.size:
            break
        place, worst = _laid_over(images[whole[alive]], images[part[alive]], place, rounds)
        keep = worst < limit
        alive, worst, place = alive[keep], worst[keep], _Place(*(values[keep] for values in place))
    if not alive.size:
        return out
    cells = np.abs(_warped(seen.chroma[whole[alive]], place, CHROMA_SIDE) - seen.chroma[part[alive]])
    worst = np.maximum(worst, cells.mean((1, 2, 3)) * (SAME / LARGEST_TINT))
    out[alive] = np.where(_within_reach(place), worst, np.inf)
    return out


class _Place(NamedTuple):
    """Where parts lie in wholes, each (P,): the middle, the height as a share, and how much wider than high the share is."""

    x: Floats
    y: Floats
    zoom: Floats
    stretch: Floats


def _warped(images: Floats, place: _Place, side: int) -> Floats:
    """(P, ..., side, side): the parts of (P, ..., side, side), by bilinear interpolation, edges repeated."""
    here = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    across, down = (
        _kernel(_cells(middle, zoom, here, side).clip(0, side - 1)[:, :, None] - np.arange(side, dtype=np.float32))
        for middle, zoom in ((place.x, place.zoom * place.stretch), (place.y, place.zoom))
    )
    if images.ndim == 4:
        across, down = across[:, None], down[:, None]
    warped: Floats = down @ images @ across.swapaxes(-1, -2)
    return warped


def _within_reach(place: _Place) -> NDArray[np.bool_]:
    """(P,) whether no side of either picture lacks more than a copy may lack."""
    near: NDArray[np.bool_] = np.ones(len(place.zoom), np.bool_)
    for middle, zoom in ((place.y, place.zoom), (place.x, place.zoom * place.stretch)):
        away = np.abs(middle - 0.5)
        near &= (away + (1 - zoom) / 2 < LARGEST_CROP) & (away - (1 - zoom) / 2 < LARGEST_CROP * zoom)
    return near


def _kernel(distance: Floats) -> Floats:
    """Keys' cubic convolution, 1981: keeps what a thumbnail has of detail, where linear interpolation would blur it."""
    d = np.abs(distance)
    near, far = (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    out: Floats = np.where(d < 1, near, np.where(d < 2, far, 0)).astype(np.float32)
    total: Floats = out @ np.ones((out.shape[-1], 1), np.float32)  # a sum, but faster
    return out / total


def _cells(middle: Floats, zoom: Floats, here: Floats, side: int) -> Floats:
    cells: Floats = (middle[:, None] + zoom[:, None] * here) * side - np.float32(0.5)
    return cells


def _laid_over(whole: Floats, part: Floats, place: _Place, rounds: int) -> tuple[_Place, Floats]:
    """Better places after some rounds of Lucas-Kanade, and the disagreement (P,) there (inf where the estimate ran away)."""
    count, side = len(part), part.shape[-1]
    here = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    down, across = np.gradient(part, axis=(1, 2))
    slopes = np.stack([across * side, down * side, (across * here + down * here[:, None]) * side], 1).reshape(
        count, 3, side * side
    )
    base = np.concatenate([slopes, part.reshape(count, 1, -1), np.ones((count, 1, side * side), np.float32)], 1)
    normal = base @ base.swapaxes(1, 2)
    ridge = np.array([1.0, 1.0, 1.0, 1e-3, 1e-6]) * side * side * 4
    solve = np.linalg.inv(normal.astype(np.float64) + np.diag(ridge)).astype(np.float32)
    for _ in range(rounds):
        seen = _warped(whole, place, side).reshape(count, -1, 1)
        shift = (solve @ (base @ seen))[..., 0]
        moves = np.clip(shift[:, :3] / np.maximum(shift[:, 3:4], 0.3), -0.08, 0.08)
        zoom = np.clip(place.zoom / (1 + moves[:, 2]), 0.6, 1.5)
        place = _Place(np.clip(place.x - zoom * place.stretch * moves[:, 0], 0.3, 0.7),
                       np.clip(place.y - zoom * moves[:, 1], 0.3, 0.7), zoom, place.stretch)  # fmt: skip
    return place, _worst(whole, part, place)


def _worst(whole: Floats, part: Floats, place: _Place) -> Floats:
    """(P,) the largest disagreement of 3 x 3 cells, each side's brightness and contrast made equal."""
    side = part.shape[-1]
    here = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    inside = [
        np.abs(_cells(middle, zoom, here, side) - (side - 1) / 2) <= side / 2
        for middle, zoom in ((place.y, place.zoom), (place.x, place.zoom * place.stretch))
    ]
    mask = (inside[0][:, :, None] & inside[1][:, None]).astype(np.float32)
    mask[:, [0, -1]] = mask[:, :, [0, -1]] = 0  # cells at an edge hold nothing of what lies beyond it
    seen = _warped(whole, place, side)
    part = softened(part, ((1 / np.minimum(1, place.zoom) ** 2 - 1) * 0.33).astype(np.float32))
    fit = mask * (_boxed(np.maximum(seen, part) > BRIGHTEST) == 0)
    fit = np.where(fit.sum((1, 2), keepdims=True) > 0.05 * side * side, fit, mask)
    weight = 1 / np.maximum(fit.sum((1, 2), keepdims=True), 1)
    mean, mean_part = ((i * fit).sum((1, 2), keepdims=True) * weight for i in (seen, part))
    power, power_part = (((i - m) ** 2 * fit).sum((1, 2), keepdims=True) for i, m in ((seen, mean), (part, mean_part)))
    gain = np.sqrt((power + side * side) / (power_part + side * side))
    expected = gain * (part - mean_part) + mean
    low, high = np.minimum(expected, part), np.maximum(expected, part)  # what was near white stays as it was
    wrong = _boxed(((seen - np.clip(seen, low, high)) * mask) ** 2)
    slopes = np.gradient(part, axis=(1, 2))
    allowed = NOISE_LEVELS**2 + SLIP_CELLS**2 * _boxed(slopes[0] ** 2 + slopes[1] ** 2)
    worst: Floats = np.sqrt((wrong / allowed).max((1, 2), initial=0))
    gain = gain[:, 0, 0]
    off = (gain < GAIN[0]) | (gain > GAIN[1])
    return np.where(off, np.float32(np.inf), worst)


def softened(images: Floats, share: Floats) -> Floats:
    """(P, H, W) with `share` (P,) of each cell exchanged with either neighbour, in both directions."""
    share = share[:, None, None]
    for axis in (1, 2):
        padded = np.pad(images, [(0, 0), *((1, 1) if a == axis else (0, 0) for a in (1, 2))], "edge").swapaxes(1, axis)
        images = ((1 - 2 * share) * padded[:, 1:-1] + share * (padded[:, :-2] + padded[:, 2:])).swapaxes(1, axis)
    return images


def _boxed(values: NDArray[Any]) -> Floats:
    """Means over 3 x 3, at the edges of what there is."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), "edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    out: Floats = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9
    return out
