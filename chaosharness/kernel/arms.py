"""The faults of a schedule that are armed in a run, and which of them have struck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chaosharness.kernel.message_names import EVERY
from chaosharness.kernel.site import Armed, Phase, Site, first_at


class Arms:
    """All that is armed, by the operation at which it strikes.

    Args:
        armed: In the schedule's order.
        reached: How often each operation was reached so far, by workload item and message.
    """

    __slots__ = ("_all", "_firsts", "_reached", "by_operation")

    def __init__(self, armed: Sequence[Armed], reached: Mapping[tuple[str, int, str], int]) -> None:
        self._all = tuple(armed)
        self._reached = reached
        self._firsts: dict[tuple[str, int, str], str] = {}
        self.by_operation: dict[str, list[Armed]] = {}
        for one in armed:
            self.by_operation.setdefault(one.site.operation, []).append(one)

    def strike(
        self, operation: str, phase: Phase, entity: int, attempt: int, message: str
    ) -> list[Any]:
        """Return the faults that strike at a place now, in the schedule's order."""
        struck: list[Any] = []
        armed = self.by_operation.get(operation)
        if armed is None:
            return struck
        for one in armed:
            site = one.site
            if site.entity != entity or site.attempt != attempt or site.phase != phase:
                continue
            if self._is_meant(site, message):
                one.struck = True
                struck.append(one.fault)
        return struck

    def _is_meant(self, site: Site, message: str) -> bool:
        """Say whether a site means this message: the first to get there that its words fit."""
        wanted = site.message
        if wanted == EVERY:
            return True
        key = (site.operation, site.entity, wanted)
        first = self._firsts.get(key)
        if first is None:
            first = first_at(self._reached, site)
            if first is None:
                return False
            self._firsts[key] = first
        return first == message

    def struck(self) -> bool:
        """Say whether any fault has struck so far."""
        return any(one.struck for one in self._all)

    def unused(self) -> list[Any]:
        """Return the faults that found no site."""
        return [one.fault for one in self._all if not one.struck]
