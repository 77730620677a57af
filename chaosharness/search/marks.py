"""What one run was like, beside the calm one: plain values that a planner learns from.

A pure function of the two runs, so that another process can make them: a few hundred bytes,
where the history has tens of thousands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from operator import itemgetter
from typing import Final, Protocol

import attrs

from chaosharness.faults import Fault
from chaosharness.handlers.port import Surface
from chaosharness.kernel.history import History
from chaosharness.schedule import Schedule
from chaosharness.search.lineage.ways import Lesson, Numbering, Ways, lesson_of, ways_of
from chaosharness.system import Run

NO_WAYS: Final = Ways()
WAYS_FAULTS_MAX: Final = 3
"""Faults of a run up to which its ways are read."""

Fact = tuple[str, str, str, int]
"""Kind of event, operation or actor, outcome, and how often: 1, 2, 4, 8 and so on."""

NOT_OURS: Final = frozenset({"fault", "phase", "end", "start", "crash", "poll", "rebalance"})
"""Events that tell of the harness, or of a broker that goes round: no trace of what was done."""

_Count = tuple[str, str, int, str]
"""Kind of event, operation or actor, workload item, outcome."""

_Raw = tuple[str, str, str, int]
"""Kind of event, operation, actor, workload item."""

_RAW: Final = itemgetter(1, 3, 2, 4)


@attrs.frozen
class Marks:
    """What one run was like.

    Attributes:
        touched: Operations (and actors, for events outside any) at which something happened more
            often, less often, or with another outcome than in the calm run.
        facts: Which events each operation led to, and how often, where calm did not show that.
    """

    touched: frozenset[str] = frozenset()
    facts: frozenset[Fact] = frozenset()


def ways_of_few(run: Run) -> Ways:
    """Return how the outcomes of a run came about; of one with many faults nobody needs it."""
    return ways_of(run) if len(run.schedule) <= WAYS_FAULTS_MAX else NO_WAYS


def lesson_of_few(run: Run, numbering: Numbering, without: int) -> Lesson:
    """Return the same in bits that are given, less some of them."""
    return lesson_of(run, numbering, without) if len(run.schedule) <= WAYS_FAULTS_MAX else Lesson()


def marks_of(run: Run, calm: Run) -> Marks:
    """Return what a run was like beside the calm run of the same workload."""
    return Beside(calm).marks_of(run)


@attrs.define(eq=False)
class Beside:
    """Looks at runs beside one calm run, which is counted once."""

    calm: Run
    _counts: Counter[_Raw] = attrs.field(init=False)
    _replies: Counter[_Count] = attrs.field(init=False)
    _totals: dict[tuple[str, str, str], int] = attrs.field(init=False)
    _facts: frozenset[Fact] = attrs.field(init=False)
    _last: tuple[Run, dict[_Count, int]] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._counts = Counter(map(_RAW, self.calm.history.raw))
        self._replies = _replies(self.calm.history)
        self._totals = _totals(_counts(self.calm.history))
        self._facts = _facts(self._totals)

    def marks_of(self, run: Run) -> Marks:
        """Return what a run was like; of the calm run itself, all its facts."""
        if run is self.calm:
            return Marks(facts=self._facts)
        return Marks(self.touched_by(run), self._news(self._more(run)))

    def touched_by(self, run: Run) -> frozenset[str]:
        """Return where a run was another one than the calm run: see `Marks`."""
        if run is self.calm:
            return frozenset()
        return frozenset([key[1] for key in self._more(run) if key[0] not in NOT_OURS])

    def _more(self, run: Run) -> dict[_Count, int]:
        """Return how much more often than in the calm run things happened, where it differs."""
        if self._last is None or self._last[0] is not run:
            self._last = (run, self._counted(run.history))
        return self._last[1]

    def _counted(self, history: History) -> dict[_Count, int]:
        ours, calm = Counter(map(_RAW, history.raw)), self._counts
        more: dict[_Count, int] = {}
        for raw in dict(ours.items() ^ calm.items()):
            kind, operation, actor, entity = raw
            if kind != "reply":
                key = (kind, operation or actor.partition("#")[0], entity, "")
                more[key] = more.get(key, 0) + ours[raw] - calm[raw]
        replies, usual = _replies(history), self._replies
        for key in dict(replies.items() ^ usual.items()):
            more[key] = replies[key] - usual[key]
        return {key: times for key, times in more.items() if times}

    def _news(self, changed: Mapping[_Count, int]) -> frozenset[Fact]:
        """Return the facts that calm does not have: of what happened more often than there."""
        more: dict[tuple[str, str, str], int] = {}
        for (kind, place, _, outcome), times in changed.items():
            what = (kind, place, outcome)
            more[what] = more.get(what, 0) + times
        found = []
        for what, times in more.items():
            if times > 0:
                before = self._totals.get(what, 0)
                sizes = range(before.bit_length(), (before + times).bit_length())
                found += [(*what, 1 << size) for size in sizes]
        return frozenset(found)


class Bits(Numbering, Protocol):
    """The bits of a search, as far as a run is told in them."""

    def translated(self, ways: Ways, without: int = 0) -> Lesson:
        """Return ways that were read elsewhere in these bits, less some of them."""


class Shown(Protocol):
    """What a planner is told of one run: it need not have been made in this process."""

    @property
    def schedule(self) -> Schedule:
        """The faults that were armed."""

    @property
    def unused(self) -> tuple[Fault, ...]:
        """Those of them that found no site."""

    @property
    def struck(self) -> tuple[Fault, ...]:
        """The others."""

    @property
    def attempts(self) -> Mapping[tuple[str, int, str], int]:
        """How often each `(operation, entity, message)` was reached, as in `Run`."""

    @property
    def surfaces(self) -> Mapping[str, Surface]:
        """Which faults may strike at each operation: of those new in this run at least."""

    @property
    def marks(self) -> Marks:
        """What the run was like. Asked for only by planners that want marks."""

    @property
    def touched(self) -> frozenset[str]:
        """Where it was another one than the calm run: the first part of its marks."""

    @property
    def ways(self) -> Ways:
        """How its outcomes came about, found when it is asked for; once, by such planners."""

    def lesson(self, bits: Bits, without: int) -> Lesson:
        """Return the same in the bits of a search, less some of them."""

    @property
    def run(self) -> Run | None:
        """The run itself: always there for a run without faults, else nobody asks for it."""


@attrs.frozen(eq=False)
class Sight:
    """A run that was made in this process, as a planner is told of it."""

    run: Run
    _beside: Beside | None = None

    @property
    def schedule(self) -> Schedule:
        """The faults that were armed."""
        return self.run.schedule

    @property
    def unused(self) -> tuple[Fault, ...]:
        """Those of them that found no site."""
        return self.run.unused

    @property
    def struck(self) -> tuple[Fault, ...]:
        """The others."""
        return self.run.struck

    @property
    def attempts(self) -> Mapping[tuple[str, int, str], int]:
        """How often each `(operation, entity, message)` was reached."""
        return self.run.attempts

    @property
    def surfaces(self) -> Mapping[str, Surface]:
        """Which faults may strike at each operation that was reached."""
        return self.run.surfaces

    @property
    def marks(self) -> Marks:
        """What the run was like, beside the calm run; nothing while that is not known."""
        return Marks() if self._beside is None else self._beside.marks_of(self.run)

    @property
    def touched(self) -> frozenset[str]:
        """Where it was another one than the calm run: the first part of its marks."""
        return frozenset() if self._beside is None else self._beside.touched_by(self.run)

    @property
    def ways(self) -> Ways:
        """How its outcomes came about."""
        return ways_of_few(self.run)

    def lesson(self, bits: Bits, without: int) -> Lesson:
        """Return the same in the bits of a search, less some of them."""
        return lesson_of_few(self.run, bits, without)


@attrs.define
class Sights:
    """Looks at the runs of one workload: beside the calm one, as soon as there is one."""

    _beside: Beside | None = attrs.field(default=None, init=False)

    def of(self, run: Run) -> Sight:
        """Return a run as a planner is told of it."""
        if self._beside is None and not run.schedule.faults:
            self._beside = Beside(run)
        return Sight(run, self._beside)


def fingerprint(history: History) -> frozenset[Fact]:
    """Return what a run was like: which events each operation led to, and how often."""
    return _facts(_totals(_counts(history)))


def _counts(history: History) -> dict[_Count, int]:
    return Counter(
        [
            (
                kind,
                operation or actor.partition("#")[0],
                entity,
                data["outcome"] if kind == "reply" else "",
            )
            for _, kind, actor, operation, entity, _, _, data in history.raw
        ]
    )


def _replies(history: History) -> Counter[_Count]:
    """Return how often each call was answered, and how."""
    return Counter(
        [
            ("reply", raw[3] or raw[2].partition("#")[0], raw[4], raw[7]["outcome"])
            for raw in map(history.raw.__getitem__, history.places_of("reply"))
        ]
    )


def _totals(counts: Mapping[_Count, int]) -> dict[tuple[str, str, str], int]:
    totals: dict[tuple[str, str, str], int] = {}
    for (kind, place, _, outcome), times in counts.items():
        what = (kind, place, outcome)
        totals[what] = totals.get(what, 0) + times
    return totals


def _facts(totals: Mapping[tuple[str, str, str], int]) -> frozenset[Fact]:
    return frozenset(
        (*what, 1 << size) for what, times in totals.items() for size in range(times.bit_length())
    )
