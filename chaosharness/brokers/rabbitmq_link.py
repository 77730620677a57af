"""A consumer's connection to RabbitMQ: its channel, what is on its way, and how it is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

from chaosharness.brokers.rabbitmq_copies import Copy
from chaosharness.brokers.rabbitmq_queues import Channel, Push, Return
from chaosharness.faults import Crash, Delay, LostRequest, NetworkPartition, Pause, Redeliver
from chaosharness.handlers.port import Surface, strikes, surface, trouble
from chaosharness.handlers.script import Script
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.site import Phase
from chaosharness.kernel.world import BACKGROUND

if TYPE_CHECKING:
    from chaosharness.brokers.rabbitmq import OpenRabbitMQ

DELIVER: Final = surface(before=(Delay, NetworkPartition), after=(Redeliver,))
DELIVER_AUTO: Final = surface(before=(Delay, NetworkPartition))
SETTLE: Final = Surface(
    before=(LostRequest, Crash, Pause),
    after=(Crash, Pause),
    searched_before=(LostRequest,),
    searched_after=(Crash,),
)

Settling = Literal["ack", "nack", "reject"]


def _take_nothing(push: Push, cause: int) -> None:
    """Be given a message when the run is over."""


def _lose_nothing() -> None:
    """Lose a connection when the run is over."""


class Link:
    """One connection with one channel, of one consumer of one incarnation.

    Args:
        broker: The broker at the other end.
        incarnation: Whose connection it is.
        queues: What is consumed on it.
        service: Who consumes, as sites name it.
        prefetch: Unacknowledged messages at most, per queue; 0 for no limit.
        auto_ack: Whether the broker takes a message as acknowledged once it is sent.
        take: Called with each message that arrives, and the event of its delivery.
        lost: Called when the connection is lost, so that the consumer comes back later.
    """

    def __init__(
        self,
        broker: OpenRabbitMQ,
        incarnation: Incarnation,
        queues: tuple[str, ...],
        service: str,
        *,
        prefetch: int,
        auto_ack: bool,
        take: Callable[[Push, int], None],
        lost: Callable[[], None],
    ) -> None:
        self.broker = broker
        self.world = broker.world
        self.incarnation = incarnation
        self.queues = queues
        self.prefetch = prefetch
        self.auto_ack = auto_ack
        self.operations = {queue: f"{broker.name}.{queue}/deliver to {service}" for queue in queues}
        self.channel = Channel(self)
        self._consuming = False
        self._cut_off = self._cut()
        self._heartbeat: Entry | None = None
        if self._cut_off:
            self.channel.closed_because = "not connected yet"
        self._doomed: Push | None = None
        self._holds = 0
        self._lost = lost
        self._take = take
        self._transit: deque[tuple[int, Push, int]] = deque()
        self._unsent: list[Callable[[], object]] = []
        self._watched = False
        incarnation.on_death.append(self._died)
        broker.links.append(self)

    # ---- coming and going

    @property
    def is_open(self) -> bool:
        """Whether the channel can be used, as far as the broker knows."""
        return not self.channel.closed_because

    def consume(self) -> None:
        """Have messages pushed from now on, or as soon as there is a connection."""
        self._consuming = True
        if not self.is_open:
            return
        for queue in self.queues:
            self.broker.node.consume(
                self.channel, queue, prefetch=self.prefetch, auto_ack=self.auto_ack
            )

    def reopen(self) -> bool:
        """Connect anew after a loss; say whether that worked: not while the network is cut."""
        if self.is_open:
            return True
        if self._cut():
            return False
        self.world.effects += 1
        self.channel = Channel(self)
        if self._consuming:
            self.consume()
        return True

    def drop(self, why: str, how: Return = "closed") -> None:
        """Lose the connection, or the channel: what is unacknowledged is requeued."""
        if not self.is_open:
            return
        self._close(why, how)
        self.world.after(0, self._tell)

    def _tell(self, _: Any) -> None:
        if self.incarnation.alive and not self.is_open:
            self._lost()

    def _close(self, why: str, how: Return = "closed") -> None:
        self._transit.clear()
        self._unsent.clear()
        world = self.world
        world.effects += 1
        for push in self.channel.unacked.values():
            self._returned(push, why)
        self.broker.node.close(self.channel, why, how)

    def _returned(self, push: Push, why: str) -> None:
        copy = push.copy
        data = {"message": copy.published, "from": self.incarnation.label, "why": why}
        self.world.record(
            "nack", self.broker.name, entity=copy.entity, cause=copy.published, data=data
        )

    def _died(self) -> None:
        """The operating system resets the connection at once, unless nobody hears it."""
        if self.is_open and not self._cut():
            self._close("connection reset")

    def forget(self) -> None:
        """Let go of everything, at the end of a run."""
        self.channel.owner = None
        self._transit.clear()
        self._unsent.clear()
        self._take = _take_nothing
        self._lost = _lose_nothing

    # ---- messages on their way

    def send(self, push: Push, cause: int) -> None:
        """Send a message to the consumer."""
        world = self.world
        due_ms = world.now + self.broker.definition.latency_ms
        self._transit.append((due_ms, push, cause))
        world.agenda.add(due_ms, self._arrive)
        if not (self._watched or self.auto_ack):
            self._watch(push)

    def _arrive(self, _: Any) -> None:
        transit = self._transit
        while transit and not self._holds and transit[0][0] <= self.world.now:
            if self._cut("back") or not self.incarnation.alive:
                return
            _, push, cause = transit.popleft()
            self._take(push, cause)

    def begin(self, push: Push) -> Copy | None:
        """Return what the consumer sees of a message that it begins to handle now.

        Nothing if the message is not its own any more: its connection was lost meanwhile.
        """
        if push.channel.closed_because:
            return None
        if push is not self._doomed:
            return push.copy
        self._doomed = None
        seen = push.copy.twin()
        seen.redelivered = push.redelivered
        self.drop("connection lost")
        return seen

    # ---- trouble

    def suffer(self, push: Push, operation: str, attempt: int, phase: Phase) -> None:
        """Let the faults of a delivery strike."""
        world = self.world
        copy = push.copy
        for fault in world.strikes(operation, phase, copy.entity, attempt):
            world.record(
                "fault",
                self.broker.name,
                operation=operation,
                entity=copy.entity,
                attempt=attempt,
                cause=copy.published,
                data={"fault": str(fault)},
            )
            match fault:
                case Delay():
                    self._hold(world.due(fault.lasting))
                case NetworkPartition():
                    service = self.incarnation.service
                    world.part(service, self.broker.name, fault.way, fault.lasting)
                case Redeliver():
                    self._doomed = push

    def _hold(self, due_ms: int) -> None:
        """Keep back everything on its way, until a moment or the calm."""
        self._holds += 1
        released = False

        def release(_: Any = None) -> None:
            nonlocal released
            if not released:
                released = True
                self._holds -= 1
                self.world.after(0, self._arrive)

        self.world.agenda.add(due_ms, release)
        self.world.at_calm(release)

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
            self._heartbeat = world.after(self.broker.definition.heartbeat_ms, self._missed)
            return
        if self._heartbeat is not None:
            world.agenda.cancel(self._heartbeat)
            self._heartbeat = None
        world.after(0, self._healed)

    def _missed(self, _: Any) -> None:
        self.drop("missed heartbeats")

    def _healed(self, _: Any) -> None:
        if self._cut():
            return
        if not self.incarnation.alive:
            if self.is_open:
                self._close("connection reset")
            return
        if not self.is_open:
            self._tell(None)
            return
        unsent, self._unsent = self._unsent, []
        for settle in unsent:
            settle()
        self._arrive(None)

    # ---- the consumer timeout

    def _watch(self, push: Push) -> None:
        definition = self.broker.definition
        if definition.version == "4.3" and push.queue.definition.kind == "classic":
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
        self, push: Push, scope: Scope, what: Settling, *, requeue: bool, multiple: bool = False
    ) -> Script[bool]:
        """Acknowledge or give back, with the faults of that site.

        False if it was void from the beginning, because the channel was closed by then:
        nobody answers an acknowledgement, so one that gets lost now is not noticed.
        """
        operation = f"{scope.place}/{self.broker.name}.{what}"
        attempt = self.world.reach(operation, scope.entity)
        if operation not in self.world.surfaces:
            self.world.meet(operation, SETTLE)

        def arrive() -> bool:
            return self._settle(push, scope, what, operation, attempt, requeue, multiple)

        if operation not in self.world.armed and not self.world.unreachable:
            return arrive()
        lost = False
        for fault in strikes(scope, operation, "before", attempt):
            if isinstance(fault, LostRequest):
                lost = True
                self.drop("connection lost")
            else:
                yield from trouble(scope, fault, self.broker)
        if self._cut("out") and self.is_open:
            self._unsent.append(arrive)
            return True
        done = arrive() or lost
        for fault in strikes(scope, operation, "after", attempt):
            yield from trouble(scope, fault, self.broker)
        return done

    def _settle(
        self,
        push: Push,
        scope: Scope,
        what: Settling,
        operation: str,
        attempt: int,
        requeue: bool,
        multiple: bool,
    ) -> bool:
        """Have the broker settle a message, if it still takes the channel's word for it."""
        channel = push.channel
        node = self.broker.node
        data: dict[str, Any] = {"message": push.copy.published}
        if channel.closed_because:
            data["error"] = f"void: {channel.closed_because}"
            scope.record("nack", operation, attempt, data)
            return False
        if push.tag not in channel.unacked:
            data["error"] = f"406 PRECONDITION_FAILED - unknown delivery tag {push.tag}"
            scope.record("nack", operation, attempt, data)
            self.drop(data["error"])
            return False
        self.world.effects += 1
        for tag, other in channel.unacked.items():
            if tag == push.tag or (multiple and tag < push.tag):
                data = {"message": other.copy.published}
                if what != "ack":
                    data["requeue"] = requeue
                scope.record("ack" if what == "ack" else "nack", operation, attempt, data)
        if what == "ack":
            node.ack(channel, push.tag, multiple=multiple)
        else:
            node.nack(channel, push.tag, multiple=multiple, requeue=requeue, how=what)
        return True
