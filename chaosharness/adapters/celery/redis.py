"""kombu's transport on Redis, on a `RedisStore`: lists, and a hash of what is not acknowledged.

Publishing, acknowledging, rejecting and giving back are kombu's own commands, each a site of the
store. Ours is what waits at the server: `BRPOP` is taken apart into a wait in virtual time and a
take, and what is taken is entered into `unacked` with it. The scan that gives back what has been
held for longer than `visibility_timeout` comes when the first is due.

A worker that dies between `BRPOP` and the entry in `unacked` loses the task: that is so in kombu,
too. It is not searched by itself, or no application would be right: name it by hand,
`Crash(Site("shop.worker_main/queue.brpop", "after"))`.

Source:
    kombu 5.7, `transport/redis.py` (`QoS`, `MultiChannelPoller`, `Channel._brpop_start`,
    `Channel._do_restore_message`), `transport/virtual/base.py`; its documentation, "Visibility
    timeout"; Celery's documentation, "Using Redis", "Caveats".

Not modelled:
    Fanout (events, remote control, broadcasts); Sentinel; queues that expire. That the scan comes
    up to 100 s late (`unacked_restore_interval` times `unacked_restore_throttle`): here it comes
    when the first is due, which is the earliest that it can.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from queue import Empty
from typing import Any, Final

from kombu.transport.virtual.base import QoS as VirtualQoS

from chaosharness.adapters.amqp.reading import Inbox
from chaosharness.adapters.celery.rousing import ROUSED
from chaosharness.adapters.databases.redis import Connection, line_to, taken
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.spoken import note_spoken
from chaosharness.brokers.facts import Journal
from chaosharness.brokers.message import Message
from chaosharness.faults import Crash, LostReply, Pause, StoreOutage
from chaosharness.handlers.port import current_scope, operate, surface
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.machines.machine import CameBack, HandedOut, Settled, Stored
from chaosharness.stores.redis.redis import OpenRedis

TAKE: Final = surface(before=(StoreOutage,), also=(Crash, Pause), also_after=(LostReply,))

_PUSH: Final = (b"LPUSH", b"RPUSH")


class _Holder:
    """Who was handed a message."""

    def __init__(self, label: str, operation: str) -> None:
        self.label = label
        self.operation = operation


class Book:
    """What is known of the messages in one store: whose they are, and what they are called."""

    scanned = False
    """Whether a worker looks just now for what was held for too long."""

    def __init__(self, store: OpenRedis) -> None:
        self.store = store
        self.journal = Journal(store.world, store.name)
        self.waiting: list[tuple[Incarnation, Inbox]] = []
        self._messages: dict[str, Message] = {}
        self._held: dict[str, tuple[_Holder, int]] = {}
        store.heard.append(self._heard)

    def wake(self) -> None:
        """Have those look who wait."""
        for incarnation, inbox in self.waiting:
            if incarnation.alive and not inbox:
                inbox.put(None)

    # ---- what was done

    def _heard(self, scope: Scope, operation: str, attempt: int, request: Any) -> None:
        """Learn what commands have changed."""
        gone = [words[2:] for words in request.words if words[0].upper() == b"HDEL"]
        back = {one.decode() for tags in gone for one in tags}
        pushed: set[str] = set()
        for words in request.words:
            if words[0].upper() in _PUSH:
                for payload in _payloads(words[2:]):
                    tag = payload["properties"]["delivery_tag"]
                    pushed.add(tag)
                    if tag in back and tag in self._messages:
                        self._came_back(tag, scope, operation, attempt)
                    else:
                        self._stored(words[1].decode(), payload, scope, operation, attempt)
        for tag in sorted(back - pushed):
            message = self._messages.get(tag)
            if message is not None and tag in self._held:
                del self._held[tag]
                self.journal.write(Settled(message, message.topic, None), scope, operation, attempt)
        self.wake()

    def _stored(
        self, queue: str, payload: dict[str, Any], scope: Scope, operation: str, attempt: int
    ) -> None:
        body = payload["body"].encode()
        if payload["properties"].get("body_encoding") == "base64":
            body = b64decode(body)
        world = self.store.world
        message = Message(queue, None, {}, body, scope.entity, scope.hops + 1)
        message.name = world.publications.name(operation, scope.entity, scope.message, body)
        self._messages[payload["properties"]["delivery_tag"]] = message
        self.journal.write(Stored(message, queue), scope, operation, attempt)

    def _came_back(self, tag: str, scope: Scope, operation: str, attempt: int) -> None:
        message = self._messages[tag]
        message.redelivered = True
        holder, _ = self._held.pop(tag, (None, 0))
        by = scope if scope.message == message.name else None
        why = "visibility timeout" if self.scanned else "given back"
        fact = CameBack(message, message.topic, holder, why)
        self.journal.write(fact, by, operation, attempt)

    def handed_out(self, tag: str, scope: Scope) -> None:
        """Take note that a worker was handed a message."""
        message = self._messages.get(tag)
        if message is None:
            return
        service = scope.incarnation.service
        holder = _Holder(scope.incarnation.label, f"{message.topic}/deliver to {service}")
        times = message.delivered_to(message.topic)
        fact = HandedOut(message, message.topic, holder, times, message.redelivered, tag)
        operation = f"{self.store.name}.{holder.operation}"
        self._held[tag] = (holder, self.journal.write(fact, None, operation, times))

    def take_up(self, tag: str) -> tuple[Message, int] | None:
        """Return a message that a worker begins with now, and the event of its delivery."""
        message = self._messages.get(tag)
        if message is None:
            return None
        return message, self._held.get(tag, (None, message.published))[1]


def _payloads(values: tuple[bytes, ...]) -> Iterator[dict[str, Any]]:
    for one in values:
        try:
            payload = json.loads(one)
        except ValueError:
            continue
        if isinstance(payload, dict) and "delivery_tag" in payload.get("properties", ()):
            yield payload


def _book(store: OpenRedis) -> Book:
    found = store.kept.get("celery")
    if found is None:
        found = store.kept["celery"] = Book(store)
    return found


# ---- what waits


class Poller:
    """What stands for the descriptors that a worker would wait at."""

    def register(self, *_: Any) -> None:
        """There is nothing to wait at."""

    unregister = register


def _poller(real: Any, self: Any) -> None:
    self._channels = _InOrder()
    self._fd_to_chan, self._chan_to_sock, self._paused_brpop = {}, {}, {}
    self.poller = Poller()
    self.after_read = set()


class _InOrder(dict[Any, None]):
    """A set of channels, in the order in which they came."""

    def add(self, channel: Any) -> None:
        """Take one more."""
        self.setdefault(channel)

    def discard(self, channel: Any) -> None:
        """Leave one out."""
        self.pop(channel, None)


def _get(real: Any, self: Any, callback: Any, timeout: float | None = None) -> None:
    """Stand for one wait at the server: for a message, or for one that is to be given back."""
    scope = current_scope("redis.brpop")
    world = scope.world
    until_ms = None if timeout is None else world.now + max(round(timeout * 1000), 1)
    self._in_protected_read = True
    try:
        while True:
            if _delivered(self, scope) or _gave_back(self):
                return
            if until_ms is not None and world.now >= until_ms:
                raise Empty
            if _wait(self, scope, until_ms):
                return
    finally:
        self._in_protected_read = False
        while self.after_read:
            self.after_read.pop()()


def _delivered(cycle: Any, scope: Scope) -> bool:
    """Hand a message to its consumer, if there is one, and if it wants one."""
    for channel in [*cycle._channels]:
        if not channel.active_queues or not channel.qos.can_consume():
            continue
        connection = _connected(channel)
        queues = channel._queue_cycle.consume(len(channel.active_queues))
        steps = channel.priority_steps
        keys = [_key(channel, channel._q_for_pri(one, step)) for step in steps for one in queues]
        key = next((one for one in keys if _length(connection, one)), None)
        if key is None:
            continue
        store = connection.store
        action = f"{store.name}.brpop"
        note_spoken(scope, "redis", action)
        argument = (connection, key)
        item = operate(action, _take, argument, line_to(connection), TAKE)
        if item is None:
            return True
        queue = key.removeprefix(channel.global_keyprefix).rsplit(channel.sep, 1)[0]
        channel._queue_cycle.rotate(queue)
        channel.line = _book(store)
        channel.connection._deliver(json.loads(item), queue)
        return True
    return False


def _key(channel: Any, name: str) -> str:
    """Return what a key is called at the server."""
    return f"{channel.global_keyprefix}{name}"


def _connected(channel: Any) -> Any:
    """Return the connection that a channel waits at, made anew where the server was away."""
    if getattr(channel, "_ours", None) is None or channel._ours.store.down:
        channel._ours = taken(channel.pool, Connection)
        channel._ours.connect()
    return channel._ours


def _length(connection: Any, key: str) -> int:
    """Look how long a list is: the server does, for whoever waits."""
    connection.usable()
    return int(connection.asked([(b"LLEN", key.encode())])[0])


def _take(scope: Scope, operation: str, attempt: int, argument: Any) -> Any:
    connection, key = argument
    store = connection.store
    connection.usable()
    store.saved()
    item = connection.asked([(b"RPOP", key.encode())])[0]
    if item is None:
        return None
    scope.world.effects += 1
    scope.record("commit", operation, attempt, {"store": store.name, "verb": "brpop", "key": key})
    tag = json.loads(item)["properties"]["delivery_tag"]
    _book(store).handed_out(tag, scope)
    return item


def _append(real: Any, self: Any, message: Any, delivery_tag: str) -> None:
    """Enter a message that was taken into `unacked`."""
    channel = self.channel
    delivery = message.delivery_info
    raw = json.dumps([message._raw, delivery["exchange"], delivery["routing_key"]])
    now = current_scope("redis.append").world.now
    score = repr((EPOCH_MS + now) / 1000).encode()
    connection, tag = _connected(channel), delivery_tag.encode()
    connection.asked(
        [
            (b"ZADD", _key(channel, self.unacked_index_key).encode(), score, tag),
            (b"HSET", _key(channel, self.unacked_key).encode(), tag, raw.encode()),
        ]
    )
    VirtualQoS.append(self, message, delivery_tag)


def _due_ms(channel: Any) -> int | None:
    """Return when to look for what is to be given back: when the first is due."""
    connection = _connected(channel)
    key = _key(channel, channel.unacked_index_key).encode()
    first = connection.asked([(b"ZRANGE", key, b"0", b"0", b"WITHSCORES")])[0]
    if not first:
        return None
    score = first[0][1] if isinstance(first[0], list | tuple) else first[1]
    due_ms: int = round((float(score) + channel.visibility_timeout) * 1000) - EPOCH_MS
    looks_ms: int = getattr(channel, "looks_again_ms", 0)
    return max(due_ms, looks_ms)


def _gave_back(cycle: Any) -> bool:
    """Look for what is to be given back, if it is time.

    Another worker may hold the mutex: then this one looks again when kombu would.
    """
    for channel in [*cycle._channels]:
        if channel.active_queues:
            now = current_scope("redis.restore").world.now
            due_ms = _due_ms(channel)
            if due_ms is None or due_ms > now:
                return False
            seconds = channel.unacked_restore_interval * channel.unacked_restore_throttle
            channel.looks_again_ms = now + round((seconds or 1) * 1000)
            book = _book(_connected(channel).store)
            book.scanned = True
            try:
                channel.qos.restore_visible(num=channel.unacked_restore_limit, interval=1)
            finally:
                book.scanned = False
            return True
    return False


def _wait(cycle: Any, scope: Scope, until_ms: int | None) -> bool:
    """Wait until something is done at the server, or something is due; say whether roused."""
    times = [] if until_ms is None else [until_ms]
    holds = False
    inbox = Inbox()
    books = []
    for channel in [*cycle._channels]:
        if not channel.active_queues:
            continue
        connection = _connected(channel)
        books.append(_book(connection.store))
        due_ms = _due_ms(channel)
        if due_ms is not None:
            holds = True
            times.append(due_ms)
            scope.world.know_timeout(round(channel.visibility_timeout * 1000))
    entry = (scope.incarnation, inbox)
    for book in books:
        book.waiting.append(entry)
    try:
        waiting = inbox.waiting(scope, min(times, default=None), holds=holds)
        scope.colour.block(waiting, scope)
    finally:
        for book in books:
            book.waiting.remove(entry)
    return ROUSED in inbox.take()


def _put(real: Any, self: Any, queue: str, message: Any, **options: Any) -> Any:
    _book(_connected(self).store)  # which learns of it
    return real(self, queue, message, **options)


def _qos(real: Any, self: Any, channel: Any, prefetch_count: int = 0) -> None:
    """Have nothing given back when Python ends: a process that is killed does not, either."""
    real(self, channel, prefetch_count)
    self._on_collect.cancel()


def _ack(real: Any, self: Any, delivery_tag: str) -> None:
    """Settle, and have those look who could not take more before: it counts only now."""
    real(self, delivery_tag)
    connection = getattr(self.channel, "_ours", None)
    if connection is not None:
        _book(connection.store).wake()


_REDIS: Final = "kombu.transport.redis"

LIBRARY: Final = Library(
    "kombu",
    tested=">=5.4,<6",
    seams=(
        Seam(f"{_REDIS}:MultiChannelPoller.__init__", ("self",), _poller),
        Seam(f"{_REDIS}:MultiChannelPoller.get", ("self", "callback", "timeout"), _get),
        Seam(f"{_REDIS}:Channel._put", ("self", "queue", "message", "kwargs"), _put),
        Seam("kombu.transport.virtual.base:QoS.ack", ("self", "delivery_tag"), _ack),
        Seam(f"{_REDIS}:QoS.append", ("self", "message", "delivery_tag"), _append),
        Seam(
            "kombu.transport.virtual.base:QoS.__init__",
            ("self", "channel", "prefetch_count"),
            _qos,
        ),
    ),
)
