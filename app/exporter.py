"""Runs `lora-atelier export` in a process of its own, as it needs torch, which the window never loads. QtCore only."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QCoreApplication, QObject, QProcess, Signal

from app.texts import tr

QUIT_PATIENCE_MS = 10_000


@dataclass(frozen=True)
class ExportRequest:
    """What to export. picture: copied beside the file; overwrite: the user allowed that what is there is replaced."""

    run: Path
    step: int
    out: Path
    name: str
    description: str = ""
    tags: str = ""
    precision: str = "fp16"
    picture: Path | None = None
    overwrite: bool = False


def command_for(request: ExportRequest) -> list[str]:
    """The words that export: this Python, or the frozen app itself. `--name=...`, as a text may begin with a dash."""
    start = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "app"]
    words = [*start, "export", f"--step={request.step}", f"--out={request.out}", f"--name={request.name}"]
    words += [
        f"--description={request.description}",
        f"--tags={request.tags}",
        f"--precision={request.precision}",
        "--json",
    ]
    if request.picture is not None:
        words.append(f"--picture={request.picture}")
    return [*words, *(["--force"] if request.overwrite else []), "--", str(request.run)]


class Exporter(QObject):
    """One export at a time.

    Signals:
        started: an export is on its way.
        done(Path): the file was written, read back and compared.
        failed(str): it was not; a sentence.
    """

    started = Signal()
    done = Signal(object)
    failed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._process: QProcess | None = None
        if (app := QCoreApplication.instance()) is not None:
            app.aboutToQuit.connect(self.finish)

    @property
    def is_running(self) -> bool:
        """Whether an export is on its way."""
        return self._process is not None

    def start(self, request: ExportRequest, command: list[str] | None = None) -> None:
        """Exports; `command` replaces the words of `command_for`, for tests."""
        assert self._process is None
        words = command or command_for(request)
        process = QProcess(self)
        process.finished.connect(self._on_finished)
        process.errorOccurred.connect(self._on_error)
        self._process = process
        self.started.emit()
        process.start(words[0], words[1:])

    def finish(self) -> None:
        """Waits for the export that is on its way; for the end of the app only."""
        if self._process is not None and not self._process.waitForFinished(QUIT_PATIENCE_MS):
            self._process.kill()
            self._process.waitForFinished(QUIT_PATIENCE_MS)

    def _on_finished(self, code: int, status: QProcess.ExitStatus) -> None:
        process = self._leave()
        if process is None:
            return
        out = bytes(process.readAllStandardOutput().data()).decode("utf-8", "replace").strip()
        said = bytes(process.readAllStandardError().data()).decode("utf-8", "replace").strip().splitlines()
        errors = [line.removeprefix("Error: ") for line in said if line.startswith("Error: ")]
        if code == 0 and status == QProcess.ExitStatus.NormalExit:
            try:
                self.done.emit(Path(json.loads(out.splitlines()[-1])["path"]))
            except (ValueError, LookupError, TypeError):
                self.failed.emit(tr("The export said something that was not understood: {text}", text=out[-200:]))
        elif errors:
            self.failed.emit(errors[-1])
        elif status == QProcess.ExitStatus.CrashExit:
            self.failed.emit(
                tr(
                    "The export was ended from outside, perhaps because memory ran out. Close other programs and try again."
                )
            )
        else:
            last = said[-1] if said else tr("it gave no reason")
            self.failed.emit(
                tr("The export ended unexpectedly: {last}. Nothing was replaced; try again.", last=last.rstrip("."))
            )

    def _on_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart and (process := self._leave()) is not None:
            self.failed.emit(
                tr(
                    "The export could not be started ({reason}). Install LoRA Atelier again.",
                    reason=process.errorString(),
                )
            )

    def _leave(self) -> QProcess | None:
        process, self._process = self._process, None
        if process is not None:
            process.deleteLater()
        return process
