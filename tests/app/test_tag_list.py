"""Tags with counts: they filter, and can be changed everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QInputDialog, QLineEdit

from app.widgets.tag_list import CountRole, TagList, TagModel
from tests.app.data_sets import folder_fixture, pictures_fixture, project_fixture  # noqa: F401

if TYPE_CHECKING:
    from pytestqt.modeltest import ModelTester
    from pytestqt.qtbot import QtBot

    from app.pictures import Pictures


@pytest.fixture
def tags(qtbot: QtBot, pictures: Pictures) -> TagList:
    widget = TagList(pictures)
    qtbot.addWidget(widget)
    widget.resize(220, 400)
    widget.show()
    return widget


def shown(tags: TagList) -> dict[str, int]:
    model = tags.view.model()
    return {model.index(i, 0).data(): model.index(i, 0).data(CountRole) for i in range(model.rowCount())}


def click(qtbot: QtBot, tags: TagList, tag: str) -> None:
    place = tags.view.visualRect(tags.view.model().index(list(shown(tags)).index(tag), 0)).center()
    qtbot.mouseClick(tags.view.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_the_model_is_a_proper_model(qtmodeltester: ModelTester) -> None:
    model = TagModel()
    model.set_counts({"night": 3, "cat": 1})
    qtmodeltester.check(model)
    assert model.index(1, 0).data(Qt.ItemDataRole.ToolTipRole) == "cat: 1 picture"


def test_tags_are_listed_with_counts_the_most_frequent_first(tags: TagList) -> None:
    assert next(iter(shown(tags).items())) == ("zorblin", 16)
    assert shown(tags)["night"] == 4


def test_a_click_filters_and_another_one_shows_all_again(qtbot: QtBot, tags: TagList) -> None:
    asked: list[str] = []
    tags.filterWanted.connect(asked.append)
    click(qtbot, tags, "night")
    click(qtbot, tags, "night")
    assert asked == ["night", ""]


def test_enter_filters_and_f2_renames(qtbot: QtBot, tags: TagList, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [("dusk", True), ("", False)]
    monkeypatch.setattr(QInputDialog, "getText", lambda *_args: answers.pop(0))
    renamed: list[tuple[str, str]] = []
    tags.renameWanted.connect(lambda old, new: renamed.append((old, new)))
    tags.view.setCurrentIndex(tags.view.model().index(list(shown(tags)).index("night"), 0))
    with qtbot.waitSignal(tags.filterWanted, check_params_cb=lambda tag: tag == "night"):
        qtbot.keyClick(tags.view, Qt.Key.Key_Return)
    qtbot.keyClick(tags.view, Qt.Key.Key_F2)
    qtbot.keyClick(tags.view, Qt.Key.Key_F2)
    assert renamed == [("night", "dusk")] and not answers


def test_the_box_finds_tags(qtbot: QtBot, tags: TagList) -> None:
    qtbot.keyClicks(tags.findChild(QLineEdit, "tag_search"), "DRAW")
    assert set(shown(tags)) == {"flat drawing", "ink drawing"}


def test_the_menu_removes_and_adds(qtbot: QtBot, tags: TagList) -> None:
    actions = {action.text(): action for action in tags.menu_for("night").actions()}
    assert not actions["Add to the selected pictures"].isEnabled()
    with qtbot.waitSignal(tags.removeWanted, check_params_cb=lambda tag: tag == "night"):
        actions["Remove everywhere"].trigger()
    tags.can_add = True
    actions = {action.text(): action for action in tags.menu_for("night").actions()}
    with qtbot.waitSignal(tags.addWanted, check_params_cb=lambda tag: tag == "night"):
        actions["Add to the selected pictures"].trigger()


def test_counts_follow_edits_and_a_tag_that_is_gone_filters_no_more(
    qtbot: QtBot, tags: TagList, pictures: Pictures
) -> None:
    click(qtbot, tags, "night")
    with qtbot.waitSignal(tags.filterWanted, check_params_cb=lambda tag: tag == ""):
        pictures.remove_tags(range(len(pictures.items)), ["night"])
    assert "night" not in shown(tags) and tags.active == ""
    pictures.set_included([0], False)
    assert shown(tags)["zorblin"] == 15
