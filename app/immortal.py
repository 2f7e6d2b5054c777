"""Keeps None, True and False alive under PySide6 6.12 on Python 3.11. Imports neither torch nor Qt.

WORKAROUND for PySide6 6.12.0: its wheels are built for the stable ABI with headers in which these three are immortal (Python
3.12, PEP 683), so that every call that returns nothing gives back a reference that it never took. On Python 3.11 the count
falls by one a call, and after some thousand calls the interpreter ends with "none_dealloc: deallocating None". Measured:
`sys.getrefcount(None)` falls by 1.00 for each `QLabel.setWordWrap(True)`. To be removed with Python 3.11.
"""

from __future__ import annotations

import ctypes
import sys

PLENTY = 1 << 50  # a million calls a second for 35 years


def needed() -> bool:
    """Whether this Python counts references to None, and where we know that it counts them."""
    ordinary = sys.implementation.name == "cpython" and not hasattr(sys, "gettotalrefcount")
    return ordinary and sys.version_info < (3, 12)


def make_immortal() -> None:
    """Gives the three so many references that they never run out. The count is the first word of every object."""
    for thing in (None, True, False):
        count = ctypes.c_ssize_t.from_address(id(thing))
        if count.value < PLENTY:
            count.value += PLENTY
