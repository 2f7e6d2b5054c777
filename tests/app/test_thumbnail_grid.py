"""The grid of thumbnails: what is shown, selected and left out, with mouse and keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QAction, QContextMenuEvent, QDesktopServices, QRegion, QWheelEvent
from PySide6.QtWidgets import QApplication

from app import theme
from app.pictures import Pictures
from app.project import Project
from app.thumbnails import Thumbnails
from app.widgets.picture_menu import PictureMenu
from app.widgets.thumbnail_grid import PictureListModel, ThumbnailGrid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.modeltest import ModelTester
    from pytestqt.qtbot import QtBot


@pytest.fixture
def listed(qtbot: QtBot, home: Path, pictures: Path) -> Iterator[Pictures]:
    project = Project()
    made = Pictures(project)
    with qtbot.waitSignal(made.scanned):
        project.create("test", {"data": str(pictures), "resolution": 64})
    yield made
    made.finish_writing(10)
    project.close()


@pytest.fixture
def grid(qtbot: QtBot, listed: Pictures) -> Iterator[ThumbnailGrid]:
    thumbnails = Thumbnails()
    made = ThumbnailGrid(listed, thumbnails)
    qtbot.addWidget(made)
    made.resize(640, 480)
    with qtbot.waitExposed(made):
        made.show()
    qtbot.waitUntil(lambda: thumbnails.memory_bytes > 0 and not thumbnails.waiting_count)
    yield made
    thumbnails.close()


def place(grid: ThumbnailGrid, row: int) -> QPoint:
    return grid.visualRect(grid.list_model.index(row)).center()


def click(
    qtbot: QtBot, grid: ThumbnailGrid, row: int, key: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier
) -> None:
    qtbot.mouseClick(grid.viewport(), Qt.MouseButton.LeftButton, key, place(grid, row))


def test_a_selection_paints_anew_what_is_in_sight_of_it(grid: ThumbnailGrid) -> None:
    grid.resize(300, 220)
    for top in (0, grid.verticalScrollBar().maximum() // 3, grid.verticalScrollBar().maximum()):
        grid.verticalScrollBar().setValue(top)
        grid.selectAll()
        region = grid.visualRegionForSelection(grid.selectionModel().selection())
        rects = [grid.visualRect(grid.list_model.index(row)) for row in range(grid.list_model.rowCount())]
        seen = [rect for rect in rects if rect.intersects(grid.viewport().rect())]
        assert 0 < len(seen) < len(rects), "else nothing is out of sight"
        assert all(QRegion(rect).subtracted(region).isEmpty() for rect in seen)
        assert region.boundingRect().height() < 2 * grid.viewport().height() + grid.gridSize().height()
        grid.select([grid.list_model.source_index(rects.index(seen[0]))])
        assert grid.visualRegionForSelection(grid.selectionModel().selection()) == QRegion(seen[0])


def test_the_model_keeps_the_rules_of_models(
    qtbot: QtBot, listed: Pictures, qtmodeltester: ModelTester, pictures: Path
) -> None:
    model = PictureListModel(listed)
    qtmodeltester.check(model)
    model.set_filter(text="number 1")
    listed.set_captions({1: "fox"}, "Edit")
    (pictures / "0.png").unlink()
    with qtbot.waitSignal(listed.scanned):
        listed.rescan()
    assert model.rowCount() == 0


def test_the_filter_looks_at_text_tags_and_problems(listed: Pictures) -> None:
    model = PictureListModel(listed)
    listed.set_captions({0: "", 1: "Red fox, tree"}, "Edit")
    assert model.rowCount() == 6
    model.set_filter(text="RED ")
    assert [model.source_index(r) for r in range(model.rowCount())] == [1]
    model.set_filter(text="4.png")
    assert model.source_index(0) == 4
    model.set_filter(tag="TREE")
    assert (model.rowCount(), model.source_index(0), model.row_of(1), model.row_of(2)) == (1, 1, 0, -1)
    model.set_filter(tag="fox")
    assert model.rowCount() == 0
    model.set_filter(only_problems=True)
    assert [model.source_index(r) for r in range(model.rowCount())] == [0, 1, 2, 4, 5]  # 3 is square and has a caption
    model.set_filter()
    assert model.rowCount() == 6


def test_a_picture_under_edit_does_not_vanish_from_the_filtered_list(listed: Pictures) -> None:
    model = PictureListModel(listed)
    model.set_filter(tag="number 1")
    listed.set_captions({1: "fox"}, "Edit")
    assert model.rowCount() == 1


def test_the_tooltip_says_what_is_wrong(listed: Pictures) -> None:
    model = PictureListModel(listed)
    listed.set_captions({0: ""}, "Edit")
    listed.set_included([0], False)
    text = model.data(model.index(0), Qt.ItemDataRole.ToolTipRole)
    assert "0.png" in text and "64 × 64 px" in text and "It has no caption." in text and "Left out of training." in text
    assert "no caption" in model.data(model.index(0), Qt.ItemDataRole.AccessibleTextRole)


def test_clicks_select_one_several_and_a_range(qtbot: QtBot, grid: ThumbnailGrid) -> None:
    with qtbot.waitSignal(grid.selectionChangedTo) as blocker:
        click(qtbot, grid, 1)
    assert blocker.args == [[1]]
    click(qtbot, grid, 4, Qt.KeyboardModifier.ControlModifier)
    assert grid.selected() == [1, 4]
    click(qtbot, grid, 2)
    click(qtbot, grid, 5, Qt.KeyboardModifier.ShiftModifier)
    assert grid.selected() == [2, 3, 4, 5]
    qtbot.keyClick(grid, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert grid.selected() == [0, 1, 2, 3, 4, 5]


def test_the_keyboard_walks_through_the_grid(qtbot: QtBot, grid: ThumbnailGrid) -> None:
    click(qtbot, grid, 0)
    qtbot.keyClick(grid, Qt.Key.Key_Right)
    assert (grid.selected(), grid.current()) == ([1], 1)
    columns = grid.viewport().width() // grid.gridSize().width()
    qtbot.keyClick(grid, Qt.Key.Key_Down)
    assert grid.selected() == [1 + columns]


def test_delete_leaves_out_and_deletes_no_file(
    qtbot: QtBot, grid: ThumbnailGrid, listed: Pictures, pictures: Path
) -> None:
    grid.select([1, 2])
    qtbot.keyClick(grid, Qt.Key.Key_Delete)
    assert [i.included for i in listed.items] == [True, False, False, True, True, True]
    assert (pictures / "1.png").exists() and (pictures / "1.txt").exists()
    assert grid.selected() == [1, 2]
    grid.set_selected_included(True)
    assert listed.included_count == 6


def test_return_and_a_double_click_activate(qtbot: QtBot, grid: ThumbnailGrid) -> None:
    click(qtbot, grid, 3)
    with qtbot.waitSignal(grid.activated) as blocker:
        qtbot.keyClick(grid, Qt.Key.Key_Return)
    assert blocker.args == [3]
    with qtbot.waitSignal(grid.activated) as blocker:
        qtbot.mouseDClick(grid.viewport(), Qt.MouseButton.LeftButton, pos=place(grid, 2))
    assert blocker.args == [2]


def test_the_selection_stays_when_the_list_or_the_filter_changes(
    qtbot: QtBot, grid: ThumbnailGrid, listed: Pictures, pictures: Path
) -> None:
    grid.select([2, 4])
    (pictures / "0.png").unlink()
    with qtbot.waitSignal(listed.scanned):
        listed.rescan()
    assert [listed.items[i].picture.path.name for i in grid.selected()] == ["2.png", "4.png"]
    with qtbot.waitSignal(grid.selectionChangedTo) as blocker:
        grid.list_model.set_filter(text="4.png")
    assert blocker.args == [[3]]


def test_the_zoom_follows_wheel_keys_and_slider_within_bounds(qtbot: QtBot, grid: ThumbnailGrid) -> None:
    slider = grid.make_zoom_slider()
    qtbot.addWidget(slider)
    start = grid.zoom_px
    wheel = QWheelEvent(
        QPointF(50, 50), QPointF(50, 50), QPoint(), QPoint(0, 120), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.ControlModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(grid.viewport(), wheel)
    assert grid.zoom_px == slider.value() == start + 16
    qtbot.keyClick(grid, Qt.Key.Key_Minus, Qt.KeyboardModifier.ControlModifier)
    assert grid.zoom_px == start
    slider.setValue(96)
    small = grid.gridSize()
    grid.set_zoom(5000)
    assert grid.zoom_px == slider.value() == 256
    assert grid.gridSize().width() > small.width()


def test_columns_fill_the_width(grid: ThumbnailGrid) -> None:
    for width in (500, 777, 1003):
        grid.resize(width, 480)
        columns = (grid.viewport().width() - 1) // grid.gridSize().width()
        left = grid.viewport().width() - columns * grid.gridSize().width()
        assert 0 <= left <= columns + 1
        assert grid.visualRect(grid.list_model.index(columns - 1)).right() <= grid.viewport().width()
        assert grid.visualRect(grid.list_model.index(0)).top() < grid.visualRect(grid.list_model.index(columns)).top()


def test_only_what_is_visible_is_asked_for(qtbot: QtBot, grid: ThumbnailGrid) -> None:
    grid.resize(250, 260)
    assert grid.visible_rows().start == 0 and 1 <= len(grid.visible_rows()) < 6
    bar = grid.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 0)
    bar.setValue(bar.maximum())
    assert grid.visible_rows().stop == 6 and grid.visible_rows().start > 0


def test_a_tile_shows_the_picture_the_badge_and_the_ring(qtbot: QtBot, grid: ThumbnailGrid, listed: Pictures) -> None:
    middle = place(grid, 0) - QPoint(0, 20)
    plain = grid.viewport().grab().toImage()
    assert plain.pixelColor(middle).red() > 200  # the blob of the fixture's pictures
    listed.set_included([0], False)
    listed.set_captions({1: ""}, "Edit")
    grid.select([2])
    shown = grid.viewport().grab().toImage()
    for row in (0, 1, 2):
        area = grid.visualRect(grid.list_model.index(row))
        assert plain.copy(area) != shown.copy(area)
    tile = grid.visualRect(grid.list_model.index(2))
    row = [shown.pixelColor(x, tile.center().y()).name() for x in range(tile.left(), tile.right())]
    assert theme.colours().accent in row
    theme.apply(QApplication.instance(), "dark")  # type: ignore[arg-type]
    assert grid.viewport().grab().toImage() != shown


def test_the_menu_leaves_out_takes_in_and_opens(
    qtbot: QtBot, grid: ThumbnailGrid, listed: Pictures, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def open_url(url: QUrl) -> bool:
        opened.append(url.toLocalFile())
        return True

    monkeypatch.setattr(QDesktopServices, "openUrl", open_url)
    monkeypatch.setattr("sys.platform", "linux")
    listed.set_included([1], False)
    menu = PictureMenu(listed, [1, 2], grid)
    actions = {
        name: menu.findChild(QAction, name) for name in ("leave_out", "take_in", "open_picture", "show_in_folder")
    }
    assert all(actions.values())
    actions["leave_out"].trigger()
    assert listed.included_count == 4
    actions["take_in"].trigger()
    assert listed.included_count == 6
    actions["open_picture"].trigger()
    actions["show_in_folder"].trigger()
    assert opened == [str(pictures / "1.png"), str(pictures)]
    assert PictureMenu(listed, [0], grid).findChild(QAction, "take_in") is None


def test_the_context_menu_opens_on_a_selection_only(qtbot: QtBot, grid: ThumbnailGrid) -> None:
    event = QContextMenuEvent(QContextMenuEvent.Reason.Keyboard, place(grid, 0), grid.mapToGlobal(place(grid, 0)))
    QApplication.sendEvent(grid, event)
    assert grid.findChild(PictureMenu) is None
    grid.select([0])
    QApplication.sendEvent(grid, event)
    menu = grid.findChild(PictureMenu)
    assert menu is not None and menu.isVisible()
    menu.close()
