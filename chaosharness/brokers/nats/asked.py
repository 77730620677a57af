"""What a message asks of its stream by its headers.

Source:
    nats-server 2.15, `server/stream.go` (`processJetStreamMsg`): each was asked of a running one.

Not modelled:
    Counters, schedules and batches: a stream refuses them that does not say that it takes them, and
    none here says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from chaosharness.machines.machine import Refusal
from chaosharness.machines.nats import operations as op

NEVER: Final = -1
"""What a sequence is that is no number: none is."""
_EXPECTED: Final = {
    "Nats-Expected-Stream": "stream",
    "Nats-Expected-Last-Msg-Id": "id",
    "Nats-Expected-Last-Sequence": "sequence",
    "Nats-Expected-Last-Subject-Sequence": "of_subject",
}
OFF: Final = {
    "Nats-Incr": Refusal("10168", "message counters is disabled"),
    "Nats-Schedule": Refusal("10188", "message schedules is disabled"),
    "Nats-Batch-Id": Refusal("10174", "atomic publish is disabled"),
}
"""What only a stream takes that says so."""


def refused_by(headers: Mapping[str, str]) -> Refusal | None:
    """Return why a stream refuses a message for what it asks, whatever the stream has."""
    return next((why for name, why in OFF.items() if headers.get(name)), None)


def expected_by(headers: Mapping[str, str]) -> op.Expected | None:
    """Return what a message expects of its stream; None for nothing."""
    found: dict[str, Any] = {}
    for name, word in _EXPECTED.items():
        if value := headers.get(name):
            found[word] = value if word in ("stream", "id") else _sequence(value)
    return op.Expected(**found) if found else None


_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")
_UNITS_MS: Final = {
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
    "us": 1e-3,
    "µs": 1e-3,
    "ns": 1e-6,
}
SECOND_MS: Final = 1_000
WRONG_TTL: Final = -1


def asks_by(headers: Mapping[str, str]) -> op.Asks | None:
    """Return what a message asks of its stream for itself; None for nothing."""
    rollup, ttl = headers.get("Nats-Rollup"), headers.get("Nats-TTL")
    if not rollup and not ttl:
        return None
    return op.Asks(rollup=rollup or None, ttl_ms=_ttl_ms(ttl) if ttl else None)


def _ttl_ms(word: str) -> int:
    """Return how long a message is to be kept; 0: for good, -1: not a time that there is.

    *Source*: nats-server 2.15, `server/stream.go` (`parseMessageTTL`): seconds, or a duration of Go
    of at least one second, whose parts of a second do not count.
    """
    if word.lower() == "never":
        return 0
    if word.isdecimal():
        return int(word) * SECOND_MS or WRONG_TTL
    parts = _DURATION.findall(word)
    if not parts or "".join(number + unit for number, unit in parts) != word:
        return WRONG_TTL
    seconds = int(sum(float(number) * _UNITS_MS[unit] for number, unit in parts) // SECOND_MS)
    return seconds * SECOND_MS or WRONG_TTL


def _sequence(word: str) -> int:
    return int(word) if word.isdecimal() else NEVER


def id_by(headers: Mapping[str, str]) -> str | None:
    """Return a message's own id, if it has one."""
    return headers.get("Nats-Msg-Id") or None
