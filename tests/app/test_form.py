"""The complete form: both directions over all settings, mistakes under their rows, search, and the way back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QCheckBox, QComboBox, QLabel, QLineEdit, QListWidget, QPlainTextEdit, QToolButton

from app.form import HIDDEN, SettingsForm
from app.project import Project, default
from trainer.settings import GROUPS, TrainingSettings, info
from trainer.settings_file import choices

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

    from app.form_row import FormRow

NAMES = [n for n in TrainingSettings.model_fields if n not in HIDDEN]


@pytest.fixture
def project(qtbot: QtBot) -> Project:
    made = Project()
    made.create("test", {})
    return made


@pytest.fixture
def form(qtbot: QtBot, project: Project) -> SettingsForm:
    made = SettingsForm(project)
    qtbot.addWidget(made)
    made.resize(1000, 600)
    made.show()
    return made


def other_value(name: str) -> Any:
    """A value that is valid and not the default."""
    usual, allowed = default(name), choices(TrainingSettings, name)
    if isinstance(usual, list):
        return list(allowed[:1]) if allowed else ["one.png", "two.png"]
    if allowed:
        return next(v for v in allowed if v != usual)
    if isinstance(usual, bool):
        return not usual
    if name == "background":
        return "#123456"
    if isinstance(usual, str):
        return "other"
    for value in (usual + 8, usual / 2, usual + 0.25, 0.5):
        value = type(usual)(value)
        if value != usual and not _mistake(name, value):
            return value
    raise AssertionError(name)


def _mistake(name: str, value: Any) -> bool:
    from trainer.settings_file import check

    return any(e.field == name for e in check({name: value}))


def user_enters(qtbot: QtBot, row: FormRow, value: Any) -> None:
    """Does with mouse and keys what makes the editor hold the value."""
    editor = row.editor
    if boxes := editor.findChildren(QCheckBox):
        for box in boxes:
            wanted = value if isinstance(value, bool) else box.objectName().removeprefix(f"{row.name}_") in value
            if box.isChecked() != wanted:
                qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
        return
    if box := editor.findChild(QComboBox):
        while box.currentData() != value:
            before = box.currentIndex()
            qtbot.keyClick(box, Qt.Key.Key_Down if box.findData(value) > before else Qt.Key.Key_Up)
            assert box.currentIndex() != before
        return
    edit = editor.findChild(QPlainTextEdit) or editor.findChild(QLineEdit)
    edit.selectAll()
    lines = value if isinstance(value, list) else [f"{value:g}" if isinstance(value, float) else str(value)]
    for number, line in enumerate(lines):
        if number:
            qtbot.keyClick(edit, Qt.Key.Key_Return)
        qtbot.keyClicks(edit, line)


def test_every_setting_without_a_place_of_its_own_has_a_row_in_the_order_of_the_groups(form: SettingsForm) -> None:
    assert list(form.names) == NAMES
    assert {info(n).group for n in NAMES} == set(GROUPS)


def test_what_the_project_holds_is_shown_for_all_settings(form: SettingsForm, project: Project) -> None:
    for name in NAMES:
        row = form.row(name)
        assert row.editor.value() == default(name), name
        value = other_value(name)
        heard: list[Any] = []
        row.edited.connect(lambda _name, given, heard=heard: heard.append(given))
        project.set(name, value)
        assert row.editor.value() == value and type(row.editor.value()) is type(value), name
        assert not row.findChild(QToolButton, f"{name}_reset").isHidden()  # type: ignore[union-attr]
        project.reset([name])
        assert row.editor.value() == default(name), name
        assert row.findChild(QToolButton, f"{name}_reset").isHidden()  # type: ignore[union-attr]
        assert heard == [], f"{name} told of a change that the user did not make"


def test_what_the_user_enters_reaches_the_project_for_all_settings(
    qtbot: QtBot, form: SettingsForm, project: Project
) -> None:
    for name in NAMES:
        value = other_value(name)
        user_enters(qtbot, form.row(name), value)
        assert project.value(name) == value, name
        assert type(project.value(name)) is type(value), name
        project.reset([name])


def test_the_reset_arrow_of_every_setting_brings_the_default_back(
    qtbot: QtBot, form: SettingsForm, project: Project
) -> None:
    project.set_many({name: other_value(name) for name in NAMES})
    for name in NAMES:
        button = form.row(name).findChild(QToolButton, f"{name}_reset")
        assert button is not None and button.toolTip().startswith("Back to the default")
        button.click()
        assert not project.is_changed(name)


def test_a_mistake_stands_under_its_row_in_words_and_goes_when_it_is_mended(
    qtbot: QtBot, form: SettingsForm, project: Project
) -> None:
    form.focus_field("rank")
    row = form.row("rank")
    user_enters(qtbot, row, "abc")
    assert project.value("rank") == "abc"
    qtbot.waitUntil(lambda: bool(row.error), timeout=3000)
    assert row.error == 'Rank is "abc"; it must be a whole number.'
    label = row.findChild(QLabel, "rank_error")
    assert label is not None and label.isVisible()
    user_enters(qtbot, row, 8)
    assert row.error == "" and label.isHidden() and project.value("rank") == 8


def test_a_mistake_between_settings_and_its_group_are_marked_at_once(form: SettingsForm, project: Project) -> None:
    groups = form.findChild(QListWidget, "settings_groups")
    assert groups is not None
    form.row("bucket_min")
    project.set("bucket_min", 4000)
    assert "larger than longest side" in form.row("bucket_min").error
    item = groups.item(GROUPS.index("Pictures"))
    assert not item.icon().isNull() and "1" in item.text()
    project.undo()
    assert form.row("bucket_min").error == "" and item.icon().isNull()


def test_a_row_that_is_made_later_shows_its_mistake(form: SettingsForm, project: Project) -> None:
    project.set("author", 3)
    assert form.row("author").error == "Author is 3; it must be text."


def visible(form: SettingsForm) -> set[str]:
    return {n for s in form._sections.values() for n, row in s.rows.items() if row.isVisible()}


@pytest.mark.parametrize(
    ("words", "found"),
    [("learning rate", "learning_rate"), ("min_snr", "min_snr_gamma"), ("γ", "min_snr_gamma"), ("locon", "targets"),
     ("PRIOR", "regularization"), ("cosine restarts", "schedule"), ("px longest", "bucket_max")],
)  # fmt: skip
def test_the_search_finds_by_label_name_help_and_choice(
    qtbot: QtBot, form: SettingsForm, words: str, found: str
) -> None:
    form.findChild(QLineEdit, "settings_search").insert(words)  # type: ignore[union-attr]  # QTest cannot type a γ
    assert found in visible(form) and len(visible(form)) < 20
    headings = [label.text() for label in form.findChildren(QLabel) if label.isVisible()]
    assert info(found).group in headings


def test_a_search_without_a_hit_says_so_and_a_click_on_a_group_ends_it(qtbot: QtBot, form: SettingsForm) -> None:
    search = form.findChild(QLineEdit, "settings_search")
    assert search is not None
    qtbot.keyClicks(search, "xyzzy")
    nothing = form.findChild(QLabel, "settings_nothing")
    assert nothing is not None and nothing.isVisible() and "No setting matches" in nothing.text()
    groups = form.findChild(QListWidget, "settings_groups")
    assert groups is not None
    where = groups.visualItemRect(groups.item(GROUPS.index("Export"))).center()
    qtbot.mouseClick(groups.viewport(), Qt.MouseButton.LeftButton, pos=where)
    assert search.text() == "" and visible(form) == {n for n in NAMES if info(n).group == "Export"}


def test_only_what_was_changed_can_be_shown(qtbot: QtBot, form: SettingsForm, project: Project) -> None:
    project.set_many({"rank": 8, "author": "me"})
    box = form.findChild(QCheckBox, "settings_changed_only")
    assert box is not None
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
    assert visible(form) == {"rank", "author"}
    project.reset(["rank", "author"])
    nothing = form.findChild(QLabel, "settings_nothing")
    assert visible(form) == set() and nothing is not None and "Nothing differs" in nothing.text()


def test_a_problem_leads_to_its_row(qtbot: QtBot, form: SettingsForm) -> None:
    qtbot.keyClicks(form.findChild(QLineEdit, "settings_search"), "xyzzy")
    form.focus_field("timestep_max")
    row = form.row("timestep_max")
    qtbot.waitUntil(row.has_focus)
    assert row.isVisible() and not row.visibleRegion().isEmpty()
    form.focus_field("no such setting")


def test_the_form_is_quickly_there(qtbot: QtBot, project: Project) -> None:
    """Processor time, as the machine may be busy: 0.06 s were measured for the first group, 0.12 s for all."""
    started = time.process_time()
    form = SettingsForm(project)
    qtbot.addWidget(form)
    assert time.process_time() - started < 0.6
    first = [name for name in form.names if info(name).group == "Base model"]
    assert sum(len(s.rows) for s in form._sections.values()) == len(first) < len(form.names) / 3
