"""Why a stream cannot have a consumer.

Source:
    nats-server 2.15, `server/consumer.go`: `checkConsumerCfg`, `addConsumerWithAssignment`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from chaosharness.machines.machine import Refusal
from chaosharness.machines.nats import refusals
from chaosharness.machines.nats.settings import ConsumerSettings, StreamSettings
from chaosharness.machines.nats.subjects import overlap


def refusal_of(settings: ConsumerSettings, stream: StreamSettings) -> Refusal | None:
    """Return why a consumer cannot be, whatever else its stream has; None if it can.

    Args:
        settings: What it would go by.
        stream: What its stream goes by.
    """
    if 0 < settings.deliver_max < len(settings.backoff_ms):
        return refusals.BACKOFF_TOO_LONG
    filters = settings.filters
    if stream.retention == "workqueue" and settings.ack == "none":
        return refusals.NEEDS_ACK
    if settings.deliver == "last_per_subject" and not filters:
        return refusals.NEEDS_FILTER
    for index, one in enumerate(filters):
        if any(overlap(one, other) for other in filters[index + 1 :]):
            return refusals.FILTERS_OVERLAP
    return None


def refusal_beside(
    settings: ConsumerSettings, stream: StreamSettings, others: Iterable[ConsumerSettings]
) -> Refusal | None:
    """Return why a consumer cannot be beside those that are there; None if it can.

    Args:
        settings: What it would go by.
        stream: What its stream goes by.
        others: The consumers that the stream has.
    """
    if stream.retention != "workqueue":
        return None
    if settings.ack != "explicit":
        return refusals.NEEDS_EXPLICIT
    if settings.deliver != "all":
        return refusals.NOT_DELIVER_ALL
    return _refusal_of_second(settings.filters, [one.filters for one in others])


FIXED: Final = (
    ("deliver", "deliver policy"),
    ("start", "start sequence"),
    ("ack", "ack policy"),
)
"""What of a consumer stays as it was made, and what the server calls it."""


def refusal_of_change(one: ConsumerSettings, other: ConsumerSettings) -> Refusal | None:
    """Return why a consumer cannot go by other settings; None if it can."""
    for name, words in FIXED:
        if getattr(one, name) != getattr(other, name):
            return refusals.unchangeable(words)
    return None


def _refusal_of_second(filters: tuple[str, ...], others: list[tuple[str, ...]]) -> Refusal | None:
    """Return why a work queue cannot have one more consumer: each message has one."""
    if others and not filters:
        return refusals.NOT_FILTERED
    for theirs in others:
        if not theirs or any(overlap(one, two) for one in filters for two in theirs):
            return refusals.NOT_UNIQUE
    return None
