"""What a RabbitMQ node keeps and decides: queues, channels, who gets which message next.

Plain operations on plain state: no faults, no network, no agenda; the time is asked from
whoever drives it, and what happens is told to a `Watcher` at once. `OpenRabbitMQ` drives it
in a run, and the conformance tests drive it side by side with a real broker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from chaosharness.machines.machine import Refusal
from chaosharness.machines.rabbitmq.deaths import COUNT, Gone, Reason, is_cycle
from chaosharness.machines.rabbitmq.declared import Declared
from chaosharness.machines.rabbitmq.exchanges import OpenExchange
from chaosharness.machines.rabbitmq.kept import Arguments, Kept
from chaosharness.machines.rabbitmq.orders import StreamOrder
from chaosharness.machines.rabbitmq.takers import Channel, OpenQueue, Push, Taker
from chaosharness.machines.rabbitmq.versions import (
    Return,
    Version,
    counts,
    overwrites_count,
    turns_deaths,
)

Start = Literal["first", "last", "next"] | int
"""Where in a stream a consumer begins: `x-stream-offset`."""


LETTERS_MAX: Final = 60
"""Dead letters that push each other out at one moment: with more they are taken to go on."""


class Watcher:
    """What a node tells whoever drives it. By itself it does nothing with it."""

    def handed_out(self, push: Push) -> None:
        """Learn of a delivery to a consumer: the message is on its way to it."""

    def died(
        self, copy: Any, queue: OpenQueue, reason: Gone, letter: Any, names: list[str]
    ) -> None:
        """Learn of a dead letter: dropped (`letter` None), or sent on to these queues.

        A message that is gone with its queue, purged, or lost with the node is told as well.
        """

    def goes_round(self, queue: OpenQueue) -> None:
        """Learn that dead letters go round and round through a queue, for ever."""

    def expires(self, queue: OpenQueue, at_ms: int) -> None:
        """Learn that the head of a queue expires then: call `expire` at that time."""

    def vanishes(self, queue: OpenQueue, at_ms: int) -> None:
        """Learn that a queue may expire then: call `expire_unused` at that time."""

    def cancelled(self, taker: Taker) -> None:
        """Learn that the node has cancelled a consumer: its queue is gone."""


class Node:
    """Queues, exchanges and channels.

    Args:
        queues: What clients declare when they connect. Those that go with a connection or a
            consumer are there once somebody consumes (`Declared.ensure`), the rest at once.
        exchanges: All exchanges but the default one, with their bindings.
        version: Whose rules.
        clock: Says what time it is.
        watcher: Is told what happens.
    """

    def __init__(
        self,
        queues: Mapping[str, Arguments],
        exchanges: Iterable[OpenExchange] = (),
        *,
        version: Version,
        clock: Callable[[], int],
        watcher: Watcher,
    ) -> None:
        self.version: Version = version
        self.queues: dict[str, OpenQueue] = {}
        self.stopped = False
        self.may_refuse = False  # whether there has been a queue that can be full
        self.clock = clock
        self.watcher = watcher
        self.declared = Declared(self, queues, exchanges)
        self._letters = 0  # on their way at this moment, each because of the one before
        self._kept_letters: list[tuple[OpenQueue, Kept, Reason]] = []  # at-least-once

    def forget(self) -> None:
        """Let go of everything, at the end of a run."""
        self.watcher = Watcher()
        self._kept_letters.clear()
        for queue in self.queues.values():
            queue.takers.forget()
        self.queues.clear()
        del self.declared  # which knows the node: a circle

    # ---- publishing

    def route(self, exchange: str, key: str, headers: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the queues that a message goes to; none means that it is dropped."""
        if exchange:
            return self.declared.routes.queues(exchange, key, headers)
        return (key,) if key in self.queues else ()

    def refusing(self, names: Iterable[str]) -> list[str]:
        """Return those of the queues that are full and refuse new messages."""
        if not self.may_refuse:
            return []
        return [name for name in names if self._refuses(self.queues[name])]

    def _refuses(self, queue: OpenQueue) -> bool:
        definition = queue.definition
        if definition.length_max is None or definition.overflow == "drop-head":
            return False
        if definition.kind == "classic":
            return len(queue.order) >= definition.length_max
        return queue.full

    def refuse(self, copy: Kept, names: Iterable[str]) -> None:
        """Have full queues refuse a message: some dead-letter it (`reject-publish-dlx`)."""
        for name in names:
            if self._buries_refused(name):
                self._bury(self.queues[name], copy.twin(), "maxlen")

    def store(self, copy: Kept, names: Iterable[str]) -> None:
        """Put a message into queues, and hand out what can be handed out."""
        for index, name in enumerate(names):
            queue = self.queues.get(name)
            if queue is not None:
                self._enqueue(queue, copy.twin() if index else copy)

    def _enqueue(self, queue: OpenQueue, copy: Kept) -> None:
        definition = queue.definition
        if COUNT in copy.headers and definition.kind == "quorum" and overwrites_count(self.version):
            copy.headers = {**copy.headers, COUNT: 0}
        if copy.expiration_ms is not None or definition.ttl_ms is not None:
            ttl_ms = min(ms for ms in (copy.expiration_ms, definition.ttl_ms) if ms is not None)
            copy.expires_ms = self.clock() + ttl_ms
            self.expire(queue)
        queue.order.append(copy)
        self.hand_out(queue)
        if definition.length_max is not None:
            self._trim(queue)
        if copy.expires_ms is not None:
            self.expire(queue)

    def _trim(self, queue: OpenQueue) -> None:
        """Make room at the head of a queue that is too long, or note that it is full."""
        length_max = queue.definition.length_max
        if length_max is None or len(queue.order) <= length_max:
            return
        if queue.definition.overflow != "drop-head":
            queue.full = True
            return
        while len(queue.order) > length_max:
            self._bury(queue, queue.pop(), "maxlen")

    # ---- handing out

    def consume(
        self,
        channel: Channel,
        name: str,
        *,
        prefetch: int = 0,
        auto_ack: bool = False,
        priority: int = 0,
        exclusive: bool = False,
        start: Start = "next",
    ) -> Taker | Refusal:
        """Begin to push messages of a queue to a consumer (`basic.consume`)."""
        assert channel.is_open
        queue = self.declared.found(channel, name)
        if isinstance(queue, Refusal):
            return queue
        if (why := self._refuses_consumer(queue, prefetch, auto_ack, exclusive)) is not None:
            return why
        if channel.limit and queue.definition.kind != "classic":
            text = f"queue '{name}' in vhost '/' does not support global qos"
            return Refusal("540", f"NOT_IMPLEMENTED - {text}")
        taker = Taker(channel, queue, prefetch, auto_ack, priority, exclusive)
        if isinstance(queue.order, StreamOrder):
            taker.position = queue.order.position_of(start)
        channel.takers.append(taker)
        queue.takers.join(taker)
        self.expire(queue)
        self.hand_out(queue)
        return taker

    def _refuses_consumer(
        self, queue: OpenQueue, prefetch: int, auto_ack: bool, exclusive: bool
    ) -> Refusal | None:
        """Say why a queue takes no such consumer, if it does not."""
        name, takers = queue.name, queue.takers.all()
        if any(one.exclusive for one in takers) or (exclusive and takers):
            return Refusal("403", f"ACCESS_REFUSED - queue '{name}' in vhost '/' in exclusive use")
        if queue.definition.kind != "stream":
            return None
        if auto_ack:
            return _no_stream("automatic acknowledgement", name)
        if not prefetch:
            text = f"consumer prefetch count is not set for 'queue '{name}' in vhost '/''"
            return Refusal("406", f"PRECONDITION_FAILED - {text}")
        return None

    def cancel(self, taker: Taker) -> None:
        """Stop pushing to a consumer. What it has stays unacknowledged on its channel."""
        taker.channel.takers.remove(taker)
        taker.queue.takers.leave(taker)
        if not self._goes_with_consumer(taker.queue):
            self.hand_out(taker.queue)

    def _goes_with_consumer(self, queue: OpenQueue) -> bool:
        """Delete a queue whose last consumer has gone, where it was declared so; else note it."""
        if len(queue.takers) or queue.gone or self.stopped:
            return queue.gone
        if queue.definition.auto_delete and queue.takers.had:
            self.declared.remove(queue)
            return True
        self.declared.used(queue)
        return False

    def get(self, channel: Channel, name: str, *, auto_ack: bool = False) -> Push | Refusal | None:
        """Hand out the next message of a queue (`basic.get`), if there is one."""
        assert channel.is_open
        queue = self.declared.found(channel, name)
        if isinstance(queue, Refusal):
            return queue
        if queue.definition.kind == "stream":
            return _no_stream("basic.get", name)
        if queue.takers.single and queue.definition.kind == "quorum":
            return Refusal(
                "405",
                f"RESOURCE_LOCKED - cannot obtain access to locked queue '{name}' "
                "in vhost '/'. basic.get operations are not supported by quorum queues "
                "with single active consumer",
            )
        self.declared.used(queue)
        self.expire(queue)
        if not len(queue.order):
            return None
        push = Push(channel, queue, queue.pop(), None, self.clock())
        if not auto_ack:
            channel.unacked[push.tag] = push
        return push

    def hand_out(self, queue: OpenQueue) -> None:
        if self.stopped:
            return
        order, takers = queue.order, queue.takers
        if isinstance(order, StreamOrder):
            self._stream(queue, order)
            return
        while len(order):
            taker = takers.next()
            if taker is None:
                expires_ms = order.head().expires_ms
                if expires_ms is not None:
                    self.watcher.expires(queue, expires_ms)
                return
            channel = taker.channel
            push = Push(channel, queue, queue.pop(), taker, self.clock())
            if not taker.auto_ack:
                taker.unacked += 1
                channel.unacked[push.tag] = push
                if takers.is_eager and (channel.limit or taker.unacked >= taker.prefetch):
                    takers.handed(taker)
            self.watcher.handed_out(push)
        if self._kept_letters:
            self.send_letters()  # there may be room now

    def _stream(self, queue: OpenQueue, order: StreamOrder) -> None:
        """Hand out to each consumer of a stream what comes next for it."""
        for taker in queue.takers.all():
            while taker.position < len(order) and taker.has_room() and taker.channel.is_open:
                copy = order.log[taker.position].twin()
                copy.headers = {**copy.headers, "x-stream-offset": taker.position}
                taker.position += 1
                push = Push(taker.channel, queue, copy, taker, self.clock())
                taker.unacked += 1
                taker.channel.unacked[push.tag] = push
                self.watcher.handed_out(push)

    # ---- settling

    def ack(self, channel: Channel, tag: int, *, multiple: bool = False) -> None:
        """Forget a message, or (`multiple`) all up to it; tag 0 then means all there are."""
        push = None if multiple else channel.unacked.pop(tag, None)
        if push is not None:
            self._free_one(push)
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
    ) -> Refusal | None:
        """Give messages back (`basic.nack`, or `basic.reject`: say so with `how`).

        A stream takes nothing back: the whole connection is closed.
        """
        found = channel.unacked.get(tag)
        if found is not None and found.queue.definition.kind == "stream":
            return _no_stream("basic.nack and basic.reject", found.queue.name)
        pushes = self._settle(channel, tag, multiple)
        if requeue:
            self._give_back(pushes, how)
            return None
        self._free(pushes)
        for push in pushes:
            self._bury(push.queue, push.copy, "rejected")
        return None

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
                self.hand_out(taker.queue)  # its successor begins with what is ready
        going = [taker.queue for taker in takers if self._would_go(taker.queue)]
        for queue in going:
            self._drop(queue, [push for push in pushes if push.queue is queue])
        self._give_back([push for push in pushes if push.queue not in going], how)
        for taker in takers:
            if not self._goes_with_consumer(taker.queue):
                self.hand_out(taker.queue)

    def _would_go(self, queue: OpenQueue) -> bool:
        definition, takers = queue.definition, queue.takers
        return definition.auto_delete and takers.had and not len(takers) and not self.stopped

    def _drop(self, queue: OpenQueue, pushes: list[Push]) -> None:
        """Lose what comes back to a queue that goes with its last consumer."""
        for push in pushes:
            self.watcher.died(push.copy, queue, "deleted", None, [])

    def disconnect(self, connection: object) -> None:
        """Let the exclusive queues of a connection go with it. Close its channels first."""
        for queue in [one for one in self.queues.values() if one.owner is connection]:
            self.declared.remove(queue)

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

    def _free_one(self, push: Push) -> None:
        """Let the consumer of a settled message have more."""
        if push.channel.limit:
            self._free((push,))
            return
        queue, taker = push.queue, push.taker
        if taker is not None:
            taker.unacked -= 1
            if taker.prefetch:
                queue.takers.settled(taker)
        if len(queue.order):
            self.hand_out(queue)

    def _free(self, pushes: Sequence[Push]) -> None:
        """Let the consumers of settled messages have more."""
        if len(pushes) == 1 and not pushes[0].channel.limit:  # so it is nearly always
            push = pushes[0]
            if push.taker is not None:
                push.taker.unacked -= 1
                push.queue.takers.settled(push.taker)
            if len(push.queue.order):
                self.hand_out(push.queue)
            return
        for push in pushes:
            if push.taker is not None:
                push.taker.unacked -= 1
                push.queue.takers.settled(push.taker)
        queues = {push.queue: None for push in pushes}
        for channel in {push.channel: None for push in pushes if push.channel.limit}:
            queues.update(self._rejoined(channel))
        for queue in queues:
            if len(queue.order):
                self.hand_out(queue)

    def limit(self, channel: Channel, count: int) -> None:
        """Limit what all consumers of a channel have unacknowledged together, from now on.

        Source: RabbitMQ documentation, "Consumer Prefetch": `basic.qos` with `global` is "shared
        across all consumers on the channel". It holds for consumers that are there already.

        Not modelled: which of several queues goes on first where the limit has held them up
        (RabbitMQ takes them in a random order; here the consumer that came first).
        """
        channel.limit = count
        for queue in self._rejoined(channel):
            self.hand_out(queue)

    def _rejoined(self, channel: Channel) -> dict[OpenQueue, None]:
        """Have consumers of a channel rejoin that its limit had held up; return their queues."""
        takers = [*channel.takers]
        for taker in takers:
            taker.queue.takers.settled(taker)
        return {taker.queue: None for taker in takers}

    def _give_back(self, pushes: list[Push], how: Return) -> None:
        """Put messages back into their queues, or bury those that came back too often."""
        for queue in dict.fromkeys(push.queue for push in pushes):
            back: list[Kept] = []
            for push in pushes:
                if push.queue is not queue:
                    continue
                if push.taker is not None:
                    push.taker.unacked -= 1
                    queue.takers.settled(push.taker)
                    if push.channel.limit:
                        self._rejoined(push.channel)
                copy = push.copy
                copy.redelivered = True
                if queue.definition.kind == "quorum" and counts(how, self.version):
                    copy.returns += 1
                    copy.headers = {**copy.headers, COUNT: copy.returns}
                    if queue.limit is not None and copy.returns > queue.limit:
                        self._overpay(push.taker)
                        self._bury(queue, copy, "delivery_limit")
                        continue
                back.append(copy)
            if queue.gone:
                for copy in back:
                    self.watcher.died(copy, queue, "deleted", None, [])
                continue
            queue.order.put_back(back, how)
            if queue.definition.kind == "classic":
                self._trim(queue)  # at once: what comes back to the head of a full queue goes
            self.expire(queue)
            self.hand_out(queue)
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
            if expires_ms > self.clock():
                self.watcher.expires(queue, expires_ms)
                return
            self._bury(queue, queue.pop(), "expired")

    def _bury(self, queue: OpenQueue, copy: Kept, reason: Reason) -> None:
        """Dead-letter a message, or drop it where there is nowhere to send it.

        A full queue that refuses new messages refuses dead letters as well, and nobody hears it.

        Full queues that bury in each other's favour go on for ever, where a message was rejected
        once: then its way is no cycle. Observed on 3.10.8: three messages in two queues of length
        1 were at their 4,248th round after half a second. Here the watcher is told instead.
        """
        target = None if queue.gone else queue.definition.dead_letters()
        if target is None:
            self.watcher.died(copy, queue, reason, None, [])
            return
        exchange, key = target
        turns = turns_deaths(self.version)
        letter = copy.letter(queue.name, reason, exchange, key, turns=turns)
        bound = self.route(exchange, letter.topic, letter.headers)
        if _keeps_letters(queue.definition) and (not bound or self.refusing(bound)):
            self._kept_letters.append((queue, copy, reason))
            return
        names = [
            name for name in bound if reason == "rejected" or not is_cycle(name, letter.deaths)
        ]
        full = self.refusing(names)
        names = [name for name in names if name not in full]
        again = [name for name in full if self._buries_refused(name)]
        self.watcher.died(copy, queue, reason, letter if names or again else None, names)
        if self._letters >= LETTERS_MAX:
            self.watcher.goes_round(queue)
            return
        self._letters += 1
        self.store(letter, names)
        self.refuse(letter, again)
        self._letters -= 1

    def send_letters(self) -> None:
        """Send dead letters that were kept: there may be a queue for them, or room in it."""
        if self._kept_letters:
            letters, self._kept_letters = self._kept_letters, []
            for queue, copy, reason in letters:
                self._bury(queue, copy, reason)

    def _buries_refused(self, name: str) -> bool:
        return self.queues[name].definition.overflow == "reject-publish-dlx"

    def expire_unused(self, queue: OpenQueue) -> None:
        """Delete a queue that nobody has used for too long."""
        expires_ms = queue.definition.expires_ms
        if expires_ms is None or queue.gone or len(queue.takers):
            return
        if self.clock() - queue.used_ms >= expires_ms:
            self.declared.remove(queue)
        else:
            self.watcher.vanishes(queue, queue.used_ms + expires_ms)

    # ---- the node itself

    def restart(self) -> None:
        """Die and come back. All channels have to be closed: what they had is back in its queue.

        A durable queue keeps its persistent messages; a quorum queue and a stream keep all. All
        of them come as redelivered, also those that were never handed out: a node that has
        died does not know.

        Source: RabbitMQ documentation, "Queues", "Durability"; observed on 3.10.8 after a kill.
        Not modelled: an acknowledgement of the last moment that is forgotten with the node (as a
        lost connection, for the consumer); that an orderly stop remembers what was handed out.
        """
        for queue in [*self.queues.values()]:
            if not queue.definition.durable or queue.owner is not None:
                self.declared.remove(queue, "restart")
                continue
            copies = queue.order.clear()
            for copy in copies:
                if queue.definition.kind == "classic" and not copy.persistent:
                    self.watcher.died(copy, queue, "restart", None, [])
                    continue
                copy.redelivered = queue.definition.kind != "stream"
                queue.order.append(copy)
            queue.full = False
        self.declared.forget_transient()


def _order_of_return(push: Push) -> tuple[bool, str]:
    """Return the key by which a closed channel's messages come back to a quorum queue.

    Each `basic.get` is a consumer of its own there, named by its delivery tag, and their
    names are sorted as text: 10 before 9. Observed on 3.10.8.
    """
    alone = push.taker is None and push.queue.definition.kind == "quorum"
    return (not alone, str(push.tag) if alone else "")


def _no_stream(what: str, name: str) -> Refusal:
    """Return why a connection is closed on which a stream was asked for something it has not."""
    text = f"{what} not supported by stream queues queue '{name}' in vhost '/'"
    return Refusal("540", f"NOT_IMPLEMENTED - {text}")


def _keeps_letters(definition: Arguments) -> bool:
    """Say whether a queue keeps its dead letters until they are taken; else they may be lost."""
    wants = definition.dead_letter_strategy == "at-least-once"
    return wants and definition.overflow == "reject-publish"
