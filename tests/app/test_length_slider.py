"""From quick to thorough, in what matters: how often each picture is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton, QSlider

from app import run_length
from app.project import Project
from app.widgets.length_slider import LengthSlider
from tests.app.recipe_pictures import FakeItem, FakePictures
from trainer import presets

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


@pytest.fixture
def project() -> Project:
    made = Project()
    made.create("test", presets.load("character").values, preset="character")
    return made


@pytest.fixture
def pictures() -> FakePictures:
    return FakePictures(*["a cat"] * 24)


@pytest.fixture
def slider(qtbot: QtBot, project: Project, pictures: FakePictures) -> LengthSlider:
    made = LengthSlider(project, pictures)
    qtbot.addWidget(made)
    made.show()
    return made


def text(slider: LengthSlider, name: str) -> str:
    label = slider.findChild(QLabel, name)
    assert isinstance(label, QLabel)
    return label.text()


def bar(slider: LengthSlider) -> QSlider:
    found = slider.findChild(QSlider, "length")
    assert isinstance(found, QSlider)
    return found


def test_it_says_how_often_each_picture_is_seen(slider: LengthSlider, pictures: FakePictures) -> None:
    assert text(slider, "length_name") == "Recommended" and bar(slider).value() == run_length.RECOMMENDED
    assert text(slider, "length_sentence") == "1,600 steps: each of your 24 pictures is seen about 133 times."
    pictures.items[0].included = False
    pictures.includedChanged.emit([0])
    assert "23 pictures is seen about 139 times" in text(slider, "length_sentence")
    pictures.items = [FakeItem("one")]
    pictures.scanned.emit()
    assert text(slider, "length_sentence") == "1,600 steps: your picture is seen about 3,200 times."
    pictures.items = []
    pictures.scanned.emit()
    assert "Add pictures" in text(slider, "length_sentence")


def test_a_key_makes_it_longer_with_everything_that_goes_with_it(
    qtbot: QtBot, slider: LengthSlider, project: Project
) -> None:
    qtbot.keyClick(bar(slider), Qt.Key.Key_Right)
    assert project.value("steps") == 2400
    assert project.value("save_every_steps") == project.value("preview_every_steps") == 300
    assert text(slider, "length_name") == "Long" and "200 times" in text(slider, "length_sentence")
    project.undo()
    assert project.value("steps") == 1600 and bar(slider).value() == run_length.RECOMMENDED


def test_every_position_gives_settings_without_a_mistake(slider: LengthSlider, project: Project) -> None:
    for preset in presets.NAMES:
        project.apply_preset(preset)
        for batch in (1, 4, 16):
            project.set("batch_size", batch)
            for position in range(len(run_length.FACTORS)):
                bar(slider).setValue(position)
                assert project.mistakes() == []
                length = run_length.of(project, 24)
                assert (length.position, length.custom) == (position, False), (preset, batch, position)
                assert 6 <= project.value("steps") / project.value("save_every_steps") <= 10
                assert text(slider, "length_name") == run_length.name_of(position)


def test_a_larger_batch_needs_fewer_steps_for_the_same_views(project: Project) -> None:
    assert run_length.steps_at(project, run_length.RECOMMENDED) == 1600
    project.set("batch_size", 8)
    assert run_length.steps_at(project, run_length.RECOMMENDED) == 400


def test_a_value_of_ones_own_is_respected_until_the_recommended_one_is_wanted(
    qtbot: QtBot, slider: LengthSlider, project: Project
) -> None:
    project.set("steps", 1234)
    assert text(slider, "length_name") == "Your own value"
    button = slider.findChild(QPushButton, "length_recommended")
    assert button is not None and button.isVisible()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert project.value("steps") == 1600 and button.isHidden()


def test_epochs_count_until_the_slider_is_moved(qtbot: QtBot, slider: LengthSlider, project: Project) -> None:
    project.set_many({"epochs": 10, "save_every_epochs": 1})
    assert text(slider, "length_sentence") == "10 epochs: each of your 24 pictures is seen about 10 times."
    assert text(slider, "length_name") == "Your own value"
    qtbot.keyClick(bar(slider), Qt.Key.Key_Home)
    assert (project.value("epochs"), project.value("save_every_epochs"), project.value("steps")) == (0, 0, 400)


def test_what_is_switched_off_stays_off_and_text_in_a_number_does_no_harm(
    slider: LengthSlider, project: Project
) -> None:
    project.set_many({"preview_every_steps": 0, "save_every_steps": 0, "steps": "many", "batch_size": "two"})
    assert "steps" in text(slider, "length_sentence")
    bar(slider).setValue(0)
    assert project.value("preview_every_steps") == project.value("save_every_steps") == 0
    assert isinstance(project.value("steps"), int)


def test_the_warm_up_shrinks_with_a_short_run_and_comes_back(slider: LengthSlider, project: Project) -> None:
    bar(slider).setValue(0)
    assert project.value("warmup_steps") == 40
    bar(slider).setValue(3)
    assert project.value("warmup_steps") == 50
    project.set("warmup_steps", 123)
    bar(slider).setValue(4)
    assert project.value("warmup_steps") == 123


@pytest.mark.parametrize(
    ("number", "nice"),
    [(0.2, 1), (1.2, 1), (7, 6), (198, 200), (162, 150), (50, 50), (1249, 1000), (1251, 1500), (9999, 10000)],
)
def test_intervals_are_round_numbers(number: float, nice: int) -> None:
    assert run_length.nice(number) == nice
