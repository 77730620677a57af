"""Commits that leave a store as it was: rows set to the values that they had already.

Or to the same but for times, which go on with the clock: a lease that is renewed for ever, a
heartbeat in a table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness.kernel.rest import COMMITS_MIN
from chaosharness.kernel.spans import is_the_same_later
from chaosharness.kernel.world import World


class Repeats:
    """What a store held after one of its last commits.

    Databases count rows that a statement touched, whether or not a value in them is another. To
    compare the contents after each commit would be dear, and matters only for a loop that does
    nothing else: so they are looked at after 8, 16, 32, ... such commits, and, where nothing
    was changed, after each further one.

    Args:
        look: Returns what is committed, in one order; None where it cannot be looked at now.
    """

    __slots__ = ("_at_ms", "_content", "_count", "_look", "_row")

    def __init__(self, look: Callable[[], Any]) -> None:
        self._look = look
        self._content: Any = None
        self._at_ms = 0
        self._count = 0
        self._row = -1

    def unchanged(self, world: World) -> bool:
        """Say whether a commit has changed nothing; asked once after each that touched rows."""
        row = world.rest.goes_on_alike(world)
        if self._row != row:
            self._row = row
            self._count = 0
            self._content = None
        self._count += 1
        found = self._looks_the_same(world.now)
        world.rest.counted(world, effect=not found)
        return found

    def _looks_the_same(self, now_ms: int) -> bool:
        count = self._count
        begins = count >= COMMITS_MIN and count & (count - 1) == 0
        if self._content is None and not begins:
            return False
        before, self._content = self._content, self._look()
        then_ms, self._at_ms = self._at_ms, now_ms
        known = self._content is not None and before is not None
        if known and is_the_same_later(self._content, now_ms, before, then_ms):
            return True
        if not begins:
            self._content = None
        return False


def in_one_order(final: dict[str, Any]) -> Any:
    """Return the tables of a store with their rows in an order that no statement chose."""
    return {table: sorted(rows, key=repr) for table, rows in final["tables"].items()}
