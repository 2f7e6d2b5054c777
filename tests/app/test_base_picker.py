"""The base model: what it is, found in the background; another one by menu, dialog or drop; and the size that goes with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QAction, QDragEnterEvent, QDropEvent
from PySide6.QtWidgets import QFileDialog, QLabel, QPushButton

import resources
from app import base_fit, recent
from app.base_fit import Found
from app.project import Project
from app.widgets.base_choice import BaseChoice
from app.widgets.base_picker import BasePicker
from trainer import families

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

SDXL, SD1 = Found("/xl", families.FAMILIES["sdxl"]), Found("/one", families.FAMILIES["sd1"])


@pytest.fixture
def picker(qtbot: QtBot) -> BasePicker:
    made = BasePicker()
    qtbot.addWidget(made)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An SD 1.x folder with a name that is not ASCII."""
    return Path(shutil.copytree(resources.path("demo", "model"), tmp_path / "größtes & model"))


def label(picker: BasePicker, name: str) -> QLabel:
    found = picker.findChild(QLabel, name)
    assert isinstance(found, QLabel)
    return found


def shown(qtbot: QtBot, picker: BasePicker, base: str) -> Found:
    with qtbot.waitSignal(picker.found) as blocker:
        picker.set_base(base)
    assert blocker.args is not None
    return blocker.args[0]  # type: ignore[no-any-return]


def menu_action(picker: BasePicker, text: str) -> QAction:
    button = picker.findChild(QPushButton, "base_change")
    assert button is not None and button.menu() is not None
    button.menu().aboutToShow.emit()
    return next(a for a in button.menu().actions() if a.text() == text)


def test_the_demo_model_is_named_and_its_family_shown(qtbot: QtBot, picker: BasePicker) -> None:
    found = shown(qtbot, picker, "demo")
    assert found.family is not None and found.resolution == 128
    assert label(picker, "base_name").text() == "Demo model"
    assert label(picker, "base_family").text() == "SD 1.x · 128 px"
    assert label(picker, "base_error").isHidden() and recent.bases() == []


def test_no_base_is_no_mistake_yet(qtbot: QtBot, picker: BasePicker) -> None:
    picker.set_base("")
    assert label(picker, "base_error").isHidden()
    button = picker.findChild(QPushButton, "base_change")
    assert button is not None and button.text() == "Choose…"


def test_a_base_that_cannot_be_used_says_why(qtbot: QtBot, picker: BasePicker, tmp_path: Path) -> None:
    found = shown(qtbot, picker, str(tmp_path / "nowhere"))
    assert found.family is None
    assert "There is no base model" in label(picker, "base_error").text()
    assert label(picker, "base_family").isHidden() and recent.bases() == []


def test_only_the_last_question_is_answered(qtbot: QtBot, picker: BasePicker, model: Path) -> None:
    heard: list[Any] = []
    picker.found.connect(heard.append)
    picker.set_base("/nowhere")
    picker.set_base(str(model))
    qtbot.waitUntil(lambda: bool(heard))
    assert [found.base for found in heard] == [str(model)]
    assert label(picker, "base_error").isHidden()


def test_models_that_were_used_are_offered_again(qtbot: QtBot, picker: BasePicker, model: Path) -> None:
    shown(qtbot, picker, str(model))
    shown(qtbot, picker, "demo")
    with qtbot.waitSignal(picker.chosen) as blocker:
        menu_action(picker, "größtes && model").trigger()
    assert blocker.args == [str(model)]
    assert picker.base() == "demo", "the owner decides what is shown"


def test_a_folder_or_file_is_chosen_in_a_dialog_and_cancel_changes_nothing(
    qtbot: QtBot, picker: BasePicker, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    picker.chosen.connect(heard.append)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_args: "/models/xl")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_args: ("/models/xl.safetensors", ""))
    menu_action(picker, "Choose a folder…").trigger()
    menu_action(picker, "Choose a file…").trigger()
    assert heard == ["/models/xl", "/models/xl.safetensors"]
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_args: "")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_args: ("", ""))
    menu_action(picker, "Choose a folder…").trigger()
    menu_action(picker, "Choose a file…").trigger()
    assert len(heard) == 2


def drag(picker: BasePicker, path: Path) -> bool:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    place, action, none = QPointF(5, 5), Qt.DropAction.CopyAction, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(place, action, mime, Qt.MouseButton.LeftButton, none)
    picker.dragEnterEvent(enter)
    if enter.isAccepted():
        picker.dropEvent(QDropEvent(place, action, mime, Qt.MouseButton.LeftButton, none))
    return enter.isAccepted()


def test_a_model_can_be_dropped_but_pictures_are_left_to_the_window(
    qtbot: QtBot, picker: BasePicker, model: Path
) -> None:
    heard: list[str] = []
    picker.chosen.connect(heard.append)
    assert drag(picker, model) and heard == [str(model)]
    assert not drag(picker, resources.path("demo", "character")) and len(heard) == 1


def test_recent_models_survive_a_broken_file_and_are_few(home: Path) -> None:
    for number in range(12):
        recent.add_base(f"/m{number}")
    recent.add_base("/m9")
    assert recent.bases()[:3] == ["/m9", "/m11", "/m10"] and len(recent.bases()) == recent.KEPT
    for text in ("{", json.dumps({"a": 1}), json.dumps([1, "/x"])):
        (home / "recent_bases.json").write_text(text)
        assert recent.bases() in ([], ["/x"])


# ---- the size that goes with it


@pytest.mark.parametrize(
    ("now", "untouched", "before", "found", "expected"),
    [
        ({"resolution": 512, "bucket_step": 64, "bucket_min": 256}, "all", None, SDXL, {"resolution": 1024}),
        ({"resolution": 1024, "bucket_step": 64, "bucket_min": 256}, "", SDXL, SD1, {"resolution": 512}),
        ({"resolution": 640, "bucket_step": 64, "bucket_min": 256}, "", SD1, SDXL, {}),
        ({"resolution": 512, "bucket_step": 64, "bucket_min": 256}, "all", None, SD1, {}),
        ({"resolution": 512, "bucket_step": 64, "bucket_min": 256}, "all", SD1, Found("/x", None, "No."), {}),
        ({"resolution": 512, "bucket_step": 64, "bucket_min": 256}, "all", SD1, Found("demo", families.FAMILIES["sd1"]),
         {"resolution": 128, "bucket_step": 8, "bucket_min": 64}),
        ({"resolution": 128, "bucket_step": 8, "bucket_min": 64}, "", Found("demo", families.FAMILIES["sd1"]), SD1,
         {"resolution": 512, "bucket_step": 64, "bucket_min": 256}),
    ],
)  # fmt: skip
def test_the_picture_size_follows_the_base_unless_the_user_has_set_it(
    now: dict[str, int], untouched: str, before: Found | None, found: Found, expected: dict[str, int]
) -> None:
    names = frozenset(now) if untouched == "all" else frozenset()
    assert base_fit.changes(found, before, now, names) == expected


@pytest.fixture
def project() -> Project:
    made = Project()
    made.create("test", {"base": ""})
    return made


def test_choosing_the_demo_adapts_the_size_and_says_so_with_undo(qtbot: QtBot, project: Project) -> None:
    choice = BaseChoice(project)
    qtbot.addWidget(choice)
    choice.show()
    with qtbot.waitSignal(choice.picker.found):
        choice.picker.chosen.emit("demo")
    assert (project.value("base"), project.value("resolution"), project.value("bucket_step")) == ("demo", 128, 8)
    assert choice.note.isVisible() and "128 px" in choice.note.findChild(QLabel, "size_note_text").text()  # type: ignore[union-attr]
    qtbot.mouseClick(choice.note.findChild(QPushButton, "size_note_button"), Qt.MouseButton.LeftButton)
    assert (project.value("base"), project.value("resolution")) == ("demo", 512) and choice.note.isHidden()


def test_a_base_that_came_with_the_project_only_offers_its_size(qtbot: QtBot, project: Project) -> None:
    choice = BaseChoice(project)
    qtbot.addWidget(choice)
    choice.show()
    with qtbot.waitSignal(choice.picker.found):
        project.create("other", {"base": "demo"})
    assert project.value("resolution") == 512 and choice.note.isVisible()
    qtbot.mouseClick(choice.note.findChild(QPushButton, "size_note_button"), Qt.MouseButton.LeftButton)
    assert project.value("resolution") == 128


def test_a_size_of_the_users_own_is_left_alone(qtbot: QtBot, project: Project) -> None:
    project.set("resolution", 640)
    choice = BaseChoice(project)
    qtbot.addWidget(choice)
    with qtbot.waitSignal(choice.picker.found):
        choice.picker.chosen.emit("demo")
    assert project.value("resolution") == 640 and choice.note.isHidden()
