"""What excuses work that is missing: put aside, refused, or parked. All properties ask here.

*Put aside*: a readable message became a dead letter, and nobody took it up again where it
had died: a person will look at it. *Refused*: the client was told no, and gave up: it does
not count on what it asked for. *Parked*: a service said so of a saga: it is a person's now.

Each excuses what is missing, and nothing else: what happened twice, half or in the wrong
order is found all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import attrs

from chaosharness.checkers.reading import Reading, read
from chaosharness.kernel.history import Event, History

CLIENT_PLACE: Final = "client."
PARKED: Final = "saga parked"


@attrs.frozen
class Aside:
    """What was put aside in a run.

    Attributes:
        messages: The messages, by their `publish` event.
        items: Their workload items.
        names: What they are known by: keys, texts in their workload item, `of item 3`.
    """

    messages: frozenset[int] = frozenset()
    items: frozenset[int] = frozenset()
    names: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.messages)


@lru_cache(maxsize=8)
def put_aside(history: History) -> Aside:
    """Return what was put aside for a person in a run that is over."""
    if not history.places_of("dead"):
        return Aside()
    reading = read(history)
    died, letters = _deaths(history)
    messages = {
        first
        for first, reasons in died.items()
        if not _is_taken_up(reading, first, reasons, letters) and not _is_poison(reading, first)
    }
    if not messages:
        return Aside()
    entities = history.raw
    items = {entities[message][4] for message in messages if 0 <= message < len(entities)} - {0}
    names = {f"of item {item}" for item in items}
    for message in messages:
        sent = reading.sent.get(message)
        if sent is not None and sent.key is not None:
            names.add(sent.key)
    known = names_of_items(history)
    names.update(name for item in items for name in known.get(item, ()))
    return Aside(frozenset(messages), frozenset(items), frozenset(names))


def _deaths(history: History) -> tuple[dict[int, set[str]], dict[int, int]]:
    """Return why each message was dead-lettered, and for each dead letter its first message."""
    died: dict[int, set[str]] = {}
    letters: dict[int, int] = {}
    instead_of: dict[int, int] = {}
    for event in history.of("dead", "publish"):
        if event.kind == "dead":
            if event.data.get("to"):
                message = event.data.get("message", -1)
                first = letters.get(message, message)
                died.setdefault(first, set()).add(str(event.data.get("reason", "")))
                instead_of[event.index] = first
            continue
        before = event.data.get("instead_of")
        if before is not None:
            letters[event.index] = letters.get(before, before)
        elif event.cause in instead_of and not event.operation:
            letters[event.index] = instead_of[event.cause]
    return died, letters


def letters_of(history: History) -> Mapping[int, int]:
    """Return, for each message that stands for one that died, the one that died first."""
    return _deaths(history)[1]


def _is_taken_up(
    reading: Reading, first: int, reasons: set[str], letters: Mapping[int, int]
) -> bool:
    """Say whether a dead letter was handled after all, by whom it was meant for.

    That is a retry by way of another queue: it came back to where it had died. One that
    died by its time to live alone was sent round by design, whoever handles it.
    """
    of_it = {first, *(letter for letter, message in letters.items() if message == first)}
    died_in = {group for message, group in reading.dead if message in of_it}
    for handed in reading.handed.values():
        done = handed.handled >= 0 or (not handed.by_handler and handed.acked >= 0)
        if not done or handed.sent.index not in of_it or handed.sent.index == first:
            continue
        if handed.group in died_in or reasons == {"expired"}:
            return True
    return False


def _is_poison(reading: Reading, message: int) -> bool:
    sent = reading.sent.get(message)
    return sent is not None and sent.poison


@lru_cache(maxsize=8)
def names_of_items(history: History) -> Mapping[int, tuple[str, ...]]:
    """Return the texts that stand in each workload item: its business keys are among them."""
    found: dict[int, tuple[str, ...]] = {}
    for event in history.of("arrive"):
        item = event.data.get("item")
        values = item.values() if isinstance(item, Mapping) else (item,)
        found[event.entity] = tuple(value for value in values if isinstance(value, str) and value)
    return found


def item_of(name: str, items: Mapping[int, tuple[str, ...]]) -> int:
    """Return the workload item in which a name stands, where it is one only; else 0."""
    found = [item for item, names in items.items() if name in names or f"of item {item}" == name]
    return found[0] if len(found) == 1 else 0


@lru_cache(maxsize=8)
def refused(history: History) -> frozenset[int]:
    """Return the workload items whose client was told no, or heard nothing, and gave up.

    The entry raised; or the last that it heard of an operation was an error.
    """
    heard: dict[tuple[int, str], bool] = {}
    raised: set[int] = set()
    for event in history.of("reply", "publish", "raised"):
        if not event.operation.startswith(CLIENT_PLACE):
            continue
        if event.kind == "raised":
            raised.add(event.entity)
        else:
            outcome = event.data.get("outcome")
            heard[event.entity, event.operation] = outcome in ("failed", "unknown")
    return frozenset(raised | {entity for (entity, _), no in heard.items() if no})


def saga_of(event: Event, by: tuple[str, ...]) -> str:
    """Return which saga an event is about: by its data, else by its workload item."""
    for name in by:
        value = event.data.get(name)
        if value is not None:
            return str(value)
    return f"of item {event.entity}" if event.entity else ""


def parked(history: History, by: tuple[str, ...]) -> frozenset[str]:
    """Return the sagas that a service parked for a person, or that were put aside."""
    said = {saga_of(event, by) for event in history.of("note") if event.data.get("what") == PARKED}
    return put_aside(history).names | said


def left_parked(history: History, by: tuple[str, ...] = ("saga",)) -> dict[str, Event]:
    """Return the sagas whose last word is that they are parked, each with that note."""
    last: dict[str, Event] = {}
    for event in history.of("note"):
        what = str(event.data.get("what"))
        if what.startswith("saga "):
            last[saga_of(event, by)] = event
    return {saga: event for saga, event in last.items() if event.data["what"] == PARKED}


def is_named(text: str, names: Iterable[str]) -> bool:
    """Say whether a text names one of these, as a word of its own."""
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names)


def not_excused(history: History, sentences: list[str]) -> list[str]:
    """Return those sentences that are about no workload item that was put aside.

    A sentence that names no item may be about any.
    """
    aside = put_aside(history)
    if not aside:
        return sentences
    known = names_of_items(history)
    others = {name for item, names in known.items() if item not in aside.items for name in names}
    return [
        one
        for one in sentences
        if is_named(one, others - aside.names) and not is_named(one, aside.names)
    ]


def about(aside: Aside, key: Any, events: Iterable[Event] = ()) -> bool:
    """Say whether a business key, or what led to some events, was put aside."""
    return str(key) in aside.names or any(
        event.index in aside.messages or event.entity in aside.items for event in events
    )
