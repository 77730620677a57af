"""The faults that cut ways, each with a bit of its own for a whole search."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
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


_Strike = tuple[type[Fault], str, Phase, int, int]
"""A kind of fault, the operation, when it strikes, the workload item, and the attempt."""


@attrs.define
class Bits:
    """The faults that cut ways: what was met later has a higher bit.

    Attributes:
        kinds: Only these kinds.
        count: How many there are; each is made when somebody asks for it.
        of_service: The faults at the places of each service: each by its bit, and all as bits.
        deaths: Those by which a process dies, or stands still, as bits.
        crashes: Those by which it dies.
        surfaces: Which faults may strike at each operation: whoever learns writes it here.
        spots: The places whose cuts have bits.
        first: The reading of the calm run in these bits, once there is one.
    """

    kinds: Collection[type[Fault]]
    count: int = attrs.field(default=0, init=False)
    of_service: dict[str, tuple[set[int], int]] = attrs.field(factory=dict, init=False)
    deaths: int = attrs.field(default=0, init=False)
    crashes: int = attrs.field(default=0, init=False)
    surfaces: dict[str, Surface] = attrs.field(factory=dict, init=False)
    spots: dict[Place, Spot] = attrs.field(factory=dict, init=False)
    first: First | None = attrs.field(default=None, init=False)
    _at: dict[_Strike, int] = attrs.field(factory=dict, init=False)
    _strikes: list[_Strike] = attrs.field(factory=list, init=False)
    _kind_of: dict[tuple[str, Sort], type[Fault] | None] = attrs.field(factory=dict, init=False)
    _of_cut: dict[Cut, int] = attrs.field(factory=dict, init=False)

    def of(self, mask: int) -> tuple[Fault, ...]:
        """Return the faults of some bits."""
        return tuple(map(self.fault, numbers(mask)))

    def fault(self, number: int) -> Fault:
        """Return the fault of a bit, by its number."""
        kind, operation, phase, entity, attempt = self._strikes[number]
        return _hardest(kind, Site(operation, phase, entity, attempt))

    def bits_of(self, service: str) -> int:
        """Return the bits of the faults at the places of a service."""
        return self.of_service[service][1] if service in self.of_service else 0

    def mask(self, faults: Collection[Fault]) -> int:
        """Return the bits of faults, whatever their options; 0 if one of them cuts nothing."""
        found = 0
        for fault in faults:
            site = fault.site
            place = (type(fault), site.operation, site.phase, site.entity, site.attempt)
            bit = self._at.get(place, 0)
            if not bit or site.message:
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
        return _moved(Lesson(ways.outcomes, ways.handled), _moves(bits), tuple(bits), without)

    def settled(self, early: Early, lessons: Iterable[tuple[Lesson, int]]) -> Iterator[Lesson]:
        """Yield lessons in early bits in those of this search, each less some of them.

        The cuts get their numbers in the order in which they were first met, as if each lesson
        had been taken when it was read.
        """
        bits = [*map(self.number, early.cuts)]
        moves = _moves(bits)
        for lesson, without in lessons:
            asked = map(int.bit_length, filter(None, lesson.order))
            yield _moved(lesson, moves, tuple([bits[at - 1] for at in asked]), without)

    def _made(self, cut: Cut) -> int:
        operation, entity, attempt, sort = cut
        if (operation, sort) in self._kind_of:
            kind = self._kind_of[operation, sort]
        else:
            kind = self._kind_of[operation, sort] = self._hardest_kind(operation, sort)
        if kind is None or attempt > ATTEMPTS_MAX:
            return 0
        bit = 1 << self.count
        self.count += 1
        strike = (kind, operation, _KINDS[sort][0], entity, attempt)
        self._strikes.append(strike)
        self._at[strike] = bit
        service = service_of(operation)
        here, mask = self.of_service.get(service, (set(), 0))
        here.add(bit)
        self.of_service[service] = (here, mask | bit)
        if kind in DEATHS:
            self.deaths |= bit
            if kind is Crash:
                self.crashes |= bit
        return bit

    def _hardest_kind(self, operation: str, sort: Sort) -> type[Fault] | None:
        """Return the first kind that may strike there as a cut of a sort."""
        phase, wanted = _KINDS[sort]
        kinds = legal(operation, self.surfaces[operation], phase)
        return next((one for one in wanted if one in kinds and one in self.kinds), None)


def _hardest(kind: type[Fault], site: Site) -> Fault:
    """Return the fault that cuts for as long as it can."""
    if kind is FailedCommit:
        return FailedCommit(site)  # rolled back: the other one is no cut
    given: dict[str, Any] = {kind.length_name: "long"} if kind.length_name else {}
    return kind(site, **given)


@attrs.define(eq=False)
class Early:
    """Bits for what is read before a search knows what it looks for: each cut has one."""

    cuts: list[Cut] = attrs.field(factory=list, init=False)
    spots: dict[Place, Spot] = attrs.field(factory=dict, init=False)
    first: First | None = attrs.field(default=None, init=False)
    _of_cut: dict[Cut, int] = attrs.field(factory=dict, init=False)

    def number(self, cut: Cut) -> int:
        """Return the bit of a cut."""
        found = self._of_cut.get(cut)
        if found is None:
            found = self._of_cut[cut] = 1 << len(self.cuts)
            self.cuts.append(cut)
        return found

    def translated(self, ways: Ways, without: int = 0) -> Lesson:
        """Return ways that were read elsewhere in these bits, less some of them."""
        bits = [*map(self.number, ways.cuts)]
        return _moved(Lesson(ways.outcomes, ways.handled), _moves(bits), tuple(bits), without)


def _moved(
    lesson: Lesson, moves: Sequence[tuple[int, int, int]], order: tuple[int, ...], without: int
) -> Lesson:
    """Return a lesson with each bit in another place, less some of the new ones."""
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
                [
                    Way(moved(way.direct), moved(way.memory), moved(way.end), way.gone)
                    for way in each
                ]
            ),
        )
        for key, each in lesson.outcomes
    )
    return Lesson(outcomes, tuple(map(moved, lesson.handled)), order)


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
