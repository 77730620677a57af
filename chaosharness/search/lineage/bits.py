"""The faults that cut ways, each with a bit of its own for a whole search."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import attrs

from chaosharness.faults import (
    Crash,
    Delay,
    ErrorReply,
    FailedCommit,
    Fault,
    LostReply,
    LostRequest,
    NetworkPartition,
    Pause,
    StoreOutage,
)
from chaosharness.handlers.port import Surface
from chaosharness.kernel.site import Phase, Site
from chaosharness.search.lineage.ways import (
    Cut,
    First,
    Lesson,
    Place,
    Sort,
    Spot,
    Way,
    Ways,
    service_of,
)
from chaosharness.search.sites import ATTEMPTS_MAX, legal

LOSSES: Final = (LostRequest, LostReply, NetworkPartition, FailedCommit, StoreOutage, ErrorReply)
DEATHS: Final = (Crash, Pause)

_KINDS: Final[dict[Sort, tuple[Phase, tuple[type[Fault], ...]]]] = {
    "dies before": ("before", DEATHS),
    "is lost": ("before", (*LOSSES, Delay)),
    "dies after": ("after", DEATHS),
    "answer is lost": ("after", (*LOSSES, Delay)),
}
"""When each sort of cut strikes, and as what: the first of these that may strike there."""


@attrs.define
class Bits:
    """The faults that cut ways: what was met later has a higher bit.

    Attributes:
        kinds: Only these kinds.
        faults: The faults, by number.
        services: The service at each fault's place, by its bit.
        deaths: Those by which a process dies, or stands still, as bits.
        crashes: Those by which it dies.
        surfaces: Which faults may strike at each operation: whoever learns writes it here.
        spots: The places whose cuts have bits.
        first: The reading of the calm run in these bits, once there is one.
    """

    kinds: Collection[type[Fault]]
    faults: list[Fault] = attrs.field(factory=list, init=False)
    services: dict[int, str] = attrs.field(factory=dict, init=False)
    deaths: int = attrs.field(default=0, init=False)
    crashes: int = attrs.field(default=0, init=False)
    surfaces: dict[str, Surface] = attrs.field(factory=dict, init=False)
    spots: dict[Place, Spot] = attrs.field(factory=dict, init=False)
    first: First | None = attrs.field(default=None, init=False)
    _numbers: dict[Fault, int] = attrs.field(factory=dict, init=False)
    _at: dict[tuple[type[Fault], Site], int] = attrs.field(factory=dict, init=False)
    _of_cut: dict[Cut, int] = attrs.field(factory=dict, init=False)

    def of(self, mask: int) -> tuple[Fault, ...]:
        """Return the faults of some bits."""
        return tuple(self.faults[number] for number in numbers(mask))

    def mask(self, faults: Collection[Fault]) -> int:
        """Return the bits of faults, whatever their options; 0 if one of them cuts nothing."""
        found = 0
        for fault in faults:
            bit = self._at.get((type(fault), fault.site), 0)
            if not bit:
                return 0
            found |= bit
        return found

    def number(self, cut: Cut) -> int:
        """Return the bit of a cut: 0 for what nothing can cut."""
        found = self._of_cut.get(cut)
        if found is None:
            found = self._of_cut[cut] = self._made(cut)
        return found

    def translated(self, ways: Ways, without: int = 0) -> Lesson:
        """Return ways that were read elsewhere in the bits of this search, less some of them."""
        bits = [*map(self.number, ways.cuts)]
        moves = _moves(bits)
        moved_to: dict[int, int] = {}

        def moved(mask: int) -> int:
            found = moved_to.get(mask, -1)
            if found < 0:
                found = 0
                for those, up, down in moves:
                    found |= (mask & those) << up >> down
                found &= ~without
                moved_to[mask] = found
            return found

        outcomes = tuple(
            (
                key,
                tuple(
                    Way(moved(way.direct), moved(way.memory), moved(way.end), way.gone)
                    for way in each
                ),
            )
            for key, each in ways.outcomes
        )
        return Lesson(outcomes, tuple(moved(way) for way in ways.handled), tuple(bits))

    def _made(self, cut: Cut) -> int:
        operation, entity, attempt, sort = cut
        phase, wanted = _KINDS[sort]
        kinds = legal(operation, self.surfaces[operation], phase)
        kind = next((one for one in wanted if one in kinds and one in self.kinds), None)
        if kind is None or attempt > ATTEMPTS_MAX:
            return 0
        fault = _hardest(kind, Site(operation, phase, entity, attempt))
        number = self._numbers.setdefault(fault, len(self.faults))
        if number == len(self.faults):
            self.faults.append(fault)
            self._at[kind, fault.site] = 1 << number
            self.services[1 << number] = service_of(operation)
            self.deaths |= isinstance(fault, DEATHS) << number
            self.crashes |= isinstance(fault, Crash) << number
        return 1 << number


def _hardest(kind: type[Fault], site: Site) -> Fault:
    """Return the fault that cuts for as long as it can."""
    if kind is FailedCommit:
        return FailedCommit(site)  # rolled back: the other one is no cut
    given: dict[str, Any] = {kind.length_name: "long"} if kind.length_name else {}
    return kind(site, **given)


def _moves(bits: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return how bits of one run get to their places: some of them, and how far up and down.

    A run mostly comes to the same places in the same order, so a few moves take many bits each.
    """
    by_distance: dict[int, int] = {}
    for at, bit in enumerate(bits):
        if bit:
            distance = bit.bit_length() - 1 - at
            by_distance[distance] = by_distance.get(distance, 0) | 1 << at
    return [(those, max(far, 0), max(-far, 0)) for far, those in by_distance.items()]


def numbers(mask: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
