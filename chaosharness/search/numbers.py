"""The numbers of faults in the books of a search: given at once, and the faults made later.

A search of some hundred runs strikes a few hundred of the thousands of faults that it knows of:
the others are counted and put in order, and never made.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

import attrs

from chaosharness.faults import Fault
from chaosharness.search.sites import Catalogue

Spot = tuple[str, int, str, int]
"""An operation, the workload item, the whole name of the message in hand, and the attempt."""

_NOTHING: Final = range(0)


@attrs.define(eq=False)
class Numbers:
    """Numbers from 0, in the order in which places were asked for.

    Attributes:
        catalogue: Says which faults there are at a place.
    """

    catalogue: Catalogue
    _at: dict[Spot, range] = attrs.field(factory=dict, init=False)
    _spots: list[Spot] = attrs.field(factory=list, init=False)
    _begins: list[int] = attrs.field(factory=list, init=False)
    _count: int = attrs.field(default=0, init=False)
    _made: dict[int, Fault] = attrs.field(factory=dict, init=False)
    _of: dict[Fault, int] = attrs.field(factory=dict, init=False)

    def at(self, spot: Spot) -> range:
        """Return the numbers of the faults at one attempt of an operation."""
        found = self._at.get(spot)
        if found is None:
            operation, entity, _, attempt = spot
            many = len(self.catalogue.sorts_at(operation, entity, attempt))
            found = self._at[spot] = range(self._count, self._count + many)
            if many:
                self._spots.append(spot)
                self._begins.append(self._count)
                self._count += many
        return found

    def fault(self, number: int) -> Fault:
        """Return the fault of a number."""
        if number not in self._made:
            self._make(self._spots[bisect_right(self._begins, number) - 1])
        return self._made[number]

    def of(self, fault: Fault) -> int | None:
        """Return the number of a fault; None if its place was never asked for, or has it not."""
        found = self._of.get(fault)
        if found is None:
            site = fault.site
            spot = (*self.catalogue.spelling.place(site), site.attempt)
            here = self._at.get(spot, _NOTHING)
            if here and here[0] not in self._made:
                self._make(spot)
                found = self._of.get(fault)
        return found

    def _make(self, spot: Spot) -> None:
        here = self._at[spot]
        faults = self.catalogue.at(*spot)
        self._made.update(zip(here, faults, strict=True))
        self._of.update(zip(faults, here, strict=True))
