"""Schedules as a Hypothesis strategy.

Source:
    Rules R1 to R7, measured with Hypothesis 6.170: a schedule is plain data drawn before
    the run; at most five choices a fault; sites by name; what finds no site does nothing;
    no `unique`, sets or `assume`; simplest first; the number of faults by our own loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final
from weakref import WeakKeyDictionary

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from chaosharness.errors import InvalidDefinition
from chaosharness.faults import EVERY_KIND, FAULTS, Fault
from chaosharness.options import OPTIONS
from chaosharness.schedule import Schedule
from chaosharness.strategies.drawing import ITEMS_MAX, SKETCH, Deck, Sketch, deck_for
from chaosharness.system import System

ASKED: Final[WeakKeyDictionary[Any, tuple[type[Fault], ...]]] = WeakKeyDictionary()
"""The kinds of fault that the test which drew last asked for, by system."""


def schedules(
    system: System,
    *,
    faults_max: int = 4,
    kinds: Iterable[type[Fault]] | None = None,
    items_max: int = ITEMS_MAX,
) -> SearchStrategy[Schedule]:
    """Return a strategy for schedules of a system: which faults strike, and where.

    >>> @given(orders=orders(1, 3), schedule=schedules(shop, faults_max=2))
    ... def test_checkout(orders, schedule):
    ...     shop.run(orders, schedule).check()

    What can be struck is learned from the system itself when the first test runs, by up
    to 200 runs of its entry's examples. A drawn fault that finds no site does nothing.
    Shrinks to fewer and milder faults, earlier in the run; the empty schedule comes first.

    With Hypothesis's own settings schedules are drawn at random, and about one fault in three
    strikes; with `@chaos_settings()` above `@given` they are planned, and most do.

    Args:
        system: The system to run under these schedules. It must have an entry with examples.
        faults_max: How many faults at most, from 1; `--chaos-faults` goes first.
        kinds: The kinds of fault; by default all that the system's parts could suffer, but
            `GracefulStop`.
        items_max: The most items in a workload: faults strike items 1 to this one.

    Raises:
        InvalidDefinition: An argument is wrong; or, when the test starts, the system has
            no entry or examples, or cannot suffer any of these kinds.
    """
    if not isinstance(system, System):
        raise InvalidDefinition(f"schedules are those of a System, not of {system!r}")
    _check_at_least_1("faults_max", faults_max)
    _check_at_least_1("items_max", items_max)
    wanted = None if kinds is None else checked_kinds(kinds)

    def deal() -> SearchStrategy[Schedule]:
        ASKED[system] = FAULTS if wanted is None else wanted
        most = faults_max if OPTIONS.faults_max is None else OPTIONS.faults_max
        return drawn(deck_for(system, faults_max=most, kinds=wanted, items_max=items_max))

    return st.deferred(deal)


def checked_kinds(kinds: Iterable[type[Fault]]) -> tuple[type[Fault], ...]:
    """Return kinds of fault as a tuple.

    Raises:
        InvalidDefinition: One of them is no kind of fault.
    """
    known = ", ".join(kind.__name__ for kind in EVERY_KIND)
    if isinstance(kinds, type) or not isinstance(kinds, Iterable):
        raise InvalidDefinition(f"kinds must be several, such as [Crash], not {kinds!r}")
    found = tuple(kinds)
    for kind in found:
        if kind not in EVERY_KIND:
            raise InvalidDefinition(f"{kind!r} is no kind of fault; kinds are: {known}")
    return found


def _check_at_least_1(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidDefinition(f"{name} must be a whole number from 1, not {value!r}")


@lru_cache(maxsize=1024)
def _whole(top: int) -> SearchStrategy[int]:
    return st.integers(0, top)


@st.composite
def drawn(draw: Callable[[SearchStrategy[Any]], Any], deck: Deck) -> Schedule:
    """Draw a schedule from a deck, as plain data and before the run."""
    token = SKETCH.set(Sketch(deck))
    try:
        return deck.read(lambda top: draw(_whole(top)))
    finally:
        SKETCH.reset(token)
