"""Redis Pub/Sub in a run: a message goes to those who listen now, at most once; nobody keeps it.

Who publishes is at the site of its command, who hears at a site of its own:
`cache.orders/deliver to cashier`. What strikes there is `HEARING`.

Source:
    Redis documentation, "Pub/Sub": "Delivery semantics" (at most once; a message is lost where the
    subscriber cannot handle it, or the network disconnects), "Pattern-matching subscriptions";
    "PUBLISH": the number of clients that were sent it. redis-py, `client.py`, `PubSub`: a
    connection that ends is made anew, and all it listened to is subscribed to again.

Not modelled:
    Sharded channels, keyspace notifications, `MONITOR`, output buffers that are full. A connection
    that is half open, which nobody notices: here who misses a message is told that its connection
    is closed. Scripts that publish reach nobody; in a transaction or pipeline `PUBLISH` answers 0.
"""

from __future__ import annotations

from collections import deque
from fnmatch import translate
from functools import lru_cache
from math import inf
from re import Pattern
from re import compile as pattern_of
from typing import Any, Final

from chaosharness.adapters.bell import Bell
from chaosharness.brokers.arrivals import begin_wait
from chaosharness.brokers.facts import Journal
from chaosharness.brokers.message import NO_HEADERS, Message, copied
from chaosharness.brokers.strikes import struck
from chaosharness.faults import Delay, LostReply, NetworkPartition
from chaosharness.handlers.attribution import adopt, takes_by_itself
from chaosharness.handlers.port import wait_of
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.machines.machine import Buried, HandedOut, Settled, Stored
from chaosharness.stores.redis.redis import HEARING, OpenRedis

LATENCY_MS: Final = 1
UNHEARD: Final = "at most once: whoever was to hear it is gone"


class Ear:
    """One connection that listens.

    Attributes:
        incarnation: Whose.
        channels: What it listens to, by name.
        patterns: The same, by pattern.
        broken: Whether its connection has ended.
    """

    def __init__(self, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.broken = False
        self._heard: deque[tuple[Any, tuple[Message, int] | None]] = deque()
        self._bell = Bell(incarnation.world)

    @property
    def label(self) -> str:
        """The incarnation, as events name it."""
        return self.incarnation.label

    @property
    def operation(self) -> str:
        """Said by whoever hands something out: sites are those of channels."""
        return ""

    def listens(self) -> bool:
        """Say whether it still does."""
        return self.incarnation.alive and not self.broken

    def hears(self, channel: bytes) -> list[bytes]:
        """Return by what it hears a channel: nothing for its name, and patterns."""
        found = [b""] if channel in self.channels else []
        return found + [one for one in self.patterns if _matching(one).match(channel)]

    def put(self, answer: Any, whose: tuple[Message, int] | None = None) -> None:
        """Have the client read something next."""
        self._heard.append((answer, whose))
        self._bell.ring()

    def is_empty(self) -> bool:
        """Say whether there is nothing to read, and it may still come."""
        return not self._heard and not self.broken

    def break_off(self) -> None:
        """End its connection: what was not read is gone."""
        self.broken = True
        self._heard.clear()
        self._bell.ring()

    def take(self, scope: Scope) -> Any:
        """Return what is to be read next, and work for whoever published it; None for nothing."""
        if not self._heard:
            return None
        answer, whose = self._heard.popleft()
        if whose is not None and takes_by_itself(scope):
            message, cause = whose
            adopt(
                scope, entity=message.entity, message=message.name, cause=cause, hops=message.hops
            )
        return answer

    def wait(self, scope: Scope, timeout_s: float | None, at: Any) -> Script[None]:
        """Wait until something has come, or the connection has ended, for so long at most."""
        world = scope.world
        if takes_by_itself(scope):
            begin_wait(scope)
        wait_ms: int | None = None
        nap: Any = None
        if timeout_s is not None and timeout_s != inf:
            wait_ms = max(round(timeout_s * 1_000), 1)
            world.know_duration(wait_ms)
            nap = wait_of(scope, wait_ms, of_stack, at)
        yield from self._bell.wait(wait_ms, nap)


class Channels:
    """Who listens at one server, and what is said there.

    Args:
        store: The server.
    """

    def __init__(self, store: OpenRedis) -> None:
        self._store = store
        self._world: World = store.world
        self._ears: list[Ear] = []
        self._known: dict[bytes, None] = {}
        self._journal = Journal(store.world, store.name)
        store.on_restart.append(self._break_all)

    def join(self, ear: Ear) -> None:
        """Let somebody listen."""
        self._ears.append(ear)
        ear.incarnation.on_death.append(lambda: self.leave(ear))

    def leave(self, ear: Ear) -> None:
        """Let somebody listen no more."""
        if ear in self._ears:
            self._ears.remove(ear)

    def _break_all(self) -> None:
        for ear in self._ears:
            ear.break_off()
        self._ears.clear()

    def said(self, ear: Ear, words: tuple[bytes, ...]) -> None:
        """Do what a client says of what it listens to."""
        verb, *names = words
        kind = verb.lower()
        heard = ear.patterns if kind in (b"psubscribe", b"punsubscribe") else ear.channels
        begins = kind in (b"subscribe", b"psubscribe")
        told: list[bytes | None] = [*(names or heard)]
        for name in told or [None]:
            if name is not None and begins:
                heard[name] = self._known[name] = None
            elif name is not None:
                heard.pop(name, None)
            ear.put([kind, name, len(ear.channels) + len(ear.patterns)])

    def knows(self, channel: bytes) -> bool:
        """Say whether anybody has ever listened to a channel in this run."""
        return any(one == channel or _matching(one).match(channel) for one in self._known)

    def publish(
        self, scope: Scope, operation: str, attempt: int, channel: bytes, body: bytes
    ) -> int:
        """Say something; return how many were sent it."""
        topic = _text(channel)
        message = Message(topic, None, NO_HEADERS, body, scope.entity, scope.hops + 1)
        names = self._world.publications
        message.name = names.name(operation, message.entity, scope.message, body)
        hearers = [(ear, by) for ear in self._ears if ear.listens() for by in ear.hears(channel)]
        places = dict.fromkeys(f"{topic}:{ear.label}" for ear, _ in hearers)
        stored = Stored(message, topic, tuple(places))
        index = self._journal.write(stored, scope, operation, attempt)
        self._world.raw[index][-1]["lossy"] = True  # who says it counts on nobody to hear it
        for ear, by in hearers:
            self._world.after(LATENCY_MS, self._arrives, (ear, by, copied(message), 0))
        return len(hearers)

    def _arrives(self, arriving: Any) -> None:
        """Hand a message to one who listens, if it is still there."""
        ear, by, message, attempt = arriving
        world = self._world
        operation = f"{self._store.name}.{message.topic}/deliver to {ear.incarnation.service}"
        if operation not in world.surfaces:
            world.meet(operation, HEARING)
        if not attempt:
            attempt = world.reach(operation, message.entity, message.name)
            if operation in world.armed:
                due_ms = self._disturbed(ear, operation, message, attempt)
                if due_ms > world.now:
                    again = (ear, by, message, attempt)
                    world.after(due_ms - world.now, self._arrives, again)
                    return
        if not ear.listens() or is_cut(ear.incarnation, self._store):
            place = f"{message.topic}:{ear.label}"
            self._journal.write(Buried(message, place, None, UNHEARD))
            self._end(ear)
            return
        self._hand_out(ear, by, operation, message, attempt)

    def _hand_out(
        self, ear: Ear, by: bytes, operation: str, message: Message, attempt: int
    ) -> None:
        world, place = self._world, f"{message.topic}:{ear.label}"
        fact = HandedOut(message, place, ear, 1, False, None)
        cause = self._journal.handed_out(fact, operation, attempt)
        self._journal.write(Settled(message, place, ear))
        after = struck(world, self._store.name, operation, "after", message, attempt, cause)
        if any(isinstance(fault, LostReply) for fault in after):
            world.raw[cause][7]["lost"] = True
            self._end(ear)
            return
        channel, body = message.topic.encode("utf-8", "surrogateescape"), message.body
        answer = [b"pmessage", by, channel, body] if by else [b"message", channel, body]
        ear.put(answer, (message, cause))

    def _end(self, ear: Ear) -> None:
        self.leave(ear)
        ear.break_off()

    def _disturbed(self, ear: Ear, operation: str, message: Message, attempt: int) -> int:
        """Let the faults before a delivery strike; return when it arrives."""
        world, name = self._world, self._store.name
        due_ms = world.now
        for fault in struck(world, name, operation, "before", message, attempt, message.published):
            if isinstance(fault, Delay):
                due_ms = max(due_ms, world.due(fault.lasting))
            elif isinstance(fault, NetworkPartition):
                world.part(ear.incarnation.service, name, fault.way, fault.lasting)
        return due_ms


def is_cut(incarnation: Incarnation, store: OpenRedis) -> bool:
    """Say whether a process cannot reach a server just now, or is not reached by it."""
    unreachable = store.world.unreachable
    pair = (incarnation.service, store.name)
    return bool(unreachable) and (pair in unreachable or pair[::-1] in unreachable)


def channels_of(store: OpenRedis) -> Channels:
    """Return who listens at a server, in this run."""
    found: Channels | None = store.channels
    if found is None:
        found = store.channels = Channels(store)
    return found


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


@lru_cache(maxsize=1_024)
def _matching(pattern: bytes) -> Pattern[bytes]:
    return pattern_of(translate(pattern.decode("latin-1")).encode("latin-1"))


__all__ = ["LATENCY_MS", "Channels", "Ear", "channels_of", "is_cut"]
