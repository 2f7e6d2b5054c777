"""Charts of the benchmarks, drawn by Pillow alone: bars side by side, and lines on logarithmic axes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WIDTH = 1600  # px; shown at half of that
PAPER, CARD, EDGE, INK, MUTED = "#f6f3ee", "#fffdfa", "#d9d1c4", "#2b2622", "#6f665c"  # the window's own light palette
COLOURS = ("#8b8178", "#c2452d", "#1f6fb2", "#0a7d5c", "#cfc5b6")
_GAP = 40


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its length, what stands behind it, and which of `COLOURS` it has."""

    name: str
    value: float
    text: str
    colour: int = 0


@dataclass(frozen=True)
class Bars:
    """A panel of horizontal bars from zero. note: a line below, in small letters."""

    title: str
    bars: Sequence[Bar]
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """Points of a line on logarithmic axes, both coordinates above 0."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: int = 1


@dataclass(frozen=True)
class Curves:
    """A panel of curves over one quantity. linear: whether a line of slope 1 is drawn to compare with."""

    title: str
    across: str
    up: str
    curves: Sequence[Curve] = field(default_factory=tuple)
    linear: bool = True


def draw_bars(path: Path, title: str, rows: Sequence[tuple[str, Sequence[Bars]]]) -> None:
    """Rows of panels, each row with its heading; as high as it needs."""
    heights = [_row_height(panels) for _, panels in rows]
    image = Image.new("RGB", (WIDTH, 110 + sum(h + 110 for h in heights)), PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((_GAP, 36), title, INK, _font(44))
    top = 110
    for (heading, panels), height in zip(rows, heights, strict=True):
        pen.text((_GAP, top + 18), heading, MUTED, _font(28))
        top += 70
        for box, panel in zip(_boxes(len(panels), top, height), panels, strict=True):
            _bars(pen, box, panel)
        top += height + _GAP
    _save(image, path)


def draw_curves(path: Path, title: str, panels: Sequence[Curves]) -> None:
    """Panels of curves, two beside each other."""
    height, rows = 560, -(-len(panels) // 2)
    image = Image.new("RGB", (WIDTH, 120 + rows * (height + _GAP)), PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((_GAP, 36), title, INK, _font(44))
    for i, panel in enumerate(panels):
        top = 120 + i // 2 * (height + _GAP)
        _curves(pen, _boxes(2, top, height)[i % 2], panel)
    _save(image, path)


def _row_height(panels: Sequence[Bars]) -> int:
    return 104 + max(len(p.bars) for p in panels) * 84 + (46 if any(p.note for p in panels) else 0)


def _boxes(count: int, top: int, height: int) -> list[tuple[int, int, int, int]]:
    width = (WIDTH - _GAP * (count + 1)) // count
    lefts = [_GAP + i * (width + _GAP) for i in range(count)]
    return [(left, top, left + width, top + height) for left in lefts]


def _bars(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], panel: Bars) -> None:
    left, top, right, bottom = box
    pen.rounded_rectangle(box, 16, CARD, EDGE, 2)
    pen.text((left + 28, top + 22), panel.title, INK, _font(30))
    scale = min((right - left - 80 - pen.textlength(b.text, _font(28))) / b.value for b in panel.bars)
    for i, bar in enumerate(panel.bars):
        y, end = top + 82 + i * 84, left + 28 + max(3, scale * bar.value)
        pen.text((left + 28, y), bar.name, MUTED, _font(25))
        pen.rectangle((left + 28, y + 36, end, y + 66), COLOURS[bar.colour])
        pen.text((end + 16, y + 51), bar.text, INK, _font(28), anchor="lm")
    if panel.note:
        pen.text((left + 28, bottom - 44), panel.note, MUTED, _font(23))


def _curves(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], panel: Curves) -> None:
    left, top, right, bottom = box
    pen.rounded_rectangle(box, 16, CARD, EDGE, 2)
    pen.text((left + 28, top + 22), panel.title, INK, _font(30))
    points = [p for c in panel.curves for p in c.points]
    xs, ys = (sorted(math.log10(p[i]) for p in points) for i in (0, 1))
    frame = (left + 110, top + 84, right - 40, bottom - 100 - 34 * (len(panel.curves) - 1))
    low, high = math.floor(ys[0]), max(math.ceil(ys[-1]), math.floor(ys[0]) + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - xs[0]) / max(1e-9, xs[-1] - xs[0])
        return frame[0] + across * (frame[2] - frame[0]), frame[3] - (y - low) / (high - low) * (frame[3] - frame[1])

    for decade in range(low, high + 1):
        y = place(0, decade)[1]
        pen.line((frame[0], y, frame[2], y), EDGE, 2)
        pen.text((frame[0] - 14, y), _short(10.0**decade), MUTED, _font(22), anchor="rm")
    for x in sorted({p[0] for p in points}):
        pen.text((place(math.log10(x), low)[0], frame[3] + 10), _short(x), MUTED, _font(22), anchor="ma")
    pen.text((frame[2], top + 30), panel.up, MUTED, _font(22), anchor="ra")
    pen.text((left + 28, frame[3] + 42), panel.across, MUTED, _font(22))
    for i, curve in enumerate(panel.curves):
        colour = COLOURS[curve.colour % len(COLOURS)]
        placed = [place(math.log10(x), math.log10(y)) for x, y in curve.points]
        if panel.linear:
            _slope_one(pen, place, curve, high)
        pen.line(placed, colour, 5, joint="curve")
        for x, y in placed:
            pen.ellipse((x - 8, y - 8, x + 8, y + 8), colour)
        y = frame[3] + 46 + 34 * i
        half = (left + right) // 2 - 120
        pen.ellipse((half, y + 6, half + 16, y + 22), colour)
        pen.text((half + 28, y), curve.name, INK, _font(22))


def _slope_one(pen: ImageDraw.ImageDraw, place: object, curve: Curve, high: float) -> None:
    """Dots where linear growth from the first point would go."""
    assert callable(place)
    (x0, y0), x1 = curve.points[0], curve.points[-1][0]
    span = math.log10(x1 / x0)
    for i in range(41):
        y = math.log10(y0) + span * i / 40
        if y <= high:
            x, y = place(math.log10(x0) + span * i / 40, y)
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), COLOURS[curve.colour % len(COLOURS)])


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"drawn: {path}")
