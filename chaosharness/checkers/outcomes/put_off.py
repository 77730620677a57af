"""Messages that were put off: passed on as they are, to a place where they are tried again.

A handler that cannot do its work now publishes what it has in hand to a retry topic, or a queue
that gives it back later, and goes on with the next. That is a redelivery of the system's own: no
run without faults has such a message, and nothing is wrong with it, as long as somebody handles it
and all ends as it would have.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import attrs

from chaosharness.checkers.excused import letters_of
from chaosharness.checkers.masking import TIMES, TRIES, words_in
from chaosharness.checkers.outcomes.outcome import Outcome, Place
from chaosharness.checkers.outcomes.values import parse
from chaosharness.checkers.reading import read
from chaosharness.kernel.history import History

OF_TRYING: Final = TIMES | TRIES | {"error", "exception"}
"""Words of what a message may say about its tries: how many, when, and why the last one failed."""


def put_off(history: History, usual: Outcome) -> frozenset[int]:
    """Return the messages that were put off and handled then, by their `publish` events.

    Args:
        history: The run.
        usual: What comes out without faults: a place that is used there is no place for retries.
    """
    passed_on = _passed_on(history)
    if not passed_on:
        return frozenset()
    places: set[Place] = {place for said in usual.said.values() for place, _ in said}
    return frozenset(
        index for index, broker, topic in passed_on if ("topic", broker, topic) not in places
    )


def without(seen: Outcome, messages: frozenset[int]) -> Outcome:
    """Return an outcome in which these messages were never said."""
    said = {
        item: {entry: at for entry, at in mine.items() if at not in messages}
        for item, mine in seen.said.items()
    }
    return attrs.evolve(seen, said={item: mine for item, mine in said.items() if mine}, nets={})


@lru_cache(maxsize=8)
def _passed_on(history: History) -> tuple[tuple[int, str, str], ...]:
    """Return what was passed on as it is, and handled where it went: event, broker, place."""
    reading, letters = read(history), letters_of(history)
    done = {one.sent.index for one in reading.handed.values() if _is_done(one)}
    handled = done | {letters[index] for index in done if index in letters}
    found: dict[int, tuple[int, str, str]] = {}
    for index, sent in reading.sent.items():
        in_hand = reading.handed.get(reading.roots[index])
        if index not in handled or index in letters or in_hand is None or sent.poison:
            continue
        source = in_hand.sent
        again = letters.get(source.index, source.index) in found  # and put off once more
        elsewhere = (source.broker, source.topic) != (sent.broker, sent.topic)
        if (again or elsewhere) and _is_the_same(sent.value, source.value):
            found[index] = (index, sent.broker, sent.topic)
    return tuple(found.values())


def _is_done(handed: Any) -> bool:
    return handed.handled >= 0 or (not handed.by_handler and handed.acked >= 0)


def _is_the_same(value: Any, source: Any) -> bool:
    """Say whether a payload is another one, but for how often and when it was tried."""
    if value == source:
        return True
    now, before = parse(value), parse(source)
    if not isinstance(now, Mapping) or not isinstance(before, Mapping):
        return False
    return all(
        (name in now and name in before and now[name] == before[name])
        or words_in(str(name)) & OF_TRYING
        for name in {**now, **before}
    )
