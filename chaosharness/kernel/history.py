"""What happened, in order, each event with the one that caused it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import chain, filterfalse, groupby
from operator import itemgetter, length_hint
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, overload
from uuid import UUID
from weakref import WeakKeyDictionary

import attrs
import msgspec

if TYPE_CHECKING:
    _Events = map["Event"]
else:
    _Events = map

RawEvent = tuple[int, str, str, str, int, int, int, Any]
"""`(at_ms, kind, actor, operation, entity, attempt, cause, data)`: cheap to append.

`data` is a dict of plain values, or None. Bytes are allowed and are exported as text.
"""

KINDS: Final = {
    "arrive": "a workload item enters the system",
    "start": "an incarnation of a service is built",
    "publish": "a broker stored a message",
    "deliver": "a broker handed a message to one consumer",
    "handled": "a handler returned",
    "raised": "a handler raised",
    "ack": "a consumer settled a message: acknowledged, or its offset committed",
    "nack": "a consumer gave a message back, or refused it",
    "decide": "a workflow of an orchestrator said what is to be done next: its commands",
    "resolve": "an event was written or read with another version of its schema than it had",
    "dead": "a message was dead-lettered, or dropped by its broker",
    "poll": "a consumer asked for messages and got some",
    "call": "a request left its caller",
    "effect": "a third party did something that counts: an entry in its ledger",
    "reply": "a caller learned the outcome of its call: ok, failed, unknown, or unasked for",
    "read": "a store was read",
    "write": "a store was written, inside a transaction",
    "commit": "a transaction became durable",
    "rollback": "a transaction was undone",
    "sleep": "code asked to be woken later",
    "wake": "a timer went off",
    "note": "the system under test said something about itself",
    "fault": "a fault of the schedule struck",
    "crash": "an incarnation died",
    "rebalance": "a consumer group changed hands",
    "state": "what a store or third party holds when the run is over",
    "tables": "what an orchestrator's own screens show when the run is over: for reports alone",
    "phase": "chaos ended, calm began",
    "end": "the run is over; data says why",
}

EVENTS_KEPT_MAX: Final = 10_000
"""Events of one history, made from its tuples, that are remembered."""

_KIND_OF: Final = itemgetter(1)
_DATA_OF: Final = itemgetter(7)

GAVE_UP: Final = "gave up waiting"
"""What an orchestrator notes where it tells a workflow that nobody has done what it asked for."""

UNASKED: Final = "unasked"
"""The outcome of what was lost, and nobody waited for an answer: a publish without confirms."""


class Event(msgspec.Struct, frozen=True):
    """One thing that happened. Made in C, since judging makes most events of most runs.

    Attributes:
        index: Position in the history, from 0.
        at_ms: Virtual time in whole milliseconds since the start of the run.
        kind: One of `KINDS`.
        actor: Who did it: `payments#1` (replica 1), `payments#1/2` (its second
            incarnation), or the name of a broker, store or third party.
        operation: The operation of the site, for example
            `payments.on_order_created/bank.charge`; empty where no fault can strike.
        entity: Number of the workload item at the causal root, from 1; 0 for none.
        attempt: How often this operation had been reached for the message in hand, from 1; for
            this entity where there was none.
        cause: Index of the event that led to this one; -1 for a root.
        data: What else is known, as plain values.
    """

    index: int
    at_ms: int
    kind: str
    actor: str
    operation: str
    entity: int
    attempt: int
    cause: int
    data: Mapping[str, Any]

    def __str__(self) -> str:
        words = " ".join(f"{name}={plain(value)}" for name, value in self.data.items())
        what = self.operation or self.actor
        return f"e{self.index} {self.at_ms / 1000:.3f}s {self.kind} {what} {words}".rstrip()


class Events(_Events):
    """Events of some kinds, handed out one after the other.

    Unlike a bare `map` it is false where there are none: `assert run.history.of("crash")`
    would otherwise hold whatever happened.
    """

    __slots__ = ()

    def __bool__(self) -> bool:
        """Say whether some are left: of the places beneath, so that making one costs nothing."""
        return length_hint(self.__reduce__()[1][1]) > 0


class History(Sequence[Event]):
    """The events of one run, oldest first. Reading it never changes it.

    Holds raw tuples, and makes an `Event` only when one is asked for: a run of a
    million deliveries costs no more objects than it must. Of a short history it remembers
    them, and where the events of each kind are: many checkers read the same ones.
    """

    __slots__ = ("_by_kind", "_counted", "_events", "_places", "raw")

    def __init__(self, raw: list[RawEvent] | None = None) -> None:
        self.raw: list[RawEvent] = [] if raw is None else raw
        self._counted = 0
        self._by_kind: dict[str, list[int]] = {}
        self._places: dict[tuple[str, ...], list[int]] = {}
        self._events: dict[int, Event] = {}

    def __len__(self) -> int:
        return len(self.raw)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | Sequence[Event]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self.raw)))]
        if index < 0:
            index += len(self.raw)
        events = self._events
        if index in events:
            return events[index]
        made = self._event(index)
        if len(events) < EVENTS_KEPT_MAX:
            events[index] = made
        return made

    def _event(self, index: int) -> Event:
        raw = self.raw[index]
        return Event(index, *raw) if raw[-1] else Event(index, *raw[:-1], {})

    def in_hand(self, event: Event) -> int:
        """Return the message that code had in hand at an event, by where it was stored; or -1."""
        while event.cause >= 0:
            event = self[event.cause]
            if event.kind == "deliver":
                return int(event.data["message"])
        return -1

    def same_attempt(self, one: Event, other: Event) -> bool:
        """Say whether two events are of one attempt of an operation, at one message."""
        places = [(event.operation, event.entity, event.attempt) for event in (one, other)]
        return places[0] == places[1] and self.in_hand(one) == self.in_hand(other)

    def __iter__(self) -> Iterator[Event]:
        for index in range(len(self.raw)):
            yield self[index]

    def of(self, *kinds: str) -> Events:
        """Return the events of these kinds, one after the other, oldest first.

        Each is handed out once. False where there are none.
        """
        places, events = self.places_of(*kinds), self._events
        if len(self.raw) > EVENTS_KEPT_MAX:
            return Events(self.__getitem__, places)
        fresh = [*filterfalse(events.__contains__, places)]
        if fresh:
            rows = [*map(self.raw.__getitem__, fresh)]
            if not all(map(_DATA_OF, rows)):
                rows = [raw if raw[7] else (*raw[:-1], {}) for raw in rows]
            events.update(zip(fresh, map(Event, fresh, *zip(*rows, strict=True)), strict=True))
        return Events(events.__getitem__, places)

    def places_of(self, *kinds: str) -> Sequence[int]:
        """Return where in the history the events of these kinds are, in ascending order."""
        if self._counted != len(self.raw):  # it goes on
            self._sort()
        found = self._places.get(kinds)
        return self._found(kinds) if found is None else found

    def _found(self, kinds: tuple[str, ...]) -> Sequence[int]:
        """Find and remember where the events of some kinds are."""
        each = [*map(self._by_kind.__getitem__, _wanted(kinds) & self._by_kind.keys())]
        found = each[0] if len(each) == 1 else sorted(chain.from_iterable(each))
        self._places[kinds] = found
        return found

    def _sort(self) -> None:
        """Note where the events of each kind are."""
        kinds = list(map(_KIND_OF, self.raw))
        together = sorted(range(len(kinds)), key=kinds.__getitem__)  # of one kind in their order
        self._by_kind = {kind: [*of] for kind, of in groupby(together, kinds.__getitem__)}
        self._places.clear()
        self._counted = len(kinds)

    def causes(self, index: int) -> Iterator[Event]:
        """Yield the event at `index` and what led to it, newest first, back to its root."""
        while index >= 0:
            event = self[index]
            yield event
            assert event.cause < index, "a cause must come before its effect"
            index = event.cause

    def happened_before(self, first: int, second: int) -> bool:
        """Say whether event `first` is among the causes of event `second`."""
        while second > first:
            second = self.raw[second][6]
        return first == second

    def digest(self) -> str:
        """Return 16 hexadecimal digits that differ when any event differs.

        The lines at which errors were raised do not count: they move with every edit.
        """
        digest = hashlib.blake2b(digest_size=8)
        for raw in self.raw:
            digest.update(encode(raw))
        return digest.hexdigest()

    def to_json(self) -> list[dict[str, Any]]:
        """Return the events as plain values, bytes as text."""
        return [
            {
                "at_ms": event.at_ms,
                "kind": event.kind,
                "actor": event.actor,
                "operation": event.operation,
                "entity": event.entity,
                "attempt": event.attempt,
                "cause": event.cause,
                "data": {name: plain(value) for name, value in event.data.items()},
            }
            for event in self
        ]

    @classmethod
    def from_json(cls, values: Sequence[Mapping[str, Any]]) -> History:
        """Read what `to_json` wrote."""
        return cls(
            [
                (
                    value["at_ms"],
                    value["kind"],
                    value["actor"],
                    value["operation"],
                    value["entity"],
                    value["attempt"],
                    value["cause"],
                    value["data"],
                )
                for value in values
            ]
        )


@lru_cache(maxsize=1_024)
def _wanted(kinds: tuple[str, ...]) -> frozenset[str]:
    """Check the kinds of events that somebody asks for."""
    unknown = {*kinds} - KINDS.keys()
    if unknown:
        words = f"no such kind of event: {sorted(unknown)}; known: {sorted(KINDS)}"
        raise ValueError(words)
    return frozenset(kinds)


def followed(onward: list[int]) -> list[int]:
    """Return where each place leads in the end, from one to the next until one leads to itself.

    The last place stands for -1, where whatever has no cause leads to. Twice as far at each
    step, and all places at once.
    """
    found = onward
    while (further := [*map(found.__getitem__, found)]) != found:
        found = further
    return found


_AS_IT_IS: Final = frozenset({type(None), bool, int, float, str})


def plain(value: Any) -> Any:
    """Return a value that JSON can hold: bytes are text, records fields, the unknown its type."""
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind is bytes:
        return value.decode("utf-8", "backslashreplace")
    if kind is tuple or kind is list:
        return [one if type(one) in _AS_IT_IS else plain(one) for one in value]
    if kind is dict:
        return {str(name): plain(item) for name, item in value.items()}
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return value.decode("utf-8", "backslashreplace")
        case Mapping():
            return {str(name): plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case set() | frozenset():
            return sorted((plain(item) for item in value), key=repr)
        case Enum():
            return plain(value.value)
        case Decimal() | UUID() | date() | time() | timedelta() | PurePath():
            return str(value)
        case _:
            return _fields(value)


def _fields(value: Any) -> Any:
    """Return a record as its fields, whatever library made it; else what kind of thing it is."""
    names = _NAMES.get(kind := type(value))
    if names is None:
        names = _NAMES[kind] = _names_of(kind)
    if not names:
        return f"<{kind.__module__}.{kind.__qualname__}>"
    return {name: plain(getattr(value, name, None)) for name in names}


_NAMES: Final = WeakKeyDictionary[type, tuple[str, ...]]()


def _names_of(kind: type) -> tuple[str, ...]:
    """Return the fields of a dataclass, an attrs class, a pydantic model or a msgspec struct."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    if attrs.has(kind):
        return tuple(field.name for field in attrs.fields(kind))
    for attribute in ("model_fields", "__struct_fields__"):
        fields = getattr(kind, attribute, None)
        if isinstance(fields, Mapping | tuple):
            return tuple(fields)
    return ()


def encode(raw: RawEvent) -> bytes:
    """Write one event in one canonical spelling, for the digest."""
    *head, data = raw
    if raw[1] == "raised" and data:  # the line of an error is another after any edit above it
        data = {name: value for name, value in data.items() if name != "line"}
    text = json.dumps(
        [*head, plain(data or {})], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return text.encode("utf-8", "surrogatepass") + b"\n"
