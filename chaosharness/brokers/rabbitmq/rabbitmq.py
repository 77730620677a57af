"""RabbitMQ: exchanges, queues, acknowledgement, redelivery, dead letters, confirms.

Source:
    RabbitMQ 4.3 documentation, pages "Consumer Acknowledgements and Publisher Confirms",
    "Consumers", "Queues", "Quorum Queues", "Dead Letter Exchanges", "Time-To-Live",
    "Queue Length Limit"; AMQP 0-9-1. What these leave open was observed on 3.10.8, which
    the conformance tests run beside the model.

Not modelled:
    Clusters, node restarts and transient messages: a stored message is safe. Flow control
    and memory alarms; `basic.qos` with `global`; AMQP transactions; streams; the moment
    between an acknowledgement and the channel error it leads to; that the broker looks for
    slow consumers once a minute only, and that 4.3 cancels them instead of closing their
    channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import attrs

from chaosharness.brokers.cycle import cycle
from chaosharness.brokers.intake import Intake, check_options
from chaosharness.brokers.lane import Lane, in_turn, is_disturbed
from chaosharness.brokers.message import NO_HEADERS, POISON, Decode, encode, key_of
from chaosharness.brokers.rabbitmq.connection import MISSED, Connection
from chaosharness.brokers.rabbitmq.consumers import (
    LOOP_OPTIONS,
    OPTIONS,
    Consumer,
    Subscription,
)
from chaosharness.brokers.rabbitmq.copies import Copy, Reason, deaths_in
from chaosharness.brokers.rabbitmq.faults import (
    DELIVER,
    DELIVER_AUTO,
    PUBLISH,
    PUBLISH_BLINDLY,
)
from chaosharness.brokers.rabbitmq.link import Link
from chaosharness.brokers.rabbitmq.node import Node, Watcher
from chaosharness.brokers.rabbitmq.queues import OpenQueue, Push
from chaosharness.brokers.rabbitmq.topology import (
    VERSIONS,
    Exchange,
    Queue,
    Version,
    check,
    exchanges_of,
    queues_of,
)
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import (
    LostRequest,
    Poison,
)
from chaosharness.handlers.later import LaterEffect
from chaosharness.handlers.port import (
    current_scope,
    cut,
    have,
    on_behalf,
    refused,
    strikes,
    trouble,
)
from chaosharness.handlers.script import Script
from chaosharness.kernel import allowed
from chaosharness.kernel.history import UNASKED
from chaosharness.kernel.message_names import poison_at
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World

Draft = tuple[Copy, bool, str]
"""A message to be published, and whether it is mandatory."""

_positive: Final = allowed.whole(1)


class Unroutable(Exception):
    """A message published with `mandatory=True` was returned: no queue is bound for it."""


@attrs.frozen
class RabbitMQ:
    """A RabbitMQ broker.

    >>> RabbitMQ("bus", queues=["orders", "payments"])
    >>> RabbitMQ(
    ...     "bus",
    ...     queues={"orders": Queue("quorum", dead_letter="parked"), "parked": "classic"},
    ...     exchanges={"events": Exchange("topic", {"order.*": "orders"})},
    ... )

    What it can do to a consumer, and no more:

    ========  ============================================================================
    at        legal
    ========  ============================================================================
    deliver   Delay (the link lags; its order is kept), NetworkPartition (a short one
              delays; after twice `heartbeat_ms` the connection is lost), Redeliver (the
              connection is lost while the handler runs: all its unacknowledged messages
              come again, and its own acknowledgement is void). No Redeliver where the
              broker acknowledges by itself.
    ack       LostRequest (the connection is lost first), Crash, Pause
    publish   Delay, ErrorReply (a negative confirm), LostRequest, LostReply (a lost confirm),
              Poison, NetworkPartition, Pause, Crash. Without confirms, what is lost is
              lost silently, and there is neither ErrorReply nor LostReply.
    ========  ============================================================================

    Duplicate is illegal: the broker never makes one. A publisher that tries again does.

    Options of `env.consume(bus, queue, handler, ...)`:

    - `prefetch`: unacknowledged messages at most; 0 (the default) for no limit.
    - `acknowledge`: `after` the handler has returned (at least once, the default), or
      `before`: by the broker, once it is sent (at most once).
    - `on_error`: what an exception of the handler leads to. `retry` (or `requeue`): back into
      the queue, again and again (the default). `skip`: acknowledge it and go on.
      `dead-letter`: after `retries_max` tries (3), to the queue's dead-letter exchange.
      `reject`: there at once, or dropped where there is none. `crash`: the process dies.
    - `on_unreadable`: the same for a payload that cannot be decoded, where `dead-letter` does
      it at once; by default what `on_error` says.
    - `backoff_ms`: how long the consumer waits before it gives a message back (1,000, doubled
      each time); `concurrency`: messages handled at a time in `async` code.
    - `in_thread`: whether a plain handler runs in a thread of its own, so that its connection
      goes on answering heartbeats (pika's `add_callback_threadsafe`). Without that (the
      default, as pika's `BlockingConnection`) a handler that is slower than twice
      `heartbeat_ms` loses its connection: its message is given to another while it still
      runs, and its own acknowledgement is void.
    - `connection`, `channel`: names. What has the same one in a process shares it: consumers and
      publishers. What closes a channel (an unknown delivery tag, 406; an exchange that is not
      there, 404) closes it for all; and one connection has one thread for plain handlers.

    Options of `env.consumer(bus, *queues, ...)`, whose `receive(timeout_s=None)`, `get()` and
    iteration return deliveries, for `ack`, `nack` and `reject`:

    - `prefetch`, `acknowledge`, `in_thread`, `connection`, `channel`: as above. A plain loop that
      has messages in hand has to come back to its consumer in time; where the work is long,
      `process_data_events()` answers heartbeats.
    - `on_unreadable`: `raise` where the message is asked for (the default): it stays
      unacknowledged. `skip`: it is acknowledged and left out. `dead-letter`: it is rejected,
      to the queue's dead-letter exchange. `reject`: the same, or dropped where there is none.

    Args:
        name: What reports call it.
        queues: Their names, or their names with a `Queue` each.
        exchanges: By name. The default exchange `""` leads to each queue by its name.
        version: Whose rules: `3.10`, `4.0` or `4.3`. They differ in how quorum queues
            count deliveries.
        confirms: Whether publishers wait for a confirm. aio-pika: yes, pika: only after
            `confirm_delivery`.
        heartbeat_ms: A connection of which nothing is heard for twice as long is lost: it is cut
            off, or its one thread is at work (see `in_thread`). 0: no heartbeats.
        consumer_timeout_ms: A channel with a message unacknowledged for longer is closed
            (4.3: on quorum queues only).
        reconnect_ms: How long a consumer that lost its connection takes to be back.
        latency_ms: From the broker to a consumer.
        timeout_ms: How long a publisher waits for a confirm.
    """

    name: str = attrs.field(validator=allowed.text())
    queues: Mapping[str, Queue] = attrs.field(converter=queues_of)
    exchanges: Mapping[str, Exchange] = attrs.field(
        factory=dict, converter=exchanges_of, kw_only=True
    )
    version: Version = attrs.field(default="4.0", validator=allowed.one_of(*VERSIONS), kw_only=True)
    confirms: bool = attrs.field(default=True, validator=allowed.flag(), kw_only=True)
    heartbeat_ms: int = attrs.field(default=60_000, validator=allowed.whole(0), kw_only=True)
    consumer_timeout_ms: int = attrs.field(default=1_800_000, validator=_positive, kw_only=True)
    reconnect_ms: int = attrs.field(default=1_000, validator=_positive, kw_only=True)
    latency_ms: int = attrs.field(default=1, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=30_000, validator=_positive, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check(self.queues, self.exchanges)

    def open(self, world: World) -> OpenRabbitMQ:
        """Return this broker, empty, for one run."""
        return OpenRabbitMQ(self, world)


class OpenRabbitMQ(Watcher):
    """A RabbitMQ broker during one run."""

    def __init__(self, definition: RabbitMQ, world: World) -> None:
        self.definition = definition
        self.name = definition.name
        self.timeout_ms = definition.timeout_ms
        self.disturbed = is_disturbed(world, definition.name)
        self.world = world
        self.node = Node(
            definition.queues,
            definition.exchanges,
            version=definition.version,
            clock=lambda: world.now,
            watcher=self,
        )
        self.links: list[Link] = []
        self._connections: dict[tuple[Incarnation, str], Connection] = {}
        self._channels: dict[tuple[Incarnation, str], Link] = {}
        self._expiries: dict[OpenQueue, int] = {}
        world.know_timeout(definition.consumer_timeout_ms)
        world.know_timeout(MISSED * definition.heartbeat_ms)
        world.know_duration(definition.timeout_ms)
        for queue in definition.queues.values():
            world.know_duration(queue.ttl_ms or 0)
        world.on_network.append(self._network_changed)

    def close(self) -> None:
        """Let go of the consumers, at the end of a run."""
        for link in self.links:
            link.forget()
        self.links.clear()
        self._connections.clear()
        self._channels.clear()
        self.node.forget()

    # ---- as a peer

    def lost(self, operation: str) -> BaseException:
        """Return what a publisher sees when no confirm comes."""
        return TimeoutError(f"{operation}: no confirm from {self.name}")

    def refused(self, operation: str) -> BaseException:
        """Return what a publisher sees when the broker does not take its message."""
        return ConnectionError(f"{operation}: {self.name} refused (basic.nack)")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: a confirmed message is on disk."""

    # ---- publishing

    def publisher(self) -> Callable[..., Any]:
        """Return a publisher with a channel of its own. See `publish`."""
        return partial(self.publish, lane=Lane())

    def publish(
        self,
        topic: str,
        value: Any,
        *,
        key: str | None = None,
        headers: Mapping[str, Any] | None = None,
        exchange: str = "",
        expiration_ms: int | None = None,
        mandatory: bool = False,
        priority: int = 0,
        lane: Lane,
    ) -> Any:
        """Publish a message with routing key `topic`, and wait for the confirm.

        Args:
            topic: Routing key; for the default exchange, the name of a queue.
            value: Payload.
            key: Message id: correlates the message with its workload item.
            headers: Headers.
            exchange: Name of an exchange; the default exchange if empty.
            expiration_ms: This message's own time to live.
            mandatory: Raise if the message reaches no queue (and there are confirms); else
                it is dropped silently.
            priority: For queues with `priority_max`.
            lane: Of its channel.

        Raises:
            Unroutable: It was mandatory, and no queue is bound for it.
            ConnectionError: Negative confirm: at least one queue did not take it.
            TimeoutError: No confirm; it may have been stored.
            InvalidDefinition: There is no such exchange or queue, or the time is negative.
        """
        scope = current_scope("publish", self.world)
        self._check_target(exchange, topic)
        if expiration_ms is not None and expiration_ms < 0:
            raise InvalidDefinition(f"expiration_ms must be at least 0, not {expiration_ms}")
        world = self.world
        world.know_duration(expiration_ms or 0)
        body = encode(value, topic)
        key = key_of(key, topic)
        entity = scope.entity
        if key is not None:
            if entity:
                if key not in world.entities:
                    world.entities[key] = entity
            else:
                entity = world.entities.get(key, 0)
        copy = Copy(
            topic,
            key,
            headers or NO_HEADERS,
            body,
            entity,
            scope.hops + 1,
            exchange=exchange,
            expiration_ms=expiration_ms,
            priority=priority,
        )
        if self.definition.version == "3.10":
            copy.deaths = deaths_in(copy.headers)
        return self._pass(lane, scope, entity, (copy, mandatory, scope.message))

    def _pass(self, lane: Lane, scope: Scope, entity: int, draft: Draft) -> Any:
        """Pass the port of a publisher, on behalf of a workload item."""
        world = self.world
        operation = f"{scope.place}/{self.name}.publish {draft[0].topic or draft[0].exchange}"
        place = (operation, entity, scope.message)
        world.counts[place] = attempt = world.counts.get(place, 0) + 1
        confirms = self.definition.confirms
        if operation not in world.surfaces:
            world.meet(operation, PUBLISH if confirms else PUBLISH_BLINDLY)
        if self.disturbed or world.unreachable:
            if confirms:
                script = in_turn(lane, scope, operation, attempt, self._store, draft, self)
            else:
                script = self._blindly(lane, scope, operation, attempt, draft)
            return scope.colour.drive(on_behalf(scope, entity, scope.message, script), scope)
        store = self._store if confirms else self._try_to_store
        if scope.colour.is_async:
            return LaterEffect(scope, entity, store, operation, attempt, draft)
        own, scope.entity = scope.entity, entity
        try:
            store(scope, operation, attempt, draft)
        finally:
            scope.entity = own
        return None

    def _check_target(self, exchange: str, topic: str) -> None:
        if exchange:
            if exchange in self.definition.exchanges:
                return
            what, known = f"exchange {exchange!r}", self.definition.exchanges.keys()
        else:
            if topic in self.definition.queues:
                return
            what, known = f"queue {topic!r}", self.definition.queues.keys()
        names = ", ".join(sorted(known)) or "none"
        raise InvalidDefinition(
            f"{self.name} has no {what} to publish to; it has: {names}{asked_at()}"
        )

    def _store(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> None:
        copy, mandatory, in_hand = draft
        copy.name = self.world.publications.name(operation, copy.entity, in_hand, copy.body)
        for fault in scope.struck:
            if isinstance(fault, Poison):
                self._poison(scope, copy, POISON[fault.content])
        self._route(scope, operation, attempt, copy, mandatory)

    def _try_to_store(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> None:
        """Publish without a confirm: a refusal is not heard, nor what is returned."""
        try:
            self._store(scope, operation, attempt, (draft[0], False, draft[2]))
        except ConnectionError:
            return

    def _poison(self, scope: Scope, copy: Copy, body: bytes) -> None:
        """Store a message nobody can read just ahead of another."""
        names = self.node.route(copy.exchange, copy.topic)
        poison = Copy(copy.topic, None, NO_HEADERS, body, 0, copy.hops, exchange=copy.exchange)
        poison.name = poison_at(copy.name)
        own, scope.entity = scope.entity, 0
        poison.published = scope.record("publish", "", 0, self._words(poison, names))
        scope.entity = own
        self.world.effects += 1
        self.node.store(poison, names)

    def _route(
        self, scope: Scope, operation: str, attempt: int, copy: Copy, mandatory: bool
    ) -> None:
        """Store a message in all queues it is bound for, or say why not."""
        names = self.node.route(copy.exchange, copy.topic)
        refusing = self.node.refusing(names)
        taking = tuple(name for name in names if name not in refusing) if refusing else names
        if taking or not names:
            data = self._words(copy, taking)
            copy.published = scope.record("publish", operation, attempt, data)
            self.world.effects += 1
        if copy.hops > self.world.budget.hops_max:
            self.world.end("budget", cycle(self.world.history, copy.published, copy.hops))
        self.node.store(copy, taking)
        if not names:
            data = {"message": copy.published, "reason": "unroutable", "to": []}
            scope.record("dead", "", 0, data)
            if mandatory:
                raise Unroutable(f"{operation}: no queue is bound for it")
        if refusing:
            raise refused(scope, operation, attempt, self)

    def _words(self, copy: Copy, names: tuple[str, ...] | list[str]) -> dict[str, Any]:
        return {
            "broker": self.name,
            "topic": copy.topic,
            "exchange": copy.exchange,
            "queues": list(names),
            "key": copy.key,
            "value": copy.body,
        }

    def _blindly(
        self, lane: Lane, scope: Scope, operation: str, attempt: int, draft: Draft
    ) -> Script[None]:
        """Publish without a confirm: nobody learns whether the message was stored."""
        turn = lane.join(scope)
        lost = False
        try:
            yield from turn.come()
            for fault in strikes(scope, operation, "before", attempt):
                if isinstance(fault, LostRequest):
                    lost = True
                else:
                    yield from trouble(scope, fault, self)
            if lost or cut(scope, self, "out"):
                data = {"outcome": UNASKED, "happened": False}
                scope.record("reply", operation, attempt, data)
            else:
                have(scope, operation, attempt, self._try_to_store, draft)
        finally:
            scope.struck = ()
            turn.leave()
        for fault in strikes(scope, operation, "after", attempt):
            yield from trouble(scope, fault, self)

    # ---- consuming

    def consume(self, intake: Intake, queue: str, *, service: str, **options: Any) -> None:
        """Have a handler called per message: see `Subscription` for the options."""
        self._check_queues((queue,), intake.place)
        try:
            check_options(options, OPTIONS)
            subscription = Subscription(
                broker=self, intake=intake, queue=queue, service=service, **options
            )
        except (TypeError, ValueError) as error:
            raise InvalidDefinition(f"{intake.place} consumes {queue!r}: {error}") from None
        subscription.begin()

    def consumer(
        self,
        incarnation: Incarnation,
        queues: tuple[str, ...],
        decode: Decode,
        *,
        service: str,
        **options: Any,
    ) -> Any:
        """Return a consumer for a main loop: see `Consumer` for the options."""
        self._check_queues(queues, service)
        try:
            check_options(options, LOOP_OPTIONS)
            return Consumer(self, incarnation, queues, decode, service=service, **options)
        except (TypeError, ValueError) as error:
            raise InvalidDefinition(f"{service} consumes {', '.join(queues)}: {error}") from None

    def _check_queues(self, queues: tuple[str, ...], who: str) -> None:
        for queue in queues:
            if queue not in self.definition.queues:
                known = ", ".join(sorted(self.definition.queues))
                raise InvalidDefinition(
                    f"{who} consumes {queue!r}, but {self.name} has no such queue; it has: {known}"
                    f"{asked_at()}"
                )

    def link(self, incarnation: Incarnation, connection: str | None, channel: str | None) -> Link:
        """Return a channel: a new one, or the one that the incarnation has by this name."""
        if channel is not None and (found := self._channels.get((incarnation, channel))):
            return found
        link = Link(self, incarnation, self._connection(incarnation, connection))
        if channel is not None:
            self._channels[incarnation, channel] = link
        return link

    def _connection(self, incarnation: Incarnation, name: str | None) -> Connection:
        if name is None:
            return Connection(self)
        key = (incarnation, name)
        if key not in self._connections:
            self._connections[key] = Connection(self)
        return self._connections[key]

    # ---- what the node tells

    def handed_out(self, push: Push) -> None:
        """Send a message on its way to its consumer."""
        world = self.world
        link = push.channel.owner
        assert isinstance(link, Link)
        copy = push.copy
        party = link.party_of(push)
        operation = party.operation
        place = (operation, copy.entity, copy.name)
        world.counts[place] = attempt = world.counts.get(place, 0) + 1
        if operation not in world.surfaces:
            world.meet(operation, DELIVER_AUTO if party.auto_ack else DELIVER)
        armed = operation in world.armed
        if armed:
            link.suffer(push, operation, attempt, "before")
        times = copy.delivered_to(push.queue.name)
        data = {
            "message": copy.published,
            "to": link.incarnation.label,
            "group": push.queue.name,
            "times": times,
            "topic": copy.topic,
            "tag": push.tag,
            "redelivered": push.redelivered,
        }
        cause = world.record(
            "deliver",
            self.name,
            operation=operation,
            entity=copy.entity,
            attempt=attempt,
            cause=copy.published,
            data=data,
        )
        world.effects += 1
        # a queue with a limit of its own puts the message aside by itself, once that is over
        if times > max(world.budget.deliveries_max, (push.queue.limit or 0) + 1):
            world.too_often(times, operation)
        if party.auto_ack:
            data = {"message": copy.published, "automatic": True}
            world.record("ack", self.name, entity=copy.entity, cause=cause, data=data)
        if armed:
            link.suffer(push, operation, attempt, "after")
        link.send(push, cause)

    def died(
        self, copy: Copy, queue: OpenQueue, reason: Reason, letter: Copy | None, names: list[str]
    ) -> None:
        """Record a dead letter, and what is published in its place."""
        world = self.world
        world.effects += 1
        data = {"message": copy.published, "queue": queue.name, "reason": reason, "to": names}
        index = world.record("dead", self.name, entity=copy.entity, cause=copy.published, data=data)
        if letter is not None:
            letter.deliveries = copy.deliveries
            data = {**self._words(letter, names), "instead_of": copy.published}
            letter.published = world.record(
                "publish", self.name, entity=letter.entity, cause=index, data=data
            )

    def expires(self, queue: OpenQueue, at_ms: int) -> None:
        """See to it that the head of a queue is looked at when it expires."""
        if self._expiries.get(queue, at_ms + 1) > at_ms:
            self._expiries[queue] = at_ms
            self.world.agenda.add(at_ms, self._expire, queue)

    def _expire(self, queue: OpenQueue) -> None:
        self._expiries.pop(queue, None)
        self.node.expire(queue)

    def _network_changed(self) -> None:
        for link in self.links:
            link.network_changed()
