"""Clients whose request comes late: they go on later, or give up and do not come back.

A client is outside of the system: whoever asks for an order and hears nothing may not come back to
confirm it, and whoever cancels may do so a minute later. What the system does then is no matter of
infrastructure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from chaosharness.checkers.outcomes.clean import CLIENT
from chaosharness.checkers.outcomes.plan import Refusal
from chaosharness.faults import Delay, Fault
from chaosharness.kernel.history import Event, History

ORDER: Final = "order"
"""The kind of a question: may the order in which clients come decide?"""

__all__ = ["ORDER", "arrived", "left_early"]


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


def _asked(history: History, item: int) -> Iterator[Event]:
    """Yield what the client of an item asked for."""
    for event in history.of("call"):
        if event.entity == item and event.operation.startswith(CLIENT):
            yield event
