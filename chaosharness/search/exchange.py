"""What to put in place of two faults: the way out of a local minimum.

Each fault of a set may be needed, no part of it may break the claim, and still fewer other
faults may do: one redelivery for a long pause and a rebalance. Taking away never finds
that. So two are taken out at once and one is put in, of those that the run made possible.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations, zip_longest
from typing import Final

import attrs

from chaosharness.faults import (
    BrokerAlarm,
    BrokerRestart,
    ClockSkew,
    ConsumerCancel,
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    FailedCommit,
    Fault,
    GracefulStop,
    HostDeath,
    LostReply,
    LostRequest,
    LostWrites,
    NetworkPartition,
    NewEvent,
    OldEvent,
    PartitionDelay,
    Pause,
    Poison,
    Rebalance,
    Redeliver,
    Redeploy,
    StoreOutage,
)
from chaosharness.kernel.site import PHASES, Site
from chaosharness.search.sites import searched
from chaosharness.strategies.sizes import is_sized, variants
from chaosharness.strategies.spelling import Spelling
from chaosharness.system import Run

RUNS_MAX: Final = 80
"""Exchanges that are run at most."""

_RUNS_A_PAIR: Final = 8

_STRONGER_MAX: Final = 4
_FIRST_ATTEMPTS: Final = 2

_STRENGTH: Final = (
    LostReply,
    LostRequest,
    Crash,
    Redeliver,
    Rebalance,
    Duplicate,
    FailedCommit,
    Pause,
    NetworkPartition,
    StoreOutage,
    ErrorReply,
    Redeploy,
    GracefulStop,
    BrokerAlarm,
    BrokerRestart,
    HostDeath,
    ConsumerCancel,
    LostWrites,
    Poison,
    OldEvent,
    NewEvent,
    PartitionDelay,
    Delay,
    ClockSkew,
)
"""What may do alone what two others do, the likeliest first: what was lost, and what comes
again, before what is late and nothing else."""

_PLACE: Final = {kind: at for at, kind in enumerate(_STRENGTH)}

Faults = tuple[Fault, ...]
Pair = tuple[Fault, Fault]


def runs_max_for(faults: int) -> int:
    """Return how many runs exchanges are worth: the more faults, the likelier is a way out.

    Measured on 1,200 random schedules that break a planted claim: no set of two was left
    that one fault could have replaced, and 5 of 400 that should have had three.
    """
    return min(RUNS_MAX, _RUNS_A_PAIR * faults * (faults - 1) // 2)


def exchanges(
    faults: Faults,
    run: Run,
    kinds: Collection[type[Fault]],
    *,
    entity: int = 0,
    others: Collection[Fault] = (),
) -> Iterator[Faults]:
    """Yield the faults with one in place of two, the likeliest way out first.

    In turns: another fault at the operation of one of the two, and one that strikes elsewhere.

    Args:
        faults: Two or more, each of them needed.
        run: The run with them: its sites are what there is to choose from.
        kinds: Only these kinds of fault take the place of others.
        entity: The workload item that the finding is about; its sites come first.
        others: Faults that the search had met beside them: they come first.
    """
    found = _offers(faults, run, kinds, entity, others)
    pairs = sorted(combinations(faults, 2), key=_apart)
    here, there = _here(found, pairs), _there(found, pairs)
    seen: set[frozenset[Fault]] = set()
    for turn in zip_longest(here, there):
        for one in turn:
            if one is None:
                continue
            offer, pair = one
            wanted = (*(fault for fault in faults if fault not in pair), offer)
            key = frozenset(wanted)
            if key not in seen and offer not in faults and not _clash(wanted):
                seen.add(key)
                yield wanted


def stronger(fault: Fault, run: Run, kinds: Collection[type[Fault]], entity: int) -> list[Fault]:
    """Return what may do more at the operation of a fault, the strongest first: a few.

    Args:
        fault: What it takes the place of.
        run: The run with it.
        kinds: Only these kinds.
        entity: The workload item that the finding is about.
    """
    operation = fault.site.operation
    offers = _offers((fault,), run, kinds, entity, ()) if entity == fault.site.entity else ()
    if not offers:
        site = attrs.evolve(fault.site, entity=entity)
        offers = _offers((attrs.evolve(fault, site=site),), run, kinds, entity, ())
    found = [one for one in offers if one.site.operation == operation and one != fault]
    return sorted(found, key=lambda one: one.site.attempt != fault.site.attempt)[:_STRONGER_MAX]


def _here(offers: list[Fault], pairs: list[Pair]) -> Iterator[tuple[Fault, Pair]]:
    """Yield what strikes at the operation of one of the two, or did so for another item."""
    for offer in offers:
        for pair in pairs:
            if any(fault.site.operation == offer.site.operation for fault in pair):
                yield offer, pair


def _there(offers: list[Fault], pairs: list[Pair]) -> Iterator[tuple[Fault, Pair]]:
    """Yield what strikes elsewhere."""
    for offer in offers:
        for pair in pairs:
            if all(fault.site.operation != offer.site.operation for fault in pair):
                yield offer, pair


def _clash(faults: Faults) -> bool:
    """Say whether two of them are of one kind at one site."""
    return len({(type(one), one.site) for one in faults}) < len(faults)


def _apart(pair: Pair) -> tuple[bool, bool]:
    """Order pairs: two faults at one operation, of one service, then the others."""
    one, other = (fault.site.operation for fault in pair)
    return one != other, _service(one) != _service(other)


def _offers(
    faults: Faults,
    run: Run,
    kinds: Collection[type[Fault]],
    entity: int,
    others: Collection[Fault],
) -> list[Fault]:
    """Return the faults that may take the place of two, the likeliest first.

    They strike the same items, at operations that the run reached: what was met before
    first, then the strongest kind at each place, the next one at each, and so on.
    """
    entities = {fault.site.entity for fault in faults}
    met = {(type(one), one.site) for one in others}
    found: list[tuple[tuple[int | bool, ...], Fault]] = []
    spelling = Spelling()
    spelling.learn(run.attempts)
    for place, times in run.attempts.items():
        operation, item, _ = place
        surface = run.surfaces.get(operation)
        if surface is None or item not in entities:
            continue
        for attempt in range(1, min(times, _FIRST_ATTEMPTS) + 1):
            for phase in PHASES:
                site = Site(operation, phase, item, attempt, message=spelling.words(place))
                legal = [one for one in searched(operation, surface, phase) if one in kinds]
                legal.sort(key=_place)
                for turn, kind in enumerate(legal):
                    known = (kind, site) in met
                    key = (not known, item != entity, turn, attempt, _place(kind), len(found))
                    found.append((key, _strongest(kind, site)))
    return [fault for _, fault in sorted(found, key=lambda pair: pair[0])]


def _place(kind: type[Fault]) -> int:
    return _PLACE.get(kind, len(_PLACE))


def _strongest(kind: type[Fault], site: Site) -> Fault:
    """Return a fault in the way that does the most, without a length in ms.

    It is made milder afterwards.
    """
    return [one for one in variants(kind, site) if not is_sized(one)][-1]


def _service(operation: str) -> str:
    return operation.partition("/")[0].partition(".")[0]
