"""Publishing to RabbitMQ: a channel with its confirms, waited for one by one or read later.

Source:
    RabbitMQ documentation, "Consumer Acknowledgements and Publisher Confirms", "Publishers";
    AMQP 0-9-1 (`basic.publish`, and that what is sent on one channel keeps its order).

Not modelled:
    `basic.return` without confirms; `user-id` and `timestamp`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NoReturn

from chaosharness.brokers.lane import Lane, blindly, in_turn
from chaosharness.brokers.message import NO_HEADERS, encode, key_of
from chaosharness.brokers.rabbitmq.alarms import Held, Store
from chaosharness.brokers.rabbitmq.copies import NO_PROPERTIES, Copy, properties_of
from chaosharness.brokers.rabbitmq.errors import ChannelClosed
from chaosharness.brokers.rabbitmq.link import Link
from chaosharness.brokers.rabbitmq.market import Market
from chaosharness.brokers.rabbitmq.rows import (
    PUBLISH,
    PUBLISH_AGAIN,
    PUBLISH_BLINDLY,
    SEND,
    widened,
)
from chaosharness.brokers.rabbitmq.storing import Draft, Storing
from chaosharness.brokers.trouble import refuse_words
from chaosharness.errors import RefusedValue
from chaosharness.faults import (
    Delay,
    ErrorReply,
    LostReply,
    LostRequest,
)
from chaosharness.handlers.later import LaterEffect
from chaosharness.handlers.port import (
    Nap,
    Surface,
    current_scope,
    cut,
    have,
    on_behalf,
    strikes,
    trouble,
    wait_of,
)
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.history import UNASKED
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import BACKGROUND
from chaosharness.machines.rabbitmq.confirms import Confirm, Confirms
from chaosharness.machines.rabbitmq.deaths import deaths_in
from chaosharness.machines.rabbitmq.versions import MESSAGE_MAX, reads_deaths, too_large

ALONE: Final = (None, None)


class Publisher:
    """A publisher with a channel of its own, or (`channel`) one that it shares in its process.

    Called, it publishes and waits for the confirm. `send` publishes and does not wait;
    `confirms` gives what the broker has answered.
    """

    __slots__ = (
        "_broker",
        "_confirms",
        "_frames",
        "_lane",
        "_link",
        "_lost",
        "_reads_deaths",
        "_resume",
        "_shares",
        "_storing",
        "_where",
        "_world",
    )

    def __init__(
        self, broker: Market, *, connection: str | None = None, channel: str | None = None
    ) -> None:
        self._broker = broker
        self._world = broker.world
        self._storing = Storing(broker)
        self._lane = Lane()
        self._reads_deaths = reads_deaths(broker.definition.version)
        self._confirms: Confirms | None = None  # until something is sent without waiting
        self._frames: list[Confirm] = []
        self._lost = ""
        self._resume: Resume | None = None
        self._shares = connection is not None or channel is not None
        self._where = (connection, channel) if self._shares else ALONE
        self._link: Link | None = None

    # ---- what users call

    def __call__(
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
        persistent: bool = True,
        message_id: str | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        **unknown: Any,
    ) -> Any:
        """Publish a message with routing key `topic`, and wait for the confirm.

        Args:
            topic: Routing key; for the default exchange, the name of a queue.
            value: Payload.
            key: Correlates the message with its workload item; not sent.
            headers: Headers.
            exchange: Name of an exchange; the default exchange if empty.
            expiration_ms: This message's own time to live.
            mandatory: Raise if the message reaches no queue (and there are confirms); else
                it is dropped silently.
            priority: For queues that have priorities.
            persistent: Whether it outlives the node (`delivery_mode` 2). pika and aio-pika: no,
                unless told so.
            message_id: A property; the receiver finds it in `delivery.properties`.
            correlation_id: Likewise.
            reply_to: Likewise: the name of a queue.

        Raises:
            Unroutable: It was mandatory, and no queue is bound for it.
            ConnectionError: Negative confirm: at least one queue did not take it. Or the broker
                is down.
            ChannelClosed: There is no such exchange (404), the message is larger than the broker
                takes (406: 16 MiB, of 3.x 128 MiB), or its channel is closed already.
            TimeoutError: No confirm; it may have been stored.
            InvalidDefinition: Nobody declares such an exchange or queue; or a time is negative.
        """
        if unknown:
            refuse_words(self.__call__, self._broker.name, unknown)
        properties = NO_PROPERTIES
        if message_id is not None or correlation_id is not None or reply_to is not None:
            properties = properties_of(message_id, correlation_id, reply_to)
        scope = current_scope("publish", self._world)
        copy = self._draft(
            scope,
            topic,
            value,
            key,
            headers,
            exchange,
            expiration_ms,
            priority,
            persistent,
            properties,
        )
        return self._pass(scope, copy, mandatory)

    def publish(
        self,
        exchange: str,
        topic: str,
        body: bytes,
        *,
        headers: Mapping[str, Any],
        properties: Mapping[str, Any],
        expiration_ms: int | None,
        priority: int,
        persistent: bool,
        mandatory: bool,
    ) -> Any:
        """Publish what a client library hands over, with all properties of AMQP."""
        scope = current_scope("publish", self._world)
        args = (topic, body, None, headers, exchange, expiration_ms, priority, persistent)
        return self._pass(scope, self._draft(scope, *args, properties), mandatory)

    def lost(self, exchange: str, topic: str, body: bytes) -> None:
        """Write that a message was published blindly to where nothing is, and is gone."""
        scope = current_scope("publish", self._world)
        copy = Copy(topic, None, NO_HEADERS, body, scope.entity, scope.hops + 1, exchange=exchange)
        self._storing.lose(scope, copy)

    def send(
        self,
        topic: str,
        value: Any,
        *,
        key: str | None = None,
        headers: Mapping[str, Any] | None = None,
        exchange: str = "",
        expiration_ms: int | None = None,
        priority: int = 0,
        persistent: bool = True,
        message_id: str | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
    ) -> Any:
        """Publish and do not wait; return the message's number on this channel: the first has 1.

        What becomes of it is read from `confirms`. See the call of a publisher for the rest.

        Raises:
            ChannelClosed: The channel is closed already. The next message is 1 on a new one.
        """
        properties = properties_of(message_id, correlation_id, reply_to)
        args = (topic, value, key, headers, exchange, expiration_ms, priority, persistent)
        scope = current_scope("send", self._world)
        copy = self._draft(scope, *args, properties)
        operation, attempt = self._reach(scope, copy)
        if operation not in self._world.surfaces:
            self._world.meet(operation, widened(SEND, self._broker.definition.searched))
        script = self._sending(scope, operation, attempt, (copy, False, scope.message))
        script = on_behalf(scope, copy.entity, scope.message, script)
        return scope.colour.drive(script, scope)

    def confirms(self, timeout_s: float | None = None) -> Any:
        """Return the confirms that came since this was asked last; wait for one if there is none.

        They may come in another order than their messages, and one with `multiple` stands for
        all that are open up to its number. After `timeout_s` there are none.

        Raises:
            ChannelClosed: The connection was lost: what is open will never be confirmed, and may
                have been stored.
        """
        scope = current_scope("confirms", self._world)
        nap: Nap = BACKGROUND
        if timeout_s is not None:
            frame = sys._getframe(1)
            nap = wait_of(scope, round(timeout_s * 1000), of_stack, frame, holds=False)
        return scope.colour.drive(self._reading(scope, timeout_s, nap), scope)

    # ---- one message

    def _draft(
        self,
        scope: Scope,
        topic: str,
        value: Any,
        key: str | None,
        headers: Mapping[str, Any] | None,
        exchange: str,
        expiration_ms: int | None,
        priority: int,
        persistent: bool,
        properties: Mapping[str, Any],
    ) -> Copy:
        world, version = self._world, self._broker.definition.version
        if exchange or self._shares or topic not in self._broker.node.queues:
            self._check(scope, exchange, topic)
        if expiration_ms is not None:
            if expiration_ms < 0:
                raise RefusedValue(f"expiration_ms must be at least 0, not {expiration_ms}")
            world.know_duration(expiration_ms)
        body = encode(value, topic)
        if len(body) > MESSAGE_MAX and (why := too_large(len(body), version)):
            self._refuse(scope, exchange, topic, why)
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
            persistent=persistent,
            properties=properties,
        )
        if self._reads_deaths:
            copy.deaths = deaths_in(copy.headers)
        return copy

    def _check(self, scope: Scope, exchange: str, topic: str) -> None:
        """See that the channel is open, and stays so."""
        link = self._link
        if link is None and self._shares:
            link = self._link = self._broker.link(scope.incarnation, *self._where)
            link.attend((), self._come_back)
        if link is not None and not link.is_open:
            raise ChannelClosed(self._place(scope, exchange, topic), link.channel.closed_because)
        why = self._broker.check_target(exchange, topic)
        if why:
            self._refuse(scope, exchange, topic, why)

    def _refuse(self, scope: Scope, exchange: str, topic: str, why: str) -> NoReturn:
        """Have the channel closed by the broker."""
        if self._link is not None:
            self._link.drop(why)
        raise ChannelClosed(self._place(scope, exchange, topic), why)

    def _place(self, scope: Scope, exchange: str, topic: str) -> str:
        return f"{scope.place}/{self._broker.name}.publish {topic or exchange}"

    def _come_back(self) -> None:
        """Open the shared channel again, if no consumer on it does."""
        link = self._link
        assert link is not None
        self._lose(link.channel.closed_because)
        self._world.after(self._broker.definition.reconnect_ms, self._reopen)

    def _reopen(self, _: Any) -> None:
        if self._link is not None and self._link.incarnation.alive:
            self._link.reopen()

    def _reach(self, scope: Scope, copy: Copy) -> tuple[str, int]:
        world = self._world
        operation = f"{scope.place}/{self._broker.name}.publish {copy.topic or copy.exchange}"
        place = (operation, copy.entity, scope.message)
        world.counts[place] = attempt = world.counts.get(place, 0) + 1
        return operation, attempt

    def _pass(self, scope: Scope, copy: Copy, mandatory: bool) -> Any:
        """Pass the port of a publisher, on behalf of a workload item."""
        world, in_hand, entity = self._world, scope.message, copy.entity
        operation, attempt = self._reach(scope, copy)
        draft = (copy, mandatory, in_hand)
        confirms = self._broker.definition.confirms  # a client may ask for them later
        store = self._storing.store if confirms else self._storing.try_to_store
        if operation not in world.surfaces:
            world.meet(operation, self._surface())
        if self._broker.disturbed or world.unreachable:
            script = self._careful(scope, operation, attempt, store, draft, asks=confirms)
            return scope.colour.drive(on_behalf(scope, entity, in_hand, script), scope)
        if scope.colour.is_async:
            return LaterEffect(scope, entity, store, operation, attempt, draft)
        own, scope.entity = scope.entity, entity
        try:
            store(scope, operation, attempt, draft)
        finally:
            scope.entity = own
        return None

    def _careful(
        self, scope: Scope, operation: str, attempt: int, store: Store, draft: Draft, *, asks: bool
    ) -> Script[None]:
        """Publish where a fault may strike; wait for the confirm, where there are any."""
        send = in_turn if asks else blindly
        effect = partial(self._store, store)
        held = yield from send(self._lane, scope, operation, attempt, effect, draft, self._broker)
        if held is not None:
            yield from self._broker.wait_for(held, asks=asks)

    def _store(
        self, store: Store, scope: Scope, operation: str, attempt: int, draft: Draft
    ) -> Held | None:
        connection = self._broker.connection
        if self._link is not None:
            connection = self._link.connection
        alarms = self._broker.alarms
        return alarms.store(scope, operation, attempt, store, draft, connection)

    def _surface(self) -> Surface:
        definition = self._broker.definition
        if not definition.confirms:
            found = PUBLISH_BLINDLY
        else:
            found = PUBLISH_AGAIN if definition.resends else PUBLISH
        return widened(found, definition.searched)

    # ---- without waiting

    def _sending(self, scope: Scope, operation: str, attempt: int, draft: Draft) -> Script[int]:
        """Publish a message whose confirm is read later, if it comes."""
        broker, world = self._broker, self._world
        self._raise_loss(operation)
        turn = self._lane.join(scope)
        confirms = self._confirms
        if confirms is None:
            confirms = self._confirms = Confirms()
        tag = confirms.published()
        acked, late_ms = True, 0
        try:
            yield from turn.come()
            for fault in strikes(scope, operation, "before", attempt):
                if isinstance(fault, ErrorReply):
                    acked = False
                elif isinstance(fault, LostRequest):
                    self._unheard(scope, operation, attempt, happened=False)
                    return tag
                else:
                    yield from trouble(scope, fault, broker)
            if cut(scope, broker, "out") or confirms is not self._confirms:
                self._unheard(scope, operation, attempt, happened=False)
                return tag
            held = None
            if acked:
                acked, held = self._is_taken(scope, operation, attempt, draft)
            if held is not None:
                held.then = partial(self._answer_late, confirms, tag)
                return tag
        finally:
            scope.struck = ()
            turn.leave()
        for fault in strikes(scope, operation, "after", attempt):
            if isinstance(fault, LostReply):
                self._unheard(scope, operation, attempt, happened=True)
                return tag
            if isinstance(fault, Delay):
                late_ms = max(world.due(fault.lasting) - world.now, 1)
            else:
                yield from trouble(scope, fault, broker)
        if cut(scope, broker, "back") or broker.is_down:
            self._unheard(scope, operation, attempt, happened=True)
            return tag
        world.after(late_ms + broker.definition.latency_ms, self._answer, (confirms, tag, acked))
        return tag

    def _is_taken(
        self, scope: Scope, operation: str, attempt: int, draft: Draft
    ) -> tuple[bool, Held | None]:
        effect = partial(self._store, self._storing.store)
        try:
            return True, have(scope, operation, attempt, effect, draft)
        except ConnectionError:
            return False, None

    def _answer_late(self, confirms: Confirms, tag: int, acked: bool) -> None:
        """Confirm what was not read while there was an alarm."""
        late_ms = self._broker.definition.latency_ms
        self._world.after(late_ms, self._answer, (confirms, tag, acked))

    def _unheard(self, scope: Scope, operation: str, attempt: int, *, happened: bool) -> None:
        """Lose the connection: no confirm comes for this message, nor for any that is open."""
        data = {"outcome": UNASKED, "happened": happened}
        scope.record("reply", operation, attempt, data)
        if self._link is not None:
            self._link.connection.drop("connection lost")
        self._lose("connection lost")

    def _lose(self, why: str) -> None:
        """Begin anew, on another channel: messages are counted from 1 there."""
        if self._confirms is None or not self._confirms.open:
            return
        self._confirms = None
        self._lost = why
        self._world.effects += 1
        self._wake()

    def _raise_loss(self, where: str) -> None:
        """Tell once that the channel was lost."""
        if self._lost:
            why, self._lost = self._lost, ""
            self._frames.clear()
            raise ChannelClosed(where, why)

    def _answer(self, due: tuple[Confirms, int, bool]) -> None:
        """Have a confirm on its way to the publisher, if its channel is still there."""
        confirms, tag, acked = due
        if confirms is not self._confirms:
            return
        confirms.settle(tag, acked=acked)
        self._world.after(0, self._flush)

    def _flush(self, _: Any) -> None:
        """Send what is due at this moment, in as few frames as can be."""
        frames = self._confirms.frames() if self._confirms is not None else []
        if frames:
            self._world.effects += 1
            self._frames += frames
            self._wake()

    def _wake(self) -> None:
        resume, self._resume = self._resume, None
        if resume is not None:
            resume(None)

    def _keep(self, resume: Resume) -> None:
        self._resume = resume

    def _reading(self, scope: Scope, timeout_s: float | None, nap: Nap) -> Script[list[Confirm]]:
        world = self._world
        timer = None
        expired: list[None] = []

        def expire(_: Any) -> None:
            expired.append(None)
            nap.woke()
            self._wake()

        if timeout_s is not None:
            timeout_ms = round(timeout_s * 1000)
            world.know_duration(timeout_ms)
            timer = world.timer(timeout_ms, expire, None, nap)
        while not self._frames and not self._lost and not expired:
            yield self._keep
        if timer is not None:
            world.agenda.cancel(timer)
        if not self._frames:
            self._raise_loss(f"{scope.place}/{self._broker.name}.confirms")
        frames, self._frames = self._frames, []
        return frames
