"""The worker's ears: commands from its stdin, one JSON line each, polled between steps. Imports no torch."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Protocol

from trainer.events import Command, ProtocolError, Stop, decode

if TYPE_CHECKING:
    from collections.abc import Iterable


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
    """Reads lines in a thread. The end of the stream means that the window is gone: the run is saved and ends."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self.problems: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=(lines,), daemon=True, name="commands").start()

    def poll(self) -> list[Command]:
        """The commands that came in, without waiting."""
        out = []
        while not self._commands.empty():
            out.append(self._commands.get())
        return out

    def wait(self) -> Command:
        """The next command; waits for it."""
        return self._commands.get()

    def _read(self, lines: Iterable[str]) -> None:
        try:
            for line in lines:
                if line.strip():
                    self._take(line)
        finally:  # also when the stream breaks: a paused run must not wait for a window that cannot be heard
            self._commands.put(Stop(export=False))

    def _take(self, line: str) -> None:
        try:
            message = decode(line)
        except ProtocolError as error:
            self.problems.put(str(error))
            return
        if isinstance(message, Command):
            self._commands.put(message)
        else:
            self.problems.put(f"An event was sent to the worker: {line.strip()[:80]!r}")
