"""Side effects that stay aside: trouble at a side service changes nothing that counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import attrs

from chaosharness.checkers.books import tables_of
from chaosharness.checkers.effects import business, names_of, times
from chaosharness.checkers.masking import STAR, mask
from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.checkers.reading import verdict_of
from chaosharness.faults import PartitionDelay, Poison, StoreOutage
from chaosharness.kernel.history import History

LEDGER: Final = "ledger"

# ---- what came out of a run


@attrs.frozen
class Row:
    """One row of a table, or one entry of a ledger, without what may differ."""

    columns: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        return ", ".join(f"{name}={shown(value)}" for name, value in self.columns if value != STAR)


def shown(value: Any) -> str:
    """Spell a masked value: a tuple of pairs was a mapping."""
    if not isinstance(value, tuple):
        return repr(value)
    if all(isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) for one in value):
        return f"{{{', '.join(f'{name}: {shown(one)}' for name, one in value)}}}"
    return f"[{', '.join(map(shown, value))}]"


Place = tuple[str, str]
"""Where rows are: a store and its table, or a third party and its ledger."""


def _tables(
    store: str, holdings: Mapping[str, Any], ignore: frozenset[str]
) -> Iterator[tuple[Place, Sequence[Mapping[str, Any]]]]:
    if store not in ignore:
        for table, rows in tables_of(holdings):
            if not ignore & {table, f"{store}.{table}"}:
                yield (store, table), rows


def _row(values: Mapping[str, Any], ignore: frozenset[str], table: str = "") -> Row:
    if table == "" and values.keys() == {"key", "value"}:  # of a key-value store
        key = str(values["key"])
        return Row((("key", mask(key)), ("value", mask(values["value"], key, ignore))))
    return Row(
        tuple(
            (name, STAR if f"{table}.{name}" in ignore else mask(value, name, ignore))
            for name, value in values.items()
        )
    )


def _rows(rows: Iterable[Mapping[str, Any]], place: Place, ignore: frozenset[str]) -> Counter[Row]:
    return Counter(_row(row, ignore, place[1]) for row in rows)


def _entry(data: Mapping[str, Any], ignore: frozenset[str]) -> Row:
    """Return an entry of a ledger: its own number and idempotency key are not the business."""
    words = {"method": data.get("method"), **business(data)}
    if words["method"] in ("charge", "refund"):
        words.pop("key", None)
    return _row(words, ignore)


# ---- differences between two outcomes


@attrs.frozen
class Difference:
    """The first way in which one table or ledger differs."""

    place: Place
    words: str
    more: tuple[str, ...]
    less: tuple[str, ...]


def differences(
    usual: Mapping[Place, Counter[Row]], seen: Mapping[Place, Counter[Row]]
) -> Iterator[Difference]:
    """Yield the first difference in each table or ledger that has one.

    Values that changed places between rows and are otherwise the same (numbers counted up
    in the order of arrival, the last item in stock) are not a difference.
    """
    for place in dict.fromkeys((*usual, *seen)):
        before = usual.get(place, Counter())
        after = seen.get(place, Counter())
        if before == after or _permuted(before, after):
            continue
        more = [*(after - before).elements()]
        less = [*(before - after).elements()]
        words = _words(place, before, after, more, less)
        yield Difference(place, words, tuple(map(str, more)), tuple(map(str, less)))


def _permuted(before: Counter[Row], after: Counter[Row]) -> bool:
    """Say whether each column, taken by itself, holds the same values."""
    return before.total() == after.total() and _columns(before) == _columns(after)


def _columns(rows: Counter[Row]) -> Counter[tuple[str, Any]]:
    return Counter(column for row in rows.elements() for column in row.columns)


def _words(
    place: Place, before: Counter[Row], after: Counter[Row], more: list[Row], less: list[Row]
) -> str:
    owner, table = place
    if table == LEDGER:
        row = (more or less)[0]
        (_, method), *arguments = row.columns
        what = f"{method}({Row(tuple(arguments))})"
        return f"{owner} did {what} {often(after[row])}, in the calm run {often(before[row])}"
    where = f"{owner}.{table}" if table else owner
    if before.total() != after.total():
        odd = _odd_one_out(more, less)
        sign = "more" if odd in more else "less"
        return f"{where} holds {rows(after)}, in the calm run {rows(before)}; one {sign}: ({odd})"
    new, old = min(
        ((new, old) for new in more for old in less),
        key=lambda pair: len({*pair[0].columns} ^ {*pair[1].columns}),
    )
    return f"{where} {_changed(new, old)}"


def _odd_one_out(more: list[Row], less: list[Row]) -> Row:
    """Return a row that is there once too often, or one that is missing.

    Rows that were changed are in both lists: the one least like any of the others is it.
    """
    here, there = (more, less) if len(more) > len(less) else (less, more)
    return max(
        here,
        key=lambda one: min((len({*one.columns} ^ {*other.columns}) for other in there), default=0),
    )


def rows(counted: Counter[Row]) -> str:
    """Say how many rows."""
    return f"{counted.total()} row{'' if counted.total() == 1 else 's'}"


def _changed(new: Row, old: Row) -> str:
    """Say how the row that is there differs from the one that should be."""
    same = [column for column in new.columns if column in old.columns and column[1] != STAR]
    now = [column for column in new.columns if column not in old.columns]
    then = [column for column in old.columns if column not in new.columns]
    whose = f" of ({Row(tuple(same))})" if same else ""
    return f"has {Row(tuple(now))}{whose}, in the calm run {Row(tuple(then))}"


def often(count: int) -> str:
    """Say how often, with a word for none."""
    return times(count) if count else "never"


# ---- the critical path


def side_effects_never_touch_critical_path(
    *,
    critical: Iterable[Any],
    side: Iterable[Any],
    ignore: Iterable[Any] = (),
    delay_ms_max: int = 0,
) -> Property:
    """Claim that trouble confined to side services changes nothing on the critical path.

    Judged where every fault struck at a side service, or at a delivery to one. What the
    critical services publish and have done, and what is in the stores and ledgers named,
    must be what the calm run has, without what may rightly differ (see `checkers.masking`):
    nothing on the side can make it fail, or do something again. And the last event, effect or
    commit of the critical path must come for each item when it comes in the calm run: nothing
    on the side can delay it. `System.critical_path` declares the boundary, and claims this.

    Args:
        critical: Names of services or handlers, and the stores and third parties that count.
        side: Names of the side services or handlers, of their consumer groups or queues, and of
            the stores that only they use.
        ignore: Stores, tables, columns, third parties, methods and topics that may differ, as for
            `idempotent`.
        delay_ms_max: How much later the critical path may be done for an item, in virtual time.

    >>> side_effects_never_touch_critical_path(
    ...     critical=["orders", "payments", bank], side=["notifications"])
    """
    kernel, margin, ignored = names_of(critical), names_of(side), names_of(ignore)

    def judge(evidence: Evidence) -> list[Finding]:
        if not tested(evidence):
            return []
        usual = _critical(evidence.calm(), kernel, ignored)
        seen = _critical(evidence.history, kernel, ignored)
        found = sorted(differences(usual, seen), key=_how_far_from_people)
        if found:
            return [_unlike(evidence.history, one) for one in found]
        return _delays(evidence, kernel, delay_ms_max)

    def tested(evidence: Evidence) -> bool:
        faults = evidence.faults
        if not faults or not all(_confined(fault, margin) for fault in faults):
            return False
        return verdict_of(evidence.history)[0] in ("quiet", "stuck")

    name = "side effects never touch the critical path"
    return Property(name, judge, "eventually", tested=tested)


def _how_far_from_people(difference: Difference) -> int:
    """Order differences: what was done to somebody, what is held, what was said in between."""
    _, table = difference.place
    return 0 if table == LEDGER else 2 if table.startswith("topic ") else 1


def _confined(fault: Any, side: frozenset[str]) -> bool:
    """Say whether a fault strikes side services only."""
    where, _, action = fault.site.operation.partition("/")
    if isinstance(fault, Poison | PartitionDelay):
        return False  # everybody who reads the topic suffers
    if isinstance(fault, StoreOutage):
        return action.rpartition(".")[0] in side
    if action.startswith("deliver to "):
        return action.removeprefix("deliver to ") in side
    return _service(where, side) != ""


@lru_cache(maxsize=4_096)
def _service(place: str, services: frozenset[str]) -> str:
    """Return which of these services a place (`payments.on_order`, `payments#1/2`) is in."""
    for name in sorted(services):
        if place == name or place.startswith((f"{name}.", f"{name}#")):
            return name
    return ""


def _critical(
    history: History, critical: frozenset[str], ignore: frozenset[str]
) -> dict[Place, Counter[Row]]:
    """Return what the critical part of a system did and holds."""
    found: dict[Place, Counter[Row]] = {}
    for event in history.of("publish", "effect", "state"):
        owner = _service(event.operation.partition("/")[0] or event.actor, critical)
        if event.kind == "state" and event.actor in critical:
            for place, rows in _tables(event.actor, event.data, ignore):
                found[place] = _rows(rows, place, ignore)
        elif event.kind == "effect" and (owner or event.actor in critical):
            if not _names(event.actor, event.data.get("method")) & ignore:
                ledger = found.setdefault((event.actor, LEDGER), Counter())
                ledger[_entry(event.data, ignore)] += 1
        elif event.kind == "publish" and owner:
            broker, topic = str(event.data.get("broker")), event.data.get("topic")
            if not _names(broker, topic) & ignore:
                words = {"key": event.data.get("key"), "value": event.data.get("value")}
                place = (broker, f"topic {topic}")
                found.setdefault(place, Counter())[_row(words, ignore)] += 1
    return found


def _names(owner: str, what: Any) -> set[str]:
    """Return the names by which a method or a topic may be ignored."""
    return {owner, str(what), f"{owner}.{what}"}


def _unlike(history: History, difference: Difference) -> Finding:
    owner, table = difference.place
    kind = "effect" if table == LEDGER else "state"
    events = [event.index for event in history.of(kind) if event.actor == owner]
    if kind == "effect":
        wanted = {*difference.more, *difference.less}
        events = [
            at for at in events if str(_entry(history[at].data, frozenset())) in wanted
        ] or events
    entity = history[events[0]].entity if events else 0
    data = {
        "where": owner,
        "table": table,
        "more": list(difference.more),
        "less": list(difference.less),
    }
    return Finding(difference.words, tuple(events), entity, data)


# ---- how late


def _delays(evidence: Evidence, critical: frozenset[str], most_ms: int) -> list[Finding]:
    """Return the items for which the critical path was done later than in the calm run."""
    usual = _done_at(evidence.calm(), critical)
    found = []
    for entity, (at, took_ms) in sorted(_done_at(evidence.history, critical).items()):
        before_ms = usual[entity][1] if entity in usual else took_ms
        if took_ms - before_ms > most_ms:
            words = (
                f"the critical path of item {entity} took {took_ms / 1000:.3f} s, in the calm run "
                f"{before_ms / 1000:.3f} s"
            )
            data = {"took_ms": took_ms, "calm_ms": before_ms}
            found.append(Finding(words, (at,), entity, data, kind="delay"))
    return found


def _done_at(history: History, critical: frozenset[str]) -> dict[int, tuple[int, int]]:
    """Return the last critical deed for each item, and how long after its arrival it came."""
    arrived = {event.entity: event.at_ms for event in history.of("arrive")}
    last: dict[int, tuple[int, int]] = {}
    for event in history.of("publish", "effect", "commit"):
        if event.entity in arrived and _service(event.operation.partition("/")[0], critical):
            last[event.entity] = (event.index, event.at_ms - arrived[event.entity])
    return last
