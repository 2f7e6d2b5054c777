"""The arithmetic of the crop editor: rectangles that are dragged, keep a ratio and stay in the picture; what training sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.picture_scan import MUCH_ENLARGED
from app.texts import tr
from trainer import buckets

if TYPE_CHECKING:
    from trainer.edits import Box
    from trainer.pixels import Fit

Rectangle = tuple[float, float, float, float]  # left, top, right, bottom in px of the picture
Size = tuple[int, int]
Point = tuple[float, float]
SMALLEST_PX = 16  # of a crop's side; less cannot be meant


def moved(box: Rectangle, by: Point, size: Size) -> Rectangle:
    """The rectangle elsewhere, but within the picture."""
    left = min(max(0.0, box[0] + by[0]), size[0] - (box[2] - box[0]))
    top = min(max(0.0, box[1] + by[1]), size[1] - (box[3] - box[1]))
    return left, top, left + box[2] - box[0], top + box[3] - box[1]


def dragged(box: Rectangle, handle: tuple[int, int], to: Point, size: Size, ratio: float | None) -> Rectangle:
    """The rectangle with one of its corners or edges elsewhere; the opposite one stays.

    Args:
        box: the rectangle before.
        handle: -1, 0 or 1 across and down: (-1, -1) is the left top corner, (1, 0) the right edge.
        to: where it is dragged.
        size: of the picture.
        ratio: width by height to be kept, None for none.
    """
    if ratio is None:
        left, right = _side(box[0], box[2], handle[0], to[0], size[0])
        top, bottom = _side(box[1], box[3], handle[1], to[1], size[1])
        return left, top, right, bottom
    anchors = [
        (near if sign > 0 else far if sign < 0 else (near + far) / 2)
        for near, far, sign in ((box[0], box[2], handle[0]), (box[1], box[3], handle[1]))
    ]
    room = [
        (whole - anchor if sign > 0 else anchor if sign < 0 else float(whole))
        for whole, anchor, sign in zip(size, anchors, handle, strict=True)
    ]
    wanted_x, wanted_y = ((to[i] - anchors[i]) * handle[i] for i in (0, 1))
    width = max(wanted_x if handle[0] else 0.0, wanted_y * ratio if handle[1] else 0.0, SMALLEST_PX * max(1, ratio))
    width = min(width, room[0], room[1] * ratio)
    left, right = _beside(anchors[0], width, handle[0], size[0])
    top, bottom = _beside(anchors[1], width / ratio, handle[1], size[1])
    return left, top, right, bottom


def of_ratio(box: Rectangle, ratio: float, centre: Point) -> Rectangle:
    """The largest rectangle of a ratio within another one, with its middle as near as it can be to `centre`."""
    width, height = box[2] - box[0], box[3] - box[1]
    new = (min(width, height * ratio), min(height, width / ratio))
    left = min(max(box[0], centre[0] - new[0] / 2), box[2] - new[0])
    top = min(max(box[1], centre[1] - new[1] / 2), box[3] - new[1])
    return left, top, left + new[0], top + new[1]


def rounded(box: Rectangle, size: Size) -> Box:
    """In whole px, within the picture."""
    left, top = (min(max(0, round(at)), whole - 1) for at, whole in zip(box[:2], size, strict=True))
    width, height = max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1]))
    return left, top, min(size[0], left + width), min(size[1], top + height)


def seen(fit: Fit, size: Size) -> Rectangle:
    """The part of a picture that is trained, in its px.

    Args:
        fit: how it is trained, the user's crop included.
        size: of the picture upright.
    """
    left, top, right, bottom = fit.box or (0, 0, *size)
    scale_x, scale_y = (right - left) / fit.resized[0], (bottom - top) / fit.resized[1]
    x, y = left + fit.corner[0] * scale_x, top + fit.corner[1] * scale_y
    return x, y, x + fit.size[0] * scale_x, y + fit.size[1] * scale_y


def sentences(fit: Fit, size: Size) -> tuple[str, str]:
    """What training makes of a picture, and a warning when it is enlarged much, else empty."""
    box = fit.box or (0, 0, *size)
    area = (box[2] - box[0]) * (box[3] - box[1])
    lost, further = 1 - area / (size[0] * size[1]), buckets.cropped_share(fit)
    out = [tr("Trained at {w} × {h} px.", w=fit.size[0], h=fit.size[1])]
    total = 1 - (1 - lost) * (1 - further)
    if total < 0.005:
        out.append(tr("Nothing is cut away."))
    elif lost < 0.005:
        out.append(tr("{percent} % is cut away to fit that size.", percent=_percent(further)))
    else:
        out.append(tr("{percent} % of the picture is cut away.", percent=_percent(total)))
        if further >= 0.005:
            out.append(tr("Of your crop, {percent} % is lost to fit that size.", percent=_percent(further)))
    times = fit.resized[0] / (box[2] - box[0])
    if times > 1.005:
        out.append(tr("It is enlarged {times:.2g} times.", times=times))
    elif times < 0.995:
        out.append(tr("It is made smaller, to {percent} %.", percent=_percent(times)))
    is_soft = times > MUCH_ENLARGED
    text = " ".join(out).replace(" %", "\u00a0%").replace(" px", "\u00a0px")
    return text, tr("Enlarged so much it looks soft, and the LoRA learns that.") if is_soft else ""


def _percent(share: float) -> int:
    percent = max(1, round(100 * share))
    return min(percent, 99) if share < 1 else percent


def _side(near: float, far: float, sign: int, to: float, whole: int) -> tuple[float, float]:
    """One axis of a free rectangle."""
    smallest = min(SMALLEST_PX, whole)
    if sign < 0:
        return min(max(0.0, to), far - smallest) if far >= smallest else 0.0, max(far, float(smallest))
    if sign > 0:
        return min(near, float(whole - smallest)), max(min(float(whole), to), min(near, whole - smallest) + smallest)
    return near, far


def _beside(anchor: float, length: float, sign: int, whole: int) -> tuple[float, float]:
    """From the anchor in a direction, or around it."""
    if sign:
        return (anchor, anchor + length) if sign > 0 else (anchor - length, anchor)
    start = min(max(0.0, anchor - length / 2), whole - length)
    return start, start + length
