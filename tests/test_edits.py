"""Crops and masks beside the project: kept atomically, read back, and refused in a sentence when damaged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from trainer import edits, run_folder
from trainer.edits import Edit, Edits
from trainer.errors import DataError
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (40, 30)


def test_what_was_changed_is_read_back(tmp_path: Path) -> None:
    made = Edits(tmp_path)
    made.set("a/火.png", Edit(SIZE, (1, 2, 30, 29), (0.25, 1.0)))
    made.set('an "odd" name\n.png', Edit(SIZE, focus=(0.0, 1.0)))
    made.paint("b.png", SIZE, Image.new("L", SIZE, 128))
    back = edits.read(tmp_path)
    assert back == made
    mask = back.mask("b.png")
    assert mask is not None and Image.open(mask).getpixel((3, 3)) == 128
    assert back.mask("a/火.png") is None is back.mask("c.png")


def test_an_edit_that_changes_nothing_is_none(tmp_path: Path) -> None:
    made = Edits(tmp_path)
    made.set("a.png", Edit(SIZE, (0, 0, 9, 9)))
    made.set("a.png", Edit(SIZE))
    made.paint("b.png", SIZE, Image.new("L", SIZE))
    made.paint("b.png", SIZE, None)
    made.set("c.png", None)
    assert made.pictures == {} == edits.read(tmp_path).pictures


def test_a_mask_and_a_crop_live_side_by_side(tmp_path: Path) -> None:
    made = Edits(tmp_path)
    made.set("a.png", Edit(SIZE, (0, 0, 9, 9)))
    made.paint("a.png", SIZE, Image.new("L", SIZE, 7))
    assert (made.pictures["a.png"].box, made.mask("a.png") is not None) == ((0, 0, 9, 9), True)


def test_no_folder_means_no_edits(tmp_path: Path) -> None:
    assert edits.read(tmp_path / "none").pictures == {}


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "{}", '{"version": 1, "pictures": []}',
        '{"version": 1, "pictures": {"a": {"size": [4, 4], "box": [0, 0, 9, 2]}}}',
        '{"version": 1, "pictures": {"a": {"size": [4, 4], "mask": "../x.png"}}}',
        '{"version": 1, "pictures": {"a": {"size": 4}}}',
    ],
)  # fmt: skip
def test_a_damaged_list_is_said_in_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / edits.FILE).write_text(text)
    with pytest.raises(DataError, match=r"edits.json is damaged; move it away to go on without crops and masks\.$"):
        edits.read(tmp_path)


def test_a_newer_list_is_not_misread(tmp_path: Path) -> None:
    (tmp_path / edits.FILE).write_text(json.dumps({"version": 2}))
    with pytest.raises(DataError, match="was written by a newer LoRA Atelier; update to read it"):
        edits.read(tmp_path)


def test_what_cannot_be_kept_is_not_there_either(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    made = Edits(tmp_path / "file")
    with pytest.raises(DataError, match=r"^Crops and masks could not be kept"):
        made.set("a.png", Edit(SIZE, (0, 0, 9, 9)))
    assert made.pictures == {}
    with pytest.raises(DataError, match=r"^The mask could not be kept"):
        made.paint("a.png", SIZE, Image.new("L", SIZE))


def test_a_run_has_its_own_copy_which_moves_with_it(tmp_path: Path) -> None:
    made = Edits(tmp_path / "edits")
    made.set("a.png", Edit(SIZE, (0, 0, 9, 9)))
    run = run_folder.create(TrainingSettings(edits=tmp_path / "edits", runs_folder=tmp_path / "runs"))
    made.set("a.png", None)
    moved = run.path.rename(tmp_path / "moved")
    given = run_folder.RunFolder(moved).settings().edits
    assert given == moved / "edits"
    assert edits.read(given).pictures["a.png"].box == (0, 0, 9, 9)
