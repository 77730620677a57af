"""The attributes of an SQS queue, with AWS's ranges and defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

VISIBILITY_MS_MAX: Final = 43_200_000
"""12 hours, from when a message was received."""
DELAY_MS_MAX: Final = 900_000
WAIT_MS_MAX: Final = 20_000
RETENTION_MS_MIN: Final = 60_000
RETENTION_MS_MAX: Final = 1_209_600_000
SIZE_MIN: Final = 1_024
SIZE_MAX: Final = 1_048_576
RECEIVES_MAX: Final = 1_000
BATCH_MAX: Final = 10
IN_FLIGHT_MAX: Final = 120_000
DEDUPLICATION_MS: Final = 300_000
PURGE_MS: Final = 60_000
DELETED_MS: Final = 60_000
MOVES_PER_SECOND: Final = 500


def within(low: int, high: int) -> Callable[[Any, Any, Any], None]:
    """Return what checks that a value is a whole number from `low` to `high`."""

    def check(_: Any, attribute: Any, value: Any) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not low <= value <= high:
            words = f"{low:,} to {high:,}"
            raise ValueError(f"{attribute.name} must be a whole number, {words}, not {value!r}")

    return check


@attrs.frozen(kw_only=True)
class QueueSettings:
    """What a queue goes by.

    Attributes:
        fifo: Whether messages of one group keep their order and are recognised when sent again.
        as_standard: FIFO: whether it takes what a FIFO queue takes, and promises only what a
            standard queue does.
        visibility_ms: How long a received message is hidden from others.
        delay_ms: How long a new message is hidden at first.
        wait_ms: How long a receive waits for a message, unless it says otherwise.
        retention_ms: How long a message is kept.
        size_max: Bytes of a message, attributes included.
        dead_letter: The queue for messages that were received too often.
        receives_max: How often a message may be received; once more and it is a dead letter.
        by_content: FIFO: whether equal bodies are the same message.
        scope: FIFO: what an id of a message is unique in.
        in_flight_max: Messages in hands at a time.

    Source:
        Amazon SQS API Reference, SetQueueAttributes; Developer Guide, "Amazon SQS standard queue
        quotas" and "Amazon SQS FIFO queue quotas" (in flight: 120,000 each; until 2024 20,000 for
        FIFO; size: recorded from AWS 2025-08-19).
    """

    fifo: bool = False
    as_standard: bool = False
    visibility_ms: int = attrs.field(default=30_000, validator=within(0, VISIBILITY_MS_MAX))
    delay_ms: int = attrs.field(default=0, validator=within(0, DELAY_MS_MAX))
    wait_ms: int = attrs.field(default=0, validator=within(0, WAIT_MS_MAX))
    retention_ms: int = attrs.field(
        default=345_600_000, validator=within(RETENTION_MS_MIN, RETENTION_MS_MAX)
    )
    size_max: int = attrs.field(default=SIZE_MAX, validator=within(SIZE_MIN, SIZE_MAX))
    dead_letter: str | None = None
    receives_max: int = attrs.field(default=10, validator=within(1, RECEIVES_MAX))
    by_content: bool = False
    scope: Literal["queue", "messageGroup"] = attrs.field(
        default="queue", validator=attrs.validators.in_(("queue", "messageGroup"))
    )
    in_flight_max: int = attrs.field(default=IN_FLIGHT_MAX, validator=within(1, IN_FLIGHT_MAX))
    keeps_order: bool = attrs.field(init=False)
    """Whether it keeps what FIFO promises: order, no second copies, messages recognised."""

    @keeps_order.default
    def _by_kind(self) -> bool:
        return self.fifo and not self.as_standard
