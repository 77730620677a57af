"""Rows that stand although the system takes such rows back: the hotel of a trip whose flight was
cancelled.

Nobody has to say what a compensation is. Where an item is refused something for good, a clean run
shows which of the rows that stood then are changed or deleted by its end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from chaosharness.checkers.masking import STAR
from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.differences import STANDS, Difference, nearest
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, Place, spelled_place
from chaosharness.checkers.outcomes.plan import Plan
from chaosharness.checkers.outcomes.values import masked_leaves, spelled, words_of

SPELLED_MAX: Final = 80
"""Characters of a row that is spelled whole."""


def not_taken_back(clean: Clean, out: Outcome, item: int, failed: str) -> Iterator[Difference]:
    """Yield a row of an item that stands although others of its rows were taken back.

    It is a question where none was, and a workflow has failed: somebody may see to it. Whoever
    ends with just the rows that a clean run leaves which is refused something has ended so.

    Args:
        clean: The clean runs.
        out: What came out of the run.
        item: The item, which was given up.
        failed: What an engine notes of its workflow, if it failed only here.
    """
    mine = out.own.get(item, Counter[Entry]())
    usual = clean.calm.own.get(item, Counter[Entry]())
    others = [(operation, other) for operation, entity, other in clean.refusals if entity == item]
    seen_to = out.dead.get(item) or item in out.parked  # somebody looks at it
    if not mine or seen_to or any(other.own.get(item) == mine for _, other in others):
        return
    for operation, other in others:
        theirs = other.own.get(item, Counter[Entry]())
        if not mine - theirs:
            continue
        before = _before(clean, operation, item)
        given_up = (mine & theirs) - usual - before
        words = {text for _, row in given_up for text in words_of(row)}
        for entry in sorted((mine & before) - theirs, key=repr):
            new = _words_instead(entry, theirs - before)
            if entry not in usual and not words & new:
                continue
            where = operation.rpartition("/")[2]
            if given_up:
                yield _half(clean, item, entry, min(given_up, key=repr), theirs, where)
            elif failed and (spelled_place(entry[0]), failed) not in clean.options.may_end:
                place = spelled_place(entry[0])
                what = f"the row {_spelled(entry, theirs)}"
                yield Difference(STANDS, item, place, failed, what, source=entry[0][1])
            else:
                continue
            return


def _before(clean: Clean, operation: str, item: int) -> Counter[Entry]:
    """Return the rows of an item that stood a moment before an operation was first asked for.

    A moment: what the same step does besides, once it has asked, is none of them.
    """
    raw = clean.history.raw
    for event in raw:
        if (event[3], event[4]) == (operation, item):
            first = next(at for at, other in enumerate(raw) if other[0] == event[0])
            out = clean.outcome(Plan(events_max=first - 1)) if first > 1 else None
            return Counter() if out is None else out.own.get(item, Counter())
    return Counter()


def _words_instead(entry: Entry, new: Counter[Entry]) -> frozenset[str]:
    """Return the words that a row says once it is changed, and did not say before."""
    place, row = entry
    there = [other for where, other in new if where == place]
    if not there:
        return frozenset()
    changed, _ = nearest(there, [row])
    return frozenset(words_of(changed)) - frozenset(words_of(row))


def _half(
    clean: Clean, item: int, entry: Entry, given_up: Entry, theirs: Counter[Entry], refused: str
) -> Difference:
    place: Place = entry[0]
    usual = {text for _, text in clean.calm.words(item)}
    new = (text for text in words_of(given_up[1]) if text not in usual)
    said = sorted(text for text in new if not clean.reader.owners.of(text))
    ends = f"ends as {said[0]!r} in {spelled_place(given_up[0])}" if said else "was given up"
    stands = f"and yet {_spelled(entry, theirs)} stands"
    because = f"where {refused} is refused for good, that is taken back"
    what = f"{ends}, {stands}; {because}"
    return Difference("half done", item, spelled_place(place), what, source=place[1])


def _spelled(entry: Entry, theirs: Counter[Entry]) -> str:
    """Spell a row; of a long one what says which it is, and what is otherwise once taken back."""
    place, row = entry
    whole = f"{spelled_place(place)}{spelled(row)}"
    there = [other for where, other in theirs if where == place]
    if len(whole) <= SPELLED_MAX or not there:
        return whole
    cells = dict(masked_leaves(row))
    other = dict(masked_leaves(nearest(there, [row])[0]))
    kept = [
        f"{path[-1]}={spelled(value)}"
        for at, (path, value) in enumerate(cells.items())
        if value != STAR and (not at or other.get(path, value) != value)
    ]
    return f"{spelled_place(place)}({', '.join(kept)})"
