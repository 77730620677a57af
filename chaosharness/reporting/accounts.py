"""Ledger and state: what third parties did, and what is held when the run is over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from chaosharness.counterexample import Counterexample
from chaosharness.kernel.history import Event, History, plain
from chaosharness.reporting.legible import clip, inner, phrase
from chaosharness.reporting.select import finding_of
from chaosharness.reporting.steps import Step, request

ENTRIES_MAX: Final = 12
VALUES_MAX: Final = 12
NAME_MAX: Final = 48


@attrs.frozen
class Entry:
    """One line of a ledger.

    Attributes:
        number: The third party's own number of it, or its place, from 1.
        at_ms: Virtual time.
        words: What was done, and for whom.
        step: Number of the step of the story that tells it; 0 if none does.
        found: Whether the finding points at it.
        expected: Whether the run that passes has it, too.
    """

    number: int
    at_ms: int
    words: str
    step: int
    found: bool
    expected: bool


@attrs.frozen
class Ledger:
    """What one third party did.

    Attributes:
        name: The third party.
        entries: Oldest first.
        left_out: How many entries are not shown.
        missing: Entries of the run that passes, and not of this one.
    """

    name: str
    entries: tuple[Entry, ...]
    left_out: int = 0
    missing: tuple[str, ...] = ()


def ledgers(
    found: Counterexample, items: frozenset[int], steps: Sequence[Step]
) -> tuple[Ledger, ...]:
    """Return the ledgers, those of the finding's items first of all."""
    by_name: dict[str, list[Event]] = {}
    for event in found.history.of("effect"):
        by_name.setdefault(event.actor, []).append(event)
    usual = _usual(found.passing)
    for name, _ in usual:
        by_name.setdefault(name, [])
    step_of = {index: step.number for step in steps for index in step.events}
    anchors = frozenset(finding_of(found.findings).events)
    return tuple(
        _ledger(name, events, usual, items, step_of, anchors, found.passing is not None)
        for name, events in by_name.items()
    )


def _usual(passing: History | None) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for event in passing.of("effect") if passing is not None else ():
        key = (event.actor, request(event.data))
        counts[key] = counts.get(key, 0) + 1
    return counts


def _ledger(
    name: str,
    events: list[Event],
    usual: dict[tuple[str, str], int],
    items: frozenset[int],
    step_of: Mapping[int, int],
    anchors: frozenset[int],
    compared: bool,
) -> Ledger:
    left = {words: times for (actor, words), times in usual.items() if actor == name}
    entries = []
    for place, event in enumerate(events, 1):
        words = request(event.data)
        expected = not compared or left.get(words, 0) > 0
        if compared and expected:
            left[words] -= 1
        number = event.data.get("id")
        entries.append(
            (
                event,
                Entry(
                    number if isinstance(number, int) else place,
                    event.at_ms,
                    words,
                    step_of.get(event.index, 0),
                    event.index in anchors,
                    expected,
                ),
            )
        )
    chosen = [entry for event, entry in entries if entry.found or event.entity in items]
    if len(entries) <= ENTRIES_MAX:
        chosen = [entry for _, entry in entries]
    missing = tuple(words for words, times in left.items() for _ in range(times))
    return Ledger(
        name,
        tuple(chosen[:ENTRIES_MAX]),
        len(entries) - len(chosen[:ENTRIES_MAX]),
        missing[:ENTRIES_MAX],
    )


@attrs.frozen
class Value:
    """One thing held at the end: here, and in the run that passes.

    Attributes:
        name: Where it stands: `orders / o1 / status`.
        here: What it is; empty if it is not there.
        passing: What it is in the run that passes; empty likewise.
        differs: Whether the two were compared, and differ.
    """

    name: str
    here: str
    passing: str = ""
    differs: bool = False


@attrs.frozen
class State:
    """What a store or third party holds when the run is over.

    Attributes:
        name: The store or third party.
        values: What it holds; beside a run that passes, only what differs.
        left_out: How many values are not shown.
        same: How many values are as in the run that passes.
    """

    name: str
    values: tuple[Value, ...]
    left_out: int = 0
    same: int = 0


def states(found: Counterexample) -> tuple[State, ...]:
    """Return what was held at the end, beside the run that passes."""
    here = _held(found.history)
    there = _held(found.passing) if found.passing is not None else None
    return tuple(_state(name, held, there) for name, held in here.items())


def _held(history: History) -> dict[str, dict[str, str]]:
    held: dict[str, dict[str, str]] = {}
    for event in history.of("state"):
        held[event.actor] = dict(_flat("", _unwrapped(plain(event.data))))
    return held


def _unwrapped(data: Any) -> Any:
    """Leave out the one word that all of a store's content stands under: tables, items."""
    match data:
        case {"tables": Mapping() as content} | {"items": Mapping() as content} if len(data) == 1:
            return content
        case _:
            return data


def _flat(path: str, value: Any, depth: int = 0) -> Iterable[tuple[str, str]]:
    """Yield the leaves of a nested value, each with the path to it."""
    match value:
        case Mapping() if value and depth < 3:
            for name, item in value.items():
                inside = clip(str(name), NAME_MAX)
                yield from _flat(f"{path} / {inside}" if path else inside, item, depth + 1)
        case [Mapping(), *_] if depth < 3:
            for place, row in enumerate(value, 1):
                label = _row_name(row, place)
                yield f"{path} / {label}" if path else label, phrase(row)
        case _:
            yield path or "value", clip(inner(value)) if value is not None else "none"


def _row_name(row: Any, place: int) -> str:
    """Name a row of a table by its first column, where that is short."""
    if isinstance(row, Mapping) and row:
        first = next(iter(row.values()))
        if isinstance(first, (str, int)) and len(str(first)) <= NAME_MAX:
            return clip(str(first), NAME_MAX)
    return f"row {place}"


def _state(name: str, held: dict[str, str], there: dict[str, dict[str, str]] | None) -> State:
    if there is None:
        values = [Value(path, shown) for path, shown in held.items()]
    else:
        other = there.get(name, {})
        paths = [*held, *(path for path in other if path not in held)]
        values = [
            Value(path, held.get(path, ""), other.get(path, ""), held.get(path) != other.get(path))
            for path in paths
        ]
    shown = [value for value in values if value.differs or there is None]
    return State(
        name,
        tuple(shown[:VALUES_MAX]),
        max(len(shown) - VALUES_MAX, 0),
        len(values) - len(shown),
    )
