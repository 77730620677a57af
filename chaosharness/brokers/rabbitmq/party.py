"""One consumer on a channel of RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable

from chaosharness.machines.rabbitmq.node import Start
from chaosharness.machines.rabbitmq.takers import Push


def _take_nothing(push: Push, cause: int) -> None:
    """Be given a message when the run is over."""


def _lose_nothing() -> None:
    """Be cancelled when the run is over."""


class Party:
    """One consumer on a channel: what it asked for, and what it is told.

    Attributes:
        operation: What sites call a delivery to it.
        queue: What it consumes.
        prefetch: Unacknowledged messages at most; 0 for no limit.
        auto_ack: Whether the broker takes a message as acknowledged once it is sent.
        priority: Its `x-priority`.
        exclusive: Whether nobody else may consume from the queue.
        start: Where it begins in a stream.
        take: Called with each message that arrives, and the event of its delivery.
        cancelled: Called when the broker cancels it.
    """

    __slots__ = (
        "auto_ack",
        "cancelled",
        "exclusive",
        "operation",
        "prefetch",
        "priority",
        "queue",
        "start",
        "take",
    )

    def __init__(
        self,
        queue: str,
        operation: str,
        *,
        prefetch: int,
        auto_ack: bool,
        take: Callable[[Push, int], None],
        cancelled: Callable[[], None],
        priority: int = 0,
        exclusive: bool = False,
        start: Start = "next",
    ) -> None:
        self.cancelled = cancelled
        self.start: Start = start
        self.queue = queue
        self.operation = operation
        self.prefetch = prefetch
        self.auto_ack = auto_ack
        self.priority = priority
        self.exclusive = exclusive
        self.take = take

    def forget(self) -> None:
        """Let go of its code, at the end of a run."""
        self.take = _take_nothing
        self.cancelled = _lose_nothing
