"""How a schedule is drawn: five small numbers for each fault, and back again.

Knows nothing of Hypothesis: whoever draws passes `pick(top)`, which returns a whole
number from 0 to `top`. Smaller is simpler: 0 stops, low kinds are mild, low places come
early, the first item and the first attempt come first.

The five numbers have the same ranges for every fault, whatever the others are, and each
keeps its meaning when another changes: a place is a number in one list of all places,
and where a kind cannot strike at that place it strikes at the next one where it can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.faults import EVERY_KIND, FAULTS, Fault
from chaosharness.handlers.port import Kinds
from chaosharness.kernel.site import Site
from chaosharness.schedule import Schedule
from chaosharness.strategies.places import Place, places, sizes_of_system
from chaosharness.strategies.sizes import NONE, Sizes, ways
from chaosharness.system import System

Pick = Callable[[int], int]
"""Returns a whole number from 0 to the given one."""

Choices = tuple[int, int, int, int, int]
"""One fault: kind, place, item, attempt, option. Hypothesis's shrinker deletes runs of at
most five choices: with six, 0 of 15 shrinks reached their minimum."""

ITEMS_MAX: Final = 8
ATTEMPTS_MIN: Final = 4
ATTEMPTS_MAX: Final = 32
STOPS_SHARE: Final = 3
"""For every so many kinds, one number means stop: about a quarter of all draws."""
EARLY: Final = {1: 8, 2: 4, 3: 2}
"""How many numbers stand for the first items and attempts, where most faults find a site."""
FAULTS_REMEMBERED: Final = 50_000


class Deck:
    """What schedules are drawn from: the places of a system, the kinds, how many at most.

    Args:
        places: Where a fault may strike.
        faults_max: How many faults at most.
        kinds: The kinds of fault to draw, in any order; those that strike nowhere are
            left out.
        items_max: Faults strike the workload items 1 to this one.
        sizes: How long trouble may last besides the words.
        system: Whose schedules they are.
    """

    def __init__(
        self,
        places: tuple[Place, ...],
        *,
        faults_max: int,
        kinds: Iterable[type[Fault]] = FAULTS,
        items_max: int = ITEMS_MAX,
        sizes: Sizes = NONE,
        system: System | None = None,
    ) -> None:
        wanted = frozenset(kinds)
        somewhere = {kind for place in places for kind in place.kinds}
        self.system = system
        self.sizes = sizes
        self.places = places
        self.faults_max = faults_max
        self.kinds: Kinds = tuple(kind for kind in EVERY_KIND if kind in wanted & somewhere)
        assert self.kinds, "a deck needs a kind of fault that strikes somewhere"
        self.stops = max(1, round(len(self.kinds) / STOPS_SHARE))
        self.items = _mostly_early(items_max)
        self.attempts = tuple(_mostly_early(_attempts_max(place)) for place in places)
        self.landing = {kind: _landing(kind, places) for kind in self.kinds}
        self.ways = {kind: ways(kind, sizes) for kind in self.kinds}
        options_max = max(map(len, self.ways.values()))
        self.kind_top = self.stops + len(self.kinds) - 1
        attempts_max = max(map(len, self.attempts))
        self.tops = (len(places) - 1, len(self.items) - 1, attempts_max - 1, options_max - 1)
        self._number = {
            (place.operation, place.phase, place.own, place.message): number
            for number, place in enumerate(places)
        }
        self._made: dict[Choices, Fault] = {}

    # ---- numbers to faults

    def read(self, pick: Pick) -> Schedule:
        """Draw a schedule.

        The last number says stop, also where there could not be another fault: so that
        five numbers, deleted anywhere, leave a schedule with one fault less.
        """
        faults: list[Fault] = []
        place, item, attempt, option = self.tops
        while (kind := pick(self.kind_top)) >= self.stops and len(faults) < self.faults_max:
            choices = (kind, pick(place), pick(item), pick(attempt), pick(option))
            faults.append(self._made.get(choices) or self.fault(choices))
        return Schedule(faults, drawn=True)

    def fault(self, choices: Choices) -> Fault:
        """Return the fault that five numbers stand for. Several fives may mean the same."""
        number, place_number, item, attempt, option = choices
        kind = self.kinds[number - self.stops]
        place_number = self.landing[kind][place_number]
        place = self.places[place_number]
        attempts = self.attempts[place_number]
        entity = 0 if place.own else self.items[item]
        nth = attempts[attempt % len(attempts)]
        site = Site(place.operation, place.phase, entity, nth, message=place.message)
        possible = self.ways[kind]
        fault = kind(site, **possible[option % len(possible)])
        if len(self._made) >= FAULTS_REMEMBERED:
            self._made.clear()
        self._made[choices] = fault
        return fault

    # ---- faults to numbers

    def write(self, schedule: Schedule) -> list[int] | None:
        """Return the smallest numbers that are read as this schedule.

        None if there are none: too many faults, a place the deck does not know, a
        duration of the user's own.
        """
        if len(schedule) > self.faults_max:
            return None
        numbers: list[int] = []
        for fault in schedule:
            choices = self.choices(fault)
            if choices is None:
                return None
            numbers += choices
        return [*numbers, 0]

    def choices(self, fault: Fault) -> Choices | None:
        """Return the smallest five numbers that stand for this fault, if any do."""
        site = fault.site
        own = site.entity == 0
        place = self._number.get((site.operation, site.phase, own, site.message))
        kind = type(fault)
        if place is None or kind not in self.landing:
            return None
        attempts = self.attempts[place]
        if site.attempt not in attempts or not (own or site.entity in self.items):
            return None
        item = 0 if own else self.items.index(site.entity)
        found_in = (
            number for number, words in enumerate(self.ways[kind]) if kind(site, **words) == fault
        )
        option = next(found_in, 0)
        number = self.stops + self.kinds.index(kind)
        found = (number, place, item, attempts.index(site.attempt), option)
        return found if self.fault(found) == fault else None


@lru_cache(maxsize=ATTEMPTS_MAX)
def _mostly_early(top: int) -> tuple[int, ...]:
    """Return 1 to `top`, the first three several times, so that they are drawn more often."""
    return tuple(value for value in range(1, top + 1) for _ in range(EARLY.get(value, 1)))


def _attempts_max(place: Place) -> int:
    return min(max(place.attempts + 1, ATTEMPTS_MIN), ATTEMPTS_MAX)


def _landing(kind: type[Fault], places: tuple[Place, ...]) -> tuple[int, ...]:
    """Return, for each place, the nearest one from there on where a kind can strike."""
    legal = [number for number, place in enumerate(places) if kind in place.kinds]
    return tuple(
        next((one for one in legal if one >= number), legal[0]) for number in range(len(places))
    )


def deck_for(
    system: System,
    *,
    faults_max: int,
    kinds: Iterable[type[Fault]] | None = None,
    items_max: int = ITEMS_MAX,
) -> Deck:
    """Return the deck of a system.

    Raises:
        InvalidDefinition: The system has no entry, no examples or nothing to strike, or
            none of the wanted kinds can strike it.
    """
    known = places(system)
    wanted = tuple(FAULTS if kinds is None else kinds)
    somewhere = {kind for place in known for kind in place.kinds}
    if not somewhere & set(wanted):
        names = ", ".join(kind.__name__ for kind in wanted) or "none"
        legal = ", ".join(kind.__name__ for kind in EVERY_KIND if kind in somewhere)
        raise InvalidDefinition(
            f"no fault of the kinds asked for ({names}) can strike system {system.name!r}; "
            f"these can: {legal}"
        )
    return Deck(
        known,
        faults_max=faults_max,
        kinds=wanted,
        items_max=items_max,
        sizes=sizes_of_system(system),
        system=system,
    )


@attrs.define(eq=False)
class Sketch:
    """A schedule that is being drawn. Whoever answers the draws may leave a script here."""

    deck: Deck
    script: Iterator[int] | None = None


SKETCH: Final[ContextVar[Sketch | None]] = ContextVar("chaosharness.sketch", default=None)
"""The schedule that is being drawn now: tells a planner which draws are its own."""
