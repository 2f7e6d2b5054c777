"""The frame of the LoRA tools: progress, cancel, failure, the question before a file is replaced, and the good end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QApplication, QFileDialog, QLabel, QMessageBox, QProgressBar, QPushButton, QWidget

from app.widgets import tool_done
from app.widgets.picture_loader import PictureLoader
from app.widgets.tool_convert import ConvertForm
from app.widgets.tool_dialog import ToolDialog
from app.widgets.tool_merge import MergeForm
from app.widgets.tool_resize import ResizeForm
from tests.app.tool_files import BUSY, saying, script, write_lora, write_peft

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

WAIT = 20_000
DONE = saying(type="done", path="", sentence="It is done, all of it.")


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    return write_lora(tmp_path / "aurora.safetensors", 16)


@pytest.fixture
def dialog(qtbot: QtBot, lora: Path) -> Iterator[ToolDialog]:
    out = ToolDialog(ResizeForm(lora, "Aurora"))
    qtbot.addWidget(out)
    out.open()
    qtbot.waitUntil(out.start_button.isEnabled, timeout=WAIT)
    yield out
    out.task.finish()
    qtbot.waitUntil(lambda: not out.task.is_running, timeout=WAIT)
    out.close()


def press(qtbot: QtBot, button: QWidget) -> None:
    assert button.isVisible() and button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def text(dialog: ToolDialog, name: str) -> str:
    label = dialog.findChild(QLabel, name)
    assert label.isVisible()
    return str(label.text())


def words_of(dialog: ToolDialog, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the real sub-command would be started with."""
    heard: list[str] = []
    start = dialog.task.start
    monkeypatch.setattr(dialog.task, "start", lambda words, command: (heard.extend(words), start(words, command)))
    return heard


def answer(qtbot: QtBot, name: str) -> list[str]:
    """Presses that button of the next question; gives what it asked."""
    heard: list[str] = []

    def act() -> None:
        box = QApplication.activeModalWidget()
        if not isinstance(box, QMessageBox):
            QTimer.singleShot(20, act)
            return
        heard.append(f"{box.text()} {box.informativeText()}")
        qtbot.mouseClick(box.findChild(QPushButton, name), Qt.MouseButton.LeftButton)

    QTimer.singleShot(0, act)
    return heard


def test_the_work_shows_where_it_stands_and_can_be_cancelled(dialog: ToolDialog, qtbot: QtBot) -> None:
    dialog.command = script(*BUSY)
    press(qtbot, dialog.start_button)
    bar = dialog.findChild(QProgressBar, "task_progress")
    assert bar.isVisible() and bar.maximum() == 0, "nothing is known yet"
    qtbot.waitUntil(lambda: bar.maximum() > 0, timeout=WAIT)
    assert text(dialog, "task_progress_label") == "Merging layers…" and text(dialog, "task_progress_share") == "75%"
    assert bar.value() == 750 and not dialog.form.isEnabled() and not dialog.start_button.isVisible()
    assert dialog.close_button.text() == "Cancel" and dialog.close_button.hasFocus()
    press(qtbot, dialog.close_button)
    assert not dialog.close_button.isEnabled() and dialog.close_button.text() == "Cancelling…"
    qtbot.waitUntil(lambda: not dialog.task.is_running, timeout=WAIT)
    assert dialog.banner.text == "Cancelled. Nothing was written."
    assert dialog.isVisible() and dialog.form.isEnabled() and not bar.isVisible() and dialog.start_button.isVisible()


def test_escape_and_the_closing_cross_cancel_and_keep_the_dialog(dialog: ToolDialog, qtbot: QtBot) -> None:
    for close in (lambda: qtbot.keyClick(dialog, Qt.Key.Key_Escape), dialog.close):
        dialog.command = script(*BUSY)
        with qtbot.waitSignal(dialog.task.progressed, timeout=WAIT):
            press(qtbot, dialog.start_button)
        with qtbot.waitSignal(dialog.task.cancelled, timeout=WAIT):
            close()
        assert dialog.isVisible()
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert not dialog.isVisible()


def test_a_failure_is_told_and_what_was_entered_stays(dialog: ToolDialog, qtbot: QtBot) -> None:
    form = dialog.form
    assert isinstance(form, ResizeForm)
    form.choice.findChild(QWidget, "tool_rank").setValue(3)  # type: ignore[attr-defined]
    dialog.target.name.setText("")
    qtbot.keyClicks(dialog.target.name, "mine")
    dialog.command = script(saying(type="failed", message="The disk is full. Free some space."), "sys.exit(1)")
    with qtbot.waitSignal(dialog.task.failed, timeout=WAIT):
        press(qtbot, dialog.start_button)
    assert dialog.banner.text == "The disk is full. Free some space." and not dialog.is_done
    assert form.choice.rank == 3 and dialog.target.path.name == "mine.safetensors"
    dialog.reject()
    dialog.open()
    assert form.choice.rank == 3 and dialog.target.path.name == "mine.safetensors" and dialog.start_button.isEnabled()
    dialog.command = script(*BUSY)
    with qtbot.waitSignal(dialog.task.progressed, timeout=WAIT):
        press(qtbot, dialog.start_button)
    assert dialog.banner.text == "", "the old failure is not shown any more"


def test_the_end_shows_the_sentence_and_what_can_be_done_with_the_file(
    dialog: ToolDialog, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Path] = []
    monkeypatch.setattr(tool_done, "show_in_folder", shown.append)
    wanted = dialog.target.path
    dialog.command = script(DONE)
    with qtbot.waitSignal(dialog.made, timeout=WAIT) as made:
        press(qtbot, dialog.start_button)
    assert made.args == [wanted] and dialog.is_done
    assert text(dialog, "tool_done") == "It is done, all of it." and text(dialog, "tool_done_name") == f"{wanted.name} is ready"  # fmt: skip
    assert dialog.start_button.text() == "Done" and dialog.start_button.hasFocus()
    press(qtbot, dialog.findChild(QPushButton, "tool_show"))
    assert shown == [wanted]
    with qtbot.waitSignal(dialog.useWanted) as used:
        press(qtbot, dialog.findChild(QPushButton, "tool_use"))
    assert used.args == [wanted] and not dialog.isVisible()


def test_after_one_file_another_can_be_made_under_a_new_name(
    dialog: ToolDialog, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dialog.target.path
    dialog.command = script(f"open({str(first)!r}, 'w').close()", DONE)
    heard = words_of(dialog, monkeypatch)
    with qtbot.waitSignal(dialog.made, timeout=WAIT):
        press(qtbot, dialog.start_button)
    assert "--force" not in heard and heard[-3:] == ["--out", str(first), "--json"]
    press(qtbot, dialog.again_button)
    assert not dialog.is_done and dialog.target.path == first.with_stem(f"{first.stem}_2")
    press(qtbot, dialog.close_button)
    assert not dialog.isVisible()


def test_the_name_that_was_typed_is_the_new_lora_s_title(qtbot: QtBot, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    other = write_lora(tmp_path / "other.safetensors")
    dialog = ToolDialog(MergeForm(PictureLoader(), [], [lora, other]))
    qtbot.addWidget(dialog)
    dialog.open()
    qtbot.waitUntil(dialog.start_button.isEnabled, timeout=WAIT)
    dialog.target.name.selectAll()
    qtbot.keyClicks(dialog.target.name, "-dark: 1-")
    dialog.command = script(DONE)
    heard = words_of(dialog, monkeypatch)
    with qtbot.waitSignal(dialog.made, timeout=WAIT):
        press(qtbot, dialog.start_button)
    assert heard[-4:] == ["--name=-dark: 1-", "--out", str(tmp_path / "-dark_1-.safetensors"), "--json"]
    dialog.accept()


@pytest.mark.parametrize(("button", "goes"), [("confirm_yes", True), ("confirm_cancel", False)])
def test_an_existing_file_is_replaced_only_after_a_question(
    button: str, goes: bool, dialog: ToolDialog, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "old.safetensors").write_bytes(b"precious")
    dialog.target.name.setText("")
    qtbot.keyClicks(dialog.target.name, "old.safetensors")
    dialog.command = script(DONE)
    started, heard = words_of(dialog, monkeypatch), answer(qtbot, button)
    press(qtbot, dialog.start_button)
    assert heard[0].startswith("Replace old.safetensors?") and str(tmp_path) in heard[0]
    if goes:
        qtbot.waitUntil(lambda: dialog.is_done, timeout=WAIT)
        assert "--force" in started and str(tmp_path / "old.safetensors") in started
    else:
        assert started == [] and not dialog.is_done and dialog.start_button.isEnabled()


def test_a_file_that_is_read_is_never_replaced(dialog: ToolDialog, qtbot: QtBot, lora: Path) -> None:
    dialog.target.name.setText("")
    qtbot.keyClicks(dialog.target.name, "aurora")
    press(qtbot, dialog.start_button)
    assert dialog.banner.text.startswith("aurora.safetensors is one of the files that are read.")
    assert not dialog.task.is_running and lora.exists()


def test_the_name_follows_the_form_until_it_is_typed(dialog: ToolDialog, qtbot: QtBot, tmp_path: Path) -> None:
    form = dialog.form
    assert isinstance(form, ResizeForm)
    assert dialog.target.name.text() == "Aurora rank 8", "half of the file's rank"
    rank = form.choice.findChild(QWidget, "tool_rank")
    rank.setValue(4)  # type: ignore[attr-defined]
    assert dialog.target.path == tmp_path / "Aurora_rank_4.safetensors"
    qtbot.keyClicks(dialog.target.name, "!")
    rank.setValue(5)  # type: ignore[attr-defined]
    assert dialog.target.name.text() == "!Aurora rank 4"
    dialog.target.name.clear()
    assert dialog.target.path.name == "Aurora_rank_5.safetensors", "an empty name is the proposed one"


def test_the_folder_can_be_chosen(dialog: ToolDialog, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a: str(tmp_path / "elsewhere"))
    press(qtbot, dialog.findChild(QWidget, "tool_folder"))
    assert dialog.target.path == tmp_path / "elsewhere" / "Aurora_rank_8.safetensors"


def test_the_whole_dialog_is_within_reach_of_the_keyboard(dialog: ToolDialog, qtbot: QtBot) -> None:
    """Tab comes by everything that can be pressed or typed into, and Enter begins."""
    dialog.activateWindow()
    form = dialog.form
    assert isinstance(form, ResizeForm) and dialog.focusWidget() is form.choice.first_field()
    seen: set[str] = set()
    for _ in range(20):
        seen.add(dialog.focusWidget().objectName())
        qtbot.keyClick(dialog.focusWidget(), Qt.Key.Key_Tab)
    assert seen >= {
        "tool_rank_slider", "tool_rank", "tool_precision", "tool_name", "tool_folder", "tool_start", "tool_close"
    }  # fmt: skip
    dialog.command = script(DONE)
    dialog.target.name.setFocus()
    with qtbot.waitSignal(dialog.made, timeout=WAIT):
        qtbot.keyClick(dialog.target.name, Qt.Key.Key_Return)
    with qtbot.waitSignal(dialog.accepted):
        qtbot.keyClick(dialog, Qt.Key.Key_Return)


def test_what_other_programs_get_is_not_offered_for_training(qtbot: QtBot, tmp_path: Path, lora: Path) -> None:
    for path, offered in ((lora, False), (write_peft(tmp_path / "peft.safetensors"), True)):
        dialog = ToolDialog(ConvertForm(path, "x"))
        qtbot.addWidget(dialog)
        dialog.open()
        qtbot.waitUntil(dialog.start_button.isEnabled, timeout=WAIT)
        dialog.command = script(DONE)
        with qtbot.waitSignal(dialog.made, timeout=WAIT):
            press(qtbot, dialog.start_button)
        assert dialog.findChild(QPushButton, "tool_use").isVisible() is offered
        dialog.accept()


def test_nothing_is_cut_off_at_150_percent(qtbot: QtBot, lora: Path, qapp: QApplication) -> None:
    font, large = qapp.font(), qapp.font()
    large.setPointSizeF(font.pointSizeF() * 1.5)
    qapp.setFont(large)
    try:
        dialog = ToolDialog(ResizeForm(lora, "Aurora"))
        qtbot.addWidget(dialog)
        dialog.open()
        qtbot.waitUntil(dialog.start_button.isEnabled, timeout=WAIT)
        room = dialog.screen().availableGeometry()
        assert dialog.width() <= room.width() and dialog.height() <= room.height()
        assert dialog.form.minimumSizeHint().width() <= dialog._scroll.viewport().width(), "no part is out of sight"
        dialog.close()
    finally:
        qapp.setFont(font)
