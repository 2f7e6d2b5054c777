"""Lettering laid over a picture: captions, addresses, watermarks, level or slanting, opaque or faint. Imports no torch.

Strokes are what a small opening takes away of the picture or of its negative (top-hat transform), at three scales. Pieces of
stroke that stand in a row (`trainer/pixel_lettering.py`) are lettering if what is measured of the row
(`trainer/pixel_letters.py`) speaks for it; the trees that weigh the measures rather miss some than find what is none.
Handwriting, words of fewer than four letters, and lettering as strong as the texture that it lies on are missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from trainer.pixel_letter_trees import lettering
from trainer.pixel_lettering import rows
from trainer.pixel_strokes import STROKE, opened, opened_without_lines, pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from trainer.pixel_lettering import Rows

LARGEST_SIDE = 896  # px at which small lettering is looked for
LARGEST_ENLARGEMENT = 1.75  # of small pictures, in which letters are small
CONTRASTS = {  # of each scale the levels between stroke and ground that are tried, faint to opaque; fine scales have more grain
    1: (28, 75),
    2: (12, 26, 50, 100),
    4: (10, 16, 26, 42, 70, 110),
}
LETTERING = 3.0  # log of odds; of 850 clean pictures, half textures, none has a row above it, at 2.75 two, at 2.5 four
COARSEST = max(CONTRASTS)
FAINT = 75  # levels between letters and ground, below which they are see-through
MANY_LINES = 3  # of lettering are a watermark that is repeated


class Overlay(NamedTuple):
    """Lettering: none (""), in lines ("text"), or half-transparent, large or repeated ("watermark"); left, top, right, bottom px."""

    kind: Literal["", "text", "watermark"] = ""
    box: tuple[int, int, int, int] = (0, 0, 0, 0)


def overlay(luma: Image.Image) -> Overlay:
    """What is written over an upright grey picture."""
    boxes, contrasts = [], []
    for found in candidates(luma):
        is_lettering = lettering(found.measures) > LETTERING
        boxes.append(found.box[is_lettering])
        contrasts.append(found.contrast[is_lettering])
    box: NDArray[Any] = np.concatenate(boxes) if boxes else np.empty((0, 4))
    if not len(box):
        return Overlay()
    is_faint = float(np.median(np.concatenate(contrasts))) < FAINT
    is_tall = float((box[:, 3] - box[:, 1]).max()) > 0.09 * luma.height
    is_repeated = len(np.unique(np.round(box[:, 1] / luma.height * 25))) >= MANY_LINES
    left, top = (int(v) for v in np.round(box[:, :2].min(0)))
    right, bottom = (int(v) for v in np.round(box[:, 2:].max(0)))
    return Overlay("watermark" if is_faint or is_tall or is_repeated else "text", (left, top, right, bottom))


def candidates(luma: Image.Image) -> Iterator[Rows]:
    """Rows of what may be letters, lighter or darker than their ground, at all scales; boxes in px of the picture."""
    small = min(LARGEST_ENLARGEMENT, LARGEST_SIDE / max(luma.size))
    width, height = (max(1, round(n * small)) for n in luma.size)
    picture = luma.resize((width, height), Image.Resampling.BOX if small < 1 else Image.Resampling.BICUBIC)
    for scale, contrasts in CONTRASTS.items():
        pixels = np.asarray(picture.reduce(scale) if scale > 1 else picture)
        if min(pixels.shape) < 3 * STROKE:
            return
        for side in (pixels, 255 - pixels):
            grounds = (opened(side), opened_without_lines(side)) if scale == COARSEST else (opened(side),)
            for ground in grounds:
                found = pieces(side, ground, contrasts)
                if found is not None:
                    for some in rows(found, side - ground):
                        yield some._replace(box=some.box * (scale / small))
