"""One kind of fault at many places at once: whether any of them matters, in one run.

Which place of a kind matters is what no table of odds knows: a pause past every timeout breaks
a promise after the one `select` that a decision rests on, and after no other. A sweep asks all
of them together, and the shrinker finds out which it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from chaosharness.search.numbers import Numbers, Spot
from chaosharness.search.odds import Alike, Odds, Scored, in_turns
from chaosharness.search.sites import Sort

SWEPT_MAX: Final = 100
"""Faults of one sweep, at most: those of the first items."""

SHORT: Final = 3
"""So many times less likely is a sweep of a fault that could last longer: what is longer often
breaks what is shorter breaks, and the shrinker makes it shorter."""

Swept = tuple[str, tuple[int, ...], bool, int]
"""What the operations do, the kind with its option and length, whether it strikes after them,
and the how-manieth such operation of each handler."""


def swept(
    spots: Iterable[Spot], numbers: Numbers, what: Mapping[str, str], odds: Odds
) -> Iterator[tuple[int, ...]]:
    """Yield the sweeps of a run, likely ones first, as the numbers of their faults.

    A sweep has one kind of fault, with one option and length, at each operation that does one
    kind of thing (each commit, each read), but at one operation in each handler: who is paused
    after a read and once more in the same handler is not where the first pause would have had
    him. All second operations of the handlers are another sweep. Of sweeps that are as likely
    those of a kind that was swept less often come first, and of an operation that was.

    Args:
        spots: Where faults may strike, in the order in which the run got there.
        numbers: Of the faults there.
        what: What each operation does.
        odds: Of single faults.
    """
    places = _places(spots, what)
    groups: dict[Swept, list[int]] = {}
    sorts: dict[Swept, Sort] = {}
    for spot, nth in places:
        operation, entity, _, attempt = spot
        doing = what.get(operation, "")
        alike = numbers.catalogue.sorts_at(operation, entity, attempt)
        for number, sort in zip(numbers.at(spot), alike, strict=True):
            key = (doing, sort.rank, sort.late, nth)
            sorts.setdefault(key, sort)
            groups.setdefault(key, []).append(number)
    scored: dict[Alike, list[Scored[tuple[int, ...]]]] = {}
    for at, (key, faults) in enumerate(groups.items()):
        if len(faults) > 1:  # one is a single fault, which has its turn anyway
            doing, _, late, nth = key
            sort = sorts[key]
            chance = odds.of_row(sort.row, doing) / nth / (SHORT if sort.short else 1)
            kind = f"{sort.kind} {'after' if late else 'before'}"
            some = scored.setdefault((kind, kind, doing), [])
            some.append((-chance, (at,), tuple(faults[:SWEPT_MAX])))
    yield from in_turns(scored, {doing: doing for _, _, doing in scored})


def _places(spots: Iterable[Spot], what: Mapping[str, str]) -> list[tuple[Spot, int]]:
    """Return where faults may strike, the first items first, and which operation of its handler
    that is, among those that do the same.
    """
    order: dict[str, int] = {}
    counts: dict[tuple[str, str], int] = {}
    found = []
    for spot in spots:
        operation = spot[0]
        nth = order.get(operation)
        if nth is None:
            who = (operation.partition("/")[0], what.get(operation, ""))
            nth = order[operation] = counts[who] = counts.get(who, 0) + 1
        found.append((spot, nth))
    found.sort(key=lambda one: one[0][1])
    return found
