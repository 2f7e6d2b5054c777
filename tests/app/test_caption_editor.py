"""Writing captions: nothing is lost, one visit is one step of undo, and the model's view is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton, QToolButton

from app.widgets.caption_editor import CaptionEditor, size_sentence
from tests.app.data_sets import folder_fixture, pictures_fixture, project_fixture  # noqa: F401
from trainer.pixels import Fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from app.pictures import Pictures
    from app.project import Project


@pytest.fixture
def editor(qtbot: QtBot, project: Project, pictures: Pictures) -> CaptionEditor:
    widget = CaptionEditor(project, pictures)
    qtbot.addWidget(widget)
    widget.resize(320, 560)
    widget.show()
    widget.show_picture(0)
    qtbot.waitUntil(lambda: not label(widget, "token_count").startswith("about"), timeout=10_000)
    return widget


def label(editor: CaptionEditor, name: str) -> str:
    found = editor.findChild(QLabel, name)
    return "" if found.isHidden() else found.text()


def write(qtbot: QtBot, editor: CaptionEditor, text: str) -> None:
    editor.text.setFocus()
    editor.text.selectAll()
    qtbot.keyClicks(editor.text, text)


def on_disk(pictures: Pictures, index: int) -> str:
    assert pictures.finish_writing(10)
    return pictures.items[index].picture.path.with_suffix(".txt").read_text(encoding="utf-8").strip()


def test_it_shows_the_caption_the_sizes_and_the_picture(qtbot: QtBot, editor: CaptionEditor) -> None:
    assert editor.text.toPlainText() == "zorblin, plain background, flat drawing"
    assert label(editor, "picture_name") == "01.png"
    assert label(editor, "picture_sizes") == "128 × 128 → 128 × 128"
    assert label(editor, "picture_problems") == ""
    qtbot.waitUntil(lambda: editor.preview.is_loaded, timeout=10_000)


def test_a_caption_is_saved_after_a_pause(qtbot: QtBot, editor: CaptionEditor, pictures: Pictures) -> None:
    write(qtbot, editor, "zorblin, in the rain")
    with qtbot.waitSignal(pictures.captionsChanged, timeout=5000):
        pass
    assert on_disk(pictures, 0) == "zorblin, in the rain"
    assert editor.text.toPlainText() == "zorblin, in the rain"


@pytest.mark.parametrize("leave", [lambda e: e.text.clearFocus(), lambda e: e.show_picture(1)], ids=["focus", "next"])
def test_a_caption_is_saved_when_it_is_left(
    leave: Callable[[CaptionEditor], None], qtbot: QtBot, editor: CaptionEditor, pictures: Pictures
) -> None:  # fmt: skip
    write(qtbot, editor, "left early")
    leave(editor)
    assert pictures.items[0].caption == "left early"
    assert on_disk(pictures, 0) == "left early"


def test_a_visit_is_one_step_of_undo_however_often_it_is_saved(
    qtbot: QtBot, editor: CaptionEditor, pictures: Pictures
) -> None:
    before = pictures.items[0].caption
    for text in ("one", "one, two", "one, two, three"):
        write(qtbot, editor, text)
        editor.save()
    assert pictures.undo_text == "Caption of 01.png"
    pictures.undo()
    assert editor.text.toPlainText() == pictures.items[0].caption == before
    assert not pictures.can_undo
    pictures.redo()
    assert editor.text.toPlainText() == "one, two, three"


def test_two_visits_are_two_steps(qtbot: QtBot, editor: CaptionEditor, pictures: Pictures) -> None:
    for text in ("first", "second"):
        editor.show_picture(0)
        write(qtbot, editor, text)
        editor.show_picture(1)
    pictures.undo()
    assert pictures.items[0].caption == "first"


def test_writing_it_back_as_it_was_leaves_no_step(qtbot: QtBot, editor: CaptionEditor, pictures: Pictures) -> None:
    before = pictures.items[0].caption
    write(qtbot, editor, "something else")
    editor.save()
    write(qtbot, editor, before)
    editor.save()
    assert pictures.items[0].caption == before and not pictures.can_undo


def test_enter_and_page_keys_ask_for_another_picture(qtbot: QtBot, editor: CaptionEditor) -> None:
    steps: list[int] = []
    editor.stepWanted.connect(steps.append)
    qtbot.keyClick(editor.text, Qt.Key.Key_Return)
    qtbot.keyClick(editor.text, Qt.Key.Key_PageUp)
    qtbot.keyClick(editor.text, Qt.Key.Key_Down, Qt.KeyboardModifier.ControlModifier)
    qtbot.mouseClick(editor.findChild(QToolButton, "previous_picture"), Qt.MouseButton.LeftButton)
    assert steps == [1, -1, 1, -1]
    assert "\n" not in editor.text.toPlainText()


def test_the_trigger_word_is_shown_in_front_and_marked(qtbot: QtBot, editor: CaptionEditor) -> None:
    write(qtbot, editor, "a <b>cat</b> & dog")
    assert editor.meter.seen_text == "zorblin, a <b>cat</b> & dog"
    shown = label(editor, "seen_caption")
    assert ">zorblin</b>, a &lt;b&gt;cat" in shown and "&amp; dog" in shown


def test_tokens_are_counted_against_the_limit_and_the_cut_end_is_told(
    qtbot: QtBot, editor: CaptionEditor, project: Project
) -> None:
    assert label(editor, "token_count").endswith(" / 75 tokens")
    assert label(editor, "token_warning") == ""
    editor.text.setPlainText(", ".join(["meadow"] * 50))
    assert label(editor, "token_warning").endswith("over: the end is cut.")
    assert "<s style" in label(editor, "seen_caption")
    project.set("max_tokens", 225)
    assert label(editor, "token_warning") == ""
    assert label(editor, "token_count").endswith(" / 225 tokens")


def test_without_a_base_model_tokens_are_estimated(qtbot: QtBot, editor: CaptionEditor, project: Project) -> None:
    project.set("base", "/nowhere/model")
    qtbot.waitUntil(lambda: label(editor, "token_count").startswith("about "), timeout=10_000)
    count = editor.findChild(QLabel, "token_count")
    qtbot.waitUntil(lambda: "no vocabulary" in count.toolTip(), timeout=10_000)


def test_without_a_trigger_word_it_offers_to_set_one(qtbot: QtBot, editor: CaptionEditor, project: Project) -> None:
    offer = editor.findChild(QPushButton, "set_trigger")
    assert not offer.isVisible()
    project.set("trigger", "")
    with qtbot.waitSignal(editor.meter.triggerWanted):
        qtbot.mouseClick(offer, Qt.MouseButton.LeftButton)
    editor.text.setPlainText("")
    assert label(editor, "seen_caption") == "Nothing: it has no caption."


def test_a_picture_can_be_left_out_and_taken_in_again(qtbot: QtBot, editor: CaptionEditor, pictures: Pictures) -> None:
    button = editor.findChild(QPushButton, "include_picture")
    assert button.text() == "Leave out of training"
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert not pictures.items[0].included and pictures.items[0].picture.path.is_file()
    assert label(editor, "picture_problems") == "Left out: training does not see it."
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert pictures.items[0].included


def test_a_file_that_is_gone_is_told_in_the_preview(qtbot: QtBot, editor: CaptionEditor, folder: Path) -> None:
    (folder / "02.png").unlink()
    editor.show_picture(1)
    qtbot.waitUntil(lambda: bool(editor.preview.problem), timeout=10_000)
    assert "02.png cannot be read as a picture" in editor.preview.problem


def test_a_scan_keeps_what_is_being_written(
    qtbot: QtBot, editor: CaptionEditor, pictures: Pictures, folder: Path
) -> None:
    write(qtbot, editor, "half a sen")
    (folder / "00.png").write_bytes((folder / "01.png").read_bytes())
    with qtbot.waitSignal(pictures.scanned, timeout=10_000):
        pictures.rescan()
    assert editor.text.toPlainText() == "half a sen"
    editor.save()
    assert editor.index == 1 and pictures.items[1].caption == "half a sen"


def test_sizes_are_told_in_a_sentence() -> None:
    assert size_sentence(1920, 1080, Fit((640, 384), (683, 384), (21, 0))) == "1920 × 1080 → 640 × 384, 6 % cropped"
    assert size_sentence(64, 64, Fit((128, 128), (128, 128), (0, 0))) == "64 × 64 → 128 × 128"
