"""What was there before a search is not looked through again and again while it lasts.

Python's collector of garbage looks through all that lives when enough has come to live beside it.
A search makes much, in a process that has loaded libraries, tests and models: all that was walked
every hundred and fifty runs or so, for nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


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
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
