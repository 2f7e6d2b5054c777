"""Whole data sets, each with one defect of the set or with none: `scenarios` draws both for each kind of finding."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tests import planted_art as art
from tests.planted import TAGS, TRIGGER
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIZES = ((128, 128), (192, 128), (128, 192))


@dataclass(frozen=True)
class Scenario:
    """A folder with the settings to examine it with. is_planted: whether it has the defect."""

    settings: TrainingSettings
    preset: str
    is_planted: bool


def scenarios(folder: Path, kind: str, count: int, seed: int) -> list[Scenario]:
    """`count` sets with the defect and as many without, which come near it."""
    out = []
    for number in range(2 * count):
        rng = np.random.default_rng([seed, number, *kind.encode()])
        place = folder / f"{kind}_{number:03d}"
        is_planted = number % 2 == 0
        values, preset = KINDS[kind](place, rng, is_planted)
        base = {"data": place, "trigger": TRIGGER, "resolution": 128, "bucket_min": 64, "bucket_step": 16}
        out.append(Scenario(TrainingSettings.model_validate(base | values), preset, is_planted))
    return out


Made = tuple[dict[str, object], str]  # settings beyond the usual ones, and a preset


def draw(folder: Path, rng: np.random.Generator, count: int, captions: list[str] | None = None) -> list[Path]:
    """Small distinct pictures of three shapes, with captions."""
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    for number in range(count):
        path = folder / f"{number:03d}.png"
        size = SIZES[number % 3]
        cells = art.fractal(rng, size, (2, 5, 11, 40))
        shades = [
            np.clip(cells * rng.uniform(60, 120) + rng.uniform(60, 190), 0, 255).astype(np.uint8) for _ in range(3)
        ]
        Image.fromarray(np.stack(shades, -1)).save(path)
        text = (
            captions[number]
            if captions
            else ", ".join([TRIGGER, *(TAGS[(number * 3 + i) % len(TAGS)] for i in range(4))])
        )
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
        out.append(path)
    return out


def _nothing_usable(folder: Path, rng: np.random.Generator, is_planted: bool) -> Made:
    paths = draw(folder, rng, int(rng.integers(2, 7)))
    for path in paths if is_planted else paths[1:]:
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * rng.uniform(0, 0.9))])
    return {}, ""


def _no_captions(folder: Path, rng: np.random.Generator, is_planted: bool) -> Made:
    paths = draw(folder, rng, int(rng.integers(5, 12)))
    has_trigger = not is_planted and bool(rng.integers(2))
    for path in paths if is_planted or has_trigger else paths[1:]:
        if rng.integers(2):
            path.with_suffix(".txt").unlink()
        else:
            path.with_suffix(".txt").write_text(" \n", encoding="utf-8")
    return {"trigger": TRIGGER if has_trigger else ""}, ""


def _regularization(folder: Path, rng: np.random.Generator, is_planted: bool) -> Made:
    draw(folder, rng, 6)
    prior = folder.with_name(f"{folder.name}_prior")
    if is_planted and rng.integers(2):
        prior.mkdir()
    elif not is_planted:
        draw(prior, rng, 3)
    return {"regularization": prior}, ""


def _prior_overlap(folder: Path, rng: np.random.Generator, is_planted: bool) -> Made:
    prior = folder.with_name(f"{folder.name}_prior")
    for place, numbers in ((folder, range(4)), (prior, range(4, 6))):
        place.mkdir(parents=True)
        for number in numbers:
            art.draw(rng, (320, 320)).save(place / f"{number}.png")
    if is_planted:
        source = folder / f"{int(rng.integers(4))}.png"
        if rng.integers(2):
            shutil.copyfile(source, prior / "copy.png")
        else:
            with Image.open(source) as picture:
                picture.resize((260, 260), Image.Resampling.LANCZOS).save(prior / "copy.jpg", quality=80)
    return {"regularization": prior}, ""


def _too_few(folder: Path, rng: np.random.Generator, is_planted: bool) -> Made:
    preset, low = (("", 5), ("character", 10), ("object", 10), ("style", 20))[int(rng.integers(4))]
    draw(folder, rng, int(rng.integers(1, low)) if is_planted else low + int(rng.integers(0, 4)))
    return {}, preset


def _too_many(folder: Path, rng: np.random.Generator, is_planted: bool) -> Made:
    preset, high = (("character", 40), ("object", 30))[int(rng.integers(2))]
    draw(folder, rng, high + int(rng.integers(1, 6)) if is_planted else high - int(rng.integers(0, 4)))
    return {}, preset


def _thin_bucket(folder: Path, rng: np.random.Generator, is_planted: bool) -> Made:
    batch = int(rng.integers(2, 5))
    each = batch + int(rng.integers(0, 2))
    paths = draw(folder, rng, 3 * each)
    for path in paths[2::3][: int(rng.integers(1, batch)) + each - batch] if is_planted else ():
        path.unlink()
    return {"batch_size": batch}, ""


def _repeats(folder: Path, rng: np.random.Generator, is_planted: bool) -> Made:
    many, few = int(rng.integers(12, 20)), int(rng.integers(3, 5))
    first, second = (f"{int(rng.integers(8, 12))}_face", "body") if is_planted else ("body", f"{many // few}_face")
    draw(folder / first, rng, many)
    draw(folder / second, rng, few)
    return {}, ""


def _tag_everywhere(folder: Path, rng: np.random.Generator, is_planted: bool) -> Made:
    count = int(rng.integers(6, 16))
    place, but = int(rng.integers(3)), int(rng.integers(count))
    captions = []
    for number in range(count):
        tags = [TAGS[(number * 3 + i) % len(TAGS)] for i in range(3)]
        if is_planted or number != but:
            tags.insert(place, "glowing lantern")
        captions.append(", ".join([TRIGGER, *tags]))
    draw(folder, rng, count, captions)
    return {}, ""


KINDS: dict[str, Callable[[Path, np.random.Generator, bool], Made]] = {
    "nothing_usable": _nothing_usable, "no_captions": _no_captions, "regularization": _regularization,
    "prior_overlap": _prior_overlap, "too_few": _too_few, "too_many": _too_many, "thin_bucket": _thin_bucket,
    "repeats": _repeats, "tag_everywhere": _tag_everywhere,
}  # fmt: skip
