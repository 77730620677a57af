"""Services whose own main loop dies: how long they wait, and when it is of no use."""

from __future__ import annotations

from typing import Any, Final

from chaosharness.kernel.history import RawEvent

FIRST_MS: Final = 1_000
LONGEST_MS: Final = 60_000
FALLS_MAX: Final = 10
"""Deaths in a row, without a fault and with nothing done by anybody, that end a run."""

_DONE: Final = frozenset({"ack", "arrive", "effect", "handled", "publish"})


class Falls:
    """What died by itself in one run, and how often.

    As a supervisor does (Kubernetes, systemd), it starts a service again after a second, then
    after 2, 4, ... 60 s, until the service gets something done.

    Attributes:
        last: What was raised last, and where; empty if nothing was.
    """

    __slots__ = ("_series", "_useless", "last")

    def __init__(self) -> None:
        self._series: dict[str, tuple[int, int]] = {}
        self._useless: dict[str, tuple[int, int]] = {}
        self.last = ""

    def delay_ms(self, raw: list[RawEvent], service: str, replica: int) -> int:
        """Count a death; return how long the service waits before it is started again."""
        own = f"{service}#{replica}"
        times, since = self._series.get(own, (0, 0))
        if any(_done(event) for event in raw[since:] if event[2].partition("/")[0] == own):
            times = 0
        self._series[own] = (times + 1, len(raw))
        return min(FIRST_MS << min(times, 6), LONGEST_MS)

    def in_vain(self, raw: list[RawEvent], service: str, replica: int) -> bool:
        """Count a death that no fault explains; say whether more of them would be in vain."""
        own = f"{service}#{replica}"
        times, since = self._useless.get(own, (0, 0))
        if any(map(_done, raw[since:])):
            times = 0
        self._useless[own] = (times + 1, len(raw))
        return times + 1 >= FALLS_MAX


def _done(event: Any) -> bool:
    kind, data = event[1], event[7]
    if kind == "commit":
        return "error" not in data and data.get("rows", 1) != 0
    return kind in _DONE
