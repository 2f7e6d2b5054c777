"""The open project: values, undo, files. No widget is needed."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from app import places, project
from app.project import Project, default, plain
from trainer import presets
from trainer.errors import ConfigError
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.usefixtures("qapp")


def new(**values: object) -> Project:
    out = Project()
    out.create("Zörblin", values)
    return out


@pytest.mark.parametrize("name", TrainingSettings.model_fields)
def test_the_default_of_every_setting_is_a_plain_value_that_passes_the_check(name: str) -> None:
    p = new()
    assert p.value(name) == default(name)
    assert isinstance(default(name), str | int | float | bool | list)
    assert not p.is_changed(name)


def test_only_what_differs_from_the_defaults_is_kept_and_written() -> None:
    p = new(rank=16, alpha=4.0)
    assert p.values == {"alpha": 4.0}
    p.set("rank", 8)
    p.save()
    assert tomllib.loads(p.path.read_text(encoding="utf-8"))["settings"] == {"alpha": 4.0, "rank": 8}


def test_what_was_typed_is_kept_even_when_it_is_wrong_and_survives_reopening() -> None:
    p = new()
    p.set("rank", "many")
    p.save()
    path = p.path
    p.open(path)
    assert p.value("rank") == "many"
    assert [(e.field, str(e)) for e in p.mistakes()] == [("rank", 'Rank is "many"; it must be a whole number.')]
    with pytest.raises(ConfigError, match="Rank is"):
        p.settings()


def test_undo_takes_back_a_change_and_redo_makes_it_again(qtbot: QtBot) -> None:
    p = new()
    p.set("rank", 8)
    p.set_many({"rank": 4, "alpha": 2.0})
    with qtbot.waitSignal(p.changed) as signal:
        p.undo()
    assert signal.args == [frozenset({"rank", "alpha"})]
    assert (p.value("rank"), p.value("alpha")) == (8, 16.0)
    p.undo()
    assert not p.can_undo and p.values == {}
    p.redo()
    p.redo()
    assert p.values == {"rank": 4, "alpha": 2.0} and not p.can_redo


def test_typing_in_one_field_is_one_step_of_undo() -> None:
    p = new()
    for text in ("z", "zo", "zorb"):
        p.set("trigger", text)
    p.set("rank", 2)
    p.undo()
    p.undo()
    assert p.values == {} and not p.can_undo


def test_a_preset_is_one_step_and_leaves_what_it_does_not_name() -> None:
    p = new(trigger="zorblin")
    p.apply_preset("style")
    assert (
        p.preset == "style"
        and p.value("rank") == presets.load("style").values["rank"]
        and p.value("trigger") == "zorblin"
    )
    p.undo()
    assert p.values == {"trigger": "zorblin"}
    assert p.preset == "", "undo takes the choice back too"
    p.redo()
    assert p.preset == "style"


def test_reset_goes_back_to_the_default() -> None:
    p = new(rank=4, alpha=2.0)
    p.reset(["rank"])
    assert p.values == {"alpha": 2.0}


def test_it_saves_by_itself(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    p = new()
    p.set("rank", 3)
    qtbot.waitUntil(lambda: "rank = 3" in p.path.read_text(encoding="utf-8"), timeout=3000)


def test_a_project_that_cannot_be_saved_is_told_and_saved_when_it_can_be(qtbot: QtBot) -> None:
    p = new()
    folder = p.folder
    moved = folder.rename(folder.with_name("moved"))
    folder.write_text("in the way")
    p.set("rank", 3)
    with qtbot.waitSignal(p.saveFailed) as signal:
        assert not p.save()
    assert "could not be saved" in signal.args[0]
    folder.unlink()
    moved.rename(folder)
    assert p.save() and "rank = 3" in p.path.read_text(encoding="utf-8")


def test_saving_by_itself_that_fails_is_told_and_done_with_the_next(qtbot: QtBot) -> None:
    p = new()
    folder = p.folder
    moved = folder.rename(folder.with_name("moved"))
    folder.write_text("in the way")
    with qtbot.waitSignal(p.saveFailed, timeout=5000) as signal:
        p.set("rank", 3)
    assert "could not be saved" in signal.args[0]
    folder.unlink()
    moved.rename(folder)
    p.set("alpha", 4.0)
    qtbot.waitUntil(lambda: "alpha = 4.0" in p.path.read_text(encoding="utf-8"), timeout=5000)
    assert "rank = 3" in p.path.read_text(encoding="utf-8")


@pytest.mark.parametrize("is_in_the_way", [True, False])
def test_a_project_saves_after_what_it_writes_in_the_background(is_in_the_way: bool) -> None:
    p = new()
    folder = p.folder
    moved = folder.rename(folder.with_name("moved"))
    if is_in_the_way:
        folder.write_text("so that it fails")
    p.set("rank", 3)
    p._on_time_to_save()
    p._background.wait()
    if is_in_the_way:
        folder.unlink()
        moved.rename(folder)
    assert p.save(), "what came of it was not told yet"
    assert "rank = 3" in (folder / "project.toml").read_text(encoding="utf-8")


def test_two_projects_of_one_name_get_folders_of_their_own() -> None:
    first, second = new(), new()
    assert first.folder != second.folder
    assert {p.parent for p in project.recent()} == {first.folder, second.folder}


def test_opening_saves_what_was_open_before(tmp_path: Path) -> None:
    p = new()
    first = p.path
    p.set("rank", 5)
    p.create("other", {})
    assert "rank = 5" in first.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no project"),
        ("rank = [", "is not a project file"),
        ("version = 99", "newer LoRA Atelier"),
        ("settings = 3", "no project file"),
    ],
)
def test_a_file_that_is_no_project_is_told_and_the_open_one_stays(
    content: str | None, message: str, tmp_path: Path
) -> None:
    p = new(rank=2)
    path = tmp_path / "project.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        p.open(path)
    assert p.value("rank") == 2 and p.title == "Zörblin"


def test_a_home_that_cannot_be_used_is_told(home: Path) -> None:
    home.mkdir(parents=True)
    places.projects().write_text("a file")
    with pytest.raises(ConfigError, match="project folder"):
        new()


def test_folders_are_the_data_and_what_was_added() -> None:
    p = new(data="/a", more_data=["/b", "/c.png"], left_out=["x.png"])
    folders, left_out = p.folders()
    assert [f.as_posix() for f in folders] == ["/a", "/b", "/c.png"] and left_out == ("x.png",)


def test_plain_values_are_what_toml_can_hold() -> None:
    assert plain(TrainingSettings.model_fields["previews"].default) == []
    assert plain(None) == ""


def test_renaming_changes_the_title_and_not_the_folder() -> None:
    p = new()
    folder = p.folder
    p.rename("  Other ")
    p.save()
    assert p.folder == folder and 'title = "Other"' in p.path.read_text(encoding="utf-8")
    p.rename("   ")
    assert p.title == "Other"
