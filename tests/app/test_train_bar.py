"""The bar at the bottom, and the banner at the top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton

from app.plan import Plan, Problem
from app.widgets.banner import Banner
from app.widgets.train_bar import TrainBar
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget
    from pytestqt.qtbot import QtBot

READY = Plan("24 pictures · SD 1.x · 1,600 steps", (), TrainingSettings(), 1600)
BAD = Plan("24 pictures", (Problem("base", "There is no base model."), Problem("rank", "Rank is 0.")), None, 0)


def button(widget: QWidget, name: str) -> QPushButton:
    found = widget.findChild(QPushButton, name)
    assert isinstance(found, QPushButton)
    return found


def test_a_plan_that_is_ready_can_be_trained(qtbot: QtBot) -> None:
    bar = TrainBar()
    qtbot.addWidget(bar)
    bar.set_plan(READY)
    assert "1,600 steps" in bar.findChild(QLabel, "plan_sentence").text()  # type: ignore[union-attr]
    with qtbot.waitSignal(bar.trainClicked):
        qtbot.mouseClick(button(bar, "train"), Qt.MouseButton.LeftButton)


def test_problems_are_shown_and_lead_to_where_they_are_mended(qtbot: QtBot) -> None:
    bar = TrainBar()
    qtbot.addWidget(bar)
    bar.show()
    bar.set_plan(BAD)
    assert not button(bar, "train").isEnabled()
    assert button(bar, "plan_problem").text() == "There is no base model."
    with qtbot.waitSignal(bar.problemClicked) as signal:
        qtbot.mouseClick(button(bar, "plan_problem"), Qt.MouseButton.LeftButton)
    assert signal.args == ["base"]
    menu = button(bar, "plan_more_problems").menu()
    assert button(bar, "plan_more_problems").text() == "1 more"
    with qtbot.waitSignal(bar.problemClicked) as signal:
        menu.actions()[0].trigger()
    assert signal.args == ["rank"]


def test_while_something_is_looked_at_train_waits(qtbot: QtBot) -> None:
    bar = TrainBar()
    qtbot.addWidget(bar)
    bar.set_plan(READY, busy="Looking at the pictures…")
    assert not button(bar, "train").isEnabled()
    bar.set_plan(None)
    assert not button(bar, "train").isEnabled() and "Drop a folder" in bar.findChild(QLabel, "plan_sentence").text()  # type: ignore[union-attr]


def test_while_a_run_trains_the_button_queues(qtbot: QtBot) -> None:
    bar = TrainBar()
    qtbot.addWidget(bar)
    bar.set_running(True)
    assert button(bar, "train").text() == "Add to queue"
    bar.set_running(False)
    assert button(bar, "train").text() == "Train"


def test_a_very_long_problem_does_not_widen_the_window(qtbot: QtBot) -> None:
    bar = TrainBar()
    qtbot.addWidget(bar)
    before = bar.minimumSizeHint().width()
    bar.set_plan(Plan("x " * 300, (Problem("", "far too long " * 100),)))
    assert bar.minimumSizeHint().width() <= before + 5


def test_the_banner_offers_and_goes_away(qtbot: QtBot) -> None:
    banner, done = Banner(), []
    qtbot.addWidget(banner)
    banner.tell("Cut off.", ("Resume", lambda: done.append("resume")), ("Leave", lambda: done.append("leave")))
    assert banner.text == "Cut off."
    qtbot.mouseClick(button(banner, "banner_action_1"), Qt.MouseButton.LeftButton)
    assert done == ["leave"] and banner.text == ""
    banner.tell("Another.")
    assert banner.text == "Another."
    with qtbot.waitSignal(banner.dismissed):
        qtbot.mouseClick(banner._close, Qt.MouseButton.LeftButton)
    assert banner.text == ""
