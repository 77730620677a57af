"""Clients whose request comes late: they go on later, or give up and do not come back.

A client is outside of the system: whoever asks for an order and hears nothing may not come back to
confirm it, and whoever cancels may do so a minute later. What the system does then is no matter of
infrastructure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from chaosharness.checkers.masking import words_in
from chaosharness.checkers.outcomes.clean import CLIENT
from chaosharness.checkers.outcomes.plan import Refusal
from chaosharness.faults import Delay, ErrorReply, Fault
from chaosharness.kernel.history import Event, History

ORDER: Final = "order"
"""The kind of a question: may the order in which clients come decide?"""

CANCELS: Final = frozenset({"cancel", "terminate", "stop", "abort"})
"""Words in the name of what a client asks an engine for that ends what it has begun there."""

__all__ = [
    "ORDER",
    "arrived",
    "ends_by_cancelling",
    "left_early",
    "never_came_to_cancel",
    "never_cancelled",
]


def arrived(history: History, faults: Iterable[Fault], items: Iterable[int]) -> tuple[int, ...]:
    """Return the items in the order in which their clients' requests got through, all of them.

    Empty where no such request was late, or one never got through.
    """
    late = [one for one in faults if isinstance(one, Delay)]
    if not any(one.site.operation.startswith(CLIENT) for one in late):
        return ()
    raw = history.raw
    through = dict.fromkeys(
        raw[at][4]
        for at in history.places_of("publish", "call")
        if raw[at][3].startswith(CLIENT) and raw[at][4]
    )
    return tuple(through) if through.keys() == {*items} else ()


def left_early(
    usual: History, history: History, faults: Iterable[Fault], items: Iterable[int]
) -> tuple[Refusal, ...]:
    """Return the requests that came late, and that were the last of their clients in this run.

    Not where a client has asked again, nor where it has asked a third party itself: then its code
    is under test.

    Args:
        usual: The run without faults.
        history: The run.
        faults: Those that struck.
        items: Those whose clients were told no.
    """
    late = {(one.site.operation, one.site.entity): one for one in faults if isinstance(one, Delay)}
    if not late:
        return ()
    done = {event.operation for event in history.of("effect")}
    found = []
    for item in sorted(items):
        asked, before = [*_asked(history, item)], [*_asked(usual, item)]
        last = asked[-1].operation if asked else ""
        names = [event.operation for event in asked]
        goes_on = names == [event.operation for event in before[: len(asked)]] != []
        if (last, item) in late and goes_on and last not in done:
            lasting = late[last, item].lasting
            found.append(Refusal(last, item, asked[-1].attempt, Delay, lasting))
    return tuple(found)


def never_cancelled(history: History, items: Collection[int]) -> tuple[Refusal, ...]:
    """Return the requests to end something that clients were told no about, at the last.

    Then it goes on, as one that nobody has cancelled, and its client knows.

    Args:
        history: The run.
        items: Those whose clients were told no.
    """
    last: dict[int, Event] = {}
    for event in history.of("reply"):
        if event.entity in items and event.operation.startswith(CLIENT):
            last[event.entity] = event
    return tuple(
        Refusal(event.operation, item, 1, ErrorReply)
        for item, event in sorted(last.items())
        if event.data.get("outcome") != "ok" and _cancels(event.operation)
    )


def ends_by_cancelling(usual: History, item: int) -> bool:
    """Say whether the last that the client of an item asks for ends what it has begun."""
    asked = [*_asked(usual, item)]
    return bool(asked) and _cancels(asked[-1].operation)


def never_came_to_cancel(usual: History, history: History, item: int) -> bool:
    """Say whether the client of an item asks here for all that it does without faults, but to end
    what it has begun."""
    asked, before = [*_asked(history, item)], [*_asked(usual, item)]
    left_out = before[len(asked) :]
    return bool(left_out) and all(_cancels(event.operation) for event in left_out)


def _cancels(operation: str) -> bool:
    return bool(CANCELS & words_in(operation.rpartition(".")[2]))


def _asked(history: History, item: int) -> Iterator[Event]:
    """Yield what the client of an item asked for."""
    for event in history.of("call"):
        if event.entity == item and event.operation.startswith(CLIENT):
            yield event
