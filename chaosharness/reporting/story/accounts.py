"""Ledger and state: what third parties did, and what is held when the run is over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final

import attrs

from chaosharness.checkers.effects import entry_number
from chaosharness.checkers.masking import mask
from chaosharness.counterexample import Counterexample
from chaosharness.kernel.history import Event, History, plain
from chaosharness.reporting.story.legible import clip, inner
from chaosharness.reporting.story.narrator import request
from chaosharness.reporting.story.select import finding_of
from chaosharness.reporting.story.step import Step

ENTRIES_MAX: Final = 12
VALUES_MAX: Final = 12
DEPTH_MAX: Final = 3
NAME_MAX: Final = 60


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
        number = entry_number(event.data)
        entries.append(
            (
                event,
                Entry(
                    place if number is None else number,
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
        found: Whether the finding points at it.
    """

    name: str
    values: tuple[Value, ...]
    left_out: int = 0
    same: int = 0
    found: bool = False


Held = dict[str, Any]
"""What a store holds: rows and single values, each by the path to it."""


def states(found: Counterexample) -> tuple[State, ...]:
    """Return what was held at the end, beside the run that passes."""
    here = _held(found.history)
    there = _held(found.passing) if found.passing is not None else None
    anchors = frozenset(finding_of(found.findings).events)
    pointed_at = {one.actor for one in found.history.of("state") if one.index in anchors}
    return tuple(
        _state(name, held, None if there is None else there.get(name, {}), name in pointed_at)
        for name, held in here.items()
    )


def _held(history: History) -> dict[str, Held]:
    held: dict[str, Held] = {}
    for event in history.of("state", "tables"):
        _collect("", _unwrapped(plain(event.data)), held.setdefault(event.actor, {}))
    return held


def _unwrapped(data: Any) -> Any:
    """Leave out the one word that all of a store's content stands under: tables, items."""
    match data:
        case {"tables": Mapping() as content} | {"items": Mapping() as content} if len(data) == 1:
            return content
        case {"items": Mapping() as content, "ran_out": Mapping() as gone}:
            return {**content, "its time ran out": gone}
        case _:
            return data


def _collect(path: str, value: Any, into: Held, depth: int = 0) -> None:
    """Collect rows and single values, each under the path to it. What is empty holds none."""
    match value:
        case Mapping() if depth < DEPTH_MAX:
            for name, item in value.items():
                _collect(_below(path, clip(str(name), NAME_MAX)), item, into, depth + 1)
        case [Mapping(), *_]:
            for row in value:
                into[_row_path(path, row, into)] = row
        case []:
            pass
        case _:
            into[path or "value"] = value


def _below(path: str, name: str) -> str:
    return f"{path} / {name}" if path else name


def _row_path(path: str, row: Any, into: Held) -> str:
    """Name a row of a table by its first columns: as many as it takes to tell it apart."""
    words = []
    for value in list(row.values())[:3] if isinstance(row, Mapping) else ():
        words.append(clip(str(value), NAME_MAX))
        if (name := _below(path, ", ".join(words))) not in into:
            return name
        if into[name] == row:  # the very same once more: more columns tell nothing
            number = 2
            while (again := f"{name} ({number})") in into:
                number += 1
            return again
    number = 2
    while (name := _below(path, f"{', '.join(words)} ({number})")) in into:
        number += 1
    return name


def _state(name: str, held: Held, there: Held | None, found: bool) -> State:
    if there is None:
        values = [Value(path, _shown(value)) for path, value in held.items()]
    else:
        paths = dict.fromkeys([*held, *there])
        values = [
            _beside(path, held.get(path, _NOTHING), there.get(path, _NOTHING)) for path in paths
        ]
    shown = [value for value in values if value.differs or there is None]
    return State(
        name,
        tuple(shown[:VALUES_MAX]),
        max(len(shown) - VALUES_MAX, 0),
        len(values) - len(shown),
        found,
    )


_NOTHING: Final = object()


def _beside(path: str, here: Any, there: Any) -> Value:
    """Put two values side by side; of two rows, only the columns that differ.

    What differs between any two runs and means nothing, such as generated ids and times,
    is no difference: the same masking decides as for the properties.
    """
    name = path.rpartition(" / ")[2]
    if mask(here, name) == mask(there, name):
        return Value(path, _shown(here))
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        columns = {**here, **there}
        names = [one for one in columns if mask(here.get(one), one) != mask(there.get(one), one)]
        here = {name: here.get(name) for name in names}
        there = {name: there.get(name) for name in names}
    return Value(path, _shown(here), _shown(there), True)


def _shown(value: Any) -> str:
    if value is _NOTHING:
        return ""
    if isinstance(value, Mapping):
        return clip(" ".join(f"{clip(str(name))}={inner(item)}" for name, item in value.items()))
    return clip(inner(value))


def unremarkable(states: Iterable[State]) -> Iterator[tuple[str, list[str]]]:
    """Yield those who hold nothing worth a word of its own, by how that is."""
    names: dict[str, list[str]] = {}
    for state in states:
        if not state.values:
            how = "as in the passing run" if state.same else "empty"
            names.setdefault(how, []).append(state.name)
    yield from names.items()


def differences(ledgers: Iterable[Ledger], states: Iterable[State]) -> list[tuple[int, str]]:
    """Say what came out differently from the run that passes, each with its step; 0 for none.

    First comes one thing of each sort: what was done here only, what was not done, and what
    is held at the end.
    """
    more: list[tuple[int, str]] = []
    less: list[tuple[int, str]] = []
    for ledger in sorted(ledgers, key=lambda one: not any(entry.found for entry in one.entries)):
        extra = next((entry for entry in ledger.entries if not entry.expected), None)
        if extra is not None:
            words = f"Here, and not in the passing run, {ledger.name} does: {extra.words}."
            more.append((extra.step, words))
        if ledger.missing:
            words = ledger.missing[0]
            less.append((0, f"In the passing run, and not here, {ledger.name} does: {words}."))
    held = [
        (
            0,
            f"At the end {state.name} has {value.name}: {value.here or 'nothing'}; "
            f"in the passing run: {value.passing or 'nothing'}.",
        )
        for state in sorted(states, key=lambda one: not one.found)
        for value in [one for one in state.values if one.differs][:1]
    ]
    return [told for sort in zip_longest(more, less, held) for told in sort if told is not None]
