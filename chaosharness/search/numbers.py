"""The numbers of faults in the books of a search: given at once, and the faults made later.

A search of some hundred runs strikes a few hundred of the thousands of faults that it knows of:
the others are counted and put in order, and never made.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import compress, repeat
from operator import is_
from typing import Final

import attrs

from chaosharness.faults import Fault
from chaosharness.search.sites import Catalogue

Spot = tuple[str, int, str, int]
"""An operation, the workload item, the whole name of the message in hand, and the attempt."""


REMEMBERED: Final = 64
"""Faults whose number is remembered: one is asked for a few times, when a run with it is known."""


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
    _made: list[Fault | None] = attrs.field(factory=list, init=False)
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
                self._made += [None] * many
                self._count += many
        return found

    def fault(self, number: int) -> Fault:
        """Return the fault of a number."""
        found = self._made[number]
        if found is None:
            at = bisect_right(self._begins, number) - 1
            found = self._make(self._spots[at])[number - self._begins[at]]
        return found

    def of(self, fault: Fault) -> int | None:
        """Return the number of a fault; None if its place was never asked for, or has it not."""
        found = self._of.get(fault)
        if found is None:
            found = self._looked_up(fault)
            if found is not None:
                if len(self._of) >= REMEMBERED:
                    self._of.clear()
                self._of[fault] = found
        return found

    def _looked_up(self, fault: Fault) -> int | None:
        site, kind = fault.site, type(fault)
        spot = (*self.catalogue.spelling.place(site), site.attempt)
        here = self._at.get(spot)
        if not here:
            return None
        faults = self._make(spot)
        alike = compress(zip(here, faults, strict=True), map(is_, map(type, faults), repeat(kind)))
        return next((number for number, one in alike if one is fault or one == fault), None)

    def _make(self, spot: Spot) -> tuple[Fault, ...]:
        faults, here = self.catalogue.at(*spot), self._at[spot]
        if self._made[here.start] is None:
            assert len(faults) == len(here)
            self._made[here.start : here.stop] = faults
        return faults
