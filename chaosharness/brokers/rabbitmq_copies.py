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


class Copy(Message):
    """A message in one queue. There is one copy per queue, however many bindings match."""

    __slots__ = (
        "deaths",
        "exchange",
        "expiration_ms",
        "expires_ms",
        "place",
        "priority",
        "returns",
    )

    def __init__(
        self,
        topic: str,
        key: str | None,
        headers: Mapping[str, Any],
        body: bytes,
        entity: int = 0,
        hops: int = 0,
        *,
        exchange: str = "",
        expiration_ms: int | None = None,
        priority: int = 0,
    ) -> None:
        super().__init__(topic, key, headers, body, entity, hops)
        self.exchange = exchange
        self.expiration_ms = expiration_ms
        self.priority = priority
        self.deaths: tuple[Death, ...] = ()
        self.expires_ms: int | None = None
        self.place = 0
        self.returns = 0

    def twin(self) -> Copy:
        """Return the same message once more, for another queue."""
        twin = Copy(
            self.topic,
            self.key,
            self.headers,
            self.body,
            self.entity,
            self.hops,
            exchange=self.exchange,
            expiration_ms=self.expiration_ms,
            priority=self.priority,
        )
        twin.published = self.published
        twin.deaths = self.deaths
        return twin


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
    )
    letter.deaths = deaths
    return letter


def is_cycle(queue: str, deaths: tuple[Death, ...]) -> bool:
    """Say whether a message would come back to a queue without anybody rejecting it.

    Source: RabbitMQ documentation, "Dead Letter Exchanges", "Automatic Dead Letter Cycles".
    """
    for index, death in enumerate(deaths):
        if death.queue == queue:
            return all(one.reason != "rejected" for one in deaths[: index + 1])
    return False
