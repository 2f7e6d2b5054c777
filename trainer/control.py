"""The worker's ears: commands from its stdin, or from a file once the window is gone; polled between steps.

Imports no torch.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Protocol

from trainer.events import Command, Detach, ProtocolError, Stop, decode, encode
from trainer.run_folder import new_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FILE_POLL_SECONDS = 0.3  # how soon a paused run in the background notices a command


class Control(Protocol):
    """Where the loop gets its commands from."""

    def poll(self) -> list[Command]:
        """The commands that came in, without waiting."""

    def wait(self) -> Command:
        """The next command; waits for it."""


class NoControl:
    """Nobody gives commands: the loop used as a library."""

    def poll(self) -> list[Command]:
        """Nothing, ever."""
        return []

    def wait(self) -> Command:
        """A pause could never end, so it does at once."""
        return Stop(export=False)


class LineControl:
    """Reads lines in a thread. The end of the stream means that the window is gone: the run is saved and ends.

    After `Detach` the end of the stream means nothing, and commands come from `file`, as `append` writes them.
    """

    def __init__(self, lines: Iterable[str], file: Path | None = None) -> None:
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self.problems: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._file, self._read_to, self._detached = file, 0, False
        threading.Thread(target=self._read, args=(lines,), daemon=True, name="commands").start()

    def poll(self) -> list[Command]:
        """The commands that came in, without waiting."""
        self._read_file()
        out = []
        while not self._commands.empty():
            out.append(self._commands.get())
        return out

    def wait(self) -> Command:
        """The next command; waits for it."""
        while True:
            try:
                return self._commands.get(timeout=FILE_POLL_SECONDS)
            except queue.Empty:
                self._read_file()

    def _read(self, lines: Iterable[str]) -> None:
        try:
            for line in lines:
                if line.strip():
                    self._take(line)
        finally:  # also when the stream breaks: a paused run must not wait for a window that cannot be heard
            if not self._detached:
                self._commands.put(Stop(export=False))

    def _read_file(self) -> None:
        """Takes the whole lines that were added to the file since."""
        if not self._detached or self._file is None:
            return
        lines, self._read_to = new_lines(self._file, self._read_to)
        for line in lines:
            self._take(line)

    def _take(self, line: str) -> None:
        try:
            message = decode(line)
        except ProtocolError as error:
            self.problems.put(str(error))
            return
        if isinstance(message, Detach):
            self._read_to = self._file.stat().st_size if self._file is not None and self._file.exists() else 0
            self._detached = True
        elif isinstance(message, Command):
            self._commands.put(message)
        else:
            self.problems.put(f"An event was sent to the worker: {line.strip()[:80]!r}")


def append(path: Path, command: Command) -> None:
    """Tells a worker that goes on in the background something, through its commands.jsonl."""
    with path.open("a", encoding="utf-8") as file:
        file.write(encode(command) + "\n")
