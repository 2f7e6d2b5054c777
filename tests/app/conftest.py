"""The window's tests: offscreen, in a home of their own, and nothing may be left behind."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import QThreadPool, QTimer
from PySide6.QtWidgets import QApplication

from app import checkup, garbage, theme

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from app.main_window import MainWindow


@pytest.fixture(scope="session")
def qapp_args() -> list[str]:
    return ["lora-atelier"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The app's folder, fresh for every test."""
    path = tmp_path / "home"
    monkeypatch.setenv("LORA_ATELIER_HOME", str(path))
    monkeypatch.setattr(
        checkup, "SETTLE_MS", 10**9
    )  # the doctor is a process of its own, which only its own tests want
    return path


@pytest.fixture(autouse=True)
def _passes_over(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app passes over nothing, or what is left behind could be told only by a search through everything."""
    if request.path.name != "test_garbage.py":
        monkeypatch.setattr(garbage, "pass_over", lambda: None)
        monkeypatch.setattr(garbage, "search", lambda: None)


@pytest.fixture(autouse=True)
def _nothing_left_behind(qapp: QApplication, _passes_over: None) -> Iterator[None]:
    """Top-level widgets, threads and running timers that outlive their test fail it."""
    theme.apply(qapp, "light")
    threads, widgets = set(threading.enumerate()), set(QApplication.topLevelWidgets())
    gc.freeze()  # only what the test makes is searched: where torch is loaded too, all would take a second for each test
    yield
    QThreadPool.globalInstance().waitForDone(5000)
    qapp.processEvents()
    qapp.sendPostedEvents(None, 52)  # DeferredDelete, or a widget that was told to go would count as left over
    gc.collect()
    left = [w for w in QApplication.topLevelWidgets() if w not in widgets and w.isVisible()]
    assert not left, f"left open: {left}"
    # isinstance would also ask an object's __class__, at which torch's deprecated ones warn when it is imported too
    timers = [t for t in gc.get_objects() if issubclass(type(t), QTimer) and _is_running_without_owner(t)]
    assert not timers, f"still running: {timers}"
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
        assert not thread.is_alive() or thread.name.startswith("pytest"), f"still running: {thread.name}"


def _is_running_without_owner(timer: QTimer) -> bool:
    try:
        return timer.isActive() and timer.parent() is None
    except RuntimeError:  # the C++ object is gone already
        return False


@pytest.fixture
def window(qtbot: QtBot) -> Iterator[MainWindow]:
    """The main window, shown; what it trains is ended with the test."""
    from app.main_window import MainWindow

    out = MainWindow()
    out.show()
    yield out
    out.queue.waiting_is_paused = True
    if out.queue.current is not None:
        out.queue.current.kill()
        qtbot.waitUntil(lambda: not out.queue.is_running, timeout=10_000)
    out.close()
    out.deleteLater()
