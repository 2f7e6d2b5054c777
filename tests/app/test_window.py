"""Whether there is a screen, in a sentence instead of Qt's abort."""

from __future__ import annotations

import sys

import pytest

from app import window
from trainer.errors import RunError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is always a screen")


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(window, "_loads", lambda library: True)


def test_without_a_display_it_is_told() -> None:
    with pytest.raises(RunError, match=r"There is no screen here .* lora-atelier --help"):
        window.check_screen()


@pytest.mark.parametrize("name", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_with_a_display_all_is_well(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, ":0")
    window.check_screen()


def test_offscreen_needs_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    window.check_screen()


def test_missing_libraries_are_named_by_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(window, "_loads", lambda library: "icccm" not in library and "cursor" not in library)
    with pytest.raises(RunError, match="sudo apt install libxcb-cursor0 libxcb-icccm4"):
        window.check_screen()


def test_a_library_that_is_not_there_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert not window._loads("libno-such-thing.so.9")
