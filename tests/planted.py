"""Data sets with known defects, drawn from a seed: `plant` puts pictures of each kind of defect into a folder.

The kinds bear the names of the doctor's findings (`trainer/doctor_findings.py`); "clean" is a picture with none. What belongs
to a whole set (too few pictures, a tag in every caption ...) is in `tests/planted_sets.py`.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from tests import planted_art as art
from tests import planted_marks as marks
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

TRIGGER = "zorblin"
TAGS = (
    "red hat", "blue eyes", "long hair", "wooden table", "mountain", "open window", "smiling", "night sky", "white shirt",
    "green meadow", "old castle", "river bank", "holding umbrella", "stone bridge", "cherry tree", "running",
    "black leather boots", "café terrace", "market square", "sitting on bench",
)  # fmt: skip
RESOLUTION = 512


@dataclass
class Bed:
    """Where things are planted. size: of all pictures, any unless given; count: pictures that were captioned so far."""

    folder: Path
    rng: np.random.Generator
    size: tuple[int, int] | None = None
    count: int = 0

    def draw(self) -> Image.Image:
        """A clean picture."""
        return art.draw(self.rng, self.size)

    def caption(self) -> str:
        """The trigger and four tags; every tag comes again after few pictures, and none is in all."""
        first = self.count * 4 % len(TAGS)
        self.count += 1
        return ", ".join([TRIGGER, *(TAGS[(first + i) % len(TAGS)] for i in range(4))])

    def put(self, name: str, picture: Image.Image, caption: str | None = None, **options: object) -> str:
        """Saves a picture with its caption; returns its name."""
        picture.save(self.folder / name, **options)  # type: ignore[arg-type]
        self.write(name, self.caption() if caption is None else caption)
        return name

    def write(self, name: str, caption: str) -> None:
        """The caption of a picture."""
        (self.folder / name).with_suffix(".txt").write_text(caption, encoding="utf-8", newline="\n")

    def good(self, name: str, caption: str | None = None) -> str:
        """A clean picture; `name` without ending, which is chosen."""
        ending = (".jpg", ".png", ".webp", ".jpg")[int(self.rng.integers(4))]
        options = {} if ending == ".png" else {"quality": int(self.rng.integers(88, 96))}
        return self.put(name + ending, self.draw(), caption, **options)


def settings(folder: Path, **more: object) -> TrainingSettings:
    """Settings under which the clean pictures have no defect."""
    return TrainingSettings.model_validate({"data": folder, "trigger": TRIGGER, "resolution": RESOLUTION} | more)


def plant(
    folder: Path, kinds: Iterable[str], count: int, seed: int, size: tuple[int, int] | None = None
) -> dict[str, set[str]]:
    """Puts `count` defects of each kind into the folder, which may hold others; returns the files that have each defect.

    Of duplicates all members are named. Call it once with ["clean"] and a larger count, then with the defects. size: of all
    pictures, smaller ones are drawn more quickly.
    """
    folder.mkdir(parents=True, exist_ok=True)
    out: dict[str, set[str]] = {}
    for kind in kinds:
        first = count * list(KINDS).index(kind)  # so that a small set has every tag several times too
        bed = Bed(folder, np.random.default_rng([seed, *kind.encode()]), size, first)
        out[kind] = set().union(*(KINDS[kind](bed, f"{kind}_{number:03d}", number) for number in range(count)))
    return out


def _clean(bed: Bed, name: str, number: int) -> set[str]:
    return {bed.good(name)}


def _unreadable(bed: Bed, name: str, number: int) -> set[str]:
    """Cut off in the middle, cut off at the end, empty, or something else under a picture's name."""
    path = bed.folder / bed.put(f"{name}.{'jpg' if number % 2 else 'png'}", bed.draw())
    raw = path.read_bytes()
    broken = (raw[: len(raw) // 2], raw[: len(raw) * 9 // 10], b"", b"<html>Not found</html>", raw[:700], raw[64:])
    path.write_bytes(broken[number % 6])
    return {path.name}


def _wrong_extension(bed: Bed, name: str, number: int) -> set[str]:
    real, given = (("jpeg", "png"), ("png", "jpg"), ("webp", "jpg"), ("jpeg", "webp"))[number % 4]
    return {bed.put(f"{name}.{given}", bed.draw(), format=real)}


def _rotated(bed: Bed, name: str, number: int) -> set[str]:
    picture = bed.draw()
    exif = picture.getexif()
    exif[0x0112] = 2 + number % 7
    return {bed.put(f"{name}.jpg", picture, quality=92, exif=exif)}


def _transparent(bed: Bed, name: str, number: int) -> set[str]:
    """A cut-out: every second one hides colours under what is transparent."""
    picture = bed.draw()
    mask = Image.new("L", picture.size)
    width, height = picture.size
    box = (width // 8, height // 8, width * 7 // 8, height - 1)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    if number % 3 == 2:
        mask = mask.filter(ImageFilter.GaussianBlur(5))
    if number % 2:
        picture = Image.composite(picture, Image.new("RGB", picture.size), mask)
    picture.putalpha(mask)
    return {bed.put(f"{name}.{'webp' if number % 4 == 3 else 'png'}", picture)}


def _cmyk(bed: Bed, name: str, number: int) -> set[str]:
    return {bed.put(f"{name}.jpg", bed.draw().convert("CMYK"), quality=92)}


def _sixteen_bit(bed: Bed, name: str, number: int) -> set[str]:
    grey = np.asarray(bed.draw().convert("L"), np.uint16) * 257
    return {bed.put(f"{name}.png", Image.fromarray(grey))}


def _animated(bed: Bed, name: str, number: int) -> set[str]:
    frames = [art.draw(bed.rng, (640, 640)) for _ in range(2 + number % 2)]
    ending = ("webp", "png")[number % 2]
    return {bed.put(f"{name}.{ending}", frames[0], save_all=True, append_images=frames[1:], duration=200)}


def _other_format(bed: Bed, name: str, number: int) -> set[str]:
    return {bed.put(f"{name}.{('gif', 'tif', 'tiff', 'jp2')[number % 4]}", art.draw(bed.rng, (640, 640)))}


def _small(bed: Bed, name: str, number: int) -> set[str]:
    picture = bed.draw()
    picture.thumbnail((220 + 9 * (number % 10),) * 2, Image.Resampling.LANCZOS)
    return {bed.put(f"{name}.{'jpg' if number % 2 else 'png'}", picture)}


def _cropped(bed: Bed, name: str, number: int) -> set[str]:
    long = 2600 + 60 * (number % 10)
    size = (long, 400) if number % 2 else (400, long)
    return {bed.put(f"{name}.jpg", _stitched(bed, size), quality=92)}


def _stitched(bed: Bed, size: tuple[int, int]) -> Image.Image:
    """A strip of several views; a measure must not see the seams as a border."""
    step = 400
    picture = Image.new("RGB", size)
    for start in range(0, max(size), step):
        picture.paste(art.draw(bed.rng, (step, step)), (start, 0) if size[0] > size[1] else (0, start))
    return picture


def _exact_duplicate(bed: Bed, name: str, number: int) -> set[str]:
    first = bed.good(name)
    copy = f"{name}_copy{first[first.rindex('.') :]}"
    shutil.copyfile(bed.folder / first, bed.folder / copy)
    bed.write(copy, bed.caption())
    return {first, copy}


def _near_duplicate(bed: Bed, name: str, number: int) -> set[str]:
    """Smaller, larger, saved as a poorer JPEG, cut by a few percent, brighter, or several of these."""
    picture = bed.draw()
    first = bed.put(f"{name}.png", picture)
    width, height = picture.size
    if number % 4 in (0, 3):
        scale = float(bed.rng.uniform(0.65, 1.3))
        picture = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    if number % 4 in (2, 3):
        cut = [int(side * bed.rng.uniform(0.0, 0.045)) for side in (width, height, width, height)]
        picture = picture.crop((cut[0], cut[1], picture.width - cut[2], picture.height - cut[3]))
    if number % 3 == 1:
        picture = ImageEnhance.Brightness(picture).enhance(float(bed.rng.uniform(0.9, 1.1)))
    return {first, bed.put(f"{name}_near.jpg", picture, quality=int(bed.rng.integers(70, 90)))}


def _flipped_duplicate(bed: Bed, name: str, number: int) -> set[str]:
    picture = bed.draw()
    first = bed.put(f"{name}.png", picture)
    mirrored = ImageOps.mirror(picture)
    if number % 2:
        mirrored = mirrored.resize((round(picture.width * 0.8), round(picture.height * 0.8)), Image.Resampling.LANCZOS)
    return {first, bed.put(f"{name}_flipped.jpg", mirrored, quality=85)}


def _blurred(bed: Bed, name: str, number: int) -> set[str]:
    """Out of focus, shaken, or enlarged from something small."""
    picture = bed.draw()
    size = picture.size
    if number % 3 == 0:
        picture = picture.filter(ImageFilter.GaussianBlur(max(size) * float(bed.rng.uniform(0.006, 0.015))))
    elif number % 3 == 1:
        steps = round(max(size) * float(bed.rng.uniform(0.025, 0.05)))
        values = np.asarray(picture, np.float32)
        total = sum(
            (np.roll(values, (s, s // 2), (1, 0)) for s in range(-steps // 2, steps // 2)), np.zeros_like(values)
        )
        picture = Image.fromarray((total / (steps // 2 + -(-steps // 2))).clip(0, 255).astype(np.uint8))
        picture = picture.crop((steps, steps, size[0] - steps, size[1] - steps))
    else:
        few = float(bed.rng.uniform(0.1, 0.17))
        picture = picture.resize((round(size[0] * few), round(size[1] * few)), Image.Resampling.LANCZOS)
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return {bed.put(f"{name}.{'jpg' if number % 2 else 'png'}", picture)}


def _blocky(bed: Bed, name: str, number: int) -> set[str]:
    """A poor JPEG, as it is or saved again as something better."""
    buffer = BytesIO()
    bed.draw().save(buffer, "jpeg", quality=int(bed.rng.integers(5, 16)))
    if number % 3 == 0:
        path = bed.folder / bed.put(f"{name}.jpg", Image.new("RGB", (8, 8)))
        path.write_bytes(buffer.getvalue())
        return {path.name}
    with Image.open(buffer) as picture:
        return {bed.put(f"{name}.{'jpg' if number % 3 == 1 else 'png'}", picture, quality=92)}


def _border(bed: Bed, name: str, number: int) -> set[str]:
    picture = marks.framed(bed.draw(), bed.rng, number)
    return {bed.put(f"{name}.{'jpg' if number % 2 else 'png'}", picture, quality=92)}


def _overlay(bed: Bed, name: str, number: int) -> set[str]:
    picture = marks.written_on(bed.draw(), bed.rng, number)
    return {bed.put(f"{name}.{'jpg' if number % 2 else 'png'}", picture, quality=92)}


def _missing_caption(bed: Bed, name: str, number: int) -> set[str]:
    file = bed.good(name)
    (bed.folder / file).with_suffix(".txt").unlink()
    return {file}


def _empty_caption(bed: Bed, name: str, number: int) -> set[str]:
    file = bed.good(name)
    (bed.folder / file).with_suffix(".txt").write_bytes((b"", b" \n", b"\xef\xbb\xbf", b"\r\n\t")[number % 4])
    return {file}


def _orphan_caption(bed: Bed, name: str, number: int) -> set[str]:
    bed.write(f"{name}.jpg", bed.caption())
    return {f"{name}.txt"}


def _encoding(bed: Bed, name: str, number: int) -> set[str]:
    """Latin-1 and its kin, UTF-16, and UTF-8 that was read as something else and saved again."""
    file = bed.good(name)
    tags = bed.caption().split(", ")
    text = ", ".join([*tags, *({"café terrace"} - {*tags})])
    raw = (
        text.encode("cp1252"),
        text.encode("utf-16"),
        text.encode().decode("cp1252", "replace").encode(),
        text.encode("utf-16-le"),
    )
    (bed.folder / file).with_suffix(".txt").write_bytes(raw[number % 4])
    return {file}


def _invisible(bed: Bed, name: str, number: int) -> set[str]:
    file = bed.good(name)
    head, tail = bed.caption().split(", ", 1)
    texts = (
        f"\ufeff{head}, {tail}",
        f"{head}, \x07{tail}",
        f"{head}, {tail}\x00",
        f"{head},\u200b {tail}",
        f"\u202e{head}, {tail}",
    )
    (bed.folder / file).with_suffix(".txt").write_bytes(texts[number % 5].encode())
    return {file}


def _too_long(bed: Bed, name: str, number: int) -> set[str]:
    words = " ".join(["a very long description of everything that can be seen here"] * (7 + number % 5))
    return {bed.good(name, f"{bed.caption()}, {words}")}


def _trigger_missing(bed: Bed, name: str, number: int) -> set[str]:
    return {bed.good(name, bed.caption().removeprefix(f"{TRIGGER}, "))}


def _trigger_hidden(bed: Bed, name: str, number: int) -> set[str]:
    word = (f"{TRIGGER}s", f"micro{TRIGGER}", f"{TRIGGER}2", f"{TRIGGER.upper()}ISH")[number % 4]
    return {bed.good(name, bed.caption().replace(TRIGGER, word))}


SPELLED = {
    "red hat": "Red Hat", "blue eyes": "blue eye", "long hair": "long_hair", "wooden table": "woden table",
    "mountain": "mountains", "open window": "open_window", "smiling": "Smiling", "night sky": "night-sky",
    "white shirt": "white-shirt", "green meadow": "green meadw", "old castle": "old castel", "river bank": "River_bank",
    "stone bridge": "stone bridgge", "cherry tree": "cherry trees", "running": "RUNNING", "market square": "market sqaure",
}  # fmt: skip


def _tag_spelling(bed: Bed, name: str, number: int) -> set[str]:
    right, wrong = list(SPELLED.items())[number % len(SPELLED)]
    others = [tag for tag in bed.caption().split(", ") if tag != right]
    return {bed.good(name, ", ".join([*others, wrong]))}


def _tag_once(bed: Bed, name: str, number: int) -> set[str]:
    first, second = "abcdefghijklm"[number % 13], "nopqrstuvwxyz"[number // 13 % 13]
    return {bed.good(name, f"{bed.caption()}, {first * 4}{second * 4} lamp")}


PICTURE_KINDS = {
    "unreadable": _unreadable, "wrong_extension": _wrong_extension, "rotated": _rotated, "transparent": _transparent,
    "cmyk": _cmyk, "sixteen_bit": _sixteen_bit, "animated": _animated, "other_format": _other_format, "small": _small, "cropped": _cropped,
    "exact_duplicate": _exact_duplicate, "near_duplicate": _near_duplicate, "flipped_duplicate": _flipped_duplicate,
    "blurred": _blurred, "blocky": _blocky, "border": _border, "overlay": _overlay,
}  # fmt: skip
CAPTION_KINDS = {
    "missing_caption": _missing_caption, "empty_caption": _empty_caption, "orphan_caption": _orphan_caption,
    "encoding": _encoding, "invisible": _invisible, "too_long": _too_long, "trigger_missing": _trigger_missing,
    "trigger_hidden": _trigger_hidden, "tag_spelling": _tag_spelling, "tag_once": _tag_once,
}  # fmt: skip
KINDS: dict[str, Callable[[Bed, str, int], set[str]]] = {"clean": _clean} | PICTURE_KINDS | CAPTION_KINDS
