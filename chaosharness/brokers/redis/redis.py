"""Redis Streams: entries that a group shares, and that stay pending until somebody acts.

Source:
    redis.io, "Redis Streams" and the pages of the commands; a running Redis 7.0.15. See the
    machine, `chaosharness/machines/redis`, for the rules, and `rows.py` for what may strike where.

Not modelled:
    Lists, pub/sub and all else that is no stream; by ports XREAD without a group; scripts;
    Redis Cluster; memory limits. A client that repeats a read by itself after a lost answer goes on
    with what is new, as here. A partial loss of writes: a failover loses all of the last moments.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Names
from importlib.util import find_spec
from typing import Any

import attrs

from chaosharness.brokers.intake import Intake, check_options
from chaosharness.brokers.lane import Publish
from chaosharness.brokers.message import (
    NO_HEADERS,
    POISON,
    Decode,
    Message,
    copied,
    encode,
    key_of,
)
from chaosharness.brokers.redis.consumers import LOOP_OPTIONS, Consumer
from chaosharness.brokers.redis.desk import Desk
from chaosharness.brokers.redis.errors import answered
from chaosharness.brokers.redis.rows import SURFACES
from chaosharness.brokers.redis.subscription import OPTIONS, Subscription
from chaosharness.brokers.trouble import refuse_words, wired_wrongly
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Duplicate, Poison
from chaosharness.handlers.port import current_scope, operate_for
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.kernel.world import World
from chaosharness.machines.redis import StreamId
from chaosharness.machines.redis import operations as op
from chaosharness.machines.redis.machine import NODE_ENTRIES

_limit = attrs.validators.optional(allowed.whole(0))


@attrs.frozen(kw_only=True)
class RedisStream:
    """A stream, and how those who add to it trim it.

    Args:
        maxlen: `XADD ... MAXLEN`: entries to keep; None: all. What is trimmed is gone, handled
            or not, pending or not.
        keep_ms: `XADD ... MINID`: how long to keep entries.
        about: `~`: only whole nodes of the stream go, so that more may be kept. False: exactly.

    Raises:
        InvalidDefinition: A value is out of range, or both are given.
    """

    maxlen: int | None = attrs.field(default=None, validator=_limit)
    keep_ms: int | None = attrs.field(default=None, validator=_limit)
    about: bool = True

    def __attrs_post_init__(self) -> None:
        if self.maxlen is not None and self.keep_ms is not None:
            raise InvalidDefinition("a RedisStream is trimmed by maxlen or by keep_ms, not by both")

    def cut(self, now: int) -> op.Cut | None:
        """Return how an entry that is added now trims the stream."""
        if self.maxlen is not None:
            return op.Cut("MAXLEN", self.maxlen, self.about)
        if self.keep_ms is not None:
            oldest_ms = max(EPOCH_MS + now - self.keep_ms, 0)
            return op.Cut("MINID", f"{oldest_ms}-0", self.about)
        return None


def _streams(given: Any) -> dict[str, RedisStream]:
    if isinstance(given, str):
        given = (given,)
    if isinstance(given, list | tuple | set | frozenset):
        names = sorted(given) if isinstance(given, set | frozenset) else given
        given = {name: RedisStream() for name in names}
    if not isinstance(given, Names):
        right = 'names, or {"orders": RedisStream(...)}'
        raise allowed.refused("Redis", "streams", right, given)
    for name, stream in given.items():
        if not isinstance(name, str) or not name:
            raise allowed.refused("Redis", "the name of a stream", "a text", name)
        if not isinstance(stream, RedisStream):
            raise InvalidDefinition(f"stream {name!r} must be a RedisStream, not {stream!r}")
    return dict(given)


@attrs.frozen
class Redis:
    """Redis Streams, with consumer groups.

    Options of `env.consume(redis, stream, handler, ...)`: `group` (by default the service),
    `name` (the consumer's; by default the service and the number of its replica, the same after a
    restart), `start` (`0` or `$`: what a new group begins with), `count`, `no_ack`, `history`,
    `claim_ms`, `acknowledge`, `on_error`, `retries_max`, `on_unreadable` and `dead_letter`: see
    `Subscription`.

    `env.consumer(redis, stream, group=..., name=..., start=...)` gives a loop `read(count=10,
    block_s=5, start=">", no_ack=False)`, `ack(*deliveries)`, `claim(min_idle_s, *ids)`,
    `autoclaim(min_idle_s, count=100)`, `pending(count=100)` and `delete_consumer(name)`.

    Args:
        name: What reports call it.
        streams: Names, or a `RedisStream` for each name: `{"orders": RedisStream(maxlen=1_000)}`.
        latency_ms: From a stream to a consumer that waits.
        timeout_ms: How long a caller waits for an answer.
        loses_ms: A failover (`LostWrites`) may lose what was written in so many milliseconds
            before it, acknowledged or not: replication and `appendfsync everysec` are
            asynchronous. None: nothing is ever lost.
        node_entries: `stream-node-max-entries`: what trimming about takes at a time.
        url: What code under test that uses redis-py connects to, where a system has several
            servers: `redis://cache.internal`. By default it stands for any. A `RedisStore` may
            stand for the same: stream commands come here then, and all others go there.
    """

    name: str = attrs.field(validator=allowed.text())
    streams: Names[str, RedisStream] = attrs.field(converter=_streams)
    latency_ms: int = attrs.field(default=1, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=5_000, validator=allowed.whole(1), kw_only=True)
    loses_ms: int | None = attrs.field(default=None, validator=_limit, kw_only=True)
    node_entries: int = attrs.field(default=NODE_ENTRIES, validator=allowed.whole(1), kw_only=True)
    url: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(allowed.text()), kw_only=True
    )

    @property
    def speaks(self) -> tuple[str, ...]:
        """The libraries whose calls it is met by."""
        return ("redis",) if self.url is not None or find_spec("fakeredis") else ()

    def prepare(self) -> None:
        """See that what redis-py is met with is there, before a run begins."""
        if self.url is not None and find_spec("fakeredis") is None:
            raise InvalidDefinition(
                f"Redis({self.name!r}, url=...) needs fakeredis: pip install 'chaosharness[redis]'"
            )

    def open(self, world: World) -> OpenRedis:
        """Return these streams, empty, for one run."""
        return OpenRedis(self, world)


Draft = tuple[Message, op.Add, str]
"""An entry to be added: how, and the message in hand."""


class OpenRedis(Desk):
    """The streams during one run, as services use them."""

    def __init__(self, definition: Redis, world: World) -> None:
        super().__init__(definition, tuple(definition.streams), world)
        self.declared = definition.streams
        self.url = definition.url
        self.clients: dict[Any, Any] = {}

    # ---- adding

    def publisher(self) -> Callable[..., Any]:
        """Return what adds entries. Commands of a pool do not wait for each other."""
        return Publish(self.publish)

    def publish(
        self,
        topic: str,
        value: Any,
        *,
        key: str | bytes | None = None,
        headers: Names[str, Any] | None = None,
        maxlen: int | None = None,
        about: bool = True,
        **unknown: Any,
    ) -> Any:
        """Add an entry to the stream `topic` (XADD), and wait for the answer.

        In an `async` handler, await it.

        Args:
            topic: Name of a stream.
            value: Payload: one field of the entry.
            key: Correlates the entry with its workload item: another field.
            headers: More fields.
            maxlen: Entries to keep; by default as the stream says.
            about: With `maxlen`: whether only whole nodes go.

        Raises:
            RedisError: Redis refuses.
            UnserialisablePayload: The value has no JSON form.
            TimeoutError: No answer: it may have been added.
            ConnectionError: Refused for now: it was not added.
        """
        if unknown:
            refuse_words(self.publish, self.name, unknown)
        world = self.world
        scope = current_scope("publish", world)
        if topic not in self.declared:
            self.check((topic,), scope.place)
        body = encode(value, topic)
        name, entity = None, scope.entity
        if key is not None:
            name = key_of(key, topic)
            entity = world.entity_for(name, entity)
        cut = self.declared[topic].cut(world.now)
        if maxlen is not None:
            cut = op.Cut("MAXLEN", maxlen, about)
        operation = f"{scope.place}/{self.name}.publish {topic}"
        message = Message(topic, name, headers or NO_HEADERS, body, entity, scope.hops + 1)
        draft = (message, op.Add(topic, body, "*", cut, False, message), scope.message)
        surface = SURFACES[self.profile, "publish"]
        return operate_for(scope, entity, operation, self.store, draft, self, surface)

    def store(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> StreamId | None:
        """Add an entry at a site where a fault may have changed what is added; return its id.

        Raises:
            RedisError: Redis refuses.
        """
        message, add, in_hand = draft
        entity, body = message.entity, message.body
        name = self.world.publications.name
        message.name = name(operation, entity, in_hand, body)
        again = False
        for fault in scope.struck:
            if isinstance(fault, Poison):
                self._poison(scope, message, add, fault)
            elif isinstance(fault, Duplicate):
                again = True
        mine = add if add.message is message else attrs.evolve(add, message=message)
        found: StreamId | None = answered(operation, self.do(mine, scope, operation, attempt))
        if again:
            one = copied(message)
            one.name = name(operation, entity, in_hand, body)
            mine = attrs.evolve(add, message=one)
            found = answered(operation, self.do(mine, scope, operation, attempt))
        return found

    def _poison(self, scope: Scope, message: Message, add: op.Add, fault: Poison) -> None:
        """Add what nobody can read just ahead of another."""
        body = POISON[fault.content]
        poison = Message(message.topic, None, NO_HEADERS, body, 0, message.hops)
        poison.name = self.world.publications.poison_at(message.name)
        own, scope.entity = scope.entity, 0
        fields = body if isinstance(add.fields, bytes) else [(name, body) for name, _ in add.fields]
        self.do(op.Add(message.topic, fields, message=poison), scope)
        scope.entity = own

    # ---- consuming

    def consume(self, intake: Intake, stream: str, *, service: str, **options: Any) -> None:
        """Have a handler called per entry: see `Subscription` for the options."""
        self.check((stream,), intake.place)
        try:
            check_options(options, OPTIONS)
            subscription = Subscription(
                desk=self, intake=intake, stream=stream, service=service, **options
            )
        except (TypeError, ValueError) as error:
            raise wired_wrongly(intake.place, repr(stream), error) from None
        if subscription.dead_letter is not None:
            self.check((subscription.dead_letter,), intake.place)
        subscription.begin()

    def consumer(
        self,
        incarnation: Incarnation,
        streams: tuple[str, ...],
        decode: Decode,
        *,
        service: str,
        **options: Any,
    ) -> Any:
        """Return a consumer for a main loop: see `Consumer` for the options."""
        self.check(streams, service)
        if len(streams) != 1:
            names = ", ".join(streams)
            raise InvalidDefinition(
                f"{service} consumes {names}: one consumer reads one stream; make one for each"
            )
        try:
            check_options(options, LOOP_OPTIONS)
            return Consumer(self, incarnation, streams[0], decode, service=service, **options)
        except (TypeError, ValueError) as error:
            raise wired_wrongly(service, repr(streams[0]), error) from None
