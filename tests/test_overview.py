"""The sheet of a run's previews."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from app import overview
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from pathlib import Path


def previews(tmp_path: Path, steps: list[int], prompts: int, size: tuple[int, int] = (128, 128)) -> RunFolder:
    folder = RunFolder(tmp_path)
    folder.samples.mkdir()
    for step in steps:
        for prompt in range(prompts):
            Image.new("RGB", size, (step % 256, 10 + 100 * prompt, 77)).save(folder.sample(step, prompt, 42))
    return folder


def test_rows_are_prompts_and_columns_are_steps(tmp_path: Path) -> None:
    path = overview.write(previews(tmp_path, [0, 100, 200], 2))
    assert path is not None
    with Image.open(path) as sheet:
        assert sheet.size == (8 + 3 * 264, 28 + 8 + 2 * 264)
        colours = [[sheet.getpixel((136 + 264 * column, 164 + 264 * row)) for column in range(3)] for row in range(2)]
    assert colours == [[(step, 10 + 100 * row, 77) for step in (0, 100, 200)] for row in range(2)]


def test_of_many_steps_the_first_the_last_and_some_between_are_shown(tmp_path: Path) -> None:
    path = overview.write(previews(tmp_path, list(range(0, 250, 10)), 1))
    assert path is not None
    with Image.open(path) as sheet:
        shown = [sheet.getpixel((136 + 264 * column, 164))[0] for column in range(8)]
    assert len(shown) == 8 and shown[0] == 0 and shown[-1] == 240 and shown == sorted(set(shown))


def test_wide_pictures_keep_their_shape(tmp_path: Path) -> None:
    path = overview.write(previews(tmp_path, [7], 1, size=(256, 128)))
    assert path is not None
    with Image.open(path) as sheet:
        assert sheet.getpixel((100, 28 + 8 + 100)) == (7, 10, 77)
        assert sheet.getpixel((100, 28 + 8 + 200)) == overview.PAPER


def test_a_run_without_previews_has_no_sheet(tmp_path: Path) -> None:
    assert overview.write(RunFolder(tmp_path)) is None
