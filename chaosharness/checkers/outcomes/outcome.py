"""What came out of a run: rows, effects, messages and dead letters, each with its item.

Without what may rightly differ, so that two outcomes of one business are equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final, Literal

import attrs

from chaosharness.checkers.books import Row, tables_of, values_of
from chaosharness.checkers.effects import business
from chaosharness.checkers.excused import left_parked
from chaosharness.checkers.masking import EVER, LOOKS, STAR, is_unix_time, words_in
from chaosharness.checkers.outcomes.beside import Shapes, without
from chaosharness.checkers.outcomes.children import left_to_their_parents
from chaosharness.checkers.outcomes.owners import Owners
from chaosharness.checkers.outcomes.values import Path, is_number, leaves, parse, words_of
from chaosharness.checkers.reading import is_poison, read
from chaosharness.kernel.history import History

Place = tuple[Literal["row", "ledger", "topic", "outbox"], str, str]
"""A store and its table, a third party and its method, a broker and its topic."""

Served = tuple[str, str, Any]
"""A call of a service: whom it asked, for what, and with what."""

Entry = tuple[Place, Any]
"""Where something is, and what it is, without what may differ."""

UNMOVED: Final = frozenset(
    {"attempt", "attempts", "attempted", "tries", "tried", "retry", "retries", "retried"}
    | {"deliveries", "redeliveries", "redelivered", "receives", "failures", "errors"}
    | {"epoch", "fence", "version", "rev", "revision", "etag", "offset", "position", "generation"}
)
"""Words in the name of what only a repeat moves: no clean run can show that it may differ."""

FENCES: Final = frozenset({"token", "fencing", "lease"})
"""Likewise, of whole numbers: a text of that name may be business."""

ERRORS: Final = frozenset({"error", "errors", "err", "exception", "traceback", "failure"})
"""Words in the name of what says why something failed: nothing fails without faults."""

CHARGED: Final = frozenset({"order", "cents", "key"})
"""What a gateway's ledger says; its idempotency key is no business."""

UNSAID: Final = frozenset({"lossy", "kept"})
"""What a publish says that is no word to anybody: nobody need hear it, or a store holds it."""
REMEMBERED: Final = 20_000


@attrs.frozen
class Options:
    """What the user said about what may differ.

    Attributes:
        ignore: Stores, tables, columns, third parties, methods and topics not to compare.
        optional: Effects and messages that may be missing.
        may_end: Words that a timer may write: `(place, word)`.
        without: Kinds of finding that are not wanted, some with a place.
        losses: Brokers of which it is judged what comes of what they confirmed and lose.
    """

    ignore: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    may_end: frozenset[tuple[str, str]] = frozenset()
    without: frozenset[str] = frozenset()
    item_id: Any = None
    subject: Any = None
    losses: frozenset[str] = frozenset()

    def ignores(self, place: Place, name: str = "") -> bool:
        """Say whether a place is not to be compared, or a column or field there."""
        if not self.ignore:
            return False
        _, owner, what = place
        names = {what, owner, f"{owner}.{what}"}
        if name:
            names = {name, f"{what}.{name}", f"{owner}.{what}.{name}"}
        return bool(names & self.ignore)

    def is_optional(self, place: Place) -> bool:
        """Say whether what is done or said at a place may be missing."""
        _, owner, what = place
        return bool({owner, what, f"{owner}.{what}"} & self.optional)


def is_counter(words: frozenset[str], value: Any = 0) -> bool:
    """Say whether a value has the name of what only a repeat moves."""
    return bool(words & UNMOVED) or (type(value) is int and bool(words & FENCES))


def is_error(name: str) -> bool:
    """Say whether a column or field has the name of what says why something failed."""
    return not words_in(name).isdisjoint(ERRORS)


def spelled_place(place: Place) -> str:
    """Spell a place: `db.orders`, `bank.charge`, `bus.paid`."""
    _, owner, what = place
    return f"{owner}.{what}" if what else owner


RESULT: Final = "returned: "
"""How what a workflow has returned begins, among what is noted."""


@attrs.define(eq=False)
class Outcome:
    """What came out of a run. Item 0 is nobody.

    Attributes:
        own: The rows that name exactly one item, by item.
        shared: All other rows.
        ledger: The effects at third parties, oldest first, by item, with their events.
        said: The messages, and the rows of outboxes, by item, with the last of their events.
        dead: The readable messages that were put aside: `(event, message)`, by item.
        parked: The items of which a saga was left parked for a person.
        drawn: Where values were drawn by chance, and which, by item.
        noted: What the system noted about each item.
        nets: The effects that stand, by item, where that was worked out.
        writes: How often something was written in each table, by item.
        served: The calls of services, by item, each with the tables that they wrote in.
        ran_out: The rows among them that were there until their own time was over, by item.
    """

    own: dict[int, Counter[Entry]] = attrs.field(factory=dict)
    shared: Counter[Entry] = attrs.field(factory=Counter)
    ledger: dict[int, list[tuple[Place, Any, int]]] = attrs.field(factory=dict)
    said: dict[int, dict[Entry, int]] = attrs.field(factory=dict)
    dead: dict[int, list[tuple[int, int]]] = attrs.field(factory=dict)
    parked: frozenset[int] = frozenset()
    drawn: dict[int, dict[tuple[Place, Path], set[str]]] = attrs.field(factory=dict)
    noted: dict[int, set[str]] = attrs.field(factory=dict)
    nets: dict[int, Counter[Entry]] = attrs.field(factory=dict)
    writes: dict[int, Counter[Place]] = attrs.field(factory=dict)
    served: dict[int, dict[Served, set[Place]]] = attrs.field(factory=dict)
    ran_out: dict[int, Counter[Entry]] = attrs.field(factory=dict)

    def words(self, item: int) -> frozenset[tuple[Place, str]]:
        """Return the words in which the rows of an item say how it ended."""
        rows = self.own.get(item, ())
        return frozenset((place, text) for place, row in rows for text in words_of(row))

    def says(self, item: int) -> frozenset[Entry]:
        """Return the messages of an item."""
        return frozenset(self.said.get(item, ()))

    def tells(self, item: int, usual: Outcome, *, results: bool = True) -> bool:
        """Say whether there is a word of an item, to anybody, that is not there as usual.

        Args:
            item: The item.
            usual: What comes out without faults.
            results: Whether what its workflow has returned counts: whoever asks is told.
        """
        noted = self.noted.get(item, set()) - usual.noted.get(item, set())
        if not results:
            noted = {one for one in noted if not one.startswith(RESULT)}
        return bool(self.says(item) - usual.says(item) or noted)

    def served_by(self, item: int, operation: str) -> list[Served]:
        """Return the calls of an item that an operation made."""
        name = operation.rpartition("/")[2]
        calls = self.served.get(item, ())
        return [call for call in calls if f"{call[0]}.{call[1]}" == name]

    def with_items_of(self, others: Mapping[int, Outcome]) -> Outcome:
        """Return this outcome with some items as they came out in other runs, by item.

        What no single item owns stays as it is here.
        """
        taken = attrs.evolve(self, nets={})
        for name in ("own", "ledger", "said", "dead", "drawn", "noted", "writes", "served"):
            mine = dict(getattr(self, name))
            for item, other in others.items():
                theirs = getattr(other, name)
                if item in theirs:
                    mine[item] = theirs[item]
                else:
                    mine.pop(item, None)
            setattr(taken, name, mine)
        parked = {item for item, other in others.items() if item in other.parked}
        taken.parked = (self.parked - others.keys()) | parked
        return taken

    def without_run_out(self) -> Outcome:
        """Return this outcome without the rows of which the time was over: as they are gone."""
        own = {item: rows - self.ran_out.get(item, Counter()) for item, rows in self.own.items()}
        shared = self.shared - self.ran_out.get(0, Counter())
        return attrs.evolve(self, own=own, shared=shared, nets={}, ran_out={})

    def contents(self) -> Hashable:
        """Return what is compared of it, and what else a verdict asks: not where it happened."""
        return (
            frozenset(self.shared.items()),
            frozenset([(item, frozenset(own.items())) for item, own in self.own.items()]),
            frozenset(
                [
                    (item, tuple([done[:2] for done in ledger]))
                    for item, ledger in self.ledger.items()
                ]
            ),
            frozenset([(item, frozenset(said)) for item, said in self.said.items()]),
            frozenset([(item, frozenset(noted)) for item, noted in self.noted.items()]),
            frozenset(
                [
                    (item, call, frozenset(places))
                    for item, calls in self.served.items()
                    for call, places in calls.items()
                ]
            ),
            frozenset([(item, frozenset(gone.items())) for item, gone in self.ran_out.items()]),
        )

    def left_anything(self, item: int) -> bool:
        """Say whether there is anything of an item at all."""
        return bool(self.own.get(item) or self.ledger.get(item) or self.said.get(item))


class Reader:
    """Reads outcomes out of histories, in the same way for all runs of one workload.

    Attributes:
        owners: Whose is what.
        options: What the user said.
        masked: Places and paths that differ between clean runs, and mean nothing.
        drawn: Those among them that chance decides.
        errors: Where errors are said without faults: what those columns hold is business.
        partly: Places and paths of texts in which some numbers differ, and which.
        named: Those that were left out for their name only.
        business: Columns that hold numbers under the name of a counter, and are none.
        seeds: Rows that are there before any item came: `(place, its texts)`.
        given: Whole numbers that items bring along, or that are there before any came.
        outboxes: Tables whose rows a relay publishes.
        kept: The keys that stores hold in the end of the calm run, by store.
        by_name: Whether no clean run could be made, so that times and numbers are known by
            the names of their columns only.
    """

    def __init__(self, owners: Owners, options: Options, *, by_name: bool = False) -> None:
        self.owners = owners
        self.options = options
        self.by_name = by_name
        self.masked: set[tuple[Place, Path]] = set()
        self.drawn: set[tuple[Place, Path]] = set()
        self.errors: set[tuple[Place, Path]] = set()
        self.partly: dict[tuple[Place, Path], Shapes] = {}
        self.named: dict[tuple[Place, Path], None] = {}
        self.business: set[tuple[Place, Path]] = set()
        self.seeds: set[tuple[Place, frozenset[Any]]] = set()
        self.given: frozenset[int] = frozenset()
        self.outboxes: frozenset[Place] = frozenset()
        self.kept: dict[str, tuple[str, ...]] = {}
        self._known: dict[tuple[Place, int, Any], tuple[int, Any, Any]] = {}

    def forget(self) -> None:
        """Forget what was read: the masks have changed."""
        self._known.clear()

    # ---- what there is

    def rows(self, history: History) -> Iterator[tuple[Place, Mapping[str, Any]]]:
        """Yield the rows that stores held in the end."""
        for at in history.places_of("state"):
            _, _, store, _, _, _, _, data = history.raw[at]
            for table, rows in tables_of(data or {}):
                place: Place = ("row", store, table)
                if not self.options.ignores(place):
                    yield from ((place, row) for row in rows)
        yield from self._run_out(history)

    def _run_out(self, history: History) -> Iterator[tuple[Place, Row]]:
        """Yield what was there until its own time was over, as it last was, where calm keeps it.

        A fault may make a run longer than a key lives: it was written all the same. What calm does
        not keep, such as a lock that it gives back, is gone.
        """
        for at in history.places_of("state"):
            _, _, store, _, _, _, _, data = history.raw[at]
            gone = (data or {}).get("ran_out", {})
            place: Place = ("row", store, "")
            if not gone or self.options.ignores(place):
                continue
            room = Counter(self._masked_key(place, key) for key in self.kept.get(store, ()))
            room.subtract(self._masked_key(place, key) for key in values_of(data))
            for key, value in gone.items():
                name = self._masked_key(place, key)
                if room[name] > 0:
                    room[name] -= 1
                    yield place, {"key": key, "value": value}

    def _masked_key(self, place: Place, key: str) -> Any:
        return self.mask(place, key, ("key",))

    def done(self, history: History) -> Iterator[tuple[Place, Any, int, int]]:
        """Yield effects and messages: place, what was done or said, for which item, event.

        A dead letter is no service's word: that it is aside for good is found elsewhere.
        """
        raw = history.raw
        for index in history.places_of("effect", "publish"):
            _, kind, actor, _, entity, _, cause, data = raw[index]
            if kind == "effect" and "method" in data:
                method = str(data.get("method"))
                place: Place = ("ledger", actor.partition("/")[0], method)
                what = business(data)
                if method in ("charge", "refund") and what.keys() == CHARGED:
                    del what["key"]
                if not self.options.ignores(place):
                    yield place, what, entity, index
            elif kind == "publish" and "instead_of" not in data and not data.keys() & UNSAID:
                if cause >= 0 and raw[cause][1] == "dead":
                    continue
                value = data.get("value")
                # a queue for the answers of one connection has another name in each run
                name = STAR if data.get("made_up") else LOOKS.sub(STAR, str(data.get("topic")))
                place = ("topic", str(data.get("broker")), name)
                if not is_poison(value) and not self.options.ignores(place):
                    mentioned = self.owners.of((value, data.get("key")))
                    mine = next(iter(mentioned)) if len(mentioned) == 1 else entity
                    yield place, value, mine, index

    def pieces(self, history: History) -> Iterator[tuple[Place, int, Any]]:
        """Yield all that a run left: place, owner, value as it is."""
        for place, row in self.rows(history):
            yield place, self.owner_of_row(place, row), row
        for place, what, entity, _ in self.done(history):
            yield place, self.owners.owner(what, entity), parse(what)

    def owner_of_row(self, place: Place, row: Mapping[str, Any]) -> int:
        """Return whose row this is; 0 for one that is there for all."""
        mentioned = self.owners.of(row)
        if len(mentioned) != 1 or (place, texts_in(row)) in self.seeds:
            return 0
        return next(iter(mentioned))

    # ---- what may differ

    def mask(self, place: Place, value: Any, path: Path = ()) -> Any:
        """Return a value without what may differ, in a form that can be compared."""
        value = parse(value)
        if isinstance(value, Mapping):
            pairs = [
                (LOOKS.sub(STAR, str(name)), self.mask(place, one, (*path, str(name))))
                for name, one in value.items()
                if not self._is_an_error(place, (*path, str(name)))
            ]
            return tuple(sorted(pairs, key=repr))
        if isinstance(value, list | tuple):
            inner = (*path, "[]")
            return tuple(sorted((self.mask(place, one, inner) for one in value), key=repr))
        if value is None:
            return STAR if self._is_left_out(place, path, value) else None
        if isinstance(value, bool):
            return value
        if (place, path) in self.masked or self._is_left_out(place, path, value):
            return STAR
        if isinstance(value, str) and (place, path) in self.partly:
            return without(value, self.partly[place, path])
        if is_number(value):
            return STAR if is_unix_time(value) else value
        return LOOKS.sub(STAR, value) if isinstance(value, str) else repr(value)

    def _is_an_error(self, place: Place, path: Path) -> bool:
        """Say whether a value is left out since it says, by its name, why something failed.

        What is tried again and done in the end may keep its last error. Whether it was done is
        told by all that stands beside it.
        """
        if not is_error(path[-1]) or (place, path) in self.errors or place[0] != "row":
            return False
        self.named[place, path] = None
        return True

    def _is_left_out(self, place: Place, path: Path, value: Any) -> bool:
        """Say whether a value is left out for its name."""
        name = path[-1] if path else ""
        if not name:
            return False
        if self.options.ignores(place, name):
            return True
        words = words_in(name)
        counts = is_counter(words, value) and not (
            is_number(value) and (place, path) in self.business
        )
        if counts or (self.by_name and self._looks_generated(words, value)):
            self.named[place, path] = None
            return True
        return False

    @staticmethod
    def _looks_generated(words: frozenset[str], value: Any) -> bool:
        return bool(words & EVER) or (type(value) is int and "id" in words)

    # ---- reading

    def read(self, history: History) -> Outcome:
        """Return what came out of a run."""
        out = Outcome()
        for place, row in self.rows(history):
            owner, masked, drawn = self._piece(place, 0, row, repr(row))
            self._draw(out, owner, drawn)
            if place in self.outboxes:
                said: Entry = (("outbox", place[1], place[2]), wordy(masked))
                out.said.setdefault(owner, {})[said] = -1
            elif owner:
                out.own.setdefault(owner, Counter())[place, masked] += 1
            else:
                out.shared[place, masked] += 1
        for place, row in self._run_out(history):
            owner, masked, _ = self._piece(place, 0, row, repr(row))
            out.ran_out.setdefault(owner, Counter())[place, masked] += 1
        for place, what, entity, index in self.done(history):
            key = what if isinstance(what, bytes | str) else repr(what)
            owner, masked, drawn = self._piece(place, self.owners.home(entity), what, key)
            self._draw(out, owner, drawn)
            if place[0] == "ledger":
                out.ledger.setdefault(owner, []).append((place, masked, index))
            else:
                out.said.setdefault(owner, {})[place, masked] = index
        handled = left_to_their_parents(history)
        for event in history.of("note"):
            if event.index in handled:
                continue
            item = self.owners.owner(event.data, event.entity)
            noted = out.noted.setdefault(item, set())
            noted.add(str(event.data.get("what")))
            noted.update(f"{RESULT}{word}" for word in event.data.get("result", ()))
        parked = left_parked(history).values()
        out.parked = frozenset(self.owners.owner(one.data, one.entity) for one in parked)
        self._work(out, history)
        self._bury(out, history)
        return out

    def _work(self, out: Outcome, history: History) -> None:
        """Note what was written for whom, and by which calls of services."""
        calls: dict[int, tuple[int, Served]] = {}
        raw = history.raw
        for index in history.places_of("call", "write"):
            _, kind, actor, operation, entity, _, cause, data = raw[index]
            if kind == "call" and "endpoint" in data and not operation.startswith("client."):
                service, method = str(data["service"]), str(data["endpoint"])
                place: Place = ("ledger", service, method)
                value = data.get("value")
                item, masked, _ = self._piece(place, self.owners.home(entity), value, repr(value))
                calls[index] = (item, (service, method, masked))
                out.served.setdefault(item, {}).setdefault(calls[index][1], set())
            elif kind == "write" and "error" not in data and data.get("rows", 1):
                place = ("row", str(data.get("store")), str(data.get("table", "")))
                item = self.owners.home(entity) or self.owners.owner(data, 0)
                out.writes.setdefault(item, Counter())[place] += 1
                called = _called(history, cause, actor.partition("#")[0], calls)
                if called >= 0:
                    item, call = calls[called]
                    out.served[item][call].add(place)

    def _piece(self, place: Place, entity: int, value: Any, key: Any) -> tuple[int, Any, Any]:
        """Return the owner of a piece, what is compared of it, and what chance decided in it."""
        found = self._known.get((place, entity, key))
        if found is None:
            if place[0] == "row":
                owner = self.owner_of_row(place, value)
            else:
                owner = self.owners.owner(value, entity)
            drawn = tuple(
                ((place, path), leaf)
                for path, leaf in leaves(value)
                if (place, path) in self.drawn and isinstance(leaf, str)
            )
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[place, entity, key] = (owner, self.mask(place, value), drawn)
        return found

    @staticmethod
    def _draw(out: Outcome, owner: int, drawn: Any) -> None:
        for where, leaf in drawn:
            out.drawn.setdefault(owner, {}).setdefault(where, set()).add(leaf)

    def _bury(self, out: Outcome, history: History) -> None:
        """Note the readable messages that were put aside for good.

        What was dropped, with nowhere to put it, is kept for nobody, and excuses nothing.
        """
        raw = history.raw
        for event in history.of("dead"):
            message = event.data.get("message", -1)
            aside = event.data.get("to") and event.data.get("reason") != "expired"
            if not aside or not 0 <= message < len(raw):
                continue
            sent = history[message]
            if is_poison(sent.data.get("value")) or _came_again(history, event.index, message):
                continue
            if _taken_and_lost(history, message):
                continue
            said = (sent.data.get("value"), sent.data.get("key"))
            owner = self.owners.owner(said, sent.entity)
            out.dead.setdefault(owner, []).append((event.index, message))


def _called(history: History, at: int, service: str, calls: Mapping[int, Any]) -> int:
    """Return the call of a service in which it did something; -1 for none."""
    raw = history.raw
    while calls and at >= 0 and raw[at][1] != "deliver":
        if at in calls and calls[at][1][0] == service:
            return at
        at = raw[at][6]
    return -1


def _came_again(history: History, index: int, message: int) -> bool:
    """Say whether a message that was dead-lettered was handed out once more where it had died.

    By then it may be another message: a dead letter of it that a retry queue sent round, or what
    somebody published again in its place: word for word, or by whoever had it in hand, with a new
    id.
    """
    raw, roots = history.raw, read(history).roots
    queue, value = raw[index][7].get("queue"), raw[message][7].get("value")
    same = {message}
    for at in range(index + 1, len(raw)):
        _, kind, _, _, _, _, _, data = raw[at]
        if kind == "publish":
            root = roots[at]
            by_hand = root >= 0 and (raw[root][7] or {}).get("message") in same
            alike = by_hand or data.get("value") == value
            again = alike and queue in (data.get("queues") or ())
            if again or data.get("instead_of") in same:
                same.add(at)
        elif kind == "deliver" and data.get("message") in same:
            back = data.get("message") == message or data.get("group") == queue
            if back:
                return True
    return False


def _taken_and_lost(history: History, message: int) -> bool:
    """Say whether a loop took a dead letter from where it was kept, and lost it.

    It acknowledged the copy, and then failed, or died where it goes on with others. Or a handler
    has done nothing with it, and nobody has it any more: what is only logged is kept for nobody.
    """
    reading = read(history)
    copies = {at for at in history.places_of("publish") if _stands_for(history, at) == message}
    taken = [one for one in reading.handed.values() if one.sent.index in copies]
    if not taken or any(one.work for one in taken):
        return False
    if any(one.by_handler for one in taken):
        told = {reading.roots[at] for at in history.places_of("note")}
        return all(one.handled >= 0 and one.acked >= 0 and one.index not in told for one in taken)
    for one in taken:
        goes_on = any(
            other.group == one.group and other.acked >= 0 and other.work
            for other in reading.handed.values()
        )
        if one.acked >= 0 and (one.acked < one.raised or (goes_on and one.acked < one.cut)):
            return True
    return False


def _stands_for(history: History, at: int) -> int:
    return int(history.raw[at][7].get("instead_of", -1))


def texts_in(row: Any) -> frozenset[Any]:
    """Return the texts of a row, each with its place in it."""
    return frozenset((path, leaf) for path, leaf in leaves(row) if isinstance(leaf, str))


def wordy(masked: Any) -> Any:
    """Return a masked value without its numbers."""
    if isinstance(masked, tuple):
        return tuple(wordy(one) for one in masked)
    return STAR if is_number(masked) else masked
