"""What an event of a history carries, leaf by leaf: payloads of messages, arguments of effects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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


_IDS: Final = ("id", "order_id", "order", "orderId", "key", "name", "number", "uuid", "sku")
"""Fields that name what holds them, the best first."""


def ids_in(item: Any) -> tuple[str, ...]:
    """Return what a workload item may be called by, the best first: what its fields of ids hold."""
    if not isinstance(item, Mapping):
        return ()
    named = [name for name in _IDS if name in item]
    named += [name for name in item if name not in named and str(name).lower().endswith("id")]
    values = (item[name] for name in named)
    return tuple(
        str(one) for one in values if isinstance(one, str | int) and not isinstance(one, bool)
    )
