"""Dead letters that somebody put back: which there are, and what they wrote over.

Where a broker has none, code makes its own: it publishes what it could not handle to another topic,
as it was, and somebody publishes that again where it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from chaosharness.checkers.excused import letters_of
from chaosharness.checkers.reading import Handed, Reading, Sent, read
from chaosharness.kernel.history import Event, History

TOUCHING: Final = ("commit", "write")


@lru_cache(maxsize=8)
def put_back(history: History) -> tuple[tuple[Sent, Handed, Handed], ...]:
    """Return each dead letter that was handled after something newer: what died, and both."""
    reading = read(history)
    found = []
    replays = _replays(history, reading)
    for index, first in replays.items():
        old = reading.sent[first]
        for again in reading.handed.values():
            if again.sent.index != index:
                continue
            before = [
                one
                for one in reading.handed.values()
                if one.group == again.group
                and first < replays.get(one.sent.index, one.sent.index)
                and one.sent.index < index
                and _is_of_the_same(one.sent, old)
                and -1 < max(one.handled, one.acked) < again.index
            ]
            if before:
                found.append((old, before[-1], again))
    return tuple(found)


@lru_cache(maxsize=8)
def own_letters(history: History) -> Mapping[int, int]:
    """Return each message that code published elsewhere as it was, with the one it had in hand."""
    reading = read(history)
    letters = letters_of(history)
    found: dict[int, int] = {}
    for index, sent in reading.sent.items():
        handed = reading.handed.get(reading.roots[index])
        if handed is None or sent.poison or handed.sent.poison:
            continue
        held = handed.sent.index
        first = found.get(held, letters.get(held, held))
        old = reading.sent.get(first, handed.sent)
        if (sent.broker, sent.value) == (old.broker, old.value) and sent.topic != old.topic:
            found[index] = first
    return found


def detours(history: History) -> frozenset[tuple[str, str]]:
    """Return from which topic to which code publishes what it has in hand, as it was."""
    sent = read(history).sent
    own = own_letters(history)
    return frozenset((sent[first].topic, sent[letter].topic) for letter, first in own.items())


def _replays(history: History, reading: Reading) -> dict[int, int]:
    """Return each message that is a dead letter put back, with the message that died."""
    letters = {**own_letters(history), **letters_of(history)}
    found: dict[int, int] = {}
    for index, sent in reading.sent.items():
        first = letters.get(index)
        if first is None:
            root = reading.handed.get(reading.roots[index])
            first = None if root is None else letters.get(root.sent.index)
        old = None if first is None else reading.sent.get(first)
        if first is None or old is None or index == first or old.poison:
            continue
        same = (sent.broker, sent.topic, sent.value) == (old.broker, old.topic, old.value)
        if same:
            found[index] = first
    return found


def _is_of_the_same(one: Sent, other: Sent) -> bool:
    """Say whether two messages are about the same: by their key, or by their workload item."""
    if (one.broker, one.topic) != (other.broker, other.topic):
        return False
    if one.key is not None and other.key is not None:
        return one.key == other.key
    return one.entity == other.entity != 0


def touched(history: History, handed: Handed) -> frozenset[tuple[Any, ...]]:
    """Return what the handling of a message wrote: keys of stores, and tables of its item."""
    roots = read(history).roots
    return frozenset(
        _place(event)
        for event in history.of(*TOUCHING)
        if roots[event.index] == handed.index and _changed(event)
    )


def _changed(event: Event) -> bool:
    data = event.data
    if "error" in data:
        return False
    return bool(data.get("rows", 1)) if event.kind == "write" else "key" in data


def _place(event: Event) -> tuple[Any, ...]:
    data = event.data
    if event.kind == "write":
        return data.get("store"), data.get("table"), event.entity
    return data.get("store"), data.get("table"), str(data["key"])


@lru_cache(maxsize=8)
def stale(
    history: History, usual: frozenset[tuple[str, str]] = frozenset()
) -> frozenset[tuple[int, str]]:
    """Return `(item, store)` where the last word is that of a dead letter put back over a newer.

    Args:
        history: The run.
        usual: Ways that messages go without faults (see `detours`): what goes there is no dead
            letter. What code sends round by itself counts for its own workload item alone.
    """
    found = put_back(history)
    if not found:
        return frozenset()
    last: dict[tuple[Any, ...], int] = {}
    roots = read(history).roots
    for event in history.of(*TOUCHING):
        if _changed(event):
            last[_place(event)] = roots[event.index]
    return frozenset(
        (old.entity, str(place[0]))
        for old, newer, again in found
        if _by_the_broker(history, old) or _by_itself(history, old, newer, usual)
        for place in touched(history, again) & touched(history, newer)
        if last[place] == again.index
    )


def _by_the_broker(history: History, old: Sent) -> bool:
    return old.index in letters_of(history).values()


def _by_itself(
    history: History, old: Sent, newer: Handed, usual: frozenset[tuple[str, str]]
) -> bool:
    """Say whether code put a message aside, where it does so without faults not at all."""
    if newer.sent.entity != old.entity:
        return False
    sent = read(history).sent
    own = own_letters(history)
    went = {(old.topic, sent[letter].topic) for letter, first in own.items() if first == old.index}
    return bool({(begin, end) for begin, end in went if begin != end} - usual)
