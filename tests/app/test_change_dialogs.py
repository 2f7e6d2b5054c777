"""Find and replace, and operations on many captions: every change is shown before, and is one step of undo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QComboBox, QLabel, QLineEdit, QPushButton, QWidget

from app.pages.dataset import DatasetPage
from app.widgets.bulk_dialog import BulkDialog
from app.widgets.change_dialog import ChangeDialog, Targets
from app.widgets.change_preview import spans
from app.widgets.replace_dialog import ReplaceDialog
from tests.app.data_sets import COUNT, captions, folder_fixture, pictures_fixture, project_fixture  # noqa: F401

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot

    from app.pictures import Pictures
    from app.project import Project

ALL = Targets([], list(range(COUNT)))


def part(dialog: QWidget, kind: type, name: str) -> QWidget:  # typed loosely: the kinds differ
    found = dialog.findChild(kind, name)
    assert isinstance(found, QWidget)
    return found


def settled(qtbot: QtBot, dialog: ChangeDialog) -> None:
    qtbot.waitUntil(lambda: dialog.preview.is_current, timeout=10_000)


@pytest.fixture
def replace(qtbot: QtBot, pictures: Pictures) -> ReplaceDialog:
    out = ReplaceDialog(pictures, ALL)
    qtbot.addWidget(out)
    out.show()
    return out


def fill(qtbot: QtBot, dialog: ReplaceDialog, find: str, put: str, *, pattern: bool = False) -> None:
    part(dialog, QLineEdit, "replace_find").setText(find)  # type: ignore[attr-defined]
    part(dialog, QLineEdit, "replace_put").setText(put)  # type: ignore[attr-defined]
    part(dialog, QCheckBox, "replace_pattern").setChecked(pattern)  # type: ignore[attr-defined]
    settled(qtbot, dialog)


def count_text(dialog: ChangeDialog) -> str:
    return str(part(dialog, QLabel, "change_count").text())  # type: ignore[attr-defined]


def test_a_replacement_is_shown_applied_and_undone_as_one(qtbot: QtBot, replace: ReplaceDialog, pictures: Pictures) -> None:  # fmt: skip
    before = captions(pictures)
    fill(qtbot, replace, r"(\w+) drawing", r"drawn flat or \1", pattern=True)
    changing = sum("drawing" in caption for caption in before)
    assert count_text(replace) == f"{changing} of 16 captions would change."
    apply = part(replace, QPushButton, "change_apply")
    assert captions(pictures) == before, "nothing is changed before Apply"
    qtbot.mouseClick(apply, Qt.MouseButton.LeftButton)
    assert captions(pictures) != before and "drawn flat or flat" in captions(pictures)[0]
    assert pictures.undo_text.endswith(f"in {changing} captions")
    pictures.undo()
    assert captions(pictures) == before and not pictures.can_undo


def test_a_wrong_pattern_is_told_and_cannot_be_applied(qtbot: QtBot, replace: ReplaceDialog) -> None:
    fill(qtbot, replace, "(a", "", pattern=True)
    problem = part(replace, QLabel, "change_problem")
    assert problem.isVisible() and "missing )" in problem.text()  # type: ignore[attr-defined]
    assert not part(replace, QPushButton, "change_apply").isEnabled()
    fill(qtbot, replace, "zorblin", "x")
    assert not problem.isVisible() and part(replace, QPushButton, "change_apply").isEnabled()


def test_case_counts_only_when_it_is_wanted(qtbot: QtBot, replace: ReplaceDialog) -> None:
    fill(qtbot, replace, "ZORBLIN", "x")
    assert count_text(replace) == "16 of 16 captions would change."
    part(replace, QCheckBox, "replace_case").setChecked(True)  # type: ignore[attr-defined]
    settled(qtbot, replace)
    assert count_text(replace) == "None of 16 captions would change."


def test_the_window_answers_while_a_pattern_never_ends(qtbot: QtBot, replace: ReplaceDialog, pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("app.caption_changes.LIMIT_S", 1.0)
    pictures.set_captions({0: "a" * 200 + "!"}, "Long")
    part(replace, QLineEdit, "replace_find").setText("(a|aa)+$")  # type: ignore[attr-defined]
    part(replace, QCheckBox, "replace_pattern").setChecked(True)  # type: ignore[attr-defined]
    beats = []
    while not replace.preview.is_current:
        qtbot.wait(10)
        beats.append(1)
    assert len(beats) > 20
    assert replace.preview.found.problem.startswith("This pattern takes longer than 1 s.")


def test_what_changes_meanwhile_is_shown_again_before_it_is_applied(qtbot: QtBot, replace: ReplaceDialog, pictures: Pictures) -> None:  # fmt: skip
    fill(qtbot, replace, "zorblin", "x")
    pictures.set_captions({0: "nothing of it"}, "Meanwhile")
    assert not part(replace, QPushButton, "change_apply").isEnabled()
    settled(qtbot, replace)
    assert count_text(replace) == "15 of 16 captions would change."


def test_the_scope_is_all_those_selected_or_those_shown(qtbot: QtBot, pictures: Pictures) -> None:
    dialog = BulkDialog(pictures, Targets([0, 1, 2], [0, 1, 2, 3]), "masterpiece")
    qtbot.addWidget(dialog)
    dialog.show()
    settled(qtbot, dialog)
    scope = part(dialog, QComboBox, "change_scope")
    assert [scope.itemText(i) for i in range(3)] == ["All 16 pictures", "The 3 pictures selected", "The 4 pictures shown"]  # type: ignore[attr-defined]  # fmt: skip
    assert count_text(dialog) == "3 of 3 captions would change."
    scope.setCurrentIndex(2)  # type: ignore[attr-defined]
    settled(qtbot, dialog)
    assert count_text(dialog) == "4 of 4 captions would change."
    qtbot.mouseClick(part(dialog, QPushButton, "change_apply"), Qt.MouseButton.LeftButton)
    assert [caption.startswith("masterpiece, ") for caption in captions(pictures)[:5]] == [True] * 4 + [False]


@pytest.mark.parametrize(("name", "visible"), [("sort", 0), ("remove", 1), ("replace", 2), ("prefix", 1)])
def test_an_operation_asks_for_what_it_needs(name: str, visible: int, qtbot: QtBot, pictures: Pictures) -> None:
    dialog = BulkDialog(pictures, ALL)
    qtbot.addWidget(dialog)
    dialog.show()
    dialog.choose(name)
    fields = [part(dialog, QLineEdit, f"bulk_text_{n}").isVisible() for n in (1, 2)]
    assert sum(fields) == visible
    settled(qtbot, dialog)


def test_ctrl_h_opens_it_from_the_page(qtbot: QtBot, project: Project, pictures: Pictures) -> None:
    page = DatasetPage(project, pictures)
    qtbot.addWidget(page)
    page.resize(1200, 700)
    page.show()
    with qtbot.waitActive(page):
        page.activateWindow()
    page.grid.setFocus()
    qtbot.keyClick(page.grid, Qt.Key.Key_H, Qt.KeyboardModifier.ControlModifier)
    dialog = page.findChild(ReplaceDialog)
    assert dialog is not None and dialog.isVisible()
    dialog.reject()
    page.grid.select([])
    qtbot.mouseClick(part(page, QPushButton, "batch_more"), Qt.MouseButton.LeftButton)
    bulk = page.findChild(BulkDialog)
    assert bulk is not None and bulk.isVisible()
    bulk.reject()
    page.thumbnails.close()


def test_what_differs_is_marked_and_long_beginnings_are_cut() -> None:
    assert spans("a cat, b", "a dog, b") == (
        (("a ", False), ("cat", True), (", b", False)),
        (("a ", False), ("dog", True), (", b", False)),
    )
    old, new = spans("x " * 100 + "cat", "x " * 100 + "cat, dog")
    assert old[0] == ("…", False) and len(old[1][0]) < 40
    assert new[-1] == (", dog", True)
    assert spans("", "a") == ((), (("a", True),))
