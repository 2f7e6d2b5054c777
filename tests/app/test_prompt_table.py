"""The preview prompts: an item model that holds what the project holds, and a table that edits it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PySide6.QtCore import QModelIndex, Qt
from PySide6.QtWidgets import QComboBox, QLabel, QLineEdit, QPushButton, QTableView, QToolButton

from app.project import Project
from app.prompts import suggestions
from app.widgets.prompt_model import COLUMNS, PromptModel
from app.widgets.prompt_table import PromptTable
from tests.app.recipe_pictures import FakePictures
from trainer.settings import PreviewPrompt

if TYPE_CHECKING:
    from pytestqt.modeltest import ModelTester
    from pytestqt.qtbot import QtBot

ROWS = [{"prompt": "zorblin, beach", "seed": 1}, {"prompt": "a cat", "width": 512, "height": 768}, {"prompt": "night"}]


@pytest.fixture
def project() -> Project:
    made = Project()
    made.create("test", {"previews": [dict(row) for row in ROWS], "trigger": "zorblin"})
    return made


@pytest.fixture
def table(qtbot: QtBot, project: Project) -> PromptTable:
    made = PromptTable(
        project, FakePictures("zorblin, meadow", "zorblin, night", "beach", "zorblin, snow, ink drawing")
    )
    qtbot.addWidget(made)
    made.resize(860, 400)
    made.show()
    return made


def view(table: PromptTable) -> QTableView:
    found = table.findChild(QTableView, "prompts")
    assert isinstance(found, QTableView)
    return found


def shown(table: PromptTable, row: int) -> list[Any]:
    return [table.model.index(row, column).data() for column in range(len(COLUMNS))]


def prompts(project: Project) -> list[str]:
    return [row["prompt"] for row in project.value("previews")]


def press(qtbot: QtBot, table: PromptTable, name: str) -> None:
    button = table.findChild(QPushButton, name) or table.findChild(QToolButton, name)
    assert button is not None and button.isEnabled(), name
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def enter(table: PromptTable, row: int, name: str, value: Any) -> None:
    table.model.setData(table.model.index(row, COLUMNS.index(name)), value)


def test_the_model_keeps_the_rules_of_qt(qtmodeltester: ModelTester) -> None:
    model = PromptModel()
    model.set_rows(ROWS)
    qtmodeltester.check(model)
    for rows in ([*ROWS, *ROWS], ROWS[1:], [], ROWS[::-1], [{}, *ROWS]):
        model.set_rows(rows)
        assert model.rows == rows


def test_rows_that_stay_are_not_touched() -> None:
    model = PromptModel()
    model.set_rows(ROWS)
    heard: list[tuple[str, int, int]] = []
    model.rowsInserted.connect(lambda _p, first, last: heard.append(("in", first, last)))
    model.rowsRemoved.connect(lambda _p, first, last: heard.append(("out", first, last)))
    model.dataChanged.connect(lambda a, b, _roles: heard.append(("changed", a.row(), b.row())))
    model.modelReset.connect(lambda: heard.append(("reset", 0, 0)))
    model.set_rows([ROWS[0], {"prompt": "new"}, *ROWS[1:]])
    model.set_rows([ROWS[0], *ROWS[1:]])
    model.set_rows([ROWS[0], {"prompt": "other"}, ROWS[2]])
    assert heard == [("in", 1, 1), ("out", 1, 1), ("changed", 1, 1)]


def test_what_the_project_holds_is_shown(table: PromptTable, project: Project) -> None:
    assert shown(table, 0) == ["zorblin, beach", "", "1", "as trained", "7", "20", "DPM++ 2M"]
    assert shown(table, 1)[COLUMNS.index("size")] == "512 × 768"
    project.set_many(
        {"previews": [{"prompt": "only", "guidance": 5.5, "sampler": "euler_a", "negative": "blur", "steps": 8}]}
    )
    assert table.model.rowCount() == 1 and shown(table, 0) == [
        "only",
        "blur",
        "42",
        "as trained",
        "5.5",
        "8",
        "Euler a",
    ]
    project.undo()
    assert table.model.rowCount() == 3


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [("prompt", "a dog", {"prompt": "a dog"}), ("negative", "blurry", {"negative": "blurry"}), ("seed", "7", {"seed": 7}),
     ("size", "640x512", {"width": 640, "height": 512}), ("size", "512 × 768", {"width": 512, "height": 768}),
     ("size", "256", {"width": 256, "height": 256}), ("guidance", "5.5", {"guidance": 5.5}), ("steps", "1e1", {"steps": 10}),
     ("sampler", "euler", {"sampler": "euler"})],
)  # fmt: skip
def test_what_is_entered_in_every_column_reaches_the_project(
    table: PromptTable, project: Project, name: str, given: str, kept: dict[str, Any]
) -> None:
    enter(table, 2, name, given)
    assert project.value("previews")[2] == {"prompt": "night"} | kept
    assert project.value("previews")[:2] == ROWS[:2] and project.mistakes() == []
    PreviewPrompt.model_validate(project.value("previews")[2])


def test_every_setting_of_a_prompt_has_a_column() -> None:
    assert {*COLUMNS, "width", "height"} - {"size"} == set(PreviewPrompt.model_fields)


def test_an_empty_size_is_the_training_size_again(table: PromptTable, project: Project) -> None:
    enter(table, 1, "size", "")
    assert (
        project.value("previews")[1] == {"prompt": "a cat"} and shown(table, 1)[COLUMNS.index("size")] == "as trained"
    )


@pytest.mark.parametrize(
    ("name", "given", "sentence"),
    [("seed", "abc", 'Seed is "abc"; it must be a whole number.'), ("size", "wide", 'Width is "wide"; it must be a whole number.'),
     ("size", "513 x 512", "Width is 513; it must be a multiple of 8."), ("guidance", "99", "CFG scale is 99.0; it must lie between 1 and 30.")],
)  # fmt: skip
def test_a_mistake_is_kept_as_typed_and_explained(
    table: PromptTable, project: Project, name: str, given: str, sentence: str
) -> None:
    enter(table, 0, name, given)
    index = table.model.index(0, COLUMNS.index(name))
    assert index.data(Qt.ItemDataRole.ToolTipRole) == sentence
    assert index.data(Qt.ItemDataRole.ForegroundRole) is not None
    assert [str(m) for m in project.mistakes()] == [f"Preview 1: {sentence}"]
    assert table.model.index(1, COLUMNS.index(name)).data(Qt.ItemDataRole.ToolTipRole) != sentence


def test_a_cell_is_edited_in_place(qtbot: QtBot, table: PromptTable, project: Project) -> None:
    index = table.model.index(0, 0)
    view(table).setCurrentIndex(index)
    view(table).edit(index)
    cell = view(table).findChild(QLineEdit, "prompt_cell")
    assert cell is not None and cell.text() == "zorblin, beach"
    cell.selectAll()
    qtbot.keyClicks(cell, "zorblin, moon")
    qtbot.keyClick(cell, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: prompts(project)[0] == "zorblin, moon")


def test_a_sampler_is_chosen_from_a_list_with_words(qtbot: QtBot, table: PromptTable, project: Project) -> None:
    index = table.model.index(0, COLUMNS.index("sampler"))
    view(table).edit(index)
    box = view(table).findChild(QComboBox, "prompt_sampler")
    assert box is not None and box.currentText() == "DPM++ 2M"
    qtbot.keyClick(box, Qt.Key.Key_Down)
    assert project.value("previews")[0]["sampler"] == "dpmpp_2m_karras"


def test_prompts_are_added_duplicated_moved_and_removed(qtbot: QtBot, table: PromptTable, project: Project) -> None:
    view(table).setCurrentIndex(table.model.index(1, 0))
    press(qtbot, table, "prompt_copy")
    assert prompts(project) == ["zorblin, beach", "a cat", "a cat", "night"] and view(table).currentIndex().row() == 2
    press(qtbot, table, "prompt_down")
    assert prompts(project) == ["zorblin, beach", "a cat", "night", "a cat"] and view(table).currentIndex().row() == 3
    qtbot.keyClick(view(table), Qt.Key.Key_Up, Qt.KeyboardModifier.AltModifier)
    qtbot.keyClick(view(table), Qt.Key.Key_Up, Qt.KeyboardModifier.AltModifier)
    assert prompts(project) == ["zorblin, beach", "a cat", "a cat", "night"] and view(table).currentIndex().row() == 1
    qtbot.keyClick(view(table), Qt.Key.Key_Delete)
    press(qtbot, table, "prompt_remove")
    assert prompts(project) == ["zorblin, beach", "night"]
    press(qtbot, table, "prompt_add")
    assert prompts(project) == ["zorblin, beach", "night", "zorblin"]
    assert view(table).findChild(QLineEdit, "prompt_cell") is not None, "a new prompt is edited at once"


def test_each_change_of_the_table_is_undone_by_itself(qtbot: QtBot, table: PromptTable, project: Project) -> None:
    for _ in range(3):
        view(table).setCurrentIndex(QModelIndex())
        view(table).setCurrentIndex(table.model.index(0, 0))
        press(qtbot, table, "prompt_remove")
    project.undo()
    project.undo()
    assert prompts(project) == ["a cat", "night"]


def test_nothing_is_said_in_words_and_buttons_know_when_they_can_be_used(
    qtbot: QtBot, table: PromptTable, project: Project
) -> None:
    project.set_many({"previews": []})
    empty = table.findChild(QLabel, "prompts_empty")
    assert empty is not None and empty.isVisible() and not view(table).isVisible()
    press(qtbot, table, "prompt_suggest")
    assert view(table).isVisible() and not empty.isVisible()
    up = table.findChild(QToolButton, "prompt_up")
    assert up is not None and not up.isEnabled()


def test_suggestions_come_from_the_captions_once(qtbot: QtBot, table: PromptTable, project: Project) -> None:
    project.set_many({"previews": []})
    press(qtbot, table, "prompt_suggest")
    first = prompts(project)
    assert len(first) == 4 and all("zorblin" in p for p in first[:3]) and "zorblin" not in first[3]
    press(qtbot, table, "prompt_suggest")
    assert prompts(project) == first


@pytest.mark.parametrize(
    ("captions", "trigger", "expected"),
    [([], "", []), ([], "zorblin", ["zorblin"]), (["", ""], "zorblin", ["zorblin"]), (["a cat"], "", ["a cat"]),
     (["a cat"], "zorblin", ["zorblin, a cat", "a cat"]), (["zorblin, sea"] * 9, "zorblin", ["zorblin, sea", "sea"])],
)  # fmt: skip
def test_suggestions_with_few_captions(captions: list[str], trigger: str, expected: list[str]) -> None:
    assert suggestions(captions, trigger) == expected


def test_a_broken_project_file_does_no_harm(table: PromptTable, project: Project) -> None:
    project.set_many({"previews": "nonsense"})
    assert table.model.rowCount() == 0
    project.set_many({"previews": [3, {"prompt": 5}]})
    assert table.model.rowCount() == 2 and shown(table, 1)[0] == "5"
