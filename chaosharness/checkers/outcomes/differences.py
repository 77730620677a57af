"""How two outcomes differ: what is there twice, too little, too much, or otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

import attrs

from chaosharness.checkers.masking import STAR, words_in
from chaosharness.checkers.outcomes.outcome import Entry, Options, Outcome, Place, spelled_place
from chaosharness.checkers.outcomes.values import is_number, is_record, masked_leaves, spelled
from chaosharness.externals.external import KEYS

STANDS: Final = "stands"
"""The kind of a question: may what was done stand, although its item was given up?"""

AMONG: Final = "among others"
"""What a difference has for its `instead` if it counts all effects of a method, which differ."""

NOBODY: Final[frozenset[int]] = frozenset()


@attrs.frozen
class Difference:
    """One way in which what came out of a run differs from a clean outcome.

    Attributes:
        kind: One of `harm.KINDS`.
        item: Whose it is, from 1; 0 for nobody's.
        place: Where: `db.orders.amount+`, `bank.charge`, `bus.paid`.
        what: What differs, spelled.
        instead: What the clean run has there, spelled.
        events: Events that show it.
        count: How often it is there.
        usual: How often it is there in the clean run.
        source: The store, third party or broker.
    """

    kind: str
    item: int
    place: str
    what: str
    instead: str = ""
    events: tuple[int, ...] = ()
    count: int = 0
    usual: int = 0
    source: str = ""

    @property
    def about(self) -> tuple[str, int, str, str]:
        """What it says; two judgements may say the same with other events."""
        return self.kind, self.item, self.place, self.what


def moves(entry: Entry) -> bool:
    """Say whether money or goods are moved: there is an amount."""
    return any(
        is_number(value) and value and not (path and "id" in words_in(path[-1]))
        for path, value in masked_leaves(entry[1])
    )


UNDOING: Final = frozenset(
    (
        *("abort", "cancel", "delete", "discard", "free", "release", "remove", "return", "revert"),
        *("revoke", "rollback", "unbook", "undo", "unlock", "unreserve", "void", "withdraw"),
    )
)
"""How methods begin that take back what was done, and do nothing where it was not."""

UNDOES: Final = UNDOING | {"recall", "refund", "reverse"}
"""How methods begin by which a third party takes back what it did."""


class Ledgers:
    """What third parties did in effect: without what was undone again.

    And without what would undo something that is not there, and moves neither money nor goods:
    whoever cancels each booking that may have been made cancels nothing where none was.

    Args:
        calm: The outcome of the calm run: the method by which a party is first addressed
            there goes forward, and undoes nothing.
    """

    def __init__(self, calm: Outcome) -> None:
        self.usual = {place for ledger in calm.ledger.values() for place, _, _ in ledger}
        self.first: set[tuple[str, str]] = set()
        self.doubled: set[tuple[int, Entry]] = set()
        for ledger in calm.ledger.values():
            parties: set[str] = set()
            for (_, party, method), _, _ in ledger:
                if party not in parties:
                    parties.add(party)
                    self.first.add((party, method))
        self._forward = self.first.copy()
        self._words: dict[str, set[str]] = {}
        for ledger in calm.ledger.values():
            for (_, party, method), what, _ in ledger:
                if (party, method) in self.first and is_record(what):
                    self._words.setdefault(party, set()).update(dict(what))
        for item in calm.ledger:
            kept, _ = self._walked(calm, item)
            self._forward |= {(party, method) for (_, party, method), _, _ in kept}

    def net(self, out: Outcome, item: int) -> Counter[Entry]:
        """Return the effects for an item that stand: worked out once, not to be changed."""
        known = out.nets.get(item)
        if known is not None:
            return known
        counted = Counter((place, what) for place, what, _ in self.standing(out, item))
        for entry in counted:
            if (item, entry) in self.doubled:
                counted[entry] = 1  # the calm run does it twice already: told there
        out.nets[item] = counted
        return counted

    def standing(self, out: Outcome, item: int) -> list[tuple[Place, Any, int]]:
        """Return the effects for an item that were not undone later, and do not undo nothing."""
        kept, _ = self._walked(out, item)
        return [entry for entry in kept if not self._undoes_nothing(entry)]

    def undone(self, out: Outcome, item: int) -> list[tuple[Entry, Place]]:
        """Return the effects for an item that were undone later, each with what undid it."""
        return self._walked(out, item)[1]

    def in_vain(self, out: Outcome, item: int) -> list[Place]:
        """Return what was done for an item to undo what was not there."""
        kept, _ = self._walked(out, item)
        return [entry[0] for entry in kept if self._undoes_nothing(entry)]

    def _undoes_nothing(self, entry: tuple[Place, Any, int]) -> bool:
        """Say whether an effect that undid none is one that only undoes: it is called so, a run
        without faults has it where something was done before, or not at all, and it names nothing
        else. (`reject` tells somebody something, who may be told the opposite later.)"""
        (place, party, method), what, _ = entry
        if (party, method) in self._forward or party not in self._words or not is_record(what):
            return False
        if UNDOING.isdisjoint(words_in(method.partition("_")[0])):
            return False
        return dict(what).keys() <= self._words[party] and not moves(((place, party, method), what))

    def _walked(
        self, out: Outcome, item: int
    ) -> tuple[list[tuple[Place, Any, int]], list[tuple[Entry, Place]]]:
        """Return the effects for an item that were not undone later, and those that were."""
        kept: list[tuple[Place, Any, int]] = []
        gone: list[tuple[Entry, Place]] = []
        for entry in out.ledger.get(item, ()):
            undone = self._undone(kept, entry)
            if undone < 0:
                kept.append(entry)
            else:
                place, what, _ = kept.pop(undone)
                gone.append(((place, what), entry[0]))
        return kept, gone

    def _undone(self, kept: list[tuple[Place, Any, int]], entry: tuple[Place, Any, int]) -> int:
        """Return which effect an entry undoes, the last that fits; -1 for none."""
        (_, party, method), what, _ = entry
        now = dict(what) if is_record(what) else {}
        for at in range(len(kept) - 1, -1, -1):
            (_, other, earlier), then_, _ = kept[at]
            if other != party or not is_record(then_):
                continue
            then = dict(then_)
            if earlier == method:
                if _is_sent_back(now, then):
                    return at
            elif (party, method) not in self.first and _is_about_the_same(method, now, then):
                return at
        return -1


def times_done(out: Outcome, item: int, entry: Entry) -> int:
    """Say how often something was done for an item, whatever became of it."""
    return sum((place, what) == entry for place, what, _ in out.ledger.get(item, ()))


def _is_about_the_same(method: str, now: dict[str, Any], then: dict[str, Any]) -> bool:
    """Say whether a request names the same things as one before: all that both name.

    What is called as that which takes back may have an idempotency key of its own
    (`o1/reserve/release`): that tells repeats of one request apart, and is no business.
    """
    common = [name for name in now if name in then]
    if UNDOES & words_in(method.partition("_")[0]):
        rest = [name for name in common if name not in KEYS]
        if any(isinstance(now[name], str) and now[name] != STAR for name in rest):
            common = rest
    return bool(common) and all(now[name] == then[name] for name in common)


def _is_sent_back(now: dict[str, Any], then: dict[str, Any]) -> bool:
    """Say whether this is the same as before with the opposite sign: a transfer back."""
    numbers = [name for name, value in now.items() if is_number(value) and value]
    if len(numbers) != 1 or not is_number(then.get(numbers[0])):
        return False
    same = [
        name
        for name, value in now.items()
        if isinstance(value, str) and value != STAR and name != "key" and then.get(name) == value
    ]
    return bool(same) and then[numbers[0]] == -now[numbers[0]]


@attrs.frozen(eq=False)
class Comparison:
    """Compares outcomes of one workload.

    Attributes:
        counted: Returns which rows count, of those that are there too much and too little.
    """

    ledgers: Ledgers
    options: Options
    count: int
    counted: Callable[[Counter[Entry], Counter[Entry]], tuple[Counter[Entry], Counter[Entry]]]

    def differences(
        self,
        seen: Outcome,
        clean: Outcome,
        absent: Collection[int] = NOBODY,
        free: Collection[int] = NOBODY,
    ) -> list[Difference]:
        """Return how a run differs from a clean one.

        Args:
            seen: What came out of the run.
            clean: What came out of the clean run.
            absent: Items that did not enter there: rows and messages of theirs are free
                here, and no effect may stand.
            free: Items that were put aside: they are only asked for repeats.
        """
        found: list[Difference] = []
        if not free:
            more, less = seen.shared - clean.shared, clean.shared - seen.shared
            found += rows_differ(0, *self.counted(more, less))
        for item in range(self.count + 1):
            if item not in absent and item not in free and (item or not free):
                found += self._own(item, seen, clean)
            found += self._effects(item, seen, clean, absent, free)
            if item not in absent and item not in free:
                found += self._messages(item, seen, clean)
        return found

    def differs(self, item: int, seen: Outcome, clean: Outcome) -> bool:
        """Say whether one item ended otherwise."""
        return bool(
            any(self._own(item, seen, clean))
            or any(self._effects(item, seen, clean, NOBODY, NOBODY))
            or any(self._messages(item, seen, clean))
        )

    def _own(self, item: int, seen: Outcome, clean: Outcome) -> Iterator[Difference]:
        mine, theirs = seen.own.get(item, Counter()), clean.own.get(item, Counter())
        if mine != theirs:
            yield from rows_differ(item, *self.counted(mine - theirs, theirs - mine))

    def _effects(
        self,
        item: int,
        seen: Outcome,
        clean: Outcome,
        absent: Collection[int],
        free: Collection[int],
    ) -> Iterator[Difference]:
        mine = self.ledgers.net(seen, item)
        theirs = Counter[Entry]() if item in absent else self.ledgers.net(clean, item)
        if mine == theirs:
            return
        for place, what in mine - theirs:
            usual = theirs[place, what]
            if item in free and mine[place, what] <= max(usual, 1):
                continue
            done = 0 if usual or item in absent else times_done(clean, item, (place, what))
            if done and times_done(seen, item, (place, what)) <= done:
                yield self._not_undone(item, seen, (place, what))
                continue
            yield self._surplus(
                item, seen, (place, what), mine, theirs, done, absent=item in absent
            )
        if item in free:
            return
        for (place, what), less in (theirs - mine).items():
            if not self.options.is_optional(place):
                there = mine[place, what]
                instead = "" if there else _with_other_numbers((place, what), mine - theirs)
                yield Difference(
                    "effect lost", item, spelled_place(place), spelled(what), instead, (), there,
                    there + less, place[1],
                )  # fmt: skip

    def _surplus(
        self,
        item: int,
        seen: Outcome,
        entry: Entry,
        mine: Counter[Entry],
        theirs: Counter[Entry],
        done: int = 0,
        *,
        absent: bool,
    ) -> Difference:
        """Say what sort of harm it is that something was done once more.

        Args:
            done: How often it is done in the clean run, where it is all undone, or undoes.
        """
        place, what = entry
        count, usual = mine[entry], theirs[entry]
        if done:
            count, usual = times_done(seen, item, entry), done
        kind = "effect left" if absent else "effect twice" if usual else "effect new"
        instead = ""
        if kind == "effect new":  # the same, with other words: a number of its own
            here = sum(times for (where, _), times in mine.items() if where == place)
            there = sum(times for (where, _), times in theirs.items() if where == place)
            if here > there > 0:
                kind, count, usual = "effect twice", here, there
                instead = AMONG if usual > 1 else ""
        standing = self.ledgers.standing(seen, item)
        events = tuple(index for where, said, index in standing if (where, said) == entry)
        name = spelled_place(place)
        return Difference(kind, item, name, spelled(what), instead, events, count, usual, place[1])

    def _not_undone(self, item: int, seen: Outcome, entry: Entry) -> Difference:
        """Say that something stands which is done in the clean run as well, and undone again."""
        place, what = entry
        standing = self.ledgers.standing(seen, item)
        events = tuple(index for where, said, index in standing if (where, said) == entry)
        name = spelled_place(place)
        words = f"ends with {name}{spelled(what)} standing, which is taken back without faults"
        return Difference("half done", item, name, words, "", events, source=place[1])

    def _messages(self, item: int, seen: Outcome, clean: Outcome) -> Iterator[Difference]:
        mine, theirs = seen.said.get(item, {}), clean.said.get(item, {})
        if mine.keys() == theirs.keys():
            return
        for place, what in theirs:
            if (place, what) not in mine and not self.options.is_optional(place):
                yield Difference(
                    "message lost", item, spelled_place(place), spelled(what), source=place[1]
                )
        for (place, what), event in mine.items():
            if (place, what) not in theirs and not self.options.is_optional(place):
                events = (event,) if event >= 0 else ()
                yield Difference(
                    "message new", item, spelled_place(place), spelled(what), "", events,
                    source=place[1],
                )  # fmt: skip


def _with_other_numbers(entry: Entry, others: Counter[Entry]) -> str:
    """Return what was done in the place of an effect, if only numbers are others: an amount."""
    place, what = entry
    usual = _wordings(what)
    for where, instead in others:
        if where == place and instead != what and usual and _wordings(instead) == usual:
            return spelled(instead)
    return ""


def _wordings(what: Any) -> dict[tuple[str, ...], Any]:
    """Return the leaves of a value, numbers by their kind alone; nothing if no text names it."""
    found = dict(masked_leaves(what))
    named = any(isinstance(leaf, str) and leaf != STAR for leaf in found.values())
    return {path: 0 if is_number(leaf) else leaf for path, leaf in found.items()} if named else {}


def rows_differ(item: int, more: Counter[Entry], less: Counter[Entry]) -> Iterator[Difference]:
    """Yield one difference for each table whose rows are not the same."""
    for place in dict.fromkeys(place for place, _ in (*more, *less)):
        here = [row for where, row in more.elements() if where == place]
        there = [row for where, row in less.elements() if where == place]
        name, store = spelled_place(place), place[1]
        if here and there and len(here) == len(there):
            new, old = nearest(here, there)
            columns = ",".join(_columns(new, old))
            yield Difference(
                "row differs",
                item,
                f"{name}.{columns}",
                _told_apart(new, old),
                _told_apart(old, new),
                source=store,
            )
        elif len(here) > len(there):
            odd = _odd_one_out(here, there)
            yield Difference("row too many", item, name, spelled(odd), source=store)
        else:
            odd = _odd_one_out(there, here)
            yield Difference("row missing", item, name, spelled(odd), source=store)


def _cells(row: Any) -> dict[str, Any]:
    return dict(row) if is_record(row) else {"": row}


def _distance(one: Any, other: Any) -> int:
    mine, theirs = _cells(one), _cells(other)
    return sum(mine.get(name) != theirs.get(name) for name in {**mine, **theirs})


def nearest(here: Sequence[Any], there: Sequence[Any]) -> tuple[Any, Any]:
    """Return the row that is there and the one that should be which are most alike."""
    pairs = [(new, old) for new in here for old in there]
    return min(pairs, key=lambda pair: _distance(*pair))


def _odd_one_out(many: Sequence[Any], few: Sequence[Any]) -> Any:
    """Return the row least like any of the others: it is there once too often."""
    return max(many, key=lambda one: min((_distance(one, other) for other in few), default=0))


def _columns(new: Any, old: Any) -> list[str]:
    """Return the columns that differ, numbers with the sign of the difference."""
    mine, theirs = _cells(new), _cells(old)
    found = []
    for name in {**theirs, **mine}:
        now, then = mine.get(name), theirs.get(name)
        if now != then:
            sign = ""
            if is_number(now) and is_number(then):
                sign = "+" if now > then else "-"  # type: ignore[operator]
            found.append(f"{name}{sign}")
    return found


def _told_apart(row: Any, other: Any) -> str:
    """Spell what differs in a row, after what does not."""
    mine, theirs = _cells(row), _cells(other)
    same = [(name, value) for name, value in mine.items() if theirs.get(name) == value]
    odd = [(name, value) for name, value in mine.items() if theirs.get(name) != value]
    words = ", ".join(f"{name}={spelled(value)}" for name, value in odd)
    whose = ", ".join(f"{name}={spelled(value)}" for name, value in same if value != STAR)
    return f"{words} ({whose})" if whose else words
