from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QLabel, QLineEdit, QPushButton, QToolButton

from app.widgets import log_drawer
from app.widgets.log_drawer import LogDrawer

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.txt"
    path.write_text("first line\nsecond Line\n", encoding="utf-8")
    return path


@pytest.fixture
def drawer(qtbot: QtBot, log: Path) -> LogDrawer:
    out = LogDrawer()
    qtbot.addWidget(out)
    out.resize(700, 300)
    out.set_path(log)
    out.show()
    return out


def click_head(drawer: LogDrawer, qtbot: QtBot) -> None:
    qtbot.mouseClick(drawer.findChild(QToolButton, "log_head"), Qt.MouseButton.LeftButton)


def hint(drawer: LogDrawer) -> str:
    return drawer.findChild(QLabel, "log_hint").text()


def test_a_closed_drawer_reads_nothing(drawer: LogDrawer, qtbot: QtBot) -> None:
    assert not drawer.is_open and drawer.text() == "" and not drawer._timer.isActive()
    with qtbot.waitSignal(drawer.toggled):
        click_head(drawer, qtbot)
    assert drawer.is_open and drawer.text() == "first line\nsecond Line\n"
    click_head(drawer, qtbot)
    assert not drawer._timer.isActive()


def test_what_is_added_is_shown_also_half_characters(drawer: LogDrawer, qtbot: QtBot, log: Path) -> None:
    click_head(drawer, qtbot)
    with log.open("ab") as file:
        file.write("ü".encode()[:1])
        file.flush()
        drawer.read_more()
        file.write("ü".encode()[1:] + b" at last\r\nprogress\rbar\n")
    qtbot.waitUntil(lambda: drawer.text().endswith("ü at last\nprogress\nbar\n"), timeout=3000)


def test_of_a_huge_log_only_the_end_is_read_and_in_pieces(
    drawer: LogDrawer, qtbot: QtBot, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_drawer, "FIRST_BYTES", 5_000)
    monkeypatch.setattr(log_drawer, "CHUNK_BYTES", 1_000)
    log.write_text("".join(f"line {n:06d}\n" for n in range(10_000)), encoding="utf-8")
    click_head(drawer, qtbot)
    assert len(drawer.text()) <= 1_000, "one piece at a time"
    qtbot.waitUntil(lambda: drawer.text().endswith("line 009999\n"))
    lines = drawer.text().splitlines()
    assert 300 < len(lines) < 420 and all(line.startswith("line ") for line in lines)


def test_a_log_that_is_begun_anew_is_shown_anew(drawer: LogDrawer, qtbot: QtBot, log: Path) -> None:
    click_head(drawer, qtbot)
    log.write_text("new\n", encoding="utf-8")
    drawer.read_more()
    assert drawer.text() == "new\n"


def test_another_run_has_another_log(drawer: LogDrawer, qtbot: QtBot, tmp_path: Path) -> None:
    click_head(drawer, qtbot)
    drawer.set_path(tmp_path / "missing.txt")
    assert drawer.text() == "" and hint(drawer) == "Nothing has been written yet"
    (tmp_path / "missing.txt").write_text("here\n")
    drawer.read_more()
    assert drawer.text() == "here\n" and hint(drawer) == ""
    drawer.set_path(None)
    assert drawer.text() == ""


def test_a_log_that_cannot_be_read_is_told(drawer: LogDrawer, qtbot: QtBot, tmp_path: Path) -> None:
    click_head(drawer, qtbot)
    drawer.set_path(tmp_path)
    assert hint(drawer).startswith("The log cannot be read: ")


def test_search_goes_round(drawer: LogDrawer, qtbot: QtBot) -> None:
    click_head(drawer, qtbot)
    search = drawer.findChild(QLineEdit, "log_search")
    qtbot.keyClicks(search, "line")
    found = []
    for _ in range(3):
        qtbot.keyClick(search, Qt.Key.Key_Return)
        found.append(drawer._text.textCursor().blockNumber())
    assert found == [0, 1, 0]
    qtbot.keyClick(search, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    assert drawer._text.textCursor().blockNumber() == 1
    search.clear()
    qtbot.keyClicks(search, "absent")
    qtbot.keyClick(search, Qt.Key.Key_Return)
    assert hint(drawer) == "“absent” is not in the log"
    qtbot.keyClick(search, Qt.Key.Key_Escape)
    assert not drawer.is_open


def test_copy_takes_the_marked_text_or_all(drawer: LogDrawer, qtbot: QtBot) -> None:
    click_head(drawer, qtbot)
    copy = drawer.findChild(QPushButton, "log_copy")
    qtbot.mouseClick(copy, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "first line\nsecond Line\n" and hint(drawer) == "Copied"
    drawer._search.setText("second")
    drawer.search()
    qtbot.mouseClick(copy, Qt.MouseButton.LeftButton)
    assert QGuiApplication.clipboard().text() == "second"


def test_open_hands_the_file_to_the_editor(
    drawer: LogDrawer, qtbot: QtBot, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def open_url(url: QUrl) -> bool:
        opened.append(url.toLocalFile())
        return len(opened) == 1

    monkeypatch.setattr(QDesktopServices, "openUrl", open_url)
    click_head(drawer, qtbot)
    button = drawer.findChild(QPushButton, "log_open")
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert opened == [str(log)] and hint(drawer) == ""
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert hint(drawer) == f"The log cannot be opened; it is {log}"


def test_the_view_follows_the_end_unless_the_user_looks_back(drawer: LogDrawer, qtbot: QtBot, log: Path) -> None:
    log.write_text("line\n" * 200)
    click_head(drawer, qtbot)
    bar = drawer._text.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 100)
    drawer._append("more\n")
    assert bar.value() == bar.maximum()
    bar.setValue(10)
    drawer._append("more\n" * 10)
    assert bar.value() == 10
