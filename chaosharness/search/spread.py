"""Spread first: each kind of fault at each operation once, before anything is tried twice.

For a test with a few hundred runs. Small-first is complete and starts with the mildest
kind everywhere, so that a short campaign would never come to a crash.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Final

from chaosharness.campaign import Cell
from chaosharness.faults import FAULTS, Fault
from chaosharness.kernel.history import History
from chaosharness.schedule import Schedule
from chaosharness.search.planner import Shown
from chaosharness.search.sites import candidates, cell_of
from chaosharness.strategies.sizes import NONE, Sizes, length_of, option_of

Aim = tuple[Cell, int, int, str]
"""A kind of fault at an operation, with one value of its option, its length in ms where it has
one, and how the operation went without that fault: a crash after a charge that is declined says
nothing of one that is paid."""

WEIGHTS: Final = {"effect": 0, "commit": 1, "publish": 1}
"""Operations that do these go before the others: something outside has changed for good."""

_CALM_TRIES: Final = 3


class Spread:
    """Proposes every kind of fault at every operation, with each value of its option.

    Kinds take turns, and operations with an effect in the world outside go first. An
    operation that only a fault brings about (a compensation, a retry) is struck together
    with that fault.

    Args:
        faults_max: Faults in one schedule, at most.
        kinds: Only these kinds of fault.
        sizes: How long trouble may last besides the words.
        covered: What was struck already: shared by the planners of several workloads, so
            that each tries only what the others could not reach.
    """

    def __init__(
        self,
        *,
        faults_max: int = 2,
        kinds: Collection[type[Fault]] = FAULTS,
        sizes: Sizes = NONE,
        covered: set[Aim] | None = None,
    ) -> None:
        self.faults_max = faults_max
        self.kinds = frozenset(kinds)
        self.sizes = sizes
        self.covered: set[Aim] = set() if covered is None else covered
        self.agenda: list[Schedule] = []
        """What was aimed at so far, in the order of the plan."""
        self._operations: set[str] = set()
        self._outcomes: dict[tuple[str, int, int], str] = {}
        self._aimed_at: set[Aim] = set()
        self._queue: deque[tuple[Aim, Schedule]] = deque()
        self._calm_tries = _CALM_TRIES

    @property
    def wants_marks(self) -> bool:
        """Whether `observe` asks for the marks of runs."""
        return False

    def propose(self) -> Schedule | None:
        """Return the next schedule; None when each aim was tried."""
        if not self._operations:
            self._calm_tries -= 1
            return Schedule() if self._calm_tries >= 0 else None
        while self._queue:
            aim, schedule = self._queue.popleft()
            if aim not in self.covered:
                return schedule
        return None

    def forget(self) -> None:
        """Give up what is in flight: what was not struck by it stays open."""

    def observe(self, seen: Shown) -> None:
        """Learn which operations a run reached, and which faults struck."""
        run = seen.run
        if run is None:
            return
        struck = Schedule(run.struck)
        self.covered.update(map(self._aim, struck))
        if run.surfaces.keys() <= self._operations or len(struck) >= self.faults_max:
            return
        fresh = [
            fault
            for fault in candidates(run, kinds=self.kinds, sizes=self.sizes)
            if fault.site.operation not in self._operations
        ]
        self._operations.update(run.surfaces)
        self._learn_outcomes(run.history)
        for fault in _in_turns(fresh, run.history):
            aim = self._aim(fault)
            if aim not in self._aimed_at:
                self._aimed_at.add(aim)
                self._queue.append((aim, struck.with_(fault)))
                self.agenda.append(struck.with_(fault))

    def _learn_outcomes(self, history: History) -> None:
        for _, kind, _, operation, entity, attempt, _, data in history.raw:
            if kind == "reply":
                self._outcomes.setdefault((operation, entity, attempt), str(data.get("outcome")))

    def _aim(self, fault: Fault) -> Aim:
        site = fault.site
        outcome = self._outcomes.get((site.operation, site.entity, site.attempt), "")
        return (cell_of(fault), option_of(fault), length_of(fault), outcome)


def _in_turns(faults: list[Fault], history: History) -> Iterator[Fault]:
    """Yield faults, one of each kind in turn: first at what cannot be undone, and mild ones."""
    weights: dict[str, int] = {}
    for event in history.raw:
        weight = WEIGHTS.get(event[1])
        if weight is not None:
            weights[event[3]] = min(weight, weights.get(event[3], weight))
    rounds: dict[int, dict[type[Fault], deque[Fault]]] = {}
    for fault in faults:
        late = weights.get(fault.site.operation, len(WEIGHTS)) + option_of(fault)
        rounds.setdefault(late, {}).setdefault(type(fault), deque()).append(fault)
    for late in sorted(rounds):
        columns = [*rounds[late].values()]
        while columns:
            yield from (column.popleft() for column in columns)
            columns = [column for column in columns if column]
