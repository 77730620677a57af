"""Whether an outcome in which something was given up is whole: all, or nothing, and said so."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import attrs

from chaosharness.checkers.masking import words_in
from chaosharness.checkers.outcomes.begun import (
    said_by_numbers,
    says_by_numbers,
    words_of_the_begun,
)
from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.declined import OPTIONAL
from chaosharness.checkers.outcomes.differences import (
    STANDS,
    UNDOES,
    Difference,
    moves,
    times_done,
)
from chaosharness.checkers.outcomes.given_up import stands_for_nothing
from chaosharness.checkers.outcomes.leftovers import Leftovers
from chaosharness.checkers.outcomes.masks import AMOUNTS
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, Place, spelled_place
from chaosharness.checkers.outcomes.plan import Refusal
from chaosharness.checkers.outcomes.put_off import is_the_same
from chaosharness.checkers.outcomes.taken import HELD, taken_for_nothing
from chaosharness.checkers.outcomes.taken_back import not_taken_back
from chaosharness.checkers.outcomes.told import No
from chaosharness.checkers.outcomes.values import is_number, is_record, spelled
from chaosharness.faults import LostReply, LostRequest

UNDER_WAY: Final = frozenset(
    (
        *("begun", "created", "in_flight", "in_progress", "locked", "new", "open", "placed"),
        *("queued", "received", "requested", "retry", "scheduled", "started", "submitted", "todo"),
    )
)
"""Words in which rows say that somebody is at it; beside those that end with -ing."""

ENDS_BADLY = re.compile(r"(workflow|execution|dag run) (failed|timed[ _]out|aborted)\b", re.I)
"""What engines note of a workflow that ended as failed: whoever looks at their screens sees it."""


def _spelled(entry: Entry) -> str:
    place, what = entry
    return f"{spelled_place(place)}{spelled(what)}"


def _of(place: Place, operation: str) -> bool:
    """Say whether an effect is that of an operation."""
    return operation.rpartition("/")[2] == spelled_place(place)


def of_the_absent(
    clean: Clean, seen: Outcome, gone: Iterable[int], client: Collection[int], nos: Iterable[No]
) -> Iterator[Difference]:
    """Yield what is wrong with items that ended as if they had never come."""
    for item in sorted(gone):
        yield from not_taken_back(clean, seen, item, ended_badly(clean, seen, item))
        if item in client or seen.dead.get(item):
            continue
        full = clean.ledgers.net(clean.calm, item)
        lacking = full - clean.ledgers.net(seen, item)
        silent = seen.words(item) == clean.calm.words(item) and bool(seen.own.get(item))
        if lacking and silent and not said_by_numbers(clean, seen, item, lacking):
            yield from _without(clean, item, lacking, nos)
        left = _does_usually(clean, item) or clean.calm.says(item) - seen.says(item)
        if left and not seen.own.get(item) and not _is_told(clean, seen, item):
            yield forgotten(item)


def _is_told(clean: Clean, seen: Outcome, item: int) -> bool:
    """Say whether anybody is told that nothing came of an item.

    A workflow that failed is a word, also where it fails without faults: a courier who takes no
    such parcel, while it was reserved and set free again there, and here was never reserved.
    """
    new = seen.tells(item, clean.calm) or clean.says_given_up(seen, item)
    return new or any(map(ENDS_BADLY.match, seen.noted.get(item, ())))


def but_what_failed(
    clean: Clean, seen: Outcome, found: list[Difference] | None
) -> list[Difference] | None:
    """Return what is wrong, without what is said to be forgotten though its workflow has failed
    here: a crash may fail one that succeeds where its function is refused for good."""
    return found and [
        one for one in found if one.kind != "forgotten" or not ended_badly(clean, seen, one.item)
    ]


def _does_usually(clean: Clean, item: int) -> bool:
    """Say whether something that may not be missing comes of an item in the calm run."""
    net = clean.ledgers.net(clean.calm, item)
    wanted = any(not clean.options.is_optional(place) for place, _ in net)
    return wanted or bool(clean.calm.own.get(item))


def forgotten(item: int) -> Difference:
    return Difference("forgotten", item, "", "nothing came of it")


def _without(
    clean: Clean, item: int, lacking: Counter[Entry], nos: Iterable[No]
) -> Iterator[Difference]:
    """Yield that an item goes on without an effect: a question if that was refused."""
    nos = list(nos)
    missing = {entry: n for entry, n in lacking.items() if not clean.options.is_optional(entry[0])}
    if not missing:
        return
    (place, what) = next(iter(missing))
    refused = all(
        (where[1], where[2]) in clean.ledgers.first and any(_of(where, no.operation) for no in nos)
        for where, _ in missing
    )
    kind = OPTIONAL if refused and not any(map(moves, missing)) else "half done"
    yield Difference(
        kind, item, spelled_place(place), f"without {_spelled((place, what))}", source=place[1]
    )


def of_the_refused(
    clean: Clean,
    out: Outcome,
    items: Iterable[int],
    refusals: Iterable[Refusal],
    client: Collection[int],
    order: tuple[int, ...] = (),
    asked: Collection[int] | None = None,
) -> list[Difference]:
    """Return what is wrong with an outcome that a refusal for good has, for some items.

    Args:
        clean: The clean runs.
        out: The outcome.
        items: The items.
        refusals: What is refused there.
        client: The items whose client was told no.
        order: In which the items came.
        asked: The items for which it was asked when it was refused; None for all of them. A loop
            that is refused one thing may leave out another.
    """
    refusals = tuple(refusals)
    some = [item for item in sorted(items) if item]
    found: list[Difference] = []
    for item in some:
        gone = clean.without([item], order)
        if gone is not None:
            left = clean.without(some, order) if len(some) > 1 else None
            one = _Refused(clean, out, item, gone, left, refusals, client)
            one.was_refused = asked is None or item in asked
            found += one.wrong()
    return found


def can_be_undone(clean: Clean, entry: Entry) -> bool:
    """Say whether what stands moves money or goods, or its party has a method that undoes: a mail
    that was sent is sent, and a parcel is recalled."""
    methods = clean.family.methods.get(entry[0][1], frozenset())
    return moves(entry) or any(words_in(one.partition("_")[0]) & UNDOES for one in methods)


def ended_badly(clean: Clean, out: Outcome, item: int) -> str:
    """Return what an engine notes of an item's workflow that ended as failed, if only here."""
    noted = out.noted.get(item, set()) - clean.calm.noted.get(item, set())
    return min((one for one in noted if ENDS_BADLY.match(one)), default="")


def standing_of(clean: Clean, out: Outcome, item: int, word: str) -> Iterator[Difference]:
    """Yield the money and the goods of an item that stand as usual: a question each."""
    for entry in clean.ledgers.net(out, item) & clean.ledgers.net(clean.calm, item):
        place = spelled_place(entry[0])
        if moves(entry) and (place, word) not in clean.options.may_end:
            yield Difference(STANDS, item, place, word, _spelled(entry), source=entry[0][1])


def rows_held(clean: Clean, out: Outcome, item: int) -> Iterator[Difference]:
    """Yield rows that still say `reserved` although the money of their item was given back.

    A question each: nobody took them back, and those of an item that comes to its end say
    something else. Not where the row is so in each end.
    """
    undone = [by for (place, what), by in clean.ledgers.undone(out, item) if moves((place, what))]
    if not undone:
        return
    ends = [clean.calm.words(other) for other in clean.everyone]
    ended = [words for words in ends if not any(words_in(text) & HELD for _, text in words)]
    for place, text in sorted(out.words(item)):
        holds = words_in(text) & HELD
        released = any(place == there for words in ended for there, _ in words)
        if holds and released and (spelled_place(place), text) not in clean.options.may_end:
            by = spelled_place(undone[-1])
            where = ".".join(spelled_place(place).split(".")[:2])
            what = f"the row in {where}, whose money went back by {by},"
            yield Difference(STANDS, item, spelled_place(place), text, what, source=place[1])


def rows_standing(
    clean: Clean, out: Outcome, item: int, word: str, usual: Collection[tuple[Place, str]]
) -> Iterator[Difference]:
    """Yield rows of an item whose workflow has failed that hold what those of others do which came
    to their end: a seat that is still booked. A question each.

    Args:
        clean: The clean runs.
        out: What came out.
        item: The item.
        word: What its engine notes of it.
        usual: What rows say of workflows that came to their end.
    """
    for place, text in sorted(out.words(item)):
        where = spelled_place(place)
        holds = words_in(text) & HELD and (place, text) in usual
        if holds and (where, word) not in clean.options.may_end:
            what = f"the row in {'.'.join(where.split('.')[:2])}, which says {text!r},"
            yield Difference(STANDS, item, where, word, what, source=place[1])


def is_part_of_a_failure(clean: Clean, out: Outcome, item: int, others: Iterable[Outcome]) -> bool:
    """Say whether an item's workflow has failed as it does where it is refused, and left a part of
    what it usually does: some of several requests were carried out, and others were not.

    Args:
        clean: The clean runs.
        out: What came out.
        item: The item.
        others: What comes out where the item is refused something for good.
    """
    ledgers, calm = clean.ledgers, clean.calm
    if not ended_badly(clean, out, item) or ledgers.net(out, item) - ledgers.net(calm, item):
        return False
    if ledgers.in_vain(out, item) or len(ledgers.undone(out, item)) > len(
        ledgers.undone(calm, item)
    ):
        return False
    return any(other.noted.get(item) == out.noted.get(item) for other in others)


class _Refused:
    """One item's part of an outcome in which something is refused for good."""

    def __init__(
        self,
        clean: Clean,
        out: Outcome,
        item: int,
        gone: Outcome,
        left: Outcome | None,
        refusals: tuple[Refusal, ...],
        client: Collection[int],
    ) -> None:
        self.clean, self.out, self.item, self.gone = clean, out, item, gone
        self.refusals = refusals
        self.was_refused = True
        self.client = client
        self.net = clean.ledgers.net(out, item)
        self.full = clean.ledgers.net(clean.calm, item)
        self.less, self.more = self.full - self.net, self.net - self.full
        usual = clean.ledgers.usual
        undone, in_vain = clean.ledgers.undone(out, item), clean.ledgers.in_vain(out, item)
        self.undone = [(one, by) for one, by in undone if by not in usual]
        self.in_vain = [place for place in in_vain if place not in usual]
        self.same_words = out.words(item) == clean.calm.words(item)
        # What nobody owns is as without this item, or without all that are refused here.
        as_without = [one.shared for one in (gone, left) if one is not None]
        self.nothing = not self.net and out.shared in as_without
        self.rows = Leftovers(clean, out, item, refusals)

    def wrong(self) -> list[Difference]:
        """Return what is wrong; the first that is. Else what is to be asked."""
        return (
            self._wrong()
            or [*self._stands_in_failed_workflow()]
            or [*self._stands_where_told_otherwise()]
            or [*self._stands_beside_what_was_undone()]
            or [*stands_for_nothing(self.clean, self.out, self.item, self.less)]
            or [*rows_held(self.clean, self.out, self.item)]
            or [*not_taken_back(self.clean, self.out, self.item, self._failed())]
            or [*self._taken_for_nothing()]
        )

    def _failed(self) -> str:
        return ended_badly(self.clean, self.out, self.item)

    def _taken_for_nothing(self) -> Iterator[Difference]:
        """Yield what all share, and is taken for an item of which nothing stands: a question."""
        lacking = [one for one in self.less if not self.clean.options.is_optional(one[0])]
        told_of = self.out.dead.get(self.item)
        if lacking and not self.net and not self.nothing and not told_of:
            yield from taken_for_nothing(self.clean, self.out, self.item, self.gone, lacking)

    def _wrong(self) -> list[Difference]:
        twice = [*self._elsewhere(), *self._once_more(), *self.rows.twice()]
        if twice:
            return twice
        if self.out.dead.get(self.item):
            return []
        if self._is_forgotten():
            return [forgotten(self.item)]
        if half := self._half_undone():
            return half
        if self.net == self.full and (left := self.rows.not_taken_back(self.gone)):
            return [self._half(left, f"ends as usual, and yet {self._first(left)} stands")]
        if self.net == self.full and (lost := self.rows.never_made_up_for()):
            return self._swallowed(lost)
        if self.same_words and not says_by_numbers(self.clean, self.out, self.item):
            found = self._half_with_the_same_words()
            if found or not self._speaks_by_notes():
                return found or [*self._unsaid()]
        if self._goes_on_as_usual() and (found := self._swallowed(self._wanted_money())):
            return found
        found = self._given_up() if self.nothing else self._taken_back() or self._given_up()
        return found or [*self._under_way()] or [*self._unsaid()]

    def _under_way(self) -> Iterator[Difference]:
        """Yield that an item ends in a word which says that somebody is at it, and nobody is.

        What it was for was refused often enough, and then it was left as it was: no other word,
        no message, no dead letter, and nobody was told.
        """
        item, calm = self.item, self.clean.calm
        lacking = any(not self.clean.options.is_optional(place) for place, _ in self.less)
        told = item in self.client or self.out.tells(item, calm)
        new, gone = self.out.words(item) - calm.words(item), calm.words(item) - self.out.words(item)
        if not lacking or told or self.more or self.undone:
            return
        begun = words_of_the_begun(self.clean, item, self.less)
        for place, word in sorted(new, key=repr):
            may = (spelled_place(place), word) in self.clean.options.may_end
            instead = sorted(other for there, other in gone if there == place)
            under_way = (place, word) in begun or _is_under_way(word)
            if under_way and instead and not may:
                where = spelled_place(place)
                words = f"ends as {word!r} in {where}, where nobody is at it any more"
                yield Difference("half done", item, where, words, source=place[1])

    def _stands_in_failed_workflow(self) -> Iterator[Difference]:
        """Yield money or goods that stand where the workflow has failed, and said so: a question.

        Nothing took them back, and not all is done that they were for. Somebody may see to it.
        """
        lacking = any(not self.clean.options.is_optional(place) for place, _ in self.less)
        word = ended_badly(self.clean, self.out, self.item)
        if not word or self.more or self.undone or self.in_vain:
            return
        if lacking:
            yield from standing_of(self.clean, self.out, self.item, word)
        usual = self.clean.calm.words(self.item)
        yield from rows_standing(self.clean, self.out, self.item, word, usual)

    def _stands_where_told_otherwise(self) -> Iterator[Difference]:
        """Yield money or goods that stand although a message says what is said where the same is
        refused for good, and nothing stands: a question. Whoever hears it may see to it.

        What is put aside as it is, for somebody to look at, says nothing.
        """
        item, calm = self.item, self.clean.calm
        new = _said_newly(self.out, calm, item)
        stands = [entry for entry in self.net & self.full if moves(entry)]
        if not new or not stands or self.more or self.undone or self.out.dead.get(item):
            return
        if not any(
            _said_newly(other, calm, item) == new
            and not self.clean.ledgers.net(other, item)
            and other.shared == self.gone.shared
            for _, other in self._others()
        ):
            return
        word = min(map(spelled_place, {place for place, _ in new}))
        for entry in stands:
            place = spelled_place(entry[0])
            if (place, word) not in self.clean.options.may_end:
                yield Difference(STANDS, item, place, word, _spelled(entry), source=entry[0][1])

    def _stands_beside_what_was_undone(self) -> Iterator[Difference]:
        """Yield what stands as usual although the rest was taken back, and the item says so: a
        question. A step without a compensation may be meant: a fee that is kept.
        """
        item = self.item
        given_up = [
            (one, by) for one, by in self.undone if one in self.full and one not in self.net
        ]
        new = sorted(self.out.words(item) - self.clean.calm.words(item), key=repr)
        if not given_up or not new or self.more or self.in_vain or self.out.dead.get(item):
            return
        word = new[0][1]
        for entry in self.net & self.full:
            place = spelled_place(entry[0])
            if self._can_be_undone(entry) and (place, word) not in self.clean.options.may_end:
                yield Difference(STANDS, item, place, word, _spelled(entry), source=entry[0][1])

    def _unsaid(self) -> Iterator[Difference]:
        """Yield a message that was refused and never sent, where all else goes on: a question.

        Whoever would have heard of it may be missed, or be one of those who only look on.
        """
        done = self.out.own.get(self.item) or self.net
        if not done or self._says_otherwise() or self.less or self.more:
            return
        calm, item = self.clean.calm, self.item
        if self.out.tells(item, calm, results=False):
            return
        for place, what in calm.said.get(item, {}):
            refused = any(_is_said_by(place, one.operation) for one in self.refusals)
            unsaid = (place, what) not in self.out.says(item)
            if refused and unsaid and not self.clean.options.is_optional(place):
                spelled_out = f"without {spelled_place(place)}{spelled(what)}"
                yield Difference(OPTIONAL, item, spelled_place(place), spelled_out, source=place[1])

    def _elsewhere(self) -> Iterator[Difference]:
        """Yield what was done at one party although it stands at another."""
        for (place, what), _ in self.more.items():
            for other, same in self.net & self.full:
                if other[2] == place[2] and same == what:
                    there = f", which stands at {other[1]} as well," if other[1] != place[1] else ""
                    yield Difference(
                        "effect twice", self.item, spelled_place(place),
                        f"{spelled(what)}{there}", source=place[1], count=2, usual=1,
                    )  # fmt: skip

    def _once_more(self) -> Iterator[Difference]:
        """Yield what is done and undone without faults, or undoes, and was done once more here:
        a refund under another key at each attempt."""
        for entry in self.more:
            count = times_done(self.out, self.item, entry)
            usual = times_done(self.clean.calm, self.item, entry)
            if count > usual > 0:
                place, what = entry
                yield Difference(
                    "effect twice", self.item, spelled_place(place), spelled(what), "", (),
                    count, usual, place[1],
                )  # fmt: skip

    def _half_undone(self) -> list[Difference]:
        """Return what stands although its like at other parties was taken back: a hotel, where
        flight and car are cancelled. What moves money or goods is told elsewhere."""
        undone = [(one, by) for one, by in self.undone if one in self.full and one not in self.net]
        alike = {_form(one) for one, _ in undone}
        stands = Counter(
            {
                one: n
                for one, n in (self.net & self.full).items()
                if _form(one) in alike and not moves(one)
            }
        )
        if not stands:
            return []
        by = ", ".join(sorted({spelled_place(place) for _, place in undone}))
        return [self._half(stands, f"was taken back by {by}, and yet {self._first(stands)} stands")]

    def _is_forgotten(self) -> bool:
        item = self.item
        told = item in self.client or _is_told(self.clean, self.out, item)
        usual = _does_usually(self.clean, item)
        silent = not self.out.own.get(item) and not told
        return bool(self.nothing and silent and usual)

    def _half_with_the_same_words(self) -> list[Difference]:
        given_up = self.undone or self.in_vain
        less, more = self._without_what_says_less()
        if more and not given_up and not self._is_a_fallback():
            return [self._half(more, f"ends as usual, and yet {self._first(more)} stands")]
        left_out = self.was_refused and all(
            any(_of(place, one.operation) for one in self.refusals) for place, _ in less
        )
        wanted = [one for one in less if not self.clean.options.is_optional(one[0])]
        if wanted and not left_out and self.out.own.get(self.item):
            return [self._half(less, f"ends as usual, without {self._first(less)}")]
        return self._swallowed(self._wanted_money())

    def _without_what_says_less(self) -> tuple[Counter[Entry], Counter[Entry]]:
        """Return what is missing and what is more, but for effects in the place of usual ones.

        Whoever was not told the risk of an order charges it all the same, and says that it does
        not know: nothing is more, and nothing is missing.
        """
        less, more = Counter(self.less), Counter(self.more)
        for instead in self.more:
            usual = next((one for one in less if self._is_in_its_place(instead, one)), None)
            if usual is not None:
                both = min(less[usual], more[instead])
                less, more = less - Counter({usual: both}), more - Counter({instead: both})
        return less, more

    def _is_in_its_place(self, instead: Entry, usual: Entry) -> bool:
        """Say whether an effect is the usual one, but for what another party did not tell.

        That is a field that holds nothing or another word: no number, which may be money, and
        not what says whose it is.
        """
        (place, one), (there, other) = instead, usual
        if place != there or not is_record(one) or not is_record(other):
            return False
        if any(_of(place, refusal.operation) for refusal in self.refusals):
            return False
        mine, theirs = dict(one), dict(other)
        return mine.keys() == theirs.keys() and all(
            mine[name] == value or self._says_less(name, mine[name], value)
            for name, value in theirs.items()
        )

    def _says_less(self, name: str, value: Any, usual: Any) -> bool:
        if is_number(value) or not AMOUNTS.isdisjoint(words_in(name)):
            return False
        whole = isinstance(value, tuple) or (isinstance(usual, tuple) and value is not None)
        return not whole and not self.clean.reader.owners.of({name: usual})

    def _wanted_money(self) -> Counter[Entry]:
        """Return the money and the goods that are missing: not what was done, and taken back with
        all else."""
        optional = self.clean.options.is_optional
        back = self._back() if self.nothing else set()
        return Counter(
            one for one in self.less if moves(one) and not optional(one[0]) and one not in back
        )

    def _speaks_by_notes(self) -> bool:
        """Say whether the item has no rows, and what is noted of it (how its workflow ended) is
        otherwise than in the calm run: that is its word, then, once something was taken back. A
        workflow that failed and took nothing back is asked about."""
        calm, item = self.clean.calm, self.item
        rows = self.out.own.get(item) or calm.own.get(item)
        noted = self.out.noted.get(item) != calm.noted.get(item)
        return noted and not rows and bool(self._back())

    def _back(self) -> set[Entry]:
        """Return what was done here and taken back, and is not in the calm run."""
        undone, item = self.clean.ledgers.undone, self.item
        return {one for one, _ in undone(self.out, item)} - {
            one for one, _ in undone(self.clean.calm, item)
        }

    def _can_be_undone(self, entry: Entry) -> bool:
        return can_be_undone(self.clean, entry)

    def _goes_on_as_usual(self) -> bool:
        """Say whether what there is of an item is as usual, if less, and its client heard no no.

        What others would have made of what was refused (an event of the third party, a receipt)
        is missing too then, and says nothing.
        """
        return bool(self.out.own.get(self.item)) and not self._says_otherwise()

    def _says_otherwise(self) -> bool:
        """Say whether a row of an item is not there as usual, or its client heard a no."""
        own = self.out.own.get(self.item) or Counter()
        new = own - (self.clean.calm.own.get(self.item) or Counter())
        return bool(new) or self.item in self.client

    def _swallowed(self, lost: Counter[Entry]) -> list[Difference]:
        """Return what was refused, and then left out as if nobody would miss it.

        A mail may be: whoever sends none has another way, or none. Money and goods may not.
        """
        if not lost or self.more or self.out.tells(self.item, self.clean.calm, results=False):
            return []
        without = f"without {self._first(lost)}, which was refused and never made up for"
        return [self._half(lost, f"ends as usual, {without}")]

    def _is_a_fallback(self) -> bool:
        """Say whether what is refused at one party is done at another instead."""
        instead = [(place[2], what) for place, what in self.more]
        refused = [
            (place[2], what)
            for place, what in self.less
            if any(_of(place, refusal.operation) for refusal in self.refusals)
        ]
        return all(one in refused for one in instead) and len(instead) == len(refused)

    def _taken_back(self) -> list[Difference]:
        """Return what stands although a compensation ran beside it."""
        parties = {place[1] for place, _ in self.full}
        usual = self.clean.ledgers.usual
        undone = [place for place, _ in self.more if place not in usual and place[1] in parties]
        stands = self.net & self.full
        if not undone:
            undone = self.in_vain
            stands = Counter({one: n for one, n in stands.items() if moves(one)})
        if not undone or not stands:
            return []
        by = ", ".join(sorted({spelled_place(place) for place in undone}))
        return [self._half(stands, f"was taken back by {by}, and yet {self._first(stands)} stands")]

    def _given_up(self) -> list[Difference]:
        """Return what stands although the same words leave nothing at another refusal."""
        for operation, other in self._others():
            if self.clean.ledgers.net(other, self.item):
                continue
            if other.shared not in (self.gone.shared, self.out.shared):  # as held there as here
                continue
            rows = self.rows.standing(other)
            if (self.nothing and not rows) or not self._is_alike(other, rows):
                continue
            new = self.out.words(self.item) - self.clean.calm.words(self.item)
            said = ", ".join(sorted({text for _, text in new})[:2]) or "given up"
            where = operation.rpartition("/")[2]
            because = f"; where {where} is refused for good, that leaves nothing"
            if self._speaks_by_notes() and not any(map(self._can_be_undone, self.net)):
                continue
            if left := self.net or rows:
                stands = self._first(left)
                return [self._half(left, f"ends as {said}, and yet {stands} stands{because}")]
            odd = (self.out.shared - self.gone.shared) + (self.gone.shared - self.out.shared)
            there = self._first(odd)
            return [self._half(odd, f"ends as {said}, and yet there is {there}{because}")]
        return []

    def _others(self) -> Iterator[tuple[str, Outcome]]:
        """Yield what comes out where the item is refused something else, or the same and it never
        happens: what several places ask for by turns is refused at all of them."""
        for operation, entity, other in self.clean.refusals:
            if entity == self.item and other is not self.out:
                yield operation, other
        if len(self.refusals) > 1 and any(one.kind is LostReply for one in self.refusals):
            never = tuple(
                attrs.evolve(one, kind=LostRequest) if one.kind is LostReply else one
                for one in self.refusals
            )
            if (other_end := self.clean.refused(never)) is not None:
                yield self.refusals[0].operation, other_end

    def _is_alike(self, other: Outcome, rows: Counter[Entry]) -> bool:
        """Say whether another refusal has the same words, beside those of rows that stand."""
        usual = self.clean.calm.words(self.item)
        words, theirs = self.out.words(self.item), other.words(self.item)
        stands = {place for place, _ in rows}
        beside = {word for word in words if word[0] not in stands}
        new = words - usual
        if self._speaks_by_notes() and self.out.noted.get(self.item) != other.noted.get(self.item):
            return False
        return theirs in (words, beside) or bool(new and theirs - usual == new)

    @staticmethod
    def _first(entries: Counter[Entry]) -> str:
        return _spelled(next(iter(entries)))

    def _half(self, entries: Counter[Entry], what: str) -> Difference:
        places = sorted({spelled_place(place) for place, _ in entries})
        source = next(iter(entries))[0][1]
        return Difference("half done", self.item, ",".join(places), what, source=source)


def _is_under_way(word: str) -> bool:
    one = word.strip().lower().replace("-", "_").replace(" ", "_")
    return one in UNDER_WAY or (one.endswith("ing") and one.isidentifier())


def _said_newly(out: Outcome, calm: Outcome, item: int) -> frozenset[Entry]:
    """Return what is said of an item only here, but for what the item itself says elsewhere."""
    usual = [what for _, what in calm.says(item)]
    new = out.says(item) - calm.says(item)
    return frozenset(one for one in new if not any(is_the_same(one[1], what) for what in usual))


def _is_said_by(place: Place, operation: str) -> bool:
    """Say whether a message is published by an operation: `orders.on_order/bus.publish paid`."""
    verb, _, topic = operation.rpartition("/")[2].partition(" ")
    return verb == f"{place[1]}.publish" and topic == place[2]


def _form(entry: Entry) -> tuple[str, frozenset[str]]:
    """Return what an effect is like: its method, and what it names."""
    (_, _, method), what = entry
    return method, frozenset(dict(what)) if is_record(what) else frozenset()
