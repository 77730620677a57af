"""Core NATS in a run: a message goes to those who listen now, at most once, and is kept nowhere.

Source:
    NATS documentation, "Core NATS", "Queue Groups", "Request-Reply": one of each queue group gets a
    message; who asks where nobody listens is told so at once.

Not modelled:
    Of a queue group the server picks somebody by chance: here they take turns. Slow consumers;
    leaf nodes, gateways and accounts. Who is cut off misses what is said meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs

from chaosharness.brokers.lane import Lane, blindly
from chaosharness.brokers.message import NO_HEADERS, POISON, Message, copied
from chaosharness.brokers.nats.asked import asks_by, expected_by, id_by, refused_by
from chaosharness.brokers.nats.rows import CORE, CORE_PUBLISH, DELIVER
from chaosharness.brokers.strikes import struck
from chaosharness.faults import Delay, LostReply, NetworkPartition, Poison
from chaosharness.handlers.port import Peer, on_behalf
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.machines.machine import Buried, HandedOut, Refusal, Settled, Stored
from chaosharness.machines.nats import NatsMachine
from chaosharness.machines.nats import operations as op
from chaosharness.machines.nats.subjects import matches

UNHEARD = "at most once: whoever was to hear it is gone"

INBOX: Final = "_INBOX."
"""How subjects begin that clients make up for answers: another one in each run."""


class Streams(Protocol):
    """JetStream at the same server, as far as it hears what is said."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def world(self) -> World:
        """The run."""

    @property
    def latency_ms(self) -> int:
        """From the server to a client."""

    @property
    def machine(self) -> NatsMachine:
        """Knows which stream keeps a subject."""

    @property
    def journal(self) -> Any:
        """Writes down what happens."""

    @property
    def do(self) -> Callable[..., Any]:
        """Have the machine do something."""


@attrs.define(eq=False)
class Listener:
    """One subscription of a client.

    Attributes:
        incarnation: Whose.
        subject: A subject, maybe with wildcards.
        queue: Its queue group, or nothing.
        operation: The site of what is delivered; nothing for a client's own inboxes.
        take: Called with what arrives, the reply subject, and the event of its delivery.
        listens: Says whether it still does.
    """

    incarnation: Incarnation
    subject: str
    queue: str
    operation: str
    take: Callable[[Message, str, int], None]
    listens: Callable[[], bool]

    @property
    def label(self) -> str:
        """The incarnation, as events name it."""
        return self.incarnation.label

    @property
    def place(self) -> str:
        """What reports call where it hears: its queue group, or itself."""
        return f"{self.subject}:{self.queue or self.label}"


class Core:
    """Who listens at one server, and what is said there.

    Args:
        desk: JetStream at the same server.
    """

    def __init__(self, desk: Streams) -> None:
        self._desk = desk
        self._listeners: list[Listener] = []
        self._turns: dict[str, int] = {}

    def join(self, listener: Listener) -> None:
        """Let somebody listen."""
        self._listeners.append(listener)

    def leave(self, listener: Listener) -> None:
        """Let somebody listen no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def ask(self, subject: str) -> Script[bool]:
        """Say whether anybody hears a subject when a question arrives."""
        yield self._desk.latency_ms
        return self.hears(subject)

    def keeps(self, subject: str) -> bool:
        """Say whether a stream keeps a subject."""
        return self._desk.machine.keeper(subject) is not None

    def hears(self, subject: str) -> bool:
        """Say whether anybody listens to a subject, or a stream keeps it."""
        return self.keeps(subject) or any(
            matches(one.subject, subject) and one.listens() for one in self._listeners
        )

    # ---- saying

    def publish(
        self, lane: Lane, scope: Scope, site: str, message: Message, reply: str, peer: Peer
    ) -> Any:
        """Say something, and ask for no answer.

        Args:
            lane: Of the client's connection.
            scope: Who says it.
            site: Where faults may strike, as services name it.
            message: What.
            reply: Where an answer is heard, if one is wanted.
            peer: The server as this client sees it.
        """
        world = self._desk.world
        operation = f"{scope.place}/{site}"
        attempt = world.reach(operation, scope.entity, scope.message)
        if operation not in world.surfaces:
            world.meet(operation, CORE_PUBLISH)
        draft = (message, reply, scope.message)

        def script() -> Script[None]:
            yield self._desk.latency_ms  # who listens when it has arrived hears it
            yield from blindly(lane, scope, operation, attempt, self._said, draft, peer)

        return scope.colour.drive(on_behalf(scope, scope.entity, scope.message, script()), scope)

    def _said(self, scope: Scope, operation: str, attempt: int, draft: Any) -> None:
        message, reply, in_hand = draft
        world = self._desk.world
        message.name = world.publications.name(operation, message.entity, in_hand, message.body)
        for fault in scope.struck:
            if isinstance(fault, Poison):
                self._poison(scope, message, fault)
        self._send(scope, operation, attempt, message, reply)

    def _poison(self, scope: Scope, message: Message, fault: Poison) -> None:
        """Say what nobody can read just ahead of another message."""
        body = POISON[fault.content]
        poison = Message(message.topic, None, NO_HEADERS, body, 0, message.hops)
        poison.name = self._desk.world.publications.poison_at(message.name)
        own, scope.entity = scope.entity, 0
        self._send(scope, "", 0, poison, "")
        scope.entity = own

    def _send(
        self, scope: Scope, operation: str, attempt: int, message: Message, reply: str
    ) -> None:
        """Have the streams keep it that keep its subject, and all hear it who listen."""
        desk = self._desk
        if self.keeps(message.topic) and refused_by(message.headers) is None:
            said, body = message.headers, message.body or b""
            store = op.Publish(
                message.topic, body, message, id_by(said), expected_by(said), asks_by(said)
            )
            if not isinstance(desk.do(store, scope, operation, attempt), Refusal):
                self.spread(message, reply)
                return
        hearers = self._hearers(message.topic)
        places = tuple(one.place for one in hearers if one.operation)
        desk.journal.write(Stored(message, message.topic, places), scope, operation, attempt)
        if message.topic.startswith(INBOX):
            desk.world.raw[message.published][-1]["made_up"] = True
        elif operation and not reply:
            desk.world.raw[message.published][-1]["lossy"] = True  # nobody is counted on to hear it
        self._hand_on(hearers, message, reply)

    def spread(self, message: Message, reply: str = "") -> None:
        """Have those hear what a stream has kept who listen to it."""
        if self._listeners:
            self._hand_on(self._hearers(message.topic), message, reply)

    def _hearers(self, subject: str) -> list[Listener]:
        """Return who hears a subject: all that listen, and one of each queue group."""
        found: list[Listener] = []
        groups: dict[str, list[Listener]] = {}
        for one in self._listeners:
            if not matches(one.subject, subject) or not one.listens():
                continue
            if one.queue:
                groups.setdefault(one.queue, []).append(one)
            else:
                found.append(one)
        for queue, members in groups.items():
            turn = self._turns.get(queue, 0)
            self._turns[queue] = turn + 1
            found.append(members[turn % len(members)])
        return found

    # ---- hearing

    def _hand_on(self, hearers: list[Listener], message: Message, reply: str) -> None:
        world, latency_ms = self._desk.world, self._desk.latency_ms
        for one in hearers:
            world.after(latency_ms, self._arrives, (one, copied(message), reply, 0))

    def _arrives(self, arriving: Any) -> None:
        """Hand a message to one who listens, if it is still there."""
        listener, message, reply, attempt = arriving
        world = self._desk.world
        if not listener.operation:
            if listener.listens() and not self._is_cut(listener):
                listener.take(message, reply, -1)
            return
        operation = listener.operation
        if operation not in world.surfaces:
            world.meet(operation, DELIVER[CORE])
        if not attempt:
            attempt = world.reach(operation, message.entity, message.name)
            if operation in world.armed:
                due_ms = self._disturbed(listener, message, attempt)
                if due_ms > world.now:
                    again = (listener, message, reply, attempt)
                    world.after(due_ms - world.now, self._arrives, again)
                    return
        if not listener.listens() or self._is_cut(listener):
            self._desk.journal.write(Buried(message, listener.place, None, UNHEARD))
            return
        self._hand_out(listener, message, reply, attempt)

    def _hand_out(self, listener: Listener, message: Message, reply: str, attempt: int) -> None:
        world, journal = self._desk.world, self._desk.journal
        fact = HandedOut(message, listener.place, listener, 1, False, None)
        cause = journal.handed_out(fact, listener.operation, attempt)
        journal.write(Settled(message, listener.place, listener))
        lost = any(
            isinstance(fault, LostReply)
            for fault in struck(
                world, self._desk.name, listener.operation, "after", message, attempt, cause
            )
        )
        if lost:
            world.raw[cause][7]["lost"] = True
            return
        listener.take(message, reply, cause)

    def _disturbed(self, listener: Listener, message: Message, attempt: int) -> int:
        """Let the faults before a delivery strike; return when it arrives."""
        world, name = self._desk.world, self._desk.name
        due_ms = world.now
        for fault in struck(
            world, name, listener.operation, "before", message, attempt, message.published
        ):
            if isinstance(fault, Delay):
                due_ms = max(due_ms, world.due(fault.lasting))
            elif isinstance(fault, NetworkPartition):
                world.part(listener.incarnation.service, name, fault.way, fault.lasting)
        return due_ms

    def _is_cut(self, listener: Listener) -> bool:
        unreachable = self._desk.world.unreachable
        pair = (listener.incarnation.service, self._desk.name)
        return bool(unreachable) and (pair in unreachable or pair[::-1] in unreachable)
