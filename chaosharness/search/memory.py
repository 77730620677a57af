"""Runs that need not be made again, while a failing schedule is shrunk.

A run is a pure function of system, workload and schedule, so the same again is the same
run. And faults whose sites a run never reaches could be added to it without changing
anything: until the first of them strikes, the run is the one without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import attrs

from chaosharness.schedule import Schedule
from chaosharness.system import Run

RUNS_MAX: Final = 512


@attrs.define
class Memory:
    """The last runs of one system, each under the faults that struck in it."""

    _runs: list[tuple[list[Any], dict[Schedule, Run]]] = attrs.field(factory=list, init=False)
    _count: int = attrs.field(default=0, init=False)

    def keep(self, workload: Sequence[Any], run: Run) -> None:
        """Remember a run. Workloads are compared as values: no equality, no memory."""
        if self._count >= RUNS_MAX:
            self._runs.clear()
            self._count = 0
        known = self._of(workload)
        if known is None:
            known = {}
            self._runs.append((list(workload), known))
        asked = run.schedule
        if run.unused:
            struck = Schedule(run.struck)
            run = attrs.evolve(run, schedule=struck, unused=())
        known[asked] = known[run.schedule] = run
        self._count += 1

    def find(self, workload: Sequence[Any], schedule: Schedule) -> Run | None:
        """Return a run with the same history as this one would have, if there is one."""
        known = self._of(workload) or {}
        exact = known.get(schedule)
        if exact is not None:
            return exact
        faults = set(schedule)
        for smaller, run in known.items():
            if faults.issuperset(smaller) and not any(
                run.reaches(fault.site) for fault in faults.difference(smaller)
            ):
                return run
        return None

    def _of(self, workload: Sequence[Any]) -> dict[Schedule, Run] | None:
        items = list(workload)
        return next((known for one, known in self._runs if one == items), None)
