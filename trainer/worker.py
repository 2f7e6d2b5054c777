"""The worker process: its protocol, its log, and the one place where every error becomes a sentence."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
import warnings
from typing import TYPE_CHECKING, TextIO

from trainer import __version__, heap, ranks, rungs
from trainer.content_hashes import ModelHashes
from trainer.control import LineControl, NoControl
from trainer.errors import AtelierError, RunError, os_message
from trainer.events import PROTOCOL, Event, Failed, Hello, Warned, encode
from trainer.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from trainer.control import Control

HELPERS_WAIT_SECONDS = 10  # a helping process that cannot even begin lets the first one say why


def main(path: Path) -> int:
    """Trains the run in a folder, speaking the protocol on stdin and stdout; returns the exit code, 1 after a failure.

    Of several processes that a launcher started (`trainer.ranks`) only the first one speaks, and holds the folder.
    """
    out = _protect_stdout()
    folder = RunFolder(path.expanduser().absolute())
    try:
        launch = ranks.launch()
    except RunError as error:
        return _fail(out, str(error))
    if launch.number:
        out.close()
        return _help(folder, launch)
    if not folder.path.is_dir():
        return _fail(out, f"There is no run folder {folder.path}. Start a run with: lora-atelier train")
    try:
        with folder.locked(), folder.events_path.open("a", encoding="utf-8") as events:
            _end_cut_line(folder.events_path, events)
            return _run(folder, _Teller(out, events), launch)
    except RunError as error:
        return _fail(out, str(error))
    except OSError as error:
        return _fail(out, os_message(f"The run folder {folder.path} cannot be written", error))


def _end_cut_line(path: Path, events: TextIO) -> None:
    """A worker that was killed while it wrote may have left half a line, which must not swallow the next one."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if size and file.read() != b"\n":
            events.write("\n")


class _Teller:
    """Sends events to the window and into events.jsonl. When the window is gone, only the file is written."""

    def __init__(self, out: TextIO, events: TextIO) -> None:
        self._out: TextIO | None = out
        self._events = events
        self._lock = threading.Lock()  # the failure of another process is told from a thread
        self._failed = False

    def __call__(self, event: Event) -> None:
        line = encode(event) + "\n"
        with self._lock:
            if self._failed:  # one last word is enough
                return
            self._failed = isinstance(event, Failed)
            self._events.write(line)
            self._events.flush()
            if self._out is not None:
                try:
                    self._out.write(line)
                    self._out.flush()
                except OSError:  # a broken pipe; stdin's end will stop the run in order
                    self._out = None


def _run(folder: RunFolder, tell: _Teller, launch: ranks.Launch) -> int:
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    control = LineControl(sys.stdin, folder.commands_path)
    tell(Hello(PROTOCOL, __version__, str(folder.path)))
    failure = _train(folder, tell, control, launch)
    while not control.problems.empty():
        tell(Warned(f"A command was not understood. {control.problems.get()}"))
    if failure is not None:
        tell(failure)
    return 0 if failure is None else 1


def _help(folder: RunFolder, launch: ranks.Launch) -> int:
    """The life of a process that only computes: it hears from the first one and writes nothing but the log."""

    def tell(event: Event) -> None:
        if isinstance(event, Warned):
            print(f"{launch.name}: {event.message}", file=sys.stderr)

    failure = _train(folder, tell, NoControl(), launch)
    return 0 if failure is None else 1


def _train(folder: RunFolder, tell: Callable[[Event], None], control: Control, launch: ranks.Launch) -> Failed | None:
    """Trains; returns how it failed, with the traceback in the log. The processes of a run end together."""
    among, failure = ranks.ALONE, None
    try:
        _log_to(folder.log_path)
        _quiet_libraries()
        heap.steady()
        hashes = None if launch.number else ModelHashes(rungs.lowered(folder))
        loop = _loop()  # costs seconds; the window has heard from us before
        if launch.world > 1:
            from trainer.rank_group import RankGroup

            among = RankGroup(launch, tell)
        loop.train(folder, tell, control, among, hashes)
    except AtelierError as error:
        traceback.print_exc()
        failure = Failed(str(error), getattr(error, "field", ""))
    except Exception as error:
        traceback.print_exc()
        failure = Failed(_sentence(error, folder), unforeseen=True)
    if launch.number and failure is not None and among is ranks.ALONE:
        time.sleep(HELPERS_WAIT_SECONDS)
    among.end(failure)
    return failure


def _loop() -> ModuleType:
    """The loop with all its libraries, without bitsandbytes: peft would import it for layers of which the trainer has its own.

    That saves 1.1 of 5.5 s and 45 MB. Who needs it (quantised bases, 8-bit optimizers) imports it later.
    """
    hides = "bitsandbytes" not in sys.modules
    if hides:
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]
    try:
        from peft import import_utils

        from trainer import loop

        import_utils.is_bnb_available()  # it remembers its answer
    finally:
        if hides:
            del sys.modules["bitsandbytes"]
    return loop


def _sentence(error: Exception, folder: RunFolder) -> str:
    """An error that no part of the trainer foresaw, for the user."""
    from trainer import device, ladder

    if ladder.is_out_of_memory(error):
        import torch

        return device.out_of_memory_advice(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if isinstance(error, OSError):
        return os_message("The run cannot go on", error)
    first = str(error).splitlines()[0] if str(error) else ""
    return f"The run ended with an unforeseen error ({type(error).__name__}: {first}). The details are in {folder.log_path}; please report them."


def _protect_stdout() -> TextIO:
    """Keeps a copy of stdout for events and turns file descriptor 1 to stderr, so that no print can break the protocol."""
    copy = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(copy, "w", encoding="utf-8", newline="\n")


def _log_to(path: Path) -> None:
    """Sends stderr, and with it everything that libraries print, to the run's log."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _quiet_libraries() -> None:
    """No progress bars and no advice from libraries; nothing is looked up on a hub."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("BITSANDBYTES_NOWELCOME", "1")
    warnings.filterwarnings("default")


def _fail(out: TextIO, message: str) -> int:
    """A failure before there is a run folder to write into."""
    out.write(encode(Failed(message)) + "\n")
    out.flush()
    return 1
