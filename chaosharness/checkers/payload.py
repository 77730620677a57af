"""What an event of a history carries, leaf by leaf: payloads of messages, arguments of effects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from chaosharness.kernel.history import Event
from chaosharness.schemas.shape import leaves

OURS: Final = frozenset({"method", "id", "key", "broker", "topic", "queues", "partition", "offset"})
"""What a history says about an effect or message, and nobody wrote into it."""


def leaf_name(path: str) -> str:
    """Return the name of a field, without where it stands: of `lines[0].cents`, `cents`."""
    return path.rpartition(".")[2].partition("[")[0]


def payload_of(event: Event) -> Iterator[tuple[str, Any]]:
    """Yield what a message or an effect says, leaf by leaf."""
    data = event.data
    if event.kind != "publish":
        yield from leaves({name: value for name, value in data.items() if name not in OURS})
        return
    value = data.get("value")
    if isinstance(value, bytes | str):
        try:
            value = json.loads(value)
        except ValueError:
            return
    yield from leaves(value)
