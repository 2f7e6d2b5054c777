"""What Train would do, and what stands in the way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from app import places, plan
from app.plan import Planner
from app.project import Project
from tests.conftest import draw_pictures
from trainer import dataset, run_folder
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

VALUES = {"trigger": "zorb", "resolution": 64, "bucket_step": 8, "bucket_min": 32, "steps": 1600}


@pytest.fixture
def seen(tmp_path: Path) -> tuple[dataset.Picture, ...]:
    return dataset.scan(draw_pictures(tmp_path / "pictures")).pictures


def test_a_good_project_is_one_sentence_without_problems(seen: tuple[dataset.Picture, ...]) -> None:
    made = plan.make(VALUES, seen)
    assert (made.sentence, made.problems, made.total_steps) == ("6 pictures · SD 1.x · 1,600 steps", (), 1600)
    assert made.is_ready and made.settings is not None


def test_time_is_told_when_the_machine_has_done_such_a_run(seen: tuple[dataset.Picture, ...]) -> None:
    folder = run_folder.create(TrainingSettings(resolution=64, bucket_step=8, bucket_min=32, runs_folder=places.runs()))
    line = {"type": "step_done", "step": 1, "loss": 1, "learning_rates": {}, "seconds": 2.0, "memory_gb": 1}
    folder.events_path.write_text("\n".join([json.dumps(line)] * 5))
    assert plan.make(VALUES, seen).sentence.endswith("1,600 steps · about 53 min")


@pytest.mark.parametrize(
    ("values", "field", "text"),
    [
        ({"rank": 0}, "rank", "Rank is 0; it must lie between 1 and 1024."),
        ({"base": "/nowhere/model"}, "base", "There is no base model"),
        ({"regularization": "/nowhere"}, "regularization", "Regularisation pictures folder /nowhere does not exist"),
        ({"vae": "/nowhere"}, "vae", 'There is no VAE "/nowhere"'),
        ({"runs_folder": __file__}, "runs_folder", "is a file; choose a folder."),
        ({"start_from": "/nowhere.safetensors"}, "start_from", "There is no file /nowhere.safetensors"),
    ],
)
def test_each_problem_names_the_setting_to_mend(
    values: dict[str, object], field: str, text: str, seen: tuple[dataset.Picture, ...]
) -> None:
    made = plan.make(VALUES | values, seen)
    assert not made.is_ready
    assert [(p.field, text in p.text) for p in made.problems] == [(field, True)]


def test_pictures_without_words_and_no_trigger_are_a_problem_of_the_trigger(tmp_path: Path) -> None:
    folder = draw_pictures(tmp_path / "p")
    for caption in folder.glob("*.txt"):
        caption.unlink()
    made = plan.make(VALUES | {"trigger": ""}, dataset.scan(folder).pictures)
    assert [p.field for p in made.problems] == ["trigger"] and "trigger word" in made.problems[0].text


def test_no_pictures_and_unreadable_ones_are_told_first() -> None:
    assert plan.make(VALUES, ()).problems[0].text.startswith("No pictures yet")
    assert plan.make(VALUES, (), "The folder is gone.").problems[0] == plan.Problem("data", "The folder is gone.")


def test_the_planner_follows_the_project(qtbot: QtBot, tmp_path: Path) -> None:
    from app.pictures import Pictures

    project = Project()
    pictures = Pictures(project)
    planner = Planner(project, pictures)
    with qtbot.waitSignal(planner.planned, timeout=10_000, check_params_cb=lambda p: p.is_ready):
        project.create("x", VALUES | {"data": str(draw_pictures(tmp_path / "pictures"))})
    with qtbot.waitSignal(planner.planned, timeout=10_000) as signal:
        project.set("rank", 0)
    assert not signal.args[0].is_ready and planner.plan is signal.args[0] and planner.is_current
    with qtbot.waitSignal(planner.planned, timeout=10_000) as signal:
        pictures.set_included([0, 1], False)
    assert signal.args[0].sentence.startswith("4 pictures")
    planner.wait()
