"""How many schedules are chosen at once, before what the first of them showed is known.

Always so many, by one rule, however many processes run them: so what a search does is the
same for any number of them. The first ones are few, since the first finding often is near.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

BATCH_MAX: Final = 32


def batch_sizes() -> Iterator[int]:
    """Yield 1, 1, 2, 4, 8, 16, 32 and then 32 for ever."""
    yield 1
    size = 1
    while True:
        yield size
        size = min(2 * size, BATCH_MAX)
