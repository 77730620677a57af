"""Commits that leave a store as it was: rows set to the values that they had already.

Or to the same but for times, which go on with the clock: a lease that is renewed for ever, a
heartbeat in a table. Or that lead it round: a lock that is taken and given back, for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chaosharness.kernel.rest import COMMITS_MIN
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.spans import is_the_same_later

SEVERAL: Final = "several"

STATES_MAX: Final = 8
"""How many contents a loop may lead a store through, until one of them is there once more."""


class _State:
    """What a store held, and who has changed that since.

    Attributes:
        content: What was committed.
        at_ms: When it was so last.
        by: Who alone has committed since; `None` nobody, `SEVERAL` more than one.
        home: Whether one piece of code has left it and come back to it by itself.
    """

    __slots__ = ("at_ms", "by", "content", "home")

    def __init__(self, content: Any, at_ms: int) -> None:
        self.content = content
        self.at_ms = at_ms
        self.by: Any = None
        self.home = False


class Repeats:
    """What a store held after some of its last commits.

    Databases count rows that a statement touched, whether or not a value in them is another, and
    a lock that is taken and given back leaves things as they were. To compare the contents after
    each commit would be dear, and matters only for a loop that does nothing else: so they are
    looked at after some commits from the 8th, the 16th, the 32nd, ... of such a row on, and, as
    long as contents come back, after each further one.

    What one undoes of what another did is a change each time, for ever if need be: two who fight
    over a row never come to rest.
    """

    __slots__ = ("_count", "_known", "_last", "_misses", "_row")

    def __init__(self) -> None:
        self._known: list[_State] = []
        self._last: _State | None = None
        self._misses = STATES_MAX
        self._count = 0
        self._row = -1

    def unchanged(self, scope: Scope, look: Callable[[], Any]) -> bool:
        """Say whether a commit has changed nothing; asked once after each that touched rows.

        Or nothing for good: what is held now it held before, nothing else came in between, and
        whoever made it another has made it the same again.

        Args:
            scope: Who committed.
            look: Returns what is committed, in one order; None where it cannot be looked at now.
        """
        world = scope.world
        rest, effects = world.rest, world.effects
        if rest.alike_at != effects or self._row != rest.row:
            if rest.alike_at != effects:
                rest.row += 1
            self._row = rest.row
            self._count = 1
            self._misses = STATES_MAX
            rest.alike_at = effects + 1
            return False
        self._count += 1
        found = self._was_there(world.now, (scope.incarnation, scope.place), look)
        rest.alike_at = world.effects + (not found)
        return found

    def _was_there(self, now_ms: int, who: Any, look: Callable[[], Any]) -> bool:
        count = self._count
        if count >= COMMITS_MIN and count & (count - 1) == 0 and self._misses >= STATES_MAX:
            self._misses = 0
            self._known.clear()
            self._last = None
        if self._misses >= STATES_MAX:
            return False
        content = look()
        left, self._last = self._last, None
        for one in self._known:
            one.by = who if one.by is None or one.by == who else SEVERAL
        if content is not None:
            for one in self._known:
                if is_the_same_later(content, now_ms, one.content, one.at_ms):
                    return self._is_back(one, left, content, now_ms)
            self._last = _State(content, now_ms)
            self._known.append(self._last)
            del self._known[:-STATES_MAX]
        self._misses += 1
        return False

    def _is_back(self, one: _State, left: _State | None, content: Any, now_ms: int) -> bool:
        """Say whether it changes nothing that a store holds what it held before."""
        renewed = left is not None and is_the_same_later(
            content, now_ms, left.content, left.at_ms, goes_on=True
        )
        back = one.by is not SEVERAL
        if back and not renewed:
            one.home = True
        found = back or renewed or (left is not None and left.home)
        one.content, one.at_ms, one.by = content, now_ms, None
        self._last = one
        self._misses = 0 if found else self._misses + 1
        return found


def in_one_order(final: dict[str, Any]) -> Any:
    """Return the tables of a store with their rows in an order that no statement chose."""
    return {table: sorted(rows, key=repr) for table, rows in final["tables"].items()}
