"""What a Kafka broker answers where it refuses: the names and words of its protocol.

Source: Apache Kafka 3.9, `org.apache.kafka.common.protocol.Errors`.
"""

from __future__ import annotations

from typing import Final

from chaosharness.machines.machine import Refusal

NO_TOPIC: Final = Refusal(
    "UNKNOWN_TOPIC_OR_PARTITION", "This server does not host this topic-partition."
)
NO_MEMBER: Final = Refusal("UNKNOWN_MEMBER_ID", "The coordinator is not aware of this member.")
OLD_GENERATION: Final = Refusal("ILLEGAL_GENERATION", "Specified group generation id is not valid.")
REBALANCING: Final = Refusal(
    "REBALANCE_IN_PROGRESS", "The group is rebalancing, so a rejoin is needed."
)
FENCED_INSTANCE: Final = Refusal(
    "FENCED_INSTANCE_ID",
    "The broker rejected this static consumer since another consumer with the same "
    "group.instance.id has registered with a different member.id.",
)
OUT_OF_RANGE: Final = Refusal(
    "OFFSET_OUT_OF_RANGE",
    "The requested offset is not within the range of offsets maintained by the server.",
)
NO_KEY: Final = Refusal(
    "INVALID_RECORD", "Compacted topic cannot accept message without key in topic partition."
)
OUT_OF_ORDER: Final = Refusal(
    "OUT_OF_ORDER_SEQUENCE_NUMBER", "The broker received an out of order sequence number."
)
OLD_EPOCH: Final = Refusal(
    "INVALID_PRODUCER_EPOCH", "Producer attempted to produce with an old epoch."
)
FENCED: Final = Refusal(
    "PRODUCER_FENCED",
    "There is a newer producer with the same transactionalId which fences the current one.",
)
NO_TRANSACTION: Final = Refusal(
    "INVALID_TXN_STATE", "The producer attempted a transactional operation in an invalid state."
)
UNSTABLE: Final = Refusal(
    "UNSTABLE_OFFSET_COMMIT",
    "There are unstable offsets that need to be cleared.",
    sender_fault=False,
)
TOO_LARGE: Final = Refusal(
    "MESSAGE_TOO_LARGE",
    "The request included a message larger than the max message size the server will accept.",
)
