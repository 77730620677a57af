"""Commits that leave a store as it was: rows set to the values that they had already.

Or to the same but for times, which go on with the clock: a lease that is renewed for ever, a
heartbeat in a table. Or that lead it round: a lock that is taken and given back, for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chaosharness.kernel.rest import COMMITS_MIN
from chaosharness.kernel.spans import is_the_same_later
from chaosharness.kernel.world import World

STATES_MAX: Final = 8
"""How many contents a loop may lead a store through, until one of them is there once more."""


class Repeats:
    """What a store held after some of its last commits.

    Databases count rows that a statement touched, whether or not a value in them is another, and
    a lock that is taken and given back leaves things as they were. To compare the contents after
    each commit would be dear, and matters only for a loop that does nothing else: so they are
    looked at after some commits from the 8th, the 16th, the 32nd, ... of such a row on, and, as
    long as contents come back, after each further one.

    Args:
        look: Returns what is committed, in one order; None where it cannot be looked at now.
    """

    __slots__ = ("_count", "_known", "_look", "_misses", "_row")

    def __init__(self, look: Callable[[], Any]) -> None:
        self._look = look
        self._known: list[tuple[Any, int]] = []
        self._misses = STATES_MAX
        self._count = 0
        self._row = -1

    def unchanged(self, world: World) -> bool:
        """Say whether a commit has changed nothing; asked once after each that touched rows.

        Or nothing for good: what is held now it held before, and nothing else came in between.
        """
        row = world.rest.goes_on_alike(world)
        if self._row != row:
            self._row = row
            self._count = 0
            self._misses = STATES_MAX
        self._count += 1
        found = self._was_there(world.now)
        world.rest.counted(world, effect=not found)
        return found

    def _was_there(self, now_ms: int) -> bool:
        count = self._count
        if count >= COMMITS_MIN and count & (count - 1) == 0 and self._misses >= STATES_MAX:
            self._misses = 0
            self._known.clear()
        if self._misses >= STATES_MAX:
            return False
        content = self._look()
        if content is not None:
            for at, (former, then_ms) in enumerate(self._known):
                if is_the_same_later(content, now_ms, former, then_ms):
                    self._known[at] = content, now_ms
                    self._misses = 0
                    return True
            self._known.append((content, now_ms))
            del self._known[:-STATES_MAX]
        self._misses += 1
        return False


def in_one_order(final: dict[str, Any]) -> Any:
    """Return the tables of a store with their rows in an order that no statement chose."""
    return {table: sorted(rows, key=repr) for table, rows in final["tables"].items()}
