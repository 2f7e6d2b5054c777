"""Thumbnails: upright, flattened, from memory and disk, made for what is seen, and within their room."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from app import places, thumbnail_store
from app.thumbnails import Thumbnails

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from PySide6.QtGui import QImage
    from pytestqt.qtbot import QtBot


@pytest.fixture
def thumbnails(home: Path) -> Iterator[Thumbnails]:
    made = Thumbnails()
    yield made
    made.close()


def wait_for(qtbot: QtBot, thumbnails: Thumbnails, path: Path, side_px: int) -> QImage:
    image = thumbnails.request(path, side_px)
    if image is None or thumbnails.waiting_count:
        qtbot.waitUntil(lambda: thumbnails.request(path, side_px) is not None and not thumbnails.waiting_count)
    image = thumbnails.request(path, side_px)
    assert image is not None
    return image


def kept_files() -> list[Path]:
    return sorted(places.thumbnails().rglob("*.jpg"))


def test_a_thumbnail_comes_later_and_then_from_memory(qtbot: QtBot, thumbnails: Thumbnails, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.new("RGB", (800, 400), "red").save(path)
    with qtbot.waitSignal(thumbnails.ready) as blocker:
        assert thumbnails.request(path, 100) is None
    assert blocker.args == [str(path)]
    image = thumbnails.request(path, 100)
    assert image is not None and (image.width(), image.height()) == (100, 50)
    assert image.pixelColor(50, 25).red() > 245 and image.pixelColor(50, 25).blue() < 10
    assert thumbnails.memory_bytes == 100 * 50 * 4


def test_it_is_kept_on_disk_and_read_from_there(qtbot: QtBot, thumbnails: Thumbnails, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (800, 400), "red").save(path)
    wait_for(qtbot, thumbnails, path, 100)
    (kept,) = kept_files()
    Image.new("RGB", (256, 128), "blue").save(kept)
    again = Thumbnails()
    assert wait_for(qtbot, again, path, 100).pixelColor(50, 25).blue() > 245
    again.close()
    assert not list(places.thumbnails().rglob("*.part"))


def test_half_a_kept_thumbnail_is_made_anew(qtbot: QtBot, thumbnails: Thumbnails, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.effect_noise((800, 400), 90).save(path)
    wait_for(qtbot, thumbnails, path, 100)
    (kept,) = kept_files()
    os.truncate(kept, kept.stat().st_size // 2)
    again = Thumbnails()
    wait_for(qtbot, again, path, 100)
    again.close()
    assert not again.is_broken(path)
    Image.open(kept).load()


@pytest.mark.parametrize("mode", ["RGBA", "P", "I;16", "CMYK", "L", "LA"])
def test_every_kind_of_picture_gets_one(qtbot: QtBot, thumbnails: Thumbnails, tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new(mode, (600, 300)).save(path)
    image = wait_for(qtbot, thumbnails, path, 64)
    assert (image.width(), image.height()) == (64, 32)
    assert not thumbnails.is_broken(path)
    if mode in ("RGBA", "LA"):
        assert image.pixelColor(30, 16).name() == "#ffffff"


def test_exif_turns_it_upright(qtbot: QtBot, thumbnails: Thumbnails, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (800, 400), "red").save(path, exif=exif)
    image = wait_for(qtbot, thumbnails, path, 100)
    assert (image.width(), image.height()) == (50, 100)


def test_a_broken_file_gets_a_drawn_sheet(qtbot: QtBot, thumbnails: Thumbnails, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"no picture")
    image = wait_for(qtbot, thumbnails, path, 100)
    assert thumbnails.is_broken(path)
    assert (image.width(), image.height()) == (100, 100)
    assert len({image.pixelColor(x, 50).name() for x in range(100)}) > 1
    missing = tmp_path / "gone.png"
    wait_for(qtbot, thumbnails, missing, 100)
    assert thumbnails.is_broken(missing)


def test_another_size_serves_until_the_right_one_is_there(qtbot: QtBot, thumbnails: Thumbnails, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (800, 800)).save(path)
    wait_for(qtbot, thumbnails, path, 64)
    with qtbot.waitSignal(thumbnails.ready):
        image = thumbnails.request(path, 200)
        assert image is not None and image.width() == 64
    image = thumbnails.request(path, 200)
    assert image is not None and image.width() == 200


def test_memory_is_bounded_and_the_least_used_goes_first(qtbot: QtBot, home: Path, pictures: Path) -> None:
    small = Thumbnails(memory_bytes=3 * 64 * 64 * 4)
    first, *others = sorted(pictures.glob("*.png"))
    wait_for(qtbot, small, first, 64)
    for path in others:
        wait_for(qtbot, small, path, 64)
        small.request(first, 64)
    assert small.memory_bytes <= 3 * 64 * 64 * 4
    assert small.request(first, 64) is not None
    assert small.request(others[0], 64) is None
    small.close()


def test_what_was_scrolled_away_is_not_made(thumbnails: Thumbnails, pictures: Path) -> None:
    paths = sorted(pictures.glob("*.png"))
    with thumbnails.held_back():
        for path in paths:
            thumbnails.request(path, 64)
        thumbnails.keep_only(paths[:1])
        assert thumbnails.waiting_count <= 1 + 2  # two may be at work already


def test_a_file_that_changed_is_made_anew_after_a_recheck(qtbot: QtBot, thumbnails: Thumbnails, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (400, 400), "red").save(path)
    wait_for(qtbot, thumbnails, path, 64)
    thumbnails.recheck()
    assert wait_for(qtbot, thumbnails, path, 64).pixelColor(9, 9).red() > 245
    Image.new("RGB", (400, 400), "blue").save(path)
    os.utime(path, ns=(1, 1))
    thumbnails.recheck()
    qtbot.waitUntil(lambda: wait_for(qtbot, thumbnails, path, 64).pixelColor(9, 9).blue() > 245)


def test_pruning_removes_those_not_used_for_longest(tmp_path: Path) -> None:
    for number in range(10):
        path = tmp_path / f"{number}" / "a.jpg"
        path.parent.mkdir()
        path.write_bytes(b"x" * 100)
        os.utime(path, (number, number))
    assert thumbnail_store.prune(tmp_path, 1000) == 0
    assert thumbnail_store.prune(tmp_path, 500) == 6
    assert sorted(p.parent.name for p in tmp_path.rglob("*.jpg")) == ["6", "7", "8", "9"]


def test_a_full_disk_only_costs_time(
    qtbot: QtBot, thumbnails: Thumbnails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.png"
    Image.new("RGB", (800, 400), "red").save(path)
    monkeypatch.setattr(Image.Image, "save", full)
    assert wait_for(qtbot, thumbnails, path, 100).width() == 100
    assert kept_files() == []
