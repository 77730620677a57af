"""What aiokafka hands out, takes and raises, in its own words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn

from aiokafka import ConsumerRecord, TopicPartition, errors

from chaosharness.brokers.kafka.consumers import CommitFailed, InstanceFenced, UnknownLogPartition
from chaosharness.brokers.kafka.errors import InvalidRecord, OffsetOutOfRange
from chaosharness.brokers.kafka.transactions import ProducerFenced
from chaosharness.brokers.message import Delivery
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_or_awaited_at
from chaosharness.handlers.port import call_off
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.kernel.world import World

LIBRARY: Final = "aiokafka"
DEFAULT_PORT: Final = "9092"
FENCED: Final = 82
"""The code of `FENCED_INSTANCE_ID`."""
INVALID: Final = 87
"""The code of `INVALID_RECORD`, which has no class in aiokafka."""
MOVED_ON: Final = (
    "Commit cannot be completed since the group has already rebalanced and may have assigned the "
    "partitions to another member"
)
Place = tuple[str, int]


class Partitions(frozenset[TopicPartition]):
    """A set of log partitions, in the same order in every process."""

    def __iter__(self) -> Iterator[TopicPartition]:
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
    call_off(
        InvalidDefinition(f"{LIBRARY}: {what} is not modelled{asked_or_awaited_at()}{instead}")
    )


def headers_of(headers: Any) -> tuple[tuple[str, bytes], ...]:
    """Return headers as the client hands them out."""
    found = (headers or {}).items()
    return tuple((name, one.encode() if isinstance(one, str) else one) for name, one in found)


def timestamp_of(world: World, published: int) -> int:
    """Return when a record was produced, in milliseconds."""
    at_ms: int = world.raw[published][0]
    return EPOCH_MS + at_ms


def record_of(world: World, one: Delivery, key_reader: Any, value_reader: Any) -> Any:
    """Return a record as the client shows it.

    Raises:
        Exception: Whatever a deserializer raises.
    """
    key: Any = one.key.encode() if isinstance(one.key, str) else one.key
    value: Any = one.value
    sizes = [-1 if part is None else len(part) for part in (key, value)]
    return ConsumerRecord(
        one.topic,
        one.partition,
        one.offset,
        timestamp_of(world, one.message.published),
        0,
        key if key_reader is None else key_reader(key),
        value if value_reader is None else value_reader(value),
        None,
        *sizes,
        headers_of(one.headers),
    )


def raised_for(error: BaseException) -> BaseException:
    """Return what the client raises for an error of the cluster."""
    found: BaseException = error
    if isinstance(error, InstanceFenced):
        found = errors.for_code(FENCED)("another consumer has the same group_instance_id")
    elif isinstance(error, UnknownLogPartition):
        found = errors.UnknownTopicOrPartitionError()
    elif isinstance(error, CommitFailed):
        found = errors.CommitFailedError(MOVED_ON)
    elif isinstance(error, ProducerFenced):
        found = errors.ProducerFenced()
    elif isinstance(error, TimeoutError):
        found = errors.RequestTimedOutError()
    elif isinstance(error, ConnectionError):
        found = errors.NotEnoughReplicasError()
    elif isinstance(error, OffsetOutOfRange):
        found = errors.OffsetOutOfRangeError({TopicPartition(*error.place): error.offset})
    elif isinstance(error, InvalidRecord):
        found = errors.for_code(INVALID)(str(error))
    elif isinstance(error, ValueError):
        found = errors.MessageSizeTooLargeError()
    return found
