"""The last resort: an error that nothing foresaw is told in a dialog and written to a log; the window stays open."""

from __future__ import annotations

import datetime
import sys
import traceback
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QApplication, QMessageBox

from app import places
from app.texts import tr
from trainer.errors import AtelierError

if TYPE_CHECKING:
    from types import TracebackType

MAX_LOG_BYTES = 2_000_000


class _Teller(QObject):
    """Brings errors of any thread to the window's thread."""

    happened = Signal(str, str)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._open = False
        self.happened.connect(self._on_happened)

    def _on_happened(self, sentence: str, details: str) -> None:
        if self._open:  # one dialog at a time; the log has them all
            return
        self._open = True
        box = QMessageBox(QMessageBox.Icon.Warning, tr("LoRA Atelier"), sentence, parent=QApplication.activeWindow())
        box.setDetailedText(details)
        box.exec()
        self._open = False


def install(app: QApplication) -> None:
    """Catches what no part of the window caught."""
    teller = _Teller(app)

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        details = "".join(traceback.format_exception(kind, error, trace))
        log(details)
        teller.happened.emit(sentence(error), details)

    sys.excepthook = hook


def sentence(error: BaseException) -> str:
    """What the user reads."""
    if isinstance(error, AtelierError):
        return str(error)
    return tr(
        "Something went wrong that should not have ({kind}). Your pictures and runs are safe; the details are in {path}.",
        kind=type(error).__name__, path=places.home() / "window.log",
    )  # fmt: skip


def log(text: str) -> None:
    """Adds to the window's log; a log that has grown too long begins anew."""
    print(text, file=sys.stderr)
    path = places.home() / "window.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = "w" if path.exists() and path.stat().st_size > MAX_LOG_BYTES else "a"
        with path.open(mode, encoding="utf-8") as file:
            file.write(f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}\n{text}\n")
    except OSError as error:
        print(f"The log {path} cannot be written: {error}", file=sys.stderr)


def show(parent: QObject | None, error: BaseException | str) -> None:
    """Tells the user one sentence."""
    from PySide6.QtWidgets import QWidget

    text = error if isinstance(error, str) else sentence(error)
    QMessageBox.warning(parent if isinstance(parent, QWidget) else None, tr("LoRA Atelier"), text)
