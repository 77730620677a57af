"""A campaign: the runs made to test some claims, what they found, and what they covered.

A value, made by the search, read by reports and doors. It holds no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal

import attrs

from chaosharness.counterexample import Counterexample
from chaosharness.faults import KIND_BY_NAME
from chaosharness.kernel.rest import RanOn

Result = Literal["holds", "violated", "unknown"]
Ended = Literal["", "done", "budget", "time", "quiet", "over"]
"""Why a search ended: all is done; its runs or its time are spent; nothing new was seen for long
enough; or nothing is left to learn: stopped at a finding, or everything is broken. Empty if it
did not."""

Cell = tuple[str, str, str]
"""`(phase, operation, kind of fault)`, for example `("after", "shop.pay/bank.charge", "crash")`."""

_OPERATIONS_SHOWN: Final = 3
_CERTAINTY: Final = 3.0
"""-ln(0.05): with no failure in n runs, a rate above 3/n is ruled out with 95 % certainty."""


@attrs.frozen(kw_only=True)
class Level:
    """All schedules with one number of faults: how many there are, and how many were run.

    A schedule counts when each of its faults finds its site. Two faults of one kind at one
    site do not make a schedule.

    Attributes:
        faults: Faults in each schedule; 0 is the calm run.
        tried: Schedules that were run, and whose faults all struck.
        total: Schedules there are. While `complete` is false, a few of them may turn out
            to find no site; None if nobody has counted.
        complete: Whether all there are were run.
        more: Whether counting stopped at `total`, and there are more than that.
        options: What was tried at each site, for example `all options, attempts up to 12`.
        partly: Whether lengths of stalls were left out that the system has shown: such a level
            does not call itself "all".
    """

    faults: int
    tried: int
    total: int | None
    complete: bool
    more: bool = False
    options: str = ""
    partly: bool = False

    def __str__(self) -> str:
        if self.faults == 0:
            return "the calm run: 1 of 1" if self.tried else "the calm run: 0 of 1"
        which = f"{self.faults}-fault schedules" + (f", {self.options}" if self.options else "")
        if self.complete:
            return f"{'' if self.partly else 'all '}{which}: {self.tried:,} of {self.total:,}"
        if self.total is None:
            return f"{which}: not begun"
        return f"{which}: {self.tried:,} of {'more than' if self.more else 'about'} {self.total:,}"


@attrs.frozen(kw_only=True)
class Coverage:
    """What a campaign put to the test, and what it never did.

    Attributes:
        levels: What was enumerated, fewest faults first; empty for one by chance alone.
        random: Random schedules that were run.
        faults_max: Faults that a random schedule could have.
        cells: How often each fault that is legal and searched struck at each operation:
            0 says never. What is in neither `cells` nor `equivalent` cannot happen.
        equivalent: Legal, but the same as another fault that was searched: a crash before
            an operation equals one after the effect before it.
        ran_on: Loops that were not at rest at the end of a run, each as it was run on farthest.
        idle: Services of which one replica had all the work without faults, in words.
        stalls: How long trouble was tried to last, in words; empty if nothing had a length.
        still_new: How often chance still meets something new, in words; empty if unknown.
    """

    levels: tuple[Level, ...] = ()
    random: int = 0
    faults_max: int = 0
    cells: Mapping[Cell, int] = attrs.field(factory=dict, repr=False)
    equivalent: frozenset[Cell] = attrs.field(factory=frozenset, repr=False)
    ran_on: tuple[RanOn, ...] = ()
    idle: tuple[str, ...] = ()
    stalls: tuple[str, ...] = ()
    still_new: str = ""

    @property
    def complete(self) -> bool:
        """Whether everything that was asked for was run."""
        return all(level.complete for level in self.levels)

    def done(self) -> Level | None:
        """Return the last level that was run to its end, of those without a gap before it."""
        done = None
        for level in self.levels:
            if not level.complete:
                break
            done = level
        return done

    def is_done(self, faults: int | None) -> bool:
        """Say whether every schedule of up to so many faults was run; for None it never is."""
        done = self.done()
        return faults is not None and done is not None and done.faults >= faults

    def left(self) -> Level | None:
        """Return the first level that was not run to its end; None if all were."""
        return next((level for level in self.levels if not level.complete), None)

    def operations(self) -> tuple[tuple[str, str], ...]:
        """Return `(phase, operation)` of each place that was reached: the rows of a table."""
        places = dict.fromkeys((phase, name) for phase, name, _ in self.cells)
        places |= dict.fromkeys((phase, name) for phase, name, _ in sorted(self.equivalent))
        return tuple(places)

    def kinds(self) -> tuple[str, ...]:
        """Return the kinds that can strike anywhere here, mildest first: the columns."""
        found = {kind for _, _, kind in self.cells}
        return tuple(name for name in KIND_BY_NAME if name in found)

    def never_struck(self) -> tuple[Cell, ...]:
        """Return what could have happened by law of the product, and never did in a run."""
        return tuple(cell for cell, times in self.cells.items() if not times)

    def sentences(self) -> tuple[str, ...]:
        """Say what was covered, one line each."""
        lines = [str(level) for level in self.levels if level.faults]
        if self.random:
            many = "schedule" if self.random == 1 else "schedules"
            plural = "" if self.faults_max == 1 else "s"
            lines.append(f"{self.random:,} random {many} of up to {self.faults_max} fault{plural}")
        if self.still_new:
            lines.append(self.still_new)
        struck = sum(1 for times in self.cells.values() if times)
        if self.cells:
            lines.append(f"faults at operations: {struck:,} of {len(self.cells):,} struck")
        return (*lines, *map(str, self.ran_on), *self.idle, *self.stalls)

    def rules_out(self, clean: int) -> str:
        """Say what so many clean runs rule out, and no more than that."""
        done = [level.faults for level in self.levels if level.complete and level.faults]
        if done:
            some = "one fault" if max(done) == 1 else f"up to {max(done)} faults"
            return (
                f"no schedule of {some} at the sites of this workload breaks it "
                "(of the faults and options searched)"
            )
        if self.random and clean >= _CERTAINTY:
            return (
                "with 95 % certainty, fewer than 1 in "
                f"{round(clean / _CERTAINTY):,} such random schedules breaks it"
            )
        return "nothing yet: too few runs"


@attrs.frozen(kw_only=True)
class Standing:
    """How one property came out of a campaign.

    Attributes:
        name: Of the property.
        when: `always`, `eventually` or `sometimes`.
        result: `holds`, `violated`, or `unknown`: never put to the test, or not reached.
        judged: Runs that it was judged on.
        tested: Runs among them that put it to the test at all.
        reached: Runs that reached the case, for `sometimes`.
        broken_in: The run that broke it first, from 1; 0 if none did.
        assumption: What was taken for granted, where nobody said so.
    """

    name: str
    when: str
    result: Result
    judged: int
    tested: int
    reached: int = 0
    broken_in: int = 0
    assumption: str = ""


@attrs.frozen(kw_only=True)
class Group:
    """What is known of one cause besides its counterexample.

    Attributes:
        property: Name of the claim.
        kind: What sort of harm it is; empty for a claim that knows one sort only.
        place: Where the difference lies; empty where it is one place.
        runs: Runs that showed it.
        operations: At which other operations as few faults did the same.
        together: What came with it each time it came, and is told with it.
        calm: Whether it needs no fault.
    """

    property: str
    kind: str
    place: str
    runs: int
    operations: tuple[str, ...] = ()
    together: tuple[str, ...] = ()
    calm: bool = False

    def sentences(self) -> tuple[str, ...]:
        """Say what there is to say beside the counterexample, one line each."""
        lines = ["already without faults"] if self.calm else []
        if self.operations:
            shown = ", ".join(self.operations[:_OPERATIONS_SHOWN])
            left = len(self.operations) - _OPERATIONS_SHOWN
            more = f" and {left:,} more" if left > 0 else ""
            count = len(self.operations)
            lines.append(f"also at {count:,} other operation{'s' * (count > 1)}: {shown}{more}")
        lines += [f"with it: {one}" for one in self.together]
        return tuple(lines)


@attrs.frozen(kw_only=True)
class Question:
    """What a run showed that may be right: only the user can say. It breaks nothing.

    Attributes:
        property: Name of the claim.
        kind: What sort of difference it is.
        place: Where it lies.
        summary: The question, in one sentence.
        runs: Runs that showed it.
        schedule: The faults of the smallest one, as code.
    """

    property: str
    kind: str
    place: str
    summary: str
    runs: int
    schedule: str

    def __str__(self) -> str:
        return f"is this right? {self.summary} ({runs_in_words(self.runs)}; first {self.schedule})"


@attrs.frozen(kw_only=True)
class Trouble:
    """Runs that did not become quiet, for one reason.

    Attributes:
        verdict: `stuck`, `budget` or `spinning`.
        reason: The culprit, in one sentence.
        times: How many runs ended so.
        schedule: The faults of one with the fewest, as code.
    """

    verdict: str
    reason: str
    times: int
    schedule: str


@attrs.frozen(kw_only=True, eq=False)
class Campaign:
    """What came of testing a system's claims.

    Attributes:
        system: Name of the system.
        target: Where it is found, as `module:attribute`; empty if unknown.
        mode: `portfolio`, `small-first`, `lineage`, `random` or `guided`.
        faults_max: Faults in one schedule, at most.
        seed: Of what was chosen by chance.
        result: `holds`, `violated`, or `unknown`.
        reasons: Why it is unknown, one sentence each.
        unproved: Those reasons among them which say that nothing was put to the test.
        runs: Executions of the system, shrinking included.
        searched: Executions that looked for a violation.
        counterexamples: One for each cause, as small as it could be made: what needs no fault
            first, then what the user claimed, then the worst harm.
        groups: What else is known of each of them, in the same order.
        questions: What only the user can decide. They break nothing.
        beyond: What breaks only under more faults than were asked for, one sentence each. It
            makes nothing `violated`.
        standings: How each property came out.
        troubles: Runs that did not become quiet.
        upset: What went wrong in the run without any fault already, one sentence each: no
            claim needs to be broken by it.
        coverage: What was put to the test.
        spoken: Which client libraries spoke in the run without any fault, and which did not that
            the user's code has; empty where no part of the system meets any.
        ended: Why the search ended.
        seconds: Real time it took. Not part of any report that is compared.
    """

    system: str
    target: str
    mode: str
    faults_max: int
    seed: int
    result: Result
    reasons: tuple[str, ...]
    runs: int
    searched: int
    counterexamples: tuple[Counterexample, ...]
    standings: tuple[Standing, ...]
    troubles: tuple[Trouble, ...]
    coverage: Coverage
    upset: tuple[str, ...] = ()
    unproved: tuple[str, ...] = ()
    groups: tuple[Group, ...] = ()
    questions: tuple[Question, ...] = ()
    beyond: tuple[str, ...] = ()
    spoken: str = ""
    ended: Ended = ""
    seconds: float = 0.0

    def is_cut_short(self) -> bool:
        """Say whether the search ended with nothing broken, and something left to run."""
        return self.result == "unknown" and not self.unproved and self.coverage.left() is not None

    def budget_needed(self) -> int | None:
        """Return about how many runs the level takes that was not done; None if nobody knows.

        At least so many, where that level has `more` than were counted. Rounded up to two
        figures, with a tenth to spare: the total is an estimate.
        """
        left = self.coverage.left()
        if left is None or left.total is None:
            return None
        runs = (self.searched + max(left.total - left.tried, 1)) * 11 // 10
        step: int = 10 ** max(len(str(runs)) - 2, 0)
        return -(-runs // step) * step

    def sentences(self) -> tuple[str, ...]:
        """Say in a few lines how it came out and what stands behind that."""
        lines = [
            f"{self.system}: {_RESULT_WORDS[self.result]} after {runs_in_words(self.searched)}"
        ]
        if self.spoken:
            lines.append(self.spoken)
        if self.result == "unknown":
            lines += [f"unknown: {reason}" for reason in self.reasons]
        lines += [
            f"{one.verdict} in {runs_in_words(one.times)}: {one.reason} (first: {one.schedule})"
            for one in self.troubles
        ]
        lines += [f"without any fault: {one}" for one in self.upset]
        lines += self.coverage.sentences()
        if self.result == "holds":
            lines.append(self.coverage.rules_out(self.searched))
        lines += map(str, self.questions)
        lines += [f"beyond what was asked: {one}" for one in self.beyond]
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the campaign as plain values: the same for the same search, byte for byte."""
        coverage = self.coverage
        return {
            "system": self.system,
            "target": self.target,
            "mode": self.mode,
            "faults_max": self.faults_max,
            "seed": self.seed,
            "result": self.result,
            "reasons": list(self.reasons),
            "runs": self.runs,
            "searched": self.searched,
            "properties": [attrs.asdict(one) for one in self.standings],
            "troubles": [attrs.asdict(one) for one in self.troubles],
            "upset": list(self.upset),
            "counterexamples": [one.to_json() for one in self.counterexamples],
            "groups": [attrs.asdict(one) for one in self.groups],
            "questions": [attrs.asdict(one) for one in self.questions],
            "beyond": list(self.beyond),
            "ended": self.ended,
            **({"spoken": self.spoken} if self.spoken else {}),
            "coverage": {
                "levels": [attrs.asdict(level) for level in coverage.levels],
                "random": coverage.random,
                "stalls": list(coverage.stalls),
                "sentences": list(coverage.sentences()),
                "cells": [
                    {"phase": phase, "operation": operation, "kind": kind, "struck": times}
                    for (phase, operation, kind), times in coverage.cells.items()
                ],
            },
        }


_RESULT_WORDS: Final = {
    "holds": "every property holds",
    "violated": "a property does not hold",
    "unknown": "not known to hold",
}


def spoken_in_words(
    spoken: Mapping[str, Collection[str]], unspoken: Sequence[str], lacked: Sequence[str] = ()
) -> str:
    """Say which client libraries spoke: `spoke: httpx 2 operations, stripe 1; not seen: none`.

    What they asked for and the system has not comes first: `not there: topic 'ordres' of bus; `.
    """
    if not spoken and not unspoken:
        return ""
    said: list[str] = []
    for library, operations in sorted(spoken.items()):
        unit = "" if said else " operation" if len(operations) == 1 else " operations"
        said.append(f"{library} {len(operations):,}{unit}")
    missing = f"not there: {', '.join(lacked)}; " if lacked else ""
    seen = f"spoke: {', '.join(said) or 'none'}; not seen: {', '.join(unspoken) or 'none'}"
    return missing + seen


def runs_in_words(number: int) -> str:
    """Spell a number of runs: `1 run`, `1,200 runs`."""
    return f"{number:,} run{'' if number == 1 else 's'}"
