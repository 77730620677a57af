"""Runs a system for one property, remembers each run, and counts: what shrinking is done in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import attrs

from chaosharness.checkers import Evidence, Finding, Property
from chaosharness.checkers.breach import Breach, split
from chaosharness.faults import FAULTS, Fault
from chaosharness.kernel.history import History
from chaosharness.schedule import Schedule
from chaosharness.strategies.sizes import Sizes, sizes_for
from chaosharness.system import Run, System

ALL_OPTIONS: Final = "all options"

Faults = tuple[Fault, ...]
Workload = tuple[int, ...]
"""Workload items, as numbers of what the laboratory has in stock."""


@attrs.frozen(kw_only=True)
class Known:
    """What the search that found a counterexample knows of its workload already.

    Attributes:
        calm: The run without any fault, if it is at hand: saves one.
        held: Says of some faults whether just these were run, and the cause did not show.
        complete: Every schedule of up to so many faults was run, and the cause did not show;
            0 where not even each single fault was.
        options: Which values of the faults' options those were, in the words of `Level`.
    """

    calm: Run | None = None
    held: Callable[[Faults], bool] = attrs.field(default=lambda faults: False)
    complete: int = 0
    options: str = ""

    def proves(self, faults: int) -> bool:
        """Say whether no fewer faults than these can do it, whatever their options."""
        return faults < 2 or (self.complete >= faults - 1 and self.options == ALL_OPTIONS)


NOTHING: Final = Known()


@attrs.frozen
class Trial:
    """One run, judged.

    Attributes:
        run: The run.
        findings: What it broke of the property.
        struck: The faults that found their site.
    """

    run: Run
    findings: tuple[Finding, ...]
    struck: Faults


class Laboratory:
    """Runs a system and judges one property; remembers, and counts.

    Attributes:
        runs: Executions so far.
    """

    def __init__(
        self,
        system: System,
        property: Property,
        items: tuple[Any, ...],
        *,
        sample: Finding | None = None,
        kinds: Collection[type[Fault]] = FAULTS,
        known: Known = NOTHING,
        runs_max: int,
    ) -> None:
        self.system = system
        self.property = property
        self.sample = sample
        self.kinds = frozenset(kinds)
        self.known = known
        self.every: Workload = tuple(range(len(items)))
        self.runs = 0
        self.runs_max = runs_max
        self.stock = [*items, *system.examples]
        self.plain_from = len(items)
        self._trials: dict[tuple[Workload, frozenset[Fault]], Trial] = {}
        self._calms: dict[Workload, Run] = {} if known.calm is None else {self.every: known.calm}

    def items(self, workload: Workload) -> tuple[Any, ...]:
        """Return the workload items with these numbers."""
        return tuple(self.stock[number] for number in workload)

    def remember(self, workload: Workload, faults: Faults, run: Run) -> Trial:
        """Judge a run, and keep it: also as the run of those faults that struck."""
        unused = set(run.unused)
        struck = tuple(fault for fault in run.schedule if fault not in unused)
        evidence = Evidence(
            run.history, run.items, lambda: self._calm(workload), struck, family=run.family
        )
        if not struck:
            self._calms.setdefault(workload, run)
        trial = Trial(run, self._of_cause(self.property.findings(evidence)), struck)
        self._trials[workload, frozenset(faults)] = trial
        if unused:
            self._trials.setdefault((workload, frozenset(struck)), trial)
        return trial

    def _of_cause(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """Return the findings that are of the cause which is looked into."""
        if self.sample is None and findings:
            found = sorted(split(self.property, findings), key=Breach.order)
            self.sample = found[0].findings[0]
        sample = self.sample
        return tuple(
            one
            for one in findings
            if sample is None or (one.group, one.question) == (sample.group, sample.question)
        )

    def _calm(self, workload: Workload) -> History:
        found = self._calms.get(workload)
        return (self.execute(workload, ()) if found is None else found).history

    def sizes(self, workload: Workload) -> Sizes:
        """Return how long trouble may last, besides the words: what this calm run shows."""
        return sizes_for(self._calms.get(workload) or self.execute(workload, ()))

    def execute(self, workload: Workload, faults: Faults) -> Run:
        """Run, whether it was run before or not."""
        self.runs += 1
        run = self.system.run(self.items(workload), Schedule(faults))
        if not faults:
            self._calms[workload] = run
        return run

    def trial(self, workload: Workload, faults: Faults) -> Trial:
        """Run and judge, or remember."""
        wanted = frozenset(faults)
        found = self._trials.get((workload, wanted)) or self._same_as(workload, wanted)
        if found is None:
            run = self._calms.get(workload) if not faults else None
            found = self.remember(workload, faults, run or self.execute(workload, faults))
        return found

    def _same_as(self, workload: Workload, wanted: frozenset[Fault]) -> Trial | None:
        """Return a known run with fewer faults, if it reached no site of the others.

        Until a fault strikes, a run is that of the schedule without it.
        """
        for (items, faults), trial in self._trials.items():
            if items != workload or not faults < wanted:
                continue
            if not any(trial.run.reaches(fault.site) for fault in wanted - faults):
                self._trials[workload, wanted] = trial
                return trial
        return None

    def breaks(self, workload: Workload, faults: Faults) -> bool:
        """Say whether the property is broken."""
        trial = self._trials.get((workload, frozenset(faults)))
        if trial is None and faults and workload == self.every and self.known.held(faults):
            return False
        return bool((trial or self.trial(workload, faults)).findings)

    def was_tried(self, workload: Workload, faults: Faults) -> bool:
        """Say whether a run has shown already that these faults do not break the property.

        Here, or in the search, with the items that were left out since.
        """
        trial = self._trials.get((workload, frozenset(faults)))
        if trial is not None:
            return not trial.findings
        numbers = [workload[fault.site.entity - 1] for fault in faults if fault.site.entity]
        if any(number >= self.plain_from for number in numbers):
            return False
        moved = tuple(
            attrs.evolve(fault, site=attrs.evolve(fault.site, entity=workload[at - 1] + 1))
            if (at := fault.site.entity)
            else fault
            for fault in faults
        )
        return self.known.held(moved)

    def is_another(self, workload: Workload, original: Workload) -> bool:
        """Say whether a workload fails without any fault, where the original one does not.

        A claim about the items themselves ("all three are there") breaks by itself when one
        is left out: that is not what was found.
        """
        return self.breaks(workload, ()) and not self.breaks(original, ())

    def may_run(self, reserve: int) -> bool:
        """Say whether there is room for one more run, when so many are still to come."""
        return self.runs + reserve < self.runs_max
