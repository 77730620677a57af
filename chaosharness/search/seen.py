"""What one run showed, as far as a search needs it: small enough to cross to another process.

A search asks of a run where faults may strike, which of its own did, and what each claim
says. That is a few hundred bytes, where the history has tens of thousands: so a worker
sends this, and whoever wants the history runs the schedule again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Final

import attrs

from chaosharness.checkers import Evidence, Finding, Property
from chaosharness.checkers.outcomes.plan import Family
from chaosharness.checkers.property import judged
from chaosharness.errors import Nondeterminism
from chaosharness.faults import Fault
from chaosharness.handlers.port import Surface
from chaosharness.kernel.history import History
from chaosharness.kernel.world import Ending
from chaosharness.schedule import Schedule, struck_of
from chaosharness.search.lineage.ways import Lesson, Ways
from chaosharness.search.marks import NO_WAYS, Beside, Bits, Marks, lesson_of_few, ways_of_few
from chaosharness.system import Run, System

NO_MARKS: Final = Marks()

Attempts = Mapping[tuple[str, int, str], int]
"""How often each `(operation, entity, message)` was reached, in the order of getting there."""


@attrs.frozen
class Verdict:
    """What one claim says of one run.

    Attributes:
        tested: Whether the run put it to the test.
        findings: What it found: all of it in the process that ran, else the first of each cause.
    """

    tested: bool
    findings: tuple[Finding, ...] = ()

    def firsts(self) -> tuple[Finding, ...]:
        """Return the first finding of each cause."""
        causes: dict[tuple[Any, ...], Finding] = {}
        for one in self.findings:
            causes.setdefault((one.question, *one.group), one)
        return tuple(causes.values())


HELD: Final = Verdict(True)
UNTESTED: Final = Verdict(False)


@attrs.frozen(kw_only=True, eq=False)
class Seen:
    """What one run showed.

    Attributes:
        schedule: The faults that were armed.
        unused: Those of them that found no site.
        attempts: How often each `(operation, entity, message)` was reached, as in `Run`.
        surfaces: Which faults may strike at each operation: of all that were reached, or of
            those that the calm run did not reach.
        ending: How it ended.
        verdicts: What each claim says, in the order of the claims; fewer where `differs`.
        beside: The calm run, counted, where the planner wants to know what the run was like.
        told_marks: What it was like, where another process made it.
        failed: Clean runs that could not be made, as far as judging it asked for them.
        differs: What differed where judging made the calm run once more.
        digest: Of the history, where something broke and another process ran it; else empty.
        run: The run, where this process made it.
        told_ways: How its outcomes came about, where another process made it.
    """

    schedule: Schedule
    unused: tuple[Fault, ...]
    attempts: Attempts = attrs.field(repr=False)
    surfaces: Mapping[str, Surface] = attrs.field(repr=False)
    ending: Ending
    verdicts: tuple[Verdict, ...] = ()
    beside: Beside | None = attrs.field(default=None, repr=False)
    told_marks: Marks = attrs.field(default=NO_MARKS, repr=False)
    failed: tuple[str, ...] = ()
    differs: Nondeterminism | None = None
    digest: str = ""
    run: Run | None = attrs.field(default=None, repr=False)
    told_ways: Ways = attrs.field(default=NO_WAYS, repr=False)

    @property
    def marks(self) -> Marks:
        """What the run was like: found when it is asked for, or told; else nothing."""
        if self.run is None or self.beside is None:
            return self.told_marks
        return self.beside.marks_of(self.run)

    @property
    def touched(self) -> frozenset[str]:
        """Where it was another one than the calm run: the first part of its marks."""
        if self.run is None or self.beside is None:
            return self.told_marks.touched
        return self.beside.touched_by(self.run)

    @property
    def ways(self) -> Ways:
        """How its outcomes came about: read from the run when it is asked for, or told."""
        if self.run is None or self.beside is None:
            return self.told_ways
        return ways_of_few(self.run)

    def lesson(self, bits: Bits, without: int) -> Lesson:
        """Return the same in the bits of a search, less some of them."""
        if self.run is None or self.beside is None:
            return bits.translated(self.told_ways, without)
        return lesson_of_few(self.run, bits, without)

    @cached_property
    def struck(self) -> tuple[Fault, ...]:
        """The faults that found their site."""
        return struck_of(self.schedule, self.unused)


@attrs.define(eq=False)
class Examiner:
    """Runs schedules of one campaign, and judges each run.

    Attributes:
        system: The system.
        properties: The claims.
        items: The workload.
        marks: Whether to say what a run was like: some planners want to know.
        calm: The calm run of that workload, once there is one.
    """

    system: System
    properties: tuple[Property, ...]
    items: tuple[Any, ...]
    marks: bool = False
    calm: Run | None = None
    _family: Family | None = attrs.field(default=None, init=False)
    _beside: Beside | None = attrs.field(default=None, init=False)

    def see(self, schedule: Schedule) -> Seen:
        """Run a schedule, and judge it."""
        return self.look(self.system.run(self.items, schedule))

    def look(self, run: Run) -> Seen:
        """Judge a run."""
        if self.calm is None and not run.schedule.faults and run.items is self.items:
            self.calm = run
        before = len(self._failures())
        answers, differs = judged(self.properties, self.evidence(run))
        verdicts = [
            Verdict(tested, tuple(found)) if found else HELD if tested else UNTESTED
            for tested, found in answers
        ]
        return Seen(
            schedule=run.schedule,
            unused=run.unused,
            attempts=run.attempts,
            surfaces=run.surfaces,
            ending=run.ending,
            verdicts=tuple(verdicts),
            beside=self._calm_counted(),
            failed=tuple(self._failures()[before:]),
            differs=differs,
            run=run,
        )

    def evidence(self, run: Run) -> Evidence:
        """Return what a run is judged by: beside the calm run that the search began with."""
        calm = self.calm
        if calm is None or run.items is not calm.items:
            return run.evidence()
        calm_history = partial(_history, calm)
        return Evidence(run.history, run.items, calm_history, run.struck, family=self.family)

    def family(self) -> Family:
        """Return the clean runs of the workload, the same as long as the search lasts."""
        if self._family is None:
            self._family = self.system.family(self.items)
        return self._family

    def _calm_counted(self) -> Beside | None:
        if self._beside is None and self.marks and self.calm is not None:
            self._beside = Beside(self.calm)
        return self._beside

    def _failures(self) -> Sequence[str]:
        return () if self._family is None else self._family.failed


def _history(run: Run) -> History:
    return run.history
