"""Generated values that are one without faults, and two in a run: an id drawn anew."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from chaosharness.checkers.outcomes.differences import Difference
from chaosharness.checkers.outcomes.outcome import Outcome, spelled_place


def torn_apart(calm: Outcome, seen: Outcome) -> Iterator[Difference]:
    """Yield generated values that are one in two places of the calm run, and two here."""
    for item, places in calm.drawn.items():
        mine = seen.drawn.get(item, {})
        for one, other in combinations(sorted(places, key=repr), 2):
            usual = places[one] == places[other]
            both = mine.get(one), mine.get(other)
            if usual and both[0] and both[1] and not both[0] & both[1]:
                names = [f"{spelled_place(place)}.{'.'.join(path)}" for place, path in (one, other)]
                yield Difference("torn apart", item, names[0], names[1], source=one[0][1])
