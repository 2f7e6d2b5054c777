"""Pictures with lettering of many kinds, and clean ones full of things in rows, drawn from a seed.

Lettering: large, repeated all over, a line anywhere, in a corner, in a strip, or a subtitle; the first three at any slant.
Clean: the tests' scenes and drawings, and textures that come near lettering: stripes, grids, checks, leaves, lines, motifs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests import pictures_drawn as drawn
from tests import planted_art as art
from tests import planted_marks as marks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Rng = np.random.Generator
    Size = tuple[int, int]
    Face = ImageFont.FreeTypeFont | ImageFont.ImageFont

CELL = 8  # px a side of what `Lettered.letters` tells
PILLOW = "Pillow"  # its own typeface
GROWN_FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansCondensed")
MEASURED_FACES = (*GROWN_FACES, "DejaVuSans-Oblique", "DejaVuSerif-Bold", "DejaVuSansMono", "DejaVuSansMono-Bold")
SYLLABLES = (
    "ka", "ro", "mi", "ten", "sol", "bur", "gan", "el", "tri", "no", "via", "pho", "ste", "lux", "art", "qu", "zi", "den",
)  # fmt: skip
PLAIN_WORDS = ("SAMPLE", "PREVIEW", "DRAFT", "PROOF", "COPYRIGHT", "WATERMARK")
GROUNDS = ("art", "art", "photo", "drawing")  # of lettered pictures


class Manner(NamedTuple):
    """Of a kind of lettering: px of its letters as shares of the height, its longest share of the width, and its opacity."""

    sizes: tuple[float, float]
    longest: tuple[float, float]
    opacity: tuple[float, float]
    is_slanting: bool = False


MANNERS = {
    "large": Manner((0.2, 0.25), (0.5, 0.85), (0.25, 0.6), is_slanting=True),
    "tiled": Manner((0.03, 0.08), (0.3, 0.6), (0.25, 0.6), is_slanting=True),
    "line": Manner((0.03, 0.12), (0.5, 0.7), (0.5, 1), is_slanting=True),
    "corner": Manner((0.03, 0.06), (0.3, 0.6), (0.6, 1)),
    "strip": Manner((0.03, 0.07), (0.5, 0.85), (1, 1)),
    "subtitle": Manner((0.035, 0.07), (0.5, 0.85), (1, 1)),
}
SMALLEST = 11  # px of letters


class Lettered(NamedTuple):
    """A grey picture with lettering.

    slant: degrees, to the left.
    px: of its letters.
    letters: (H / CELL, W / CELL), where there are letters.
    contrast: levels by which they changed the picture.
    """

    picture: Image.Image
    kind: str
    slant: float
    px: float
    letters: NDArray[np.bool_]
    contrast: float


def lettered(seed: int, number: int, faces: tuple[str, ...]) -> Lettered:
    """A picture with the lettering whose turn it is, in one of the `faces` that the system has, or Pillow's."""
    rng = np.random.default_rng([seed, number, 1])
    kind = tuple(MANNERS)[number % len(MANNERS)]
    manner = MANNERS[kind]
    ground = CLEAN[GROUNDS[int(rng.integers(len(GROUNDS)))]](rng, _size(rng))
    slants = (0, 0, 30, 45, -20, -30, -45, float(rng.uniform(-45, 45)))
    slant = float(slants[int(rng.integers(len(slants)))]) if manner.is_slanting else 0.0
    words = " ".join(_words(rng) for _ in range(int(rng.integers(2, 4)) if kind in ("strip", "subtitle") else 1))
    name = PILLOW if rng.random() < 0.35 else faces[int(rng.integers(len(faces)))]
    wanted = max(SMALLEST, rng.uniform(*manner.sizes) * ground.height)
    long = ImageDraw.Draw(ground).textlength(words, face(name, 100)) / 100
    pen = _Pen(
        rng, ground.size, words, name, max(SMALLEST, min(wanted, rng.uniform(*manner.longest) * ground.width / long))
    )
    colour = _ink(rng)
    if kind == "strip":
        ground, colour, layer = _strip(pen, ground)
    elif kind in ("corner", "subtitle"):
        ground, colour, layer = _written(pen, ground, colour, is_corner=kind == "corner")
    else:
        layer = _repeated(pen, slant) if kind == "tiled" else _turned(pen, slant, is_middle=kind == "large")
    share = rng.uniform(*manner.opacity)
    out = Image.composite(Image.new("RGB", ground.size, colour), ground, layer.point(lambda v: round(v * share)))
    ink = np.asarray(layer) > 200
    change = np.abs(np.asarray(out.convert("L"), np.float32) - np.asarray(ground.convert("L"), np.float32))
    if rng.random() < 0.5:
        out = drawn.jpeg(out, int(rng.integers(75, 96)))
    contrast = float(change[ink].mean()) if ink.any() else 0.0
    return Lettered(out.convert("L"), kind, slant, pen.px, np.asarray(layer.reduce(CELL)) > 20, contrast)


def clean(seed: int, number: int) -> tuple[Image.Image, str]:
    """A grey picture of the kind whose turn it is, spoiled or not, and its kind."""
    rng = np.random.default_rng([seed, number, 0])
    kind = TURNS[number % len(TURNS)]
    picture = CLEAN[kind](rng, _size(rng))
    if rng.random() < 0.5:
        picture = _spoiled(rng, picture)
    return picture.convert("L"), kind


def face(name: str, px: float) -> Face:
    """A typeface; Pillow's own where the system does not have it."""
    try:
        return ImageFont.load_default(px) if name == PILLOW else ImageFont.truetype(f"{name}.ttf", px)
    except OSError:
        return ImageFont.load_default(px)


class _Pen(NamedTuple):
    rng: Rng
    size: Size
    words: str
    name: str
    px: float

    @property
    def face(self) -> Face:
        return face(self.name, self.px)


def _words(rng: Rng) -> str:
    def syllables(number: int) -> str:
        return "".join(SYLLABLES[int(i)] for i in rng.integers(len(SYLLABLES), size=number))

    word, short = syllables(int(rng.integers(2, 4))), syllables(1)
    return (
        PLAIN_WORDS[int(rng.integers(len(PLAIN_WORDS)))],
        word.upper(),
        f"www.{word}.com",
        f"© {word.title()} {2000 + int(rng.integers(26))}",
        f"@{word}_{short}",
        f"{word.title()} Studio",
        f"{word} {short}{syllables(1)}".upper(),
        f"Photo by {word.title()}",
    )[int(rng.integers(8))]


def _ink(rng: Rng) -> tuple[int, int, int]:
    """Mostly white, else black or any colour."""
    any_colour = art.colour(rng, 0, 256)
    place = rng.random()
    return (255, 255, 255) if place < 0.6 else (0, 0, 0) if place < 0.84 else any_colour


def _repeated(pen: _Pen, slant: float) -> Image.Image:
    """All over, every other row half a step to the side."""
    width, height = pen.size
    big = Image.new("L", (2 * width, 2 * height))
    brush = ImageDraw.Draw(big)
    across = brush.textlength(pen.words, pen.face) * pen.rng.uniform(1.15, 1.6)
    down = pen.px * pen.rng.uniform(2, 4.5)
    for row in range(int(2 * height / down) + 1):
        for column in range(-1, int(2 * width / across) + 2):
            brush.text(((column + row % 2 / 2) * across, row * down), pen.words, 255, pen.face)
    left, top = width // 2, height // 2
    return big.rotate(slant, Image.Resampling.BICUBIC).crop((left, top, left + width, top + height))


def _turned(pen: _Pen, slant: float, *, is_middle: bool) -> Image.Image:
    """Once, anywhere or in the middle."""
    width, height = pen.size
    big = Image.new("L", (2 * width, 2 * height))
    ImageDraw.Draw(big).text((width, height), pen.words, 255, pen.face, "mm")
    big = big.rotate(slant, Image.Resampling.BICUBIC)
    word = big.crop(big.getbbox())
    right, low = width - word.width, height - word.height
    place = (int(pen.rng.uniform(0, max(1, right))), int(pen.rng.uniform(0, max(1, low))))
    layer = Image.new("L", pen.size)
    layer.paste(word, (right // 2, low // 2) if is_middle else place)
    return layer


Written = tuple[Image.Image, tuple[int, int, int], Image.Image]  # the ground, the ink, and where there are letters


def _strip(pen: _Pen, ground: Image.Image) -> Written:
    """On an even bar along the upper or the lower edge."""
    width, height = pen.size
    bar = round(pen.px * pen.rng.uniform(1.4, 2))
    top = 0 if pen.rng.random() < 0.3 else height - bar
    is_dark = pen.rng.random() < 0.5
    ImageDraw.Draw(ground).rectangle((0, top, width, top + bar), fill=(10, 10, 10) if is_dark else (250, 250, 250))
    layer = Image.new("L", pen.size)
    place, anchor = ((pen.px, top + bar / 2), "lm") if pen.rng.random() < 0.3 else ((width / 2, top + bar / 2), "mm")
    ImageDraw.Draw(layer).text(place, pen.words, 255, pen.face, anchor)
    return ground, (255, 255, 255) if is_dark else (0, 0, 0), layer


def _written(pen: _Pen, ground: Image.Image, ink: tuple[int, int, int], *, is_corner: bool) -> Written:
    """In a corner or below in the middle, with an edge of the other shade or without."""
    rng, (width, height), margin = pen.rng, pen.size, 0.4 * pen.px
    place, anchor = (width / 2, height * rng.uniform(0.84, 0.93)), "mm"
    if is_corner:
        is_left, is_above = rng.random() < 0.4, rng.random() < 0.3
        place = (margin if is_left else width - margin, margin if is_above else height - margin)
        anchor = ("l" if is_left else "r") + ("a" if is_above else "d")
    layer = Image.new("L", pen.size)
    ImageDraw.Draw(layer).text(place, pen.words, 255, pen.face, anchor)
    if rng.random() < 0.6:
        ink = (255, 255, 255) if rng.random() < 0.7 else (0, 0, 0)
        edge = Image.new("L", pen.size)
        wide = max(1, int(pen.px // 14))
        ImageDraw.Draw(edge).text(place, pen.words, 255, pen.face, anchor, stroke_width=wide, stroke_fill=255)
        other = Image.new("RGB", pen.size, (255 - ink[0],) * 3)
        ground = Image.composite(other, ground, edge.point(lambda v: round(0.7 * v)))
    return ground, ink, layer


def _size(rng: Rng) -> Size:
    return art.SIZES[int(rng.integers(len(art.SIZES)))]


def _spoiled(rng: Rng, picture: Image.Image) -> Image.Image:
    """By JPEG, coarse or fine, by blur, a frame, or a reduction."""
    way = int(rng.integers(6))
    if way == 0:
        return drawn.jpeg(picture, int(rng.integers(5, 40)))
    if way == 1:
        return drawn.blurred(picture, rng.uniform(1, 6))
    if way == 2:
        return marks.framed(picture, rng, int(rng.integers(8)))
    if way == 3:
        return (
            picture.reduce(2)
            if rng.random() < 0.5
            else picture.resize((picture.width * 2 // 3, picture.height * 2 // 3))
        )
    return drawn.jpeg(picture, int(rng.integers(60, 97)))


def _any(rng: Rng) -> tuple[int, int, int]:
    return art.colour(rng, 0, 256)


def _near(rng: Rng, colour: tuple[int, int, int], far: float) -> tuple[int, ...]:
    return tuple(int(np.clip(v + rng.normal(0, far), 0, 255)) for v in colour)


def _mixed(rng: Rng, share: NDArray[Any]) -> Image.Image:
    """Of two colours, (H, W) of 0 to 1."""
    one, other = (np.array(_any(rng), np.float32) for _ in range(2))
    values = one + (other - one) * np.clip(share, 0, 1).astype(np.float32)[..., None]
    return Image.fromarray(values.astype(np.uint8))


def _maybe_turned(rng: Rng, picture: Image.Image) -> Image.Image:
    fill = _any(rng)
    return (
        picture.rotate(rng.uniform(-45, 45), Image.Resampling.BICUBIC, fillcolor=fill)
        if rng.random() < 0.45
        else picture
    )


def _stripes(rng: Rng, size: Size) -> Image.Image:
    """Waves or stripes at any slant, with or without grain."""
    y, x = np.mgrid[: size[1], : size[0]]
    turn, period = rng.uniform(0, math.pi), rng.uniform(6, 80)
    wave = np.sin((x * math.cos(turn) + y * math.sin(turn)) * 2 * math.pi / period)
    wave = np.clip(9 * wave, -1, 1) if rng.random() < 0.6 else wave
    return _mixed(rng, wave / 2 + 0.5 + 0.1 * rng.random() * rng.normal(size=wave.shape))


def _grid(rng: Rng, size: Size) -> Image.Image:
    """Panes, bricks, discs, or a wall of which some windows are missing."""
    picture = Image.new("RGB", size, _any(rng))
    pen, shade, way = ImageDraw.Draw(picture), _any(rng), int(rng.integers(4))
    wide, tall = rng.uniform(12, 90, 2)
    line = int(rng.integers(1, 9))
    for row, y in enumerate(np.arange(0, size[1], tall)):
        for x in np.arange(-wide, size[0], wide):
            if way == 0:
                pen.rectangle((x, y, x + wide, y + tall), outline=shade, width=line)
            elif way == 1:
                left = x + wide / 2 * (row % 2)
                pen.rectangle(
                    (left, y, left + max(1, wide - line), y + max(1, tall - line)), fill=_near(rng, shade, 20)
                )
            elif way == 2:
                pen.ellipse((x, y, x + 0.6 * wide, y + 0.6 * tall), fill=shade)
            elif rng.random() < 0.7:
                pen.rectangle((x, y, x + 0.6 * wide, y + 0.7 * tall), fill=shade if rng.random() < 0.5 else _any(rng))
    return _maybe_turned(rng, picture)


def _checks(rng: Rng, size: Size) -> Image.Image:
    y, x = np.mgrid[: size[1], : size[0]]
    wide = int(rng.integers(6, 90))
    return _maybe_turned(rng, _mixed(rng, (x // wide + y // wide) % 2))


def _foliage(rng: Rng, size: Size) -> Image.Image:
    """Leaves of five shades, sparse or dense, on an uneven ground."""
    rough = rng.uniform(0.5, 0.95)
    picture = _mixed(rng, drawn.noise(rng, size, roughness=rough, start=int(rng.integers(3, 40))))
    pen, palette, usual = ImageDraw.Draw(picture), [_any(rng) for _ in range(5)], rng.uniform(3, 25)
    for _ in range(int(rng.integers(200, 4000))):
        x, y, turn = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(0, 2 * math.pi)
        along, across = usual * rng.uniform(0.5, 1.5), rng.uniform(0.15, 0.5)
        u, v = along * math.cos(turn), along * math.sin(turn)
        leaf = ((x + u, y + v), (x - across * v, y + across * u), (x - u, y - v), (x + across * v, y - across * u))
        pen.polygon(leaf, fill=palette[int(rng.integers(5))])
    return picture


def _lines(rng: Rng, size: Size) -> Image.Image:
    """Lines, arcs, rings and boxes, as in a sketch."""
    picture = Image.new("RGB", size, "white" if rng.random() < 0.6 else _any(rng))
    pen, shade = ImageDraw.Draw(picture), (20, 20, 20) if rng.random() < 0.6 else _any(rng)
    for _ in range(int(rng.integers(20, 300))):
        line, way, r = int(rng.integers(1, 7)), int(rng.integers(4)), rng.uniform(5, 120)
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        low = y + r * rng.uniform(0.3, 1)
        if way == 0:
            points = [(x + r * rng.normal(), y + r * rng.normal()) for _ in range(int(rng.integers(2, 6)))]
            pen.line(points, fill=shade, width=line)
        elif way == 1:
            start = rng.uniform(0, 360)
            pen.arc((x - r, y - r, x + r, low), start, start + rng.uniform(40, 300), fill=shade, width=line)
        elif way == 2:
            pen.ellipse((x, y, x + r, y + r), outline=shade, width=line)
        else:
            pen.rectangle((x, y, x + r, low), outline=shade, width=line)
    return picture


def _tiles(rng: Rng, size: Size) -> Image.Image:
    """One small motif in rows: a flower, a fence, a scale, a chevron, or keys without letters."""
    picture = Image.new("RGB", size, _any(rng))
    pen, shade, way = ImageDraw.Draw(picture), _any(rng), int(rng.integers(5))
    wide = rng.uniform(15, 70)
    tall, line = wide * rng.uniform(0.8, 3), max(1, round(0.12 * wide))
    petals = [(0.3 * wide * math.cos(a), 0.3 * wide * math.sin(a)) for a in np.arange(6) * math.pi / 3]
    for row, y in enumerate(np.arange(0, size[1], tall)):
        for x in np.arange(0, size[0], wide):
            if way == 0:
                for u, v in petals:
                    pen.circle((x + u, y + v), 0.12 * wide, fill=shade)
            elif way == 1:
                pen.rectangle((x, y, x + 0.3 * wide, y + 0.8 * tall), fill=shade)
            elif way == 2:
                start = 180 * (row % 2)
                pen.arc((x, y, x + 0.8 * wide, y + 0.8 * wide), start, start + 180, fill=shade, width=line)
            elif way == 3:
                pen.line((x, y, x + 0.4 * wide, y + 0.7 * wide, x + 0.8 * wide, y), fill=shade, width=line)
            else:
                box = (x, y, x + 0.85 * wide, y + 0.85 * tall)
                pen.rounded_rectangle(box, 0.1 * wide, fill=_near(rng, shade, 15), outline=_any(rng), width=line)
    return _maybe_turned(rng, picture)


def _seed(rng: Rng) -> int:
    return int(rng.integers(1 << 30))


CLEAN: dict[str, Callable[[Rng, Size], Image.Image]] = {
    "art": art.draw,
    "photo": lambda rng, size: drawn.photo(_seed(rng), size),
    "drawing": lambda rng, size: drawn.drawing(_seed(rng), size),
    "posed": lambda rng, size: drawn.posed(_seed(rng), int(rng.integers(5)), size),
    "stripes": _stripes, "grid": _grid, "checks": _checks, "foliage": _foliage, "lines": _lines, "tiles": _tiles,
}  # fmt: skip
TURNS = (*CLEAN, "art", "art", "photo", "grid", "foliage", "tiles")  # the likeliest and the hardest come more than once
