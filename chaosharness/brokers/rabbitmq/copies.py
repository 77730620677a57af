"""A message in a RabbitMQ queue, and what becomes of it when it dies there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chaosharness.brokers.message import Message
from chaosharness.machines.rabbitmq.deaths import Death, Reason, after_death

NO_PROPERTIES: Final[Mapping[str, str]] = {}


class Copy(Message, kw_only=True, eq=False, gc=False):
    """A message in one queue. There is one copy per queue, however many bindings match."""

    exchange: str = ""
    expiration_ms: int | None = None
    priority: int = 0
    persistent: bool = True
    properties: Mapping[str, Any] = NO_PROPERTIES
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
            persistent=self.persistent,
            properties=self.properties,
            published=self.published,
            name=self.name,
            deaths=self.deaths,
        )

    def letter(
        self, queue: str, reason: Reason, exchange: str, key: str | None, *, turns: bool
    ) -> Copy:
        """Return the message that is published instead of this one, which died in a queue.

        Its own time to live is gone, or it would expire again at once.
        """
        deaths, headers = after_death(
            self.deaths,
            self.headers,
            queue=queue,
            reason=reason,
            exchange=self.exchange,
            routing_key=self.topic,
            turns=turns,
            counted=self.returns > 0,
        )
        return Copy(
            self.topic if key is None else key,
            self.key,
            headers,
            self.body,
            self.entity,
            self.hops,
            exchange=exchange,
            priority=self.priority,
            persistent=self.persistent,
            properties=self.properties,
            name=self.name,
            deaths=deaths,
        )


def properties_of(
    message_id: str | None, correlation_id: str | None, reply_to: str | None
) -> Mapping[str, str]:
    """Return the properties of a message that its publisher has named."""
    if message_id is None and correlation_id is None and reply_to is None:
        return NO_PROPERTIES
    found = {"message_id": message_id, "correlation_id": correlation_id, "reply_to": reply_to}
    return {name: value for name, value in found.items() if value is not None}
