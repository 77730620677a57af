"""What a consumer of confluent-kafka hands out: records, and errors in their place.

Source:
    confluent-kafka 2.16, `Consumer.poll` and `consume`; librdkafka, `rdkafka.h`.
"""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError

from chaosharness.adapters.kafka.confluent.message import Message
from chaosharness.adapters.kafka.confluent.places import words_of
from chaosharness.brokers.kafka.consumers import CommitFailed, InstanceFenced, UnknownLogPartition


class Records(list[Message]):
    """The records of one `consume`. Going to one says on whose behalf code runs from then on."""

    def __init__(self, consumer: Any, batch: Any) -> None:
        super().__init__([consumer._message(one) for one in batch.unopened()])
        self._batch = batch

    def __iter__(self) -> Any:
        for index in range(len(self)):
            yield self[index]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            self._batch[index]
        return list.__getitem__(self, index)


def error_of(code: int) -> Message:
    """Return what is handed out in place of a record where something is wrong."""
    words = words_of(code)
    return Message("", value=words.encode(), error=KafkaError(code, words))


def absent(topic: str) -> Message:
    """Return what is handed out once for a topic that one subscribes to, and that is not there."""
    code = KafkaError.UNKNOWN_TOPIC_OR_PART
    words = f"Subscribed topic not available: {topic}: {words_of(code)}"
    return Message(topic, value=words.encode(), error=KafkaError(code, words))


def words_for(error: BaseException) -> tuple[int, str]:
    """Return what the client calls an error of a commit."""
    code = KafkaError.COORDINATOR_NOT_AVAILABLE
    if isinstance(error, InstanceFenced):
        code = KafkaError.FENCED_INSTANCE_ID
    elif isinstance(error, UnknownLogPartition):
        code = KafkaError.UNKNOWN_TOPIC_OR_PART
    elif isinstance(error, CommitFailed):
        code = KafkaError.ILLEGAL_GENERATION
        if error.why != "generation":
            code = KafkaError.UNKNOWN_MEMBER_ID
    elif isinstance(error, TimeoutError):
        code = KafkaError._TIMED_OUT
    return code, f"Commit failed: {words_of(code)}"
