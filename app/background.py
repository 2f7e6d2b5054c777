"""Work off the main thread, one piece after the other, with the results brought back to it. QtCore only."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

if TYPE_CHECKING:
    from collections.abc import Callable

# s, not Python's 5 ms: so long the main thread waits for Python's lock when another thread is at work, and that after each of
# the some hundred calls of Qt with which a widget shows something, as each of them gives the lock away.
sys.setswitchinterval(0.00005)


class Background(QObject):
    """Runs functions in the order given, in a thread that lives only while there are any.

    It has no parent, as the thread keeps it alive; connect `done` to a method of a QObject, which is then simply not called
    any more when that object is gone.

    Signals:
        done(object): what a function gave back.
    """

    done = Signal(object)

    def __init__(self, name: str, *, must_finish: bool = False) -> None:
        """must_finish: the process does not end before all is done, e.g. for what the user wrote."""
        super().__init__()
        self._name = name
        self._must_finish = must_finish
        self._waiting: deque[Callable[[], object]] = deque()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(self, work: Callable[[], object]) -> None:
        """Adds a function to those that wait."""
        with self._lock:
            self._waiting.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=not self._must_finish)
                self._thread.start()

    def drop_waiting(self) -> None:
        """Forgets the functions that have not begun."""
        with self._lock:
            self._waiting.clear()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Blocks until all is done; whether it is. Only for the end of the window and for tests."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return self._thread is None

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                work = self._waiting.popleft()
            try:
                result = work()
            except BaseException as error:
                sys.excepthook(type(error), error, error.__traceback__)
                continue
            self.done.emit(result)
