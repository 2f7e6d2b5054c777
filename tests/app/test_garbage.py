"""The search for unused objects: not through the pictures while somebody works, but through all when the window was left."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QApplication, QDialog

from app import garbage, main_window

if TYPE_CHECKING:
    import pytest
    from pytestqt.qtbot import QtBot

    from app.main_window import MainWindow


class Circle:
    def __init__(self) -> None:
        self.itself = self


def lost_circle() -> weakref.ref[Circle]:
    return weakref.ref(Circle())


def test_what_is_passed_over_is_searched_only_when_nobody_works() -> None:
    lost = lost_circle()
    garbage.pass_over()
    gc.collect()
    assert lost() is not None
    garbage.search()
    assert lost() is None
    assert gc.get_freeze_count() > 0


def test_full_searches_are_seldom_and_others_as_before() -> None:
    young, middle, _old = gc.get_threshold()
    garbage.pass_over()
    assert gc.get_threshold() == (young, middle, garbage.SELDOM)
    lost = lost_circle()
    gc.collect(0)
    assert lost() is None


def test_a_window_that_was_left_for_a_while_searches_but_not_for_a_dialog(
    qtbot: QtBot, window: MainWindow, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = lost_circle()
    garbage.pass_over()
    active: list[QDialog | None] = [QDialog(window)]
    monkeypatch.setattr(QApplication, "activeWindow", lambda: active[0])
    with qtbot.waitSignal(window._left_at.timeout):
        window._left_at.start(0)
    assert lost() is not None
    active[0] = None
    window._left_at.start(0)
    qtbot.waitUntil(lambda: lost() is None)
    assert main_window.RESCAN_AFTER_MS >= 1000, "not while the user only looks elsewhere for a moment"
