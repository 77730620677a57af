"""Faults that found no site, in a sentence: what was not there, and what is nearest to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Protocol

from chaosharness.faults import Fault
from chaosharness.kernel.site import Site


class Missing(Protocol):
    """What is asked of a run."""

    @property
    def schedule(self) -> Any: ...

    @property
    def unused(self) -> Sequence[Fault]: ...

    @property
    def reached(self) -> Mapping[tuple[str, int], int]: ...


def missed(run: Missing) -> str:
    """Say which faults of a run found no site, and for the first of them why."""
    unused, count = run.unused, len(run.schedule)
    names = ", ".join(str(fault) for fault in unused)
    return (
        f"{len(unused)} of {count} {'fault' if count == 1 else 'faults'} found no site: {names}. "
        f"{_why(unused[0].site, run.reached)} `chaosharness sites` lists all of them."
    )


def _why(site: Site, reached: Mapping[tuple[str, int], int]) -> str:
    operations = dict.fromkeys(operation for operation, _ in reached)
    if site.operation not in operations:
        near = get_close_matches(site.operation, operations, n=1, cutoff=0.3)
        there = f"the nearest that is there is {near[0]!r}." if near else "nor any like it."
        return f"{site.operation!r} was not reached in this run: {there}"
    times = reached.get((site.operation, site.entity), 0)
    if not times:
        found = sorted(entity for operation, entity in reached if operation == site.operation)
        items = ", ".join(map(str, found))
        return f"{site.operation!r} was reached for item {items}, and not for item {site.entity}."
    if site.attempt > times:
        often = "once" if times == 1 else f"{times} times"
        return f"{site.operation!r} was reached {often}, and attempt {site.attempt} was not."
    return f"{site.operation!r} was reached, but not there, or not before the calm."
