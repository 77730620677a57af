"""Declarations, bindings, lives and streams: our machine and a running RabbitMQ, one set of words.

Each operation returns what a client is told: an answer, or the refusal with its code and text.
Two connections with channels of their own, so that exclusive queues have somebody to be locked for.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
import pika
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    NackError,
    UnroutableError,
)

from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.topology import Queue
from chaosharness.machines.machine import Refusal
from chaosharness.machines.rabbitmq.deaths import deaths_in
from chaosharness.machines.rabbitmq.declared import internal_exchange, no_exchange
from chaosharness.machines.rabbitmq.exchanges import Binding
from chaosharness.machines.rabbitmq.node import Node, Watcher
from chaosharness.machines.rabbitmq.takers import Channel, OpenQueue, Push, Taker
from chaosharness.machines.rabbitmq.versions import Version, reads_deaths
from tests.brokers.rabbitmq.sides import ADDRESS, LEFT_MS, NAMES, PREFIX, connect

QUEUES: Final = ("q0", "q1", "q2")
EXCHANGES: Final = ("x0", "x1")
CONNECTIONS: Final = (0, 0, 1)
"""The connection of each channel."""


@attrs.frozen
class Op:
    """One operation on one channel."""

    verb: str
    channel: int
    words: tuple[Any, ...] = ()


class Machine(Watcher):
    """Our side."""

    def __init__(self, version: Version) -> None:
        self.now = 0
        self.node = Node({}, version=version, clock=lambda: self.now, watcher=self)
        self.connections: list[object] = [object(), object()]
        self.channels = [self._open(at) for at in range(len(CONNECTIONS))]
        self.inbox: dict[tuple[int, str], list[Any]] = {}
        self.cancels: dict[tuple[int, str], int] = {}
        self.rounds: list[str] = []

    def _open(self, at: int) -> Channel:
        return Channel(at, self.connections[CONNECTIONS[at]])

    # ---- what the node tells

    def handed_out(self, push: Push) -> None:
        self.inbox.setdefault((push.channel.owner, push.queue.name), []).append(seen(push))

    def goes_round(self, queue: OpenQueue) -> None:
        self.rounds.append(queue.name)

    def cancelled(self, taker: Taker) -> None:
        self.cancels[taker.channel.owner, taker.queue.name] = 1

    # ---- what is asked

    def do(self, op: Op) -> Any:
        answer = getattr(self, op.verb)(op.channel, *op.words)
        if not isinstance(answer, Refusal):
            return answer
        if answer.code.startswith("5"):
            self.drop(op.channel)
        else:
            self.close(op.channel)
        return f"{answer.code} {answer.text}"

    def close(self, at: int) -> None:
        self.node.close(self.channels[at])
        self.channels[at] = self._open(at)

    def drop(self, at: int) -> None:
        connection = CONNECTIONS[at]
        for other, its in enumerate(CONNECTIONS):
            if its == connection:
                self.node.close(self.channels[other])
        self.node.disconnect(self.connections[connection])
        self.connections[connection] = object()
        for other, its in enumerate(CONNECTIONS):
            if its == connection:
                self.channels[other] = self._open(other)

    def declare(self, at: int, name: str, queue: Queue | None) -> Any:
        found = self.node.declared.queue(self.channels[at], name, queue)
        return found if isinstance(found, Refusal) else "ok"

    def delete(self, at: int, name: str, if_unused: bool, if_empty: bool) -> Any:
        answer = self.node.declared.delete(
            self.channels[at], name, if_unused=if_unused, if_empty=if_empty
        )
        return answer if isinstance(answer, Refusal) else "ok"

    def purge(self, at: int, name: str) -> Any:
        return self.node.declared.purge(self.channels[at], name)

    def exchange(
        self, at: int, name: str, kind: str, alternate: str | None, flag: str | None = None
    ) -> Any:
        flags = {flag: True} if flag else {}
        found = self.node.declared.exchange(name, kind, alternate=alternate, **flags)
        return found if isinstance(found, Refusal) else "ok"

    def delete_exchange(self, at: int, name: str, if_unused: bool) -> Any:
        return self.node.declared.delete_exchange(name, if_unused=if_unused) or "ok"

    def bind(self, at: int, add: bool, exchange: str, binding: Binding) -> Any:
        declared = self.node.declared
        act = declared.bind if add else declared.unbind
        return act(self.channels[at], exchange, binding) or "ok"

    def publish(
        self, at: int, exchange: str, key: str, headers: dict[str, Any], priority: int, body: str
    ) -> Any:
        if exchange and exchange not in self.node.declared.routes.exchanges:
            return no_exchange(exchange)
        if exchange and exchange not in self.node.declared.routes.open:
            return internal_exchange(exchange)
        names = self.node.route(exchange, key, headers)
        refusing = self.node.refusing(names)
        copy = Copy(key, None, headers, body.encode(), exchange=exchange, priority=priority)
        if reads_deaths(self.node.version):
            copy.deaths = deaths_in(headers)
        self.node.store(copy, [name for name in names if name not in refusing])
        if refusing:
            self.node.refuse(copy, refusing)
            return "nack"
        return "ok" if names else "unroutable"

    def get(self, at: int, name: str) -> Any:
        push = self.node.get(self.channels[at], name)
        return seen(push) if isinstance(push, Push) else push

    def consume(self, at: int, name: str, prefetch: int, options: dict[str, Any]) -> Any:
        if any(taker.queue.name == name for taker in self.channels[at].takers):
            return "consumes already"
        found = self.node.consume(self.channels[at], name, prefetch=prefetch, **options)
        return found if isinstance(found, Refusal) else "ok"

    def cancel(self, at: int, name: str) -> Any:
        takers = [one for one in self.channels[at].takers if one.queue.name == name]
        for taker in takers:
            self.node.cancel(taker)
        return len(takers)

    def settle(self, at: int, how: str, which: tuple[str, str]) -> Any:
        channel = self.channels[at]
        tag = next(tag for tag, push in channel.unacked.items() if identity(push) == which)
        if how == "ack":
            self.node.ack(channel, tag)
            return "ok"
        kind = "reject" if how.startswith("reject") else "nack"
        return self.node.nack(channel, tag, requeue=not how.endswith("dead"), how=kind) or "ok"

    # ---- what is seen

    def outstanding(self, at: int) -> list[tuple[str, str]]:
        return sorted(identity(push) for push in self.channels[at].unacked.values())

    def pushed(self) -> Any:
        found, self.inbox = self.inbox, {}
        return found

    def ready(self) -> dict[str, int]:
        """How much is ready in each queue; 404 where there is none. A stream says about so many."""
        queues = self.node.queues
        streams = {name for name, one in queues.items() if one.definition.kind == "stream"}
        return {
            name: len(queues[name].order) if name in queues else 404
            for name in QUEUES
            if name not in streams
        }


def identity(push: Push) -> tuple[str, str]:
    return (push.queue.name, push.copy.body.decode())


def seen(push: Push) -> Any:
    return shown(push.copy.body, push.redelivered, push.copy.headers)


def shown(body: bytes, redelivered: bool, headers: Any) -> Any:
    """What a receiver sees: body, flag, and what brokers write in headers."""
    headers = headers or {}
    deaths = [(one["queue"], one["reason"], one["count"]) for one in headers.get("x-death", ())]
    return (body.decode(), redelivered, deaths, headers.get("x-stream-offset"))


class Server:
    """The running broker."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        self.lent = connection
        self.connections = [connection, pika.BlockingConnection(ADDRESS)]
        self.prefix = f"{PREFIX}.{next(NAMES)}."
        self.channels = [self._open(at) for at in range(len(CONNECTIONS))]
        self.inbox: dict[tuple[int, str], list[Any]] = {}
        self.tags: dict[tuple[int, str, str], int] = {}
        self.consumers: dict[tuple[int, str], str] = {}
        self.cancels: dict[tuple[int, str], int] = {}

    def _open(self, at: int) -> Any:
        channel = self.connections[CONNECTIONS[at]].channel()
        channel.confirm_delivery()
        channel.add_on_cancel_callback(lambda frame: self._cancelled(at, frame))
        return channel

    def _cancelled(self, at: int, frame: Any) -> None:
        for (channel, name), tag in [*self.consumers.items()]:
            if channel == at and tag == frame.method.consumer_tag:
                self.cancels[at, name] = 1
                del self.consumers[at, name]

    def name(self, name: str) -> str:
        return f"{self.prefix}{name}" if name else ""

    def bare(self, text: str) -> str:
        return text.replace(self.prefix, "")

    def do(self, op: Op) -> Any:
        try:
            return getattr(self, op.verb)(op.channel, *op.words)
        except (ChannelClosedByBroker, ConnectionClosedByBroker) as error:
            self._reopen()
            return f"{error.reply_code} {self.bare(error.reply_text)}"

    def _reopen(self) -> None:
        for index, connection in enumerate(self.connections):
            if not connection.is_open:
                self.connections[index] = pika.BlockingConnection(ADDRESS)
        for at, channel in enumerate(self.channels):
            if not channel.is_open:
                self._forget(at)
                self.channels[at] = self._open(at)

    def _forget(self, at: int) -> None:
        self.tags = {key: tag for key, tag in self.tags.items() if key[0] != at}
        self.consumers = {key: tag for key, tag in self.consumers.items() if key[0] != at}

    def close(self, at: int) -> None:
        self.channels[at].close()
        self._reopen()

    def drop(self, at: int) -> None:
        self.connections[CONNECTIONS[at]].close()
        self._reopen()

    def barrier(self, at: int) -> None:
        """Wait until the broker has read everything sent on a channel, or has closed it."""
        self.channels[at].exchange_declare("amq.topic", "topic", passive=True)

    def declare(self, at: int, name: str, queue: Queue | None) -> Any:
        channel = self.channels[at]
        if queue is None:
            channel.queue_declare(self.name(name), passive=True)
            return "ok"
        channel.queue_declare(
            self.name(name),
            durable=queue.durable,
            exclusive=queue.exclusive,
            auto_delete=queue.auto_delete,
            arguments=self.arguments(queue),
        )
        return "ok"

    def arguments(self, queue: Queue) -> dict[str, Any]:
        letters = queue.dead_letters() or (None, None)
        found = {
            "x-queue-type": queue.kind,
            "x-dead-letter-exchange": None if letters[0] is None else self.name(letters[0]),
            "x-dead-letter-routing-key": None if letters[1] is None else self.name(letters[1]),
            "x-delivery-limit": queue.delivery_limit,
            "x-expires": None if queue.kind == "stream" else LEFT_MS,
            "x-max-length": queue.length_max,
            "x-overflow": None if queue.overflow == "drop-head" else queue.overflow,
            "x-max-priority": queue.priority_max,
        }
        return {name: value for name, value in found.items() if value is not None}

    def delete(self, at: int, name: str, if_unused: bool, if_empty: bool) -> Any:
        self.channels[at].queue_delete(self.name(name), if_unused=if_unused, if_empty=if_empty)
        return "ok"

    def purge(self, at: int, name: str) -> Any:
        return self.channels[at].queue_purge(self.name(name)).method.message_count

    def exchange(
        self, at: int, name: str, kind: str, alternate: str | None, flag: str | None = None
    ) -> Any:
        arguments = {"alternate-exchange": self.name(alternate)} if alternate else {}
        flags = {flag: True} if flag else {}
        self.channels[at].exchange_declare(self.name(name), kind, arguments=arguments, **flags)
        return "ok"

    def delete_exchange(self, at: int, name: str, if_unused: bool) -> Any:
        self.channels[at].exchange_delete(self.name(name), if_unused=if_unused)
        return "ok"

    def bind(self, at: int, add: bool, exchange: str, binding: Binding) -> Any:
        channel, name, source = self.channels[at], self.name(binding.name), self.name(exchange)
        arguments = dict(binding.headers)
        if binding.destination == "queue":
            act = channel.queue_bind if add else channel.queue_unbind
        else:
            act = channel.exchange_bind if add else channel.exchange_unbind
        act(name, source, binding.key, arguments)
        return "ok"

    def publish(
        self, at: int, exchange: str, key: str, headers: dict[str, Any], priority: int, body: str
    ) -> Any:
        properties = pika.BasicProperties(headers=self.with_names(headers), priority=priority)
        key = self.name(key) if not exchange else key
        try:
            self.channels[at].basic_publish(
                self.name(exchange), key, body.encode(), properties, mandatory=True
            )
        except UnroutableError:
            return "unroutable"
        except NackError:
            return "nack"
        return "ok"

    def with_names(self, headers: dict[str, Any]) -> dict[str, Any]:
        deaths = headers.get("x-death")
        if not deaths:
            return headers
        return {**headers, "x-death": [{**one, "queue": self.name(one["queue"])} for one in deaths]}

    def _seen(self, at: int, name: str, method: Any, properties: Any, body: bytes) -> Any:
        self.tags[at, name, body.decode()] = method.delivery_tag
        found = shown(body, method.redelivered, properties.headers)
        deaths = [(self.bare(queue), reason, count) for queue, reason, count in found[2]]
        return (found[0], found[1], deaths, found[3])

    def get(self, at: int, name: str) -> Any:
        method, properties, body = self.channels[at].basic_get(self.name(name))
        return None if method is None else self._seen(at, name, method, properties, body)

    def consume(self, at: int, name: str, prefetch: int, options: dict[str, Any]) -> Any:
        if (at, name) in self.consumers:
            return "consumes already"
        channel = self.channels[at]
        channel.basic_qos(prefetch_count=prefetch)

        def take(_: Any, method: Any, properties: Any, body: bytes) -> None:
            found = self._seen(at, name, method, properties, body)
            self.inbox.setdefault((at, name), []).append(found)

        arguments = {}
        if options.get("priority"):
            arguments["x-priority"] = options["priority"]
        if "start" in options:
            arguments["x-stream-offset"] = options["start"]
        self.consumers[at, name] = channel.basic_consume(
            self.name(name),
            take,
            exclusive=options.get("exclusive", False),
            arguments=arguments,
        )
        return "ok"

    def cancel(self, at: int, name: str) -> Any:
        tag = self.consumers.pop((at, name), None)
        if tag is None:
            return 0
        # what the client has not looked at yet would be given back by pika itself
        self.connections[CONNECTIONS[at]].process_data_events(time_limit=0)
        self.channels[at].basic_cancel(tag)
        return 1

    def settle(self, at: int, how: str, which: tuple[str, str]) -> Any:
        tag = self.tags.pop((at, *which))
        channel = self.channels[at]
        match how:
            case "ack":
                channel.basic_ack(tag)
            case "nack" | "nack dead":
                channel.basic_nack(tag, requeue=how == "nack")
            case _:
                channel.basic_reject(tag, requeue=how == "reject")
        self.barrier(at)
        return "ok"

    def pushed(self) -> Any:
        for connection in self.connections:
            connection.process_data_events(time_limit=0)
        return {key: [*found] for key, found in self.inbox.items()}

    def cancelled(self) -> Any:
        self.pushed()
        return self.cancels

    def ready(self, expected: dict[str, int], owners: dict[str, int]) -> dict[str, int]:
        found = {}
        for name in expected:
            channel = self.connections[owners.get(name, 0)].channel()
            try:
                counted = channel.queue_declare(self.name(name), passive=True)
                found[name] = counted.method.message_count
                channel.close()
            except ChannelClosedByBroker as error:
                found[name] = error.reply_code
        return found

    def drop_all(self) -> None:
        """Remove what was declared."""
        self._reopen()
        self.connections[1].close()
        channel = self.connections[0].channel()
        for name in QUEUES:
            channel.queue_delete(self.name(name))
        for name in EXCHANGES:
            channel.exchange_delete(self.name(name))
        channel.close()
        for one in self.channels:
            if one.is_open:
                one.close()
        if self.connections[0] is not self.lent:
            self.connections[0].close()


__all__ = ["AMQPError", "Machine", "Op", "Server", "connect"]
