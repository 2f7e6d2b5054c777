"""The library page as a person uses it: search, choose, and do something with what is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QApplication, QFileDialog, QLabel, QMessageBox, QPushButton, QToolButton, QWidget

from app import library_details, places, theme
from app.pages.library import LibraryPage
from app.widgets.library_model import ENTRY_ROLE, LibraryFilter, LibraryModel
from tests.app.run_folders import make_lora, make_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytestqt.modeltest import ModelTester
    from pytestqt.qtbot import QtBot

    from trainer.run_folder import RunFolder

WAIT = 20_000


@pytest.fixture
def run() -> RunFolder:
    return make_run(places.runs())


@pytest.fixture
def page(qtbot: QtBot) -> Iterator[LibraryPage]:
    out = LibraryPage()
    qtbot.addWidget(out)
    out.resize(1150, 620)
    out.show()
    yield out
    out._worker.wait(10)
    out.detail._reader.wait(10)


def fill(page: LibraryPage, qtbot: QtBot, count: int) -> None:
    """Refreshes until so many entries are there."""
    page.refresh()
    qtbot.waitUntil(
        lambda: page.model.rowCount() == count and page._layers.currentIndex() == (1 if count else 0), timeout=WAIT
    )


def press(qtbot: QtBot, page: LibraryPage, name: str) -> None:
    button = page.findChild(QPushButton, name) or page.findChild(QToolButton, name)
    assert button.isVisible() and button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def visible_buttons(page: LibraryPage) -> set[str]:
    return {b.objectName() for b in page.detail.findChildren(QPushButton) if b.isVisible()}


def titles(page: LibraryPage) -> list[str]:
    return [page.shown.index(row, 0).data() for row in range(page.shown.rowCount())]


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


def test_an_empty_library_says_what_will_be_there(page: LibraryPage, qtbot: QtBot) -> None:
    page.refresh()
    qtbot.waitUntil(lambda: page._message.text == "Your runs and LoRA files will be here", timeout=WAIT)
    assert not page.detail.isVisible()


def test_the_models_keep_the_rules_of_models(run: RunFolder, qtmodeltester: ModelTester) -> None:
    from app import library

    model = LibraryModel()
    filtered = LibraryFilter(model)
    make_lora(places.exports() / "a.safetensors")
    model.set_entries(library.scan())
    qtmodeltester.check(model)
    qtmodeltester.check(filtered)
    assert model.index(0).data(Qt.ItemDataRole.AccessibleTextRole)
    entries = model.entries
    model.set_entries(entries)
    model.set_entries(entries[:1])
    filtered.show_kind(entries[0].kind)
    assert filtered.rowCount() == 1 and filtered.row_of(entries[0].path) == 0 and filtered.row_of(Path("/x")) == -1


def test_search_and_kind_narrow_the_list(page: LibraryPage, qtbot: QtBot, run: RunFolder) -> None:
    make_lora(
        places.exports() / "a.safetensors", **{"modelspec.title": "Aurora", "modelspec.trigger_phrase": "arr style"}
    )
    fill(page, qtbot, 2)
    qtbot.keyClicks(page.search, "ARR")
    assert titles(page) == ["Aurora"] and page.detail.entry is not None and page.detail.entry.title == "Aurora"
    qtbot.keyClicks(page.search, "qq")
    assert titles(page) == [] and page._message.text == "Nothing matches" and not page.detail.isVisible()
    page.search.clear()
    press(qtbot, page, "library_runs")
    assert titles(page) == ["zorblin"]
    press(qtbot, page, "library_loras")
    assert titles(page) == ["Aurora"]
    press(qtbot, page, "library_all")
    assert sorted(titles(page)) == ["Aurora", "zorblin"] and page.detail.isVisible()


def test_a_finished_run_shows_its_results_first(page: LibraryPage, qtbot: QtBot, run: RunFolder) -> None:
    fill(page, qtbot, 1)
    assert visible_buttons(page) == {"detail_results", "detail_settings", "detail_folder", "detail_remove"}
    with qtbot.waitSignal(page.showResults) as shown:
        press(qtbot, page, "detail_results")
    assert shown.args == [run]
    with qtbot.waitSignal(page.showResults):
        page.view.activated.emit(page.view.currentIndex())


def test_a_run_that_was_cut_off_can_be_continued(page: LibraryPage, qtbot: QtBot) -> None:
    folder = make_run(places.runs(), ending="failed")
    fill(page, qtbot, 1)
    button = page.findChild(QPushButton, "detail_continue")
    assert button.isVisible() and button.text() == "Continue from step 20"
    with qtbot.waitSignal(page.continueRun) as wanted:
        press(qtbot, page, "detail_continue")
    assert wanted.args == [folder]


def test_a_run_at_work_can_neither_be_continued_nor_deleted(page: LibraryPage, qtbot: QtBot) -> None:
    folder = make_run(places.runs(), ending="")
    with folder.locked():
        fill(page, qtbot, 1)
        assert "detail_continue" not in visible_buttons(page)
        assert not page.findChild(QPushButton, "detail_remove").isEnabled()


def test_settings_are_handed_over_with_the_title(page: LibraryPage, qtbot: QtBot, run: RunFolder) -> None:
    fill(page, qtbot, 1)
    with qtbot.waitSignal(page.useSettings) as used:
        press(qtbot, page, "detail_settings")
    values, title = used.args
    assert title == "zorblin" and values["rank"] == 8 and values["previews"][0]["prompt"] == "zorblin, meadow"


def test_settings_that_have_gone_missing_are_told(page: LibraryPage, qtbot: QtBot, run: RunFolder) -> None:
    fill(page, qtbot, 1)
    run.settings_path.unlink()
    press(qtbot, page, "detail_settings")
    assert page._problem.isVisible() and "There is no run file" in page._problem.text()


def test_a_lora_file_tells_its_metadata_and_can_be_trained_further(page: LibraryPage, qtbot: QtBot) -> None:
    path = make_lora(places.exports() / "a.safetensors")
    fill(page, qtbot, 1)
    assert visible_buttons(page) == {
        "detail_further",
        "detail_settings",
        "detail_tools",
        "detail_folder",
        "detail_remove",
    }
    qtbot.waitUntil(
        lambda: any(label.text() == "AutoV2 (whole file)" for label in page.detail.findChildren(QLabel)), timeout=WAIT
    )
    with qtbot.waitSignal(page.trainFurther) as further:
        press(qtbot, page, "detail_further")
    assert further.args == [path]
    press(qtbot, page, "detail_copy_trigger")
    assert QGuiApplication.clipboard().text() == "zorblin"


def test_a_lora_file_of_a_run_leads_to_its_results(page: LibraryPage, qtbot: QtBot, run: RunFolder) -> None:
    path = make_lora(run.export / "zorblin.safetensors")
    fill(page, qtbot, 2)
    page.select(path)
    with qtbot.waitSignal(page.showResults) as shown:
        press(qtbot, page, "detail_results")
    assert shown.args == [run]


def test_a_file_that_cannot_be_read_says_why(page: LibraryPage, qtbot: QtBot) -> None:
    places.exports().mkdir(parents=True)
    (places.exports() / "bad.safetensors").write_bytes(b"nonsense!!")
    fill(page, qtbot, 1)
    assert "is not a .safetensors file" in page.findChild(QLabel, "detail_problem").text()
    assert visible_buttons(page) == {"detail_folder", "detail_remove"}


def test_the_folder_is_opened(page: LibraryPage, qtbot: QtBot, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    fill(page, qtbot, 1)
    press(qtbot, page, "detail_folder")
    assert opened == [str(run.path)]


@pytest.mark.parametrize(("button", "goes"), [("confirm_yes", True), ("confirm_cancel", False)])
def test_deleting_asks_and_goes_through_the_trash(
    button: str,
    goes: bool,
    page: LibraryPage,
    qtbot: QtBot,
    run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def trash(path: str) -> bool:
        Path(path).rename(tmp_path / "trash")
        return True

    monkeypatch.setattr(library_details, "_move_to_trash", trash)
    fill(page, qtbot, 1)
    heard = answer(qtbot, button)
    press(qtbot, page, "detail_remove")
    assert heard[0].startswith("Delete “zorblin”?") and str(run.path) in heard[0]
    if goes:
        qtbot.waitUntil(lambda: page.model.rowCount() == 0, timeout=WAIT)
        assert (tmp_path / "trash" / "run.toml").exists() and not page.detail.isVisible()
    else:
        page._worker.wait(10)
        assert run.path.exists() and page.model.rowCount() == 1


def test_a_trash_that_refuses_is_told(
    page: LibraryPage, qtbot: QtBot, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_details, "_move_to_trash", lambda path: False)
    fill(page, qtbot, 1)
    answer(qtbot, "confirm_yes")
    press(qtbot, page, "detail_remove")
    qtbot.waitUntil(lambda: page._problem.isVisible(), timeout=WAIT)
    assert "could not be moved to the trash" in page._problem.text() and run.path.exists()


def test_a_file_from_elsewhere_is_added_and_taken_off_again(
    page: LibraryPage, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_lora(tmp_path / "x.safetensors")
    make_lora(places.exports() / "a.safetensors")
    fill(page, qtbot, 1)
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *a: ([str(path)], ""))
    press(qtbot, page, "library_add")
    qtbot.waitUntil(lambda: page.detail.entry is not None and page.detail.entry.path == path, timeout=WAIT)
    assert page.findChild(QPushButton, "detail_remove").text() == "Take off the list"
    press(qtbot, page, "detail_remove")
    qtbot.waitUntil(lambda: page.model.rowCount() == 1, timeout=WAIT)
    assert path.exists()


def test_adding_what_is_no_lora_is_told(
    page: LibraryPage, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"nonsense!!")
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *a: ([str(tmp_path / "x.safetensors")], ""))
    press(qtbot, page, "library_add")
    qtbot.waitUntil(lambda: page._problem.isVisible(), timeout=WAIT)
    assert "x.safetensors is not a .safetensors file" in page._problem.text()


def test_a_refresh_keeps_what_is_chosen(page: LibraryPage, qtbot: QtBot, run: RunFolder) -> None:
    first = make_lora(places.exports() / "a.safetensors")
    fill(page, qtbot, 2)
    page.select(run.path)
    make_lora(places.exports() / "b.safetensors")
    fill(page, qtbot, 3)
    assert page.view.currentIndex().data(ENTRY_ROLE).path == page.detail.entry.path == run.path  # type: ignore[union-attr]
    first.unlink()
    fill(page, qtbot, 2)
    assert page.detail.entry is not None and page.detail.entry.path == run.path


def test_the_keyboard_walks_through_the_cards(page: LibraryPage, qtbot: QtBot) -> None:
    for name in "abc":
        make_lora(places.exports() / f"{name}.safetensors")
    fill(page, qtbot, 3)
    page.view.setFocus()
    before: Any = page.detail.entry
    qtbot.keyClick(page.view, Qt.Key.Key_Right)
    assert page.detail.entry != before and page.view.currentIndex().row() == 1


def test_the_page_fits_at_150_percent(qtbot: QtBot, run: RunFolder, qapp: QApplication) -> None:
    font = qapp.font()
    large = qapp.font()
    large.setPointSizeF(font.pointSizeF() * 1.5)
    qapp.setFont(large)
    try:
        page = LibraryPage()
        qtbot.addWidget(page)
        page.resize(1150, 620)
        page.show()
        fill(page, qtbot, 1)
        assert page.width() == 1150, "nothing is wider than the window"
        assert page.rect().contains(page.detail.geometry())
        page._worker.wait(10)
        page.detail._reader.wait(10)
    finally:
        qapp.setFont(font)


def test_the_theme_changes_under_the_page(page: LibraryPage, qtbot: QtBot, run: RunFolder, qapp: QApplication) -> None:
    """No widget may come or go while the style is set anew: Qt walks over all of them then, and crashed."""
    fill(page, qtbot, 1)
    children = len(page.findChildren(QWidget))
    for scheme in ("dark", "light") * 5:
        theme.apply(qapp, scheme)
        assert len(page.findChildren(QWidget)) == children
