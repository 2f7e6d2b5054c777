"""Runs `lora-atelier export` in a process of its own, as it needs torch, which the window never loads. QtCore only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from app.task_process import TaskProcess
from app.texts import tr

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class ExportRequest:
    """What to export.

    out: the file, or with `is_bundle` the bundle's folder. names: "kohya" or "peft". picture: copied beside the file, or first
    in the bundle. with_words: the trigger words beside the file. overwrite: the user allowed that what is there is replaced.
    """

    run: Path
    step: int
    out: Path
    name: str
    description: str = ""
    tags: str = ""
    precision: str = "fp16"
    names: str = "kohya"
    picture: Path | None = None
    with_words: bool = False
    is_bundle: bool = False
    with_data: bool = False
    prove: bool = True
    overwrite: bool = False


@dataclass(frozen=True)
class Exported:
    """What came of an export. path: the LoRA file, or the bundle's zip. proof, note: sentences, "" without; bundle: its folder."""

    path: Path
    size_bytes: int
    proof: str = ""
    is_proved: bool = False
    note: str = ""
    bundle: Path | None = None
    with_data: bool = False


def words_for(request: ExportRequest) -> list[str]:
    """The sub-command's words. `--name=...`, as a text may begin with a dash."""
    where = "bundle" if request.is_bundle else "out"
    words = ["export", f"--step={request.step}", f"--{where}={request.out}", f"--name={request.name}"]
    words += [f"--description={request.description}", f"--tags={request.tags}", f"--precision={request.precision}"]
    words += [f"--format={request.names}", "--json", "--sidecar" if request.with_words else "--no-sidecar"]
    if request.picture is not None:
        words.append(f"--picture={request.picture}")
    flags = {"--with-data": request.with_data, "--no-proof": not request.prove, "--force": request.overwrite}
    return [*words, *(flag for flag, is_on in flags.items() if is_on), "--", str(request.run)]


class Exporter(QObject):
    """One export at a time.

    Signals:
        started: an export is on its way.
        progressed(str, int, int): what it does, done and total (0: not known).
        done(Exported): the file was written, read back and compared.
        failed(str): it was not; a sentence.
        cancelled: it was given up as the user wished; nothing was written.
    """

    started = Signal()
    progressed = Signal(str, int, int)
    done = Signal(object)
    failed = Signal(str)
    cancelled = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._task = TaskProcess(self)
        self._task.started.connect(self.started)
        self._task.progressed.connect(self.progressed)
        self._task.done.connect(self._on_done)
        self._task.failed.connect(self.failed)
        self._task.cancelled.connect(self.cancelled)

    @property
    def is_running(self) -> bool:
        """Whether an export is on its way."""
        return self._task.is_running

    @property
    def is_cancelling(self) -> bool:
        """Whether it was asked to give up and has not done so yet."""
        return self._task.is_cancelling

    def start(self, request: ExportRequest, command: Sequence[str] | None = None) -> None:
        """Exports; `command` replaces all words, for tests."""
        self._task.start(words_for(request), command)

    def cancel(self) -> None:
        """Gives the export up; nothing is written then."""
        self._task.cancel()

    def finish(self) -> None:
        """Cancels and waits; for the end of the app only."""
        self._task.finish()

    def _on_done(self, told: dict[str, Any]) -> None:
        try:
            bundle = told.get("bundle")
            made = Exported(
                Path(told["path"]), int(told["size_bytes"]), str(told.get("proof") or ""), bool(told.get("proved")), str(told.get("note") or ""),
                Path(bundle) if bundle else None, bool(told.get("with_data")),
            )  # fmt: skip
        except (ValueError, LookupError, TypeError):
            self.failed.emit(tr("The export said something that was not understood: {text}", text=str(told)[:200]))
        else:
            self.done.emit(made)
