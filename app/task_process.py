"""Runs a sub-command that takes a while (`app.task_command`) in a process of its own, as it may need torch. QtCore only."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QCoreApplication, QObject, QProcess, QTimer, Signal

from app.texts import tr

if TYPE_CHECKING:
    from collections.abc import Sequence

QUIT_PATIENCE_MS = 10_000
CANCEL_PATIENCE_MS = 15_000  # to end a step of the work and to leave nothing half-made
_ENDS = ("done", "failed", "cancelled")


def command_for(words: Sequence[str]) -> list[str]:
    """A sub-command's words after those that start this program: this Python, or the frozen app itself."""
    # -P: a folder `app` where the user happens to be must not be taken for ours.
    start = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-P", "-m", "app"]
    return [*start, *words]


class TaskProcess(QObject):
    """One piece of work at a time.

    Signals:
        started: it is on its way.
        progressed(str, int, int): label, done and total (0: not known).
        said(dict): it told something in between, as `task_command.say_more` does; also while it is being cancelled.
        done(dict): it has succeeded; what the sub-command says of it.
        failed(str): it has not; a sentence.
        cancelled: it was given up as the user wished; nothing was written.
    """

    started = Signal()
    progressed = Signal(str, int, int)
    said = Signal(dict)
    done = Signal(dict)
    failed = Signal(str)
    cancelled = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._process: QProcess | None = None
        self._last: dict[str, Any] = {}
        self._unread = b""
        self._errors = b""
        self._is_cancelling = self._was_cancelled = False
        self._patience = QTimer(self, singleShot=True, interval=CANCEL_PATIENCE_MS)
        self._patience.timeout.connect(self._on_patience_over)
        if (app := QCoreApplication.instance()) is not None:
            app.aboutToQuit.connect(self.finish)

    @property
    def is_running(self) -> bool:
        """Whether work is on its way."""
        return self._process is not None

    @property
    def is_cancelling(self) -> bool:
        """Whether it was asked to give up and has not done so yet."""
        return self._is_cancelling

    def start(self, words: Sequence[str], command: Sequence[str] | None = None) -> None:
        """Runs the sub-command with these words (`--json` among them); `command` replaces all words, for tests."""
        assert self._process is None
        whole = list(command or command_for(words))
        process = QProcess(self)
        process.readyReadStandardOutput.connect(self._on_output)
        process.readyReadStandardError.connect(self._on_error_output)
        process.finished.connect(self._on_finished)
        process.errorOccurred.connect(self._on_error)
        self._process, self._last, self._unread, self._errors = process, {}, b"", b""
        self._is_cancelling = False
        self.started.emit()
        process.start(whole[0], whole[1:])

    def cancel(self) -> None:
        """Asks the work to give up; it is ended from outside when it does not within `CANCEL_PATIENCE_MS`."""
        if self._process is not None and not self._is_cancelling:
            self._is_cancelling = True
            self._process.write(b"cancel\n")
            self._patience.start()

    def finish(self) -> None:
        """Cancels and waits; for the end of the app only."""
        self.cancel()
        if self._process is not None and not self._process.waitForFinished(QUIT_PATIENCE_MS):
            self._process.kill()
            self._process.waitForFinished(QUIT_PATIENCE_MS)

    def _on_output(self) -> None:
        if self._process is None:
            return
        *lines, self._unread = (self._unread + bytes(self._process.readAllStandardOutput().data())).split(b"\n")
        for line in lines:
            try:
                said = json.loads(line)
            except ValueError:  # a library printed something
                continue
            if isinstance(said, dict) and "type" in said:
                self._take(said)

    def _take(self, said: dict[str, Any]) -> None:
        if said["type"] in _ENDS:
            self._last = said
        elif said["type"] != "progress":
            self.said.emit(said)
        elif not self._is_cancelling:
            self.progressed.emit(str(said.get("label")), int(said.get("done") or 0), int(said.get("total") or 0))

    def _on_error_output(self) -> None:
        if self._process is not None:
            self._errors = (self._errors + bytes(self._process.readAllStandardError().data()))[-8192:]

    def _on_finished(self, _code: int, status: QProcess.ExitStatus) -> None:
        self._on_output()
        self._on_error_output()
        if self._leave() is None:
            return
        kind = self._last.pop("type", "")
        if kind == "done":
            self.done.emit(self._last)
        elif kind == "failed":
            self.failed.emit(str(self._last.get("message")))
        elif kind == "cancelled" or self._was_cancelled:
            self.cancelled.emit()
        elif status == QProcess.ExitStatus.CrashExit:
            self.failed.emit(
                tr(
                    "The work was ended from outside, perhaps because memory ran out. Close other programs and try again."
                )
            )
        else:
            lines = self._errors.decode("utf-8", "replace").strip().splitlines()
            last = lines[-1].removeprefix("Error: ") if lines else tr("it gave no reason")
            self.failed.emit(
                tr("The work ended unexpectedly: {last}. Nothing was replaced; try again.", last=last.rstrip("."))
            )

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart and (process := self._leave()) is not None:
            reason = process.errorString()
            self.failed.emit(tr("The work could not be started ({reason}). Install LoRA Atelier again.", reason=reason))

    def _on_patience_over(self) -> None:
        if self._process is not None:
            self._process.kill()

    def _leave(self) -> QProcess | None:
        process, self._process = self._process, None
        self._was_cancelled, self._is_cancelling = self._is_cancelling, False
        self._patience.stop()
        if process is not None:
            process.deleteLater()
        return process
