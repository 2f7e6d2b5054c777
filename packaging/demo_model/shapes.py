"""Shapes in [-1, 1]² and the styles that paint them: flat, ink, neon.

A subject is a list of shapes; y points down. A style decides how a shape with a role (its meaning, such as "main" or
"eye") becomes pixels, so one subject can be drawn in every style. Imports only Pillow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

Point = tuple[float, float]
Colour = tuple[int, int, int]

OVERSAMPLING = 3  # drawn at 3 x and box-reduced: antialiasing that Pillow's drawing lacks


@dataclass(frozen=True)
class Shape:
    """One painted part.

    points: outline or path in [-1, 1]². role: a key of the palette. width: 0 for a filled shape, else the stroke's width
    in the same units.
    """

    points: tuple[Point, ...]
    role: str
    width: float = 0.0


def polygon(role: str, *points: Point) -> Shape:
    """A filled polygon."""
    return Shape(tuple(points), role)


def stroke(role: str, width: float, *points: Point) -> Shape:
    """A line through the points, with round ends."""
    return Shape(tuple(points), role, width)


def ellipse(role: str, x: float, y: float, rx: float, ry: float | None = None, turn_deg: float = 0.0) -> Shape:
    """A filled ellipse around (x, y), turned clockwise; a circle when `ry` is left out."""
    ry = rx if ry is None else ry
    cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    points = []
    for i in range(40):
        u, v = rx * math.cos(i * math.tau / 40), ry * math.sin(i * math.tau / 40)
        points.append((x + u * cos - v * sin, y + u * sin + v * cos))
    return Shape(tuple(points), role)


def arc(role: str, width: float, x: float, y: float, r: float, start_deg: float, end_deg: float) -> Shape:
    """Part of a circle as a stroke; degrees clockwise from the right."""
    angles = [math.radians(start_deg + (end_deg - start_deg) * i / 14) for i in range(15)]
    return Shape(tuple((x + r * math.cos(a), y + r * math.sin(a)) for a in angles), role, width)


def placed(
    shapes: Sequence[Shape], *, x: float, y: float, scale: float, turn_deg: float, mirrored: bool
) -> list[Shape]:
    """The same shapes, mirrored, turned, scaled and moved, in this order."""
    cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    out = []
    for shape in shapes:
        points = []
        for u, v in shape.points:
            u = -u if mirrored else u
            points.append((x + scale * (u * cos - v * sin), y + scale * (u * sin + v * cos)))
        out.append(Shape(tuple(points), shape.role, shape.width * scale))
    return out


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` moved towards `b` by `share` in [0, 1]."""
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


def rgb(name: str) -> Colour:
    """The colour of a hex string."""
    return ImageColor.getrgb(name)[:3]  # type: ignore[return-value]


Palette = dict[str, Colour]
Style = Callable[[Image.Image, Sequence[Shape], Palette], Image.Image]


def flat(canvas: Image.Image, shapes: Sequence[Shape], palette: Palette) -> Image.Image:
    """Filled areas without outlines."""
    draw = ImageDraw.Draw(canvas)
    for shape in shapes:
        _paint(draw, shape, palette[shape.role], canvas.width)
    return canvas


def ink(canvas: Image.Image, shapes: Sequence[Shape], palette: Palette) -> Image.Image:
    """Filled areas with a dark outline, as in a comic."""
    draw = ImageDraw.Draw(canvas)
    line = rgb("#1d1a26")
    for shape in shapes:
        if shape.width:
            wider = Shape(shape.points, shape.role, shape.width + 0.07)
            if shape.width > 0.07:
                _paint(draw, wider, line, canvas.width)
            _paint(draw, shape, palette[shape.role], canvas.width)
        else:
            _paint(draw, shape, palette[shape.role], canvas.width)
            xs = [x for x, _ in shape.points]
            if shape.role != "black":  # small parts get a thinner line, so that an eye stays an eye
                width = min(0.05, (max(xs) - min(xs)) * 0.12)
                _paint(draw, Shape((*shape.points, shape.points[0]), shape.role, width), line, canvas.width)
    return canvas


def neon(canvas: Image.Image, shapes: Sequence[Shape], palette: Palette) -> Image.Image:
    """Glowing tubes on a dark wall: outlines only, a wide soft glow, a bright core."""
    tubes = Image.new("RGB", canvas.size, (0, 0, 0))
    core = Image.new("RGB", canvas.size, (0, 0, 0))
    draw, draw_core = ImageDraw.Draw(tubes), ImageDraw.Draw(core)
    for shape in shapes:
        glow = _electric(palette[shape.role])
        line = shape.points if shape.width else (*shape.points, shape.points[0])
        if not shape.width:  # a tube in front hides those behind it
            _paint(draw, shape, (0, 0, 0), canvas.width)
            _paint(draw_core, shape, (0, 0, 0), canvas.width)
        _paint(draw, Shape(tuple(line), shape.role, 0.075), glow, canvas.width)
        _paint(draw_core, Shape(tuple(line), shape.role, 0.03), mix(glow, (255, 255, 255), 0.75), canvas.width)
    radius = canvas.width / 26
    haze = tubes.filter(ImageFilter.GaussianBlur(radius)).point(lambda v: min(255, int(v * 1.5)))
    wall = Image.new("RGB", canvas.size, rgb("#120f2c"))
    lit = ImageChops.add(wall, haze)
    return ImageChops.lighter(ImageChops.lighter(lit, tubes), core)


def _electric(colour: Colour) -> Colour:
    """The colour at full brightness; dark ones become a cold blue."""
    if max(colour) < 90:
        return rgb("#38d6ff")
    gain = 255 / max(colour)
    return tuple(min(255, round(v * gain)) for v in colour)  # type: ignore[return-value]


def _paint(draw: ImageDraw.ImageDraw, shape: Shape, colour: Colour, size_px: int) -> None:
    points = [((x + 1) / 2 * size_px, (y + 1) / 2 * size_px) for x, y in shape.points]
    if not shape.width:
        draw.polygon(points, fill=colour)
        return
    width = max(1, round(shape.width / 2 * size_px))
    draw.line(points, fill=colour, width=width, joint="curve")
    r = width / 2
    for x, y in (points[0], points[-1]):
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
