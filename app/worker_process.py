"""The worker as a child process, for the window and the command line alike: how it starts and how it ended."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import rungs
from trainer.errors import AtelierError, ConfigError
from trainer.events import Command, Event, Failed, Finished, ProtocolError, Started, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainer.run_folder import RunFolder

_KILLED = -9  # the exit code of a worker that the system ended; there is no such signal on Windows
LOG_LINES, LOG_BYTES = 12, 32_768  # of the log's end that a crash shows


def command_words(text: str) -> tuple[str, ...]:
    """The words of a worker's command as a person writes it, with quotes around words that hold spaces.

    Raises:
        ConfigError: a quote is not closed.
    """
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise ConfigError("", f"A quote is not closed in the worker's command: {text}") from None


def command_for(folder: Path, wrapper: tuple[str, ...] = ()) -> list[str]:
    """The words that start the worker: this Python (or the frozen app itself), or those of `wrapper`.

    wrapper: `{run}` stands for the run folder, `{name}` for its name alone; without either, `worker RUN_FOLDER` follows.
    What another shell will read is quoted for it: a part of a longer word, and everything that `ssh` is given.
    """
    if wrapper:
        words = (
            wrapper if any("{run}" in word or "{name}" in word for word in wrapper) else (*wrapper, "worker", "{run}")
        )
        quotes = Path(wrapper[0]).stem.lower() == "ssh"
        return [_filled(word, folder, quotes=quotes) for word in words]
    # -P: a folder `app` where the user happens to be must not be taken for ours.
    start = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-P", "-m", "app"]
    return [*start, "worker", str(folder)]


def _filled(word: str, folder: Path, *, quotes: bool) -> str:
    """A word of the wrapper with its places filled in. quotes: also where the word is nothing else."""
    for place, value in (("{run}", str(folder)), ("{name}", folder.name)):
        word = word.replace(place, shlex.quote(value) if quotes or word != place else value)
    return word


def environment() -> dict[str, str]:
    """The worker's environment: those programs come first that are beside this Python (accelerate, torchrun, lora-atelier)."""
    beside = str(Path(sys.executable).parent)
    return os.environ | {"PATH": os.pathsep.join([beside, *filter(None, [os.environ.get("PATH")])])}


def missing_program(wrapper: tuple[str, ...]) -> str:
    """Why a wrapper's program cannot be run, without a full stop; empty when it can."""
    if not wrapper or shutil.which(wrapper[0], path=environment()["PATH"]):
        return ""
    return f"there is no program {wrapper[0]} on this computer, or it may not be run"


@dataclass
class Outcome:
    """How a worker ended. Testable without a process: feed it events and an exit code.

    started: what it told when training began; problem: why it could not be started at all; garbage: lines that were no
    events; lowered: in what the next worker needs less memory.
    """

    folder: RunFolder
    finished: Finished | None = None
    failed: Failed | None = None
    returncode: int | None = None
    garbage: list[str] = field(default_factory=list)
    problem: str = ""
    started: Started | None = None
    lowered: str = ""

    def take(self, event: Event) -> None:
        """Remembers the last word."""
        if isinstance(event, Finished):
            self.finished = event
        elif isinstance(event, Failed):
            self.failed = event
        elif isinstance(event, Started):
            self.started = event

    def lower_after_kill(self) -> None:
        """A worker on this machine's CPU that the system ended has most likely filled the memory; the next one needs less."""
        on_cpu = self.started is None or self.started.device == "cpu"
        if self.returncode == _KILLED and on_cpu and self.finished is None:
            with contextlib.suppress(AtelierError, OSError):  # then it is resumed as it was
                packed = self.started is None or self.started.packed
                self.lowered = rungs.lower_after_kill(self.folder, packed=packed)

    @property
    def was_successful(self) -> bool:
        """Whether the run ended as it should."""
        return self.finished is not None and self.failed is None

    def sentence(self, way_on: str = "") -> str:
        """What happened, and what to do. way_on: the next step after a crash, for who has no command line before him."""
        if self.failed is not None:
            return self.failed.message
        if self.finished is not None:
            return (
                "The run is complete."
                if self.finished.completed
                else f"The run was stopped at step {self.finished.step} and kept."
            )
        steps = self.folder.checkpoints()
        if not way_on:
            way_on = (
                f'Resume it from step {steps[-1]} with: lora-atelier train "{self.folder.path}"'
                if steps
                else "Start it again."
            )
        if self.lowered:
            way_on = f"From now on the run needs less memory: {self.lowered}. {way_on}"
        if self.problem:
            return f"The worker could not be started: {self.problem.rstrip('.')}. {way_on}"
        said = f" What it said last could not be understood: {self.garbage[-1].rstrip('.')}." if self.garbage else ""
        return f"The worker {self._end()} before the run was finished.{said} {way_on}"

    def log_tail(self) -> str:
        """The end of the log, for a crash."""
        try:
            with self.folder.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
                text = log.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-LOG_LINES:])

    def _end(self) -> str:
        code = self.returncode
        if code is None:
            return "went away"
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            hint = " (often the system ran out of memory)" if name == "SIGKILL" else ""
            return f"was ended by {name}{hint}"
        return f"ended with status {code}"


class WorkerProcess:
    """A running worker: an iterator over its events, and a way to tell it something."""

    def __init__(self, folder: RunFolder, wrapper: tuple[str, ...] = (), *, log: bool = False) -> None:
        """Starts it. log: what it says before it opens its log itself goes there too, not to our stderr.

        Raises:
            OSError: the program cannot be started.
        """
        self.outcome = Outcome(folder)
        with contextlib.ExitStack() as stack:
            stderr = stack.enter_context(folder.log_path.open("ab")) if log else None
            # Its own session: Ctrl-C in the terminal is for us; the worker is asked to stop by a message.
            self._process = subprocess.Popen(
                command_for(folder.path, wrapper), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
                text=True, encoding="utf-8", errors="replace", start_new_session=True, env=environment(),
            )  # fmt: skip

    def events(self) -> Iterator[Event]:
        """The events as they come in, until the worker ends; afterwards `outcome` is complete."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                event = decode(line)
            except ProtocolError as error:
                self.outcome.garbage.append(str(error))
                continue
            if isinstance(event, Event):
                self.outcome.take(event)
                yield event
        self.outcome.returncode = self._process.wait()

    def tell(self, command: Command) -> None:
        """Sends a command; a worker that has just ended does not mind."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(encode(command) + "\n")
            self._process.stdin.flush()
        except OSError:
            return

    def close(self) -> None:
        """Closes our ends of the pipes, after the worker has ended."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # a pipe whose other end is gone may complain when it is flushed
                pipe.close()

    def kill(self) -> None:
        """Ends the worker at once; what was saved stays."""
        self._process.kill()
