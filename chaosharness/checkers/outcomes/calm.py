"""The calm run as evidence: what is wrong already without faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final

import attrs

from chaosharness.checkers.masking import words_in
from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.composition import Composition
from chaosharness.checkers.outcomes.declined import ends_as_if_not_declined
from chaosharness.checkers.outcomes.differences import STANDS, Difference, moves
from chaosharness.checkers.outcomes.given_up import HOLDING, noted_given_up, says_given_up
from chaosharness.checkers.outcomes.keys import keys_reused
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, Place, spelled_place
from chaosharness.checkers.outcomes.overwritten import lost_rows, lost_values
from chaosharness.checkers.outcomes.sanity import can_be_undone, rows_held, rows_standing
from chaosharness.checkers.outcomes.taken import HELD, changed_by
from chaosharness.checkers.outcomes.timers import GIVEN_UP
from chaosharness.checkers.outcomes.told import clients_told_no, ignored
from chaosharness.checkers.outcomes.values import is_number, spelled, words_of
from chaosharness.checkers.reading import read

AT_ONCE = "more at once"
"""What a difference that only shows when items come at once has for its `instead`."""

IGNORED: Final = "ignored"
"""The kind of a question: nothing comes of an item, which would lead to something by itself."""

GIVEN_BACK: Final = GIVEN_UP | {"available", "free", "freed", "open", "refunded", "returned"}
"""Words of rows that say that nothing holds what they are about any more."""

BY_TIMING = "by timing"
"""Likewise, for one that other latencies show."""


def doubled(clean: Clean) -> list[tuple[int, Entry, tuple[int, ...]]]:
    """Return the effects that the calm run has twice for an item, by different pieces of work."""
    roots = read(clean.history).roots
    found = []
    for item in clean.calm.ledger:
        standing = clean.ledgers.standing(clean.calm, item)
        times: dict[Entry, list[int]] = {}
        for place, what, index in standing:
            times.setdefault((place, what), []).append(index)
        for entry, events in times.items():
            if len({roots[index] for index in events}) > 1 and not _asked_twice(clean, events):
                found.append((item, entry, tuple(events)))
    return found


def _asked_twice(clean: Clean, events: list[int]) -> bool:
    """Say whether clients asked for it so often: each effect has an arrival of its own."""
    history = clean.history
    arrivals = set()
    for index in events:
        root = next((one.index for one in history.causes(index) if one.kind == "arrive"), -1)
        arrivals.add(root)
    return -1 not in arrivals and len(arrivals) == len(events)


def wrong(clean: Clean, composition: Composition) -> list[Difference]:
    """Return what is wrong without any fault."""
    found = [
        *keys_reused(clean.history),
        *_twice(clean),
        *_half(clean),
        *_lost_updates(clean),
        *lost_values(clean),
    ]
    told = {one.place for one in found if one.kind == "lost update"}
    found += [one for one in lost_rows(clean) if one.place not in told]
    told |= {one.place for one in found if one.kind == "lost update"}
    found += [one for one in _more_at_once(composition) if one.place not in told]
    found += clean.dealt.shared(clean.history)
    held = [*_held(clean)]
    held += [one for item in clean.everyone for one in rows_held(clean, clean.calm, item)]
    held += _rows_of_failed_workflows(clean)
    held += _rows_of_given_up(clean)
    held += ends_as_if_not_declined(clean)
    return found or _by_timing(clean, composition) or [*held, *_ignored(clean)]


def _twice(clean: Clean) -> Iterator[Difference]:
    for item, (place, what), events in doubled(clean):
        yield Difference(
            "effect twice",
            item,
            spelled_place(place),
            spelled(what),
            "",
            events,
            len(events),
            1,
            place[1],
        )


def _half(clean: Clean) -> Iterator[Difference]:
    """Yield items that a third party refused for business, and that stand half.

    What it took in the end was not given up; nor was an item of which nobody says what is
    said where it is given up. What was only done once the answer was no, and moves neither
    money nor goods, is how the item is given up: a recall of a parcel that was never sent
    leaves its mark, and nothing is half.
    """
    for item, told in sorted(clean.refused_in_calm.items()):
        gone = clean.without([item])
        standing = clean.ledgers.standing(clean.calm, item)
        before = {(place, what) for place, what, index in standing if index < told}
        counted = clean.ledgers.net(clean.calm, item)
        net = Counter({one: n for one, n in counted.items() if one in before or moves(one)})
        if gone is None or (not net and _is_given_back(clean.calm, item, gone)):
            continue
        for _, entity, other in clean.refusals:
            nothing = not clean.ledgers.net(other, item) and other.shared == gone.shared
            alike = other.words(item) == clean.calm.words(item)
            untold = _topics(other, item) - _topics(clean.calm, item)
            if entity == item and nothing and alike and not untold:
                yield _stands_half(item, net, clean.calm, gone)
                break


def _is_given_back(calm: Outcome, item: int, gone: Outcome) -> bool:
    """Say whether nobody's rows are as without an item, but for some that say they are free.

    Those were held before: each was written more than once.
    """
    more = calm.shared - gone.shared
    rows = Counter(place for place, _ in more.elements())
    writes = calm.writes.get(item, Counter[Place]())
    if gone.shared - calm.shared or any(writes[place] <= n for place, n in rows.items()):
        return False
    return all(any(words_in(text) & GIVEN_BACK for text in words_of(row)) for _, row in more)


def _held(clean: Clean) -> Iterator[Difference]:
    """Yield what is held for an item that says it was given up, where others say they were not.

    Or where a third party refused something to it after that was done, and an engine says how it
    ended. A question: a room that stays booked for a trip that has failed may be meant.
    """
    ends = {item: says_given_up(clean.calm, item) for item in clean.everyone}
    well = [item for item, word in ends.items() if not word]
    usual = {place for item in well for place, _, _ in clean.calm.ledger.get(item, ())}
    for item, word in ends.items():
        undone = bool(word and clean.ledgers.undone(clean.calm, item))  # the rest of it
        for entry in clean.ledgers.net(clean.calm, item) if word else ():
            place = spelled_place(entry[0])
            holds = not words_in(entry[0][2]).isdisjoint(HOLDING)
            holds = holds or (undone and can_be_undone(clean, entry))
            held = entry[0] in usual or (
                noted_given_up(clean.calm, item) and _is_before(clean, entry)
            )
            if holds and held and (place, word) not in clean.options.may_end:
                yield Difference(
                    STANDS, item, place, word, f"{place}{spelled(entry[1])}", source=entry[0][1]
                )


def _is_before(clean: Clean, entry: Entry) -> bool:
    """Say whether an effect was there when a third party refused something to its item."""
    for item, told in clean.refused_in_calm.items():
        standing = clean.ledgers.standing(clean.calm, item)
        if any((place, what) == entry and index < told for place, what, index in standing):
            return True
    return False


def _rows_of_failed_workflows(clean: Clean) -> Iterator[Difference]:
    """Yield rows of items whose workflow has failed, and which hold what those of others do."""
    ended = {item: noted_given_up(clean.calm, item) for item in clean.everyone}
    usual = {one for item, word in ended.items() if not word for one in clean.calm.words(item)}
    for item, word in ended.items():
        if word:
            yield from rows_standing(clean, clean.calm, item, word, usual)


def _rows_of_given_up(clean: Clean) -> Iterator[Difference]:
    """Yield rows that are held for an item which says that it was given up: a room, which was there
    before it came, and says something else where it never does; or a reservation of its own,
    where that of an item which came to its end says something else.
    """
    ends = {item: says_given_up(clean.calm, item) for item in clean.everyone}
    used = {
        place
        for item, word in ends.items()
        for place, row in (() if word else clean.calm.own.get(item, ()))
        if not _held_words(row)
    }
    for item, word in ends.items():
        gone = clean.without([item]) if word else None
        rows = changed_by(clean, clean.calm, item, gone) if gone is not None else Counter()
        mine = clean.calm.own.get(item, Counter()) if word else Counter()
        rows |= Counter({one: n for one, n in mine.items() if one[0] in used})
        for place, row in rows:
            held = _held_words(row)
            where = spelled_place(place)
            if held and (where, word) not in clean.options.may_end:
                what = f"the row in {where}, which says {held[0]!r},"
                yield Difference(STANDS, item, where, word, what, source=place[1])


def _held_words(row: Any) -> list[str]:
    return sorted(text for text in words_of(row) if words_in(text) & HELD)


def _ignored(clean: Clean) -> Iterator[Difference]:
    """Yield items of which nothing comes, as others came before them.

    A question: it may be a repeat, or out of date; or two customers are taken for one.
    """
    told, home = clients_told_no(clean.history), clean.reader.owners.home
    for item in clean.everyone:
        if item in told or home(item) != item or not ignored(clean.history, item):
            continue
        if clean.calm.own.get(item) or clean.calm.ledger.get(item) or clean.calm.dead.get(item):
            continue
        alone = clean.without(other for other in clean.everyone if other != item)
        rows = [] if alone is None else [*alone.own.get(item, ()), *_entries(alone, item)]
        if rows:
            place, what = rows[0]
            yield Difference(IGNORED, item, spelled_place(place), spelled(what))


def _entries(out: Outcome, item: int) -> Iterator[Entry]:
    return ((place, what) for place, what, _ in out.ledger.get(item, ()))


def _topics(out: Outcome, item: int) -> frozenset[Place]:
    return frozenset(place for place, _ in out.says(item))


def _stands_half(item: int, net: Counter[Entry], calm: Outcome, gone: Outcome) -> Difference:
    odd = net or (calm.shared - gone.shared) + (gone.shared - calm.shared)
    (place, what) = next(iter(odd))
    words = f"ends as given up, and yet {spelled_place(place)}{spelled(what)} stands"
    return Difference("half done", item, spelled_place(place), words, source=place[1])


def _lost_updates(clean: Clean) -> Iterator[Difference]:
    """Yield rows that two pieces of work read, and then both wrote from their own reading.

    Seen at the store's port: two readings of one table, a wait, and two writes of the same
    values with no reading in between.
    """
    raw = clean.history.raw
    touched: dict[tuple[str, str], list[tuple[bool, str, int]]] = {}
    for index, (_, kind, _, _, _, _, _, data) in enumerate(raw):
        if kind in ("read", "write") and data.get("table") and "error" not in data:
            table = (str(data["store"]), str(data["table"]))
            if kind == "read":
                touched.setdefault(table, []).append((False, "", index))
            elif data.get("verb") == "update" and data.get("rows", 0):
                touched.setdefault(table, []).append((True, repr(data.get("params")), index))
    for (store, name), steps in touched.items():
        found = next(_overwritten(clean, steps), None)
        if found is not None:
            first, second = found
            params = raw[first][7].get("params")
            yield Difference(
                "lost update", raw[second][4], f"{store}.{name}", repr(params), "",
                (first, second), 2, 1, store,
            )  # fmt: skip


def _overwritten(clean: Clean, steps: list[tuple[bool, str, int]]) -> Iterator[tuple[int, int]]:
    raw, roots = clean.history.raw, read(clean.history).roots
    writes = [at for at, (is_write, _, _) in enumerate(steps) if is_write]
    for one, other in combinations(writes, 2):
        first, second = steps[one], steps[other]
        readings = [step[2] for step in steps[:one] if not step[0]]
        between = any(not step[0] for step in steps[one:other])
        if first[1] != second[1] or len(readings) < 2 or between:
            continue
        numbers = [value for value in raw[first[2]][7].get("params") or () if is_number(value)]
        waited = any(event[1] in ("call", "sleep") for event in raw[readings[-1] : first[2]])
        if numbers and waited and roots[first[2]] != roots[second[2]]:
            yield first[2], second[2]


def _more_at_once(composition: Composition) -> Iterator[Difference]:
    """Yield what succeeds more often when items come at once than one after another."""
    for _, one in composition.excess[:3] if composition.may_exceed() else ():
        yield Difference(
            "row too many", 0, one.where, one.what, AT_ONCE, (), one.times, one.serial,
            one.where.partition(".")[0],
        )  # fmt: skip


def _by_timing(clean: Clean, composition: Composition) -> list[Difference]:
    """Return how the workload ends otherwise where third parties answer at once, or late."""
    for out in clean.other_latencies:
        found = clean.comparison.differences(out, clean.calm)
        if not found or composition.fits(out, ()):
            continue
        others = [clean.without((), order) for order in clean.orders]
        if all(clean.comparison.differences(out, other) for other in others if other is not None):
            return [attrs.evolve(one, instead=BY_TIMING, events=()) for one in found]
    return []
