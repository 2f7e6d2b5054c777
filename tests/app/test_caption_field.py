"""Captions as tags: moved, removed, added with completion; lines and separators are kept; the text is always the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QPushButton

from app import preferences
from app.widgets.caption_editor import CaptionEditor
from app.widgets.caption_field import CaptionField
from tests.app.data_sets import folder_fixture, pictures_fixture, project_fixture  # noqa: F401

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from app.pictures import Pictures
    from app.project import Project
    from app.widgets.tag_chips import TagChips

ALT, NONE = Qt.KeyboardModifier.AltModifier, Qt.KeyboardModifier.NoModifier


@pytest.fixture
def editor(qtbot: QtBot, project: Project, pictures: Pictures) -> CaptionEditor:
    widget = CaptionEditor(project, pictures)
    qtbot.addWidget(widget)
    widget.resize(360, 640)
    widget.show()
    pictures.set_captions({0: "zorblin, plain, flat\nzorblin in a field"}, "Two lines")
    widget.show_picture(0)
    with qtbot.waitActive(widget):
        widget.activateWindow()
    return widget


@pytest.fixture
def chips(qtbot: QtBot, editor: CaptionEditor) -> TagChips:
    switch(qtbot, editor, "caption_as_tags")
    return editor.field.chips


def switch(qtbot: QtBot, editor: CaptionEditor, name: str) -> None:
    button = editor.findChild(QPushButton, name)
    assert isinstance(button, QPushButton)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def on_disk(pictures: Pictures, index: int = 0) -> str:
    assert pictures.finish_writing(10)
    return pictures.items[index].picture.path.with_suffix(".txt").read_text(encoding="utf-8")


def middle(chips: TagChips, spot: tuple[int, int]) -> QPoint:
    return next(chip for chip in chips.chips if chip.spot == spot).area.center()


def test_it_shows_the_tags_and_remembers_that(qtbot: QtBot, editor: CaptionEditor, chips: TagChips, project: Project, pictures: Pictures) -> None:  # fmt: skip
    assert [chips.board.tag(spot) for spot in chips.board.spots] == ["zorblin", "plain", "flat", "zorblin in a field"]
    assert preferences.get("captions_as_tags", False)
    other = CaptionField(project, pictures, editor.text)
    qtbot.addWidget(other)
    assert other.shows_tags
    switch(qtbot, editor, "caption_as_text")
    assert not editor.field.shows_tags and not preferences.get("captions_as_tags", True)


def test_alt_and_arrows_move_a_tag_and_the_other_line_stays(qtbot: QtBot, editor: CaptionEditor, chips: TagChips, pictures: Pictures) -> None:  # fmt: skip
    chips.select((0, 2))
    qtbot.keyClick(chips, Qt.Key.Key_Left, ALT)
    assert editor.text.caption == "zorblin, flat, plain\nzorblin in a field"
    assert chips.current == (0, 1)
    editor.save()
    assert on_disk(pictures) == "zorblin, flat, plain\nzorblin in a field"


def test_a_tag_is_dragged_to_another_place(qtbot: QtBot, editor: CaptionEditor, chips: TagChips) -> None:
    start, end = middle(chips, (0, 2)), middle(chips, (0, 0)) - QPoint(12, 0)
    qtbot.mousePress(chips, Qt.MouseButton.LeftButton, pos=start)
    qtbot.mouseMove(chips, (start + end) / 2)
    qtbot.mouseMove(chips, end)
    qtbot.mouseRelease(chips, Qt.MouseButton.LeftButton, pos=end)
    assert editor.text.caption == "flat, zorblin, plain\nzorblin in a field"


def test_tags_are_removed_by_their_cross_and_by_backspace(qtbot: QtBot, editor: CaptionEditor, chips: TagChips) -> None:
    area = next(chip for chip in chips.chips if chip.spot == (0, 1)).area
    qtbot.mouseClick(chips, Qt.MouseButton.LeftButton, pos=QPoint(area.right() - 5, area.center().y()))
    assert editor.text.caption == "zorblin, flat\nzorblin in a field"
    chips.select((0, 1))
    qtbot.keyClick(chips, Qt.Key.Key_Backspace)
    assert editor.text.caption == "zorblin\nzorblin in a field"
    chips.field.setFocus()
    qtbot.keyClick(chips.field, Qt.Key.Key_Backspace)
    assert editor.text.caption == "zorblin"


def test_a_tag_is_added_after_the_chosen_one_with_completion(qtbot: QtBot, editor: CaptionEditor, chips: TagChips) -> None:  # fmt: skip
    chips.select((0, 0))
    qtbot.keyClicks(chips, "m")
    assert chips.field.hasFocus()
    qtbot.keyClicks(chips.field, "ead")
    assert chips.field.proposals == ["meadow"]
    qtbot.keyClick(chips.field._popup, Qt.Key.Key_Tab)
    assert editor.text.caption == "zorblin, meadow, plain, flat\nzorblin in a field"
    qtbot.keyClicks(chips.field, "new one,")
    assert editor.text.caption == "zorblin, meadow, new one, plain, flat\nzorblin in a field"
    assert chips.field.text() == ""


def test_ctrl_z_takes_the_last_tag_edit_back(qtbot: QtBot, editor: CaptionEditor, chips: TagChips) -> None:
    chips.select((0, 1))
    qtbot.keyClick(chips, Qt.Key.Key_Delete)
    qtbot.keyClick(chips, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert editor.text.caption == "zorblin, plain, flat\nzorblin in a field"
    assert len(chips.board.spots) == 4


def test_the_separator_is_a_divider_and_tags_before_it_are_fixed(qtbot: QtBot, editor: CaptionEditor, chips: TagChips, project: Project, pictures: Pictures) -> None:  # fmt: skip
    project.set("keep_separator", "|||")
    pictures.set_captions({0: "zorblin ||| plain, flat"}, "Separator")
    assert [chip.is_divider for chip in chips.chips] == [False, True, False, False]
    assert [chips.board.is_fixed(spot) for spot in chips.board.spots] == [True, False, False]
    chips.select((0, 2))
    qtbot.keyClick(chips, Qt.Key.Key_Left, ALT)
    assert editor.text.caption == "zorblin, plain ||| flat"
    assert editor.meter.seen_text == "zorblin, plain, flat"


def test_lines_that_are_joined_are_told_and_can_become_variants(qtbot: QtBot, editor: CaptionEditor, project: Project) -> None:  # fmt: skip
    button = editor.findChild(QPushButton, "caption_lines_note_button")
    assert button.isVisible()
    assert editor.meter.seen_text == "zorblin, plain, flat zorblin in a field"
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert project.value("caption_lines") == "variants" and not button.isVisible()
    assert editor.meter.seen_text == "zorblin, plain, flat"
    editor.text.moveCursor(editor.text.textCursor().MoveOperation.End)
    assert editor.meter.seen_text == "zorblin in a field"


def test_shift_enter_begins_a_line_and_empty_lines_and_breaks_of_the_file_stay(qtbot: QtBot, editor: CaptionEditor, pictures: Pictures, folder: Path) -> None:  # fmt: skip
    editor.field.begin_writing()
    qtbot.keyClick(editor.text, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClicks(editor.text, "third")
    editor.save()
    assert on_disk(pictures) == "zorblin, plain, flat\nzorblin in a field\nthird"
    (folder / "02.txt").write_bytes(b"one, two\r\n\r\nthree\r\n")
    with qtbot.waitSignal(pictures.scanned, timeout=10_000):
        pictures.rescan()
    assert pictures.items[1].caption == "one, two\nthree"
    pictures.add_tags([1], ["four"], front=True)
    assert pictures.finish_writing(10)
    assert (folder / "02.txt").read_bytes() == b"four, one, two\r\n\r\nthree\r\n"
    pictures.undo()
    assert pictures.finish_writing(10)
    assert (folder / "02.txt").read_bytes() == b"one, two\r\n\r\nthree\r\n"
