"""How the process takes memory from the system and gives it back, so that what was let go really is. Imports no torch.

glibc takes large blocks from its heap once some were freed, and there they leave holes: a step on SD 1.5 then needs 0.4 GB more
than its tensors. In mappings of their own they go back at once. Such mappings cost a page fault for each 4 KB, a third of a step's
time, unless the system may use large pages, for which torch has a switch. With both, a step takes as long as before.

Elsewhere than on Linux with glibc nothing is changed.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from typing import Any

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of mallopt(3)
_LARGE_BYTES = 2 << 20  # torch asks for large pages from this size on


def steady() -> None:
    """Sets the process up; before torch is imported, which reads its switch only once."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if (libc := _glibc()) is not None:
        libc.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, 8 * _LARGE_BYTES)  # setting one thing stops glibc from adapting the others


def trim() -> None:
    """Gives what is free in the heap back to the system; 10 to 100 ms, for the moments when a part of a model was let go."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> Any:
    """The C library, or None where it is another one."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version") else None
