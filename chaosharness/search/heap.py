"""What was there before a search is not looked through again and again while it lasts.

Python's collector of garbage looks through all that lives when enough has come to live beside it.
A search makes much, in a process that has loaded libraries, tests and models: all that was walked
every hundred and fifty runs or so, for nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

GROWTH: Final = 4
"""All is looked through once it has grown by one part in so many, as by Python's collector."""

_there: Final = [0]
"""How much there was when all had been looked through, or was seen first: of a process."""


@contextmanager
def settled_heap() -> Iterator[None]:
    """Keep the collector from what there is already, until the search is over.

    What is young is looked through first: afterwards it is among the old, as without this. Where
    somebody has frozen what they have, or does without the collector, nothing is done.
    """
    if not gc.isenabled() or gc.get_freeze_count():
        yield
        return
    gc.collect(1)
    try:
        gc.freeze()
        _look_through_if_grown()
        yield
    finally:
        gc.unfreeze()


def _look_through_if_grown() -> None:
    """Collect what searches before this one, and tests between them, have left in circles.

    A session of many searches would keep it to its end: the collector looks through all when much
    has been made, which is during searches, and there it is kept from it.
    """
    there, before = gc.get_freeze_count(), _there[0]
    if before and there > before + before // GROWTH:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        _there[0] = gc.get_freeze_count()
    else:
        _there[0] = min(there, before or there)
