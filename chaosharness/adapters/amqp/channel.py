"""A channel of a client's connection: what it asks for, method by method, and what it is told.

Source:
    AMQP 0-9-1 Reference, classes `exchange`, `queue`, `basic`, `confirm`; RabbitMQ documentation,
    "Consumer Acknowledgements and Publisher Confirms".

Not modelled:
    Direct reply-to (requests by FastStream and others); `basic.recover`, `tx`, `channel.flow`; two
    consumers of one queue on one channel; `no_local`.
    Answers take no time, and confirms come one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from chaosharness.adapters.amqp.market import TOLD, Lost, Market, Nacked
from chaosharness.adapters.amqp.wire import (
    PERSISTENT,
    alternate_of,
    consumer_of,
    expiration_of,
    properties_of,
    queue_of,
)
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.brokers.rabbitmq.administration import MANAGE
from chaosharness.brokers.rabbitmq.alarms import Held
from chaosharness.brokers.rabbitmq.connection import Connection
from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.errors import Unroutable
from chaosharness.brokers.rabbitmq.link import Link, Settling
from chaosharness.brokers.rabbitmq.party import Party
from chaosharness.brokers.rabbitmq.publishing import Publisher
from chaosharness.brokers.rabbitmq.rabbitmq import OpenRabbitMQ
from chaosharness.handlers.port import current_scope, operate
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.machines.machine import Refusal
from chaosharness.machines.rabbitmq.asked import (
    reserved,
    wrong_arguments,
    wrong_message,
)
from chaosharness.machines.rabbitmq.exchanges import Binding
from chaosharness.machines.rabbitmq.takers import Push
from chaosharness.machines.rabbitmq.versions import too_large

_CHECKED: Final = ("delivery_mode", "expiration", "user_id")
_TRANSACTIONS: Final = "Publish with confirms, and acknowledge behind them"
_INSTEAD: Final = {
    **dict.fromkeys(("Tx.Select", "Tx.Commit", "Tx.Rollback"), _TRANSACTIONS),
    "Basic.Recover": "Give back what is in hand by basic_nack(0, multiple=True)",
}
"""What does nearly the same as a method that is not modelled."""
_OF_QUEUES: Final = ("durable", "exclusive", "auto_delete")
NO_ROUTE: Final = (312, "NO_ROUTE")
REPLIES: Final = "amq.rabbitmq.reply-to"
"""Direct reply-to: whoever only listens there is let, and whoever asks is told."""

Do = Callable[[], Any]


class Owner(Protocol):
    """The connection that a channel is of."""

    broker: OpenRabbitMQ
    incarnation: Incarnation
    library: str
    user: str
    connection: Connection
    lines: dict[int, Any]
    send: Callable[..., None]

    @property
    def is_open(self) -> bool:
        """Whether the broker takes it for open."""

    def lose(self, why: str) -> None:
        """Lose the connection, because a client has found out that nobody answers."""


class Line:
    """One channel of a client."""

    def __init__(self, session: Owner, number: int) -> None:
        self.session = session
        self.broker = session.broker
        self.number = number
        self.confirming = False
        self._market = Market(session.broker, self, session.connection)
        self._publisher = Publisher(self._market)
        self._published = 0
        self._prefetch = 0
        self._last_queue = ""
        self._tags: dict[str, str] = {}  # of consumers, and the queue of each
        self._pushes: dict[int, tuple[Push, int]] = {}
        self._link = Link(session.broker, session.incarnation, session.connection)
        self._link.attend((), self._closed)

    @property
    def holds(self) -> bool:
        """Whether its client has messages that it has not settled."""
        return bool(self._link.channel.unacked)

    @property
    def is_open(self) -> bool:
        """Whether the broker has heard of it."""
        return self._link.is_open

    def shut(self) -> None:
        """Close it because its client says so."""
        self._link.shut("closed by its client")

    def _closed(self) -> None:
        """Tell the client that the broker has closed the channel, unless more than that is gone."""
        if not self.session.is_open or self.session.lines.get(self.number) is not self:
            return
        self._link.shut("closed")
        code, _, text = self._link.channel.closed_because.partition(" ")
        if not code.isdigit():  # it was opened while the network was cut, and nobody heard of it
            self.session.lose("connection lost")
            return
        fields = {"reply_code": int(code), "reply_text": text, "class_id": 0, "method_id": 0}
        self.session.send(self.number, "Channel.Close", fields)

    def _answer(self, name: str, **fields: Any) -> None:
        self.session.send(self.number, name, fields)

    # ---- what is asked for

    def perform(self, name: str, method: Any, content: Any) -> Any:
        """Do what a method says; in `async` code the result is awaited."""
        do = getattr(self, f"_{name.replace('.', '_').lower()}", None)
        if do is None:
            not_modelled(self.session.library, "AMQP", name, instead=_INSTEAD.get(name, ""))
        if not self._link.is_open:
            return None  # the broker ignores what comes until the client knows that it is closed
        return do(method) if content is None else do(method, content)

    def _manage(self, what: str, do: Do, answered: Callable[[Any], None]) -> Any:
        """Do something that takes no time and is answered, or refused."""
        broker = self.broker
        scope = current_scope(f"{broker.name}.{what}", broker.world)
        note_spoken(scope, self.session.library, f"{broker.name}.{what}")

        def have(scope: Scope, operation: str, attempt: int, _: Any) -> None:
            if not self._link.is_open:
                return
            before = broker.node.declared.changes
            answer = do()
            outcome = "failed" if isinstance(answer, Refusal) else "ok"
            data = {"outcome": outcome, "happened": outcome == "ok"}
            scope.record("reply", operation, attempt, data)
            if isinstance(answer, Refusal):
                self._link.punish(answer)
                return
            broker.world.effects += broker.node.declared.changes - before
            broker.changed()
            answered(answer)

        return operate(f"{broker.name}.{what}", have, None, self._market, MANAGE)

    # ---- queues

    def _queue_declare(self, method: Any) -> Any:
        if method.queue == REPLIES and method.passive:
            self._answer("Queue.DeclareOk", queue=REPLIES, message_count=0, consumer_count=0)
            return None
        name = method.queue or self.broker.new_name()
        declared = self.broker.node.declared
        asked = None
        why = None if method.passive or not method.queue else reserved("queue", name)
        if not method.passive and why is None:
            flags = {one: bool(getattr(method, one)) for one in _OF_QUEUES}
            if name not in self.broker.node.queues:
                why = wrong_arguments(name, method.arguments or {}, **flags)
            if why is None:
                asked = queue_of(self.session.library, method)

        def declare() -> Any:
            return why or declared.queue(self._link.channel, name, asked)

        def answered(queue: Any) -> None:
            self._last_queue = name
            counts = {"message_count": len(queue.order), "consumer_count": len(queue.takers)}
            self._answer("Queue.DeclareOk", queue=name, **counts)

        return self._manage(f"declare {name}", declare, answered)

    def _queue_bind(self, method: Any) -> Any:
        return self._bind("queue", self._named(method.queue), method.exchange, method, add=True)

    def _queue_unbind(self, method: Any) -> Any:
        return self._bind("queue", self._named(method.queue), method.exchange, method, add=False)

    def _exchange_bind(self, method: Any) -> Any:
        return self._bind("exchange", method.destination, method.source, method, add=True)

    def _exchange_unbind(self, method: Any) -> Any:
        return self._bind("exchange", method.destination, method.source, method, add=False)

    def _bind(self, kind: Any, name: str, exchange: str, method: Any, *, add: bool) -> Any:
        declared = self.broker.node.declared
        act = declared.bind if add else declared.unbind
        binding = Binding(kind, name, method.routing_key or "", method.arguments or {})
        verb = "Bind" if add else "Unbind"
        return self._manage(
            f"{verb.lower()} {name}",
            lambda: act(self._link.channel, exchange, binding),
            lambda _: self._answer(f"{kind.capitalize()}.{verb}Ok"),
        )

    def _queue_purge(self, method: Any) -> Any:
        name = self._named(method.queue)
        return self._manage(
            f"purge {name}",
            lambda: self.broker.node.declared.purge(self._link.channel, name),
            lambda count: self._answer("Queue.PurgeOk", message_count=count),
        )

    def _queue_delete(self, method: Any) -> Any:
        name = self._named(method.queue)
        ifs = {"if_unused": bool(method.if_unused), "if_empty": bool(method.if_empty)}
        return self._manage(
            f"delete {name}",
            lambda: self.broker.node.declared.delete(self._link.channel, name, **ifs),
            lambda count: self._answer("Queue.DeleteOk", message_count=count),
        )

    def _named(self, queue: str) -> str:
        """Return a queue's name; none means the one declared last on this channel."""
        return queue or self._last_queue

    # ---- exchanges

    def _exchange_declare(self, method: Any) -> Any:
        alternate = alternate_of(self.session.library, method.arguments)
        kind = None if method.passive else getattr(method, "type", None) or method.exchange_type
        declared = self.broker.node.declared
        return self._manage(
            f"declare {method.exchange}",
            lambda: declared.exchange(
                method.exchange,
                kind,
                alternate=alternate,
                durable=bool(method.durable),
                auto_delete=bool(method.auto_delete),
                internal=bool(method.internal),
            ),
            lambda _: self._answer("Exchange.DeclareOk"),
        )

    def _exchange_delete(self, method: Any) -> Any:
        declared = self.broker.node.declared
        return self._manage(
            f"delete {method.exchange}",
            lambda: declared.delete_exchange(method.exchange, if_unused=bool(method.if_unused)),
            lambda _: self._answer("Exchange.DeleteOk"),
        )

    # ---- publishing

    def _confirm_select(self, method: Any) -> None:
        self.confirming = True
        self._answer("Confirm.SelectOk")

    def _basic_publish(self, method: Any, content: Any) -> Any:
        """Publish; what comes of it is told by `published`, once the port is passed."""
        broker = self.broker
        scope = current_scope("publish", broker.world)
        note_spoken(scope, self.session.library, f"{broker.name}.publish {method.routing_key}")
        if self.confirming:
            self._published += 1
        properties, body, kind = content
        why = too_large(len(body), broker.definition.version)
        why = why or broker.check_target(method.exchange, method.routing_key)
        absent = not method.exchange and method.routing_key not in broker.node.queues
        if absent and method.routing_key != REPLIES:
            scope.world.lacked.add(f"queue {method.routing_key!r} of {broker.name}")
        if why:
            self._link.drop(why)
            if not self.confirming:  # who waits for no confirm may never hear of it
                self._publisher.lost(method.exchange, method.routing_key, body)
            return None
        if REPLIES in (getattr(properties, "reply_to", None), method.routing_key):
            not_modelled(self.session.library, "basic_publish", f"reply_to {REPLIES}")
        if (refusal := self._wrong_message(properties)) is not None:
            self._link.punish(refusal)
            return None
        carried = properties_of(properties, kind=kind)
        return self._publisher.publish(
            method.exchange,
            method.routing_key,
            body,
            headers=getattr(properties, "headers", None) or {},
            properties=carried,
            expiration_ms=expiration_of(properties),
            priority=carried.get("priority") or 0,
            persistent=getattr(properties, "delivery_mode", None) == PERSISTENT,
            mandatory=bool(method.mandatory),
        )

    def _wrong_message(self, properties: Any) -> Refusal | None:
        """Refuse a message by its properties."""
        asked = {one: getattr(properties, one, None) for one in _CHECKED}
        return wrong_message(**asked, user=self.session.user)

    def write(self) -> None:
        """Leave it to the client to wait for what it has written, from now on."""
        self._market.writes = True

    def held(self) -> Held | None:
        """Return what was just written and is not read: there is an alarm."""
        found, self._market.held = self._market.held, None
        return found

    def last_number(self) -> int:
        """Return the number of the message that was published last."""
        return self._published

    def published(
        self, method: Any, content: Any, error: BaseException | None, number: int | None = None
    ) -> None:
        """Tell the client what became of a message that it has published: the last, or by number.

        Raises:
            BaseException: It is not the broker's answer.
        """
        tag = self._published if number is None else number
        if isinstance(error, Lost):
            self.session.lose("connection lost")
            return
        if error is not None and not isinstance(error, TOLD):
            raise error
        if not self.confirming or not self._link.is_open:
            return
        if isinstance(error, Nacked):
            self._answer("Basic.Nack", delivery_tag=tag, multiple=False, requeue=False)
            return
        if isinstance(error, Unroutable):
            code, text = NO_ROUTE
            where = {"exchange": method.exchange, "routing_key": method.routing_key}
            fields = {"reply_code": code, "reply_text": text, **where}
            self.session.send(self.number, "Basic.Return", fields, content)
        self._answer("Basic.Ack", delivery_tag=tag, multiple=False)

    # ---- consuming

    def _basic_qos(self, method: Any) -> None:
        if size := getattr(method, "prefetch_size", 0):
            self._link.punish(Refusal("540", f"NOT_IMPLEMENTED - prefetch_size!=0 ({size})"))
            return
        count = method.prefetch_count or 0
        if getattr(method, "global_qos", getattr(method, "global_", False)):
            self.broker.node.limit(self._link.channel, count)
            self.broker.changed()
        else:
            self._prefetch = count
        self._answer("Basic.QosOk")

    def _basic_consume(self, method: Any) -> Any:
        queue = self._named(method.queue)
        tag = method.consumer_tag
        if queue == REPLIES:
            self._answer("Basic.ConsumeOk", consumer_tag=tag)
            return
        if queue in self._tags.values():
            not_modelled(self.session.library, "basic_consume", "a second consumer of one queue")
        party = self._party(
            queue,
            auto_ack=bool(method.no_ack),
            cancelled=partial(self._cancelled, tag),
            exclusive=bool(method.exclusive),
            **consumer_of(self.session.library, method.arguments),
        )
        note_spoken(
            current_scope("consume", self.broker.world),
            self.session.library,
            f"{self.broker.name}.consume {queue}",
        )
        self._attend(party)
        self._tags[tag] = queue
        self._link.consume(queue)
        if self._link.is_open:
            self._answer("Basic.ConsumeOk", consumer_tag=tag)
        elif (why := self._link.channel.closed_because).startswith("5"):
            self._link.connection.drop(why)
        else:
            self.broker.world.after(0, lambda _: self._closed())

    def _party(self, queue: str, *, auto_ack: bool, **options: Any) -> Party:
        service = self.session.incarnation.service
        return Party(
            queue,
            f"{self.broker.name}.{queue}/deliver to {service}",
            prefetch=self._prefetch,
            auto_ack=auto_ack,
            take=self._take,
            **options,
        )

    def _attend(self, party: Party) -> None:
        self._link.parties[party.queue] = party

    def _cancelled(self, tag: str) -> None:
        """Tell the client that the broker has cancelled a consumer."""
        if self._tags.pop(tag, None) is not None:
            self._answer("Basic.Cancel", consumer_tag=tag, nowait=True)

    def _basic_cancel(self, method: Any) -> None:
        queue = self._tags.pop(method.consumer_tag, None)
        if queue is not None:
            self._link.cease(queue)
        self._answer("Basic.CancelOk", consumer_tag=method.consumer_tag)

    def _basic_get(self, method: Any) -> Any:
        queue = self._named(method.queue)
        broker, auto_ack = self.broker, bool(method.no_ack)

        def do() -> Any:
            if queue not in self._link.parties:
                self._attend(self._party(queue, auto_ack=auto_ack, cancelled=lambda: None))
            return broker.node.get(self._link.channel, queue, auto_ack=auto_ack)

        push = do()
        if isinstance(push, Refusal):
            self._link.punish(push)
        elif push is None:
            self._answer("Basic.GetEmpty")
        else:
            broker.handed_out(push)

    def _take(self, push: Push, cause: int) -> None:
        """Send a message to the client: it was asked for, or it is pushed."""
        copy: Copy = push.copy
        self._pushes[push.tag] = (push, cause)
        fields = {
            "delivery_tag": push.tag,
            "redelivered": push.redelivered,
            "exchange": copy.exchange,
            "routing_key": copy.topic,
        }
        if push.taker is None:
            fields["message_count"] = len(push.queue.order)
            self.session.send(self.number, "Basic.GetOk", fields, copy)
            return
        for tag, queue in self._tags.items():
            if queue == push.queue.name:
                fields["consumer_tag"] = tag
                self.session.send(self.number, "Basic.Deliver", fields, copy)
                return

    def take_up(self, tag: int) -> tuple[Copy, int] | None:
        """Return a message that the client begins with now, and the event of its delivery."""
        found = self._pushes.get(tag)
        if found is None:
            return None
        push, cause = found
        if push.tag not in push.channel.unacked:
            del self._pushes[tag]
        return self._link.begin(push) or push.copy, cause

    # ---- settling

    def _basic_ack(self, method: Any) -> Any:
        return self._settle(method, "ack", requeue=False)

    def _basic_nack(self, method: Any) -> Any:
        return self._settle(method, "nack", requeue=bool(method.requeue))

    def _basic_reject(self, method: Any) -> Any:
        return self._settle(method, "reject", requeue=bool(method.requeue))

    def _settle(self, method: Any, what: Settling, *, requeue: bool) -> Any:
        scope = current_scope(f"{self.broker.name}.{what}", self.broker.world)
        note_spoken(scope, self.session.library, f"{self.broker.name}.{what}")
        tag, multiple = method.delivery_tag, bool(getattr(method, "multiple", False))
        if multiple and not tag:
            tag = max(self._link.channel.unacked, default=0)
            if not tag:
                return None
        found = self._pushes.get(tag)
        if found is None:
            self._link.drop(f"406 PRECONDITION_FAILED - unknown delivery tag {tag}")
            return None
        script = self._settling(found[0], scope, what, requeue, multiple)
        return scope.colour.drive(script, scope)

    def _settling(
        self, push: Push, scope: Scope, what: Settling, requeue: bool, multiple: bool
    ) -> Script[None]:
        yield from self._link.settling(push, scope, what, requeue=requeue, multiple=multiple)
        unacked = push.channel.unacked
        for tag in [one for one in self._pushes if one <= push.tag and one not in unacked]:
            del self._pushes[tag]
