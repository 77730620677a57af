"""The outcomes of clean runs: asked for one by one, and remembered for a workload."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from copy import copy
from functools import cached_property, partial
from itertools import pairwise, permutations
from typing import Any, Final

import attrs

from chaosharness.checkers.masking import STAR
from chaosharness.checkers.outcomes.dealt import Dealt
from chaosharness.checkers.outcomes.differences import Comparison, Ledgers
from chaosharness.checkers.outcomes.masks import FAR_APART_MS, OTHERWISE, learn
from chaosharness.checkers.outcomes.notes import without_notes
from chaosharness.checkers.outcomes.outcome import (
    REMEMBERED,
    Entry,
    Options,
    Outcome,
    Place,
    Reader,
)
from chaosharness.checkers.outcomes.owners import Owners, names_by, several, texts_of
from chaosharness.checkers.outcomes.plan import AS_GIVEN, LATE_MS, Family, Plan, Refusal
from chaosharness.checkers.outcomes.sums import Sums
from chaosharness.checkers.outcomes.values import is_record, leaves
from chaosharness.checkers.progress import missed_of
from chaosharness.checkers.replays import detours
from chaosharness.faults import Delay, ErrorReply
from chaosharness.kernel.history import History

ALL_ORDERS_UP_TO: Final = 3
"""Items of which every order is tried; of more, the reverse and each item moved."""

CLIENT: Final = "client."
KEY: Final = "key"
TEXT: Final = "text"
"""How a subject is known that was guessed from a text in rows."""

DELIVER: Final = "/deliver to "
NONE: Final[Counter[Entry]] = Counter()
LATENCIES: Final = (0, 3)
"""By what latencies are multiplied, to see whether the end depends on them."""


class Clean:
    """What comes out of one workload without infrastructure faults.

    Attributes:
        family: The runs.
        reader: Reads outcomes.
        options: What the user said.
        count: How many items there are.
        history: The calm run.
        entered: The items, as they came in.
        calm: What came out of it.
        ledgers: What effects stand.
        comparison: Compares outcomes.
        dealt: The numbers that are dealt out.
        sums: The sums of numbers that are drawn.
        sentences: What was said of differences.
    """

    def __init__(self, family: Family, options: Options, *, alone: bool = False) -> None:
        self.family = family
        self.options = options
        self.history = family.calm().history
        self.entered = items = _entered(self.history)
        names: Sequence[Iterable[str]] | None = None
        if options.item_id is not None and len(family.items) == len(items):
            names = names_by(options.item_id, family.items)
        elif options.item_id is None:
            names = _by_what_was_sent(items, family)
        self.count = len(items)
        self.reader = Reader(Owners(items, names), options, by_name=alone)
        learn(self.reader, family, self.count)
        self.dealt = Dealt(self.reader, family, self.count)
        self.sums = Sums(self.reader, family, self.count)
        self.calm = self.reader.read(self.history)
        self.ledgers = Ledgers(self.calm)
        counted = partial(without_notes, named=self.reader.named)
        self.comparison = Comparison(self.ledgers, options, self.count, counted)
        self._outcomes: dict[Plan, Outcome | None] = {AS_GIVEN: self.calm}
        self.sentences: dict[Hashable, str] = {}
        self._numbers: dict[Hashable, int] = {}

    @cached_property
    def detours(self) -> frozenset[tuple[str, str]]:
        """From which topic to which code publishes what it has in hand, without any fault."""
        return detours(self.history)

    @cached_property
    def strict(self) -> Clean:
        """The same, that leaves no row out for the name of its table."""
        found = copy(self)
        found.comparison = attrs.evolve(self.comparison, counted=_as_they_are)
        return found

    @property
    def everyone(self) -> range:
        """The items, by their numbers."""
        return range(1, self.count + 1)

    def outcome(self, plan: Plan) -> Outcome | None:
        """Return what came out of a clean run; None if it excuses nothing."""
        if plan not in self._outcomes:
            run = self.family.run(plan)
            self._outcomes[plan] = None if run is None else self.reader.read(run.history)
        return self._outcomes[plan]

    def number_of(self, seen: Outcome) -> int:
        """Return a number of what came out of a run: above 0, and its own, if it differs from calm.

        0 is all that is no different, and -1 what there is no more room to remember.
        """
        contents = seen.contents()
        number = self._numbers.get(contents)
        if number is None:
            differs = bool(self.comparison.differences(seen, self.calm))
            room = len(self._numbers) < REMEMBERED
            number = (len(self._numbers) + 1 if room else -1) if differs else 0
            if room:
                self._numbers[contents] = number
        return number

    def without(self, items: Iterable[int], order: tuple[int, ...] = ()) -> Outcome | None:
        """Return what comes out where some items never entered."""
        return self.outcome(Plan(order=order, absent=frozenset(items)))

    def refused(self, refusals: tuple[Refusal, ...], order: tuple[int, ...] = ()) -> Outcome | None:
        """Return what comes out where something is refused for good."""
        return self.outcome(Plan(order=order, refused=refusals))

    def while_asked(self, item: int, effects: Collection[Entry]) -> Outcome | None:
        """Return how things stand in the calm run while the first of some effects is asked for.

        Somebody is at it then: what rows say of the item is no end. None if it was never done.
        """
        done = self.calm.ledger.get(item, ())
        first = min((at for place, what, at in done if (place, what) in effects), default=0)
        return self.outcome(Plan(events_max=first)) if first else None

    def made(self) -> list[Outcome]:
        """Return the outcomes so far in which nothing is refused."""
        return [
            out
            for plan, out in self._outcomes.items()
            if out is not None and not (plan.refused or plan.slow or plan.before or plan.events_max)
        ]

    @cached_property
    def is_the_same_before(self) -> bool:
        """Whether the same comes out of the version before, of all that has one."""
        out = self.outcome(Plan(before=True))
        return out is not None and not self.comparison.differences(out, self.calm)

    # ---- orders of arrival

    @property
    def subjects(self) -> list[list[int]]:
        """Items that are about one subject: they keep their order."""
        return [group for _, group in self._subjects]

    @cached_property
    def _subjects(self) -> list[tuple[str, list[int]]]:
        """The same, each with how it is known: said by the user, by a key, or by a text."""
        groups: dict[tuple[str, str], list[int]] = {}
        function = self.options.subject
        if function is not None and len(self.family.items) == self.count:
            for number, item in enumerate(self.family.items, 1):
                groups.setdefault(("said", " ".join(several(function(item)))), []).append(number)
        else:
            keys = self._keys()
            shared = self._shared_texts()
            for number in self.everyone:
                if number in keys:
                    groups.setdefault((KEY, keys[number]), []).append(number)
                else:
                    for text in self.reader.owners.texts[number - 1]:
                        if text in shared:
                            groups.setdefault((TEXT, text), []).append(number)
        return [(how, group) for (how, _), group in groups.items() if len(group) > 1]

    def _keys(self) -> dict[int, str]:
        """Return the keys under which clients published their items."""
        found: dict[int, str] = {}
        for event in self.history.of("publish"):
            key = event.data.get("key")
            if event.operation.startswith(CLIENT) and event.entity and key is not None:
                found.setdefault(event.entity, str(key))
        return found

    def _topics(self) -> dict[int, tuple[str, str]]:
        """Return where clients published their items first."""
        found: dict[int, tuple[str, str]] = {}
        for event in self.history.of("publish"):
            if event.operation.startswith(CLIENT) and event.entity:
                where = str(event.data.get("broker")), str(event.data.get("topic"))
                found.setdefault(event.entity, where)
        return found

    def _shared_texts(self) -> set[str]:
        """Return the texts in rows that items made, and that were not there before."""
        before = {text for _, texts in self.reader.seeds for _, text in texts}
        made: set[str] = set()
        for place, row in self.reader.rows(self.history):
            found = frozenset((path, leaf) for path, leaf in leaves(row) if isinstance(leaf, str))
            if (place, found) not in self.reader.seeds:
                made.update(text for _, text in found)
        return made - before

    @cached_property
    def orders(self) -> list[tuple[int, ...]]:
        """The other orders of arrival, in which items of one subject keep theirs.

        Unless the system ends the same when they do not.
        """
        usual = tuple(self.everyone)
        return [
            order
            for order in self._permuted()
            if order != usual and (self._keeps_subjects(order) or self._ends_the_same(order))
        ]

    def _permuted(self) -> Iterator[tuple[int, ...]]:
        usual = list(self.everyone)
        if self.count <= ALL_ORDERS_UP_TO:
            yield from permutations(usual)
            return
        yield tuple(reversed(usual))
        for at in range(self.count):
            for to in range(self.count):
                moved = usual[:at] + usual[at + 1 :]
                moved.insert(to, usual[at])
                yield tuple(moved)

    @cached_property
    def orders_of_a_guess(self) -> list[tuple[int, ...]]:
        """The orders in which items change places that have a text in common, and no key; or one
        key, in two topics.

        No broker promises an order without a key, or between two topics, and a text that both have
        need not be what they are about: two customers with one coupon.
        """
        topics = self._topics()
        known = [group for how, group in self._subjects if how not in (KEY, TEXT)]
        for how, group in self._subjects:
            for topic in dict.fromkeys(map(topics.get, group)) if how == KEY else ():
                known.append([item for item in group if topics.get(item) == topic])
        return [
            order
            for order in self._permuted()
            if _keeps(order, known) and not _keeps(order, self.subjects)
        ]

    def _keeps_subjects(self, order: tuple[int, ...]) -> bool:
        return _keeps(order, self.subjects)

    def _ends_the_same(self, order: tuple[int, ...]) -> bool:
        other = self.outcome(Plan(order=order))
        if other is None or other.shared != self.calm.shared:
            return False
        return all(
            other.own.get(item, Counter()) == self.calm.own.get(item, Counter())
            and self.ledgers.net(other, item) == self.ledgers.net(self.calm, item)
            for item in range(self.count + 1)
        )

    @property
    def every_order(self) -> list[tuple[int, ...]]:
        """The orders of arrival, as given first."""
        return [(), *self.orders]

    # ---- other families

    @cached_property
    def refusals(self) -> list[tuple[str, int, Outcome]]:
        """Each item refused for good at each of its calls: operation, item, outcome."""
        run = self.family.calm()
        found = []
        for operation, entity in run.reached:
            legal = run.surfaces.get(operation)
            is_call = "publish" not in operation and not operation.startswith(CLIENT)
            if entity and legal is not None and is_call and ErrorReply in legal.before:
                out = self.refused((Refusal(operation, entity, 1, ErrorReply),))
                if out is not None:
                    found.append((operation, entity, out))
        return found

    @cached_property
    def refused_in_calm(self) -> dict[int, int]:
        """The items that a third party refuses without any fault, and its last such answer."""
        last = {(event.operation, event.entity): event for event in self.history.of("reply")}
        found: dict[int, int] = {}
        for (_, entity), event in last.items():
            if event.data.get("outcome") == "failed" and entity:
                found[entity] = max(found.get(entity, 0), event.index)
        return found

    def says_given_up(self, out: Outcome, item: int) -> bool:
        """Say whether an item is told as in the calm run once it is refused there."""
        told = self.refused_in_calm.get(item)
        if told is None:
            return False
        after = {entry for entry, index in self.calm.said.get(item, {}).items() if index > told}
        return bool(after & out.says(item))

    @cached_property
    def other_latencies(self) -> list[Outcome]:
        """What comes out where third parties answer at once, or late.

        Not where something comes before its queue is bound then: that is of the first minute of a
        system, and says nothing of the others.
        """
        if not self.calm.ledger and not any(raw[1] == "call" for raw in self.history.raw):
            return []
        plans = [Plan(latency=factor) for factor in LATENCIES]
        outs = [self.outcome(plan) for plan in plans if not self._comes_early(plan)]
        return [out for out in outs if out is not None]

    def _comes_early(self, plan: Plan) -> bool:
        run = self.family.run(plan)
        return run is not None and bool(missed_of(run.history))

    @cached_property
    def slowed(self) -> list[Outcome]:
        """What comes out where one consumer is slow, and which no business depends on.

        Who comes first may decide what is said (why an order is cancelled, if for two reasons),
        and not what is done: effects, numbers and flags in rows, and how many there are of those
        and of messages.
        """
        run = self.family.calm()
        places: dict[str, list[tuple[str, int]]] = {}
        for operation, entity in run.reached:
            legal = run.surfaces.get(operation)
            if DELIVER in operation and legal is not None and Delay in legal.before:
                places.setdefault(operation, []).append((operation, entity))
        outs = [self.outcome(Plan(slow=tuple(slow))) for slow in places.values()]
        return [out for out in outs if out is not None and self._does_the_same(out)]

    def _does_the_same(self, out: Outcome) -> bool:
        calm = self.calm
        return out.shared == calm.shared and all(
            self.ledgers.net(out, item) == self.ledgers.net(calm, item)
            and _unworded(out.own.get(item, NONE)) == _unworded(calm.own.get(item, NONE))
            and self._says_as_much(out, item)
            for item in range(self.count + 1)
        )

    def _says_as_much(self, out: Outcome, item: int) -> bool:
        """Say whether there are as many messages as usual; fewer, if less is done and taken back.

        Who hears of a cancellation first neither charges nor refunds, and tells nobody of either.
        """
        told, usual = _many(out.said.get(item, {})), _many(self.calm.said.get(item, {}))
        done, before = (_entries(one.ledger.get(item, ())) for one in (out, self.calm))
        return told == usual or (told < usual and done < before)

    def serial(self) -> list[Outcome]:
        """Return what comes out where each item is done with before the next one comes."""
        plans = [Plan(order=order, gap_ms=FAR_APART_MS) for order in self.every_order[:10]]
        return [out for plan in plans if (out := self.outcome(plan)) is not None]

    def apart(self) -> Iterator[Outcome]:
        """Yield what comes out where one item comes long after the others, or each does."""
        late_ms = max(LATE_MS, self.family.calm().longest_ms * 3 // 2)  # a job of each hour is due
        for number in self.everyone:
            plan = Plan(late=frozenset({number}), late_ms=late_ms)
            if (out := self.outcome(plan)) is not None:
                yield out
        yield from self.serial()

    @cached_property
    def places_not_compared(self) -> tuple[str, ...]:
        """The places that were left out for their name only, spelled."""
        found = {".".join((*one[1:], *path)) for one, path in self.reader.named}
        return tuple(sorted(found))

    def usual_words(self) -> frozenset[Any]:
        """Return every word that a clean run without refusals says of an item."""
        return frozenset(
            word
            for out in self.made()
            for item in range(self.count + 1)
            for word in out.words(item)
        )


def _keeps(order: tuple[int, ...], groups: Iterable[Sequence[int]]) -> bool:
    """Say whether items of one group keep their order."""
    return all(
        order.index(one) < order.index(next_) for group in groups for one, next_ in pairwise(group)
    )


def _as_they_are(
    more: Counter[Entry], less: Counter[Entry]
) -> tuple[Counter[Entry], Counter[Entry]]:
    return more, less


def _unworded(rows: Counter[Entry]) -> Counter[Entry]:
    """Return rows without what they say in words."""
    found = Counter[Entry]()
    for (place, row), times in rows.items():
        found[place, _without_words(row)] += times
    return found


def _without_words(value: Any) -> Any:
    if isinstance(value, tuple):
        if is_record(value):
            return tuple([(name, _without_words(one)) for name, one in value])
        return tuple([_without_words(one) for one in value])
    return STAR if isinstance(value, str) else value


def _entries(ledger: Iterable[tuple[Place, Any, int]]) -> Counter[Entry]:
    """Count what was done, whether or not it was taken back."""
    return Counter((place, what) for place, what, _ in ledger)


def _many(entries: Iterable[Entry]) -> Counter[Place]:
    """Count what is at each place."""
    return Counter(place for place, _ in entries)


def _by_what_was_sent(items: list[Any], family: Family) -> list[Iterable[str]] | None:
    """Return texts by which items are recognised, where some have none of their own.

    An entry that is given a number may send `order-7` on its behalf, each time it runs.
    """
    texts = [texts_of(item) for item in items]
    count = Counter(text for one in texts for text in one)
    bare = {n for n, one in enumerate(texts, 1) if not any(count[text] == 1 for text in one)}
    if not bare:
        return None
    other = family.run(OTHERWISE)
    if other is None:
        return None
    sent, again = _sent(family.calm().history), _sent(other.history)
    both = {number: sent.get(number, {}).keys() & again.get(number, {}).keys() for number in bare}
    return [[*one, *sorted(both.get(number, ()))] for number, one in enumerate(texts, 1)]


def _sent(history: History) -> dict[int, dict[str, None]]:
    """Return the texts that the client sent on behalf of each item."""
    found: dict[int, dict[str, None]] = {}
    for event in history.of("publish", "call", "write"):
        if event.operation.startswith(CLIENT) and event.entity:
            said = (event.data.get("value"), event.data.get("key"), event.data.get("params"))
            found.setdefault(event.entity, {}).update(texts_of(said))
    return found


def _entered(history: History) -> list[Any]:
    """Return the items as plain values, as they entered."""
    found = {event.entity: event.data.get("item") for event in history.of("arrive")}
    count = max((raw[4] for raw in history.raw), default=0)
    return [found.get(number) for number in range(1, count + 1)]
