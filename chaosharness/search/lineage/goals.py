"""What claims look at: the outcomes without which they would break.

A claim is a function of a history, and can be asked: would it still hold if this charge, this
row, this decision had not been? The outcomes that it needs are the goals; what they are cut
from is what a search should strike. And it can be asked which of the others it needs one for: a
claim that all decide who have voted asks nothing of those who have not, so that a cut which
takes the vote away as well breaks nothing. Those are its premises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs

from chaosharness.checkers import Evidence, Property
from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.history import History
from chaosharness.search.lineage.ways import Key, outcomes_of

GROUPS_MAX: Final = 24
"""Outcomes of which a claim is asked whether it needs them: the last of a run."""

ASKED_MAX: Final = 600
"""Questions to all claims together: each is judging one history."""


@attrs.frozen
class Goal:
    """One thing that a claim needs.

    Attributes:
        claim: The name of the claim; empty for an outcome that no claim was found to need.
        keys: The outcomes: one, or several of which any one is enough.
        premises: The outcomes because of which the claim needs it.
        each: Whether each of its events is needed, where there are several.
    """

    claim: str
    keys: tuple[Key, ...]
    premises: tuple[Key, ...] = ()
    each: bool = False

    @property
    def by_anyone(self) -> bool:
        """Whether it is enough that one of several has it."""
        return len(self.keys) > 1


def goals(claims: Iterable[Property], evidence: Evidence) -> list[Goal]:
    """Return what some claims need of a run, and then what none was found to need."""
    groups = outcomes_of(evidence.history)
    asker = _Asker(evidence, groups)
    found = [goal for claim in claims for goal in asker.goals_of(claim)]
    known = {key for goal in found for key in goal.keys}
    found += [Goal("", (key,)) for key in groups if key not in known]
    return found


class _Asker:
    """Asks claims about the history of a run with some outcomes left out."""

    def __init__(self, evidence: Evidence, groups: dict[Key, tuple[int, ...]]) -> None:
        self.evidence = evidence
        self.groups = groups
        self.asked = 0

    def goals_of(self, claim: Property) -> Iterator[Goal]:
        """Yield what one claim needs."""
        keys = list(self.groups)[:GROUPS_MAX]
        if claim.when == "sometimes" or self._breaks(claim, ()):
            return
        needed = [key for key in keys if self._breaks(claim, self.groups[key])]
        for key in needed:
            events = self.groups[key]
            each = len(events) > 1 and self._breaks(claim, events[:1])
            yield Goal(claim.name, (key,), self._premises(claim, (key,), keys), each)
        for several in _by_anyone(keys):
            if needed and not set(several).isdisjoint(needed):
                continue
            if self._breaks(claim, self._events(several)):
                yield Goal(claim.name, several, self._premises(claim, several, keys))

    def _premises(
        self, claim: Property, needed: tuple[Key, ...], keys: Sequence[Key]
    ) -> tuple[Key, ...]:
        """Return the outcomes without which the claim would not ask for another one."""
        found = []
        for key in keys:
            if key not in needed:
                left_out = (*self._events(needed), *self.groups[key])
                if not self._breaks(claim, left_out, unknown=True):
                    found.append(key)
        return tuple(found)

    def _events(self, keys: Iterable[Key]) -> tuple[int, ...]:
        return tuple(index for key in keys for index in self.groups[key])

    def _breaks(self, claim: Property, left_out: Sequence[int], *, unknown: bool = False) -> bool:
        """Say whether a claim is broken by a history without some events."""
        if self.asked >= ASKED_MAX:
            return unknown
        self.asked += 1
        evidence = attrs.evolve(self.evidence, history=without(self.evidence.history, left_out))
        try:
            return any(not one.question for one in claim.findings(evidence))
        except InvalidDefinition:
            return unknown  # the claim cannot do without it: that says nothing


def _by_anyone(keys: Iterable[Key]) -> Iterator[tuple[Key, ...]]:
    """Yield outcomes that are the same but for who has them."""
    found: dict[tuple[str, str, int, str], list[Key]] = {}
    for key in keys:
        found.setdefault((key[0], *key[2:]), []).append(key)
    for several in found.values():
        if len(several) > 1:
            yield tuple(several)


def without(history: History, left_out: Sequence[int]) -> History:
    """Return a history in which some events say nothing; all keep their numbers."""
    raw = list(history.raw)
    for index in left_out:
        at_ms, _, actor, _, entity, _, cause, _ = raw[index]
        raw[index] = (at_ms, "wake", actor, "", entity, 0, cause, None)
    return History(raw)
