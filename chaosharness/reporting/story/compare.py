"""A run beside the nearest one that passes: where they part, and what followed in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from chaosharness.counterexample import Counterexample
from chaosharness.kernel.history import History, encode
from chaosharness.reporting.story.decisive import extra
from chaosharness.reporting.story.merge import merge
from chaosharness.reporting.story.narrator import Narrator
from chaosharness.reporting.story.select import BEFORE, finding_of, focus, kept, ranked
from chaosharness.reporting.story.step import Step

_UNREMARKABLE: Final = frozenset(
    {"handled", "read", "write", "sleep", "wake", "poll", "state", "tables"}
)

COMMON_SHOWN: Final = 2
AFTER_SHOWN: Final = 9


@attrs.frozen
class Comparison:
    """Two runs that begin alike.

    Attributes:
        parted: Index of the first event that differs.
        at_ms: Its virtual time, in this run.
        common: The last steps of what both did.
        here: What followed in this run.
        passing: What followed in the one that passes.
        more_here: How many further steps of this run are not shown.
        more_passing: Likewise of the other.
    """

    parted: int
    at_ms: int
    common: tuple[Step, ...]
    here: tuple[Step, ...]
    passing: tuple[Step, ...]
    more_here: int = 0
    more_passing: int = 0


def compare(found: Counterexample, narrator: Narrator) -> Comparison | None:
    """Put a counterexample beside its passing run, if it has one that differs."""
    here, there = found.history, found.passing
    if there is None or not len(here) or not len(there):
        return None
    parted = first_difference(here, there)
    if parted < 0:
        return None
    finding = finding_of(found.findings)
    items = focus(here, finding)
    other = Narrator(there, narrator.cast, called=narrator.called)
    ranks = ranked(here, finding, extra=extra(here, there), every=True)
    told_here = _told(here, narrator, kept(ranks, 200, BEFORE))
    told_there = _told(there, other, _course(there, items, parted))
    common = [step for step in told_here if step.event < parted]
    after_here = [step for step in told_here if step.event >= parted]
    anchors = frozenset(finding.events)
    return Comparison(
        parted,
        here[min(parted, len(here) - 1)].at_ms,
        tuple(common[-COMMON_SHOWN:]),
        tuple(
            attrs.evolve(step, found=not anchors.isdisjoint(step.events))
            for step in after_here[:AFTER_SHOWN]
        ),
        tuple(told_there[:AFTER_SHOWN]),
        max(len(after_here) - AFTER_SHOWN, 0),
        max(len(told_there) - AFTER_SHOWN, 0),
    )


def _course(history: History, items: frozenset[int], since: int) -> list[int]:
    """Return what became of some items in a run where nothing went wrong."""
    return [
        event.index
        for event in history
        if event.index >= since and event.entity in items and event.kind not in _UNREMARKABLE
    ]


def _told(history: History, narrator: Narrator, indexes: Sequence[int]) -> list[Step]:
    return merge([narrator.step(index) for index in indexes], history)


def first_difference(one: History, other: History) -> int:
    """Return the index of the first event that differs; -1 if none does."""
    for index, (left, right) in enumerate(zip(one.raw, other.raw, strict=False)):
        if left != right and encode(left) != encode(right):
            return index
    return -1 if len(one) == len(other) else min(len(one), len(other))
