"""How long work tells where it stands and hears that it is no longer wanted: LoRA tools, downloads, examinations. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")

Tell = Callable[[str, int, int], None]
"""Called as tell(label, done, total), e.g. ("Merging layers", 12, 264), often and cheaply; it raises `Cancelled` to end the work."""


class Cancelled(Exception):
    """The user no longer wants the result. Who raises it leaves nothing half-made behind."""


def quiet(label: str, done: int, total: int) -> None:
    """Tells nobody."""


def each(items: Iterable[T], label: str, tell: Tell, total: int | None = None) -> Iterator[T]:
    """The items, telling before each how many are done, and at the end that all are. total: unless `items` knows its length.

    Raises:
        Cancelled: by `tell`.
    """
    if total is None:
        total = len(items) if isinstance(items, Sized) else 0
    done = 0
    for item in items:
        tell(label, done, total)
        yield item
        done += 1
    tell(label, done, total)
