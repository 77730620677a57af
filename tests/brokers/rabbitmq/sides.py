"""The two sides of the comparison: our RabbitMQ model and a running RabbitMQ, one set of words.

Each operation returns what a client can observe. Observations whose order or moment the
broker leaves open are normalised here, and nowhere else.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from typing import Any, Final, Protocol

import attrs
import pika
from pika.exceptions import AMQPConnectionError, ChannelClosed, NackError

from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.topology import Queue
from chaosharness.machines.rabbitmq.node import Node, Watcher
from chaosharness.machines.rabbitmq.takers import Channel, Push
from chaosharness.machines.rabbitmq.versions import Version

ADDRESS: Final = pika.ConnectionParameters("127.0.0.1", 5672, socket_timeout=3)
SETTLE_S: Final = 5.0
"""How long the real broker may take to do what it was told, before we call it different."""

HASTY_S: Final = 0.2
"""The same, where a difference is expected: a wrong model is told apart by any."""

PREFIX: Final = f"chaosharness.{os.getpid()}"
"""Of queue names: several processes may compare at the same time."""

NAMES = count(1)
LEFT_MS: Final = 300_000
"""After this the broker removes a queue that was left behind."""

MAIN: Final = "main"
DEAD: Final = "dead"

Seen = tuple[str, bool]
"""Body, and the redelivered flag."""


@attrs.frozen
class Letter:
    """A dead letter: its body, and `queue reason count` of each line of `x-death`."""

    body: str
    deaths: tuple[str, ...]
    redelivered: bool = False


def letter(body: bytes, headers: Any, redelivered: bool) -> Letter:
    deaths = ((headers or {}).get("x-death")) or []
    lines = [f"{one['queue'].split('.')[-1]} {one['reason']} {one['count']}" for one in deaths]
    return Letter(body.decode(), tuple(lines), redelivered)


class Side(Protocol):
    """What can be done with a broker, and seen of it."""

    def publish(self, body: str, ttl_ms: int | None = None, priority: int = 0) -> bool: ...
    def get(self, channel: int) -> Seen | None: ...
    def consume(self, channel: int, prefetch: int) -> None: ...
    def ack(self, channel: int, tag: int, multiple: bool) -> None: ...
    def nack(self, channel: int, tag: int, multiple: bool, requeue: bool) -> None: ...
    def reject(self, channel: int, tag: int, requeue: bool) -> None: ...
    def close(self, channel: int) -> None: ...
    def pushed(self) -> list[list[Seen]]: ...
    def ready(self) -> int: ...
    def letters(self) -> list[Letter]: ...


class Model(Watcher):
    """The model, driven directly."""

    def __init__(self, queue: Queue, channels: int, version: Version) -> None:
        queue = attrs.evolve(queue, dead_letter=DEAD)
        queues = {MAIN: queue, DEAD: Queue()}
        self.node = Node(queues, version=version, clock=lambda: self.now, watcher=self)
        self.now = 0
        self.channels = [Channel() for _ in range(channels)]
        self.inbox: dict[Channel, list[Seen]] = {}

    def handed_out(self, push: Push) -> None:
        self.inbox.setdefault(push.channel, []).append((push.copy.body.decode(), push.redelivered))

    def publish(self, body: str, ttl_ms: int | None = None, priority: int = 0) -> bool:
        if self.node.refusing([MAIN]):
            return False
        copy = Copy(MAIN, None, {}, body.encode(), expiration_ms=ttl_ms, priority=priority)
        self.node.store(copy, [MAIN])
        return True

    def _channel(self, index: int) -> Channel:
        if not self.channels[index].is_open:
            self.channels[index] = Channel()
        return self.channels[index]

    def get(self, channel: int) -> Seen | None:
        push = self.node.get(self._channel(channel), MAIN)
        return None if push is None else (push.copy.body.decode(), push.redelivered)

    def consume(self, channel: int, prefetch: int) -> None:
        self.node.consume(self._channel(channel), MAIN, prefetch=prefetch)

    def ack(self, channel: int, tag: int, multiple: bool) -> None:
        self.node.ack(self._channel(channel), tag, multiple=multiple)

    def nack(self, channel: int, tag: int, multiple: bool, requeue: bool) -> None:
        self.node.nack(self._channel(channel), tag, multiple=multiple, requeue=requeue)

    def reject(self, channel: int, tag: int, requeue: bool) -> None:
        self.node.nack(self._channel(channel), tag, requeue=requeue, how="reject")

    def close(self, channel: int) -> None:
        self.node.close(self._channel(channel))

    def outstanding(self, channel: int) -> list[int]:
        return list(self.channels[channel].unacked) if self.channels[channel].is_open else []

    def consumes(self, channel: int) -> bool:
        return self.channels[channel].is_open and bool(self.channels[channel].takers)

    def pushed(self) -> list[list[Seen]]:
        seen = [self.inbox.get(channel, []) for channel in self.channels]
        self.inbox = {}
        return seen

    def clear(self) -> None:
        """Nothing to forget: `pushed` gives each delivery once."""

    def ready(self) -> int:
        queue = self.node.queues[MAIN]
        self.node.expire(queue)  # in a run, a timer does this
        return len(queue.order)

    def letters(self) -> list[Letter]:
        channel = Channel()
        found = []
        while (push := self.node.get(channel, DEAD, auto_ack=True)) is not None:
            found.append(letter(push.copy.body, push.copy.headers, push.redelivered))
        return sorted(found, key=str)


def arguments(queue: Queue, dead: str) -> dict[str, Any]:
    """Return how pika declares a queue whose dead letters go to another one."""
    found = {
        "x-queue-type": queue.kind,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead,
        "x-delivery-limit": queue.delivery_limit,
        "x-expires": LEFT_MS,
        "x-message-ttl": queue.ttl_ms,
        "x-max-length": queue.length_max,
        "x-overflow": None if queue.overflow == "drop-head" else queue.overflow,
        "x-max-priority": queue.priority_max,
        "x-single-active-consumer": queue.single_active_consumer or None,
    }
    return {name: value for name, value in found.items() if value is not None}


class Real:
    """The running broker. Every operation returns once the broker has done it."""

    def __init__(self, connection: pika.BlockingConnection, queue: Queue, channels: int) -> None:
        self.connection = connection
        self.control = connection.channel()
        self.control.confirm_delivery()
        prefix = f"{PREFIX}.{next(NAMES)}"
        self.main, self.dead = f"{prefix}.{MAIN}", f"{prefix}.{DEAD}"
        self.control.queue_declare(self.dead, durable=True, arguments={"x-expires": LEFT_MS})
        self.control.queue_declare(self.main, durable=True, arguments=arguments(queue, self.dead))
        self.channels: list[Any] = [connection.channel() for _ in range(channels)]
        self.inbox: list[list[Seen]] = [[] for _ in range(channels)]

    def drop(self) -> None:
        """Remove what was declared."""
        for channel in [*self.channels]:
            if channel.is_open:
                channel.close()
        self.control.queue_delete(self.main)
        self.control.queue_delete(self.dead)
        self.control.close()

    def _channel(self, index: int) -> Any:
        if not self.channels[index].is_open:
            self.channels[index] = self.connection.channel()
        return self.channels[index]

    def _barrier(self, index: int) -> None:
        """Wait until the broker has read everything sent on a channel, or has closed it."""
        with suppress(ChannelClosed):
            self.channels[index].queue_declare(self.main, passive=True)

    def publish(self, body: str, ttl_ms: int | None = None, priority: int = 0) -> bool:
        properties = pika.BasicProperties(
            delivery_mode=1,  # a disk write a message would be most of the time
            priority=priority,
            expiration=None if ttl_ms is None else str(ttl_ms),
        )
        try:
            self.control.basic_publish("", self.main, body.encode(), properties)
        except NackError:
            return False
        return True

    def get(self, channel: int) -> Seen | None:
        method, _, body = self._channel(channel).basic_get(self.main)
        return None if method is None else (body.decode(), method.redelivered)

    def consume(self, channel: int, prefetch: int) -> None:
        opened = self._channel(channel)
        opened.basic_qos(prefetch_count=prefetch)

        def take(_: Any, method: Any, __: Any, body: bytes) -> None:
            self.inbox[channel].append((body.decode(), method.redelivered))

        opened.basic_consume(self.main, take)

    def ack(self, channel: int, tag: int, multiple: bool) -> None:
        self._channel(channel).basic_ack(tag, multiple)
        self._barrier(channel)

    def nack(self, channel: int, tag: int, multiple: bool, requeue: bool) -> None:
        self._channel(channel).basic_nack(tag, multiple, requeue)
        self._barrier(channel)

    def reject(self, channel: int, tag: int, requeue: bool) -> None:
        self._channel(channel).basic_reject(tag, requeue)
        self._barrier(channel)

    def close(self, channel: int) -> None:
        self._channel(channel).close()

    def pushed(self) -> list[list[Seen]]:
        self.connection.process_data_events(time_limit=0)
        seen = [list(inbox) for inbox in self.inbox]
        return seen

    def clear(self) -> None:
        """Forget what was pushed, once it has been compared."""
        for inbox in self.inbox:
            inbox.clear()

    def ready(self) -> int:
        found = self.control.queue_declare(self.main, passive=True)
        return int(found.method.message_count)

    def letters(self) -> list[Letter]:
        found = []
        while True:
            method, properties, body = self.control.basic_get(self.dead, auto_ack=True)
            if method is None:
                return sorted(found, key=str)
            found.append(letter(body, properties.headers, method.redelivered))


def eventually_equal(look: Callable[[], Any], expected: Any, settle_s: float = SETTLE_S) -> Any:
    """Look until the broker shows what is expected, or has had its time; return the last look."""
    deadline = time.monotonic() + settle_s
    while True:
        seen = look()
        if seen == expected or time.monotonic() > deadline:
            return seen
        time.sleep(0.001)


def connect() -> pika.BlockingConnection | None:
    """Return a connection to the broker on this machine, or None where none answers."""
    try:
        return pika.BlockingConnection(ADDRESS)
    except AMQPConnectionError:
        return None


def version_of(connection: pika.BlockingConnection) -> str:
    """Return the version the broker says it has."""
    return str(connection._impl.server_properties["version"])


def profile_of(version: str) -> Version:
    """Return whose rules a version of the broker follows."""
    major, minor = (int(part) for part in version.split(".")[:2])
    if major < 4:
        return "3.10"
    return "4.0" if (major, minor) < (4, 3) else "4.3"


def sides(
    connection: pika.BlockingConnection, queue: Queue, channels: int
) -> Iterator[tuple[Model, Real]]:
    """Yield both sides with the same queue declared; clean up afterwards."""
    real = Real(connection, queue, channels)
    try:
        yield Model(queue, channels, profile_of(version_of(connection))), real
    finally:
        real.drop()
