"""The verdict on one disturbed run: which clean run it ends as, and what is wrong if none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from functools import cached_property
from itertools import combinations, product
from typing import Final

import attrs

from chaosharness.checkers.outcomes.begun import says_by_numbers
from chaosharness.checkers.outcomes.clean import CLIENT, Clean
from chaosharness.checkers.outcomes.clients import (
    ORDER,
    arrived,
    ends_by_cancelling,
    left_early,
    never_came_to_cancel,
    never_cancelled,
)
from chaosharness.checkers.outcomes.composition import Composition, Unit
from chaosharness.checkers.outcomes.declined import OPTIONAL
from chaosharness.checkers.outcomes.differences import STANDS, Difference, moves
from chaosharness.checkers.outcomes.for_good import as_a_transaction, ends_of, refusals_of
from chaosharness.checkers.outcomes.keys import keys_reused
from chaosharness.checkers.outcomes.left_beside import left_beside
from chaosharness.checkers.outcomes.notes import LOGGED, MARK, is_a_mark, logged_twice
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, Place, spelled_place
from chaosharness.checkers.outcomes.outdated import is_overwritten
from chaosharness.checkers.outcomes.plan import Refusal
from chaosharness.checkers.outcomes.put_off import are_gone, put_off, without
from chaosharness.checkers.outcomes.sanity import (
    ENDS_BADLY,
    but_what_failed,
    ended_badly,
    forgotten,
    is_part_of_a_failure,
    of_the_absent,
    of_the_refused,
    standing_of,
)
from chaosharness.checkers.outcomes.timers import (
    BESIDES,
    TIMER,
    decided_numbers,
    done_besides,
    effective,
    handled_again,
    is_undone_half,
)
from chaosharness.checkers.outcomes.timetables import Failing, failing, mixed
from chaosharness.checkers.outcomes.told import (
    Aside,
    No,
    came_late,
    came_so,
    clients_told_no,
    dropped,
    is_noted_by_its_sender,
    late_items,
    missed_late,
    put_aside,
    swallowed,
    told,
)
from chaosharness.checkers.outcomes.torn import torn_apart
from chaosharness.checkers.outcomes.values import spelled
from chaosharness.checkers.progress import missed_of
from chaosharness.checkers.replays import stale
from chaosharness.faults import ErrorReply, Fault
from chaosharness.kernel.history import History

SUBSETS_MAX: Final = 16
FITS_MAX: Final = 4
TOGETHER_MAX: Final = 12
LEFT_ALONE: Final = frozenset({"forgotten", "swallowed"})
"""The kinds of a difference that say that nothing came of something."""


class Verdict:
    """One disturbed run, held against the clean ones.

    Args:
        clean: The clean runs.
        composition: What their outcomes are put together from.
        history: The run.
        faults: The faults that struck.

    Attributes:
        best: The differences from the clean run that is nearest.
        nearest: What that clean run is, in words.
        by_history: Whether the verdict hangs on more of the run than what came out of it.
    """

    def __init__(
        self,
        clean: Clean,
        composition: Composition,
        history: History,
        faults: tuple[Fault, ...],
    ) -> None:
        self.clean = clean
        self.composition = composition
        self.history = history
        self.faults = faults
        self.whole = self.seen = clean.reader.read(history)
        self.best: list[Difference] = []
        self.nearest = "without faults"
        self.by_history = False
        self.asked: list[Difference] = []

    # ---- what is asked of the run

    @cached_property
    def first(self) -> list[Difference]:
        """The differences from the calm run."""
        return self.clean.comparison.differences(self.seen, self.clean.calm)

    @cached_property
    def asides(self) -> list[Aside]:
        """The messages that were put aside."""
        return put_aside(self.clean, self.seen, self.history)

    @cached_property
    def nos(self) -> list[No]:
        """What the code was told."""
        return told(self.clean, self.history)

    @cached_property
    def client(self) -> frozenset[int]:
        """The items whose client was told no."""
        return clients_told_no(self.history)

    @cached_property
    def items_told(self) -> list[int]:
        """The items of which somebody was told no."""
        items = {item for no in self.nos for item in no.items if item} | self.client
        return sorted(items)

    @cached_property
    def left_early(self) -> tuple[Refusal, ...]:
        """The requests that came late, and after which their clients did not go on."""
        return left_early(self.clean.history, self.history, self.faults, self.client)

    @cached_property
    def never_cancelled(self) -> tuple[Refusal, ...]:
        """The requests to end something that were never granted, as their clients know."""
        return never_cancelled(self.history, self.client)

    @cached_property
    def late_items(self) -> frozenset[int]:
        """The items that came late, or whose rows say what was decided meanwhile."""
        found = late_items(self.clean, self.faults)
        if not found and missed_late(self.clean, self.history, self.faults):
            return frozenset(filter(self._says_something_new, self.clean.everyone))
        return found

    def _says_something_new(self, item: int) -> bool:
        return bool(self.seen.words(item) - self.clean.calm.words(item))

    @cached_property
    def arrived(self) -> tuple[int, ...]:
        """The items as their requests got through, where one of them was late."""
        return arrived(self.history, self.faults, self.clean.everyone)

    @cached_property
    def overwritten(self) -> frozenset[int]:
        """The items of which something was written over by what came before."""
        return frozenset(filter(self._is_overwritten, self.clean.everyone))

    @cached_property
    def put_off(self) -> frozenset[int]:
        """The messages that a service put off, to be tried again by itself."""
        return put_off(self.history, self.clean.calm)

    @cached_property
    def free(self) -> frozenset[int]:
        """The items that were put aside, or parked for a person: asked for repeats only.

        So is an item whose message the calm run dropped, before its queue was bound: what becomes
        of it otherwise, that run cannot say.
        """
        parked = self.seen.parked - self.clean.calm.parked - {0}
        calm = self.clean.history
        dropped = frozenset(calm[index].entity for index in missed_of(calm)) - {0}
        return frozenset(one.item for one in self.asides) | parked | dropped

    def key(self) -> Hashable:
        """Return all that the verdict hangs on; None where that is more than can be told."""
        number = self.clean.number_of(self.whole)
        if number <= 0 or self.free:
            return None
        return (
            number,
            tuple(self.nos),
            self.client,
            self.left_early,
            self.never_cancelled,
            self.late_items,
            self.overwritten,
            self._stale(),
            self.put_off,
            self.arrived,
            any(keys_reused(self.history)),
        )

    # ---- the verdict

    def wrong(self) -> list[Difference]:
        """Return what is wrong; or what only the user can say, if the run ends as the calm one."""
        if reused := [*keys_reused(self.history)]:
            self.by_history = True
            return reused
        found = self._wrong()
        if found or self.first:
            return found
        asked = [*logged_twice(self.seen, self.clean.calm)]
        if not asked:
            return []
        strict = Verdict(self.clean.strict, self.composition, self.history, self.faults)
        return asked if strict._wrong() else []  # what is refused for good may be logged as often

    def _wrong(self) -> list[Difference]:
        """Return what is wrong; what is put off may be there as in a clean run, or be left out."""
        found = self._unlike_clean()
        if not found or not self.put_off:
            return found
        kept = self.first, self.nearest, self.best, self.asked
        self._leave_out(self.put_off)
        rest = self._unlike_clean()
        if len({one.about for one in rest}) < len({one.about for one in found}):
            return rest
        self.seen = self.whole
        self.first, self.nearest, self.best, self.asked = kept
        return found

    def _unlike_clean(self) -> list[Difference]:
        """Return what is wrong; nothing if the run ends as a clean one may."""
        self.best = self.first
        aside = [self._aside(one) for one in self.asides if not one.excused]
        if not self.first and not self.asides:
            dealt = self.clean.dealt.shared(self.history)
            return [
                *torn_apart(self.clean.calm, self.seen),
                *dealt,
                *self.clean.sums.broken(self.history),
            ]
        old = [*self._put_back()]
        if old:
            return old + aside
        if self.put_off and self._ends_as_usual_without(self.put_off):
            return aside
        for search in (
            self._client_left,
            self._not_cancelled,
            self._absent,
            self._late,
            self._apart,
            self._refused,
            self._refused_elsewhere,
            self._some_of_a_timetable,
        ):
            found = but_what_failed(self.clean, self.seen, search())
            if found is not None:
                if found and all(one.kind in LEFT_ALONE for one in found):
                    found = self._in_another_order() or found  # who comes second is ignored in calm
                return found or aside
        if any(not self._unlike(out) for out in self.clean.other_latencies):
            return aside  # ends by timing: told of the calm run
        if self._slowed():
            return aside
        if not self.free:
            found = self._composed()
            if found is not None:
                return found + aside
        asked = self.asked or self._in_another_order() or self._failed_in_part()
        return aside + (self._unlike_any() if asked is None else asked)

    def _unlike(
        self, out: Outcome | None, absent: frozenset[int] = frozenset(), words: str = ""
    ) -> list[Difference]:
        """Return how the run differs from a clean one, and remember the nearest."""
        if out is None:
            return self.best
        found = self.clean.comparison.differences(self.seen, out, absent, self.free)
        if len(found) < len(self.best) and words:
            self.best, self.nearest = found, words
        return found

    def _fits(
        self, out: Outcome | None, absent: frozenset[int] = frozenset(), words: str = ""
    ) -> bool:
        return out is not None and not self._unlike(out, absent, words)

    # ---- other orders, and items that never came

    def _absent(self) -> list[Difference] | None:
        """Ask the clean runs in which items that were told no are in or out, in any order.

        Those in which all come go first, in whatever order: what an item is lacking there,
        another lacks in the calm run.
        """
        candidates = [item for item in self.items_told if self._is_out(item)]
        choices = [frozenset[int](), *reversed(_subsets(candidates, SUBSETS_MAX))]
        first: list[Difference] | None = None
        for gone in choices:
            for order in self.clean.every_order:
                out = self.clean.without(gone - self.free, order)
                if self._fits(out, gone - self.free, _in_words(gone, order)):
                    found = [*self._of_the_absent(gone - self.free)]
                    if not found:
                        return self._left_by(gone - self.free)
                    first = found if first is None else first
        return first

    def _client_left(self) -> list[Difference] | None:
        """Ask the clean run in which these clients are late, too, or do not come back.

        Money and goods are where they usually are then, or nowhere.
        """
        if not self.left_early:
            return None
        out = self.clean.refused(self.left_early)
        if out is None or not self._fits(out):
            return None
        for item in (refusal.entity for refusal in self.left_early):
            if ends_by_cancelling(self.clean.history, item):
                self.by_history = True  # also where it came to it: nothing else tells these apart
                if never_came_to_cancel(self.clean.history, self.history, item):
                    continue
            moved, usual = (self._moved(one, item) for one in (out, self.clean.calm))
            if moved and moved != usual:
                return None
        return []

    def _not_cancelled(self) -> list[Difference] | None:
        """Ask the clean run in which what these clients wanted to end goes on."""
        refused = self.never_cancelled
        return [] if refused and self._fits(self.clean.refused(refused)) else None

    def _moved(self, out: Outcome, item: int) -> dict[Entry, int]:
        """Return the money and the goods that stand for an item."""
        return {one: n for one, n in self.clean.ledgers.net(out, item).items() if moves(one)}

    def _left_by(self, gone: Iterable[int]) -> list[Difference]:
        """Return what is left of items that ended as if they had never come.

        Their rows are free, for they say why. Not so those that another service wrote when
        it was called, nor those in tables where the calm run takes back what it wrote:
        that is asked of what the system does when it is refused for good.
        """
        for item in gone:
            work = self.clean.calm.writes.get(item, Counter[Place]())
            places = {place for place, times in work.items() if times > 1}
            places.update(*self.seen.served.get(item, {}).values())
            if any(place in places for place, _ in self.seen.own.get(item, ())):
                return self._refused() or []
            if self._is_dropped(item):
                return [forgotten(item)]
        return []

    def _is_dropped(self, item: int) -> bool:
        """Say whether nothing is left of an item but a message for later, which was dropped."""
        if self.seen.own.get(item) or self.seen.dead.get(item) or item in self.client:
            return False
        new = self.whole.says(item) - self.clean.calm.says(item)
        if not new:
            return False
        self.by_history = True
        if are_gone(self.history, {self.whole.said[item][one] for one in new}):
            return True
        nos = [as_a_transaction(self.clean.history, no) for no in self.nos]
        return dropped(self.clean, self.history, item, nos, self.put_off)

    def _is_out(self, item: int) -> bool:
        """Say whether an item may have ended as if it had never come.

        Not if all it says is what it says in the calm run: a second copy of a row is no
        decision, and no excuse. But where nothing is its own, its workflow may say that it failed.
        """
        own, usual = self.seen.own.get(item), self.clean.calm.own.get(item)
        done = self.seen.ledger.get(item)
        if own == usual and done == self.clean.calm.ledger.get(item):
            failed = any(map(ENDS_BADLY.match, self.seen.noted.get(item, ())))
            return failed and not own and not done
        new = self.seen.words(item) - self.clean.calm.words(item)
        return not own or bool(new) or not usual or says_by_numbers(self.clean, self.seen, item)

    def _of_the_absent(self, gone: frozenset[int]) -> Iterator[Difference]:
        return of_the_absent(self.clean, self.seen, gone, self.client, self.nos)

    def _late(self) -> list[Difference] | None:
        """Ask the clean runs without items that came too late: a timer may decide."""
        items = [
            item
            for item in sorted(self.late_items)
            if self.seen.own.get(item) != self.clean.calm.own.get(item)
            and item not in self.overwritten
        ]
        for gone in _subsets(items, SUBSETS_MAX // 2):
            if self._fits(self.clean.without(gone), gone, _in_words(gone, ())):
                found = [*self._of_the_absent(gone), *self._swallowed(gone)]
                self.asked = [] if found else self._hangs_on_time(gone)
                return None if self.asked else found or [*self._told_behind(gone)]
        return None

    def _told_behind(self, items: Iterable[int]) -> Iterator[Difference]:
        """Yield the last thing that is usually said of an item, if it was said once a timer had
        decided otherwise, and had said so: a question.

        Who ends in the words of the calm run, and in another one besides, was only reminded.
        """
        for item in sorted(items):
            calm, seen = self.clean.calm.said.get(item, {}), self.seen.said.get(item, {})
            usual = {one: at for one, at in calm.items() if not self._is_of_a_client(at)}
            decided = [at for one, at in seen.items() if one not in calm]
            mine, theirs = self.seen.words(item), self.clean.calm.words(item)
            words = mine - theirs if theirs - mine else frozenset()
            if not (usual and decided and words) or not usual.keys() <= seen.keys():
                continue
            last = max(usual, key=lambda one: seen[one])
            place, word = spelled_place(last[0]), min(text for _, text in words)
            if seen[last] > min(decided) and (place, word) not in self.clean.options.may_end:
                what = f"{place}{spelled(last[1])}"
                self.by_history = True
                yield Difference(STANDS, item, place, word, what, source=last[0][1])

    def _is_of_a_client(self, at: int) -> bool:
        return self.clean.history.raw[at][3].startswith(CLIENT)

    def _is_overwritten(self, item: int) -> bool:
        """Say whether what is otherwise with an item was written over by what came before."""
        mine, usual = (out.own.get(item, Counter[Entry]()) for out in (self.seen, self.clean.calm))
        places = frozenset(place[1:] for place, _ in (*(mine - usual), *(usual - mine)))
        return bool(places) and is_overwritten(self.clean.history, self.history, item, places)

    def _hangs_on_time(self, items: Iterable[int]) -> list[Difference]:
        """Return what is to be asked of numbers of items that were handled once, and late."""
        numbers = [*decided_numbers(self.clean, self.seen, items)]
        if not numbers:
            return []
        self.by_history = True
        again = handled_again(self.history)
        return [one for one in numbers if one.item not in again]

    def _apart(self) -> list[Difference] | None:
        """Ask the clean runs in which an item comes long after the others, or each does.

        What is gathered for a while is then sent in two, and nobody did anything wrong.
        """
        if self.free or not self.late_items or self.clean.count < 2:
            return None
        found = any(map(self._fits, self.clean.apart()))
        return [] if found else None

    def _swallowed(self, items: frozenset[int]) -> Iterator[Difference]:
        self.by_history = True
        for group, handed in swallowed(self.clean, self.history, items):
            sent = handed.sent
            noted = is_noted_by_its_sender(self.history, sent.index)
            if noted and not self._left_half(sent.entity):
                continue  # it asked for something, and whoever asked has given it up since
            place = f"{sent.broker}.{sent.topic}"
            yield Difference(
                "swallowed", sent.entity, place, group, events=(handed.index,), source=sent.broker
            )

    def _slowed(self) -> bool:
        """Ask the clean runs in which a consumer is slow: with all items, or with some.

        One item that is retried keeps a consumer from those behind it, and from no others.
        """
        slowed, calm, seen = self.clean.slowed, self.clean.calm, self.seen
        for item in [*self.clean.everyone] if slowed else ():
            if seen.own.get(item) != calm.own.get(item) and (
                item in self.overwritten or is_undone_half(self.clean, self.seen, item)
            ):
                return False
        if any(self._fits(out) for out in slowed):
            return True
        others = {
            item: out
            for item in range(1, self.clean.count + 1)
            if seen.says(item) != calm.says(item)
            for out in slowed[::-1]
            if out.says(item) == seen.says(item)
        }
        return bool(others) and self._fits(calm.with_items_of(others))

    # ---- refused for good

    @cached_property
    def refusals(self) -> dict[int, list[tuple[Refusal, ...]]]:
        """What may be refused for good, for each item: one thing, or two."""
        return refusals_of(self.clean, self.nos)

    def _refused(self) -> list[Difference] | None:
        """Ask the clean runs in which what the code was told no about is refused for good."""
        fits = []
        for entity, ways in self.refusals.items():
            same = entity and not self.clean.comparison.differs(entity, self.seen, self.clean.calm)
            if not same:
                fits.append([one for one in ways if self._fits_item(one, entity)][:FITS_MAX])
        if not fits:
            return None
        for chosen in [*product(*fits)][:TOGETHER_MAX]:
            refusals = tuple(one for some in chosen for one in some)
            for order in self.clean.every_order[:3]:
                ends = ends_of(self.clean, refusals, order, self.nos)
                out = next(filter(self._fits, ends), None)
                if out is not None:
                    self.nearest = f"with {_refused_words(refusals)} refused for good"
                    items, asked = {one.entity for one in refusals}, None
                    if 0 in items:  # a loop was told: it worked for all that end otherwise
                        items |= {one.item for one in self.first}
                        asked = {item for no in self.nos for item in no.items}
                    client = self.client
                    return of_the_refused(self.clean, out, items, refusals, client, order, asked)
        return None

    def _fits_item(self, refusals: tuple[Refusal, ...], entity: int) -> bool:
        out = self.clean.refused(refusals)
        if out is None:
            return False
        any_will_do = not entity or entity in self.free
        return any_will_do or not self.clean.comparison.differs(entity, self.seen, out)

    def _refused_elsewhere(self) -> list[Difference] | None:
        """Ask what an item does when it is refused for good at any other of its calls."""
        for operation, entity, out in self.clean.refusals if self.items_told else ():
            if entity in self.items_told and self._fits(out):
                refusal = Refusal(operation, entity, 1, ErrorReply)
                return of_the_refused(self.clean, out, [entity], [refusal], self.client)
        return None

    # ---- runs of a timetable

    def _some_of_a_timetable(self) -> list[Difference] | None:
        """Ask whether all is as usual but for some runs of a timetable, which have failed, and of
        which nothing stands, or what stands where the same is refused to all of them for good."""
        for one in failing(self.history, self.clean.history):
            self.by_history = True
            out = [item for item in self.items_told if item != one.item and self._is_out(item)]
            for gone in (frozenset[int](), *reversed(_subsets(out, SUBSETS_MAX))):
                found = self._with_a_timetable(one, gone)
                if found is not None:
                    return found
        return None

    def _with_a_timetable(self, one: Failing, gone: frozenset[int]) -> list[Difference] | None:
        """Ask so where these items ended as if they had never come."""
        base = self.clean.without(gone)
        if base is None:
            return None
        for refusals, out in self._ends_of(one):
            for many in range(1, min(one.failed, one.runs) + 1):
                end = mixed(base, out, one, many, self.clean.ledgers)
                if self._fits(end, gone):
                    wrong = [*self._of_the_absent(gone)]
                    if out is not None:
                        client = self.client
                        wrong += of_the_refused(self.clean, out, [one.item], refusals, client)
                    return wrong or self._left_by(gone)
        return None

    def _ends_of(self, one: Failing) -> Iterator[tuple[tuple[Refusal, ...], Outcome | None]]:
        """Yield how the runs of a timetable may end; nobody's leave nothing, or are not excused."""
        yield (), None
        for refusals in self.refusals.get(one.item, ()) if one.item else ():
            if (out := self.clean.refused(refusals)) is not None:
                yield refusals, out

    # ---- put back

    def _stale(self) -> frozenset[tuple[int, str]]:
        return stale(self.history, self.clean.detours)

    def _put_back(self) -> Iterator[Difference]:
        """Yield rows whose last word is that of a dead letter, put back over a newer message.

        No outcome of a clean run excuses that: whatever was decided when it died, what it says now
        is what was so before.
        """
        places = self._stale()
        for one in self.first if places else ():
            store = one.place.partition(".")[0]
            if one.kind == "row differs" and (one.item, store) in places:
                yield one

    def _ends_as_usual_without(self, messages: frozenset[int]) -> bool:
        """Say whether a clean run ends so, in some order, but for messages that were put off."""
        seen, differences = without(self.seen, messages), self.clean.comparison.differences
        outs = (self.clean.without((), order) for order in self.clean.every_order)
        return any(
            out is not None and not differences(seen, out, frozenset(), self.free) for out in outs
        )

    def _leave_out(self, messages: frozenset[int]) -> None:
        """Judge the rest alone: that something was put off is nothing new, however it ended."""
        self.seen = without(self.seen, messages)
        self.first = self.best = self.clean.comparison.differences(self.seen, self.clean.calm)

    # ---- put together

    def _composed(self) -> list[Difference] | None:
        """Put the run together from outcomes that its items have."""
        if self.composition.fits(self.seen, self.client):
            return []
        chosen: dict[int, tuple[Refusal, ...]] = {}

        def outcomes(unit: Unit) -> Iterator[Outcome]:
            for item in unit:
                for entity in (item, 0):  # a loop may be refused what it does for some only
                    for refusals in self.refusals.get(entity, ()):
                        out = self.clean.refused(refusals)
                        if out is not None:
                            chosen[item] = refusals
                            yield out

        used = self.composition.fits_refused(self.seen, self.client, outcomes)
        if used is None:
            return None
        found: list[Difference] = []
        for unit, out in used:
            refusals = tuple(one for item in unit for one in chosen.get(item, ()))
            found += of_the_refused(self.clean, out, unit, refusals, self.client)
        return but_what_failed(self.clean, self.seen, found)

    # ---- in the order in which they came

    def _in_another_order(self) -> list[Difference] | None:
        """Ask the clean run in which items of one subject come as they came here: a question.

        Two requests of a client may overtake each other at the door, where nobody has promised to
        keep their order yet. Nor has anybody behind it, of messages without a key: and that two
        items are about one thing is only guessed where they have a text in common.
        """
        if self.free:
            return None
        clean = self.clean
        arrived = self.arrived
        if arrived and arrived != tuple(clean.everyone) and arrived not in clean.orders:
            late = self._if_in_order(arrived)
            if late is not None:
                return late
        self.by_history = self.by_history or bool(clean.orders_of_a_guess)
        for order in clean.orders_of_a_guess:
            found = self._if_in_order(order) if came_so(self.history, order) else None
            if found is not None:
                return found
        return None

    def _if_in_order(self, order: tuple[int, ...]) -> list[Difference] | None:
        if self._is_old(order) or not self._fits(self.clean.without((), order)):
            return None
        first = self.first[0]
        item = next(
            item for item, place in zip(order, self.clean.everyone, strict=True) if item != place
        )
        return [Difference(ORDER, item, first.place, first.what, first.instead)]

    def _is_old(self, order: tuple[int, ...]) -> bool:
        """Say whether what stands is what an item that came late leaves alone: over newer ones."""
        clean, calm = self.clean, self.clean.calm
        late = {item for item, place in zip(order, clean.everyone, strict=True) if item < place}
        alone = clean.without(frozenset(clean.everyone) - late)
        if alone is None:
            return True
        rows = [*_rows_of(self.seen) - _rows_of(calm)]
        return any(row in _rows_of(alone) for row in rows)

    # ---- unlike any

    def _failed_in_part(self) -> list[Difference] | None:
        """Return what is to be asked where nothing is otherwise but that workflows have failed with
        a part of what they do: no clean run refuses some requests of one, and not others."""
        items = sorted({one.item for one in self.first})
        lost = all(one.kind == "effect lost" for one in self.first)
        if not items or not lost or not {*items} <= {*self.items_told}:
            return None
        found: list[Difference] = []
        for item in items:
            outs = (self.clean.refused(one) for one in self.refusals.get(item, ()))
            others = (out for out in outs if out is not None)
            if not is_part_of_a_failure(self.clean, self.seen, item, others):
                return None
            word = ended_badly(self.clean, self.seen, item)
            found += standing_of(self.clean, self.seen, item, word)
        return found

    def _unlike_any(self) -> list[Difference]:
        """Return the differences from the nearest clean run, or a question."""
        if any(one.kind == "effect twice" for one in self.first):
            return self.best
        owners, calm = self.clean.reader.owners, self.clean.calm
        if all(is_a_mark(one, self.seen, calm, owners) for one in self.best):
            return [attrs.evolve(one, kind=MARK) for one in self.best]
        if self.late_items and (besides := self._done_besides()) is not None:
            return besides
        items = {one.item for one in self.first if one.item}
        known = self.clean.usual_words()
        said = {item: self._new_words(item, known) for item in sorted(items)}
        new = [item for item in sorted(items) if said[item]]
        if any(self._stands(item) for item in new) or {*new} != items or not new:
            return [*left_beside(self.clean, self.seen, self.first), *self.best]
        if any(one.item == 0 for one in self.first) or not self.overwritten.isdisjoint(items):
            return self.best
        words = [pair for item in new for pair in said[item]]
        if all(pair in self.clean.options.may_end for pair in words):
            return []
        if not self._was_late(items):
            return self.best
        ignored = [*self._swallowed(frozenset(items))]
        if ignored:
            return ignored + self.best
        place, word = words[0]
        return [Difference(TIMER, new[0], place, word)]

    def _done_besides(self) -> list[Difference] | None:
        """Return what is to be asked of a timer that did more, and nothing else was otherwise."""
        kinds = {one.kind for one in self.first}
        if not kinds <= BESIDES or kinds == {"row differs"}:
            return None
        self.by_history = True
        found = done_besides(self.clean, self.seen, self.history, self.first)
        if not found:
            return None
        may = self.clean.options.may_end
        return [one for one in found if (one.place, one.what) not in may]

    def _new_words(self, item: int, known: frozenset[tuple[Place, str]]) -> list[tuple[str, str]]:
        """Return the words that an item ends with, and that no clean run says."""
        new = [
            (spelled_place(place), text)
            for place, text in self.seen.words(item) - known
            if not self.clean.reader.owners.of(text)
        ]
        return sorted(new)

    def _stands(self, item: int) -> bool:
        net = self.clean.ledgers.net
        stands = net(self.seen, item) & net(self.clean.calm, item)
        return bool(stands) or is_undone_half(self.clean, self.seen, item)

    def _left_half(self, item: int) -> bool:
        """Say whether a row of an item is as usual, although it ends otherwise."""
        usual = self.clean.calm.own.get(item, Counter[Entry]())
        return any(entry in usual for entry in self.seen.own.get(item, ()))

    def _was_late(self, items: set[int]) -> bool:
        """Say whether items came late, and something was done that the calm run does not."""
        self.by_history = True
        if not all(came_late(self.clean, self.history, self.faults, item) for item in items):
            return False
        new = effective(self.history) - effective(self.clean.history)
        return any(entity in items or entity == 0 for _, entity in new)

    # ---- the rest

    @staticmethod
    def _aside(one: Aside) -> Difference:
        source = one.topic.partition(".")[0]
        events = (one.message, one.event)
        return Difference("put aside", one.item, one.topic, "", events=events, source=source)


def _rows_of(out: Outcome) -> Counter[Entry]:
    """Return all rows of an outcome, whoever owns them."""
    return sum(out.own.values(), out.shared)


def _subsets(items: Iterable[int], most: int) -> list[frozenset[int]]:
    """Return the subsets of some items that are not empty, the largest first."""
    items = list(items)
    found = [
        frozenset(chosen)
        for size in range(len(items), 0, -1)
        for chosen in combinations(items, size)
    ]
    return found[:most]


def _in_words(gone: frozenset[int], order: tuple[int, ...]) -> str:
    """Say which clean run this is."""
    first = f"with item {order[0]} first" if order else ""
    if not gone:
        return first or "without faults"
    items = " and ".join(map(str, sorted(gone)))
    return f"without item {items}" + (f", {first}" if first else "")


def _refused_words(refusals: Iterable[Refusal]) -> str:
    return " and ".join(dict.fromkeys(one.operation.rpartition("/")[2] for one in refusals))


QUESTIONS: Final = frozenset({LOGGED, MARK, OPTIONAL, ORDER, STANDS, TIMER})
