"""Pictures that tests draw themselves: photo-like scenes and flat drawings from a seed, and what goes wrong with pictures.

`photo` and `drawing` are clean (no text, no border, sharp somewhere). Everything below them spoils a picture in one way.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Size = tuple[int, int]
WORDS = ("EXAMPLE.COM", "Sample", "Photo by Jane Doe", "www.pictures.net", "PREVIEW", "@artist_name", "Chapter 3: home")


def photo(seed: int, size: Size = (512, 512)) -> Image.Image:
    """A scene with textures, shading, soft and sharp parts and a little sensor noise; by `seed` one of five kinds."""
    rng = np.random.default_rng(seed)
    kind: Callable[[np.random.Generator, Size], Image.Image] = (_land, _still_life, _town, _surface, _portrait)[
        seed % 5
    ]
    picture = kind(rng, size).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.6)))
    pixels = np.asarray(picture, np.float32)
    pixels = pixels + rng.normal(0, rng.uniform(0.5, 2.5), pixels.shape).astype(np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def drawing(seed: int, size: Size = (512, 512)) -> Image.Image:
    """A flat cartoon or a line drawing of one figure; the ground is plain, a gradient, or sky over land; no texture."""
    rng = np.random.default_rng(seed)
    canvas = Image.new("RGB", (size[0] * 2, size[1] * 2), _paint(rng, light=rng.random() < 0.7))
    _ground(rng, canvas, ("plain", "white", "land", "gradient")[seed % 4])
    _figure(rng, canvas, outlined=seed % 3 > 0)
    return canvas.resize(size, Image.Resampling.BOX)


def posed(seed: int, pose: int, size: Size = (512, 512)) -> Image.Image:
    """The same figure on the same ground as other poses of `seed`, standing and looking another way in each `pose`."""
    rng, turn = np.random.default_rng(seed), np.random.default_rng([seed, pose])
    canvas = Image.new("RGB", (size[0] * 2, size[1] * 2), _paint(rng, light=True))
    _ground(rng, canvas, ("plain", "white", "land", "gradient")[seed % 4])
    _figure(rng, canvas, outlined=seed % 3 > 0, turn=turn)
    return canvas.resize(size, Image.Resampling.BOX)


def noise(rng: np.random.Generator, size: Size, *, roughness: float = 0.5, start: int = 3) -> NDArray[np.float32]:
    """Fractal noise (H, W), 0 to 1: octaves of smoothly enlarged random grids, each `roughness` times the one before."""
    width, height = size
    out = np.zeros((height, width), np.float32)
    cells, weight = start, 1.0
    while cells < max(size):
        grid = rng.random((max(2, cells * height // max(size) + 1), max(2, cells * width // max(size) + 1)), np.float32)
        out += weight * np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC))
        cells, weight = cells * 2, weight * roughness
    out -= out.min()
    return out / max(float(out.max()), 1e-6)


def jpeg(picture: Image.Image, quality: int, **options: Any) -> Image.Image:
    """The picture after JPEG of this quality, decoded again."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, **options)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def blurred(picture: Image.Image, sigma: float) -> Image.Image:
    """Out of focus."""
    return picture.filter(ImageFilter.GaussianBlur(sigma))


def moved(picture: Image.Image, length: int, degrees: float) -> Image.Image:
    """Blurred by a movement of `length` px."""
    pixels = np.asarray(picture, np.float32)
    total = np.zeros_like(pixels)
    for step in range(length):
        x, y = (round(step * f(math.radians(degrees))) for f in (math.cos, math.sin))
        total += np.roll(pixels, (y, x), (0, 1))
    margin = length
    inner = (total / length)[margin:-margin, margin:-margin].astype(np.uint8)
    return Image.fromarray(inner).resize(picture.size, Image.Resampling.BICUBIC)


def enlarged(picture: Image.Image, factor: float) -> Image.Image:
    """As if the picture had been `factor` times smaller and was then enlarged to its size."""
    small = (max(1, round(picture.width / factor)), max(1, round(picture.height / factor)))
    return picture.resize(small, Image.Resampling.LANCZOS).resize(picture.size, Image.Resampling.BICUBIC)


def framed(picture: Image.Image, sides: tuple[float, float, float, float], colour: Any = "black") -> Image.Image:
    """With bars at the left, top, right and bottom, each a share of the result's side; the size stays."""
    width, height = picture.size
    left, top = round(sides[0] * width), round(sides[1] * height)
    inner = (width - left - round(sides[2] * width), height - top - round(sides[3] * height))
    out = Image.new("RGB", picture.size, colour)
    out.paste(picture.resize(inner, Image.Resampling.LANCZOS), (left, top))
    return out


def cropped(picture: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Without these shares of its sides."""
    width, height = picture.size
    return picture.crop(
        (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
    )


def captioned(picture: Image.Image, seed: int) -> Image.Image:
    """With a bar at the top or the bottom in which one or two lines of text stand."""
    rng = np.random.default_rng([seed, 1])
    width, height = picture.size
    text_px = max(9, round(height * rng.uniform(0.025, 0.06)))
    lines = int(rng.integers(1, 3))
    bar = round(text_px * (1.3 * lines + 0.8))
    dark = bool(rng.random() < 0.5)
    strip = Image.new("RGB", (width, bar), "black" if dark else "white")
    pen = ImageDraw.Draw(strip)
    for line in range(lines):
        text = "  ".join(str(w) for w in rng.permutation(WORDS)[: 1 if width < 20 * text_px else 3])
        place = (width / 2, text_px * (0.9 + 1.3 * line))
        pen.text(place, text, fill="white" if dark else "black", font=ImageFont.load_default(text_px), anchor="mm")
    out = picture.copy()
    out.paste(strip, (0, 0 if rng.random() < 0.5 else height - bar))
    return out


def signed(picture: Image.Image, seed: int) -> Image.Image:
    """With one line of opaque text (an address, a name) in a corner or in the middle of the lower edge."""
    rng = np.random.default_rng([seed, 2])
    width, height = picture.size
    text_px = max(12, round(height * rng.uniform(0.03, 0.06)))
    font, text = ImageFont.load_default(text_px), str(rng.choice(WORDS))
    x, anchor = ((0.03, "ls"), (0.5, "ms"), (0.97, "rs"))[int(rng.integers(3))]
    y = height * (0.97 if rng.random() < 0.8 else 0.03) + (0 if rng.random() < 1 else text_px)
    y = y if y > height / 2 else y + text_px
    out = picture.copy()
    white = rng.random() < 0.6
    pen, edge = ImageDraw.Draw(out), max(1, text_px // 14)
    fill, outline = ("white", "black") if white else ("black", "white")
    pen.text((x * width, y), text, fill, font, anchor, stroke_width=edge, stroke_fill=outline)
    return out


def watermarked(picture: Image.Image, seed: int, *, tiled: bool) -> Image.Image:
    """With half-transparent text: repeated all over (level or slanting), or large across the middle."""
    rng = np.random.default_rng([seed, 3])
    width, height = picture.size
    layer = Image.new("L", (width * 2, height * 2), 0)
    pen, text = ImageDraw.Draw(layer), str(rng.choice(WORDS[:5]))
    if tiled:
        text_px = max(12, round(min(picture.size) * rng.uniform(0.04, 0.07)))
        font = ImageFont.load_default(text_px)
        step_x, step_y = pen.textlength(text, font) * rng.uniform(1.2, 1.5), text_px * rng.uniform(2.2, 3.5)
        for row in range(round(height * 2 / step_y) + 1):
            for column in range(-1, round(width * 2 / step_x) + 1):
                pen.text(((column + row % 2 / 2) * step_x, row * step_y), text, fill=255, font=font)
    else:
        size = width * rng.uniform(0.6, 0.85) / max(1.0, pen.textlength(text, ImageFont.load_default(100))) * 100
        pen.text((width, height), text, fill=255, font=ImageFont.load_default(size), anchor="mm")
    layer = layer.rotate(
        float(rng.choice([0, 30, 45])) if tiled else float(rng.choice([0, 0, 30])), Image.Resampling.BICUBIC
    )
    corner = (width // 2, height // 2)
    alpha = layer.crop((*corner, corner[0] + width, corner[1] + height)).point(lambda v: v * rng.uniform(0.25, 0.5))
    return Image.composite(Image.new("RGB", picture.size, "white" if rng.random() < 0.75 else "black"), picture, alpha)


def _paint(rng: np.random.Generator, *, light: bool) -> tuple[int, int, int]:
    low, high = (150, 250) if light else (10, 120)
    red, green, blue = (int(v) for v in rng.integers(low, high, 3))
    return red, green, blue


def _mix(first: Any, second: Any, share: NDArray[np.float32]) -> Image.Image:
    """From one colour to the other as `share` (H, W) grows from 0 to 1."""
    a, b = np.array(first, np.float32), np.array(second, np.float32)
    return Image.fromarray((a + (b - a) * share.clip(0, 1)[..., None]).clip(0, 255).astype(np.uint8))


def _sky(rng: np.random.Generator, size: Size) -> Image.Image:
    rise = np.linspace(0, 1, size[1], dtype=np.float32)[:, None].repeat(size[0], 1)
    sky = _mix(_paint(rng, light=rng.random() < 0.6), _paint(rng, light=True), rise)
    clouds = (noise(rng, size, roughness=0.55) - rng.uniform(0.4, 0.6)) * 3
    return Image.composite(
        Image.new("RGB", size, "white"), sky, Image.fromarray((clouds.clip(0, 0.8) * 255).astype(np.uint8))
    )


def _land(rng: np.random.Generator, size: Size) -> Image.Image:
    """Sky, ridges one before the other, and a textured foreground with trees."""
    width, height = size
    out = _sky(rng, size)
    for layer in range(int(rng.integers(2, 5))):
        line = noise(rng, (width, 2), roughness=0.5 + 0.05 * layer)[0] * height * 0.25
        top = height * (0.3 + 0.15 * layer) + line - height * 0.1
        mask = np.arange(height)[:, None] > top[None]
        ridge = _mix(_paint(rng, light=False), _paint(rng, light=layer < 2), noise(rng, size, roughness=0.75, start=6))
        out.paste(ridge, mask=Image.fromarray(mask.astype(np.uint8) * 255))
    pen = ImageDraw.Draw(out)
    for _ in range(int(rng.integers(3, 12))):
        x, y, tall = rng.uniform(0, width), rng.uniform(0.6, 0.95) * height, rng.uniform(0.1, 0.3) * height
        _tree(pen, rng, (x, y), (-math.pi / 2, tall * 0.35))
    return out


def _tree(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, foot: tuple[float, float], limb: tuple[float, float]
) -> None:
    angle, length = limb
    tip = (foot[0] + math.cos(angle) * length, foot[1] + math.sin(angle) * length)
    pen.line((foot, tip), fill=_paint(rng, light=False), width=max(1, round(length / 8)))
    if length > 6:
        for turn in rng.uniform(-0.7, 0.7, int(rng.integers(2, 4))):
            _tree(pen, rng, tip, (angle + turn, length * float(rng.uniform(0.6, 0.8))))


def _still_life(rng: np.random.Generator, size: Size) -> Image.Image:
    """Shaded, textured balls on a table before an out-of-focus wall."""
    width, height = size
    wall = _mix(_paint(rng, light=False), _paint(rng, light=True), noise(rng, size, roughness=0.6, start=5))
    out = wall.filter(ImageFilter.GaussianBlur(min(size) / rng.uniform(25, 60)))
    table = _mix(_paint(rng, light=False), _paint(rng, light=True), noise(rng, (width, height), roughness=0.8, start=4))
    edge = round(height * rng.uniform(0.55, 0.75))
    out.paste(table.crop((0, edge, width, height)), (0, edge))
    for _ in range(int(rng.integers(3, 8))):
        radius = min(size) * rng.uniform(0.07, 0.22)
        x, y = rng.uniform(0.1, 0.9) * width, edge + rng.uniform(-0.1, 0.2) * height
        shape = (x - radius, y - radius, x + radius, y + radius)
        columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        light = 1 - np.hypot(columns - x + radius * 0.4, rows - y + radius * 0.4) / (1.7 * radius)
        skin = _mix(
            _paint(rng, light=False), _paint(rng, light=True), light + 0.25 * noise(rng, size, roughness=0.8, start=9)
        )
        mask = Image.new("L", size, 0)
        ImageDraw.Draw(mask).ellipse(shape, fill=255)
        out.paste(skin, mask=mask)
    return out


def _town(rng: np.random.Generator, size: Size) -> Image.Image:
    """Houses with rows of windows before a sky."""
    width, height = size
    out = _sky(rng, size)
    grain = noise(rng, size, roughness=0.9, start=8)
    x = 0
    while x < width:
        wide, top = round(width * rng.uniform(0.08, 0.25)), round(height * rng.uniform(0.15, 0.6))
        wall = _mix(_paint(rng, light=False), _paint(rng, light=bool(rng.random() < 0.5)), grain)
        out.paste(wall.crop((x, top, x + wide, height)), (x, top))
        pen, glass = ImageDraw.Draw(out), _paint(rng, light=bool(rng.random() < 0.5))
        step_x, step_y = wide / rng.integers(2, 6), height * rng.uniform(0.05, 0.1)
        for column in np.arange(x + step_x * 0.25, x + wide - step_x * 0.5, step_x):
            for row in np.arange(top + step_y * 0.5, height, step_y):
                if rng.random() < 0.85:
                    pen.rectangle((column, row, column + step_x * 0.5, row + step_y * 0.55), fill=glass)
        x += wide
    return out


def _surface(rng: np.random.Generator, size: Size) -> Image.Image:
    """Wood, marble, grass or cloth from near."""
    width, height = size
    bend = noise(rng, size, roughness=0.6)
    columns, rows = np.meshgrid(
        np.arange(width, dtype=np.float32) / width, np.arange(height, dtype=np.float32) / height
    )
    waves = 0.5 + 0.5 * np.sin(
        (columns * rng.uniform(-20, 20) + rows * rng.uniform(-20, 20) + bend * rng.uniform(2, 20)) * 2
    )
    fine = noise(rng, size, roughness=0.9, start=16)
    out = _mix(
        _paint(rng, light=False),
        _paint(rng, light=True),
        (waves * rng.uniform(0.2, 0.7) + fine * 0.6).astype(np.float32),
    )
    pen = ImageDraw.Draw(out)
    for _ in range(int(rng.integers(0, 600))):  # blades, scratches
        x, y, tall = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.02, 0.1) * height
        pen.line(
            (x, y, x + rng.uniform(-0.4, 0.4) * tall, y - tall),
            fill=_paint(rng, light=bool(rng.random() < 0.5)),
            width=1,
        )
    return out


def _portrait(rng: np.random.Generator, size: Size) -> Image.Image:
    """A head with hair and eyes before a far background of soft discs of light."""
    width, height = size
    out = Image.new("RGB", size, _paint(rng, light=False))
    pen = ImageDraw.Draw(out)
    for _ in range(40):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), min(size) * rng.uniform(0.01, 0.06)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_paint(rng, light=bool(rng.random() < 0.5)))
    out = out.filter(ImageFilter.GaussianBlur(min(size) / 40))
    x, y, radius = width * rng.uniform(0.35, 0.65), height * rng.uniform(0.4, 0.55), min(size) * rng.uniform(0.15, 0.25)
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    light = 1 - np.hypot(columns - x + radius * 0.5, rows - y + radius) / (3 * radius)
    skin = _mix((110, 70, 50), (245, 215, 190), light + 0.12 * noise(rng, size, roughness=0.85, start=12))
    mask = Image.new("L", size, 0)
    shape = ImageDraw.Draw(mask)
    shape.ellipse((x - radius, y - radius * 1.3, x + radius, y + radius * 1.3), fill=255)
    shape.ellipse((x - radius * 2, y + radius * 1.5, x + radius * 2, y + radius * 6), fill=255)
    out.paste(skin, mask=mask)
    pen, hair = ImageDraw.Draw(out), _paint(rng, light=bool(rng.random() < 0.3))
    for _ in range(900):
        angle, length = rng.uniform(math.pi, 2 * math.pi), radius * rng.uniform(0.3, 1.4)
        root = (x + math.cos(angle) * radius, y + math.sin(angle) * radius * 1.25)
        tone = tuple(int(min(255, max(0, v + rng.normal(0, 25)))) for v in hair)
        pen.line(
            (root, (root[0] + rng.normal(0, 0.2) * radius, root[1] + length)), fill=tone, width=max(1, min(size) // 400)
        )
    for side in (-0.4, 0.4):
        for share, colour in ((0.2, (250, 250, 250)), (0.12, _paint(rng, light=False)), (0.05, (5, 5, 5))):
            r = radius * share
            pen.ellipse((x + side * radius - r, y - r * 0.7, x + side * radius + r, y + r * 0.7), fill=colour)
    return out


def _ground(rng: np.random.Generator, canvas: Image.Image, kind: str) -> None:
    width, height = canvas.size
    if kind == "white":
        canvas.paste((255, 255, 255), (0, 0, width, height))
    elif kind == "gradient":
        rise = np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, 1)
        canvas.paste(_mix(_paint(rng, light=True), _paint(rng, light=False), rise))
    elif kind == "land":
        pen, level, slope = ImageDraw.Draw(canvas), height * rng.uniform(0.6, 0.8), height * rng.uniform(-0.06, 0.06)
        pen.polygon([(0, level), (width, level + slope), (width, height), (0, height)], fill=_paint(rng, light=False))
        x, y, r = rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.25) * height, 0.07 * min(canvas.size)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 230, 120))


def _figure(
    rng: np.random.Generator, canvas: Image.Image, *, outlined: bool, turn: np.random.Generator | None = None
) -> None:
    """Body, head, limbs and face; colours and build by `rng`, place, pose and glance by `turn`."""
    width, height = canvas.size
    unit = min(canvas.size) * rng.uniform(0.1, 0.15)
    body, head, cloth, eye = (_paint(rng, light=bool(rng.random() < 0.5)) for _ in range(4))
    wide, head_size, ears = rng.uniform(0.7, 1.2), rng.uniform(0.7, 1.1), int(rng.integers(0, 3))
    ink, line = ((20, 20, 25) if outlined else None), max(2, round(unit / 14))
    turn = turn or rng
    pen = ImageDraw.Draw(canvas)
    x, y = width * turn.uniform(0.4, 0.6), height * turn.uniform(0.5, 0.6)

    def oval(cx: float, cy: float, rx: float, ry: float, fill: Any) -> None:
        pen.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=fill, outline=ink, width=line)

    for side in (-1, 1):
        for top, low, high in ((0.5, -0.9, 0.9), (1.6, 1.1, 1.9)):  # arms, legs
            angle = turn.uniform(low, high) if top < 1 else turn.uniform(1.1, 1.5)
            joint = (x + side * unit * wide * 0.8, y + unit * (top - 0.8))
            tip = (joint[0] + side * math.cos(angle) * unit * 1.7, joint[1] + math.sin(angle) * unit * 1.7)
            if ink:
                pen.line((joint, tip), fill=ink, width=round(unit * 0.4) + 2 * line)
            pen.line((joint, tip), fill=body, width=round(unit * 0.4))
            oval(*tip, unit * 0.32, unit * 0.32, cloth)
    oval(x, y + unit * 0.4, unit * wide, unit * 1.4, body)
    oval(x, y + unit * 0.8, unit * wide * 0.8, unit * 0.8, cloth)
    x += turn.uniform(-0.4, 0.4) * unit
    top = y - unit * 1.6
    for side in (-1, 1)[: 2 if ears else 0]:
        ear = turn.uniform(0.5, 1.2) * side
        pen.polygon([(x + side * unit * 0.2, top - unit * 0.6), (x + ear * unit, top - unit * 1.9), (x + side * unit * 0.9, top)],
                    fill=head, outline=ink)  # fmt: skip
    oval(x, top, unit * head_size, unit * head_size, head)
    glance = turn.uniform(-0.12, 0.12, 2) * unit
    for side in (-1, 1):
        oval(x + side * unit * 0.35 * head_size + glance[0], top - unit * 0.1, unit * 0.25, unit * 0.3, (255, 255, 255))
        oval(x + side * unit * 0.35 * head_size + glance[0] * 2, top + glance[1], unit * 0.12, unit * 0.16, eye)
    mouth = turn.uniform(0.1, 0.5) * unit
    pen.arc(
        (x - mouth, top + unit * 0.1, x + mouth, top + unit * 0.6),
        20,
        160,
        fill=(40, 20, 20),
        width=max(3, round(unit / 10)),
    )


def mirrored(picture: Image.Image) -> Image.Image:
    """Left and right swapped."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def brightened(picture: Image.Image, factor: float) -> Image.Image:
    """Every value times `factor`."""
    return (
        ImageChops.multiply(picture, Image.new("RGB", picture.size, (int(255 * factor),) * 3))
        if factor < 1
        else picture.point(lambda v: min(255, v * factor))
    )
