"""Starts the window: application, theme, main window. Imported only when a window is wanted."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

import resources
from app import errors, preferences, run_queue, theme
from app.main_window import MainWindow
from app.texts import tr
from trainer.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def application() -> QApplication:
    """The one application object, named and themed."""
    app = QApplication.instance() or QApplication(["lora-atelier"])
    assert isinstance(app, QApplication)
    app.setApplicationName("lora-atelier")
    app.setApplicationDisplayName("LoRA Atelier")
    app.setDesktopFileName("lora-atelier")
    app.setWindowIcon(QIcon(str(resources.path("app_icon.svg"))))
    theme.apply(app, preferences.get("theme", "system"))
    return app


def main(paths: Sequence[Path] = ()) -> int:
    """Opens the window (with what the paths are) and returns the exit code when it is closed.

    Raises:
        RunError: there is no screen, or the system lacks a library without which Qt would end the process.
    """
    check_screen()
    app = application()
    errors.install(app)
    window = MainWindow()
    window.show()
    QTimer.singleShot(0, window, lambda: _first_look(window, paths))
    code = app.exec()
    window.deleteLater()
    return code


def check_screen() -> None:
    """Qt ends the process when it finds no screen; this says it in a sentence before.

    Raises:
        RunError: on Linux, without a display or without the library for X11.
    """
    chosen = os.environ.get("QT_QPA_PLATFORM", "")
    if not sys.platform.startswith("linux") or chosen not in ("", "xcb"):
        return
    if os.environ.get("WAYLAND_DISPLAY") and not chosen:
        return
    if not os.environ.get("DISPLAY"):
        raise RunError(
            tr(
                "There is no screen here (neither DISPLAY nor WAYLAND_DISPLAY is set). Use the commands instead; see lora-atelier --help."
            )
        )
    try:
        ctypes.CDLL("libxcb-cursor.so.0")
    except OSError:
        raise RunError(
            tr(
                "The window needs the system library libxcb-cursor. Install it (Debian, Ubuntu: sudo apt install libxcb-cursor0) and start again."
            )
        ) from None


def _first_look(window: MainWindow, paths: Sequence[Path]) -> None:
    """What can wait until the window is painted."""
    window.do.offer_left_over(*run_queue.left_over())
    if paths:
        window.do.take(paths)


if __name__ == "__main__":
    sys.exit(main())
