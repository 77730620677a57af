"""The deaths of a message: its `x-death` header, and what keeps it from going round for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

Reason = Literal["rejected", "expired", "maxlen", "delivery_limit"]
Gone = Reason | Literal["deleted", "purged", "restart"]
"""Why a message is no longer in a queue; the last three are no deaths: nobody is told."""


COUNT: Final = "x-delivery-count"
"""The header in which quorum queues say how often a message came back."""


@attrs.frozen
class Death:
    """One line of a message's `x-death` header."""

    queue: str
    reason: Reason
    count: int
    exchange: str
    routing_key: str


def after_death(
    deaths: tuple[Death, ...],
    headers: Mapping[str, Any],
    *,
    queue: str,
    reason: Reason,
    exchange: str,
    routing_key: str,
    turns: bool = False,
    counted: bool = False,
) -> tuple[tuple[Death, ...], dict[str, Any]]:
    """Return the deaths and headers of a dead letter.

    Args:
        deaths: Those of the message that died.
        headers: Its headers.
        queue: Where it died.
        reason: Of what.
        exchange: Where it had been published.
        routing_key: By which key.
        counted: Whether the broker counted there how often it came back: that count stays there,
            and one that the publisher wrote goes on.
        turns: Whether two earlier deaths and more are turned round each time, as up to 3.12.

    Source: RabbitMQ 4.3 documentation, "Dead Letter Exchanges", "Effects on Messages"; of
        `turns`: `group_by_queue_and_reason` of the server, and observed on 3.10.8.
    Not modelled: the `time` and `original-expiration` of `x-death`.
    """
    count = 1
    others = []
    for death in reversed(deaths) if turns else deaths:
        if (death.queue, death.reason) == (queue, reason):
            count = death.count + 1
        else:
            others.append(death)
    deaths = (Death(queue, reason, count, exchange, routing_key), *others)
    kept = dict(headers)
    if counted:
        kept.pop(COUNT, None)
    kept.setdefault("x-first-death-exchange", exchange)
    kept.setdefault("x-first-death-queue", queue)
    kept.setdefault("x-first-death-reason", reason)
    kept["x-death"] = [
        {
            "count": death.count,
            "exchange": death.exchange,
            "queue": death.queue,
            "reason": death.reason,
            "routing-keys": [death.routing_key],
        }
        for death in deaths
    ]
    return deaths, kept


def deaths_in(headers: Mapping[str, Any]) -> tuple[Death, ...]:
    """Return what a publisher says of earlier deaths, in a header `x-death` of its own.

    Up to 3.x the broker goes on counting there: a dead letter that is published again with its
    headers is at its second death. From 4.0 on it does not read what clients write there.

    Source: observed on 3.10.8; RabbitMQ 4.0 documentation, "Dead Letter Exchanges".
    """
    found: list[Death] = []
    said = headers.get("x-death")
    for line in said if isinstance(said, list | tuple) else ():
        if not isinstance(line, Mapping) or not {"queue", "reason"} <= line.keys():
            continue
        keys = line.get("routing-keys") or [""]
        count, exchange = line.get("count", 1), str(line.get("exchange", ""))
        if isinstance(count, int):
            found.append(Death(line["queue"], line["reason"], count, exchange, str(keys[0])))
    return tuple(found)


def is_cycle(queue: str, deaths: tuple[Death, ...]) -> bool:
    """Say whether a message would come back to a queue without anybody rejecting it.

    Source: RabbitMQ documentation, "Dead Letter Exchanges", "Automatic Dead Letter Cycles".
    """
    for index, death in enumerate(deaths):
        if death.queue == queue:
            return all(one.reason != "rejected" for one in deaths[: index + 1])
    return False
