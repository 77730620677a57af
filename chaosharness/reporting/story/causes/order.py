"""Who came first: both looked before either wrote, a lease that had run out, an overtaking."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Final

from chaosharness.checkers.reading import Handed, read
from chaosharness.kernel.history import Event
from chaosharness.reporting.story.causes.case import Case, Cause, Work, about, table
from chaosharness.reporting.story.legible import clip, span

WORKS_MAX: Final = 60
"""Pieces of work that are held against each other."""


def lease_over(case: Case) -> Cause | None:
    """Find work that went on under a lease which somebody else had taken meanwhile."""
    for held, other, _, late in _crossed(case):
        taken = _lease(case, held, other, late)
        if taken is None:
            continue
        mine, theirs = taken
        first, second = _whom(case, held, other)
        shared = sorted(about(mine) & about(theirs))
        still = span(late.at_ms - mine.at_ms)
        words = (
            f"{first} took {clip(shared[0], 40)} in {table(mine)} and stood still for {still}; "
            f"{second} took it meanwhile and did the work. Then {first} went on "
            f"({table(late)}) and did not look again whether it still had it."
        )
        return Cause("lease", words)
    return None


def _lease(case: Case, held: Work, other: Work, late: Event) -> tuple[Event, Event] | None:
    """Return what both took, each in a transaction of its own before its other writes."""
    for mine in case.wrote(held, lasting=True):
        alone = case.lasting[mine.index]
        if late.index < alone or table(mine) == table(late):
            continue
        rest = [w for w in case.wrote(held, lasting=True) if w.index < alone]
        if rest != [mine]:
            continue
        for theirs in case.wrote(other, lasting=True):
            same = table(theirs) == table(mine) and about(mine) & about(theirs)
            between = alone < theirs.index < late.index
            if same and between and theirs.data.get("verb") != "delete":
                return mine, theirs
    return None


def looked_early(case: Case) -> Cause | None:
    """Find a read that was out of date by the time somebody acted on it."""
    for held, other, look, late in _crossed(case):
        theirs = [w for w in case.wrote(other, lasting=True) if table(w) == table(look)]
        first, second = _whom(case, held, other)
        what = table(look)
        mine = [
            w
            for w in case.wrote(held, lasting=True)
            if table(w) == what and w.data.get("verb") == "update"
        ]
        if mine and any(w.data.get("verb") == "update" for w in theirs):
            words = (
                f"{first} read {what}, {second} changed it, and then {first} wrote what it had "
                f"worked out before that: the change of {second} is overwritten."
            )
            return Cause("lost update", words)
        words = (
            f"{first} and {second} both looked into {what} before either of them had written "
            f"there, so each did the work ({table(late)})."
        )
        return Cause("race", words)
    return None


def _whom(case: Case, held: Work, other: Work) -> tuple[str, str]:
    """Name two incarnations; two tasks of one are told apart by what they do."""
    names = []
    for work in (held, other):
        event = work.events[-1]
        handed = case.reading.handed.get(work.root)
        names.append(case.narrator.name(handed.to if handed else event.actor))
    if names[0] == names[1]:
        return f"one task of {names[0]}", "another"
    return names[0], names[1]


def _crossed(case: Case) -> Iterator[tuple[Work, Work, Event, Event]]:
    """Yield two works that crossed: one read, the other wrote there, and the first wrote then."""
    works = [case.works[one.index] for one in case.reading.handed.values()]
    works = [work for work in works if case.wrote(work, lasting=True)][:WORKS_MAX]
    for held, other in permutations(works, 2):
        for look in held.of("read"):
            changed = [w for w in case.wrote(other) if table(w) == table(look)]
            ends = [case.lasting[w.index] for w in changed if w.index in case.lasting]
            after = [end for end in ends if end > look.index]
            if not after:
                continue
            late = _wrote_then(case, held, other, look, min(after))
            if late is not None and _looked(other, look, late):
                yield held, other, look, late


def _wrote_then(case: Case, held: Work, other: Work, look: Event, since: int) -> Event | None:
    """Return what was written after that, without a second look, and the other wrote as well."""
    for write in case.wrote(held, lasting=True):
        if write.index < since:
            continue
        looked = any(
            look.index < one.index < write.index and one.index > since and table(one) == table(look)
            for one in held.of("read")
        )
        alike = any(
            table(one) == table(write) and (about(one) & about(write))
            for one in case.wrote(other, lasting=True)
        )
        if alike and not looked:
            return write
    return None


def _looked(other: Work, look: Event, late: Event) -> bool:
    """Say whether the other had looked there too, before the first wrote."""
    return any(table(one) == table(look) and one.index < late.index for one in other.of("read"))


def second_beside_first(case: Case) -> Cause | None:
    """Find a delivery that came again while the first was still at work, and both went on."""
    for early, late in case.again():
        if not early.index < late.index < early.handled or not early.work or not late.work:
            continue
        if early.to == late.to:
            continue
        what = case.narrator.message(early.sent.index)
        one, other = case.narrator.name(early.to), case.narrator.name(late.to)
        words = (
            f"{what} was handed to {other} while {one} was still at work on it, and both went on: "
            f"a second run of {case.place(case.history[early.handled])} beside the first."
        )
        return Cause("race", words)
    return None


def overtaken(case: Case) -> Cause | None:
    """Find two messages of one key that a service handled in the other order than usual."""
    if case.passing is None or not case.of_the_end:
        return None
    first = _first_ends(case)
    usual = _usual_order(case)
    for (who, key, topic), (done, one) in first.items():
        for (who_too, key_too, other_topic), (sooner, other) in first.items():
            if (who, key) != (who_too, key_too) or topic == other_topic:
                continue
            if not one.sent.index < other.sent.index or not sooner < done:
                continue
            before = usual.get((who, key, topic)), usual.get((who, key, other_topic))
            if before[0] is None or (before[1] is not None and before[1] < before[0]):
                continue
            if not _tried_early(case, one, sooner):
                continue
            words = (
                f"{who} handled {case.narrator.message(other.sent.index)} before "
                f"{case.narrator.message(one.sent.index)}, which was published first and was "
                f"overtaken: {_late_because(case, one)}. Both were handled as if they had come "
                f"in order."
            )
            return Cause("order", words)
    return None


def _first_ends(case: Case) -> dict[tuple[str, str, str], tuple[int, Handed]]:
    """Return when each service was first done with the messages of a key, by topic."""
    found: dict[tuple[str, str, str], tuple[int, Handed]] = {}
    for one in case.reading.handed.values():
        if one.handled < 0 or one.sent.key is None or one.sent.entity not in case.items:
            continue
        place = (one.to.partition("#")[0], one.sent.key, one.sent.topic)
        if place not in found:
            found[place] = (one.handled, one)
    return found


def _usual_order(case: Case) -> dict[tuple[str, str, str], int]:
    found: dict[tuple[str, str, str], int] = {}
    for one in read(case.passing).handed.values() if case.passing is not None else ():
        if one.handled >= 0 and one.sent.key is not None:
            place = (one.to.partition("#")[0], one.sent.key, one.sent.topic)
            found.setdefault(place, one.handled)
    return found


def _tried_early(case: Case, one: Handed, sooner: int) -> bool:
    """Say whether the older message had its chance before the newer one was handled."""
    deliveries = case.reading.pairs[one.sent.index, one.group]
    return deliveries[0].index < sooner or deliveries[0].index > one.sent.index


def _late_because(case: Case, one: Handed) -> str:
    deliveries = case.reading.pairs[one.sent.index, one.group]
    if any(0 <= other.raised < one.index for other in deliveries):
        return "the first attempt at it had failed, and nothing waited for the second"
    if deliveries[0].index != one.index:
        return "it was not done when it was handed out first"
    return "it was on its way for longer"
