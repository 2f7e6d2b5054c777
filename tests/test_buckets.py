"""buckets.py: properties over all rules that the settings allow, and answers worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from trainer.buckets import Rules, Size, counts, cropped_share, fit, sizes
from trainer.pixels import Fit

COMMON = Rules(resolution=512)


@st.composite
def rules(draw: st.DrawFn, *, upscale: bool | None = None) -> Rules:
    """Rules that the settings allow: step <= resolution <= longest side, smallest <= longest side."""
    resolution = draw(st.integers(8, 256)) * 8
    step = draw(st.sampled_from([s for s in (8, 16, 32, 64, 72, 128, 256, 512) if s <= resolution]))
    largest = draw(st.integers(resolution, 4 * resolution))
    smallest = draw(st.integers(32, largest)) if largest >= 32 else largest
    return Rules(resolution, step, smallest, largest, draw(st.booleans()) if upscale is None else upscale)


SIDES = st.integers(1, 6000)
quick = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(rules())
def test_sizes_keep_the_rules(given: Rules) -> None:
    side = given.resolution // given.step * given.step
    found = sizes(given)
    assert (side, side) in found and len(set(found)) == len(found)
    for width, height in found:
        assert width % given.step == height % given.step == 0
        assert width * height <= given.resolution**2
        assert min(width, height) >= min(given.smallest, side) and max(width, height) <= given.largest
        assert (height, width) in found
    assert list(found) == sorted(found, key=lambda s: s[0] / s[1])


@quick
@given(rules())
def test_no_size_could_be_a_step_larger(given: Rules) -> None:
    """One of the sides is as long as the other allows, so that no resolution is given away; the square stays square."""
    for width, height in (size for size in sizes(given) if size[0] != size[1]):
        longer = ((width + given.step, height), (width, height + given.step))
        assert not all(max(size) <= given.largest and size[0] * size[1] <= given.resolution**2 for size in longer)


@quick
@given(rules(), SIDES, SIDES)
@example(Rules(512), 1, 6000)
@example(Rules(512, upscale=False), 200, 1500)
def test_a_picture_is_scaled_to_cover_its_bucket_and_cropped_inside(given: Rules, width: int, height: int) -> None:
    found = fit(width, height, given)
    for size, resized, corner in zip(found.size, found.resized, found.corner, strict=True):
        assert 0 < size <= resized and 0 <= corner <= resized - size
        assert abs((resized - size) - 2 * corner) <= 1  # the middle
        assert size % given.step == 0
    assert found.size[0] * found.size[1] <= given.resolution**2
    assert 0 <= cropped_share(found) < 1
    assert fit(width, height, given) == found


@quick
@given(rules(), SIDES, SIDES)
def test_scaling_keeps_the_shape_to_a_pixel(given: Rules, width: int, height: int) -> None:
    found = fit(width, height, given)
    if found.resized != (width, height):
        scale = max(found.size[0] / width, found.size[1] / height)  # no more than covers the bucket
        for resized, side, size in zip(found.resized, (width, height), found.size, strict=True):
            assert abs(resized - max(size, side * scale)) <= 0.5 + 1e-9


@quick
@given(rules(upscale=True), SIDES, SIDES)
def test_with_upscaling_the_bucket_is_the_one_of_the_nearest_shape(given: Rules, width: int, height: int) -> None:
    def distance(size: tuple[int, int]) -> float:
        return abs(math.log(size[0] / size[1] * height / width))

    found = fit(width, height, given)
    assert found.size in sizes(given)
    assert distance(found.size) <= min(map(distance, sizes(given))) + 1e-9


@quick
@given(rules(upscale=False), SIDES, SIDES)
@example(Rules(512, upscale=False), 200, 1500)
@example(Rules(512, upscale=False), 70, 5000)
@example(Rules(512, upscale=False), 5999, 64)
def test_without_upscaling_no_picture_of_at_least_a_step_is_enlarged(given: Rules, width: int, height: int) -> None:
    assume(min(width, height) >= given.step)
    found = fit(width, height, given)
    assert found.resized[0] <= width and found.resized[1] <= height


@quick
@given(rules(), SIDES, SIDES)
def test_a_picture_on_its_side_is_trained_on_its_side(given: Rules, width: int, height: int) -> None:
    upright, turned = fit(width, height, given), fit(height, width, given)
    assume(given.upscale and sorted(upright.size) == sorted(turned.size))
    assert turned.size == upright.size[::-1] and turned.resized == upright.resized[::-1]


def test_the_sizes_of_512_by_64_are_these() -> None:
    """By hand: for each width the largest multiple of 64 under 512 * 512 / width, and the mirror of each."""
    upright = [(256, 1024), (256, 960), (256, 896), (256, 832), (320, 768), (320, 704), (384, 640), (448, 576)]
    assert set(sizes(COMMON)) == {*upright, (512, 512), *((h, w) for w, h in upright)}


@pytest.mark.parametrize(
    ("picture", "size", "resized", "corner"),
    [
        ((1024, 1024), (512, 512), (512, 512), (0, 0)),
        ((100, 100), (512, 512), (512, 512), (0, 0)),
        ((1536, 1024), (640, 384), (640, 427), (0, 21)),  # 3:2; ln 1.5 is nearer to ln 640/384 than to ln 576/448
        ((1024, 1536), (384, 640), (427, 640), (21, 0)),
        ((1600, 1200), (576, 448), (597, 448), (10, 0)),  # 4:3
        ((1920, 1080), (640, 384), (683, 384), (21, 0)),  # 16:9
        ((2000, 1000), (704, 320), (704, 352), (0, 16)),  # 2:1
        ((8000, 1000), (1024, 256), (2048, 256), (512, 0)),  # no bucket is that long
        ((1000, 1001), (512, 512), (512, 513), (0, 0)),
    ],
)
def test_known_pictures_get_known_buckets(picture: Size, size: Size, resized: Size, corner: Size) -> None:
    assert fit(*picture, COMMON) == Fit(size, resized, corner)


@pytest.mark.parametrize(
    ("picture", "size", "resized", "corner"),
    [
        ((300, 200), (256, 192), (300, 200), (22, 4)),  # its own size, cut to steps
        ((64, 64), (64, 64), (64, 64), (0, 0)),
        ((63, 200), (256, 832), (262, 832), (3, 0)),  # less than a step: enlarged all the same
        ((512, 512), (512, 512), (512, 512), (0, 0)),
        ((1536, 1024), (640, 384), (640, 427), (0, 21)),
        ((200, 1500), (192, 1024), (200, 1500), (4, 238)),  # its bucket (256 x 1024) would enlarge it
    ],
)
def test_small_pictures_keep_their_size_if_wanted(picture: Size, size: Size, resized: Size, corner: Size) -> None:
    assert fit(*picture, Rules(512, upscale=False)) == Fit(size, resized, corner)


@pytest.mark.parametrize("upscale", [True, False])
def test_without_buckets_all_pictures_get_one_square(upscale: bool) -> None:
    plain = Rules(520, upscale=upscale, enabled=False)
    assert sizes(plain) == ((512, 512),)
    assert {fit(*picture, plain).size for picture in ((100, 900), (3000, 20), (512, 512))} == {(512, 512)}


def test_buckets_are_counted() -> None:
    fits = [fit(*picture, COMMON) for picture in ((10, 10), (3, 2), (20, 20), (2, 3))]
    assert counts(fits) == {(384, 640): 1, (512, 512): 2, (640, 384): 1}
    assert list(counts(fits)) == sorted(counts(fits))
    assert counts([]) == {}


def test_the_cropped_share_is_the_area_outside_the_bucket() -> None:
    assert cropped_share(Fit((512, 512), (512, 512), (0, 0))) == 0
    assert cropped_share(Fit((100, 50), (100, 100), (0, 25))) == 0.5
    assert cropped_share(Fit((60, 60), (100, 90), (20, 15))) == pytest.approx(0.6)


@pytest.mark.parametrize(("focus", "corner"), [(0.5, 128), (0.0, 0), (1.0, 256), (0.45, 90)])
def test_the_focus_stays_as_near_to_the_middle_as_it_can(focus: float, corner: int) -> None:
    rules = Rules(512, enabled=False)
    assert fit(768, 512, rules, (focus, 0.5)).corner == (corner, 0)
    assert fit(512, 768, rules, (0.5, focus)).corner == (0, corner)
