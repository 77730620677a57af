"""What may differ is learned: from the same workload, run otherwise without faults."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from chaosharness.checkers.books import values_of
from chaosharness.checkers.masking import words_in
from chaosharness.checkers.outcomes.beside import shapes_of
from chaosharness.checkers.outcomes.measured import by_latency, by_ticking
from chaosharness.checkers.outcomes.outcome import Place, Reader, is_counter, is_error, texts_in
from chaosharness.checkers.outcomes.plan import CleanRun, Family, Plan
from chaosharness.checkers.outcomes.read_as_columns import (
    Columns,
    columns,
    compared,
    counted,
    values,
)
from chaosharness.checkers.outcomes.values import Path, is_number, leaves, parse
from chaosharness.checkers.reading import read
from chaosharness.kernel.history import History

FAR_APART_MS: Final = 600_000
"""A gap between items in which one is done with before the next one comes."""

OTHERWISE: Final = Plan(start_ms=3_011, clock_ms=-61_003, salt="other", restart="before")
"""Another clock and other chance: how times and drawn values are learned first."""
NUMBER: Final = re.compile(r"(?<![\w.])[0-9]{1,9}(?![\w.])")

AMOUNTS: Final = frozenset({"total", "sum", "balance", "amount", "cents", "price", "tally"})
"""Words in the name of what adds up: how many messages a log had held is no measure of it."""

PRICES: Final = frozenset({"amount", "cents", "price"})
"""Those of them that are no sum of what came before."""

FIRST_NUMBER: Final = 1_013
"""How many numbers were dealt out before instead: no sum comes out so by chance."""

FIRST_OFFSET: Final = 1_009
"""Where logs begin instead: at a number that is nothing else."""


def learn(reader: Reader, family: Family, count: int) -> None:
    """Find out what may differ, and tell the reader."""
    history = family.calm().history
    reader.kept = {one.actor: (*values_of(one.data),) for one in history.of("state")}
    everyone = frozenset(range(1, count + 1))
    base = family.run(Plan(absent=everyone)) if count else None
    if base is not None:
        reader.seeds = {(place, texts_in(row)) for place, row in reader.rows(base.history)}
    reader.outboxes = frozenset(_outboxes(reader, history))
    usual = columns(reader, history)
    reader.errors = {
        where
        for where, column in usual.items()
        for _, value in column
        if value not in (None, "", 0) and where[1] and is_error(where[1][-1])
    }
    absences = _Absences(reader, family, count)
    reader.business.update(_by_name(reader, history, base, absences))
    _by_clock_and_chance(reader, family, usual)
    by_latency(reader, family, usual)
    by_ticking(reader, family, usual)
    _by_offset(reader, family, usual)
    if count > 1:
        _by_restart(reader, family, usual, absences)
        reader.given = _given_numbers(reader, history, base)
        _by_order(reader, family, usual, count)
        _by_absence(reader, usual, absences)
    if reader.masked or reader.drawn or reader.partly:
        family.see_that_it_is_the_same(any_will_do=True)  # else chance would excuse all
    reader.forget()


def _by_clock_and_chance(reader: Reader, family: Family, usual: Columns) -> None:
    """Times, and what is drawn: the interleaving stays as it was."""
    plans = (
        OTHERWISE,
        Plan(start_ms=5, clock_ms=7_919, salt="more"),
    )
    for plan in plans:
        if not (reader.masked or reader.partly):  # the second where the first has shown nothing
            moved = _moved_in_order(reader, family, usual, plan)
            reader.masked |= moved.wholly
            reader.partly = moved.partly
    if reader.masked or reader.partly:
        moved = _moved(reader, family, usual, Plan(salt="third"))
        reader.drawn |= moved.wholly
        reader.masked |= reader.drawn
        reader.partly = moved.partly


@attrs.frozen
class _Moved:
    """The columns that hold other values in another run: all of a value, or a part of it."""

    wholly: set[tuple[Place, Path]]
    partly: dict[tuple[Place, Path], Any]


def _moved_in_order(reader: Reader, family: Family, usual: Columns, plan: Plan) -> _Moved:
    """Return the columns that move with a plan, without what changes the order of messages.

    Replicas that join anew after a restart may be given other log partitions, and with a later
    start rounds of polling fall otherwise. What differs then was decided by the order, and
    neither by a clock nor by chance.
    """
    at_rest = attrs.evolve(plan, restart=Plan().restart)
    for one in (plan, at_rest, attrs.evolve(at_rest, start_ms=Plan().start_ms)):
        moved = _moved(reader, family, usual, one)
        if (not moved.wholly and not moved.partly) or _is_in_order(family, one):
            return moved
    return _moved(reader, family, usual, plan)


def _is_in_order(family: Family, plan: Plan) -> bool:
    """Say whether messages are handed out with a plan in the order in which they usually are."""
    run = family.run(plan)
    return run is None or _handed(run.history) == _handed(family.calm().history)


def _handed(history: History) -> list[tuple[str, int]]:
    """Return to which operation messages were handed, in order, and which: the how manieth."""
    raw = history.raw
    number = {at: place for place, at in enumerate(history.places_of("publish"))}
    return [(raw[at][3], number[raw[at][7]["message"]]) for at in history.places_of("deliver")]


def _moved(reader: Reader, family: Family, usual: Columns, plan: Plan) -> _Moved:
    """Return the columns that hold other values in another run, with those known in part."""
    found, partly = set(), dict(reader.partly)
    for where, mine, theirs in compared(reader, family, usual, plan):
        if counted(mine) == counted(theirs):
            continue
        shapes = None
        if where not in reader.masked:
            shapes = shapes_of(values(mine), values(theirs), partly.pop(where, None))
        if shapes is None:
            found.add(where)
        else:
            partly[where] = shapes
    return _Moved(found, partly)


def _by_offset(reader: Reader, family: Family, usual: Columns) -> None:
    """Places in a log, and numbers that databases deal out; and what points at them.

    What was sent twice, or dropped before, moves a place; a repeat may use a number up. How far
    a table was read, or which of its rows is the last, is such a number too.
    """
    raw = family.calm().history.raw
    published = family.calm().history.places_of("publish")
    offsets = [(raw[at][7] or {}).get("offset") for at in published]
    last = max((one for one in offsets if one is not None), default=-1)
    deals = family.calm().deals_numbers
    if deals or any(_may_be_place(value, last) for col in usual.values() for _, value in col):
        plan = Plan(first_offset=FIRST_OFFSET, first_number=FIRST_NUMBER if deals else 0)
        moved = _moved(reader, family, usual, plan)
        reader.masked.update(where for where in moved.wholly if not _is_amount(where))
        reader.partly = moved.partly


def _is_amount(where: tuple[Place, Path]) -> bool:
    """Say whether a column is named as a sum is: a place in a log is none."""
    _, path = where
    return bool(path) and not words_in(path[-1]).isdisjoint(AMOUNTS)


def _may_be_place(value: Any, last: int) -> bool:
    """Say whether a value may be an offset, or the one behind it, or hold one."""
    if type(value) is int:
        return 0 <= value <= last + 1
    if type(value) is not str:
        return False
    return any(int(one) <= last + 1 for one in NUMBER.findall(value))


class _Absences:
    """The runs in each of which one item is absent: made when first asked for."""

    def __init__(self, reader: Reader, family: Family, count: int) -> None:
        self._reader = reader
        self._family = family
        self._count = count
        self._found: list[Columns] | None = None

    def all(self) -> list[Columns]:
        if self._found is None:
            self._found = [columns(self._reader, history) for _, history in self.histories()]
        return self._found

    def histories(self) -> Iterator[tuple[int, History]]:
        """Yield each item, with a run without it; none where there is one item only."""
        for number in range(1, self._count + 1) if self._count > 1 else ():
            run = self._family.run(Plan(absent=frozenset({number})))
            if run is not None:
                yield number, run.history


def _by_restart(reader: Reader, family: Family, usual: Columns, absences: _Absences) -> None:
    """Epochs: numbers that a restart between items moves, and that no item's absence does."""
    if not any(
        where[0][0] == "row" and all(type(one) is int for one in values(column))
        for where, column in usual.items()
    ):
        return
    plan = Plan(gap_ms=FAR_APART_MS, restart="between")
    for where, mine, theirs in compared(reader, family, usual, plan):
        before, after = values(mine), values(theirs)
        if where[0][0] != "row" or not all(type(one) is int for one in (*before, *after)):
            continue
        steps = [y - x for x, y in zip(sorted(before), sorted(after), strict=True)]
        few = all(0 <= step <= 2 * len(family.items) for step in steps)
        if few and len({*steps} - {0}) == 1 and not _is_business(where, mine, absences):
            reader.masked.add(where)


def _is_business(
    where: tuple[Place, Path], column: Sequence[tuple[int, Any]], absences: _Absences
) -> bool:
    """Say whether a number depends on which items came."""
    mine = counted(column)
    others = [counted(one.get(where, [])) for one in absences.all()]
    return any(mine - other and other - mine for other in others)


def _by_order(reader: Reader, family: Family, usual: Columns, count: int) -> None:
    """Numbers that are dealt out in the order of arrival, each to one item."""
    if not any(
        all(type(one) is int for one in values(column)) and is_dealt(column)
        for column in usual.values()
    ):
        return
    plan = Plan(order=tuple(range(count, 0, -1)))
    for where, mine, theirs in compared(reader, family, usual, plan):
        both = [*values(mine), *values(theirs)]
        if len(mine) > 1 and all(type(one) is int for one in both):
            if is_told(reader, where, values(mine)):
                continue
            same = sorted(values(mine)) == sorted(values(theirs))
            if same and sorted(mine) != sorted(theirs) and is_dealt(mine) and is_dealt(theirs):
                reader.masked.add(where)


def _given_numbers(reader: Reader, history: History, base: CleanRun | None) -> frozenset[int]:
    """Return the whole numbers that items bring along, or that are stored before any comes."""
    items = [event.data.get("item") for event in history.of("arrive")]
    stored = [] if base is None else [row for _, row in reader.rows(base.history)]
    found = (leaf for value in (*items, *stored) for _, leaf in leaves(value))
    return frozenset(leaf for leaf in found if type(leaf) is int)


def is_told(reader: Reader, where: tuple[Place, Path], numbers: Sequence[Any]) -> bool:
    """Say whether numbers are amounts, or were given: a price goes by the order too, and is dealt
    out by nobody.

    Numbers that follow one another may be dealt out although some item brings the same; and a
    balance after each item goes by their order, whoever deals it out.
    """
    if where[1] and not words_in(where[1][-1]).isdisjoint(PRICES):
        return True
    known = reader.given.issuperset(numbers)
    return known and (_is_amount(where) or max(numbers) - min(numbers) > 2 * len(numbers))


def is_dealt(column: Sequence[tuple[int, Any]]) -> bool:
    """Say whether each number belongs to one item only."""
    owner: dict[Any, int] = {}
    return all(owner.setdefault(number, item) == item for item, number in column) and (
        len({number for _, number in column}) > 1
    )


def _by_absence(reader: Reader, usual: Columns, absences: _Absences) -> None:
    """Numbers in messages that are totals so far: another item's absence moves them."""
    numeric = [
        (where, column)
        for where, column in usual.items()
        if where[0][0] == "topic" and any(is_number(value) for _, value in column)
    ]
    for where, column in numeric:
        for other in absences.all():
            theirs = other.get(where, [])
            present = {item for item, _ in theirs}
            mine = [one for one in column if one[0] in present]
            if Counter(mine) != Counter(theirs) and len(mine) == len(theirs):
                reader.masked.add(where)


# ---- business under the name of a counter

_MOVES: Final = ("write", "commit", "publish", "deliver")
"""What a version, a fencing number or an offset counts."""


def _by_name(
    reader: Reader, history: History, base: CleanRun | None, absences: _Absences
) -> Iterator[tuple[Place, Path]]:
    """Yield the columns that are named as counters are, and hold what no counter can.

    A balance may be called `token_balance`, and what a fund holds its `position`. A counter goes
    up, from where it was before any item came, by one for each thing that was done.
    """
    named = _named_numbers(reader, history)
    if not named:
        return
    before = _named_numbers(reader, base.history) if base is not None else {}
    starts = {0, *before.values()}
    most = len(history.places_of(*_MOVES))
    without = [
        (
            _named_numbers(reader, other),
            _moves_of(history, item) + abs(most - len(other.places_of(*_MOVES))),
        )
        for item, other in absences.histories()
    ]
    for row, value in named.items():
        counted = any(0 <= value - start <= most for start in starts)
        moved = [abs(value - other.get(row, value)) > moves for other, moves in without]
        if value < before.get(row, value) or not counted or any(moved):
            yield row[0], row[1]


def _named_numbers(
    reader: Reader, history: History
) -> dict[tuple[Place, Path, frozenset[Any]], Any]:
    """Return the numbers that rows hold under the names of counters, by the texts beside them."""
    found = {}
    for place, row in reader.rows(history):
        for path, leaf in leaves(row):
            if is_number(leaf) and path and is_counter(words_in(path[-1])):
                found[place, path, texts_in(row)] = leaf
    return found


def _moves_of(history: History, item: int) -> int:
    raw = history.raw
    return sum(1 for at in history.places_of(*_MOVES) if raw[at][4] == item)


# ---- outboxes


def _outboxes(reader: Reader, history: History) -> Iterator[Place]:
    """Yield the tables whose every row a relay published: their rows are messages."""
    tables: dict[Place, list[Any]] = {}
    for place, row in reader.rows(history):
        tables.setdefault(place, []).append(row)
    sent = [*_sent(reader, history)]
    hands = _hands(history)
    relayed = _relayed(reader, history)
    kept = _kept(history)
    for place, rows in tables.items():
        if place in kept:
            continue
        theirs = [what for service, what in sent if service in hands.get(place[1], ())]
        if all(_is_sent(row, theirs) for row in rows) or (
            place in relayed and all(_is_said(reader, row, relayed[place]) for row in rows)
        ):
            yield place


def _kept(history: History) -> set[Place]:
    """Return the tables that are looked at for what is next, and in which nothing is ticked off.

    Such rows are published, and are state all the same: the events of an account are. One of
    them too many is not a message that came twice.
    """
    roots = read(history).roots
    looked: set[tuple[int, Place]] = set()
    found: set[Place] = set()
    ticked: set[Place] = set()
    for index, (_, kind, _, _, entity, _, _, data) in enumerate(history.raw):
        if kind not in ("read", "write") or not data or "table" not in data:
            continue
        place: Place = ("row", str(data.get("store")), str(data["table"]))
        if kind == "read" and entity:
            looked.add((roots[index], place))
        elif kind == "write" and data.get("verb") in ("update", "delete"):
            ticked.add(place)
        elif kind == "write" and (roots[index], place) in looked:
            found.add(place)
    return found - ticked


def _sent(reader: Reader, history: History) -> Iterator[tuple[str, frozenset[Any]]]:
    """Yield what was published, as its fields, with the service that did."""
    for place, what, _, index in reader.done(history):
        if place[0] == "topic":
            fields = [(path[-1:], repr(leaf)) for path, leaf in leaves(what) if leaf is not None]
            yield _service(history.raw[index][2]), frozenset(fields)


def _hands(history: History) -> dict[str, set[str]]:
    """Return the services that read or wrote in each store.

    Who stores what it was sent has no outbox: nobody who has that store ever publishes it.
    """
    found: dict[str, set[str]] = {}
    for _, kind, actor, _, _, _, _, data in history.raw:
        if kind in ("read", "write", "commit") and data and "store" in data:
            found.setdefault(str(data["store"]), set()).add(_service(actor))
    return found


def _service(actor: str) -> str:
    return actor.partition("#")[0]


def _is_sent(row: Any, sent: Sequence[frozenset[Any]]) -> bool:
    """Say whether the JSON in a row was published, with at least its fields."""
    for value in row.values():
        parsed = parse(value)
        if isinstance(parsed, dict) and parsed:
            mine = {(path[-1:], repr(leaf)) for path, leaf in leaves(parsed) if leaf is not None}
            if any(mine <= one for one in sent):
                return True
    return False


def _relayed(reader: Reader, history: History) -> dict[Place, list[frozenset[int]]]:
    """Return what each table's relay published: a loop that reads it, publishes, and marks it."""
    found: dict[Place, list[frozenset[int]]] = {}
    seen: dict[tuple[str, Place], dict[str, list[Any]]] = {}
    said: dict[str, list[frozenset[int]]] = {}
    for _, kind, _, operation, entity, _, _, data in history.raw:
        where = operation.partition("/")[0]
        if kind in ("read", "write") and data.get("table") and entity == 0:
            place: Place = ("row", str(data.get("store")), str(data["table"]))
            verb = "read" if kind == "read" else str(data.get("verb"))
            seen.setdefault((where, place), {}).setdefault(verb, [])
        elif kind == "publish" and where:
            what = reader.owners.of((data.get("value"), data.get("key")))
            said.setdefault(where, []).append(what)
    for (where, place), verbs in seen.items():
        if "read" in verbs and {"update", "delete"} & verbs.keys() and where in said:
            found.setdefault(place, []).extend(said[where])
    return found


def _is_said(reader: Reader, row: Any, said: Sequence[frozenset[int]]) -> bool:
    mentioned = reader.owners.of(row)
    return bool(mentioned) and any(mentioned <= one for one in said)
