"""The data set doctor in the window: a real examination, its cards, repairs at a click and their undo."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton

from app.checkup import Checkup
from app.pages.dataset import DatasetPage
from app.pictures import Pictures
from app.project import Project
from tests.conftest import draw_pictures
from trainer.doctor_findings import Report, finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from app.widgets.checkup_panel import CheckupPanel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures, one of them twice, one without a caption, one with a wrong ending."""
    path = draw_pictures(tmp_path / "pictures", count=6)
    shutil.copy(path / "0.png", path / "again.png")
    shutil.copy(path / "0.txt", path / "again.txt")
    (path / "1.txt").unlink()
    (path / "2.png").rename(path / "2.jpg")
    return path


@pytest.fixture
def page(folder: Path, qtbot: QtBot) -> Iterator[DatasetPage]:
    project = Project()
    project.create("test", {"data": str(folder), "trigger": "zorblin"})
    pictures = Pictures(project)
    qtbot.waitUntil(lambda: len(pictures.items) == 7)
    widget = DatasetPage(project, pictures, Checkup(project, pictures))
    qtbot.addWidget(widget)
    widget.resize(1150, 620)
    widget.show()
    yield widget
    widget.close_down()
    pictures.finish_writing(5)


def examined(page: DatasetPage, qtbot: QtBot) -> CheckupPanel:
    assert page.doctor is not None and page._checkup is not None
    qtbot.waitUntil(lambda: not page._pictures.scanning)
    with qtbot.waitSignal(page._checkup.changed, timeout=60_000, check_params_cb=None):
        page._checkup.start()
    checkup = page._checkup
    qtbot.waitUntil(lambda: not checkup.is_running, timeout=120_000)
    qtbot.waitUntil(lambda: checkup.report is not None)
    return page.doctor


def button(panel: CheckupPanel, kind: str, name: str) -> QPushButton:
    card = next(card for card in panel.cards if card.found.kind == kind)
    found = card.findChild(QPushButton, name)
    assert isinstance(found, QPushButton)
    return found


def test_what_is_wrong_is_shown_and_mended_at_a_click(page: DatasetPage, folder: Path, qtbot: QtBot) -> None:
    panel = examined(page, qtbot)
    kinds = [card.found.kind for card in panel.cards]
    assert {"exact_duplicate", "missing_caption", "wrong_extension"} <= set(kinds)
    checkup, pictures = page._checkup, page._pictures
    assert checkup is not None and checkup.is_current

    qtbot.mouseClick(button(panel, "missing_caption", "finding_show"), Qt.MouseButton.LeftButton)
    assert [pictures.items[i].picture.path.name for i in page.grid.selected()] == ["1.png"]

    with qtbot.waitSignal(checkup.mended, timeout=20_000):
        qtbot.mouseClick(button(panel, "exact_duplicate", "finding_mend"), Qt.MouseButton.LeftButton)
    assert pictures.included_count == 6 and (folder / "again.png").is_file()
    undo = panel.findChild(QPushButton, "checkup_note_button")
    assert isinstance(undo, QPushButton) and undo.isVisibleTo(panel)
    undo.click()
    assert pictures.included_count == 7

    with qtbot.waitSignal(checkup.mended, timeout=20_000):
        button(panel, "missing_caption", "finding_mend").click()
    qtbot.waitUntil((folder / "1.txt").is_file)
    assert (folder / "1.txt").read_text() == "zorblin"
    undo.click()
    qtbot.waitUntil(lambda: not (folder / "1.txt").is_file() or not (folder / "1.txt").read_text())

    with qtbot.waitSignal(checkup.mended, timeout=20_000):
        button(panel, "wrong_extension", "finding_mend").click()
    assert not (folder / "2.jpg").exists() and (folder / "2.png").is_file()
    with qtbot.waitSignal(checkup.mended, timeout=20_000):
        undo.click()
    assert (folder / "2.jpg").is_file()


def made(qtbot: QtBot, page: DatasetPage) -> tuple[CheckupPanel, Checkup]:
    assert page.doctor is not None and page._checkup is not None
    return page.doctor, page._checkup


def test_nothing_wrong_is_said_too(page: DatasetPage, qtbot: QtBot) -> None:
    panel, checkup = made(qtbot, page)
    counts: list[int] = []
    panel.countChanged.connect(counts.append)
    checkup.report = Report((finding("blurred", "They are soft.", ("1.png",)), finding("rotated", "x")), 7)
    checkup.changed.emit()
    assert counts == [1] and len(panel.cards) == 2  # what is only good to know does not call
    checkup.report = Report((), 7)
    checkup.changed.emit()
    assert counts == [1, 0] and panel.cards == []
    assert panel._headline.text() == "7 pictures: nothing to complain about."


def test_a_failure_is_said_and_looking_again_is_possible(page: DatasetPage, qtbot: QtBot) -> None:
    panel, checkup = made(qtbot, page)
    checkup.failed.emit("The folder is gone.")
    assert panel._note.isVisibleTo(panel)
    assert panel._button.text() == "Look again"


def test_a_change_makes_the_report_old(page: DatasetPage, qtbot: QtBot) -> None:
    _, checkup = made(qtbot, page)
    checkup.report, checkup._stale = Report((), 7), False
    assert checkup.is_current
    page._project.set("name", "other")
    assert checkup.is_current  # the name is nothing to the pictures
    page._project.set("trigger", "blix")
    assert not checkup.is_current


def test_a_large_report_stays_short(page: DatasetPage, qtbot: QtBot) -> None:
    panel, checkup = made(qtbot, page)
    checkup.report = Report(tuple(finding("tag_spelling", "x", ("1.png",), tag=f"t{i}") for i in range(100)), 7)
    checkup.changed.emit()
    assert len(panel.cards) == 60


def test_leaving_out_every_picture_is_not_offered(page: DatasetPage, qtbot: QtBot) -> None:
    panel, checkup = made(qtbot, page)
    some, all_ = ("1.png",), tuple(item.picture.key for item in page._pictures.items)
    checkup.report = Report((finding("blurred", "x", some), finding("small", "x", all_)), 7)
    checkup.changed.emit()
    assert [card.mend_button.isVisibleTo(panel) for card in panel.cards] == [True, False]
