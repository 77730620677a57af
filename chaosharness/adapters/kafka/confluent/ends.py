"""The ends of log partitions, told as `enable.partition.eof` asks for: as records with an error.

Source:
    librdkafka, CONFIGURATION.md, `enable.partition.eof`: emitted whenever the consumer reaches the
    end of a partition, and again once it has read on; a fetch that finds nothing takes
    `fetch.wait.max.ms` (500 ms).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import KafkaError

from chaosharness.adapters.kafka.confluent.message import Message
from chaosharness.adapters.kafka.confluent.places import Place, words_of
from chaosharness.adapters.kafka.confluent.settings import Settings
from chaosharness.handlers.blocking import blocking

FETCH_MS: Final = 500


def poll_of(settings: Settings, isolation: str) -> Callable[[Any, Any, int, float | None], Any]:
    """Return how a consumer polls: it is told of ends if it asks for that."""
    if not settings.flag("enable.partition.eof", False):
        return _plainly
    fetch_ms = settings.number("fetch.wait.max.ms", FETCH_MS)
    return Ends(fetch_ms, committed_only=isolation == "read_committed").poll


def _plainly(consumer: Any, logs: Any, most: int, seconds: float | None) -> Any:
    return blocking(consumer.poll)(most, seconds)


class Ends:
    """Which ends a consumer has been told of.

    Args:
        fetch_ms: How long a fetch waits for something.
        committed_only: Whether an open transaction is an end.
    """

    def __init__(self, fetch_ms: float, *, committed_only: bool) -> None:
        self._fetch_s = fetch_ms / 1_000
        self._committed_only = committed_only
        self._told: dict[Place, int] = {}

    def poll(self, consumer: Any, logs: Any, most: int, seconds: float | None) -> Any:
        """Poll; where nothing comes, return the next end that it was not told of, if any."""
        first_s = self._fetch_s if seconds is None else min(seconds, self._fetch_s)
        found = blocking(consumer.poll)(most, first_s)
        if found or (end := self._next(consumer, logs)) is None:
            left_s = None if seconds is None else seconds - first_s
            if found or left_s == 0:
                return found
            return blocking(consumer.poll)(most, left_s)
        return end

    def _next(self, consumer: Any, logs: Any) -> Message | None:
        places = consumer.assignment()
        self._told = {place: at for place, at in self._told.items() if place in places}
        for place in places:
            topic, partition = place
            log, at = logs[topic][partition], consumer.position(*place)
            end = log.stable if self._committed_only else log.end
            if at >= end and self._told.get(place) != at:
                self._told[place] = at
                code = KafkaError._PARTITION_EOF
                error = KafkaError(code, words_of(code))
                return Message(topic, partition=partition, offset=at, error=error)
        return None
