from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor, QPixmap

from app.widgets.compare_view import CompareView

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


def filled(colour: str, width: int = 64, height: int = 64) -> QPixmap:
    out = QPixmap(width, height)
    out.fill(QColor(colour))
    return out


@pytest.fixture
def view(qtbot: QtBot) -> CompareView:
    out = CompareView()
    qtbot.addWidget(out)
    out.resize(400, 300)
    out.set_pictures(filled("#ff0000"), filled("#0000ff"), "before", "step 300")
    out.show()
    return out


def colour_at(view: CompareView, share: float) -> str:
    area = view.picture_rect()
    at = QPoint(round(area.left() + area.width() * share), round(area.top() + area.height() * 0.8))
    return view.grab().toImage().pixelColor(at).name()


def test_the_left_picture_is_left_of_the_divider_and_the_right_one_right_of_it(view: CompareView) -> None:
    assert colour_at(view, 0.25) == "#ff0000" and colour_at(view, 0.75) == "#0000ff"
    view.set_divider(0.9)
    assert colour_at(view, 0.75) == "#ff0000"


def test_the_pictures_keep_their_shape(view: CompareView) -> None:
    assert view.picture_rect().width() == view.picture_rect().height() == 300
    view.set_pictures(filled("red", 100, 25), filled("blue", 100, 25), "", "")
    assert view.picture_rect().width() == 400 and view.picture_rect().height() == 100


def test_the_divider_is_dragged_with_the_mouse(view: CompareView, qtbot: QtBot) -> None:
    area, moved = view.picture_rect(), []
    view.dividerMoved.connect(moved.append)
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=QPoint(round(area.left() + 75), 150))
    assert view.divider == pytest.approx(0.25, abs=0.01)
    qtbot.mouseMove(view, QPoint(round(area.left() + 240), 150))
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=QPoint(round(area.left() + 240), 150))
    assert moved and all(0 <= share <= 1 for share in moved)


def test_beyond_the_edge_it_stays_at_the_edge(view: CompareView, qtbot: QtBot) -> None:
    qtbot.mouseClick(view, Qt.MouseButton.LeftButton, pos=QPoint(1, 150))
    assert view.divider == 0.0


def test_keys_move_the_divider(view: CompareView, qtbot: QtBot) -> None:
    qtbot.keyClick(view, Qt.Key.Key_Right)
    assert view.divider == pytest.approx(0.52)
    qtbot.keyClick(view, Qt.Key.Key_Left)
    qtbot.keyClick(view, Qt.Key.Key_Left)
    assert view.divider == pytest.approx(0.48)
    for key, share in ((Qt.Key.Key_Home, 0.0), (Qt.Key.Key_End, 1.0), (Qt.Key.Key_Space, 0.5)):
        qtbot.keyClick(view, key)
        assert view.divider == share


def test_screen_readers_hear_what_is_compared(view: CompareView) -> None:
    assert view.accessibleDescription() == "before at the left, step 300 at the right"


def test_pictures_that_are_not_there_yet_do_no_harm(view: CompareView) -> None:
    view.set_pictures(QPixmap(), QPixmap(), "before", "step 300")
    view.grab()
    view.set_pictures(QPixmap(), filled("#0000ff"), "before", "step 300")
    assert colour_at(view, 0.75) == "#0000ff"
