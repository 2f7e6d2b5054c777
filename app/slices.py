"""Work that must be done in the main thread, a slice at a time, so that the window answers in between. QtCore only."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLICE = 50  # things done in one go, some 50 µs each; who yields counts them
AT_ONCE = 2  # slices that are done before `start` returns: what is small is done at once


class Slices(QObject):
    """Runs generators one after the other; each `yield` ends a slice."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._waiting: deque[Iterator[None]] = deque()
        self._begun = 0  # how many the first of them has started
        self._is_running = False
        self._timer = QTimer(self, interval=0)
        self._timer.timeout.connect(self._on_timer)

    @property
    def is_waiting(self) -> bool:
        """Whether some of the work is still to be done."""
        return bool(self._waiting)

    def start(self, work: Iterator[None]) -> None:
        """Adds a generator to those that wait; begins with it at once when there are none.

        What a generator starts belongs to it: it comes right after it, before the others.
        """
        if self._is_running:
            self._begun += 1
            self._waiting.insert(self._begun, work)
            return
        self._waiting.append(work)
        if len(self._waiting) == 1:
            self._advance(AT_ONCE)

    def do(self, act: Callable[[], object]) -> None:
        """Calls a function when its turn comes: at once when nothing waits."""
        self.start(_doing(act))

    def finish(self) -> None:
        """Does all that waits, at once. Nothing happens when it is called from within the work."""
        self._advance(None)

    def _on_timer(self) -> None:
        self._advance(1)

    def _advance(self, slices: int | None) -> None:
        """slices: at most so many; None for all."""
        if self._is_running:
            return
        self._is_running = True
        try:
            done = 0
            while self._waiting and (slices is None or done < slices):
                try:
                    next(self._waiting[0])
                    done += 1
                except BaseException as error:
                    self._waiting.popleft()
                    self._begun = 0
                    if not isinstance(error, StopIteration):
                        raise
        finally:
            self._is_running = False
            (self._timer.start if self._waiting else self._timer.stop)()


def _doing(act: Callable[[], object]) -> Iterator[None]:
    act()
    yield from ()
