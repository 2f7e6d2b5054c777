"""Lettering over pictures at any slant, of several strengths and typefaces, and things in rows that are none."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tests import pictures_drawn as drawn
from tests import planted_art as art
from trainer.pixel_letter_trees import TREES, lettering
from trainer.pixel_lettering import rows
from trainer.pixel_letters import MEASURES, Members
from trainer.pixel_overlays import overlay
from trainer.pixel_strokes import boxes, opened, pieces

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (720, 540)


@lru_cache(maxsize=32)
def scene(seed: int) -> Image.Image:
    return (art.draw(np.random.default_rng(seed), SIZE) if seed % 2 else drawn.photo(seed, SIZE)).convert("L")


def written(picture: Image.Image, word: str, px: int, *, angle: float = 0, share: float = 1.0) -> Image.Image:
    """White letters of a share of opacity across the middle, turned by `angle` degrees."""
    layer = Image.new("L", picture.size)
    middle = (picture.width / 2, picture.height / 2)
    ImageDraw.Draw(layer).text(middle, word, 255, ImageFont.load_default(px), "mm")
    layer = layer.rotate(angle, Image.Resampling.BICUBIC).point(lambda v: round(v * share))
    return Image.composite(Image.new("L", picture.size, 255), picture, layer)


def dark(seed: int) -> Image.Image:
    """A scene on which white can be seen."""
    return scene(seed).point(lambda v: round(v * 0.6))


@pytest.mark.parametrize("angle", [0, 30, 45, -20, -45])
def test_lettering_is_found_at_any_slant(angle: float) -> None:
    found = [overlay(written(dark(s), "Specimen Copy", 60, angle=angle, share=0.6)).kind for s in range(700, 712)]
    assert sum(kind != "" for kind in found) >= 10


@pytest.mark.parametrize("px", [24, 40, 70, 110])
def test_lettering_is_found_in_any_size(px: int) -> None:
    found = [overlay(written(dark(s), "SPECIMEN", px, share=0.7)).kind for s in range(700, 712)]
    assert sum(kind != "" for kind in found) >= 10


def test_faint_and_slanting_lettering_is_a_watermark() -> None:
    plain = Image.new("L", SIZE, 90)
    assert overlay(written(plain, "Specimen Copy", 60, angle=30)).kind == "watermark"
    assert overlay(written(plain, "Specimen Copy", 30, share=0.25)).kind == "watermark"
    assert overlay(written(plain, "Specimen Copy", 30)).kind == "text"


def test_the_box_holds_a_slanting_word() -> None:
    left, top, right, bottom = overlay(written(Image.new("L", SIZE, 90), "SPECIMEN", 60, angle=30)).box
    assert left == pytest.approx(360 - 130, abs=35) and right == pytest.approx(360 + 130, abs=35)
    assert top == pytest.approx(270 - 85, abs=35) and bottom == pytest.approx(270 + 85, abs=35)


def _windows(pen: ImageDraw.ImageDraw, x: float, y: float) -> None:
    pen.rectangle((x, y, x + 12, y + 20), fill=200)


def _rings(pen: ImageDraw.ImageDraw, x: float, y: float) -> None:
    pen.ellipse((x, y, x + 22, y + 22), outline=200, width=4)


def _zigzag(pen: ImageDraw.ImageDraw, x: float, y: float) -> None:
    pen.line((x, y, x + 11, y + 20, x + 22, y), fill=200, width=4)


@pytest.mark.parametrize("motif", [_windows, _rings, _zigzag])
@pytest.mark.parametrize("angle", [0, 25])
def test_things_in_rows_that_are_all_the_same_are_not_letters(
    motif: Callable[[ImageDraw.ImageDraw, float, float], None], angle: float
) -> None:
    picture = Image.new("L", SIZE, 60)
    pen = ImageDraw.Draw(picture)
    for x in range(10, SIZE[0], 34):
        for y in range(10, SIZE[1], 60):
            motif(pen, x, y)
    assert overlay(picture.rotate(angle, Image.Resampling.BICUBIC, fillcolor=60)).kind == ""


def test_clean_scenes_have_no_lettering_sharp_soft_or_blocky() -> None:
    pictures = [scene(s) for s in range(740, 770)]
    spoilt = [p.filter(ImageFilter.GaussianBlur(2)) for p in pictures[::3]]
    spoilt += [drawn.jpeg(p.convert("RGB"), 15).convert("L") for p in pictures[1::3]]
    assert sum(overlay(p).kind != "" for p in pictures + spoilt) <= 1


# ---- strokes ----


def test_pieces_are_cut_out_with_their_measures() -> None:
    pixels = np.full((60, 80), 50, np.uint8)
    pixels[10:30, 10:13] = 150  # a bar
    pixels[10:30, 40:60] = 150  # a ring of 3 px
    pixels[13:27, 43:57] = 50
    p = pieces(pixels, opened(pixels), (20,))
    assert p is not None
    by_area = np.argsort(p.area)
    assert p.area[by_area].tolist() == [60, 400 - 196]
    assert p.holes[by_area].tolist() == [0, 1]
    assert p.contrast == pytest.approx([100, 100]) and p.alpha == pytest.approx([100 / 205] * 2)
    assert p.perimeter[by_area].tolist() == [46, 80 + 56]
    assert p.width[by_area] == pytest.approx([2.6, 3], abs=0.05)
    bounds = np.stack(boxes(p, 0), 1)[by_area]
    assert bounds.tolist() == [[10, 10, 13, 30], [40, 10, 60, 30]]


def test_bounds_follow_a_slant() -> None:
    layer = Image.new("L", (120, 120))
    ImageDraw.Draw(layer).rectangle((40, 57, 79, 61), fill=255)
    pixels = np.asarray(layer.rotate(-30, Image.Resampling.BICUBIC))  # falls to the right
    p = pieces(pixels, opened(pixels), (100,))
    assert p is not None and len(p.first) == 1
    box = boxes(p, np.radians(30))
    assert box.right[0] - box.left[0] == pytest.approx(40, abs=2.5)
    assert box.bottom[0] - box.top[0] == pytest.approx(5, abs=2.5)


def test_nothing_is_found_where_nothing_is() -> None:
    pixels = np.full((60, 80), 50, np.uint8)
    assert pieces(pixels, opened(pixels), (20,)) is None


# ---- rows ----


def test_a_row_is_measured_by_what_it_shows() -> None:
    pixels = np.asarray(written(Image.new("L", (400, 80), 40), "SPECIMEN", 40))
    ground = opened(pixels)
    p = pieces(pixels, ground, (60,))
    assert p is not None
    (found,) = rows(p, pixels - ground)
    assert found.measures.shape == (1, len(MEASURES))
    value = dict(zip(MEASURES, found.measures[0].tolist(), strict=True))
    assert np.exp(value["number"]) == pytest.approx(8)
    assert (value["base"], value["heights"], value["beside"]) == (1, 1, 0)
    assert value["letter"] > 0.8 and value["kinds"] >= 5
    assert value["height"] == pytest.approx(29, abs=3)
    assert lettering(found.measures)[0] > lettering(np.zeros((1, len(MEASURES))))[0]


def test_statistics_are_taken_row_by_row() -> None:
    m = Members(np.arange(5), np.array([0, 0, 0, 1, 1]), np.array([0, 3]), np.array([3, 2]), np.zeros(2))
    values = np.array([1.0, 9, 2, 4, 8])
    assert m.mean(values).tolist() == [4, 6] and m.median(values).tolist() == [2, 4]
    assert m.spread(values) == pytest.approx([np.std([1, 9, 2]), 2])
    assert m.to_next(np.diff(values)).tolist() == [8, -7, -7, 4, 4]
    assert [v.tolist() for v in m.pairs(1)] == [[0, 1, 3], [1, 2, 4]]


def test_trees_ask_and_add() -> None:
    names = [part.split()[0] for line in TREES.strip().splitlines() for part in line.split("|")]
    assert set(names) <= set(MEASURES)
    rng = np.random.default_rng(5)
    measures = rng.uniform(-1, 3, (50, len(MEASURES)))
    expected = np.zeros(50)
    for line in TREES.strip().splitlines():
        root, *sides = (part.split() for part in line.split("|"))
        for i, row in enumerate(measures):
            name, bound, low, high = sides[int(row[MEASURES.index(root[0])] > float(root[1]))]
            expected[i] += float(high if row[MEASURES.index(name)] > float(bound) else low)
    assert lettering(measures) == pytest.approx(expected)
