"""What the machine asks of whoever drives it: messages, and the arguments of queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from chaosharness.machines.rabbitmq.deaths import Death, Reason

Kind = Literal["classic", "quorum", "stream"]


class Kept(Protocol):
    """A message in one queue. There is one per queue, however many bindings match.

    Attributes:
        topic: Its routing key.
        exchange: Where it was published.
        headers: Its headers; the machine replaces them where it adds one.
        expiration_ms: Its own time to live.
        priority: Its priority.
        persistent: Whether it outlives the node (`delivery_mode` 2).
        deaths: Its `x-death`.
        redelivered: Whether it was handed out before, or may have been.
        expires_ms: When it expires, in the queue that it is in.
        place: Where in its queue it stands: a number that grows.
        returns: How often it came back.
    """

    topic: str
    exchange: str
    headers: Mapping[str, Any]
    expiration_ms: int | None
    priority: int
    persistent: bool
    deaths: tuple[Death, ...]
    redelivered: bool
    expires_ms: int | None
    place: int
    returns: int

    def twin(self) -> Kept:
        """Return the same message once more, for another queue."""

    def letter(
        self, queue: str, reason: Reason, exchange: str, key: str | None, *, turns: bool
    ) -> Kept:
        """Return the message that is published instead of this one, which died in a queue."""


class Arguments(Protocol):
    """How a queue was declared."""

    @property
    def kind(self) -> Kind:
        """`x-queue-type`."""

    @property
    def durable(self) -> bool:
        """Whether it outlives the node."""

    @property
    def exclusive(self) -> bool:
        """Whether it is of one connection, and goes with it."""

    @property
    def auto_delete(self) -> bool:
        """Whether it goes with its last consumer."""

    @property
    def expires_ms(self) -> int | None:
        """How long it may be unused (`x-expires`)."""

    @property
    def delivery_limit(self) -> int | None:
        """`x-delivery-limit`."""

    @property
    def ttl_ms(self) -> int | None:
        """`x-message-ttl`."""

    @property
    def length_max(self) -> int | None:
        """`x-max-length`."""

    @property
    def overflow(self) -> Literal["drop-head", "reject-publish", "reject-publish-dlx"]:
        """`x-overflow`."""

    @property
    def dead_letter_strategy(self) -> Literal["at-most-once", "at-least-once"]:
        """`x-dead-letter-strategy`."""

    @property
    def priority_max(self) -> int | None:
        """`x-max-priority`."""

    @property
    def single_active_consumer(self) -> bool:
        """`x-single-active-consumer`."""

    def dead_letters(self) -> tuple[str, str | None] | None:
        """Return exchange and routing key (None: the message's own) of dead letters."""
