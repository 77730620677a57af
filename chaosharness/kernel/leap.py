"""Idle rounds that are skipped: to the next time that anybody is known to wait for.

A loop that looks each second for a row that is due in eight hours goes round 28,800 times and
changes nothing. Once loops have gone round so often that all durations of the system are over,
and each round was the same but for what the clock says, all of them sleep at once to two rounds
before the next known time, on the same beat. What is to come stays in its order.

And one at rest, which reads no clock, goes round for nothing while others wait: it sleeps until
any of them goes on. A relay that polls each half second goes round seven thousand times in an
hour's outage. A fault at one of the rounds that are skipped finds no site: it would find all as at
the round before.

So does one that reads a clock, once it has gone on for as long as a run goes on for its sake, while
others are not through: two relays that poll each half second go round 2,400 times each until a
scheduler that looks once a minute is. It goes round once whenever any of the others has.

Not modelled:
    What code would have done in between at a time that nothing shows: it does it late.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify
from math import lcm
from types import CodeType
from typing import Any, Final, Protocol

from chaosharness.kernel.agenda import ACTION, DUE, WAITER
from chaosharness.kernel.spans import DAY_MS

WAKES_LEAP: Final = 2_000
"""Wakes of a loop after which idle rounds are skipped; all up to there are gone through."""

ROUNDS_MIN: Final = 100
"""Fewer rounds, of all loops together, are not worth a leap."""


class Sleep(Protocol):
    """One sleep of one loop: a `Wait`."""

    delay_ms: int

    @property
    def incarnation(self) -> Any: ...

    def may_leap(self) -> bool: ...

    def ahead(self) -> Iterable[int]: ...


def leap(
    waits: Iterable[Sleep], popped: list[Any], entries: list[list[Any]], now: int, until_ms: int
) -> None:
    """Put off the sleepers on an agenda to shortly before the next known time, if they may be.

    Args:
        waits: The sleeps that are not at rest.
        popped: The entry that comes next.
        entries: All others.
        now: The time of the run.
        until_ms: The end of the phase: nothing is put off beyond it.
    """
    waits = [*waits]
    if not waits or not all(wait.may_leap() for wait in waits):
        return
    readers = [wait.incarnation for wait in waits]
    if len({*map(id, readers)}) < len(readers):
        return  # two of one process: each may watch the other's clock
    ahead = [at for wait in waits for at in wait.ahead() if at > now]
    if not ahead:
        return
    target = min((until_ms, *ahead))
    asleep: list[list[Any]] = []
    for entry in (popped, *entries):
        if entry[ACTION] is not None:
            if hasattr(entry[WAITER], "may_leap"):
                asleep.append(entry)
            else:  # a timer of the background
                target = min(target, entry[DUE])
    periods = [max(entry[WAITER].delay_ms, 1) for entry in asleep]
    beat = lcm(*periods)
    far = (target - 2 * max(periods) - max(entry[DUE] for entry in asleep)) // beat
    rounds = sum(far * beat // period for period in periods)
    if beat > DAY_MS or rounds < ROUNDS_MIN:
        return
    for entry in asleep:
        entry[DUE] += far * beat
    heapify(entries)


def idle_readers(entries: list[list[Any]], effects: int) -> frozenset[int]:
    """Return whose sleeps are those of loops that only ask for the time: processes, by identity.

    None where anything but sleeps is to come: a message on its way, a timer. And nobody with two
    loops that are not at rest: one of them may go by the times that the other has noted.

    Args:
        entries: Those of the agenda.
        effects: How much has changed in the run.
    """
    found: dict[int, bool] = {}
    for entry in entries:
        waiter = entry[WAITER]
        if entry[ACTION] is None or getattr(waiter, "rest_at", None) == effects:
            continue
        if not hasattr(waiter, "is_idle"):
            if hasattr(waiter, "woke"):
                continue  # it watches over something
            return frozenset()
        process = id(waiter.incarnation)
        found[process] = process not in found and waiter.is_idle()
    return frozenset(process for process, is_idle in found.items() if is_idle)


def pass_over(
    popped: list[Any],
    entries: list[list[Any]],
    effects: int,
    stirred: int,
    until_ms: int,
    *,
    idle: frozenset[int] = frozenset(),
    others: int = 0,
) -> bool:
    """Put off loops at rest to when anything else goes on; say whether the next one was.

    Each of them has gone round since anything else went on, has found all as it was, and has
    changed nothing. So its next rounds are the same, up to when anything else happens: a message
    that arrives, a timeout that somebody waits for, the end of trouble. They stay on their beat.

    Args:
        popped: The entry that comes next: of a loop at rest.
        entries: All others.
        effects: How much has changed in the run.
        stirred: How often anything but a loop at rest has gone on.
        until_ms: The end of the phase.
        idle: The processes whose loops only ask for the time.
        others: How often anything but these, and loops at rest, has gone on.
    """
    target = until_ms
    asleep: list[list[Any]] = []
    for entry in (popped, *entries):
        waiter = entry[WAITER]
        if entry[ACTION] is None:
            continue
        if getattr(waiter, "rest_at", -1) == effects:
            sleeps = waiter.stirred == stirred and waiter.steady
        else:
            sleeps = bool(idle) and waiter.stirred - waiter.idled == others
            sleeps = sleeps and id(waiter.incarnation) in idle
        if sleeps and waiter.beat_ms > 0:
            asleep.append(entry)
        elif entry[DUE] < target:
            target = entry[DUE]
    moved = False
    for entry in asleep:
        beat_ms = entry[WAITER].beat_ms
        if entry[DUE] < target:
            entry[DUE] += -((entry[DUE] - target) // beat_ms) * beat_ms
            moved = True
    if moved:
        heapify(entries)
    return moved


def counts_to(state: Any, most: int) -> int:
    """Return the largest whole number below another that sleeping code knows; 0 for none.

    Code that counts its rounds may count to one of these.
    """
    found = 0
    left: list[Iterable[Any]] = [state]
    while left:
        before: Any = None
        for one in left.pop():
            kind = type(one)
            if kind is tuple or kind is frozenset:
                if kind is frozenset or one[:1] != ("met",):
                    left.append(one)
            elif kind is CodeType:
                left.append(one.co_consts)
            elif kind is int and type(before) is not CodeType and found < one < most:
                found = one  # not where in its code it stands, which comes after that
            before = one
    return found
