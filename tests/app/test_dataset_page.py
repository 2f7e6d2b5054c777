"""The dataset page: grid, filters, batch edits and the editor work together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QLineEdit, QPushButton, QToolButton, QWidget

from app.pages.dataset import DatasetPage
from app.pictures import Pictures
from app.project import Project
from tests.app.data_sets import COUNT, captions, folder_fixture, pictures_fixture, project_fixture  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def page(qtbot: QtBot, project: Project, pictures: Pictures) -> Iterator[DatasetPage]:
    widget = DatasetPage(project, pictures)
    qtbot.addWidget(widget)
    widget.resize(1150, 620)
    with qtbot.waitExposed(widget):
        widget.show()
    yield widget
    widget.editor.save()
    widget.thumbnails.close()


def part(page: DatasetPage, kind: type[QWidget], name: str) -> QWidget:
    found = page.findChild(kind, name)
    assert found is not None, name
    return found


def press(qtbot: QtBot, page: DatasetPage, name: str, kind: type[QWidget] = QPushButton) -> None:
    button = part(page, kind, name)
    assert button.isEnabled(), name
    qtbot.mouseClick(button, LEFT)


def visible_texts(page: DatasetPage) -> str:
    return "\n".join(label.text() for label in page.findChildren(QLabel) if label.isVisible())


def rows(page: DatasetPage) -> int:
    return page.grid.list_model.rowCount()


def test_the_first_picture_is_shown_at_once(page: DatasetPage) -> None:
    assert page.grid.selected() == [0] and page.editor.index == 0
    assert part(page, QLabel, "picture_count").text() == "16 pictures"


def test_stepping_goes_through_the_pictures_that_are_shown(qtbot: QtBot, page: DatasetPage) -> None:
    page.grid.activated.emit(0)
    assert page.editor.text.hasFocus()
    qtbot.keyClicks(page.editor.text, ", smiling")
    qtbot.keyClick(page.editor.text, Qt.Key.Key_Return)
    assert page.editor.index == 1 and page.editor.text.hasFocus()
    qtbot.keyClick(page.editor.text, Qt.Key.Key_PageUp)
    assert page.editor.text.toPlainText() == "zorblin, plain background, flat drawing, smiling"
    page.tags.filterWanted.emit("night")
    page.step(1)
    page.step(1)
    assert page.grid.selected() == [page.grid.list_model.source_index(1)]
    page.step(99)
    assert page.editor.index == page.grid.list_model.source_index(rows(page) - 1)


def test_search_tags_and_problems_filter_the_grid(qtbot: QtBot, page: DatasetPage, pictures: Pictures) -> None:
    page.tags.filterWanted.emit("night")
    assert rows(page) == 4 and part(page, QToolButton, "tag_filter").text() == "night"
    qtbot.keyClicks(page.bar.search, "ink")
    assert rows(page) == 2
    press(qtbot, page, "tag_filter", QToolButton)
    assert rows(page) == 8
    page.bar.search.setFocus()
    qtbot.keyClick(page.bar.search, Qt.Key.Key_Escape)
    assert rows(page) == COUNT
    assert not part(page, QPushButton, "only_problems").isEnabled()
    pictures.set_captions({3: ""}, "empty")
    assert part(page, QPushButton, "only_problems").text() == "Only problems (1)"
    press(qtbot, page, "only_problems")
    assert rows(page) == 1


def test_a_search_without_result_offers_to_show_all(qtbot: QtBot, page: DatasetPage) -> None:
    qtbot.keyClicks(page.bar.search, "unicorn")
    assert "No picture matches." in visible_texts(page) and "No picture is shown" in visible_texts(page)
    press(qtbot, page, "show_all")
    assert rows(page) == COUNT and page.grid.isVisible()


def test_ctrl_f_goes_to_the_search(qtbot: QtBot, page: DatasetPage) -> None:
    qtbot.keyClick(page.grid, Qt.Key.Key_F, Qt.KeyboardModifier.ControlModifier)
    assert page.bar.search.hasFocus()


def test_several_pictures_are_edited_at_once(qtbot: QtBot, page: DatasetPage, pictures: Pictures) -> None:
    page.grid.select([0, 1, 2])
    assert part(page, QLabel, "batch_title").text() == "3 pictures selected"
    qtbot.keyClicks(part(page, QLineEdit, "batch_tags"), "best, sharp")
    press(qtbot, page, "batch_add_front")
    assert [c.startswith("best, sharp, zorblin") for c in captions(pictures)] == [True] * 3 + [False] * 13
    qtbot.keyClicks(part(page, QLineEdit, "batch_tags"), "sharp")
    press(qtbot, page, "batch_remove")
    assert captions(pictures)[0] == "best, zorblin, plain background, flat drawing"
    qtbot.keyClicks(part(page, QLineEdit, "batch_old"), "best")
    qtbot.keyClicks(part(page, QLineEdit, "batch_new"), "fine")
    press(qtbot, page, "batch_replace")
    assert captions(pictures)[0].startswith("fine, zorblin")
    qtbot.keyClicks(part(page, QLineEdit, "batch_tags"), "end\r")
    assert captions(pictures)[2].endswith(", end") and not captions(pictures)[3].endswith(", end")


def test_without_a_selection_the_edits_are_for_those_that_are_shown(
    qtbot: QtBot, page: DatasetPage, pictures: Pictures
) -> None:
    page.grid.clearSelection()
    assert part(page, QLabel, "batch_title").text() == "All 16 pictures"
    assert not part(page, QPushButton, "batch_leave_out").isEnabled()
    page.tags.filterWanted.emit("night")
    assert part(page, QLabel, "batch_title").text() == "The 4 pictures shown"
    press(qtbot, page, "batch_leave_out")
    assert pictures.included_count == 12
    assert part(page, QLabel, "picture_count").text() == "16 pictures, 4 left out"


def test_the_trigger_word_is_put_in_front_or_asked_for(
    qtbot: QtBot, page: DatasetPage, pictures: Pictures, project: Project
) -> None:
    project.set("trigger", "gribbet")
    page.grid.select([0, 1])
    press(qtbot, page, "batch_trigger")
    assert captions(pictures)[1].startswith("gribbet, zorblin") and not captions(pictures)[2].startswith("gribbet")
    project.set("trigger", "")
    with qtbot.waitSignal(page.triggerWanted):
        press(qtbot, page, "batch_trigger")


def test_undo_and_redo_by_keys_and_buttons(qtbot: QtBot, page: DatasetPage, pictures: Pictures) -> None:
    before = captions(pictures)
    assert part(page, QToolButton, "undo").toolTip() == "No caption edit to undo"
    pictures.add_tags([0, 1], ["wet"], front=False)
    after = captions(pictures)
    assert part(page, QToolButton, "undo").toolTip() == "Undo: Add “wet” in 2 captions  (Ctrl+Z)"
    control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    for undo, redo in (
        ((Qt.Key.Key_Z, control), (Qt.Key.Key_Y, control)),
        ((Qt.Key.Key_Z, control), (Qt.Key.Key_Z, control | shift)),
    ):
        qtbot.keyClick(page.grid, *undo)
        assert captions(pictures) == before
        qtbot.keyClick(page.grid, *redo)
        assert captions(pictures) == after
    press(qtbot, page, "undo", QToolButton)
    assert captions(pictures) == before
    press(qtbot, page, "redo", QToolButton)
    assert captions(pictures) == after


def test_ctrl_z_in_the_caption_is_first_the_text_s_own(qtbot: QtBot, page: DatasetPage, pictures: Pictures) -> None:
    pictures.add_tags([5], ["wet"], front=False)
    page.grid.activated.emit(0)
    qtbot.keyClicks(page.editor.text, "x")
    qtbot.keyClick(page.editor.text, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert (
        page.editor.text.toPlainText() == "zorblin, plain background, flat drawing" and "wet" in captions(pictures)[5]
    )
    qtbot.keyClick(page.editor.text, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert "wet" not in captions(pictures)[5]


def test_delete_leaves_out_without_deleting_the_file(qtbot: QtBot, page: DatasetPage, pictures: Pictures) -> None:
    qtbot.keyClick(page.grid, Qt.Key.Key_Delete)
    assert not pictures.items[0].included and pictures.items[0].picture.path.is_file()


def test_tags_are_removed_renamed_and_added_through_the_list(
    qtbot: QtBot, page: DatasetPage, pictures: Pictures
) -> None:
    page.grid.activated.emit(0)
    qtbot.keyClicks(page.editor.text, ", shiny")
    page.tags.renameWanted.emit("plain background", "studio")
    assert captions(pictures)[0] == "zorblin, studio, flat drawing, shiny"
    assert "plain background" not in pictures.tag_counts()
    page.tags.removeWanted.emit("night")
    assert "night" not in pictures.tag_counts()
    page.grid.select([1, 2])
    page.tags.addWanted.emit("wet")
    assert [i for i, c in enumerate(captions(pictures)) if "wet" in c] == [1, 2]


def test_pictures_of_a_size_are_selected_even_when_a_filter_hid_them(page: DatasetPage) -> None:
    page.tags.filterWanted.emit("night")
    page.chart.picturesChosen.emit([0, 1])
    assert page.grid.selected() == [0, 1] and page.tags.active == ""


def test_adding_pictures_is_asked_for(qtbot: QtBot, page: DatasetPage) -> None:
    with qtbot.waitSignal(page.addPicturesRequested):
        press(qtbot, page, "add_pictures")


def test_before_there_are_pictures_it_invites_to_drop_some(qtbot: QtBot) -> None:
    project = Project()
    project.create("Empty", {})
    page = DatasetPage(project, Pictures(project))
    qtbot.addWidget(page)
    page.show()
    qtbot.waitUntil(lambda: part(page, QPushButton, "choose_folder").isVisible(), timeout=10_000)
    with qtbot.waitSignal(page.addPicturesRequested):
        press(qtbot, page, "choose_folder")
    with qtbot.waitSignal(page.filesRequested):
        press(qtbot, page, "choose_pictures")
    page.thumbnails.close()


def test_while_scanning_it_says_so_and_a_missing_folder_is_told(
    qtbot: QtBot, page: DatasetPage, pictures: Pictures, tmp_path: Path
) -> None:
    other = Project()
    other.create("Gone", {"data": str(tmp_path / "gone")})
    gone = Pictures(other)
    second = DatasetPage(other, gone)
    qtbot.addWidget(second)
    second.show()
    assert "Looking at the pictures…" in visible_texts(second)
    with qtbot.waitSignal(gone.scanned, timeout=10_000):
        pass
    assert "The pictures cannot be used." in visible_texts(second) and "does not exist" in visible_texts(second)
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "1.png").write_bytes(pictures.items[0].picture.path.read_bytes())
    with qtbot.waitSignal(gone.scanned, timeout=10_000):
        press(qtbot, second, "look_again")
    assert second.grid.isVisible() and second.editor.index == 0
    second.thumbnails.close()
    assert gone.finish_writing(5)
