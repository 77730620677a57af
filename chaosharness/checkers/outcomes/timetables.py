"""What a timetable has begin again and again: some of its runs may fail, the others end as usual.

A payment each month whose workflow has used up its attempts once is one payment less. Whoever
begins it sees that it failed, as of a workflow that somebody has started by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import attrs

from chaosharness.checkers.outcomes.differences import Ledgers
from chaosharness.checkers.outcomes.outcome import Entry, Outcome
from chaosharness.kernel.history import History

__all__ = ["Failing", "failing", "mixed"]

WELL = ("completed", "success", "succeeded", "started", "continued as new")


@attrs.frozen
class Failing:
    """A timetable of which some runs have failed that do not fail without faults.

    Attributes:
        item: For which item; 0 for nobody's.
        runs: How often it has something begin.
        failed: How many of those have failed.
    """

    item: int
    runs: int
    failed: int


def failing(history: History, calm: History) -> Iterator[Failing]:
    """Yield the timetables of which some runs have failed: as many have begun as usual."""
    begun, failed = _told(history)
    usual, usually_failed = _told(calm)
    for item, names in usual.items():
        if len(names) != 1 or begun.get(item) != names:
            continue
        [runs] = names.values()
        more = failed[item] - usually_failed[item]
        if runs > 1 and more > 0:
            yield Failing(item, runs, more)


def _told(history: History) -> tuple[dict[int, Counter[str]], Counter[int]]:
    """How often each timetable has had something begin, and how many of them failed, by item."""
    begun: dict[int, Counter[str]] = {}
    failed: Counter[int] = Counter()
    for event in history.of("note"):
        if (name := event.data.get("timetable")) is None:
            continue
        what = str(event.data["what"])
        if what.endswith("started"):
            begun.setdefault(event.entity, Counter())[name] += 1
        elif not what.endswith(WELL):
            failed[event.entity] += 1
    return begun, failed


def mixed(
    calm: Outcome, refused: Outcome | None, one: Failing, many: int, ledgers: Ledgers
) -> Outcome | None:
    """Return what comes out where so many runs of a timetable end as those of another outcome.

    Args:
        calm: How they end without faults.
        refused: How they all end where something is refused; None where they do nothing.
        one: The timetable.
        many: How many end so.
        ledgers: What effects stand.

    Returns:
        The outcome; None where it cannot be told what each run does.
    """
    item = one.item
    net = ledgers.net(calm, item)
    theirs = _nothing(net, one.runs) if refused is None else ledgers.net(refused, item)
    effects = _mix(net, theirs, one.runs, many)
    if effects is None:
        return None
    found = attrs.evolve(calm, nets={item: effects})
    if item:
        own = calm.own.get(item, Counter())
        rows = _nothing(own, one.runs) if refused is None else refused.own.get(item, Counter())
        part = _mix(own, rows, one.runs, many)
        found.own = {**calm.own, item: part or Counter()}
    else:
        rows = _nothing(calm.shared, one.runs) if refused is None else refused.shared
        part = _mix(calm.shared, rows, one.runs, many)
        found.shared = part or Counter()
    if refused is not None:
        found.said = {**calm.said, item: {**calm.said.get(item, {}), **refused.said.get(item, {})}}
    return None if part is None else found


def _nothing(counted: Mapping[Entry, int], runs: int) -> Counter[Entry]:
    """What is left where none of the runs does anything: what there is not once for each."""
    return Counter({entry: n for entry, n in counted.items() if n % runs})


def _mix(
    usual: Mapping[Entry, int], other: Mapping[Entry, int], runs: int, many: int
) -> Counter[Entry] | None:
    found: Counter[Entry] = Counter()
    for entry in _entries(usual, other):
        parts = usual.get(entry, 0) * (runs - many) + other.get(entry, 0) * many
        if parts % runs:
            return None
        if parts:
            found[entry] = parts // runs
    return found


def _entries(*several: Iterable[Entry]) -> dict[Entry, None]:
    return {entry: None for counted in several for entry in counted}
