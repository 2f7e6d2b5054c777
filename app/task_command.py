"""Sub-commands that take a while: a line of progress for people, JSON lines for programs, and a way to cancel.

With --json each line on stdout is a table: {"type": "progress", "label", "done", "total"}, and last {"type": "done", ...},
{"type": "failed", "message"} or {"type": "cancelled"}. Some say more in between, under types of their own (`say_more`). The line
`cancel` on stdin ends the work.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from trainer.errors import AtelierError
from trainer.tasks import Cancelled

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from trainer.tasks import Tell

INTERVAL_S = 0.1  # between two lines of progress


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json."""
    parser.add_argument("--json", action="store_true", help="progress and result as lines of JSON, for programs")


def run(options: argparse.Namespace, work: Callable[[Tell], Mapping[str, Any]], say: Callable[[Any], str]) -> int:
    """Does the work; returns the exit code: 0, 1 after a failure, 130 when it was cancelled.

    work: gets `tell` and returns what programs want to know, as plain values. say: the same as a sentence for people.

    Raises:
        AtelierError: without --json, for `cli.main` to print.
    """
    if options.json:
        return _for_programs(work)
    shown = _Line()
    try:
        result = work(shown.tell)
    finally:
        shown.clear()
    print(say(result))
    return 0


def say_more(options: argparse.Namespace, values: Mapping[str, Any]) -> None:
    """Tells programs something in between; for people nothing is printed. values: with a "type" of its own."""
    if options.json:
        _print(values)


def _for_programs(work: Callable[[Tell], Mapping[str, Any]]) -> int:
    cancelled = threading.Event()
    threading.Thread(target=_listen, args=(cancelled,), name="cancel", daemon=True).start()
    told_at, told_label = 0.0, ""

    def tell(label: str, done: int, total: int) -> None:
        nonlocal told_at, told_label
        if cancelled.is_set():
            raise Cancelled
        now = time.monotonic()
        if now - told_at >= INTERVAL_S or label != told_label or done == total:
            told_at, told_label = now, label
            _print({"type": "progress", "label": label, "done": done, "total": total})

    try:
        result = work(tell)
    except Cancelled:
        _print({"type": "cancelled"})
        return 130
    except AtelierError as error:
        _print({"type": "failed", "message": str(error)})
        return 1
    _print({"type": "done", **result})
    return 0


def _listen(cancelled: threading.Event) -> None:
    for line in sys.stdin:
        if line.strip() == "cancel":
            cancelled.set()
            return


def _print(values: Mapping[str, Any]) -> None:
    print(json.dumps(values), flush=True)


class _Line:
    """One line on a terminal that says where the work stands; nothing when stderr is no terminal."""

    def __init__(self) -> None:
        self._shown_at, self._width = 0.0, 0

    def tell(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if not sys.stderr.isatty() or (now - self._shown_at < INTERVAL_S and done != total):
            return
        self._shown_at = now
        text = f"{label} {done:,}/{total:,}" if total else label
        print(f"\r{text:<{self._width}}", end="", file=sys.stderr, flush=True)
        self._width = len(text)

    def clear(self) -> None:
        if self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr, flush=True)
