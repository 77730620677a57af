"""A consumer's connection to RabbitMQ: its channel, what is on its way, and how it is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Literal

from chaosharness.brokers.events import came_back, given_back, not_settled, settled
from chaosharness.brokers.rabbitmq.connection import Connection, Server
from chaosharness.brokers.rabbitmq.copies import Copy
from chaosharness.brokers.rabbitmq.party import Party
from chaosharness.brokers.rabbitmq.rows import SETTLE, widened
from chaosharness.brokers.strikes import struck
from chaosharness.faults import (
    BrokerRestart,
    ConsumerCancel,
    Delay,
    Fault,
    LostRequest,
    NetworkPartition,
    Redeliver,
)
from chaosharness.handlers.port import strikes, trouble
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.site import Phase
from chaosharness.kernel.world import BACKGROUND
from chaosharness.machines.machine import Refusal
from chaosharness.machines.rabbitmq.takers import Channel, Push, Taker
from chaosharness.machines.rabbitmq.versions import Return, has_consumer_timeout

Settling = Literal["ack", "nack", "reject"]


class Link:
    """One channel of one incarnation, with the consumers on it.

    Args:
        broker: The broker at the other end.
        incarnation: Whose channel it is.
        connection: What it is part of, and lost with.
    """

    _heartbeat: Entry | None = None
    _fated: tuple[Push, Fault] | None = None
    _holds = 0
    _watched = False

    def __init__(self, broker: Server, incarnation: Incarnation, connection: Connection) -> None:
        self.broker = broker
        self.world = broker.world
        self.incarnation = incarnation
        self.connection = connection
        self._latency_ms = broker.definition.latency_ms
        self.parties: dict[str, Party] = {}
        self.channel = Channel(self, connection)
        self._consuming: list[Party] = []
        self._cut_off = self._cut()
        if self._cut_off:
            self.channel.closed_because = "not connected yet"
        self._lost: list[Callable[[], None]] = []
        self._transit: deque[tuple[int, Push, int]] = deque()
        self._unsent: list[Settlement] = []
        incarnation.on_death.append(self._died)
        broker.links.append(self)
        connection.links.append(self)

    def attend(self, parties: Iterable[Party], lost: Callable[[], None]) -> None:
        """Add consumers; `lost` is called when the channel is lost, so that they come back."""
        for party in parties:
            if party.queue in self.parties:
                raise ValueError(f"its channel has a consumer of {party.queue!r} already")
            self.parties[party.queue] = party
        self._lost.append(lost)

    def party_of(self, push: Push) -> Party:
        """Return whom a message is for."""
        return self.parties[push.queue.name]

    # ---- coming and going

    @property
    def is_open(self) -> bool:
        """Whether the channel can be used, as far as the broker knows."""
        return not self.channel.closed_because

    def consume(self, *queues: str) -> None:
        """Have messages of these queues pushed from now on, or once there is a connection."""
        parties = [self.parties[queue] for queue in queues]
        self._consuming += [party for party in parties if party not in self._consuming]
        if self.is_open:
            self._begin(parties)

    def _begin(self, parties: Iterable[Party]) -> None:
        """Declare what is missing, as clients do, and consume; a refusal closes the channel."""
        node = self.broker.node
        for party in [*parties]:
            if not self.is_open:
                return
            answer: object = node.declared.ensure(self.channel, party.queue)
            if not isinstance(answer, Refusal):
                answer = node.consume(
                    self.channel,
                    party.queue,
                    prefetch=party.prefetch,
                    auto_ack=party.auto_ack,
                    priority=party.priority,
                    exclusive=party.exclusive,
                    start=party.start,
                )
            if isinstance(answer, Refusal):
                self._refuse(answer)

    def _refuse(self, answer: Refusal) -> None:
        """Have the channel closed because of what was asked on it, until that may have changed."""
        self._close(f"{answer.code} {answer.text}")
        self.broker.wait_for_change(self)

    def punish(self, answer: Refusal) -> None:
        """Close the channel because of what was asked on it, or (5xx) its whole connection."""
        why = f"{answer.code} {answer.text}"
        if answer.code.startswith("5"):
            self.connection.drop(why)
        else:
            self.drop(why)

    def cease(self, queue: str) -> None:
        """Consume from a queue no longer. What is in hand of it stays so."""
        party = self.parties[queue]
        if party not in self._consuming:
            return
        self._consuming.remove(party)
        for taker in [*self.channel.takers]:
            if taker.queue.name == queue:
                self.broker.node.cancel(taker)

    def cancelled(self, taker: Taker) -> None:
        """Learn that the broker has cancelled a consumer. What it has in hand stays so."""
        party = self.parties[taker.queue.name]
        if party in self._consuming:
            self._consuming.remove(party)
            self.world.effects += 1
            if self.incarnation.alive:
                self.world.after(self.broker.definition.latency_ms, self._pass_on, party)

    def _pass_on(self, party: Party) -> None:
        if self.incarnation.alive and party not in self._consuming:
            party.cancelled()

    def reopen(self) -> bool:
        """Connect anew after a loss; say whether that worked: not while the network is cut."""
        if self.is_open:
            return True
        if self._cut() or self.broker.is_down:
            return False
        self.world.effects += 1
        self.channel = Channel(self, self.connection)
        self._begin(self._consuming)
        return self.is_open

    def drop(self, why: str, how: Return = "closed") -> None:
        """Lose the connection, or the channel: what is unacknowledged is requeued."""
        if not self.is_open:
            return
        self.world.effects += 1
        self._close(why, how)
        self.world.after(0, self.come_back)

    def shut(self, why: str) -> None:
        """Close the channel because its client says so: nobody comes back."""
        self._lost.clear()
        if self.is_open:
            self._close(why)

    def come_back(self, _: Any) -> None:
        """Have its consumers come back, each when it can."""
        if self.incarnation.alive and not self.is_open:
            for lost in [*self._lost]:
                lost()

    def _close(self, why: str, how: Return = "closed") -> None:
        self._transit.clear()
        self._unsent.clear()
        for push in self.channel.unacked.values():
            self.world.effects += 1
            self._returned(push, why)
        self.broker.node.close(self.channel, why, how)
        self.broker.changed()

    def _returned(self, push: Push, why: str) -> None:
        came_back(self.world, self.broker.name, push.copy, self.incarnation.label, why)

    def _died(self) -> None:
        """The operating system resets the connection at once, unless nobody hears it."""
        if self.is_open and not self._cut():
            if not self.incarnation.unheard:
                self._end("connection reset")
            elif self.connection.lost_ms:
                self.world.after(self.connection.lost_ms, self._given_up)

    def _given_up(self, _: Any) -> None:
        self._end("missed heartbeats")

    def _end(self, why: str) -> None:
        """Close the channel of an incarnation that has died, and its connection with the last."""
        if self.is_open:
            self._close(why)
        if not any(link.is_open for link in self.connection.links):
            self.broker.node.disconnect(self.connection)

    def forget(self) -> None:
        """Let go of everything, at the end of a run."""
        self.channel.forget()
        self._transit.clear()
        self._unsent.clear()
        self._consuming.clear()
        self._lost.clear()
        for party in self.parties.values():
            party.forget()
        self.connection.forget()

    # ---- messages on their way

    def send(self, push: Push, cause: int) -> None:
        """Send a message to the consumer."""
        world, transit = self.world, self._transit
        due_ms = world.now + self._latency_ms
        world.agenda.add(due_ms, self._arrive)
        transit.append((due_ms, push, cause))
        if not (self._watched or self.party_of(push).auto_ack):
            self._watch(push)

    def _arrive(self, _: Any) -> None:
        transit, world, incarnation = self._transit, self.world, self.incarnation
        while transit and not self._holds and transit[0][0] <= world.now:
            if (world.unreachable and self._cut("back")) or not incarnation.alive:
                return
            _, push, cause = transit.popleft()
            world.effects += 1  # however late it comes, its consumer has all its time from now
            self.parties[push.queue.name].take(push, cause)

    def begin(self, push: Push) -> Copy | None:
        """Return what the consumer sees of a message that it begins to handle now.

        Nothing if the message is not its own any more: its connection was lost meanwhile.
        """
        if push.channel.closed_because:
            return None
        if self._fated is None or push is not self._fated[0]:
            return push.copy  # type: ignore[no-any-return]
        (_, fault), self._fated = self._fated, None
        if isinstance(fault, ConsumerCancel):
            if push.taker in push.channel.takers:
                self.broker.node.cancel(push.taker)
                self.cancelled(push.taker)
            return push.copy  # type: ignore[no-any-return]
        seen: Copy = push.copy.twin()
        seen.redelivered = push.redelivered
        if isinstance(fault, BrokerRestart):
            self.broker.restart(fault.down)
        else:
            self.connection.drop("connection lost")
        return seen

    # ---- trouble

    def suffer(self, push: Push, operation: str, attempt: int, phase: Phase) -> None:
        """Let the faults of a delivery strike."""
        world = self.world
        copy = push.copy
        cause = copy.published
        for fault in struck(world, self.broker.name, operation, phase, copy, attempt, cause):
            match fault:
                case Delay():
                    self._hold(world.due(fault.lasting))
                case NetworkPartition():
                    service = self.incarnation.service
                    world.part(service, self.broker.name, fault.way, fault.lasting)
                case Redeliver() | BrokerRestart() | ConsumerCancel():
                    self._fated = (push, fault)

    def _hold(self, due_ms: int) -> None:
        """Keep back everything on its way, until a moment or the calm."""
        self._holds += 1

        def release(_: Any) -> None:
            self._holds -= 1
            self.world.after(0, self._arrive)

        self.world.until(due_ms, release)

    def _cut(self, way: Literal["both", "out", "back"] = "both") -> bool:
        """Say whether what consumer or broker send each other (`out`, `back`) gets lost."""
        unreachable = self.world.unreachable
        if not unreachable:
            return False
        pair = (self.incarnation.service, self.broker.name)
        return (way != "back" and pair in unreachable) or (
            way != "out" and pair[::-1] in unreachable
        )

    def network_changed(self) -> None:
        """Begin to miss heartbeats, or catch up with what was held up."""
        world = self.world
        cut = self._cut()
        if cut == self._cut_off:
            return
        self._cut_off = cut
        if cut:
            if lost_ms := self.connection.lost_ms:
                self._heartbeat = world.after(lost_ms, self._missed)
            return
        if self._heartbeat is not None:
            world.agenda.cancel(self._heartbeat)
            self._heartbeat = None
        world.after(0, self._healed)

    def _missed(self, _: Any) -> None:
        self.connection.drop("missed heartbeats")

    def _healed(self, _: Any) -> None:
        if self._cut():
            return
        if not self.incarnation.alive:
            if not self.incarnation.unheard:
                self._end("connection reset")
            return
        if not self.is_open:
            self.come_back(None)
            return
        self.read_again()
        self._arrive(None)

    def read_again(self) -> None:
        """Have the broker read what could not get to it."""
        unsent, self._unsent = self._unsent, []
        for one in unsent:
            self._arrived(one)

    # ---- the consumer timeout

    def _watch(self, push: Push) -> None:
        definition = self.broker.definition
        if not has_consumer_timeout(push.queue.definition.kind, definition.version):
            return
        self._watched = True
        due_ms = push.at_ms + definition.consumer_timeout_ms
        self.world.agenda.add(due_ms, self._check_timeout, None, BACKGROUND)

    def _check_timeout(self, _: Any) -> None:
        """Close a channel that has had a message for too long."""
        self._watched = False
        oldest = next(iter(self.channel.unacked.values()), None)
        if oldest is None or not self.incarnation.alive:
            return
        if self.world.now - oldest.at_ms >= self.broker.definition.consumer_timeout_ms:
            self.drop("406 PRECONDITION_FAILED - delivery acknowledgement timed out", "timeout")
        else:
            self._watch(oldest)

    # ---- settling

    def settle(
        self,
        push: Push,
        scope: Scope,
        what: Settling,
        then: Callable[[bool], None],
        *,
        requeue: bool,
    ) -> None:
        """Acknowledge or give back after a handler; then call `then(whether it counted)`."""
        world, channel = self.world, push.channel
        operation, attempt = self._reach(scope, what)
        calm = operation not in world.armed and not world.unreachable
        calm = calm and not self.connection.blocked
        if calm and what == "ack" and not channel.closed_because and push.tag in channel.unacked:
            world.effects += 1  # as `_arrived` does it: nearly all come by here
            settled(scope, operation, attempt, push.copy.published)
            self.broker.node.ack(channel, push.tag)
            then(True)
            return
        one = Settlement(push, scope, operation, attempt, what, requeue)
        if calm:
            then(self._arrived(one))
        else:
            drive_in_kernel(self._careful(one), world, then)

    def _reach(self, scope: Scope, what: Settling) -> tuple[str, int]:
        """Come to the site of a settlement; return its operation, and which time it is."""
        world = self.world
        operation = f"{scope.place}/{self.broker.name}.{what}"
        place = (operation, scope.entity, scope.message)
        world.counts[place] = attempt = world.counts.get(place, 0) + 1
        if operation not in world.surfaces:
            world.meet(operation, widened(SETTLE, self.broker.definition.searched))
        return operation, attempt

    def settling(
        self, push: Push, scope: Scope, what: Settling, *, requeue: bool, multiple: bool
    ) -> Script[bool]:
        """Acknowledge or give back in a main loop.

        False if it was void from the beginning, because the channel was closed by then:
        nobody answers an acknowledgement, so one that gets lost now is not noticed.
        """
        one = Settlement(push, scope, *self._reach(scope, what), what, requeue, multiple)
        return (yield from self._careful(one))

    def _careful(self, one: Settlement) -> Script[bool]:
        """Settle at a site where faults may strike, or while the network is cut."""
        scope, operation, attempt = one.scope, one.operation, one.attempt
        lost = False
        for fault in strikes(scope, operation, "before", attempt):
            if isinstance(fault, LostRequest):
                lost = True
                self.connection.drop("connection lost")
            else:
                yield from trouble(scope, fault, self.broker)
        if (self.connection.blocked or self._cut("out")) and self.is_open:
            self._unsent.append(one)
            return True
        done = self._arrived(one) or lost
        for fault in strikes(scope, operation, "after", attempt):
            yield from trouble(scope, fault, self.broker)
        return done

    def _arrived(self, one: Settlement) -> bool:
        """Have the broker settle a message, if it still takes the channel's word for it."""
        push, what = one.push, one.what
        channel = push.channel
        if channel.closed_because:
            one.is_void(f"void: {channel.closed_because}")
            return False
        if channel is not self.channel:  # a tag is of its channel: here it is another message's
            channel = self.channel
            push = one.push = channel.unacked.get(push.tag, push)
        if push.tag not in channel.unacked:
            error = f"406 PRECONDITION_FAILED - unknown delivery tag {push.tag}"
            one.is_void(error)
            self.drop(error)
            return False
        node = self.broker.node
        self.world.effects += 1
        pushes = [push]
        if one.multiple:
            pushes = [other for tag, other in channel.unacked.items() if tag <= push.tag]
        if what != "ack" and push.queue.definition.kind == "stream":
            answer = node.nack(channel, push.tag)
            assert answer is not None
            one.is_void(str(answer))
            self.punish(answer)
            return False
        if what == "ack":
            for other in pushes:
                settled(one.scope, one.operation, one.attempt, other.copy.published)
            node.ack(channel, push.tag, multiple=one.multiple)
        else:
            for other in pushes:
                which, requeue = other.copy.published, one.requeue
                given_back(one.scope, one.operation, one.attempt, which, requeue=requeue)
            node.nack(channel, push.tag, multiple=one.multiple, requeue=one.requeue, how=what)
        return True


class Settlement:
    """An acknowledgement or its opposite, at its site."""

    __slots__ = ("attempt", "multiple", "operation", "push", "requeue", "scope", "what")

    def __init__(
        self,
        push: Push,
        scope: Scope,
        operation: str,
        attempt: int,
        what: Settling,
        requeue: bool,
        multiple: bool = False,
    ) -> None:
        self.push = push
        self.scope = scope
        self.what = what
        self.requeue = requeue
        self.multiple = multiple
        self.operation = operation
        self.attempt = attempt

    def is_void(self, error: str) -> None:
        """Write that it was in vain."""
        not_settled(self.scope, self.operation, self.attempt, error, self.push.copy.published)
