"""Faults that strike a delivery: each is written down, then it acts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from chaosharness.brokers.message import Message
from chaosharness.faults import Fault
from chaosharness.kernel.world import World


def struck(
    world: World,
    broker: str,
    operation: str,
    phase: Literal["before", "after"],
    message: Message,
    attempt: int,
    cause: int,
) -> Iterator[Fault]:
    """Go through the faults that strike a delivery of a message, each told by the broker."""
    for fault in world.strikes(operation, phase, message.entity, attempt, message.name):
        world.record(
            "fault",
            broker,
            operation=operation,
            entity=message.entity,
            attempt=attempt,
            cause=cause,
            data={"fault": str(fault)},
        )
        yield fault
