"""Events and what they announce: no ghosts, nothing kept silent, no half taken for a whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import compress
from operator import itemgetter
from typing import Any, Final, Literal

import attrs

from chaosharness.checkers.books import Books
from chaosharness.checkers.effects import name_of, times
from chaosharness.checkers.excused import Aside, about, put_aside
from chaosharness.checkers.masking import mask
from chaosharness.checkers.property import Evidence, Finding, Property, once_a_run
from chaosharness.checkers.reading import is_poison, is_quiet, read
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.kernel.history import Event, History, RawEvent

UNDONE: Final = ("rollback", "crash", "raised")
"""What undoes a transaction, or keeps it from being committed."""

_OF_A_RUN: Final = ("publish", "write", "commit", *UNDONE)
_TROUBLED: Final = frozenset({"write", *UNDONE})
_ACTOR: Final = itemgetter(2)

Fate = Literal["committed", "undone", "cut", "none"]

_ENDS: Final[Mapping[str, Fate]] = {"commit": "committed", "rollback": "undone"}
"""What ends a transaction, and what became of it then."""


# ---- ghosts


@attrs.define(eq=False)
class Work:
    """What one piece of code did in one go: a handler run, or the life of a main loop.

    Attributes:
        raw: The events of its history.
        place: The handler or loop.
        events: What it did, as indexes.
        ends: Transactions that its whole incarnation ended: a connection may be shared.
    """

    raw: list[RawEvent]
    place: str
    events: list[int]
    ends: list[int]

    def publishes(self) -> list[int]:
        """Return where it published something."""
        return [at for at in self.events if self.raw[at][1] == "publish"]

    def may_be_undone(self) -> bool:
        """Say whether there is a transaction in it, or an end before its time."""
        return any(self.raw[at][1] in _TROUBLED for at in self.events)

    def commits(self) -> bool:
        """Say whether it committed something."""
        return any(self.raw[at][1] == "commit" for at in self.events)

    def fates(self) -> list[tuple[int, Fate, int]]:
        """Return for each publish what became of the transaction that it belongs to, and where.

        That is the transaction open at that moment; else, where nothing was committed
        before, the next one. A publish after a commit announces what is already true.
        `cut` is a run that ended before it wrote anything.
        """
        raw = self.raw
        found: list[tuple[int, Fate, int]] = []
        waiting: list[tuple[int, frozenset[str]]] = []
        open_in: set[str] = set()
        committed = False
        for at in self.events:
            row = raw[at]
            kind = row[1]
            if kind == "publish":
                if committed and not open_in:
                    found.append((at, "committed", -1))
                else:
                    waiting.append((at, frozenset(open_in)))
            elif kind == "write":
                open_in.add(_store(row[7]))
            elif kind in _ENDS:
                store = _store(row[7])
                open_in.discard(store)
                committed = committed or kind == "commit"
                ended = [one for one in waiting if not one[1] or store in one[1]]
                if ended:
                    waiting = [one for one in waiting if one[1] and store not in one[1]]
                    found += [(publish, _ENDS[kind], at) for publish, _ in ended]
        found += [(publish, *self._left(publish, bool(open_))) for publish, open_ in waiting]
        return sorted(found)

    def _left(self, publish: int, in_one: bool) -> tuple[Fate, int]:
        """Return what became of a transaction that its own piece of work did not end."""
        raw = self.raw
        later = [at for at in self.events if at > publish]
        end = next((at for at in later if raw[at][1] in ("crash", "raised")), -1)
        writes = [at for at in self.events if raw[at][1] == "write"]
        if in_one or (writes and writes[-1] > publish):
            if end < 0 or raw[end][1] == "raised":
                for at in self.ends:
                    if at > writes[-1] and _store(raw[at][7]) == _store(raw[writes[-1]][7]):
                        return _ENDS[raw[at][1]], at
            return "undone", end
        return ("none" if end < 0 else "cut"), end


def _store(data: Mapping[str, Any] | None) -> str:
    return str(data.get("store", "")) if data else ""


def no_ghost_event() -> Property:
    """Claim that no event announces what was then rolled back.

    An event is a ghost if it was published in a transaction, or before one in the same
    handler run, that was rolled back or cut by a crash; unless the same event (topic and
    key) was published again, by the same handler, with or after a transaction that was
    committed. Nor is it one where somebody else published the same text so: the relay of
    an outbox publishes what a handler committed, and may fail to write down that it did.

    >>> run.check(no_ghost_event())
    >>> shop.claim(no_ghost_event(), announced(db, "orders", "order-created"))
    """

    def judge(evidence: Evidence) -> list[Finding]:
        if not is_quiet(evidence.history):
            return []
        history = evidence.history
        undone = [*_undone(history, evidence.calm)] if _troubled(history) else []
        if not undone:
            return []
        true = _said_truly(history, {_subject(history.raw[event.index]) for event, _ in undone})
        return [
            _ghost(history, event, where)
            for event, where in undone
            if not true & {_same(event.operation.partition("/")[0], event), _said(event)}
        ]

    def tested(evidence: Evidence) -> bool:
        raw = evidence.history.raw
        if not evidence.history.places_of(*UNDONE):
            return False
        return any(
            {"publish", "write"} & kinds and not kinds.isdisjoint(UNDONE)
            for kinds in (
                {raw[at][1] for at in found}
                for found in _pieces(evidence.history, _troubled(evidence.history))
            )
        )

    return Property("no ghost event", judge, "eventually", tested=tested)


def _subject(raw: RawEvent) -> tuple[Any, ...]:
    """Return what all messages that may stand for one another have in common."""
    data = raw[7] or {}
    key = data.get("key")
    return data.get("topic"), key, raw[4] if key is None else None


def _said_truly(history: History, subjects: set[tuple[Any, ...]]) -> set[Any]:
    """Return what was published with or after a transaction that was committed."""
    raw = history.raw
    places = history.places_of("publish")
    found = {at for at in places if raw[at][3] and _subject(raw[at]) in subjects}
    true: set[Any] = set()
    for work in _works(history, frozenset([raw[at][2] for at in found])):
        for at, fate, _ in work.fates():
            if at in found and fate == "committed":
                true |= {_same(work.place, history[at]), _said(history[at])}
    return true


@lru_cache(maxsize=8)
def _troubled(history: History) -> frozenset[str]:
    """Return who failed, or wrote what was not committed afterwards in the same store.

    Nothing that anybody else published can have been undone, whichever transaction it was in.
    """
    raw = history.raw
    stored: dict[tuple[str, str], int] = {}
    for at in history.places_of("commit"):
        _, _, actor, _, _, _, _, data = raw[at]
        if not data or "error" not in data:
            stored[actor, _store(data)] = at
    failed = {raw[at][2] for at in history.places_of(*UNDONE)}
    written = {(raw[at][2], _store(raw[at][7])): at for at in history.places_of("write")}
    open_ = [place[0] for place, at in written.items() if at > stored.get(place, -1)]
    return frozenset(failed.union(open_))


def _undone(history: History, calm: Callable[[], History]) -> Iterator[tuple[Event, int]]:
    """Yield what was published in transactions that were undone, each with where they were."""
    usual = _with_commits(calm())
    done: set[tuple[str, int]] | None = None
    for work in _works(history, _troubled(history)):
        if not work.may_be_undone():
            continue
        for at, fate, where in work.fates():
            _, _, _, operation, entity, _, _, _ = history.raw[at]
            if fate == "cut" and operation in usual:
                done = _commits(history) if done is None else done
                if (work.place, entity) not in done and (work.place, 0) not in done:
                    fate = "undone"
            if fate == "undone":
                yield history[at], where


@lru_cache(maxsize=8)
def _pieces(history: History, actors: frozenset[str] | None = None) -> list[list[int]]:
    """Return what each piece of code did in one go, oldest first, as indexes of events.

    Of some actors only, if they are given.
    """
    roots = read(history).roots
    found: dict[tuple[int, str], list[int]] = {}
    events = history.raw
    places: Iterable[int] = history.places_of(*_OF_A_RUN)
    if actors is not None:
        who = map(_ACTOR, map(events.__getitem__, places))
        places = compress(places, map(actors.__contains__, who))
    for index in places:
        _, kind, actor, operation, _, _, _, data = events[index]
        if kind == "publish":
            counts = operation != ""  # else a broker put a dead letter aside
        elif kind == "raised" or not data:
            counts = True
        else:  # a row changed, and the store took it
            counts = "error" not in data and (kind != "write" or data.get("rows") != 0)
        if counts:
            found.setdefault((roots[index], actor), []).append(index)
    return [*found.values()]


def _works(history: History, actors: frozenset[str] | None = None) -> list[Work]:
    """Return the pieces of work that published something; of some actors only, if given."""
    raw = history.raw
    works: list[Work] = []
    ends: dict[str, list[int]] = {}
    for found in _pieces(history, actors):
        kinds = [raw[at][1] for at in found]
        own = ends.setdefault(raw[found[0]][2], [])
        if "commit" in kinds or "rollback" in kinds:
            own += [at for at in found if raw[at][1] in ("commit", "rollback")]
        if "publish" in kinds:
            works.append(Work(raw, _place(raw, found), found, own))
    for own in ends.values():
        own.sort()
    return works


def _place(raw: list[RawEvent], found: list[int]) -> str:
    return next((place for at in found if (place := raw[at][3].partition("/")[0])), "")


def _commits(history: History) -> set[tuple[str, int]]:
    """Return each place whose work includes a commit, with the workload item."""
    raw = history.raw
    return {
        (_place(raw, found), raw[at][4])
        for found in _pieces(history)
        for at in found
        if raw[at][1] == "commit"
    }


@lru_cache(maxsize=64)
def _with_commits(history: History) -> frozenset[str]:
    """Return the operations that publish in a piece of work that commits something, too."""
    return frozenset(
        history.raw[at][3] for work in _works(history) if work.commits() for at in work.publishes()
    )


def _said(event: Event) -> Any:
    """Return what a message says, whoever says it: a relay repeats what a handler committed."""
    data = event.data
    return data.get("topic"), data.get("key"), event.entity, mask(data.get("value"))


def _same(place: str, event: Event) -> Any:
    """Return what makes two publishes of one handler the same announcement."""
    key = event.data.get("key")
    if key is not None:
        return place, event.data.get("topic"), key
    return place, event.data.get("topic"), event.entity, mask(event.data.get("value"))


def _ghost(history: History, event: Event, where: int) -> Finding:
    key = event.data.get("key")
    whose = f"for {key}" if key is not None else f"of item {event.entity}"
    how = {"rollback": "was rolled back", "crash": "died with a crash"}.get(
        history[where].kind if where >= 0 else "", "was never committed"
    )
    place = event.operation.partition("/")[0]
    summary = (
        f"the {event.data.get('topic')!r} message {whose} is a ghost: {place} published it, "
        f"its transaction {how}, and no later one took its place"
    )
    events = (event.index, where) if where >= 0 else (event.index,)
    data = {"topic": event.data.get("topic"), "key": key}
    return Finding(summary, events, event.entity, data)


# ---- silence


def announced(
    store: Any,
    table: str,
    topic: str,
    *,
    key: str = "id",
    field: str | None = None,
    where: Callable[[Mapping[str, Any]], bool] | None = None,
) -> Property:
    """Claim that what was committed is announced: each row has its message, once all is quiet.

    A row whose key, or workload item, had a message put aside as a dead letter is not missed.

    Args:
        store: The store, or its name.
        table: The table whose rows are announced.
        topic: The topic on which they are.
        key: The column that a message names.
        field: Where in the payload the message names it; by default its key.
        where: Which rows are announced; by default all.

    >>> announced(db, "orders", "order-created")
    >>> announced(db, "payments", "paid", key="order_id", field="order",
    ...     where=lambda row: row["status"] == "paid")
    """

    def rows(evidence: Evidence) -> list[Mapping[str, Any]]:
        found = Books(evidence.history).rows(store, table)
        return [row for row in found if where is None or where(row)]

    def judge(evidence: Evidence) -> list[Finding]:
        if not is_quiet(evidence.history):
            return []
        said = {
            _named(event, field)
            for event in evidence.history.of("publish")
            if event.data.get("topic") == topic
        }
        aside = put_aside(evidence.history)
        state = tuple(
            event.index for event in evidence.history.of("state") if event.actor == name_of(store)
        )
        return [
            _silent(name_of(store), table, topic, key, str(row[key]), state)
            for row in rows(evidence)
            if str(row[key]) not in said and not about(aside, row[key])
        ]

    def tested(evidence: Evidence) -> bool:
        return is_quiet(evidence.history) and bool(rows(evidence))

    name = f"{name_of(store)}.{table} is announced on {topic}"
    return Property(name, judge, "eventually", tested=tested)


def _named(event: Event, field: str | None) -> str:
    """Return which business key a message names: its own key, or a field of its payload."""
    if field is None:
        return str(event.data.get("key"))
    value = event.data.get("value")
    try:
        payload = json.loads(value) if isinstance(value, bytes | str) else value
    except ValueError:
        return ""
    return str(payload.get(field)) if isinstance(payload, Mapping) else ""


def _silent(store: str, table: str, topic: str, column: str, key: str, state: Any) -> Finding:
    summary = (
        f"{store}.{table} holds the row with {column} {key}, and no {topic!r} message ever said so"
    )
    return Finding(summary, state, 0, {"store": store, "table": table, "topic": topic, "key": key})


# ---- joins


def joins_complete(
    halves: Iterable[str],
    into: str,
    *,
    or_else: str | Iterable[str] = (),
    field: str | None = None,
) -> Property:
    """Claim that a join waits for all its halves, and then completes or times out.

    What is published on `into` comes after one message on each of `halves` for the same
    business key: two of one half are no whole. Once all is quiet, a key with all halves has
    its `into`, or an `or_else`; one with some of the halves has its `or_else`, where given. A
    key of which a message was put aside as a dead letter never reached the join: a person will.

    Args:
        halves: Topics that are joined.
        into: The topic on which the join says that it is complete.
        or_else: Topics on which it says that it gave up.
        field: Where in the payload the business key is; by default the message's key.

    >>> joins_complete(["paid", "reserved"], "confirmed")
    >>> joins_complete(["paid", "reserved"], "confirmed", or_else="timed-out", field="order")
    """
    several = isinstance(halves, Iterable) and not isinstance(halves, str)
    parts = tuple(halves) if several else ()
    if not parts or not all(isinstance(one, str) for one in parts):
        raise InvalidDefinition(
            f"say which topics are joined: ['paid', 'reserved'], not {halves!r}{asked_at()}"
        )
    others = (or_else,) if isinstance(or_else, str) else tuple(or_else)

    @once_a_run
    def joins(evidence: Evidence) -> dict[str, Join]:
        found: dict[str, Join] = {}
        for event in evidence.history.of("publish"):
            topic = event.data.get("topic")
            if is_poison(event.data.get("value")):
                continue
            if topic in parts or topic in others or topic == into:
                found.setdefault(_named(event, field), Join()).take(event, topic, parts, into)
        return found

    def judge(evidence: Evidence) -> list[Finding]:
        quiet = is_quiet(evidence.history)
        aside = put_aside(evidence.history) if quiet else Aside()
        return [
            finding
            for key, join in joins(evidence).items()
            for finding in _unjoined(
                key, join, parts, into, others, quiet and not about(aside, key, join.messages())
            )
        ]

    def tested(evidence: Evidence) -> bool:
        return any(join.halves for join in joins(evidence).values())

    return Property(f"joins into {into} are complete", judge, "eventually", tested=tested)


@attrs.define(eq=False)
class Join:
    """What was published for one business key."""

    halves: dict[str, list[Event]] = attrs.field(factory=dict)
    whole: Event | None = None
    early: tuple[str, ...] = ()
    other: Event | None = None

    def messages(self) -> list[Event]:
        """Return the halves that were published."""
        return [event for events in self.halves.values() for event in events]

    def take(self, event: Event, topic: str, parts: tuple[str, ...], into: str) -> None:
        """Take one more message of this join."""
        if topic in parts:
            self.halves.setdefault(topic, []).append(event)
        elif topic != into:
            self.other = self.other or event
        elif self.whole is None:
            self.whole = event
            self.early = tuple(part for part in parts if part not in self.halves)


def _unjoined(
    key: str, join: Join, parts: tuple[str, ...], into: str, others: tuple[str, ...], quiet: bool
) -> Iterator[Finding]:
    all_of_it = [
        *join.messages(),
        *(event for event in (join.whole, join.other) if event is not None),
    ]
    events = tuple(sorted(event.index for event in all_of_it))
    entity = all_of_it[0].entity
    there = ", ".join(f"{topic!r} {times(len(found))}" for topic, found in join.halves.items())
    there = there or "nothing"
    data = {"key": key, "halves": {topic: len(found) for topic, found in join.halves.items()}}
    if join.early:
        missing = ", ".join(map(repr, join.early))
        summary = f"{into!r} was published for {key} without {missing}; there was {there}"
        yield Finding(summary, events, entity, data)
    elif quiet and join.whole is None and join.other is None:
        if len(join.halves) == len(parts):
            instead = "".join(f" or {topic!r}" for topic in others)
            summary = f"{key} has all its halves ({there}), and no {into!r}{instead} came of it"
            yield Finding(summary, events, entity, data)
        elif others:
            gave_up = " or ".join(map(repr, others))
            summary = f"{key} has only {there}, and no {gave_up} came of it"
            yield Finding(summary, events, entity, data)
