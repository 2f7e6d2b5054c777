"""What is put on or around a clean picture to spoil it: frames and bars, lettering and watermarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from tests import planted_art as art

if TYPE_CHECKING:
    import numpy as np

WORDS = ("SAMPLE", "© studio north", "www.pictures.example", "PREVIEW", "stock-42.example", "@painter_of_things")
LINES = (
    "They came too late to the old bridge.",
    "What do you mean, gone?",
    "CHAPTER 12 - The River",
    "shot on my phone, 2024",
)


def framed(picture: Image.Image, rng: np.random.Generator, number: int) -> Image.Image:
    """With bars above and below, at the sides, all around, or at one side; black, white, or any even colour."""
    width, height = picture.size
    shade = ((0, 0, 0), (255, 255, 255), (0, 0, 0), art.colour(rng))[number // 2 % 4]
    share = float(rng.uniform(0.05, 0.16))
    across, down = round(share * width), round(share * height)
    left, top, right, bottom = (
        (0, down, 0, down),
        (across, 0, across, 0),
        (across, across, across, across),
        (0, 0, 0, down),
    )[number % 4]
    out = Image.new("RGB", (width + left + right, height + top + bottom), shade)
    out.paste(picture, (left, top))
    return out


def written_on(picture: Image.Image, rng: np.random.Generator, number: int) -> Image.Image:
    """With a strip of text, a subtitle, a mark in a corner, a large faint word, or one repeated all over."""
    width, height = picture.size
    layer = Image.new("RGBA", picture.size, (255, 255, 255, 0))  # text on RGB would be opaque whatever its colour says
    pen = ImageDraw.Draw(layer)
    words = WORDS[int(rng.integers(len(WORDS)))]
    line = LINES[int(rng.integers(len(LINES)))]
    kind = number % 5
    if kind == 0:  # a strip
        tall = round(height * float(rng.uniform(0.07, 0.12)))
        top = 0 if rng.random() < 0.3 else height - tall
        dark = rng.random() < 0.5
        pen.rectangle((0, top, width, top + tall), fill=(10, 10, 10) if dark else (250, 250, 250))
        _middle(layer, line, top + tall / 2, 0.8 * width, tall * 0.6, (255, 255, 255, 255) if dark else (0, 0, 0, 255))
    elif kind == 1:  # a subtitle
        _middle(layer, line, height * 0.91, 0.85 * width, height * 0.055, (255, 255, 255, 255), outline=True)
    elif kind == 2:  # in a corner
        size = round(min(width, height) * float(rng.uniform(0.035, 0.055)))
        typeface = art.font(size)
        long = pen.textlength(words, font=typeface)
        place = (width - long - size / 2, height - 1.6 * size) if rng.random() < 0.6 else (size / 2, size / 2)
        pen.text(place, words, font=typeface, fill=(255, 255, 255, 230), stroke_width=1, stroke_fill=(0, 0, 0, 160))
    elif kind == 3:  # large and faint
        _middle(layer, words, height / 2, 0.8 * width, height * 0.3, (255, 255, 255, int(rng.integers(95, 150))))
    else:  # everywhere
        size = round(min(width, height) * 0.05)
        typeface = art.font(size)
        step = pen.textlength(words, font=typeface) + 3 * size
        row = 0
        while row * 4 * size < height:
            for x in range(int(-step / 2 * (row % 2)), width, int(step)):
                pen.text((x, row * 4 * size + size), words, font=typeface, fill=(255, 255, 255, 130))
            row += 1
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def _middle(
    layer: Image.Image,
    words: str,
    y: float,
    longest: float,
    tallest: float,
    fill: tuple[int, int, int, int],
    *,
    outline: bool = False,
) -> None:
    """Words about the height y, as large as fits."""
    brush, size = ImageDraw.Draw(layer), max(9, round(tallest))
    while size > 9 and brush.textlength(words, font=art.font(size)) > longest:
        size -= 1
    edge = max(1, size // 14) if outline else 0
    brush.text(
        (layer.width / 2, y),
        words,
        font=art.font(size),
        fill=fill,
        anchor="mm",
        stroke_width=edge,
        stroke_fill="black",
    )
