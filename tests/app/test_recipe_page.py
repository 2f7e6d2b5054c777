"""The recipe page: what to teach, which model, how long; and the way to everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QPushButton, QToolButton, QWidget

from app import theme
from app.pages.recipe import RecipePage
from app.project import Project
from tests.app.recipe_pictures import FakePictures
from trainer import presets
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


@pytest.fixture
def project() -> Project:
    made = Project()
    made.create("test", {"base": ""})
    return made


@pytest.fixture
def page(qtbot: QtBot, project: Project) -> RecipePage:
    made = RecipePage(project, FakePictures("zorblin, beach", "zorblin, night"))
    qtbot.addWidget(made)
    made.resize(1150, 620)
    made.show()
    return made


def find(page: QWidget, kind: type[Any], name: str) -> Any:
    found = page.findChild(kind, name)
    assert found is not None, name
    return found


def click(qtbot: QtBot, page: QWidget, name: str, kind: type[Any] = QPushButton) -> None:
    qtbot.mouseClick(find(page, kind, name), Qt.MouseButton.LeftButton)


def test_without_a_preset_nothing_is_chosen_and_a_hint_says_what_to_do(page: RecipePage) -> None:
    assert page.cards.preset() == ""
    hint = find(page, QLabel, "recipe_choose")
    assert hint.isVisible() and "Choose what you want to teach" in hint.text()
    assert not page.values.isVisible()


@pytest.mark.parametrize("name", presets.NAMES)
def test_a_card_fills_in_the_preset_and_gives_the_reasons(
    qtbot: QtBot, page: RecipePage, project: Project, name: str
) -> None:
    click(qtbot, page, f"preset_{name}")
    preset = presets.load(name)
    assert project.preset == name == page.cards.preset()
    assert {n: project.value(n) for n in preset.values} == preset.values
    assert not find(page, QLabel, "recipe_choose").isVisible() and page.values.isVisible()
    texts = {label.text() for label in page.values.findChildren(QLabel)}
    assert set(preset.reasons.values()) <= texts


def test_a_preset_that_changes_nothing_is_shown_all_the_same(qtbot: QtBot, page: RecipePage, project: Project) -> None:
    project.set_many(presets.load("object").values)
    click(qtbot, page, "preset_object")
    assert page.cards.preset() == "object" and page.values.isVisible()


def test_what_the_user_made_of_the_preset_is_marked_and_can_be_taken_back(
    qtbot: QtBot, page: RecipePage, project: Project
) -> None:
    click(qtbot, page, "preset_character")
    value, reset = find(page, QLabel, "preset_value_rank"), find(page, QToolButton, "preset_reset_rank")
    assert (value.text(), value.property("role"), reset.isHidden()) == ("16", "value", True)
    project.set("rank", 64)
    assert (value.text(), value.property("role"), reset.isHidden()) == ("64", "yours", False)
    assert "The preset says 16" in value.toolTip()
    reset.click()
    assert project.value("rank") == 16 and reset.isHidden()


def test_trigger_and_name_go_both_ways(qtbot: QtBot, page: RecipePage, project: Project) -> None:
    trigger, name = find(page, QLineEdit, "trigger_input"), find(page, QLineEdit, "name_input")
    qtbot.keyClicks(trigger, "zorblin")
    qtbot.keyClicks(name, "Zorblin v1")
    assert (project.value("trigger"), project.value("name")) == ("zorblin", "Zorblin v1")
    assert name.placeholderText() == "zorblin"
    project.set_many({"trigger": "größe", "name": ""})
    assert (trigger.text(), name.text()) == ("größe", "")


def test_another_project_is_shown_from_the_top_in_the_simple_view(page: RecipePage, project: Project) -> None:
    page.focus_field("rank")
    project.create("other", presets.load("style").values | {"trigger": "nwave"}, preset="style")
    assert not page.is_advanced and page.cards.preset() == "style"
    assert find(page, QLineEdit, "trigger_input").text() == "nwave"


def test_advanced_shows_the_complete_form_and_back(qtbot: QtBot, page: RecipePage) -> None:
    click(qtbot, page, "recipe_advanced")
    assert page.is_advanced and page.form.isVisible()
    click(qtbot, page, "recipe_toggle")
    assert not page.is_advanced and not page.form.isVisible()
    click(qtbot, page, "recipe_toggle")
    assert page.is_advanced


@pytest.mark.parametrize("name", list(TrainingSettings.model_fields))
def test_every_problem_leads_to_where_it_is_mended(qtbot: QtBot, page: RecipePage, name: str) -> None:
    page.focus_field(name)
    assert page.is_advanced == (name not in ("base", "trigger", "name", "steps", "previews"))
    focused = page.focusWidget()
    assert (focused is not None and focused.isVisible()) or name == "previews"


def test_unusual_values_are_hinted_at_gently(page: RecipePage, project: Project) -> None:
    hint = find(page, QLabel, "recipe_hint_0_text")
    assert not hint.isVisible()
    project.set("dora", True)
    assert hint.isVisible() and "DoRA" in hint.text()
    project.set("dora", False)
    assert not hint.isVisible()


def test_a_mistake_in_a_preview_stands_under_the_table(page: RecipePage, project: Project) -> None:
    project.set_many({"previews": [{"prompt": "x", "seed": -1}]})
    assert find(page, QLabel, "prompts_error").text().startswith("Preview 1: Seed is -1")
    project.set_many({"previews": []})
    assert find(page, QLabel, "prompts_error").isHidden()


def test_a_trigger_that_is_no_text_is_explained_under_it(page: RecipePage, project: Project) -> None:
    project.set("trigger", 7)
    assert find(page, QLabel, "simple_trigger_error").text() == "Trigger word is 7; it must be text."


def test_it_survives_a_change_of_theme_and_narrow_windows(page: RecipePage, qapp: QApplication) -> None:
    page.focus_field("rank")
    theme.apply(qapp, "dark")
    page.resize(640, 400)
    page.focus_field("trigger")
    QApplication.processEvents()
    assert page._scroll.horizontalScrollBar().maximum() == 0
