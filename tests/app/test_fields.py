"""One editor per type: what it shows, what it makes of what is typed, and that it speaks only when the user acts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QColor, QDragEnterEvent, QDropEvent, QWheelEvent
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QColorDialog,
    QComboBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QToolButton,
)  # fmt: skip

from app import field_numbers, field_words, fields
from trainer.settings import PreviewPrompt, TrainingSettings, info
from trainer.settings_file import choices

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from app.field_base import Editor


class Heard(list[Any]):
    """What an editor told."""


def make(qtbot: QtBot, name: str) -> tuple[Editor, Heard]:
    editor = fields.make(TrainingSettings, name)
    qtbot.addWidget(editor)
    editor.show()
    heard = Heard()
    editor.edited.connect(heard.append)
    return editor, heard


def part(editor: Editor, kind: type[Any], name: str | None = None) -> Any:
    found = editor.findChild(kind, name)
    assert found is not None
    return found


def typed(qtbot: QtBot, editor: Editor, text: str) -> None:
    line = part(editor, QLineEdit)
    line.selectAll()
    qtbot.keyClicks(line, text)


# ---- numbers


@pytest.mark.parametrize(
    ("number", "text"),
    [(1e-4, "1e-4"), (1.5e-4, "1.5e-4"), (0.001, "0.001"), (0.03, "0.03"), (16.0, "16"), (0.0, "0"), (1600, "1600"),
     (3e-5, "3e-5"), (0.1 + 0.2, "0.30000000000000004"), (1.23456789e-7, "1.23456789e-7"), (2**32 - 1, "4294967295")],
)  # fmt: skip
def test_a_number_is_shown_short_and_reads_back_as_the_same(number: float, text: str) -> None:
    assert field_numbers.shown(number) == text
    assert field_numbers.read(text, whole=isinstance(number, int)) == number


@pytest.mark.parametrize("text", ["1e-4", "0.0001", "1E-4", "+1e-04", ".0001", " 1e-4 "])
def test_a_learning_rate_can_be_typed_in_any_way(qtbot: QtBot, text: str) -> None:
    editor, heard = make(qtbot, "learning_rate")
    editor.set_value(3e-4)
    typed(qtbot, editor, text)
    assert heard[-1] == 1e-4 and isinstance(heard[-1], float)


@pytest.mark.parametrize("text", ["2,5", "abc", "1e", "", "1 000", "nan"])
def test_what_is_no_number_is_kept_as_it_was_typed(qtbot: QtBot, text: str) -> None:
    editor, heard = make(qtbot, "rank")
    editor.set_value(16)
    line = part(editor, QLineEdit)
    line.selectAll()
    qtbot.keyClick(line, Qt.Key.Key_Delete)
    qtbot.keyClicks(line, text)
    assert heard[-1] == text == editor.value()


def test_what_is_typed_is_not_rewritten_until_the_user_leaves(qtbot: QtBot) -> None:
    editor, _heard = make(qtbot, "learning_rate")
    editor.set_value(1e-3)
    typed(qtbot, editor, "0.00010")
    editor.set_value(1e-4)  # as the project answers
    line = part(editor, QLineEdit)
    assert line.text() == "0.00010"
    qtbot.keyClick(line, Qt.Key.Key_Return)
    assert line.text() == "1e-4"


@pytest.mark.parametrize("text", ["1e3", "1000.0", "1000"])
def test_a_whole_number_may_be_written_with_an_exponent(text: str) -> None:
    number = field_numbers.read(text, whole=True)
    assert number == 1000 and isinstance(number, int)
    assert field_numbers.read("1.5", whole=True) == "1.5"


@pytest.mark.parametrize(
    ("name", "start", "key", "after"),
    [("learning_rate", 1e-4, Qt.Key.Key_Up, 2e-4), ("learning_rate", 1e-4, Qt.Key.Key_Down, 9e-5),
     ("learning_rate", 3e-4, Qt.Key.Key_PageUp, 6e-4), ("learning_rate", 3e-4, Qt.Key.Key_PageDown, 1.5e-4),
     ("caption_dropout", 0.0, Qt.Key.Key_Up, 0.01), ("caption_dropout", 0.01, Qt.Key.Key_Down, 0.0),
     ("caption_dropout", 1.0, Qt.Key.Key_Up, 1.0), ("rank", 16, Qt.Key.Key_Up, 17), ("rank", 16, Qt.Key.Key_PageUp, 32),
     ("rank", 1, Qt.Key.Key_Down, 1), ("steps", 1600, Qt.Key.Key_Up, 1700), ("resolution", 512, Qt.Key.Key_Up, 576),
     ("resolution", 64, Qt.Key.Key_Down, 64), ("text_encoder_learning_rate", 0.0, Qt.Key.Key_Up, 1e-6),
     ("text_encoder_learning_rate", 1e-5, Qt.Key.Key_Down, 9e-6), ("alpha", 8.0, Qt.Key.Key_Down, 7.0)],
)  # fmt: skip
def test_keys_step_by_what_is_sensible_at_that_size(
    qtbot: QtBot, name: str, start: float, key: Qt.Key, after: float
) -> None:
    editor, heard = make(qtbot, name)
    editor.set_value(start)
    qtbot.keyClick(part(editor, QLineEdit), key)
    assert editor.value() == pytest.approx(after)
    assert heard == ([] if start == after else [editor.value()])
    assert type(editor.value()) is type(start)


def wheel(widget: Any, up: bool = True) -> None:
    delta = QPoint(0, 120 if up else -120)
    event = QWheelEvent(QPointF(4, 4), QPointF(4, 4), QPoint(), delta, Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False)  # fmt: skip
    QApplication.sendEvent(widget, event)


def test_the_wheel_changes_nothing_without_focus(qtbot: QtBot) -> None:
    number, _ = make(qtbot, "rank")
    box, _ = make(qtbot, "optimizer")
    number.set_value(16)
    box.set_value("adamw")
    wheel(part(number, QLineEdit))
    wheel(part(box, QComboBox), up=False)
    assert (number.value(), box.value()) == (16, "adamw")
    number.activateWindow()
    number.setFocus()
    qtbot.waitUntil(part(number, QLineEdit).hasFocus)
    wheel(part(number, QLineEdit))
    assert number.value() == 17


def test_the_unit_stands_behind_the_value(qtbot: QtBot) -> None:
    for name in ("resolution", "max_tokens"):
        editor, _ = make(qtbot, name)
        assert info(name).unit in [label.text() for label in editor.findChildren(QLabel)]


# ---- the rest


def test_a_switch_says_what_it_is(qtbot: QtBot) -> None:
    editor, heard = make(qtbot, "flip")
    editor.set_value(False)
    box = part(editor, QCheckBox)
    assert box.text() == "off"
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
    assert heard == [True] and box.text() == "on"
    editor.set_value("maybe")
    assert editor.value() == "maybe" and not box.isChecked()


def test_every_choice_has_words_and_a_hint(qtbot: QtBot) -> None:
    for model in (TrainingSettings, PreviewPrompt):
        for name in model.model_fields:
            for value in choices(model, name):
                assert value in field_words.CHOICES[name], f"{name} = {value} has no words"
                assert field_words.choice(name, value).hint.endswith(".")


def test_a_choice_is_made_with_the_keyboard_and_an_unknown_value_is_kept(qtbot: QtBot) -> None:
    editor, heard = make(qtbot, "optimizer")
    editor.set_value("adamw")
    box = part(editor, QComboBox)
    assert box.currentText() == "AdamW" and box.toolTip() == "The safe choice."
    qtbot.keyClick(box, Qt.Key.Key_Down)
    assert heard == ["adamw8bit"]
    editor.set_value("sgd")
    assert editor.value() == "sgd" and box.currentText() == "sgd"
    editor.set_value("lion")
    assert editor.value() == "lion" and box.count() == len(choices(TrainingSettings, "optimizer"))


def test_several_are_chosen_in_the_order_of_the_choices(qtbot: QtBot) -> None:
    editor, heard = make(qtbot, "targets")
    editor.set_value(["projections"])
    box = part(editor, QCheckBox, "targets_attention")
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
    assert heard == [["attention", "projections"]]


def test_a_list_is_one_a_line(qtbot: QtBot) -> None:
    editor, heard = make(qtbot, "left_out")
    editor.set_value(["a.png", "b/c.png"])
    edit = part(editor, QPlainTextEdit)
    assert edit.toPlainText() == "a.png\nb/c.png" and not heard
    edit.selectAll()
    qtbot.keyClicks(edit, "x.png")
    qtbot.keyClick(edit, Qt.Key.Key_Return)
    assert heard[-1] == ["x.png"]
    editor.set_value(["x.png"])  # as the project answers: the open line stays
    assert edit.toPlainText() == "x.png\n"


def test_a_folder_is_added_to_the_list_once(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    editor, heard = make(qtbot, "more_data")
    editor.set_value(["/a"])
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_args: "/b")
    for _ in range(2):
        qtbot.mouseClick(part(editor, QPushButton, "more_data_add"), Qt.MouseButton.LeftButton)
    assert heard[-1] == ["/a", "/b"]
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_args: "")
    heard.clear()
    qtbot.mouseClick(part(editor, QPushButton, "more_data_add"), Qt.MouseButton.LeftButton)
    assert heard == []


def drop(editor: Editor, path: Path) -> None:
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path))])
    left, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    enter = QDragEnterEvent(QPointF(5, 5), Qt.DropAction.CopyAction, mime, left, none)
    QApplication.sendEvent(editor, enter)
    assert enter.isAccepted()
    QApplication.sendEvent(editor, QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, mime, left, none))


def test_a_path_is_dropped_chosen_or_not_chosen(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    editor, heard = make(qtbot, "start_from")
    editor.set_value("")
    drop(editor, tmp_path / "größe.safetensors")
    assert heard == [str(tmp_path / "größe.safetensors")] == [editor.value()]
    asked: list[Any] = []
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *args: asked.append(args) or ("/x.safetensors", ""))
    button = part(editor, QToolButton, "start_from_browse")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert heard[-1] == "/x.safetensors" and asked[0][3] == "*.safetensors" and button.toolTip()
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *args: ("", ""))
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert len(heard) == 2 and editor.value() == "/x.safetensors"


def test_a_folder_setting_asks_for_a_folder(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    editor, heard = make(qtbot, "validation")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_args: "/held_out")
    qtbot.mouseClick(part(editor, QToolButton, "validation_browse"), Qt.MouseButton.LeftButton)
    assert heard == ["/held_out"]


def test_a_colour_is_typed_or_picked(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    editor, heard = make(qtbot, "background")
    editor.set_value("#ffffff")
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_args: QColor("#102030"))
    qtbot.mouseClick(part(editor, QToolButton, "background_pick"), Qt.MouseButton.LeftButton)
    assert heard == ["#102030"]
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_args: QColor())
    qtbot.mouseClick(part(editor, QToolButton, "background_pick"), Qt.MouseButton.LeftButton)
    assert len(heard) == 1
    typed(qtbot, editor, "whi")
    assert heard[-1] == "whi"


@pytest.mark.parametrize("name", [n for n in TrainingSettings.model_fields if n != "previews"])
def test_every_setting_has_an_editor_with_a_name_that_takes_the_focus(qtbot: QtBot, name: str) -> None:
    editor, heard = make(qtbot, name)
    assert editor.objectName() == name and editor.focusProxy() is not None
    editor.set_error(True)
    editor.set_error(False)
    assert heard == []


def test_values_in_words() -> None:
    assert field_words.in_words("flip", True) == "on"
    assert field_words.in_words("steps", 1600) == "1,600 steps"
    assert field_words.in_words("learning_rate", 1e-4) == "1e-4"
    assert field_words.in_words("targets", ["attention", "feed_forward"]) == "Attention, Feed-forward"
    assert field_words.in_words("name", "") == "empty"
