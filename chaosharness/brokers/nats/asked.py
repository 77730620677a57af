"""What a message asks of its stream by its headers.

Source:
    nats-server 2.15, `server/stream.go` (`processJetStreamMsg`): each was asked of a running one.

Not modelled:
    Times to live, roll-ups, counters, schedules and batches: a stream refuses them that does not
    say that it takes them, and none here says so.
"""

from __future__ import annotations

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
    "Nats-TTL": Refusal("10166", "per-message TTL is disabled"),
    "Nats-Rollup": Refusal("10111", "rollup not permitted"),
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


def _sequence(word: str) -> int:
    return int(word) if word.isdecimal() else NEVER


def id_by(headers: Mapping[str, str]) -> str | None:
    """Return a message's own id, if it has one."""
    return headers.get("Nats-Msg-Id") or None
