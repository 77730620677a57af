"""Messages that were put off: passed on as they are, to a place where they are tried again.

A handler that cannot do its work now publishes what it has in hand to a retry topic, or a queue
that gives it back later, and goes on with the next. That is a redelivery of the system's own: no
run without faults has such a message, and nothing is wrong with it, as long as somebody handles it
and all ends as it would have.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final

import attrs

from chaosharness.checkers.masking import TIMES, TRIES, words_in
from chaosharness.checkers.outcomes.outcome import Outcome, Place
from chaosharness.checkers.outcomes.values import is_record, parse
from chaosharness.checkers.reading import read
from chaosharness.kernel.history import History

OF_TRYING: Final = TIMES | TRIES | {"error", "exception"}
"""Words of what a message may say about its tries: how many, when, and why the last one failed."""


def put_off(history: History, usual: Outcome) -> frozenset[int]:
    """Return the messages that were put off and handled then, by their `publish` events.

    Args:
        history: The run.
        usual: What comes out without faults: a place that is used there is no place for retries,
            but for the one that a message was taken from.
    """
    passed_on = _passed_on(history)
    if not passed_on:
        return frozenset()
    places: set[Place] = {place for said in usual.said.values() for place, _ in said}
    return frozenset(
        index
        for index, broker, topic, back in passed_on
        if back or ("topic", broker, topic) not in places
    )


def are_gone(history: History, messages: Collection[int]) -> bool:
    """Say whether these messages ended with nobody, and nobody is left who could ever see them.

    A queue let them expire, for instance, and has nowhere to put what does.
    """
    nowhere = {
        event.data.get("message") for event in history.of("dead") if not event.data.get("to")
    }
    return bool(messages) and nowhere.issuperset(messages)


def without(seen: Outcome, messages: frozenset[int]) -> Outcome:
    """Return an outcome in which these messages were never said."""
    said = {
        item: {entry: at for entry, at in mine.items() if at not in messages}
        for item, mine in seen.said.items()
    }
    return attrs.evolve(seen, said={item: mine for item, mine in said.items() if mine}, nets={})


@lru_cache(maxsize=8)
def _passed_on(history: History) -> tuple[tuple[int, str, str, bool], ...]:
    """Return what was passed on as it is, and handled where it went: event, broker, place, and
    whether that is where it had been."""
    reading = read(history)
    handled: set[int] = set()
    for one in reading.handed.values():
        index = one.sent.index if _is_done(one) else -1
        while index >= 0 and index not in handled:
            handled.add(index)  # and what it stands for: a queue gave that back, once it expired
            index = int(history.raw[index][7].get("instead_of", -1))
    found = []
    for index, sent in reading.sent.items():
        in_hand = reading.handed.get(reading.roots[index])
        if index not in handled or in_hand is None or sent.poison:
            continue
        source = in_hand.sent
        if is_the_same(sent.value, source.value):
            back = (source.broker, source.topic) == (sent.broker, sent.topic)
            found.append((index, sent.broker, sent.topic, back))
    return tuple(found)


def _is_done(handed: Any) -> bool:
    return handed.handled >= 0 or (not handed.by_handler and handed.acked >= 0)


def is_the_same(value: Any, source: Any) -> bool:
    """Say whether a payload, or what is known of one, is another one, but for how often and when
    it was tried."""
    if value == source:
        return True
    now, before = (
        dict(one) if isinstance(one, tuple) and is_record(one) else parse(one)
        for one in (value, source)
    )
    if not isinstance(now, Mapping) or not isinstance(before, Mapping):
        return False
    return all(
        (name in now and name in before and now[name] == before[name])
        or words_in(str(name)) & OF_TRYING
        for name in {**now, **before}
    )
