"""When Python looks for objects that refer to each other and to which nothing else does. Imports neither torch nor Qt.

A search through all objects stops every thread, for 50 ms and more with thousands of pictures, and Python begins one whenever
some thousand objects are new: in the middle of what the user does. Objects without such circles, as pictures and captions,
are freed without any search.
"""

from __future__ import annotations

import gc

# Of so many searches through what is fairly new, one goes through all that is not passed over; Python's own is 10.
SELDOM = 100


def pass_over() -> None:
    """Later searches leave out what there is now, and those through the rest are seldom. Takes some µs."""
    young, middle, _old = gc.get_threshold()
    gc.set_threshold(young, middle, SELDOM)
    gc.freeze()


def search() -> None:
    """Searches all there is, also what was passed over, and passes over the rest. For when nobody works with the window."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()
