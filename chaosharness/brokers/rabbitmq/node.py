"""What a RabbitMQ node keeps and decides: queues, channels, who gets which message next.

Plain operations on plain state: no faults, no network, no agenda; the time is asked from
whoever drives it. `OpenRabbitMQ` drives it in a run, and the conformance tests drive it
side by side with a real broker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from chaosharness.brokers.rabbitmq.copies import Copy, Reason, dead_letter, is_cycle
from chaosharness.brokers.rabbitmq.queues import (
    Channel,
    OpenQueue,
    Push,
    Return,
    Taker,
    counts,
)
from chaosharness.brokers.rabbitmq.topology import Exchange, Queue, Version


class Watcher:
    """What a node tells whoever drives it. By itself it does nothing with it."""

    def handed_out(self, push: Push) -> None:
        """Learn of a delivery to a consumer: the message is on its way to it."""

    def died(
        self, copy: Copy, queue: OpenQueue, reason: Reason, letter: Copy | None, names: list[str]
    ) -> None:
        """Learn of a dead letter: dropped (`letter` None), or sent on to these queues."""

    def expires(self, queue: OpenQueue, at_ms: int) -> None:
        """Learn that the head of a queue expires then: call `expire` at that time."""


class Node:
    """Queues, exchanges and channels."""

    def __init__(
        self,
        queues: Mapping[str, Queue],
        exchanges: Mapping[str, Exchange],
        *,
        version: Version,
        clock: Callable[[], int],
        watcher: Watcher,
    ) -> None:
        self.version: Version = version
        self.queues = {name: OpenQueue(name, queue, version) for name, queue in queues.items()}
        self.exchanges = exchanges
        self._clock = clock
        self._watcher = watcher
        self._routes: dict[tuple[str, str], tuple[str, ...]] = {}

    def forget(self) -> None:
        """Let go of everything, at the end of a run."""
        self._watcher = Watcher()
        for queue in self.queues.values():
            queue.takers.forget()
        self.queues.clear()

    # ---- publishing

    def route(self, exchange: str, key: str) -> tuple[str, ...]:
        """Return the queues that a routing key leads to; none means the message is dropped."""
        found = self._routes.get((exchange, key))
        if found is None:
            if exchange:
                found = self.exchanges[exchange].route(key)
            else:
                found = (key,) if key in self.queues else ()
            self._routes[exchange, key] = found
        return found

    def refusing(self, names: Iterable[str]) -> list[str]:
        """Return those of the queues that are full and refuse new messages."""
        return [name for name in names if self._refuses(self.queues[name])]

    def _refuses(self, queue: OpenQueue) -> bool:
        definition = queue.definition
        if definition.length_max is None or definition.overflow == "drop-head":
            return False
        if definition.kind == "classic":
            return len(queue.order) >= definition.length_max
        return queue.full

    def store(self, copy: Copy, names: Iterable[str]) -> None:
        """Put a message into queues, and hand out what can be handed out."""
        for index, name in enumerate(names):
            self._enqueue(self.queues[name], copy.twin() if index else copy)

    def _enqueue(self, queue: OpenQueue, copy: Copy) -> None:
        definition = queue.definition
        if copy.expiration_ms is not None or definition.ttl_ms is not None:
            ttl_ms = min(ms for ms in (copy.expiration_ms, definition.ttl_ms) if ms is not None)
            copy.expires_ms = self._clock() + ttl_ms
            self.expire(queue)
        queue.order.append(copy)
        self._hand_out(queue)
        if definition.length_max is not None:
            self._trim(queue)
        if copy.expires_ms is not None:
            self.expire(queue)

    def _trim(self, queue: OpenQueue) -> None:
        """Make room at the head of a queue that is too long, or note that it is full."""
        length_max = queue.definition.length_max
        if length_max is None or len(queue.order) <= length_max:
            return
        if queue.definition.overflow == "reject-publish":
            queue.full = True
            return
        while len(queue.order) > length_max:
            self._bury(queue, queue.pop(), "maxlen")

    # ---- handing out

    def consume(
        self, channel: Channel, name: str, *, prefetch: int = 0, auto_ack: bool = False
    ) -> Taker:
        """Begin to push messages of a queue to a consumer (`basic.consume`)."""
        assert channel.is_open
        queue = self.queues[name]
        taker = Taker(channel, queue, prefetch, auto_ack)
        channel.takers.append(taker)
        queue.takers.join(taker)
        self.expire(queue)
        self._hand_out(queue)
        return taker

    def cancel(self, taker: Taker) -> None:
        """Stop pushing to a consumer. What it has stays unacknowledged on its channel."""
        taker.channel.takers.remove(taker)
        taker.queue.takers.leave(taker)
        self._hand_out(taker.queue)

    def get(self, channel: Channel, name: str, *, auto_ack: bool = False) -> Push | None:
        """Hand out the next message of a queue (`basic.get`), if there is one."""
        assert channel.is_open
        queue = self.queues[name]
        self.expire(queue)
        if not len(queue.order):
            return None
        push = Push(channel, queue, queue.pop(), None, self._clock())
        if not auto_ack:
            channel.unacked[push.tag] = push
        return push

    def _hand_out(self, queue: OpenQueue) -> None:
        order, takers = queue.order, queue.takers
        while len(order):
            taker = takers.next()
            if taker is None:
                expires_ms = order.head().expires_ms
                if expires_ms is not None:
                    self._watcher.expires(queue, expires_ms)
                return
            channel = taker.channel
            push = Push(channel, queue, queue.pop(), taker, self._clock())
            if not taker.auto_ack:
                taker.unacked += 1
                channel.unacked[push.tag] = push
                takers.handed(taker)
            self._watcher.handed_out(push)

    # ---- settling

    def ack(self, channel: Channel, tag: int, *, multiple: bool = False) -> None:
        """Forget a message, or (`multiple`) all up to it; tag 0 then means all there are."""
        push = None if multiple else channel.unacked.pop(tag, None)
        if push is not None:
            self._free((push,))
            return
        self._free(self._settle(channel, tag, multiple))

    def nack(
        self,
        channel: Channel,
        tag: int,
        *,
        multiple: bool = False,
        requeue: bool = True,
        how: Return = "nack",
    ) -> None:
        """Give messages back (`basic.nack`, or `basic.reject`: say so with `how`)."""
        pushes = self._settle(channel, tag, multiple)
        if requeue:
            self._give_back(pushes, how)
            return
        self._free(pushes)
        for push in pushes:
            self._bury(push.queue, push.copy, "rejected")

    def close(self, channel: Channel, why: str = "closed", how: Return = "closed") -> None:
        """Close a channel: its consumers go, and what it had comes back."""
        if not channel.is_open:
            return
        channel.closed_because = why
        takers, channel.takers = channel.takers, []
        pushes = list(channel.unacked.values())
        if self.version == "3.10":
            pushes.sort(key=_order_of_return)
        channel.unacked.clear()
        for taker in takers:
            taker.queue.takers.leave(taker)
            if taker.queue.takers.single and taker.queue.definition.kind == "quorum":
                self._hand_out(taker.queue)  # its successor begins with what is ready
        self._give_back(pushes, how)
        for taker in takers:
            self._hand_out(taker.queue)

    def _settle(self, channel: Channel, tag: int, multiple: bool) -> list[Push]:
        """Take what is settled off a channel. An unknown tag closes it, as 406 does."""
        assert channel.is_open
        unacked = channel.unacked
        if multiple and tag == 0:
            pushes = list(unacked.values())
            unacked.clear()
            return pushes
        if tag not in unacked:
            self.close(channel, f"406 PRECONDITION_FAILED - unknown delivery tag {tag}")
            return []
        tags = [one for one in unacked if one <= tag] if multiple else [tag]
        return [unacked.pop(one) for one in tags]

    def _free(self, pushes: Sequence[Push]) -> None:
        """Let the consumers of settled messages have more."""
        for push in pushes:
            if push.taker is not None:
                push.taker.unacked -= 1
                push.queue.takers.settled(push.taker)
        queues = {push.queue: None for push in pushes}
        for queue in queues:
            if len(queue.order):
                self._hand_out(queue)

    def _give_back(self, pushes: list[Push], how: Return) -> None:
        """Put messages back into their queues, or bury those that came back too often."""
        for queue in dict.fromkeys(push.queue for push in pushes):
            back: list[Copy] = []
            for push in pushes:
                if push.queue is not queue:
                    continue
                if push.taker is not None:
                    push.taker.unacked -= 1
                    queue.takers.settled(push.taker)
                copy = push.copy
                copy.redelivered = True
                if queue.definition.kind == "quorum" and counts(how, self.version):
                    copy.returns += 1
                    copy.headers = {**copy.headers, "x-delivery-count": copy.returns}
                    if queue.limit is not None and copy.returns > queue.limit:
                        self._overpay(push.taker)
                        self._bury(queue, copy, "delivery_limit")
                        continue
                back.append(copy)
            queue.order.put_back(back, how)
            if queue.definition.kind == "classic":
                self._trim(queue)  # at once: what comes back to the head of a full queue goes
            self.expire(queue)
            self._hand_out(queue)
            self._trim(queue)

    def _overpay(self, taker: Taker | None) -> None:
        """Let a consumer have one message more than its prefetch, from now on.

        A mistake of RabbitMQ 3.10.8, observed there: a message that is dead-lettered for
        its delivery limit is given credit for twice.
        """
        if self.version == "3.10" and taker is not None and taker.prefetch:
            taker.prefetch += 1

    # ---- dying

    def expire(self, queue: OpenQueue) -> None:
        """Bury what has expired, at the head of a queue."""
        order = queue.order
        while len(order):
            expires_ms = order.head().expires_ms
            if expires_ms is None:
                return
            if expires_ms > self._clock():
                self._watcher.expires(queue, expires_ms)
                return
            self._bury(queue, queue.pop(), "expired")

    def _bury(self, queue: OpenQueue, copy: Copy, reason: Reason) -> None:
        """Dead-letter a message, or drop it where there is nowhere to send it."""
        target = queue.definition.dead_letters()
        if target is None:
            self._watcher.died(copy, queue, reason, None, [])
            return
        exchange, key = target
        letter = dead_letter(copy, queue.name, reason, exchange, key)
        names = [
            name
            for name in self.route(exchange, letter.topic)
            if reason == "rejected" or not is_cycle(name, letter.deaths)
        ]
        self._watcher.died(copy, queue, reason, letter if names else None, names)
        self.store(letter, names)


def _order_of_return(push: Push) -> tuple[bool, str]:
    """Return the key by which a closed channel's messages come back to a quorum queue.

    Each `basic.get` is a consumer of its own there, named by its delivery tag, and their
    names are sorted as text: 10 before 9. Observed on 3.10.8.
    """
    alone = push.taker is None and push.queue.definition.kind == "quorum"
    return (not alone, str(push.tag) if alone else "")
