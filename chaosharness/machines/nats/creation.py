"""Why a stream cannot have a consumer.

Source:
    nats-server 2.15, `server/consumer.go`: `checkConsumerCfg`, `addConsumerWithAssignment`.
"""

from __future__ import annotations

from collections.abc import Iterable

from chaosharness.machines.machine import Refusal
from chaosharness.machines.nats import refusals
from chaosharness.machines.nats.settings import ConsumerSettings, StreamSettings
from chaosharness.machines.nats.subjects import overlap


def refusal_of(
    settings: ConsumerSettings, stream: StreamSettings, others: Iterable[ConsumerSettings]
) -> Refusal | None:
    """Return why a consumer cannot be; None if it can.

    Args:
        settings: What it would go by.
        stream: What its stream goes by.
        others: The consumers that the stream has.
    """
    if 0 < settings.deliver_max < len(settings.backoff_ms):
        return refusals.BACKOFF_TOO_LONG
    filters = settings.filters
    queue = stream.retention == "workqueue"
    if queue and settings.ack == "none":
        return refusals.NEEDS_ACK
    if settings.deliver == "last_per_subject" and not filters:
        return refusals.NEEDS_FILTER
    for index, one in enumerate(filters):
        if any(overlap(one, other) for other in filters[index + 1 :]):
            return refusals.FILTERS_OVERLAP
        if not any(overlap(one, subject) for subject in stream.subjects):
            return refusals.FILTER_OUTSIDE
    if not queue:
        return None
    if settings.ack != "explicit":
        return refusals.NEEDS_EXPLICIT
    if settings.deliver != "all":
        return refusals.NOT_DELIVER_ALL
    return _refusal_of_second(filters, [one.filters for one in others])


def _refusal_of_second(filters: tuple[str, ...], others: list[tuple[str, ...]]) -> Refusal | None:
    """Return why a work queue cannot have one more consumer: each message has one."""
    if others and not filters:
        return refusals.NOT_FILTERED
    for theirs in others:
        if not theirs or any(overlap(one, two) for one in filters for two in theirs):
            return refusals.NOT_UNIQUE
    return None
