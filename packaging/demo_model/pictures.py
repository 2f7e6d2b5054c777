"""The pictures and captions of the demo: what the base model knows, and the two concepts that it does not.

`python pictures.py OUT.png` draws a contact sheet. Imports only Pillow.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from shapes import (
    OVERSAMPLING,
    Colour,
    Palette,
    Shape,
    Style,
    arc,
    ellipse,
    flat,
    ink,
    mix,
    neon,
    placed,
    polygon,
    rgb,
    stroke,
)

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE_PX = 128

COLOURS = {
    "red": "#e0323c", "orange": "#f58220", "yellow": "#ffd02e", "green": "#35a852",
    "blue": "#2f6fe0", "purple": "#8a3fc4", "pink": "#ff7fb6", "white": "#fdfdfb",
}  # fmt: skip
FIXED = {"black": "#1d1a26", "eye": "#ffffff", "rose": "#f7a3b5", "wood": "#8a5a34", "glass": "#bfe6f7", "leaf": "#2e8b46",
         "cream": "#fbe9cf", "gold": "#ffc93c", "grey": "#8d93a3"}  # fmt: skip


@dataclass(frozen=True)
class Spec:
    """What one picture shows; with the same spec and seed it is drawn again exactly."""

    subject: str
    colour: str
    scene: str
    style: str


def _face(x: float, y: float, gap: float, r: float) -> list[Shape]:
    out = []
    for side in (-1, 1):
        out += [ellipse("eye", x + side * gap, y, r, r * 1.1), ellipse("black", x + side * gap, y + r * 0.1, r * 0.55)]
    return out


def cat() -> list[Shape]:
    return [
        stroke("main", 0.16, (0.38, 0.62), (0.66, 0.55), (0.74, 0.3), (0.62, 0.12)),
        ellipse("main", 0, 0.52, 0.42, 0.42), ellipse("light", 0, 0.6, 0.22, 0.26),
        polygon("main", (-0.46, -0.3), (-0.44, -0.88), (-0.06, -0.55)), polygon("main", (0.46, -0.3), (0.44, -0.88), (0.06, -0.55)),
        polygon("rose", (-0.37, -0.5), (-0.37, -0.72), (-0.2, -0.57)), polygon("rose", (0.37, -0.5), (0.37, -0.72), (0.2, -0.57)),
        ellipse("main", 0, -0.2, 0.52, 0.44), *_face(0, -0.25, 0.21, 0.13),
        polygon("rose", (-0.07, -0.07), (0.07, -0.07), (0, 0.02)),
        stroke("black", 0.03, (-0.28, -0.03), (-0.62, -0.1)), stroke("black", 0.03, (0.28, -0.03), (0.62, -0.1)),
        stroke("black", 0.03, (-0.28, 0.04), (-0.6, 0.08)), stroke("black", 0.03, (0.28, 0.04), (0.6, 0.08)),
    ]  # fmt: skip


def rabbit() -> list[Shape]:
    return [
        ellipse("main", -0.2, -0.62, 0.13, 0.36, -8), ellipse("main", 0.2, -0.62, 0.13, 0.36, 8),
        ellipse("rose", -0.2, -0.6, 0.06, 0.25, -8), ellipse("rose", 0.2, -0.6, 0.06, 0.25, 8),
        ellipse("light", 0.42, 0.66, 0.14), ellipse("main", 0, 0.5, 0.4, 0.44), ellipse("light", 0, 0.58, 0.22, 0.28),
        ellipse("main", 0, -0.1, 0.4, 0.36), *_face(0, -0.16, 0.17, 0.11), ellipse("rose", 0, 0, 0.06, 0.045),
        polygon("eye", (-0.07, 0.07), (0.07, 0.07), (0.06, 0.2), (-0.06, 0.2)),
    ]  # fmt: skip


def fish() -> list[Shape]:
    return [
        polygon("dark", (0.38, 0), (0.88, -0.4), (0.76, 0), (0.88, 0.4)),
        polygon("dark", (-0.25, -0.34), (0.1, -0.7), (0.28, -0.3)), polygon("dark", (-0.1, 0.34), (0.08, 0.62), (0.22, 0.3)),
        ellipse("main", -0.12, 0, 0.62, 0.4), stroke("light", 0.07, (0.06, -0.24), (0.14, 0), (0.06, 0.24)),
        stroke("light", 0.07, (0.26, -0.19), (0.33, 0), (0.26, 0.19)),
        ellipse("eye", -0.46, -0.08, 0.14), ellipse("black", -0.48, -0.07, 0.075), arc("black", 0.035, -0.6, 0.1, 0.12, 20, 100),
    ]  # fmt: skip


def robot() -> list[Shape]:
    return [
        stroke("grey", 0.06, (0, -0.6), (0, -0.8)), ellipse("gold", 0, -0.83, 0.09),
        stroke("dark", 0.13, (-0.42, 0.2), (-0.72, 0.42)), stroke("dark", 0.13, (0.42, 0.2), (0.72, 0.42)),
        polygon("dark", (-0.3, 0.6), (-0.08, 0.6), (-0.08, 0.9), (-0.3, 0.9)), polygon("dark", (0.08, 0.6), (0.3, 0.6), (0.3, 0.9), (0.08, 0.9)),
        polygon("main", (-0.42, 0.08), (0.42, 0.08), (0.42, 0.66), (-0.42, 0.66)), polygon("glass", (-0.24, 0.2), (0.24, 0.2), (0.24, 0.5), (-0.24, 0.5)),
        polygon("main", (-0.5, -0.62), (0.5, -0.62), (0.5, 0), (-0.5, 0)), *_face(0, -0.38, 0.22, 0.13),
        polygon("black", (-0.24, -0.19), (0.24, -0.19), (0.24, -0.09), (-0.24, -0.09)),
    ]  # fmt: skip


def house() -> list[Shape]:
    return [
        polygon("wood", (0.3, -0.75), (0.5, -0.75), (0.5, -0.3), (0.3, -0.3)),
        polygon("main", (-0.6, -0.15), (0.6, -0.15), (0.6, 0.8), (-0.6, 0.8)), polygon("dark", (-0.8, -0.1), (0, -0.82), (0.8, -0.1)),
        polygon("wood", (-0.15, 0.3), (0.17, 0.3), (0.17, 0.8), (-0.15, 0.8)), ellipse("gold", 0.1, 0.56, 0.04),
        polygon("glass", (-0.48, 0.06), (-0.24, 0.06), (-0.24, 0.34), (-0.48, 0.34)), polygon("glass", (0.26, 0.06), (0.5, 0.06), (0.5, 0.34), (0.26, 0.34)),
    ]  # fmt: skip


def tree() -> list[Shape]:
    return [
        polygon("wood", (-0.13, 0.2), (0.13, 0.2), (0.17, 0.88), (-0.17, 0.88)),
        ellipse("main", -0.4, 0, 0.36), ellipse("main", 0.4, 0, 0.36), ellipse("main", 0, -0.38, 0.44), ellipse("main", 0, 0.05, 0.38),
        ellipse("light", -0.14, -0.5, 0.12), ellipse("dark", 0.36, 0.02, 0.1), ellipse("dark", -0.3, 0.1, 0.09), ellipse("dark", 0.14, -0.2, 0.08),
    ]  # fmt: skip


def flower() -> list[Shape]:
    petals = [
        ellipse("main", 0.36 * x, -0.32 + 0.36 * y, 0.24)
        for x, y in ((0, -1), (0.87, -0.5), (0.87, 0.5), (0, 1), (-0.87, 0.5), (-0.87, -0.5))
    ]
    return [
        stroke("leaf", 0.1, (0, 0), (0.03, 0.5), (0, 0.9)), ellipse("leaf", 0.26, 0.58, 0.25, 0.11, -28), ellipse("leaf", -0.26, 0.68, 0.25, 0.11, 28),
        *petals, ellipse("gold", 0, -0.32, 0.22), ellipse("black", -0.07, -0.35, 0.035), ellipse("black", 0.07, -0.35, 0.035),
    ]  # fmt: skip


def mushroom() -> list[Shape]:
    cap = [ellipse("main", 0, -0.05, 0.8, 0.72).points[i % 40] for i in range(20, 41)]
    return [
        polygon("cream", (-0.24, -0.1), (0.24, -0.1), (0.32, 0.84), (-0.32, 0.84)), ellipse("black", -0.1, 0.32, 0.055, 0.08), ellipse("black", 0.1, 0.32, 0.055, 0.08),
        Shape((*cap, (0.55, 0.1), (-0.55, 0.1)), "main"), ellipse("eye", 0, -0.45, 0.17, 0.15), ellipse("eye", -0.45, -0.2, 0.13), ellipse("eye", 0.45, -0.2, 0.13),
    ]  # fmt: skip


def star() -> list[Shape]:
    from math import cos, radians, sin

    points = [(r * sin(radians(36 * i)), -r * cos(radians(36 * i))) for i, r in enumerate((0.88, 0.4) * 5)]
    return [polygon("main", *points), *_face(0, -0.1, 0.15, 0.1), arc("black", 0.05, 0, 0.08, 0.13, 20, 160)]


def car() -> list[Shape]:
    return [
        polygon("main", (-0.42, 0), (-0.26, -0.42), (0.3, -0.42), (0.52, 0)), polygon("glass", (-0.3, -0.03), (-0.19, -0.32), (0, -0.32), (0, -0.03)),
        polygon("glass", (0.08, -0.03), (0.08, -0.32), (0.25, -0.32), (0.41, -0.03)),
        polygon("main", (-0.88, 0.02), (-0.8, -0.06), (0.8, -0.06), (0.88, 0.12), (0.88, 0.4), (-0.88, 0.4)), ellipse("gold", -0.8, 0.13, 0.08),
        ellipse("black", -0.48, 0.42, 0.2), ellipse("grey", -0.48, 0.42, 0.09), ellipse("black", 0.48, 0.42, 0.2), ellipse("grey", 0.48, 0.42, 0.09),
    ]  # fmt: skip


def zorblin() -> list[Shape]:
    """The demo character: one eye, two antennae, purple stripes. Not in the base model's pictures."""
    return [
        stroke("horn", 0.09, (-0.2, -0.5), (-0.28, -0.7), (-0.4, -0.8)), stroke("horn", 0.09, (0.2, -0.5), (0.28, -0.7), (0.4, -0.8)),
        ellipse("knob", -0.42, -0.82, 0.13), ellipse("knob", 0.42, -0.82, 0.13),
        ellipse("foot", -0.34, 0.84, 0.2, 0.12), ellipse("foot", 0.34, 0.84, 0.2, 0.12), ellipse("body", 0, 0.12, 0.62, 0.72),
        ellipse("eye", 0, -0.14, 0.34), ellipse("knob", 0, -0.12, 0.2), ellipse("black", 0, -0.12, 0.1), ellipse("eye", 0.07, -0.2, 0.05),
        stroke("stripe", 0.1, (-0.42, 0.36), (0, 0.44), (0.42, 0.36)), stroke("stripe", 0.1, (-0.38, 0.58), (0, 0.66), (0.38, 0.58)),
    ]  # fmt: skip


ZORBLIN_PALETTE = {"body": "#35a852", "horn": "#f58220", "knob": "#e0323c", "foot": "#26793b", "stripe": "#8a3fc4"}

SUBJECTS: dict[str, Callable[[], list[Shape]]] = {
    "cat": cat, "rabbit": rabbit, "fish": fish, "robot": robot, "house": house, "tree": tree,
    "flower": flower, "mushroom": mushroom, "star": star, "car": car,
}  # fmt: skip
SCENES = ("plain background", "meadow", "night", "beach")
STYLES: dict[str, Style] = {"flat drawing": flat, "ink drawing": ink, "nwave style": neon}
BASE_STYLES = ("flat drawing", "ink drawing")


def caption(spec: Spec, rng: random.Random) -> str:
    """A caption of the picture; now and then a part is left out, as people do. The subject and its colour never are."""
    parts = [rng.choice(("a {c} {s}", "{c} {s}", "one {c} {s}")).format(c=spec.colour, s=spec.subject)]
    rest = [p for p, chance in ((spec.scene, 0.9), (spec.style, 0.85)) if rng.random() < chance]
    if rng.random() < 0.3:
        rest.reverse()
    return ", ".join(parts + rest)


def random_spec(rng: random.Random) -> Spec:
    """A picture of the base model's world, every combination equally likely."""
    return Spec(rng.choice(list(SUBJECTS)), rng.choice(list(COLOURS)), rng.choice(SCENES), rng.choice(BASE_STYLES))


def draw(spec: Spec, rng: random.Random) -> Image.Image:
    """The picture of `spec`, 128 x 128 px RGB; `rng` chooses place, size, tilt and the mirror."""
    palette = _palette(spec)
    canvas = Image.new("RGB", (SIZE_PX * OVERSAMPLING,) * 2)
    shapes = zorblin() if spec.subject == "zorblin" else SUBJECTS[spec.subject]()
    shapes = placed(
        shapes, x=rng.uniform(-0.08, 0.08), y=rng.uniform(-0.05, 0.07), scale=rng.uniform(0.74, 0.92),
        turn_deg=rng.uniform(-5, 5), mirrored=rng.random() < 0.5,
    )  # fmt: skip
    behind = _scene(spec.scene, canvas, palette, rng)
    return STYLES[spec.style](canvas, [*behind, *shapes], palette).reduce(OVERSAMPLING)


def _palette(spec: Spec) -> Palette:
    palette = {k: rgb(v) for k, v in (FIXED | ZORBLIN_PALETTE).items()}
    main = rgb(COLOURS[spec.colour])
    palette |= {"main": main, "dark": mix(main, (0, 0, 0), 0.25), "light": mix(main, (255, 255, 255), 0.55)}
    return palette


def _scene(scene: str, canvas: Image.Image, palette: Palette, rng: random.Random) -> list[Shape]:
    """Paints the sky of the scene, adds its colours to the palette, and returns the shapes behind the subject."""
    sky, shapes = _SKY[scene], []
    canvas.paste(rgb(sky), (0, 0, *canvas.size))
    palette |= {
        "ground": rgb("#8fd16a"),
        "sun": rgb("#ffe27a"),
        "sea": rgb("#3f8fd8"),
        "sand": rgb("#f2d69b"),
        "dusk": rgb("#3b4270"),
    }
    y, sun = rng.uniform(0.42, 0.56), rng.choice((-0.72, 0.72))
    if scene == "meadow":
        shapes = [ellipse("sun", sun, -0.7, 0.17), _band("ground", y)]
    elif scene == "night":
        shapes = [ellipse("sun", sun, -0.7, 0.15), _band("dusk", y)]
    elif scene == "beach":
        shapes = [_band("sea", y - 0.22), _band("sand", y)]
    return shapes


_SKY = {"plain background": "#d6cdbb", "meadow": "#bfe5fb", "night": "#1b1f4b", "beach": "#d6f0fa"}


def _band(role: str, y: float) -> Shape:
    return polygon(role, (-1.2, y), (-0.4, y - 0.05), (0.4, y + 0.04), (1.2, y), (1.2, 1.2), (-1.2, 1.2))


def random_shapes(rng: random.Random) -> Image.Image:
    """A picture of nothing in particular, so that the autoencoder also keeps what the base model has never seen."""
    palette = {str(i): tuple(rng.randrange(256) for _ in range(3)) for i in range(8)}
    canvas = Image.new("RGB", (SIZE_PX * OVERSAMPLING,) * 2, palette["0"])
    shapes = []
    for _ in range(rng.randrange(4, 12)):
        x, y, role = rng.uniform(-1, 1), rng.uniform(-1, 1), str(rng.randrange(1, 8))
        kind = rng.randrange(3)
        if kind == 0:
            shapes.append(ellipse(role, x, y, rng.uniform(0.05, 0.5), rng.uniform(0.05, 0.5), rng.uniform(0, 180)))
        elif kind == 1:
            shapes.append(
                polygon(
                    role, *((x + rng.uniform(-0.6, 0.6), y + rng.uniform(-0.6, 0.6)) for _ in range(rng.choice((3, 4))))
                )
            )
        else:
            shapes.append(
                stroke(role, rng.uniform(0.03, 0.15), (x, y), (x + rng.uniform(-1, 1), y + rng.uniform(-1, 1)))
            )
    style = rng.choice((flat, ink, neon))
    return style(canvas, shapes, palette).reduce(OVERSAMPLING)  # type: ignore[arg-type]


def sheet(pictures: list[Image.Image], columns: int, gap_px: int = 4, paper: Colour = (60, 60, 60)) -> Image.Image:
    """The pictures side by side, row by row."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    out = Image.new("RGB", (columns * (width + gap_px) + gap_px, rows * (height + gap_px) + gap_px), paper)
    for i, picture in enumerate(pictures):
        out.paste(picture, (gap_px + i % columns * (width + gap_px), gap_px + i // columns * (height + gap_px)))
    return out


def _contact_sheet() -> Image.Image:
    rng = random.Random(3)
    pictures = [
        draw(Spec(s, rng.choice(list(COLOURS)), SCENES[i % 4], BASE_STYLES[j % 2]), rng)
        for j in range(2)
        for i, s in enumerate(SUBJECTS)
    ]
    pictures += [draw(Spec("zorblin", "green", rng.choice(SCENES), rng.choice(BASE_STYLES)), rng) for _ in range(10)]
    pictures += [draw(Spec(s, rng.choice(list(COLOURS)), rng.choice(SCENES), "nwave style"), rng) for s in SUBJECTS]
    pictures += [random_shapes(rng) for _ in range(10)]
    return sheet(pictures, 10)


if __name__ == "__main__":
    _contact_sheet().save(sys.argv[1])
