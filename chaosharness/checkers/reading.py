"""Reading a history: which messages there were, who was handed them, and how each ended.

One pass, made once per history and shared by the properties that ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain, compress
from operator import itemgetter
from typing import Any, Final

import attrs
import msgspec

from chaosharness.brokers.message import POISON
from chaosharness.kernel.budget import FOR_EVER
from chaosharness.kernel.history import History, RawEvent, followed, plain

ROOTS: Final = frozenset({"arrive", "start", "deliver"})
"""Where a piece of work begins: what they were caused by is somebody else's work."""

WORK: Final = frozenset({"publish", "call", "write", "commit", "effect"})
"""What a handler run leaves behind in the world."""

ENDS: Final = ("handled", "raised", "crash")
"""What a delivery led to that says how it ended."""

WAITING: Final = frozenset({"call", "sleep"})
"""What code does last when it waits for an answer or for its time."""

READ: Final = {
    "publish": "_publish",
    "deliver": "_deliver",
    "rebalance": "_bind",
    "ack": "_ack",
    "dead": "_bury",
    "rollback": "_withdraw",
}
"""The method of `Reading` that reads each kind of event."""

_KIND: Final = itemgetter(1)
_ACTOR: Final = itemgetter(2)
_CAUSE: Final = itemgetter(6)

NOBODY: Final[Mapping[str, None]] = {}

HANDLE: Final = "/handle"
"""How the operation of a handler run ends."""

_POISON_BODIES: Final = frozenset({*POISON.values(), *map(plain, POISON.values())})
"""As stored, and as a history that went through JSON shows them."""


class Sent(msgspec.Struct, eq=False):
    """A message that a broker stored.

    Attributes:
        index: Its `publish` event: what brokers and other events call it by.
        queues: Where the broker put a copy of it; None for a log that groups read.
        poison: Whether a fault made it: it is nobody's loss.
    """

    index: int
    broker: str
    topic: str
    key: str | None
    entity: int
    log_partition: int
    offset: int
    value: Any
    queues: tuple[str, ...] | None
    poison: bool

    def __str__(self) -> str:
        whose = f"for {self.key}" if self.key is not None else f"of item {self.entity}"
        return f"the {self.topic!r} message {whose}"


class Handed(msgspec.Struct, eq=False):
    """One delivery: a message handed to one consumer, and what came of it.

    Attributes:
        index: Its `deliver` event.
        sent: The message.
        group: The consumer group, or the queue.
        to: The incarnation that got it.
        handled: Index of the event that says so; -1 while there is none.
        raised: The last time the handler raised, likewise.
        error: What it raised.
        acked: The acknowledgement, likewise.
        cut: The crash that struck in the middle of it, likewise.
        doing: What the pieces of work of this history did.
        by_handler: Whether a handler was called with it, and told how it ended; a main
            loop that polls tells nobody.
    """

    index: int
    sent: Sent
    group: str
    to: str
    doing: Doing
    handled: int = -1
    raised: int = -1
    error: str = ""
    acked: int = -1
    cut: int = -1
    by_handler: bool = False

    @property
    def work(self) -> Sequence[str]:
        """Operations of what it did that counts, in order."""
        return self.doing.work_of(self.index)

    @property
    def waiting(self) -> bool:
        """Whether the last thing it did was to wait for an answer or a timer."""
        return self.doing.last_of(self.index, self.to) in WAITING


@attrs.define(eq=False)
class Doing:
    """What each piece of work of a history did: found out when somebody asks, of all at once.

    Attributes:
        history: The history.
        roots: For each event, where the piece of work began that it belongs to.
    """

    history: History
    roots: list[int]
    _work: dict[int, list[str]] | None = attrs.field(default=None, init=False)
    _last: dict[tuple[int, str], str] | None = attrs.field(default=None, init=False)

    def work_of(self, root: int) -> Sequence[str]:
        """Return the operations of what counts in a piece of work, in order."""
        if self._work is None:
            self._work = {}
            raw = self.history.raw
            for index in self.history.places_of(*sorted(WORK)):
                if "error" not in (raw[index][7] or ()):
                    self._work.setdefault(self.roots[index], []).append(raw[index][3])
        return self._work.get(root, ())

    def last_of(self, root: int, actor: str) -> str:
        """Return the kind of the last event of an actor in a piece of work; "" for none."""
        if self._last is None:  # of equal keys a dict keeps the last value
            raw = self.history.raw
            whose = zip(self.roots, map(_ACTOR, raw), strict=True)
            self._last = dict(zip(whose, map(_KIND, raw), strict=True))
        return self._last.get((root, actor), "")


def roots_of(history: History) -> list[int]:
    """Return for each event where the piece of work began that it belongs to."""
    onward = [*map(_CAUSE, history.raw)]
    for index in history.places_of(*ROOTS):
        onward[index] = index
    for index in [*compress(range(len(onward)), map((0).__gt__, onward))]:
        onward[index] = index
    return followed(onward)


class Reading:
    """What a history says about messages.

    Attributes:
        roots: For each event, where the piece of work began that it belongs to.
        sent: The messages, by their `publish` event.
        handed: The deliveries, by their `deliver` event.
        dropped: Messages that a queue let go of, dead-lettered to nowhere, with the reason.
        readers: The consumer groups that each `(broker, topic)` is read by.
        consumed: Each `(broker, queue)` that somebody was handed a message of.
        quiet: Whether the run came to rest.
    """

    __slots__ = (
        "_committed",
        "_doing",
        "_last",
        "consumed",
        "dead",
        "dropped",
        "handed",
        "pairs",
        "quiet",
        "readers",
        "roots",
        "sent",
    )

    def __init__(self, history: History) -> None:
        self.roots = roots_of(history)
        self.sent: dict[int, Sent] = {}
        self.handed: dict[int, Handed] = {}
        self.pairs: dict[tuple[int, str], list[Handed]] = {}
        self.readers: dict[tuple[str, str], dict[str, None]] = {}
        self.consumed: set[tuple[str, str]] = set()
        self.dead: dict[tuple[int, str], int] = {}
        self.dropped: dict[tuple[int, str], tuple[int, str]] = {}
        self.quiet = is_quiet(history)
        self._committed: dict[tuple[str, str, str, int], int] = {}
        self._last: dict[tuple[int, str], Handed] = {}
        self._read(history)

    def _read(self, history: History) -> None:
        roots, handed, events = self.roots, self.handed, history.raw
        self._doing = Doing(history, roots)
        take = {kind: getattr(self, name) for kind, name in READ.items()}
        for index in history.places_of(*READ):
            raw = events[index]
            take[raw[1]](index, roots[index], raw)
        for index in history.places_of(*ENDS):
            one = handed.get(roots[index])
            if one is not None:
                self._follow(one, index, events[index])

    def _publish(self, index: int, root: int, raw: RawEvent) -> None:
        self.sent[index] = _sent(index, raw[4], raw[7])

    def _deliver(self, index: int, root: int, raw: RawEvent) -> None:
        broker, data = raw[2], raw[7]
        sent = self.sent.get(data["message"])
        if sent is None:
            return  # not in this excerpt of a history
        handed = Handed(index, sent, data["group"], data["to"], self._doing)
        self.handed[index] = handed
        self.pairs.setdefault((sent.index, handed.group), []).append(handed)
        self._last[sent.index, handed.to] = handed
        if sent.queues is None:
            self.readers.setdefault((broker, sent.topic), {})[handed.group] = None
        else:
            self.consumed.add((broker, handed.group))

    def _bind(self, index: int, root: int, raw: RawEvent) -> None:
        broker, data = raw[2], raw[7]
        for topic in _topics(tuple(chain.from_iterable(data["members"].values()))):
            self.readers.setdefault((broker, topic), {})[data["group"]] = None

    def _ack(self, index: int, root: int, raw: RawEvent) -> None:
        _, _, actor, operation, _, _, _, data = raw
        message = data.get("message")
        if message is None:  # a consumer's commit of all that it was handed
            for handed in self.handed.values():
                if handed.to == actor and f"/{handed.sent.broker}." in operation:
                    self._settle(handed, index)
            return
        found = self.handed.get(root)  # where the broker acknowledges, or a handler's offset is
        if found is None or found.sent.index != message:
            found = self._last.get((message, actor))
        if found is not None:
            self._settle(found, index)

    def _settle(self, handed: Handed, index: int) -> None:
        if handed.acked < 0:
            handed.acked = index
        sent = handed.sent
        place = (sent.broker, handed.group, sent.topic, sent.log_partition)
        self._committed[place] = max(self._committed.get(place, -1), sent.offset)

    def _bury(self, index: int, root: int, raw: RawEvent) -> None:
        data = raw[7]
        message = data.get("message", -1)
        handed = self.handed.get(root)
        if handed is not None and handed.sent.index == message:
            group = handed.group
        else:
            group = data.get("queue", "")
        if data.get("to"):
            self.dead[message, group] = index
        else:
            self.dropped[message, group] = (index, str(data.get("reason", "")))

    def _withdraw(self, index: int, root: int, raw: RawEvent) -> None:
        """What a broker's transaction had stored was never said, where that was undone."""
        for message in (raw[7] or {}).get("withdrawn", ()):
            self.sent.pop(message, None)

    def _follow(self, handed: Handed, index: int, raw: RawEvent) -> None:
        """Take note of how a delivery ended."""
        _, kind, actor, operation, _, _, _, data = raw
        if actor != handed.to:
            return  # a third party, or a service that was called on the way
        if kind == "handled":
            handed.handled = index
            handed.by_handler = True
        elif kind == "raised":
            handed.raised = index
            handed.error = data["error"]
            handed.by_handler = operation.endswith(HANDLE)
        else:
            handed.cut = index

    # ---- questions

    def readers_of(self, sent: Sent, calm: Reading | None = None) -> list[str]:
        """Return the consumer groups that read a message's topic, or its queues that are read.

        A queue that nobody was handed a message of, here or in the calm run, is not read:
        it is where messages are put aside, or wait for their time.
        """
        usual = self if calm is None else calm
        if sent.queues is not None:
            read_queues = self.consumed | usual.consumed
            return [queue for queue in sent.queues if (sent.broker, queue) in read_queues]
        place = (sent.broker, sent.topic)
        return [*{**self.readers.get(place, NOBODY), **usual.readers.get(place, NOBODY)}]

    def acked(self, sent: Sent, group: str) -> bool:
        """Say whether a group or queue will not hand out a message again.

        In a log, a later offset of its log partition speaks for it.
        """
        if sent.queues is not None:
            return any(one.acked >= 0 for one in self.pairs.get((sent.index, group), ()))
        place = (sent.broker, group, sent.topic, sent.log_partition)
        return self._committed.get(place, -1) >= sent.offset

    def ended(self, sent: Sent, group: str) -> int:
        """Return the first event that says a group is done with a message, or -1.

        Done is handled by somebody, or dead-lettered.
        """
        for handed in self.pairs.get((sent.index, group), ()):
            if handed.handled >= 0:
                return handed.handled
        return self.dead.get((sent.index, group), -1)

    def handlers_of(self) -> set[str]:
        """Return the groups whose messages are given to a handler, not polled by a loop."""
        return {handed.group for handed in self.handed.values() if handed.by_handler}


@lru_cache(maxsize=1_024)
def _topics(places: tuple[str, ...]) -> tuple[str, ...]:
    """Return the topics of some log partitions, such as `orders[2]`."""
    return tuple(dict.fromkeys(place[: place.rindex("[")] for place in places))


def is_poison(value: Any) -> bool:
    """Say whether a payload is one that a `Poison` fault put there."""
    return isinstance(value, bytes | str) and value in _POISON_BODIES


@lru_cache(maxsize=8)
def has_poison(history: History) -> bool:
    """Say whether any message of a history is one that a `Poison` fault made."""
    raw = history.raw
    return any(is_poison(raw[at][7].get("value")) for at in history.places_of("publish"))


def _sent(index: int, entity: int, data: Mapping[str, Any]) -> Sent:
    value = data.get("value")
    queues = data.get("queues")
    return Sent(
        index,
        data.get("broker", ""),
        data.get("topic", ""),
        data.get("key"),
        entity,
        data.get("partition", 0),
        data.get("offset", index),
        value,
        None if queues is None else tuple(queues),
        is_poison(value),
    )


@lru_cache(maxsize=8)
def verdict_of(history: History) -> tuple[str, str]:
    """Return how a run that is over ended, and who is to blame where that is not `quiet`."""
    ends = history.places_of("end")
    if not ends:
        return "quiet", ""
    data = history.raw[ends[-1]][7]
    return data["verdict"], data["reason"]


def waits_of(history: History) -> str:
    """Return what waits for somebody who never comes, in a run that came to rest; or nothing."""
    ends = [*history.of("end")]
    return str(ends[-1].data.get("waits", "")) if ends else ""


def is_quiet(history: History) -> bool:
    """Say whether a run came to rest, so that what it left behind can be judged."""
    return verdict_of(history)[0] == "quiet"


def is_over(history: History) -> bool:
    """Say whether nothing more can come: all is at rest, or waits for ever."""
    verdict, reason = verdict_of(history)
    return verdict == "quiet" or (verdict == "stuck" and reason.endswith(FOR_EVER))


@lru_cache(maxsize=8)
def read(history: History) -> Reading:
    """Read a history that is over. The last few readings are remembered."""
    return Reading(history)
