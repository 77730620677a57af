"""What the arguments of a call are called that were given by position: their names in the ledger.

A third party's entry names each argument; a request does not. Where all that was asked of a
method and entered its ledger agrees, the request is shown with the names of the entry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chaosharness.kernel.history import Event, History, plain
from chaosharness.reporting.story.lanes import action_of


def argument_names(history: History) -> dict[str, tuple[str, ...]]:
    """Return the names of the arguments of each method (`hotel.book`); "" where one is unknown."""
    seen: dict[str, list[tuple[list[Any], Mapping[str, Any]]]] = {}
    for call, effect in _pairs(history):
        arguments = call.data.get("arguments")
        if isinstance(arguments, list | tuple) and arguments:
            seen.setdefault(action_of(call.operation), []).append(([*arguments], effect.data))
    return {method: _agreed(pairs) for method, pairs in seen.items()}


def _pairs(history: History) -> Iterator[tuple[Event, Event]]:
    for effect in history.of("effect"):
        if effect.cause >= 0:
            call = history[effect.cause]
            if call.kind == "call" and call.operation == effect.operation:
                yield call, effect


def _agreed(pairs: list[tuple[list[Any], Mapping[str, Any]]]) -> tuple[str, ...]:
    """Name each argument after the first field, not yet taken, that always holds its value."""
    names: list[str] = []
    for place in range(min(len(arguments) for arguments, _ in pairs)):
        fitting = (
            name
            for name in pairs[0][1]
            if name != "method"
            and name not in names
            and all(
                name in entry and plain(entry[name]) == plain(arguments[place])
                for arguments, entry in pairs
            )
        )
        names.append(next(fitting, ""))
    return tuple(names)
