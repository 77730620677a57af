"""What kafka-python hands out, takes and raises, in its own words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn

from kafka import errors
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import OffsetAndMetadata, TopicPartition

from chaosharness.brokers.kafka.consumers import (
    CommitFailed,
    InstanceFenced,
    UnknownLogPartition,
    Why,
)
from chaosharness.brokers.kafka.errors import InvalidRecord, OffsetOutOfRange
from chaosharness.brokers.kafka.transactions import ProducerFenced
from chaosharness.brokers.message import Delivery
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.kernel.world import World

LIBRARY: Final = "kafka-python"
DEFAULT_PORT: Final = "9092"
KICKED_OUT: Final = (
    "Offset commit cannot be completed since the consumer is not part of an active group for auto "
    "partition assignment; it is likely that the consumer was kicked out of the group."
)
Place = tuple[str, int]


class Partitions(set[Any]):
    """A set of log partitions, in the same order in every process."""

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__()))


def partitions(places: Iterable[Place]) -> Partitions:
    """Return log partitions as the client shows them."""
    return Partitions(TopicPartition(*one) for one in places)


def servers_of(given: Any) -> str:
    """Return `bootstrap_servers` as one line, each with its port."""
    found = [given] if isinstance(given, str) else list(given)
    split = [one.strip() for part in found for one in str(part).split(",")]
    return ",".join(one if ":" in one else f"{one}:{DEFAULT_PORT}" for one in split)


def left_out(what: str, instead: str = "") -> NoReturn:
    """Say that something is not modelled, and call the run off."""
    call_off(InvalidDefinition(f"{LIBRARY}: {what} is not modelled{asked_at()}{instead}"))


def read(reader: Any, topic: str, headers: Any, part: bytes | None) -> Any:
    """Return a key or a value as a deserializer makes it: an object of the client's, or a function.

    Raises:
        Exception: Whatever it raises.
    """
    if reader is None:
        return part
    if callable(reader) and not hasattr(reader, "deserialize"):
        return reader(part)
    return reader.deserialize(topic, headers, part)


def record_of(world: World, one: Delivery, key_reader: Any, value_reader: Any) -> Any:
    """Return a record as the client shows it.

    Raises:
        Exception: Whatever a deserializer raises.
    """
    key: Any = one.key.encode() if isinstance(one.key, str) else one.key
    pairs = (one.headers or {}).items()
    headers = [(name, part.encode() if isinstance(part, str) else part) for name, part in pairs]
    at_ms: int = world.raw[one.message.published][0]
    words = {
        "topic": one.topic,
        "partition": one.partition,
        "leader_epoch": 0,
        "offset": one.offset,
        "timestamp": EPOCH_MS + at_ms,
        "timestamp_type": 0,
        "key": read(key_reader, one.topic, headers, key),
        "value": read(value_reader, one.topic, headers, one.value),
        "headers": headers,
        "checksum": None,
        "serialized_key_size": -1 if key is None else len(key),
        "serialized_value_size": -1 if one.value is None else len(one.value),
        "serialized_header_size": sum(len(name) + len(part) for name, part in headers) or -1,
    }
    return ConsumerRecord(*(words.get(name) for name in ConsumerRecord._fields))


def offsets_of(offsets: Any) -> dict[Place, int]:
    """Return offsets by log partition.

    Raises:
        TypeError: They are something else.
    """
    right = isinstance(offsets, dict) and all(
        isinstance(one, TopicPartition) and isinstance(at, OffsetAndMetadata)
        for one, at in offsets.items()
    )
    if not right:
        raise TypeError("offsets must be dict[TopicPartition, OffsetAndMetadata]")
    return {(one.topic, one.partition): at.offset for one, at in offsets.items()}


def raised_for(error: BaseException) -> BaseException:
    """Return what the client raises for an error of the cluster."""
    found: BaseException = error
    if isinstance(error, InstanceFenced):
        found = errors.FencedInstanceIdError()
    elif isinstance(error, UnknownLogPartition):
        found = errors.UnknownTopicOrPartitionError()
    elif isinstance(error, CommitFailed):
        why: dict[Why, Any] = {
            "left": KICKED_OUT,
            "unknown": errors.UnknownMemberIdError(),
            "generation": errors.IllegalGenerationError(),
        }
        found = errors.CommitFailedError(why[error.why])
    elif isinstance(error, ProducerFenced):
        found = errors.ProducerFencedError()
    elif isinstance(error, TimeoutError):
        found = errors.KafkaTimeoutError()
    elif isinstance(error, ConnectionError):
        found = errors.NotEnoughReplicasError()
    elif isinstance(error, OffsetOutOfRange):
        found = errors.OffsetOutOfRangeError({TopicPartition(*error.place): error.offset})
    elif isinstance(error, InvalidRecord):
        found = errors.InvalidRecordError(str(error))
    elif isinstance(error, ValueError):
        found = errors.MessageSizeTooLargeError()
    return found
