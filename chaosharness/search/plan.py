"""What is proposed to one Hypothesis test: several planners in turns, each for one workload.

A test draws more than its schedule. So each planner of a plan sees the same choices outside the
schedule in all its runs, hence one workload; a tape plays them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Final

import attrs

from chaosharness.faults import LASTINGS, Fault
from chaosharness.schedule import Schedule
from chaosharness.search.marks import Sights
from chaosharness.search.planner import Planner, Shown
from chaosharness.search.portfolio import Portfolio
from chaosharness.search.spread import Aim, Spread
from chaosharness.strategies.drawing import Deck
from chaosharness.system import Run

UNKNOWN_MAX: Final = 10_000
"""Proposals in a row which the strategy cannot draw, after which the plan is given up."""

FAILURES_MAX: Final = 20
"""Failing schedules of one test for which fewer and longer faults are tried."""

LONGER: Final = ("timeout", "long")

WORKLOADS: Final = 4
"""Workloads that are tried besides those by chance."""

LEAD: Final = 3
"""Turns that the first workload has for each one of the others."""


@attrs.frozen
class Leg:
    """One part of the plan for a test: a planner, and which workload its runs have.

    Legs with the same number see the same choices outside the schedule, hence the same
    workload: those of the first run of that number, which are left to chance.
    """

    planner: Planner
    workload: int = 0
    share: int = 1
    """Turns that it has for each one that goes round among the others."""


MakePlan = Callable[[Deck], Sequence[Leg]]


def portfolio(deck: Deck) -> list[Leg]:
    """Plan as the other doors do with the first workload, and spread over others in between.

    The portfolio has three turns of four. In the fourth, several workloads take turns, each
    with those kinds of fault at those operations that were not struck before, also where only
    another fault leads there.
    """
    covered: set[Aim] = set()
    words: Any = {"faults_max": deck.faults_max, "kinds": deck.kinds}
    lead = Portfolio(dense_max=deck.faults_max, sizes=deck.sizes, sweeping=False, **words)
    others = [Leg(Spread(covered=covered, **words), number) for number in range(WORKLOADS)]
    return [Leg(lead, share=LEAD), *others]


PLAN: Final[ContextVar[MakePlan]] = ContextVar("chaosharness.plan", default=portfolio)
"""Makes the plan of the tests that start now."""

Choice = tuple[str, Any, Any]
"""How a choice was asked for, and the answer."""


class Tape:
    """The choices outside the schedule, recorded in one test case and played in others."""

    def __init__(self) -> None:
        self.choices: list[Choice] = []
        self.kept = False
        self._at = 0

    def rewind(self) -> None:
        """Start again; forget a recording that nobody wanted kept."""
        self._at = 0
        if not self.kept:
            self.choices.clear()

    def keep(self) -> None:
        """Play this recording from the next test case on."""
        if not self.kept:
            self.kept = True
            self._at = len(self.choices)

    def answer(self, kind: str, asked: Any, by_chance: Callable[[], Any]) -> Any:
        """Return the recorded answer if the same is asked, else one by chance."""
        if not self.kept:
            value = by_chance()
            self.choices.append((kind, asked, value))
            return value
        at = self._at
        self._at += 1
        if at < len(self.choices) and self.choices[at][:2] == (kind, asked):
            return self.choices[at][2]
        return by_chance()


class Playback:
    """Proposes what it was given."""

    wants_marks: Final = False

    def __init__(self, planned: Iterable[Schedule]) -> None:
        self._left = iter(tuple(planned))

    def propose(self) -> Schedule | None:
        """Return the next one."""
        return next(self._left, None)

    def observe(self, seen: Shown) -> None:
        """Learn nothing."""

    def forget(self) -> None:
        """Go on with the next one."""


Proposal = tuple[Leg | None, Schedule, list[int]]
"""A schedule and its choices, and the leg that wants to hear of the run."""


class Plan:
    """What is proposed to one test, leg by leg."""

    def __init__(self, deck: Deck) -> None:
        self.deck = deck
        self.legs = list(PLAN.get()(deck))
        self.tapes: dict[int, Tape] = {}
        self._sights: dict[int, Sights] = {}
        self._left = deque(self.legs)
        self._failed: list[Schedule] = []
        self._aimed = 0
        self._had = 0

    def next(self) -> Proposal | None:
        """Return the next proposal with its choices; None when there is nothing left."""
        for _ in range(UNKNOWN_MAX):
            if not self._left:
                return None
            leg = self._left[0]
            leg.planner.forget()  # one test case at a time: what was not run is not run any more
            schedule = leg.planner.propose() if self._worthwhile(leg) else None
            if schedule is None:
                self._left.popleft()
                self._had = 0
                continue
            self._take_turns(leg)
            numbers = self.deck.write(schedule)
            if numbers is not None:
                return leg, schedule, numbers
        return None

    def _take_turns(self, leg: Leg) -> None:
        """Put a leg behind the others; one with a larger share behind the next one only."""
        self._had += 1
        if self._had < leg.share:
            return
        self._had = 0
        self._left.popleft()
        if leg.share > 1:
            self._left.insert(1, leg)
        else:
            self._left.append(leg)

    def aim(self) -> Proposal | None:
        """Return, in turn, what is likely with the first workload: for others, by chance."""
        first = self.legs[0].planner
        tape = self.tapes[0]
        if not isinstance(first, Portfolio) or not (tape.kept and tape.choices):
            return None
        agenda = first.agenda()
        if not agenda:
            return None
        schedule = agenda[self._aimed % len(agenda)]
        self._aimed += 1
        numbers = self.deck.write(schedule)
        return None if numbers is None else (None, schedule, numbers)

    @property
    def urgent(self) -> bool:
        """Whether the next proposal follows up a failure."""
        return bool(self._left) and self._left[0].workload < 0

    def _worthwhile(self, leg: Leg) -> bool:
        """Say whether another workload is another one: not where nothing else is drawn."""
        first = self.tapes.get(0)
        return leg.workload <= 0 or first is None or not first.kept or bool(first.choices)

    def observe(self, leg: Leg, run: Run) -> None:
        """Tell all planners of this workload."""
        self.tapes[leg.workload].keep()
        seen = self._sights.setdefault(leg.workload, Sights()).of(run)
        for one in self.legs:
            if one.workload == leg.workload:
                one.planner.observe(seen)

    def failed(self, run: Run, tape: Tape) -> None:
        """Try next, with this workload, whether fewer faults would do if they lasted longer."""
        struck = Schedule(run.struck)
        if len(struck) < 2 or struck in self._failed or len(self._failed) >= FAILURES_MAX:
            return
        self._failed.append(struck)
        tape.keep()
        workload = -len(self._failed)
        self.tapes[workload] = tape
        self._left.appendleft(Leg(Playback(fewer_but_longer(struck)), workload))


def fewer_but_longer(schedule: Schedule) -> Iterator[Schedule]:
    """Yield a schedule less one fault, the others lasting longer.

    Shrinking never makes a fault worse. So it cannot leave a set of short troubles that
    work only together, where a single longer one would do.
    """
    for dropped in schedule:
        rest = schedule.without(dropped)
        yield from dict.fromkeys(Schedule(_lasting(fault, how) for fault in rest) for how in LONGER)


def _lasting(fault: Fault, how: str) -> Fault:
    if fault.options != LASTINGS:
        return fault
    words: dict[str, Any] = {fault.option_name: how}
    return attrs.evolve(fault, **words)
