"""A message in a RabbitMQ queue, and what becomes of it when it dies there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from chaosharness.brokers.message import Message

Reason = Literal["rejected", "expired", "maxlen", "delivery_limit"]


@attrs.frozen
class Death:
    """One line of a message's `x-death` header."""

    queue: str
    reason: Reason
    count: int
    exchange: str
    routing_key: str


class Copy(Message, kw_only=True, eq=False, gc=False):
    """A message in one queue. There is one copy per queue, however many bindings match."""

    exchange: str = ""
    expiration_ms: int | None = None
    priority: int = 0
    deaths: tuple[Death, ...] = ()
    expires_ms: int | None = None
    place: int = 0
    returns: int = 0

    def twin(self) -> Copy:
        """Return the same message once more, for another queue."""
        return Copy(
            self.topic,
            self.key,
            self.headers,
            self.body,
            self.entity,
            self.hops,
            exchange=self.exchange,
            expiration_ms=self.expiration_ms,
            priority=self.priority,
            published=self.published,
            name=self.name,
            deaths=self.deaths,
        )


def dead_letter(copy: Copy, queue: str, reason: Reason, exchange: str, key: str | None) -> Copy:
    """Return the message that is published instead of a dead one.

    Source: RabbitMQ 4.3 documentation, "Dead Letter Exchanges", "Effects on Messages".
    Not modelled: the `time` and `original-expiration` of `x-death`.
    """
    count = 1
    others = []
    for death in copy.deaths:
        if (death.queue, death.reason) == (queue, reason):
            count = death.count + 1
        else:
            others.append(death)
    deaths = (Death(queue, reason, count, copy.exchange, copy.topic), *others)
    headers = {name: value for name, value in copy.headers.items() if name != "x-delivery-count"}
    headers.setdefault("x-first-death-exchange", copy.exchange)
    headers.setdefault("x-first-death-queue", queue)
    headers.setdefault("x-first-death-reason", reason)
    headers["x-death"] = [
        {
            "count": death.count,
            "exchange": death.exchange,
            "queue": death.queue,
            "reason": death.reason,
            "routing-keys": [death.routing_key],
        }
        for death in deaths
    ]
    letter = Copy(
        copy.topic if key is None else key,
        copy.key,
        headers,
        copy.body,
        copy.entity,
        copy.hops,
        exchange=exchange,
        priority=copy.priority,
        name=copy.name,
    )
    letter.deaths = deaths
    return letter


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
