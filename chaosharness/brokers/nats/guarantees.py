"""How little JetStream may promise: ids that are soon forgotten, and several messages in hands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from chaosharness.brokers.guarantees import Guarantee
from chaosharness.brokers.nats.nats import NATS, NATSConsumer, NATSStream
from chaosharness.machines.nats.settings import (
    ACK_PENDING_MAX,
    DUPLICATE_WINDOW_MS,
    WINDOW_MS_MIN,
)


def _each_stream(server: NATS, weaken: Callable[[NATSStream], NATSStream]) -> NATS:
    streams = {name: weaken(one) for name, one in server.streams.items()}
    return server if streams == server.streams else attrs.evolve(server, streams=streams)


def _short_window(server: NATS) -> NATS:
    def weaken(stream: NATSStream) -> NATSStream:
        window_ms = stream.duplicate_window_ms
        if (DUPLICATE_WINDOW_MS if window_ms is None else window_ms) <= WINDOW_MS_MIN:
            return stream
        return attrs.evolve(stream, duplicate_window_ms=WINDOW_MS_MIN)

    return _each_stream(server, weaken)


def _many_pending(server: NATS) -> NATS:
    def weaken(consumer: NATSConsumer) -> NATSConsumer:
        if not 0 < consumer.ack_pending_max < ACK_PENDING_MAX:
            return consumer
        return attrs.evolve(consumer, ack_pending_max=ACK_PENDING_MAX)

    return _each_stream(
        server,
        lambda stream: attrs.evolve(
            stream, consumers={name: weaken(one) for name, one in stream.consumers.items()}
        ),
    )


GUARANTEES: Final = (
    Guarantee(
        "NATS JetStream",
        "short_window",
        "a longer window",
        "at least once",
        "of a stream",
        "a message that is published again under its id is recognised for 0.1 s only",
        'NATS documentation, "JetStream model deep dive": message deduplication',
        _short_window,
        strikes=False,
    ),
    Guarantee(
        "NATS JetStream",
        "many_pending",
        "few pending",
        "at least once",
        "of a stream, but for what comes back",
        "what comes back comes behind what was handed out meanwhile",
        'NATS documentation, "Consumers": MaxAckPending',
        _many_pending,
        strikes=False,
    ),
)
