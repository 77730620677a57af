"""RabbitMQ: exchanges, queues, acknowledgement, redelivery, dead letters, confirms.

Source:
    RabbitMQ 4.3 documentation, pages "Consumer Acknowledgements and Publisher Confirms",
    "Consumers", "Queues", "Quorum Queues", "Dead Letter Exchanges", "Time-To-Live",
    "Queue Length Limit"; AMQP 0-9-1. What these leave open was observed on 3.10.8, which
    the conformance tests run beside the model.

Not modelled:
    Clusters: a stored message is safe while its node is up. Flow control and memory alarms;
    `basic.qos` with `global`; AMQP transactions; the moment between an acknowledgement and the
    channel error it leads to; that the broker looks for slow consumers once a minute only, and
    that 4.3 cancels them instead of closing their channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from chaosharness.brokers.events import delivered, died, settled_by, stored_by_itself, words_of
from chaosharness.brokers.intake import Intake, check_options
from chaosharness.brokers.lane import is_disturbed
from chaosharness.brokers.message import NO_HEADERS, Decode
from chaosharness.brokers.rabbitmq.administration import Administrator
from chaosharness.brokers.rabbitmq.alarms import Alarms, Held
from chaosharness.brokers.rabbitmq.connection import MISSED, Connection
from chaosharness.brokers.rabbitmq.consumers import LOOP_OPTIONS, Consumer
from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.link import Link
from chaosharness.brokers.rabbitmq.profiles import CLIENTS, PROFILES, Client
from chaosharness.brokers.rabbitmq.publishing import Publisher
from chaosharness.brokers.rabbitmq.rows import DELIVER, DELIVER_AUTO, SEARCHABLE, widened
from chaosharness.brokers.rabbitmq.subscription import OPTIONS, Subscription, check_given
from chaosharness.brokers.rabbitmq.topology import (
    Exchange,
    Queue,
    check,
    exchanges_of,
    queues_of,
)
from chaosharness.brokers.trouble import wired_wrongly
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Fault
from chaosharness.handlers.port import Surface, call_off
from chaosharness.handlers.script import Script
from chaosharness.kernel import allowed
from chaosharness.kernel.history import plain
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import BACKGROUND, Lasting, World
from chaosharness.machines.rabbitmq.deaths import Gone
from chaosharness.machines.rabbitmq.declared import internal_exchange
from chaosharness.machines.rabbitmq.node import Node, Watcher
from chaosharness.machines.rabbitmq.takers import OpenQueue, Push, Taker
from chaosharness.machines.rabbitmq.versions import VERSIONS, Version

_positive: Final = allowed.whole(1)


VERSION: Final[Version] = "4.0"
"""The server, where nobody says which."""


def _kinds(value: Iterable[type[Fault]] | type[Fault]) -> tuple[type[Fault], ...]:
    return (value,) if isinstance(value, type) else tuple(value)


def _searchable(_: Any, attribute: Any, value: tuple[Any, ...]) -> None:
    if not set(value) <= set(SEARCHABLE):
        right = "some of " + ", ".join(kind.__name__ for kind in SEARCHABLE)
        raise allowed.refused("RabbitMQ", attribute.name, right, value)


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

    Duplicate is illegal, unless the client `resends`: the broker never makes one. A publisher
    that tries again does.

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
        queues: Their names, or their names with a `Queue` each; those that clients do not declare
            themselves.
        exchanges: By name. The default exchange `""` leads to each queue by its name.
        version: Whose rules: `3.10`, `3.13`, `4.0` or `4.3`. They differ in how quorum queues
            count deliveries and in their priorities, and in whether the `x-death` of a client
            is read.
        client: Whose defaults there are for what is not said: `pika` or `aio-pika`. Reports say
            so, and which version of the server it was. Code that uses a client itself (`AMQP`) says
            what it does.
        confirms: Whether publishers wait for a confirm. aio-pika: yes, pika: only after
            `confirm_delivery`.
        resends: Whether the client sends again by itself what nobody confirmed, on a new
            connection (kombu and Celery with `retry`). The first one may have been stored: then
            there are two, and `Duplicate` is a legal fault of a publish.
        heartbeat_ms: A connection of which nothing is heard for twice as long is lost: it is cut
            off, or its one thread is at work (see `in_thread`). 0: no heartbeats.
        consumer_timeout_ms: A channel with a message unacknowledged for longer is closed
            (4.3: on quorum queues only).
        reconnect_ms: How long a consumer that lost its connection takes to be back. aio-pika: 5 s.
        latency_ms: From the broker to a consumer.
        timeout_ms: How long a publisher waits for a confirm.
        searched: What a search tries beyond the usual: `BrokerAlarm` (at each publish),
            `BrokerRestart` (there and at each delivery), `HostDeath` (at each acknowledgement)
            and `ConsumerCancel` (at each delivery). All strike where they are written by hand.
    """

    name: str = attrs.field(validator=allowed.text())
    queues: Mapping[str, Queue] = attrs.field(factory=dict, converter=queues_of)
    exchanges: Mapping[str, Exchange] = attrs.field(
        factory=dict, converter=exchanges_of, kw_only=True
    )
    version: Version = attrs.field(
        default=VERSION, validator=allowed.one_of(*VERSIONS), kw_only=True
    )
    client: Client | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(allowed.one_of(*CLIENTS)),
        kw_only=True,
    )
    confirms: bool = attrs.field(
        default=PROFILES.default("confirms"), validator=allowed.flag(), kw_only=True
    )
    resends: bool = attrs.field(default=False, validator=allowed.flag(), kw_only=True)
    heartbeat_ms: int = attrs.field(
        default=PROFILES.default("heartbeat_ms"), validator=allowed.whole(0), kw_only=True
    )
    consumer_timeout_ms: int = attrs.field(default=1_800_000, validator=_positive, kw_only=True)
    reconnect_ms: int = attrs.field(
        default=PROFILES.default("reconnect_ms"), validator=_positive, kw_only=True
    )
    latency_ms: int = attrs.field(default=1, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=30_000, validator=_positive, kw_only=True)
    searched: tuple[type[Fault], ...] = attrs.field(
        default=(), converter=_kinds, validator=_searchable, kw_only=True
    )

    def __attrs_post_init__(self) -> None:
        check(self.queues, self.exchanges)
        if self.resends and not self.confirms:
            raise InvalidDefinition(
                f"RabbitMQ {self.name!r} resends what is not confirmed, so it needs confirms=True"
            )

    @property
    def profile(self) -> str:
        """Which server it is, and whose defaults its clients have; empty where nothing is said."""
        if self.client is None and self.version == VERSION:
            return ""
        known, names = PROFILES.of(self.client), ("confirms", "heartbeat_ms", "reconnect_ms")
        mine = attrs.evolve(known, **{name: getattr(self, name) for name in names})
        return mine.words(self.version)

    def goes_to(self, topic: str | None, exchange: str) -> list[tuple[str, str]]:
        """Return the queues that a message reaches, with this broker's name; of any key if None."""
        if not exchange:
            return [] if topic is None else [(self.name, topic)]
        declared = self.exchanges.get(exchange)
        if declared is None:
            return []
        bound = list(declared.leads_to())
        queues: list[str] = []
        if topic is None or declared.kind == "headers":
            queues = [one.name for one in bound if one.destination == "queue"]
        else:
            queues = [*declared.route(topic)]
        more = [
            one.name
            for one in declared.open("").matching(topic or "", {})
            if one.destination == "exchange" and one.name != exchange
        ]
        found = [(self.name, queue) for queue in dict.fromkeys(queues)]
        return [*found, *(each for name in more for each in self.goes_to(topic, name))]

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
            [exchange.open(name) for name, exchange in definition.exchanges.items()],
            version=definition.version,
            clock=lambda: world.now,
            watcher=self,
        )
        self.links: list[Link] = []
        self._connections: dict[tuple[Incarnation, str], Connection] = {}
        self._channels: dict[tuple[Incarnation, str], Link] = {}
        self._expiries: dict[OpenQueue, int] = {}
        self._changes = False
        self._made_up: set[str] = set()
        self._refused: list[Link] = []
        self.is_down = False
        self.alarms = Alarms(world)
        world.know_timeout(definition.consumer_timeout_ms)
        world.know_timeout(MISSED * definition.heartbeat_ms)
        world.know_duration(definition.timeout_ms)
        for queue in definition.queues.values():
            world.know_duration(queue.ttl_ms or 0)
            world.know_duration(queue.expires_ms or 0)
        world.on_network.append(self._network_changed)

    def close(self) -> None:
        """Let go of the consumers, at the end of a run."""
        for link in self.links:
            link.forget()
        self.links.clear()
        self._connections.clear()
        self._channels.clear()
        self._refused.clear()
        self.node.forget()

    # ---- as a peer

    def lost(self, operation: str) -> BaseException:
        """Return what a publisher sees when no confirm comes."""
        return TimeoutError(f"{operation}: no confirm from {self.name}")

    def refused(self, operation: str) -> BaseException:
        """Return what a publisher sees when the broker does not take its message."""
        if self.is_down:
            return ConnectionError(f"{operation}: {self.name} is down: connection refused")
        return ConnectionError(f"{operation}: {self.name} refused (basic.nack)")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: a confirmed message is on disk."""

    connection = None
    """A publisher has a connection of its own, unless it shares one."""

    def wait_for(self, held: Held, *, asks: bool) -> Script[None]:
        """Wait as long as a publisher waits for a confirm."""
        if asks:
            yield from held.wait(self, self.timeout_ms)

    # ---- publishing

    def publisher(self, *, connection: str | None = None, channel: str | None = None) -> Publisher:
        """Return a publisher with a channel of its own, or with one that it shares."""
        return Publisher(self, connection=connection, channel=channel)

    def client(self) -> Administrator:
        """Return what declares, binds, purges and deletes while the system runs."""
        self._changes = True
        return Administrator(self)

    def declares_itself(self) -> None:
        """Take note that clients declare what they use: what is not there may come."""
        self._changes = True

    def new_name(self) -> str:
        """Return a name for a queue that is declared without one."""
        name = f"amq.gen-{len(self._made_up) + 1}"
        self._made_up.add(name)
        return name

    def check_target(self, exchange: str, topic: str) -> str:
        """Return why the channel is closed that publishes there; empty if nothing is wrong.

        Raises:
            InvalidDefinition: Nobody declares such an exchange or queue, now or later.
        """
        if exchange:
            if exchange in self.node.declared.routes.open:
                return ""
            if exchange in self.node.declared.routes.exchanges:
                why = internal_exchange(exchange)
                return f"{why.code} {why.text}"
            if self._changes:
                return f"404 NOT_FOUND - no exchange '{exchange}' in vhost '/'"
            what, known = f"exchange {exchange!r}", self.definition.exchanges.keys()
        else:
            if topic in self.definition.queues or topic in self.node.queues or self._changes:
                return ""
            what, known = f"queue {topic!r}", self.definition.queues.keys()
        names = ", ".join(sorted(known)) or "none"
        words = f"{self.name} has no {what} to publish to; it has: {names}{asked_at()}"
        call_off(InvalidDefinition(words))

    def _words(self, copy: Copy, names: tuple[str, ...] | list[str]) -> dict[str, Any]:
        where: dict[str, Any] = {"exchange": copy.exchange, "queues": list(names)}
        words = words_of(self.name, copy.topic, where, copy.key, copy.body, NO_HEADERS)
        if copy.topic in self._made_up:
            words["made_up"] = True
        if copy.headers and not copy.deaths:  # a letter's tell of the broker, and of when it died
            words["headers"] = plain(copy.headers)
        if copy.properties:
            words["properties"] = plain(copy.properties)
        return words

    # ---- consuming

    def consume(self, intake: Intake, queue: str, *, service: str, **options: Any) -> None:
        """Have a handler called per message: see `Subscription` for the options."""
        self._check_queues((queue,), intake.place)
        try:
            check_options(options, OPTIONS)
            check_given(options)
            subscription = Subscription(
                broker=self, intake=intake, queue=queue, service=service, **options
            )
        except (TypeError, ValueError) as error:
            raise wired_wrongly(intake.place, repr(queue), error) from None
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
            raise wired_wrongly(service, ", ".join(queues), error) from None

    def _check_queues(self, queues: tuple[str, ...], who: str) -> None:
        for queue in queues:
            if queue not in self.definition.queues and not self._changes:
                known = ", ".join(sorted(self.definition.queues))
                raise InvalidDefinition(
                    f"{who} consumes {queue!r}, but {self.name} has no such queue; it has: {known}"
                    f"{asked_at()}"
                )

    def wait_for_change(self, link: Link) -> None:
        """Have a channel that was refused something come back when that may have changed."""
        self._refused.append(link)

    def changed(self) -> None:
        """Take note that a consumer is gone, or that something was declared or deleted."""
        refused, self._refused = self._refused, []
        for link in refused:
            self.world.after(0, link.come_back)

    def has_dead_letters(self, queue: str) -> bool:
        """Say whether a queue has somewhere to put dead letters."""
        found = self.node.queues.get(queue)
        definition = self.definition.queues.get(queue) if found is None else found.definition
        return definition is not None and definition.dead_letters() is not None

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
        copy, queue = push.copy, push.queue
        name = queue.name
        party = link.parties[name]
        operation = party.operation
        place = (operation, copy.entity, copy.name)
        world.counts[place] = attempt = world.counts.get(place, 0) + 1
        if operation not in world.surfaces:
            world.meet(operation, self._surface(party.auto_ack))
        armed = operation in world.armed
        if armed:
            link.suffer(push, operation, attempt, "before")
        times = copy.delivered_to(name)
        to, more = link.incarnation.label, {"tag": push.tag, "redelivered": push.redelivered}
        cause = delivered(world, self.name, operation, attempt, copy, to, name, times, more)
        # a queue with a limit of its own puts the message aside by itself, once that is over
        if times > world.budget.deliveries_max and times > (queue.limit or 0) + 1:
            world.too_often(times, operation)
        if party.auto_ack:
            settled_by(world, self.name, copy, cause, automatic=True)
        if armed:
            link.suffer(push, operation, attempt, "after")
        link.send(push, cause)

    def _surface(self, auto_ack: bool) -> Surface:
        return widened(DELIVER_AUTO if auto_ack else DELIVER, self.definition.searched)

    def died(
        self, copy: Copy, queue: OpenQueue, reason: Gone, letter: Copy | None, names: list[str]
    ) -> None:
        """Record a dead letter, and what is published in its place."""
        world = self.world
        world.effects += 1
        index = died(world, self.name, copy, queue.name, reason, names)
        if letter is not None:
            letter.deliveries = copy.deliveries
            words = {**self._words(letter, names), "instead_of": copy.published}
            letter.published = stored_by_itself(world, self.name, letter.entity, index, words)

    def goes_round(self, queue: OpenQueue) -> None:
        """Call the run off: in the real broker this never ends."""
        self.world.end(
            "budget",
            f"dead letters go round through {self.name}.{queue.name} for ever: full queues push "
            "them out in each other's favour, and a message that was rejected once is in no cycle",
        )

    def expires(self, queue: OpenQueue, at_ms: int) -> None:
        """See to it that the head of a queue is looked at when it expires."""
        if self._expiries.get(queue, at_ms + 1) > at_ms:
            self._expiries[queue] = at_ms
            self.world.agenda.add(at_ms, self._expire, queue)

    def _expire(self, queue: OpenQueue) -> None:
        self._expiries.pop(queue, None)
        self.node.expire(queue)

    def vanishes(self, queue: OpenQueue, at_ms: int) -> None:
        """See to it that a queue is looked at when it may expire."""
        self.world.agenda.add(at_ms, self._expire_unused, queue, BACKGROUND)

    def _expire_unused(self, queue: OpenQueue) -> None:
        self.node.expire_unused(queue)

    def cancelled(self, taker: Taker) -> None:
        """Tell a consumer that the broker has cancelled it."""
        link = taker.channel.owner
        if isinstance(link, Link):
            link.cancelled(taker)

    # ---- the node itself

    def restart(self, down: Lasting) -> None:
        """Die and come back: all connections are lost, and what was not kept is gone."""
        if self.is_down:
            return
        world = self.world
        self.is_down = True
        world.effects += 1
        self.node.stopped = True
        for link in self.links:
            link.drop("the broker died")
        self.node.restart()
        for connection in {link.connection: None for link in self.links}:
            self.node.disconnect(connection)
        world.until(max(world.due(down), world.now + 1), self._up)

    def _up(self, _: Any) -> None:
        self.is_down = self.node.stopped = False
        self.world.effects += 1
        for link in self.links:
            self.world.after(0, link.come_back)

    def _network_changed(self) -> None:
        for link in self.links:
            link.network_changed()
