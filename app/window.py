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

X11_LIBRARIES = {  # what Qt's X11 plugin loads and a small system may lack: the library and its Debian package
    "libxcb-cursor.so.0": "libxcb-cursor0", "libxcb-icccm.so.4": "libxcb-icccm4", "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1", "libxcb-render-util.so.0": "libxcb-render-util0", "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}  # fmt: skip


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
        RunError: on Linux, without a display or without the libraries for X11.
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
    missing = [package for library, package in X11_LIBRARIES.items() if not _loads(library)]
    if missing:
        raise RunError(
            tr(
                "The window needs system libraries that are not installed. Install them (Debian, Ubuntu: sudo apt install {packages}) "
                "and start again.",
                packages=" ".join(missing),
            )
        )


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _first_look(window: MainWindow, paths: Sequence[Path]) -> None:
    """What can wait until the window is painted."""
    window.do.offer_left_over(*run_queue.left_over())
    if paths:
        window.do.take(paths)


if __name__ == "__main__":
    sys.exit(main())
