"""Who came first: both looked before either wrote, a lease that had run out, an overtaking."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import Final

from chaosharness.checkers.reading import Handed, read
from chaosharness.kernel.history import Event, plain
from chaosharness.reporting.story.causes.case import (
    Case,
    Cause,
    Work,
    about,
    action,
    names,
    table,
)
from chaosharness.reporting.story.legible import clip, span

WORKS_MAX: Final = 60
"""Pieces of work that are held against each other."""


def lease_over(case: Case) -> Cause | None:
    """Find work that went on under a lease which somebody else had taken meanwhile."""
    for held, other, _, late in _crossed(case):
        taken = _lease(case, held, other, late)
        if taken is None or not case.came_of(held):
            continue
        mine, theirs = taken
        first, second = _whom(case, held, other)
        shared = _whose_row(case, mine, theirs)
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
            if not alone < theirs.index < late.index or theirs.data.get("verb") == "delete":
                continue
            if not _whose_row(case, mine, theirs):
                continue
            if _let_go(case, held, mine, theirs) or _looked_again(held, theirs, late):
                continue
            return mine, theirs
    return None


def _whose_row(case: Case, mine: Event, theirs: Event) -> list[str]:
    """Return the texts that two writes to one table share, and that other items' rows lack.

    A status, or the name of whoever takes, is in the rows of many keys.
    """
    if table(mine) != table(theirs):
        return []
    others = [
        about(write)
        for write in case.history.of("write", "commit")
        if table(write) == table(mine) and write.entity not in (mine.entity, theirs.entity)
    ]
    shared = (about(mine) & about(theirs)) - {""}
    if mine.entity == theirs.entity and mine.entity:
        shared -= frozenset({mine.actor, theirs.actor})
    elif not others:
        return sorted(shared)
    return sorted(text for text in shared if not any(text in one for one in others))


def _let_go(case: Case, held: Work, mine: Event, theirs: Event) -> bool:
    """Say whether the lease had been given back before the other took it."""
    return any(
        mine.index < write.index < theirs.index and table(write) == table(mine)
        for write in case.wrote(held, lasting=True)
    )


def _looked_again(held: Work, theirs: Event, late: Event) -> bool:
    """Say whether the first looked at the lease again, before it went on."""
    return any(
        theirs.index < look.index < late.index and table(look) == table(theirs)
        for look in held.of("read")
    )


def looked_early(case: Case) -> Cause | None:
    """Find a read that was out of date by the time somebody acted on it."""
    crossed = list(_crossed(case))
    for held, other, look, late in crossed:
        if _overwrote(case, held, other, look, late):
            first, second = _whom(case, held, other)
            words = (
                f"{first} read {table(look)}, {second} changed it, and then {first} wrote what it "
                f"had worked out before that: the change of {second} is overwritten."
            )
            return Cause("lost update", words)
    for held, other, look, late in crossed:
        then = [w for w in case.wrote(held, lasting=True) if w.index >= late.index]
        if not _looked(other, look, late) or not any(map(case.followed, then)):
            continue
        first, second = _whom(case, held, other)
        words = (
            f"{first} and {second} both looked into {table(look)} before either of them had "
            f"written there, so each did the work ({table(late)})."
        )
        return Cause("race", words)
    return None


def _overwrote(case: Case, held: Work, other: Work, look: Event, late: Event) -> bool:
    """Say whether the first wrote over the row that the other had changed since it looked."""
    mine = [w for w in case.wrote(held, lasting=True) if w.index >= late.index]
    theirs = [w for w in case.wrote(other, lasting=True) if case.lasting[w.index] > look.index]
    return any(
        table(one) == table(two) == table(look)
        and one.data.get("verb") == two.data.get("verb")
        and (one.data.get("verb") == "update" or _is_one_row(case, one, two))
        and about(one) & about(two)
        and (case.followed(one) or case.followed(two))
        for one in mine
        for two in theirs
        if two.index < one.index
    )


def _is_one_row(case: Case, one: Event, two: Event) -> bool:
    """Say whether two different things were written into what is one row at the end."""
    if plain(one.data.get("params")) == plain(two.data.get("params")):
        return False
    shared = about(one) & about(two)
    store, _, name = table(one).partition(".")
    for state in case.history.of("state"):
        tables = state.data.get("tables") if state.actor == store else None
        rows = dict(tables).get(name, ()) if tables else ()
        if len([row for row in rows if shared & names(row)]) == 1:
            return True
    return False


def _whom(case: Case, held: Work, other: Work) -> tuple[str, str]:
    """Name two incarnations; two tasks of one are told apart by what they do."""
    names = []
    for work in (held, other):
        event = case.wrote(work, lasting=True)[-1]
        names.append(case.narrator.name(event.actor))
    if names[0] == names[1]:
        return f"one task of {names[0]}", "another"
    return names[0], names[1]


def _crossed(case: Case) -> Iterator[tuple[Work, Work, Event, Event]]:
    """Yield two works that crossed: one read, the other wrote there, and the first wrote then."""
    works = [case.works[one.index] for one in case.reading.handed.values()]
    works += [case.works[one.index] for one in case.history.of("arrive")]
    works = [work for work in works if case.wrote(work, lasting=True)][:WORKS_MAX]
    for held, other in permutations(works, 2):
        for look in held.of("read"):
            changed = [w for w in case.wrote(other) if table(w) == table(look)]
            ends = [case.lasting[w.index] for w in changed if w.index in case.lasting]
            after = [end for end in ends if end > look.index]
            if not after:
                continue
            late = _wrote_then(case, held, other, look, min(after))
            if late is not None:
                yield held, other, look, late


def _wrote_then(case: Case, held: Work, other: Work, look: Event, since: int) -> Event | None:
    """Return what was written after that, without a second look, and the other wrote as well."""
    for write in case.wrote(held, lasting=True):
        if write.index < since:
            continue
        looks = [
            one
            for one in held.of("read")
            if max(look.index, since) < one.index < write.index and table(one) == table(look)
        ]
        looked = len(looks) >= int(write.data.get("rows", 1) if table(write) == table(look) else 1)
        alike = any(
            table(one) == table(write) and (about(one) & about(write))
            for one in case.wrote(other, lasting=True)
        )
        if alike and not looked:
            return write
    return None


def _looked(other: Work, look: Event, late: Event) -> bool:
    """Say whether the other had looked there too, before the first wrote there."""
    return any(table(one) == table(look) and one.index < late.index for one in other.of("read"))


def second_beside_first(case: Case) -> Cause | None:
    """Find a delivery that came again while the first was still at work, and both went on."""
    for early, late in case.again():
        if not early.index < late.index < early.handled or not late.work:
            continue
        if early.to == late.to or not _went_on(case, early, late):
            continue
        what = case.narrator.message(early.sent.index)
        one, other = case.narrator.name(early.to), case.narrator.name(late.to)
        words = (
            f"{what} was handed to {other} while {one} was still at work on it, and both went on: "
            f"a second run of {case.place(case.history[early.handled])} beside the first."
        )
        return Cause("race", words)
    return None


def _went_on(case: Case, early: Handed, late: Handed) -> bool:
    """Say whether both did the same after that, and what was found is one of these, or of it."""
    one, other = case.works[early.index], case.works[late.index]
    deeds = ("write", "publish", "effect", "call")
    since = [event for event in one.of(*deeds) if event.index > late.index]
    second = other.of(*deeds)
    pairs = [(a, b) for a in since for b in second if a.operation == b.operation]
    return any(case.followed(event) for pair in pairs for event in pair)


def older_after_newer(case: Case) -> Cause | None:
    """Find an older message that was handled after a newer one, and wrote over what that wrote."""
    if case.passing is None or not case.of_the_end:
        return None
    done = [one for one in case.reading.handed.values() if one.handled >= 0]
    for newer, older in permutations(done, 2):
        if not _of_one_line(case, newer, older) or not newer.handled < older.handled:
            continue
        if not _first_sent(case, older) < _first_sent(case, newer):
            continue
        if not _of_one_thing(older, newer) or not case.concerns(older.sent.entity):
            continue
        over = _put_over(case, newer, older)
        if over is None:
            continue
        first, then = (case.place(case.history[one.handled]) for one in (newer, older))
        who = "then" if first == then else f"{then} after that"
        words = (
            f"{first} handled a newer message of {newer.sent.topic} first and {who} an older one "
            f"({_why_late(case, newer, older)}), and wrote {table(over)} from the older one: what "
            f"the newer one had said is gone."
        )
        return Cause("order", words)
    return None


def _of_one_line(case: Case, newer: Handed, older: Handed) -> bool:
    """Say whether two messages came one after the other: even if one was moved elsewhere since."""
    if newer.group == older.group:
        return True
    if newer.to.partition("#")[0] != older.to.partition("#")[0]:
        return False
    origins = [case.reading.sent.get(_first_sent(case, one)) for one in (newer, older)]
    places = {(one.broker, one.topic) for one in origins if one is not None}
    return None not in origins and len(places) == 1


def _of_one_thing(older: Handed, newer: Handed) -> bool:
    """Say whether two messages are of one item, or of one key."""
    if older.sent.entity == newer.sent.entity:
        return True
    return older.sent.key is not None and older.sent.key == newer.sent.key


def _first_sent(case: Case, one: Handed) -> int:
    """Return where a message was published first, before it was put aside and came back."""
    at = one.sent.index
    while True:
        before = case.history[at].data.get("instead_of")
        if before is None:
            moved = case.handed(case.history[at])  # by who had it in hand, and put it back
            before = moved.sent.index if moved and moved.sent.value == one.sent.value else None
        if before is None or not 0 <= int(before) < at:
            return at
        at = int(before)


def _put_over(case: Case, newer: Handed, older: Handed) -> Event | None:
    """Return what an older message wrote where a newer one had written, and that came out so."""
    for late in _stored(case, older):
        for early in [*_stored(case, newer), *case.works[newer.index].of("write")]:
            same = table(late) == table(early) and about(late) & about(early)
            if same and early.index < late.index and case.came_out_otherwise(late):
                return late
    return None


def _stored(case: Case, one: Handed) -> list[Event]:
    work = case.works[one.index]
    return [*case.wrote(work, lasting=True), *(e for e in work.of("commit") if "key" in e.data)]


def _why_late(case: Case, newer: Handed, older: Handed) -> str:
    if older.sent.key is None and older.sent.log_partition != newer.sent.log_partition:
        return "they have no key, so they are in two log partitions, in no order"
    if older.sent.index != _first_sent(case, older):
        return "it had been put aside, and came back"
    if case.reading.pairs[older.sent.index, older.group][0].index != older.index:
        return "it was handed out a second time"
    return "it was on its way for longer"


def side_by_side(case: Case) -> Cause | None:
    """Find two services that one message went to, and no order between what they do."""
    if case.passing is None:
        return None
    deeds = [event for event in case.anchors if event.kind in ("effect", "publish")]
    if case.of_the_end and not (case.excess or case.lacking or case.extra.writes):
        deeds = list(case.history.of("effect"))  # all was done, and only the order is another
    for deed in deeds:
        mine = case.handed(deed)
        if mine is None:
            continue
        for other in case.reading.handed.values():
            if other.sent.index != mine.sent.index or other.group == mine.group:
                continue
            first = _came_first(case, other, deed)
            if first is None:
                continue
            who = case.place(deed)
            words = (
                f"{case.narrator.message(mine.sent.index)} goes to {who} and to {first[0]} alike, "
                f"and nothing makes the one wait for the other: here {action(deed)} came before "
                f"{first[1]}, which is the first as a rule."
            )
            return Cause("order", words)
    return None


def _came_first(case: Case, other: Handed, deed: Event) -> tuple[str, str] | None:
    """Return what the other service does before a deed in the run that passes, and not here."""
    assert case.passing is not None
    same = [e for e in case.passing.of(deed.kind) if _alike(e, deed)]
    if not same:
        return None
    reading = read(case.passing)
    for effect in case.passing.of("effect"):
        handed = reading.handed.get(reading.roots[effect.index])
        if handed is None or handed.group != other.group or effect.entity != deed.entity:
            continue
        if effect.index > same[0].index:
            continue
        here = [e.index for e in case.history.of("effect") if _alike(e, effect)]
        if here and deed.index < here[0]:
            return case.place(effect), action(effect)
    return None


def _alike(one: Event, other: Event) -> bool:
    return (one.operation, one.entity) == (other.operation, other.entity)


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
            if not _bears(case, one, other):
                continue
            return _overtaking(case, who, one, other)
    return None


def _bears(case: Case, one: Handed, other: Handed) -> bool:
    """Say whether what was done too often, or not done, is what either message leads to."""
    roots = {one.index, other.index}
    if any(roots & case.roots_of(event) for event in case.excess):
        return True
    if any(case.lacks_through(two.sent, two.group) for two in (one, other)):
        return True
    if _found_no_row(case, one, other):
        return True
    return not case.excess and not case.lacking and _wrote_over(case, one, other)


def _found_no_row(case: Case, one: Handed, other: Handed) -> str:
    """Return the table in which what came too early found no row yet; nothing if it did."""
    missed = [w for w in case.works[other.index].of("write") if w.data.get("rows", 1) == 0]
    for late in case.wrote(case.works[one.index], lasting=True):
        for early in missed:
            same = table(late) == table(early) and about(late) & about(early)
            if same and early.index < late.index and case.came_out_otherwise(late):
                return table(late)
    return ""


def _wrote_over(case: Case, one: Handed, other: Handed) -> bool:
    """Say whether both wrote one row of what came out differently: the last one stands."""
    mine, theirs = (case.wrote(case.works[two.index], lasting=True) for two in (one, other))
    return any(
        table(late) == table(early)
        and about(late) & about(early)
        and early.index < late.index
        and case.came_out_otherwise(late)
        for late in mine
        for early in theirs
    )


def _overtaking(case: Case, who: str, one: Handed, other: Handed) -> Cause:
    early, late = (case.narrator.message(two.sent.index) for two in (other, one))
    words = (
        f"{who} handled {early} before {late}, which was published first and was overtaken: "
        f"{_late_because(case, one)}."
    )
    row = _found_no_row(case, one, other)
    if row:
        words += f" For {early} there was no row in {row} yet, and nobody came back to that."
        return Cause("too early", words)
    if not other.work and case.lacks_through(other.sent, other.group):
        words += (
            f" It did nothing with {early}, which came too early, and nobody came back to that "
            f"when {late} was there."
        )
        return Cause("too early", words)
    return Cause("order", f"{words} Both were handled as if they had come in order.")


def _first_ends(case: Case) -> dict[tuple[str, str, str], tuple[int, Handed]]:
    """Return when each service was first done with the messages of a key, by topic."""
    found: dict[tuple[str, str, str], tuple[int, Handed]] = {}
    for one in case.reading.handed.values():
        if one.handled < 0 or one.sent.key is None or not case.is_about(one.sent):
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


def _late_because(case: Case, one: Handed) -> str:
    deliveries = case.reading.pairs[one.sent.index, one.group]
    if any(0 <= other.raised < one.index for other in deliveries):
        return "the first attempt at it had failed, and nothing waited for the second"
    if deliveries[0].index != one.index:
        return "it was not done when it was handed out first"
    return "it was on its way for longer"
