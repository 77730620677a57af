"""What was there before a search is not looked through again and again while it lasts.

Python's collector of garbage looks through all that lives when enough has come to live beside it.
A search makes much, in a process that has loaded libraries, tests and models: all that was walked
every hundred and fifty runs or so, for nothing.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

GROWTH: Final = 4
"""All is looked through once it has grown by one part in so many, as by Python's collector."""

_there: Final = [0]
"""Blocks of memory when all had been looked through, or that were seen first: of a process."""


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
    _look_through_if_grown()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _look_through_if_grown() -> None:
    """Collect what searches before this one, and tests between them, have left in circles.

    A session of many searches would keep it to its end: the collector looks through all when much
    has been made, which is during searches, and there it is kept from it. How much there is, is
    asked of the allocator: to count what is frozen takes a walk through all of it.
    """
    there, before = sys.getallocatedblocks(), _there[0]
    if before and there > before + before // GROWTH:
        gc.collect()
        there = before = sys.getallocatedblocks()
    _there[0] = min(there, before or there)
