"""The faults that cut ways, each with a bit of its own for a whole search."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
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
from chaosharness.search.lineage.ways import Cut, Sort
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
        deaths: Those by which a process dies, or stands still, as bits.
    """

    kinds: Collection[type[Fault]]
    faults: list[Fault] = attrs.field(factory=list, init=False)
    deaths: int = attrs.field(default=0, init=False)
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

    def translate(self, cuts: Collection[Cut], surfaces: Mapping[str, Surface]) -> list[int]:
        """Return the bits that the cuts of one run have here: 0 for what nothing can cut."""
        return [self._bit(cut, surfaces) for cut in cuts]

    def _bit(self, cut: Cut, surfaces: Mapping[str, Surface]) -> int:
        found = self._of_cut.get(cut)
        if found is None:
            found = self._of_cut[cut] = self._made(cut, surfaces)
        return found

    def _made(self, cut: Cut, surfaces: Mapping[str, Surface]) -> int:
        operation, entity, attempt, sort = cut
        phase, wanted = _KINDS[sort]
        kinds = legal(operation, surfaces[operation], phase)
        kind = next((one for one in wanted if one in kinds and one in self.kinds), None)
        if kind is None or attempt > ATTEMPTS_MAX:
            return 0
        fault = _hardest(kind, Site(operation, phase, entity, attempt))
        number = self._numbers.setdefault(fault, len(self.faults))
        if number == len(self.faults):
            self.faults.append(fault)
            self._at[kind, fault.site] = 1 << number
            self.deaths |= isinstance(fault, DEATHS) << number
        return 1 << number


def _hardest(kind: type[Fault], site: Site) -> Fault:
    """Return the fault that cuts for as long as it can."""
    if kind is FailedCommit:
        return FailedCommit(site)  # rolled back: the other one is no cut
    given: dict[str, Any] = {kind.length_name: "long"} if kind.length_name else {}
    return kind(site, **given)


def numbers(mask: int) -> Iterator[int]:
    """Yield the numbers of the bits that are set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
