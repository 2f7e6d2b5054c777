"""What was dropped on the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import resources
from app import intake
from tests.conftest import draw_pictures
from trainer.errors import DataError
from trainer.lora_file import read_header

if TYPE_CHECKING:
    from pathlib import Path


def lora(path: Path) -> Path:
    import json

    header = json.dumps(
        {"lora_unet_x.lora_down.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert read_header(path)
    return path


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    folder = draw_pictures(tmp_path / "5_cats")
    found = intake.classify([folder])
    assert (found.kind, found.paths) == ("pictures", (folder,))
    assert intake.title_for(found.paths) == "cats"
    assert intake.data_values(found.paths) == {"data": str(folder), "more_data": []}


def test_pictures_in_a_sub_folder_count(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "a" / "b" / "c")
    assert intake.classify([tmp_path / "a"]).kind == "pictures"


def test_several_folders_and_loose_pictures(tmp_path: Path) -> None:
    one, two = draw_pictures(tmp_path / "one"), draw_pictures(tmp_path / "two")
    note = tmp_path / "note.txt"
    note.write_text("x")
    found = intake.classify([one / "0.png", one, two, note])
    assert found.kind == "pictures" and found.ignored == ("note.txt",)
    assert intake.data_values(found.paths) == {"data": str(one), "more_data": [str(one / "0.png"), str(two)]}


def test_only_loose_pictures(tmp_path: Path) -> None:
    folder = draw_pictures(tmp_path / "trip")
    found = intake.classify([folder / "0.png", folder / "1.png"])
    assert intake.data_values(found.paths) == {"data": "", "more_data": [str(folder / "0.png"), str(folder / "1.png")]}
    assert intake.title_for(found.paths) == "trip"


def test_models_loras_settings_and_projects(tmp_path: Path) -> None:
    run, project = tmp_path / "run", tmp_path / "project"
    run.mkdir()
    project.mkdir()
    (run / "run.toml").write_text("rank = 4")
    (project / "project.toml").write_text("")
    other = tmp_path / "model.safetensors"
    other.write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    for path, kind in (
        (resources.path("demo", "model"), "base"), (lora(tmp_path / "l.safetensors"), "lora"), (other, "base"), (tmp_path / "old.ckpt", "base"),
        (run, "settings"), (run / "run.toml", "settings"), (tmp_path / "mine.toml", "settings"), (project, "project"), (project / "project.toml", "project"),
    ):  # fmt: skip
        assert intake.classify([path]).kind == kind, path


def test_what_is_nothing_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no pictures \(.png.*Drop a folder of pictures"):
        intake.classify([tmp_path])
    with pytest.raises(DataError, match="nothing holds no pictures"):
        intake.classify([])
