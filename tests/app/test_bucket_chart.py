"""The chart of training sizes: true counts, and a click selects the pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QLabel, QPushButton

from app.pictures import Pictures
from app.widgets.bucket_chart import BucketChart
from tests.app.data_sets import folder_fixture, project_fixture  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from app.project import Project


@pytest.fixture
def pictures(qtbot: QtBot, project: Project, folder: Path) -> Iterator[Pictures]:
    """The demo's, and two that are so long that much is cropped."""
    Image.new("RGB", (600, 100)).save(folder / "17.png")
    Image.new("RGB", (100, 620)).save(folder / "18.png")
    out = Pictures(project)
    with qtbot.waitSignal(out.scanned, timeout=10_000):
        out.rescan()
    yield out
    project.save()


@pytest.fixture
def chart(qtbot: QtBot, pictures: Pictures) -> BucketChart:
    widget = BucketChart(pictures)
    qtbot.addWidget(widget)
    widget.resize(240, 400)
    with qtbot.waitExposed(widget):
        widget.show()
    return widget


def sentence(chart: BucketChart) -> str:
    return chart.findChild(QLabel, "crop_sentence").text()


def test_each_size_has_its_pictures_the_fullest_first(chart: BucketChart) -> None:
    rows = [(b.size, len(b.indexes)) for b in chart.bars.buckets]
    assert rows[0] == ((128, 128), 16)
    assert sorted(rows[1:]) == [((64, 256), 1), ((256, 64), 1)]
    assert chart.bars.buckets[0].sentence == "16 pictures trained at 128 × 128 px"
    assert "1 picture trained at 256 × 64 px; 33 % cropped on average" in chart.bars.accessibleDescription()


def test_what_is_cropped_is_told_and_can_be_shown(qtbot: QtBot, chart: BucketChart, pictures: Pictures) -> None:
    assert sentence(chart) == "2 of 18 pictures lose more than a tenth by cropping."
    with qtbot.waitSignal(chart.picturesChosen, check_params_cb=lambda chosen: chosen == [16, 17]):
        qtbot.mouseClick(chart.findChild(QPushButton, "show_cropped"), Qt.MouseButton.LeftButton)
    pictures.set_included([16], False)
    assert sentence(chart) == "1 of 17 pictures loses more than a tenth by cropping."
    pictures.set_included([17], False)
    assert sentence(chart) == "No picture loses more than a tenth by cropping."
    assert not chart.findChild(QPushButton, "show_cropped").isVisible()


def test_a_click_or_enter_on_a_row_selects_its_pictures(qtbot: QtBot, chart: BucketChart) -> None:
    chosen: list[list[int]] = []
    chart.picturesChosen.connect(chosen.append)
    qtbot.mouseClick(chart.bars, Qt.MouseButton.LeftButton, pos=QPoint(20, chart.bars.row_height // 2))
    qtbot.keyClick(chart.bars, Qt.Key.Key_Down)
    qtbot.keyClick(chart.bars, Qt.Key.Key_Return)
    qtbot.mouseClick(chart.bars, Qt.MouseButton.LeftButton, pos=QPoint(20, chart.bars.row_height * 3 + 5))
    assert chosen == [list(range(16)), list(chart.bars.buckets[1].indexes)]


def test_another_resolution_gives_other_sizes(
    qtbot: QtBot, chart: BucketChart, pictures: Pictures, project: Project
) -> None:
    with qtbot.waitSignal(pictures.fitsChanged, timeout=10_000):
        project.set("resolution", 192)
    assert chart.bars.buckets[0].size == (192, 192)


def test_without_pictures_it_says_so(qtbot: QtBot, chart: BucketChart, pictures: Pictures) -> None:
    pictures.set_included(range(18), False)
    assert sentence(chart) == "No pictures yet." and chart.bars.buckets == []
