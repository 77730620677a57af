"""What the code was told no about, and how the same can be refused for good in a clean run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Final

import attrs

from chaosharness.checkers.outcomes.clean import CLIENT, Clean
from chaosharness.checkers.outcomes.outcome import Outcome
from chaosharness.checkers.outcomes.plan import Refusal
from chaosharness.checkers.outcomes.told import No
from chaosharness.faults import ErrorReply, FailedCommit, Fault, LostReply, LostRequest
from chaosharness.handlers.port import Surface
from chaosharness.kernel.history import History

STATEMENTS: Final = ("read", "write")

REFUSALS_MAX: Final = 10
PAIRS_MAX: Final = 16

WAYS: Final[tuple[tuple[type[Fault], bool], ...]] = (
    (ErrorReply, True),
    (LostRequest, True),
    (FailedCommit, True),
    (LostReply, False),
)
"""How something is refused for good: by which fault, before it or after."""


def refusals_of(clean: Clean, nos: list[No]) -> dict[int, list[tuple[Refusal, ...]]]:
    """Return what may be refused for good, for each item: one thing, or two."""
    single: dict[int, list[Refusal]] = {}
    for no in nos[:REFUSALS_MAX]:
        single.setdefault(no.entity, []).extend(_ways(clean, no))
    return {
        entity: [(one,) for one in ways] + _pairs(ways)[:PAIRS_MAX]
        for entity, ways in single.items()
    }


def ends_of(
    clean: Clean, refusals: tuple[Refusal, ...], order: tuple[int, ...], nos: Iterable[No]
) -> Iterator[Outcome]:
    """Yield what comes out where something is refused for good.

    A loop works for all: it may be refused what it asks for some only. They end as there, and the
    others as usual, if what all share is the same in both.
    """
    out = clean.refused(refusals, order)
    if out is None:
        return
    yield out
    told = {item for no in nos for item in no.items}
    if not told or all(one.entity for one in refusals):
        return
    usual = clean.without((), order)
    if usual is not None and usual.shared == out.shared:
        others = [item for item in clean.everyone if item not in told]
        yield out.with_items_of(dict.fromkeys(others, usual))


def _ways(clean: Clean, no: No) -> Iterator[Refusal]:
    """Yield how what the code was told no about can be refused for good."""
    no = as_a_transaction(clean.history, no)
    legal = _surface(clean, no.operation)
    if legal is None or no.operation.startswith(CLIENT):
        return
    for kind, before in WAYS:
        if kind in (legal.before if before else legal.after):
            for first in dict.fromkeys((no.attempt, 1)):
                yield Refusal(no.operation, no.entity, first, kind)


def _surface(clean: Clean, operation: str) -> Surface | None:
    """Return what may strike at an operation: also at one that only a retry reaches, which asks for
    the same as another that the calm run has."""
    surfaces = clean.family.calm().surfaces
    asked = operation.rpartition("/")[2]
    alike = (surface for other, surface in surfaces.items() if other.rpartition("/")[2] == asked)
    return surfaces.get(operation) or (next(alike, None) if asked != operation else None)


def as_a_transaction(calm: History, no: No) -> No:
    """Return what was refused if a statement was: for good, that is its transaction."""
    raw = calm.raw
    for at, (_, kind, actor, operation, entity, _, _, data) in enumerate(raw):
        if kind in STATEMENTS and (operation, entity) == (no.operation, no.entity):
            mine = ("commit", actor, entity, data.get("store"))
            for later in raw[at:]:
                of = (later[1], later[2], later[4], (later[7] or {}).get("store"))
                if of == mine and later[3]:
                    return attrs.evolve(no, operation=later[3], attempt=later[5])
            return no
    return no


def _pairs(ways: Iterable[Refusal]) -> list[tuple[Refusal, ...]]:
    return [
        (one, other)
        for one, other in combinations(ways, 2)
        if (one.operation, one.entity) != (other.operation, other.entity)
    ]
