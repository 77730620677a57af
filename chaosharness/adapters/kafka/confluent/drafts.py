"""A record that a producer of confluent-kafka has taken, until it is reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

from chaosharness.adapters.kafka.confluent.message import Message
from chaosharness.kernel.scope import Scope

Report = Callable[[KafkaError | None, Message], Any]


class Draft:
    """One record on its way, and who wants to hear of it."""

    __slots__ = (
        "attempt",
        "due_ms",
        "headers",
        "key",
        "partition",
        "report",
        "scope",
        "topic",
        "transaction",
        "value",
        "waits",
    )

    def __init__(
        self,
        scope: Scope,
        topic: str,
        value: Any,
        key: Any,
        headers: Any,
        partition: int | None,
        report: Report | None,
        due_ms: int,
        transaction: int,
    ) -> None:
        self.scope = scope
        self.topic = topic
        self.value = value
        self.key = key
        self.headers = headers
        self.partition = partition
        self.report = report
        self.due_ms = due_ms
        self.transaction = transaction
        self.attempt: tuple[Scope, int] | None = None
        self.waits = False
