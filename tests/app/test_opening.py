"""How projects begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import resources
from app import opening, places, preferences
from app.project import Project
from tests.conftest import draw_pictures
from trainer import presets, run_folder, settings_file
from trainer.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("qapp")


def test_dropped_pictures_become_a_project_that_can_nearly_train(tmp_path: Path) -> None:
    preferences.put("last_base", "demo")
    project, folder = Project(), draw_pictures(tmp_path / "10_my cat")
    opening.from_pictures(project, [folder])
    assert (project.title, project.preset, project.value("trigger")) == ("my cat", "character", "my_cat")
    assert project.settings().data == folder and project.settings().runs_folder == places.runs()
    assert project.value("rank") == presets.load("character").values["rank"]


def test_the_first_project_of_a_newcomer_has_no_base_yet(tmp_path: Path) -> None:
    project = Project()
    opening.from_pictures(project, [draw_pictures(tmp_path / "cat")])
    assert project.value("base") == ""


def test_more_pictures_are_added_once(tmp_path: Path) -> None:
    project, one, two = Project(), draw_pictures(tmp_path / "one"), draw_pictures(tmp_path / "two")
    opening.from_pictures(project, [one])
    assert opening.add_pictures(project, [two, one]) == 1
    assert opening.add_pictures(project, [two]) == 0
    assert project.value("data") == str(one) and project.value("more_data") == [str(two)]
    project.undo()
    assert project.value("more_data") == []


def test_pictures_for_a_project_that_has_none(tmp_path: Path) -> None:
    project, folder = Project(), draw_pictures(tmp_path / "one")
    project.create("empty", {})
    opening.add_pictures(project, [folder])
    assert project.value("data") == str(folder)


def test_the_demo_has_pictures_of_its_own_and_everything_filled_in() -> None:
    project = Project()
    opening.demo(project)
    settings = project.settings()
    assert settings.base == "demo" and settings.trigger == "zorblin" and len(settings.previews) == 4
    assert settings.data.is_relative_to(project.folder) and len(list(settings.data.glob("*.png"))) == 16
    assert not settings.data.is_relative_to(resources.path("demo"))
    assert settings.validation is not None and settings.validation.is_relative_to(project.folder)
    assert not project.can_undo and project.mistakes() == []
    (settings.data / "01.txt").write_text("my own words")
    project.set("rank", 2)
    again = Project()
    project.save()
    opening.demo(again)
    assert again.folder == project.folder and again.value("rank") == 2, "opened again, not made anew"
    assert (settings.data / "01.txt").read_text() == "my own words"


def test_the_demo_in_a_home_that_cannot_be_written_is_told(home: Path) -> None:
    home.parent.mkdir(exist_ok=True)
    home.write_text("a file")
    with pytest.raises(ConfigError, match="project folder"):
        opening.demo(Project())


def test_the_settings_of_a_run_become_a_project(tmp_path: Path) -> None:
    source = settings_file.read(resources.path("demo", "style.toml"))
    run = run_folder.create(source.model_copy(update={"runs_folder": tmp_path}))
    project = Project()
    for path in (run.path, run.settings_path):
        opening.from_run_file(project, path)
        settings = project.settings()
        assert settings.model_copy(update={"runs_folder": tmp_path}) == run.settings()
        assert settings.runs_folder == places.runs() and project.title == source.title


def test_a_run_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no run file"):
        opening.from_run_file(Project(), tmp_path / "gone.toml")
