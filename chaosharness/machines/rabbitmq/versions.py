"""What differs from one version of RabbitMQ to the next, as far as clients can see it.

=====  ==========================================================================================
from   what
=====  ==========================================================================================
3.10   a dead letter of a delivery limit is given credit for twice; `basic.get`s of one channel
       come back to a quorum queue in the order of their tags as texts; the deaths before the last
       one are turned round in `x-death` at each death (all observed on 3.10.8)
3.x    quorum queues write 0 over the `x-delivery-count` of a publisher (observed on 3.10.8)
3.13   but for that none of these
4.0    quorum queues: 20 deliveries at most, unless told otherwise; two priorities (above 4 and the
       rest), two of the one for each of the other. `x-death` of a client is not read any more
4.3    quorum queues: `basic.nack` does not count towards the delivery limit, nor does the consumer
       timeout, which only they have; 32 priorities, strictly
=====  ==========================================================================================

Source:
    Release notes of 4.0.1 ("Default Redelivery Limit", "AMQP 0.9.1 x-death header"); RabbitMQ 4.3
    documentation, "Quorum Queues"; `rabbit_fifo_q.erl` (weights, and the reservation that makes
    the low priority wait where the other came first); `rabbit_fifo_client.erl`
    (`add_delivery_count_header`: from 4.0 on nothing is written before the first return). 3.10.8
    was observed.
"""

from __future__ import annotations

from typing import Final, Literal

Version = Literal["3.10", "3.13", "4.0", "4.3"]
VERSIONS: Final = ("3.10", "3.13", "4.0", "4.3")

Return = Literal["nack", "reject", "closed", "timeout"]
"""How a message comes back: given back by its consumer, or because its channel went."""

DELIVERY_LIMIT: Final = 20
"""From 4.0 on, for quorum queues that say nothing else."""

NO_LIMIT: Final = -1


MESSAGE_MAX_3: Final = 134_217_728
MESSAGE_MAX: Final = 16_777_216
"""How many bytes a message may have, by default: `max_message_size`.

*Source*: RabbitMQ 4.0.1, release notes; `rabbit_channel.erl`, `check_msg_size`; heard of 3.10.8."""


def too_large(size: int, version: Version) -> str:
    """Return why a channel is closed that publishes so many bytes; empty if they are taken."""
    size_max = MESSAGE_MAX_3 if is_3(version) else MESSAGE_MAX
    if size <= size_max:
        return ""
    words = f"message size {size} is larger than configured max size {size_max}"
    return f"406 PRECONDITION_FAILED - {words}"


def is_3(version: Version) -> bool:
    """Say whether a version is one of 3.x."""
    return version.startswith("3.")


def default_limit(version: Version) -> int | None:
    """Return the delivery limit of a quorum queue that says nothing of it; None for none."""
    return None if is_3(version) else DELIVERY_LIMIT


def reads_deaths(version: Version) -> bool:
    """Say whether the broker reads an `x-death` that a client publishes."""
    return is_3(version)


def turns_deaths(version: Version) -> bool:
    """Say whether the deaths before the last one are turned round at each death."""
    return version == "3.10"


def counts(how: Return, version: Version) -> bool:
    """Say whether this way of coming back to a quorum queue counts towards its delivery limit."""
    return version != "4.3" or how in ("reject", "closed")


def overwrites_count(version: Version) -> bool:
    """Say whether a quorum queue writes 0 for the count that a publisher wrote."""
    return is_3(version)


def has_consumer_timeout(kind: str, version: Version) -> bool:
    """Say whether consumers of such a queue have to acknowledge in time."""
    return kind != "stream" and (version != "4.3" or kind == "quorum")
