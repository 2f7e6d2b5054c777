"""Pictures that look like photographs and illustrations to a measure: drawn from a seed, sharp, 600 to 1,200 px."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Rng = np.random.Generator
SIZES = ((900, 900), (1024, 768), (768, 1024), (960, 640), (640, 960), (1152, 648), (720, 720))


def draw(rng: Rng, size: tuple[int, int] | None = None) -> Image.Image:
    """A clean picture in one of five manners: landscape, portrait, flat illustration, street, night."""
    size = size or SIZES[int(rng.integers(len(SIZES)))]
    manner = (_landscape, _portrait, _illustration, _street, _night)[int(rng.integers(5))]
    return manner(rng, size)


def fractal(rng: Rng, size: tuple[int, int], octaves: Sequence[int], fall: float = 0.55) -> NDArray[np.float32]:
    """Noise (height, width) in about [-1, 1]: grids of `octaves` cells a side, each finer one weaker by `fall`."""
    out = np.zeros((size[1], size[0]), np.float32)
    weight = total = 1.0
    for cells in octaves:
        rows = max(2, round(cells * size[1] / max(size)))
        columns = max(2, round(cells * size[0] / max(size)))
        grid = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
        out += weight * np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC))
        total += weight
        weight *= fall
    return out / (total - 1)


@lru_cache(maxsize=1)
def _grain() -> NDArray[np.float32]:
    """Detail at the scale of pixels (2048, 2048), of which every picture takes another part."""
    rng = np.random.default_rng(7)
    fine = rng.normal(0, 1, (2048, 2048)).astype(np.float32)
    return (
        fine + 1.6 * np.asarray(Image.fromarray(fine).resize((4096, 4096), Image.Resampling.BICUBIC))[:2048, 1024:3072]
    )


def detail(rng: Rng, size: tuple[int, int]) -> NDArray[np.float32]:
    """Pixel-sharp texture (height, width) of unit strength."""
    x, y = int(rng.integers(2048 - size[0])), int(rng.integers(2048 - size[1]))
    part = _grain()[y : y + size[1], x : x + size[0]]
    return part[:: 1 if rng.integers(2) else -1, :: 1 if rng.integers(2) else -1]


def colour(rng: Rng, low: int = 20, high: int = 235) -> tuple[int, int, int]:
    """Any colour within bounds."""
    red, green, blue = (int(v) for v in rng.integers(low, high, 3))
    return red, green, blue


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The typeface that Pillow brings along."""
    return ImageFont.load_default(size)


def _coloured(rng: Rng, heights: NDArray[np.float32], low: int = 20, high: int = 235) -> NDArray[np.float32]:
    """A height map (h, w) in [-1, 1] as colours (h, w, 3) between two random ones."""
    first, second = (np.array(colour(rng, low, high), np.float32) for _ in range(2))
    share = np.clip(heights[..., None] / 2 + 0.5, 0, 1)
    return first * (1 - share) + second * share


def _picture(values: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def _finished(rng: Rng, picture: Image.Image, grain: float) -> Image.Image:
    """As a lens and a sensor leave it: edges a pixel wide, a little grain."""
    soft = picture.filter(ImageFilter.GaussianBlur(0.5))
    return _picture(np.asarray(soft, np.float32) + grain * detail(rng, picture.size)[..., None])


def _landscape(rng: Rng, size: tuple[int, int]) -> Image.Image:
    width, height = size
    sky = _coloured(rng, fractal(rng, size, (2, 4, 8, 16, 32)), 90, 250)
    values = sky * np.linspace(1.05, 0.85, height, dtype=np.float32)[:, None, None]
    rows = np.arange(height, dtype=np.float32)[:, None]
    base = rng.uniform(0.3, 0.5)
    for layer in range(int(rng.integers(3, 6))):
        ridge = fractal(rng, (width, 2), (3, 7, 17, 41, 97, 211))[0]
        line = height * (base + 0.14 * layer + 0.22 * ridge)
        ground = _coloured(rng, fractal(rng, size, (6, 24, 80, 240), 0.8), 15, 190) + 16 * detail(rng, size)[..., None]
        values = np.where((rows > line[None])[..., None], ground, values)
    picture = _picture(values)
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(6, 30))):  # trunks and their crowns
        x, y = float(rng.uniform(0, width)), float(rng.uniform(0.55, 1) * height)
        tall = float(rng.uniform(0.05, 0.3)) * height
        pen.line((x, y, x + rng.uniform(-9, 9), y - tall), fill=colour(rng, 10, 90), width=int(rng.integers(2, 9)))
        for _ in range(25):
            u, v, r = x + rng.normal(0, tall / 6), y - tall + rng.normal(0, tall / 6), rng.uniform(2, tall / 12 + 3)
            pen.ellipse((u - r, v - r, u + r, v + r), fill=colour(rng, 20, 140))
    return _finished(rng, picture, rng.uniform(1, 4))


def _portrait(rng: Rng, size: tuple[int, int]) -> Image.Image:
    """A sharp figure before a background out of focus: soft over much of its area, and yet not blurred."""
    width, height = size
    back = _picture(_coloured(rng, fractal(rng, size, (3, 6, 12), 0.7)))
    picture = back.filter(ImageFilter.GaussianBlur(min(size) / 60))
    skin = _coloured(rng, fractal(rng, size, (5, 20, 90, 300), 0.7), 60, 240) + 9 * detail(rng, size)[..., None]
    cloth = _coloured(rng, fractal(rng, size, (8, 60, 250), 0.9), 10, 245) + 14 * detail(rng, size)[..., None]
    x, y = width * rng.uniform(0.35, 0.65), height * rng.uniform(0.3, 0.42)
    r = min(size) * rng.uniform(0.16, 0.24)
    body, head = Image.new("L", size), Image.new("L", size)
    ImageDraw.Draw(body).ellipse((x - 2.1 * r, y + 0.8 * r, x + 2.1 * r, y + 6 * r), fill=255)
    ImageDraw.Draw(head).ellipse((x - r, y - 1.25 * r, x + r, y + 1.25 * r), fill=255)
    picture.paste(_picture(cloth), mask=body)
    picture.paste(_picture(skin), mask=head)
    pen = ImageDraw.Draw(picture)
    hair = colour(rng, 5, 200)
    for _ in range(260):
        turn = rng.uniform(math.pi, 2 * math.pi)
        u, v = x + r * math.cos(turn), y + 1.2 * r * math.sin(turn)
        tone = tuple(int(np.clip(c + rng.normal(0, 22), 0, 255)) for c in hair)
        end = (u + rng.normal(0, r / 5), v + rng.uniform(-0.1, 0.9) * r)
        pen.line((u, v, *end), fill=tone, width=int(rng.integers(1, 4)))
    for side in (-1, 1):
        u, v, e = x + side * 0.4 * r, y - 0.1 * r, 0.16 * r
        pen.ellipse((u - e, v - e / 2, u + e, v + e / 2), fill="white", outline="black", width=2)
        pen.ellipse((u - e / 2, v - e / 2, u + e / 2, v + e / 2), fill=colour(rng, 0, 120))
    pen.arc((x - 0.4 * r, y + 0.2 * r, x + 0.4 * r, y + 0.75 * r), 20, 160, fill=colour(rng, 40, 140), width=4)
    return _finished(rng, picture, rng.uniform(1, 3))


def _illustration(rng: Rng, size: tuple[int, int]) -> Image.Image:
    """Flat colours and drawn lines; no grain at all, and large even areas."""
    width, height = size
    picture = _picture(_coloured(rng, np.linspace(-1, 1, height, dtype=np.float32)[:, None].repeat(width, 1), 120, 255))
    pen = ImageDraw.Draw(picture)
    palette = [colour(rng, 30, 250) for _ in range(7)]
    for _ in range(int(rng.integers(14, 40))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        r = min(size) * rng.uniform(0.03, 0.2)
        turns = np.sort(rng.uniform(0, 2 * math.pi, int(rng.integers(3, 12))))
        points = [(x + r * rng.uniform(0.6, 1) * math.cos(t), y + r * rng.uniform(0.6, 1) * math.sin(t)) for t in turns]
        pen.polygon(points, fill=palette[int(rng.integers(7))], outline=(25, 20, 30), width=int(rng.integers(2, 6)))
    for _ in range(int(rng.integers(20, 60))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        r = min(size) * rng.uniform(0.02, 0.12)
        start = rng.uniform(0, 360)
        pen.arc((x - r, y - r, x + r, y + r), start, start + rng.uniform(40, 300), fill=(25, 20, 30), width=3)
    return picture.filter(ImageFilter.GaussianBlur(0.5))


def _street(rng: Rng, size: tuple[int, int]) -> Image.Image:
    """Walls and windows: many straight edges, which are neither blocks of JPEG nor bars."""
    width, height = size
    picture = _picture(_coloured(rng, fractal(rng, size, (2, 4, 8, 16)), 80, 245))
    pen = ImageDraw.Draw(picture)
    x = -float(rng.uniform(0, 60))
    while x < width:
        wide, top = float(rng.uniform(0.1, 0.28)) * width, float(rng.uniform(0.08, 0.6)) * height
        pen.rectangle((x, top, x + wide, height), fill=colour(rng, 30, 200))
        pitch_x, pitch_y = rng.uniform(17, 47), rng.uniform(19, 61)
        pane, lit = colour(rng, 10, 80), colour(rng, 180, 255)
        for u in np.arange(x + pitch_x / 2, x + wide - pitch_x / 2, pitch_x):
            for v in np.arange(top + pitch_y / 2, height - pitch_y / 2, pitch_y):
                shade = lit if rng.random() < 0.3 else pane
                pen.rectangle((u, v, u + 0.6 * pitch_x, v + 0.55 * pitch_y), fill=shade)
        x += wide + float(rng.uniform(-10, 25))
    values = np.asarray(picture, np.float32)
    values = values * (1 + 0.16 * fractal(rng, size, (5, 30, 120, 400), 0.9))[..., None]
    return _finished(rng, _picture(values), rng.uniform(2, 6))


def _night(rng: Rng, size: tuple[int, int]) -> Image.Image:
    """Dark to its edges, which are not bars, with small bright things."""
    values = _coloured(rng, fractal(rng, size, (2, 5, 12, 30, 80, 200), 0.75), 4, 70)
    picture = _picture(values + 5 * detail(rng, size)[..., None])
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(40, 160))):
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        r = rng.uniform(1, 0.018 * min(size))
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour(rng, 120, 255))
    for _ in range(int(rng.integers(4, 14))):
        points = [(float(rng.uniform(0, size[0])), float(rng.uniform(0, size[1]))) for _ in range(3)]
        pen.line(points, fill=colour(rng, 60, 200), width=int(rng.integers(1, 5)))
    return _finished(rng, picture, rng.uniform(2, 5))
