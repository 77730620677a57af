"""The books: what stores and ledgers hold when a run is over, and that they balance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import attrs

from chaosharness.checkers.effects import effects, name_of, names_of
from chaosharness.checkers.excused import about, item_of, names_of_items, put_aside
from chaosharness.checkers.property import Evidence, Finding, Property, once_a_run
from chaosharness.checkers.reading import is_quiet
from chaosharness.errors import InvalidDefinition
from chaosharness.kernel.history import History, plain

Row = Mapping[str, Any]
Side = Callable[["Books"], Any] | tuple[Callable[["Books"], Any], ...] | Any
Values = Mapping[str, Any]


@attrs.frozen(eq=False)
class Books:
    """What a system holds once a run is over: rows of its stores, ledgers of third parties.

    Attributes:
        history: The run.
        items: The workload.
    """

    history: History
    items: tuple[Any, ...] = ()

    def holdings(self, store: Any) -> Mapping[str, Any]:
        """Return what a store held in the end, as its `state` event has it.

        Raises:
            InvalidDefinition: The history has no such store.
        """
        name, known = name_of(store), _states(self.history)
        if name not in known:
            raise InvalidDefinition(
                f"the history says nothing of a store {name!r}; stores are: "
                f"{', '.join(known) or 'none'}"
            )
        return known[name]

    def rows(self, store: Any, table: str) -> list[Row]:
        """Return the rows of a table of a store, each as a mapping of its columns.

        Raises:
            InvalidDefinition: There is no such store or table.
        """
        holdings = self.holdings(store)
        tables = holdings.get("tables")
        if not isinstance(tables, Mapping):
            tables = dict(tables_of(holdings))
        if table not in tables:
            raise InvalidDefinition(
                f"store {name_of(store)!r} has no table {table!r}; it has: "
                f"{', '.join(sorted(tables)) or 'none'}"
            )
        found: list[Row] = tables[table]
        return found

    def values(self, store: Any) -> Mapping[str, Any]:
        """Return what a key-value store holds.

        Raises:
            InvalidDefinition: There is no such store.
        """
        return values_of(self.holdings(store))

    def column(self, store: Any, table: str, *, by: str, of: str) -> dict[Any, Any]:
        """Return one column by another: `{"o1": "paid"}` for `by="id", of="status"`."""
        return {row[by]: row[of] for row in self.rows(store, table)}

    def sums(self, store: Any, table: str, *, by: str, of: str, **where: Any) -> dict[Any, Any]:
        """Return a column summed up by another, over the rows whose columns equal `where`."""
        found: dict[Any, Any] = {}
        for row in self.rows(store, table):
            if all(row[name] == value for name, value in where.items()):
                found[row[by]] = found.get(row[by], 0) + row[of]
        return found

    def ledger(self, external: Any, method: str | None = None) -> list[Row]:
        """Return the entries of a third party's ledger, oldest first."""
        return [
            event.data
            for event in effects(self.history, names_of(external))
            if method in (None, event.data.get("method"))
        ]

    def net_charges(self, gateway: Any, *, by: str = "order") -> dict[str, int]:
        """Return what was charged and not refunded, in cents: `{"o1": 500}`."""
        found: dict[str, int] = {}
        for entry in self.ledger(gateway):
            sign = {"charge": 1, "refund": -1}.get(str(entry.get("method")), 0)
            if sign:
                key = str(entry[by])
                found[key] = found.get(key, 0) + sign * int(entry["cents"])
        return found


@lru_cache(maxsize=8)
def _states(history: History) -> dict[str, Mapping[str, Any]]:
    """Return what each store and third party held in the end, by its name."""
    found: dict[str, Mapping[str, Any]] = {}
    for event in history.of("state"):
        found.setdefault(event.actor, event.data)
    return found


def tables_of(holdings: Mapping[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the tables of a store, whatever its kind: a key-value store is one table ''."""
    tables = holdings.get("tables")
    if isinstance(tables, Mapping):
        yield from tables.items()
    else:
        yield "", [{"key": key, "value": value} for key, value in values_of(holdings).items()]


def values_of(holdings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a key-value store holds."""
    values = holdings.get("items")
    return values if isinstance(values, Mapping) else holdings


def conserved(what: str, *, unit: str = "", **sides: Side) -> Property:
    """Claim that two or more ways of counting the same thing agree once all is quiet.

    Each side is a function of the final `Books` (or a constant) that returns a number, or
    a number for each business key: a key that a side lacks counts as 0 there. A key of which
    a message was put aside as a dead letter is in the middle of its business, for a person to
    end; so is the whole, where there are no keys.

    The first side is what there should be, where a finding says how many are missing. A side that
    is a tuple of functions is their sum, and a finding shows each of them under its own name.

    Args:
        what: What is counted: `stock`.
        unit: What one of it is called, for findings: `book`, as in "1 book is missing".
        **sides: The ways of counting, by name.

    >>> conserved("money", paid=lambda books: books.sums(db, "orders", by="id", of="cents",
    ...           status="paid"), charged=lambda books: books.net_charges(bank))
    >>> conserved("stock", unit="book", at_first=10, left_and_sold=(left, sold))
    """
    if len(sides) < 2:
        raise InvalidDefinition(f"conserved({what!r}) needs two sides or more to compare")

    @once_a_run
    def values_of_sides(evidence: Evidence) -> Values:
        return _values(sides, evidence)

    def judge(evidence: Evidence) -> list[Finding]:
        if not is_quiet(evidence.history):
            return []
        aside = put_aside(evidence.history)
        values = values_of_sides(evidence)
        keys: dict[Any, None] = {}
        for value in values.values():
            keys |= dict.fromkeys(value if isinstance(value, Mapping) else ())
        if not keys:
            return [] if aside else [*_unequal(what, unit, None, sides, values, evidence.history)]
        found: list[Finding] = []
        for key in keys:
            if not about(aside, key):
                here = {name: _of_key(value, key) for name, value in values.items()}
                found += _unequal(what, unit, key, sides, here, evidence.history)
        return found

    def tested(evidence: Evidence) -> bool:
        values = values_of_sides(evidence)
        return is_quiet(evidence.history) and any(values[name] for name in sides)

    verb = "are" if _is_plural(what) else "is"
    return Property(f"{what} {verb} conserved", judge, "eventually", tested=tested)


def _values(sides: Mapping[str, Side], evidence: Evidence) -> dict[str, Any]:
    """Return what each side counts, and what each of its parts does, by their names."""
    books = Books(evidence.history, evidence.items)
    found: dict[str, Any] = {}
    for name, side in sides.items():
        if isinstance(side, tuple):
            names = _names(name, side)
            parts = {one: part(books) for one, part in zip(names, side, strict=True)}
            found |= {name: _sum([*parts.values()]), **parts}
        else:
            found[name] = side(books) if callable(side) else side
    return found


def _names(side: str, parts: tuple[Callable[[Books], Any], ...]) -> list[str]:
    """Return a name for each part of a side: its own, and a number where several have it.

    Functions without one (`lambda`, `partial`) are parts of that side.
    """
    named = [str(getattr(part, "__name__", "")).replace("_", " ") for part in parts]
    names = [side if one in ("", "<lambda>") else one for one in named]
    return [
        f"{side}: {one}{f' ({names[:at].count(one) + 1})' if names.count(one) > 1 else ''}"
        for at, one in enumerate(names)
    ]


def _sum(values: list[Any]) -> Any:
    keys = dict.fromkeys(key for one in values if isinstance(one, Mapping) for key in one)
    if keys:
        return {key: sum(_of_key(one, key) for one in values) for key in keys}
    return sum(0 if isinstance(one, Mapping) else one for one in values)


def _of_key(value: Any, key: Any) -> Any:
    return value.get(key, 0) if isinstance(value, Mapping) else value


def _unequal(
    what: str,
    unit: str,
    key: Any,
    sides: Mapping[str, Side],
    values: Values,
    history: History,
) -> Iterator[Finding]:
    numbers = [values[name] for name in sides]
    if all(number == numbers[0] for number in numbers):
        return
    shown: list[str] = []
    for side in sides:
        parts = [name for name in values if name.startswith(f"{side}: ")] or [side]
        shown += [f"{values[one]} {one.rpartition(': ')[2].replace('_', ' ')}" for one in parts]
    events = tuple(_about(history, key))
    data = {"key": plain(key), **{name: plain(values[name]) for name in sides}}
    entity = history[events[0]].entity if events else 0
    yield Finding(f"{_lack(what, unit, key, numbers)}: {', '.join(shown)}", events, entity, data)


def _lack(what: str, unit: str, key: Any, numbers: list[Any]) -> str:
    """Say what is missing or too much: `1 book is missing`, `stock does not add up, 1 missing`."""
    whose = "" if key is None else f" of {key}"
    does = "do" if _is_plural(what) else "does"
    plain_words = f"{what}{whose} {does} not add up"
    if len(numbers) != 2 or not all(isinstance(one, (int, float)) for one in numbers):
        return plain_words
    lack = numbers[0] - numbers[1]
    size = f"{abs(lack):g}" if isinstance(lack, float) else f"{abs(lack)}"
    if not unit:
        return f"{plain_words}, {size} {'missing' if lack > 0 else 'too much'}"
    things = f"{size} {unit}" if abs(lack) == 1 else f"{size} {unit}s"
    if lack < 0:
        return f"{things} too much{whose}"
    return f"{things} {'is' if abs(lack) == 1 else 'are'} missing{whose}"


def _is_plural(what: str) -> bool:
    """Say whether a word stands for several: `parcels` and `seats`, not `stock` or `bonus`."""
    return what.endswith("s") and not what.endswith(("ss", "us", "is", "as"))


def _about(history: History, key: Any) -> Iterator[int]:
    """Yield the ledger entries about a business key, and the final states.

    Where no entry names it, as each has a key of its own, those of the item in which it stands.
    """
    entries = [*history.of("effect")] if key is not None else []
    named = [event for event in entries if key in event.data.values()]
    if not named and isinstance(key, str) and (item := item_of(key, names_of_items(history))):
        named = [event for event in entries if event.entity == item]
    yield from sorted(event.index for event in (*named, *history.of("state")))
