"""What sleeps under trio: each pending deadline, and the tasks that wait for it.

The agenda knows of the next deadline of a guest only, so one waiter speaks for them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import ceil
from typing import Any, Final, Protocol

from chaosharness.handlers.fingerprint import of_coroutines
from chaosharness.kernel.rest import Loop, RanOn, Wait
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope
from chaosharness.kernel.spans import DAY_MS
from chaosharness.kernel.world import World


class Sleeper(Protocol):
    """The guest whose tasks sleep."""

    world: World
    incarnation: Incarnation

    def time(self) -> float:
        """Return the virtual time, in seconds of trio's clock."""

    def tasks(self) -> Iterable[Any]:
        """Return its tasks that have not ended."""


class _Nobody:
    """On whose behalf a deadline lies that has no task of its own."""

    clock = reckons_ms = 0
    place = "trio"
    incarnation = None


NOBODY: Final = _Nobody()


class Naps:
    """The pending deadlines of one guest, as one waiter on the agenda."""

    __slots__ = ("_guest", "_loops", "_waits")

    def __init__(self, guest: Sleeper) -> None:
        self._guest = guest
        self._waits: dict[Any, tuple[float, Wait]] = {}
        self._loops: dict[int, Loop] = {}

    def note(self, heap: list[Any]) -> None:
        """Take note of the deadlines that are pending now: trio is idle."""
        pending = [
            (deadline, task._counter if task else -1, cancel, task)
            for deadline, _, cancel in heap
            if cancel._registered_deadline == deadline
            for task in cancel._cancel_status._tasks or (None,)
        ]
        pending.sort(key=_order)
        known, self._waits = self._waits, {}
        for deadline, number, cancel, task in pending:
            key = (cancel if task is None else number, deadline)
            found = known.get(key)
            if found is not None:
                self._waits[key] = found
            elif task is None:  # around a nursery: to go off would be a change
                self._waits[key] = (deadline, self._bare(deadline))
            else:
                scope = task.context.get(SCOPE)
                if scope is not None and not scope.background:
                    self._waits[key] = (deadline, self._wait(task, scope, deadline))

    def _bare(self, deadline: float) -> Wait:
        return Wait(self._guest.world, Loop(), NOBODY, self._ms(deadline), of_coroutines, None)

    def _wait(self, task: Any, scope: Scope, deadline: float) -> Wait:
        loop = self._loop_of(task)
        delay_ms = self._ms(deadline)
        world = self._guest.world
        at = None if scope in world.in_flight else self._coroutines(task)
        return Wait(world, loop, scope, delay_ms, of_coroutines, at)

    def _coroutines(self, first: Any) -> Iterator[Any]:
        """Yield the coroutine of a task, and those of the others, handlers at work aside."""
        yield first.coro
        in_flight = self._guest.world.in_flight
        for task in sorted(self._guest.tasks(), key=_number):
            scope = task.context.get(SCOPE)
            if task is not first and scope is not None and scope not in in_flight:
                yield task.coro

    def _ms(self, deadline: float) -> int:
        return min(ceil((deadline - self._guest.time()) * 1000), DAY_MS)

    def _loop_of(self, task: Any) -> Loop:
        loop = self._loops.get(task._counter)
        if loop is None:
            nursery = task.parent_nursery
            parent = None if nursery is None else nursery.parent_task
            if parent is None or parent.context.get(SCOPE) is None:
                loop = Loop()
            else:
                code = getattr(task.coro, "cr_code", None)
                loop = self._loop_of(parent).child(code, task, _has_ended)
            self._loops[task._counter] = loop
        return loop

    def woke(self, reached_s: float) -> None:
        """Take note that deadlines up to a time are over."""
        for deadline, wait in self._waits.values():
            if deadline <= reached_s:
                wait.woke()

    @property
    def rest_at(self) -> int:
        """The effects at which all that sleep are at rest, else -1."""
        found = {wait.rest_at for _, wait in self._waits.values()}
        if not found:
            return self._guest.world.effects
        return found.pop() if len(found) == 1 else -1

    def holding_out(self, calm_ms: int = 0) -> RanOn | None:
        """Return how far those that are not at rest were run on, if that is far enough."""
        effects = self._guest.world.effects
        found: RanOn | None = None
        for _, wait in self._waits.values():
            if wait.rest_at != effects:
                found = wait.holding_out(calm_ms)
                if found is None:
                    return None
        return found

    # ---- idle rounds that are skipped: see `kernel.leap`

    @property
    def delay_ms(self) -> int:
        """The longest sleep of its tasks."""
        return max((wait.delay_ms for _, wait in self._waits.values()), default=1)

    @property
    def incarnation(self) -> Any:
        """Whose tasks they are."""
        return self._guest.incarnation

    @property
    def beat_ms(self) -> int:
        """After how long all sleep like this again; 0 of several, who have a beat each."""
        return self.delay_ms if len(self._waits) == 1 else 0

    @property
    def stirred(self) -> int:
        """When the one fell asleep that has slept longest; -1 of none: see `Wait.stirred`."""
        return min((wait.stirred for _, wait in self._waits.values()), default=-1)

    @property
    def idled(self) -> int:
        """See `Wait.idled`: of the one that has slept longest."""
        waits = (wait for _, wait in self._waits.values())
        return min(((wait.stirred, wait.idled) for wait in waits), default=(-1, 0))[1]

    @property
    def idle(self) -> bool:
        """Whether that is so, as far as was asked last."""
        return any(wait.idle for _, wait in self._waits.values())

    def is_idle(self) -> bool:
        """Say whether it is one task that does nothing but ask for the time: see `Wait.is_idle`."""
        waits = [wait for _, wait in self._waits.values()]
        return len(waits) == 1 and waits[0].is_idle()

    @property
    def steady(self) -> bool:
        """Whether no round was unlike those to come: see `Wait.steady`."""
        return all(wait.steady for _, wait in self._waits.values())

    def _restless(self) -> list[Wait]:
        effects = self._guest.world.effects
        return [wait for _, wait in self._waits.values() if wait.rest_at != effects]

    def may_leap(self) -> bool:
        """Say whether one task reads a clock, round by round alike, and all others are at rest."""
        restless = self._restless()
        return len(restless) == 1 and restless[0].may_leap()

    def ahead(self) -> Iterable[int]:
        """Return the times that it may wait for."""
        return [at for wait in self._restless() for at in wait.ahead()]


def _number(task: Any) -> int:
    return int(task._counter)


def _order(pending: tuple[float, int, Any, Any]) -> tuple[float, int]:
    return pending[:2]  # never by their addresses, as in trio's heap


def _has_ended(task: Any) -> bool:
    return task.coro.cr_frame is None
