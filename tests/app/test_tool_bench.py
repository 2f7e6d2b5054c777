"""The LoRA tools in the library: choosing several, the menus and keys, and a real merge from the first click to the new card."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy
import pytest
from PySide6.QtCore import QItemSelectionModel, Qt
from PySide6.QtWidgets import QApplication, QDoubleSpinBox, QLabel, QLineEdit, QMenu, QPushButton

from app import places
from app.pages.library import LibraryPage
from app.widgets.tool_dialog import ToolDialog
from app.widgets.tool_resize import ResizeForm
from tests.app.run_folders import make_run
from tests.app.tool_files import changes, ranks_of, saying, script, write_lora, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from app.main_window import MainWindow

WAIT = 20_000
LONG = 120_000  # for the real sub-command, which imports torch


@pytest.fixture
def loras() -> list[Path]:
    """Three, the last the newest."""
    out = [write_lora(places.exports() / f"{name}.safetensors", rank, seed=rank) for name, rank in (("aurora", 2), ("ink", 3), ("zorblin", 4))]  # fmt: skip
    for i, path in enumerate(out):
        os.utime(path, (1.7e9 + i, 1.7e9 + i))
    return out


@pytest.fixture
def page(qtbot: QtBot) -> Iterator[LibraryPage]:
    out = LibraryPage()
    qtbot.addWidget(out)
    out.resize(1150, 620)
    out.show()
    yield out
    for dialog in out.findChildren(ToolDialog):
        dialog.task.finish()
        dialog.form.wait(10)
        dialog.close()
    out._worker.wait(10)
    out.detail._reader.wait(10)


def fill(page: LibraryPage, qtbot: QtBot, count: int) -> None:
    page.refresh()
    qtbot.waitUntil(lambda: page.model.rowCount() == count, timeout=WAIT)


def click(page: LibraryPage, qtbot: QtBot, path: Path, keys: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:  # fmt: skip
    index = page.shown.index(page.shown.row_of(path), 0)
    at = page.view.visualRect(index).center()
    qtbot.mouseClick(page.view.viewport(), Qt.MouseButton.LeftButton, keys, at)


def choose(page: LibraryPage, qtbot: QtBot, *paths: Path) -> None:
    for i, path in enumerate(paths):
        click(page, qtbot, path, Qt.KeyboardModifier.ControlModifier if i else Qt.KeyboardModifier.NoModifier)


def press(qtbot: QtBot, button: QPushButton) -> None:
    assert button.isVisible() and button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def open_dialog(page: LibraryPage) -> ToolDialog:
    found = [dialog for dialog in page.findChildren(ToolDialog) if dialog.isVisible()]
    assert len(found) == 1 and found[0].isModal()
    return found[0]


def offered(menu: QMenu) -> list[str]:
    return [action.text() for action in menu.actions() if action.isEnabled() and not action.isSeparator()]


ALL = ["Resize…", "Convert…", "Merge with another…", "Bake into a model…", "Extract from two models…"]
SEVERAL = ["Merge…", "Bake into a model…", "Extract from two models…"]


def test_several_are_chosen_with_control_and_shift(page: LibraryPage, qtbot: QtBot, loras: list[Path]) -> None:
    fill(page, qtbot, 3)
    click(page, qtbot, loras[2])
    assert page.detail.isVisible() and not page.selection.isVisible()
    click(page, qtbot, loras[0], Qt.KeyboardModifier.ShiftModifier)
    assert [entry.path for entry in page.chosen] == [loras[2], loras[1], loras[0]]
    assert page.selection.isVisible() and not page.detail.isVisible()
    assert page.selection.findChild(QLabel, "selection_title").text() == "3 LoRA files"
    click(page, qtbot, loras[1], Qt.KeyboardModifier.ControlModifier)
    assert page.selection.findChild(QPushButton, "selection_merge").text() == "Merge 2 LoRAs…"
    fill(page, qtbot, 3)
    page._worker.wait(10)
    write_lora(places.exports() / "new.safetensors")
    fill(page, qtbot, 4)
    assert {entry.path for entry in page.chosen} == {loras[0], loras[2]}, "a refresh keeps them"
    click(page, qtbot, loras[1])
    assert page.detail.isVisible() and page.detail.entry is not None and page.detail.entry.path == loras[1]


def test_the_menus_offer_what_fits_to_what_is_chosen(page: LibraryPage, qtbot: QtBot, loras: list[Path]) -> None:
    fill(page, qtbot, 3)
    click(page, qtbot, loras[0])
    assert page.detail.tools.isVisible()
    for button in (page.detail.tools, page.tools_button):
        assert offered(button.menu()) == ALL
    choose(page, qtbot, loras[0], loras[1])
    assert offered(page.tools_button.menu()) == SEVERAL
    seen: list[list[str]] = []

    def look() -> None:
        menu = QApplication.activePopupWidget()
        assert isinstance(menu, QMenu)
        seen.append(offered(menu))
        menu.close()

    page.view.customContextMenuRequested.emit(page.view.visualRect(page.shown.index(0, 0)).center())
    qtbot.waitUntil(lambda: QApplication.activePopupWidget() is not None, timeout=WAIT)
    look()
    assert seen == [SEVERAL] and [entry.path for entry in page.chosen] == [loras[1], loras[0]]


def test_runs_and_an_empty_library_offer_what_needs_no_file(page: LibraryPage, qtbot: QtBot) -> None:
    assert offered(page.tools_button.menu()) == ALL[2:]
    make_run(places.runs())
    fill(page, qtbot, 1)
    qtbot.waitUntil(page.detail.isVisible, timeout=WAIT)
    assert offered(page.tools_button.menu()) == ALL[2:] and not page.detail.tools.isVisible()
    page.bench.actions["merge"].trigger()
    assert open_dialog(page).form.sources() == []


def test_runs_among_the_chosen_are_left_aside(page: LibraryPage, qtbot: QtBot, loras: list[Path]) -> None:
    run = make_run(places.runs())
    fill(page, qtbot, 4)
    choose(page, qtbot, run.path, loras[0])
    assert page.selection.findChild(QLabel, "selection_title").text() == "2 chosen"
    assert page.selection.findChild(QLabel, "selection_about").text().startswith("Only LoRA files can be merged")
    press(qtbot, page.selection.findChild(QPushButton, "selection_bake"))
    assert open_dialog(page).form.sources() == [loras[0]]


@pytest.mark.parametrize(("key", "name"), [("R", "resize"), ("C", "convert"), ("M", "merge"), ("B", "bake"), ("E", "extract")])  # fmt: skip
def test_each_tool_has_its_keys(key: str, name: str, page: LibraryPage, qtbot: QtBot, loras: list[Path]) -> None:
    fill(page, qtbot, 3)
    click(page, qtbot, loras[0])
    page.activateWindow()
    page.view.setFocus()
    qtbot.keyClick(page.view, getattr(Qt.Key, f"Key_{key}"), Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)  # fmt: skip
    dialog = open_dialog(page)
    assert dialog.objectName() == f"tool_{name}" and dialog.windowTitle() and dialog.form.explanation.endswith(".")
    assert dialog.focusWidget() is dialog.form.first_field()
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert not dialog.isVisible()


def test_the_keyboard_chooses_several_and_enter_merges_them(page: LibraryPage, qtbot: QtBot, loras: list[Path]) -> None:
    fill(page, qtbot, 3)
    click(page, qtbot, loras[2])
    qtbot.keyClick(page.view, Qt.Key.Key_Right, Qt.KeyboardModifier.ShiftModifier)
    assert len(page.chosen) == 2
    page.view.activated.emit(page.view.currentIndex())
    assert open_dialog(page).form.sources() == [loras[2], loras[1]]


def test_a_tool_opened_again_for_the_same_files_is_as_it_was_left(page: LibraryPage, qtbot: QtBot, loras: list[Path]) -> None:  # fmt: skip
    fill(page, qtbot, 3)
    click(page, qtbot, loras[2])
    page.bench.actions["resize"].trigger()
    first = open_dialog(page)
    assert isinstance(first.form, ResizeForm)
    qtbot.waitUntil(first.start_button.isEnabled, timeout=WAIT)
    first.form.choice.by_share.setChecked(True)
    first.command = script(saying(type="failed", message="No."))
    with qtbot.waitSignal(first.task.failed, timeout=WAIT):
        press(qtbot, first.start_button)
    first.reject()
    page.bench.actions["resize"].trigger()
    assert open_dialog(page) is first and first.form.choice.rank is None
    first.reject()
    click(page, qtbot, loras[0])
    page.bench.actions["resize"].trigger()
    second = open_dialog(page)
    assert second is not first and second.form.sources() == [loras[0]]
    qtbot.waitUntil(second.start_button.isEnabled, timeout=WAIT)
    second.command = script(saying(type="done", path=str(loras[1]), sentence="Done."))
    with qtbot.waitSignal(second.made, timeout=WAIT):
        press(qtbot, second.start_button)
    second.accept()
    page.select(loras[0])
    page.bench.actions["resize"].trigger()
    assert open_dialog(page) is not second, "what is done begins anew"


def test_a_real_merge_from_the_first_click_to_the_new_card(
    page: LibraryPage, qtbot: QtBot, loras: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sub-command itself works; the new file holds the weighted sum, and is listed and chosen though a search hid it."""
    fill(page, qtbot, 3)
    qtbot.keyClicks(page.search, "o")  # "ink" is out of sight
    choose(page, qtbot, loras[2], loras[0])
    press(qtbot, page.selection.findChild(QPushButton, "selection_merge"))
    dialog = open_dialog(page)
    qtbot.waitUntil(dialog.start_button.isEnabled, timeout=WAIT)
    assert "rank 4 + 2 = 6" in dialog.findChild(QLabel, "tool_standing").text()
    dialog.findChildren(QDoubleSpinBox, "tool_weight")[1].setValue(-0.5)
    name = dialog.findChild(QLineEdit, "tool_name")
    name.selectAll()
    qtbot.keyClicks(name, "Mix 1")
    with qtbot.waitSignal(dialog.made, timeout=LONG):
        press(qtbot, dialog.start_button)
    path = places.exports() / "Mix_1.safetensors"
    assert str(path) in dialog.findChild(QLabel, "tool_done").text().replace("\u200b", "")
    assert ranks_of(path) == {6}
    zorblin, aurora, merged = changes(loras[2]), changes(loras[0]), changes(path)
    for stem, found in merged.items():
        numpy.testing.assert_allclose(found, zorblin[stem] - 0.5 * aurora[stem], atol=2e-4)
    qtbot.waitUntil(lambda: page.detail.entry is not None and page.detail.entry.path == path, timeout=WAIT)
    assert page.detail.entry is not None and page.detail.entry.title == "Mix 1"
    with qtbot.waitSignal(page.trainFurther) as further:
        press(qtbot, dialog.findChild(QPushButton, "tool_use"))
    assert further.args == [path]
    page.search.setText("mix")
    assert page.view.selectionModel().isSelected(page.shown.index(0, 0)) and len(page.chosen) == 1


def test_a_new_file_is_seen_though_a_search_would_hide_it(page: LibraryPage, qtbot: QtBot, loras: list[Path], tmp_path: Path) -> None:  # fmt: skip
    fill(page, qtbot, 3)
    qtbot.keyClicks(page.search, "ink")
    page.view.selectionModel().select(page.shown.index(0, 0), QItemSelectionModel.SelectionFlag.Select)
    new = write_lora(tmp_path / "elsewhere.safetensors")
    page.bench.made.emit(new, False)
    qtbot.waitUntil(lambda: page.detail.entry is not None and page.detail.entry.path == new, timeout=WAIT)
    assert page.search.text() == "" and page.shown.rowCount() == 4
    assert page.detail.entry is not None and page.detail.entry.added, "it lies elsewhere"


def test_a_baked_model_can_be_used_and_is_no_card(page: LibraryPage, qtbot: QtBot, loras: list[Path], tmp_path: Path) -> None:  # fmt: skip
    fill(page, qtbot, 3)
    page.bench.made.emit(tmp_path / "model.safetensors", True)
    with qtbot.waitSignal(page.useBase) as used:
        page.bench.useWanted.emit(tmp_path / "model.safetensors", True)
    assert used.args == [tmp_path / "model.safetensors"]
    fill(page, qtbot, 3)


def test_the_window_trains_on_a_baked_model_next(window: MainWindow, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.safetensors", "sd1")
    window.library.bench.useWanted.emit(path, True)
    assert window.banner.text.startswith("model.safetensors will be the base model of the next project.")
    window.do.open_demo()
    window.library.bench.useWanted.emit(path, True)
    assert window.project.value("base") == str(path)
