"""Outcomes put together: each item's is one that it has without faults, and the sums are right.

Reservations that come back reach another customer: such an end is no clean run's as a
whole, and right all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from typing import Any, Final

import attrs

from chaosharness.checkers.masking import STAR
from chaosharness.checkers.outcomes.batches import in_one_batch
from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.masks import FAR_APART_MS
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, Place
from chaosharness.checkers.outcomes.plan import Plan
from chaosharness.checkers.outcomes.values import is_number, masked_leaves
from chaosharness.kernel.history import History

Unit = tuple[int, ...]
"""Items that are about one subject."""

Signature = tuple[frozenset[Any], frozenset[Any], frozenset[Any]]
"""What became of a unit: its rows, its effects that stand, its messages."""

Cells = dict[Any, dict[Any, Any]]
"""Numbers in rows that no single item owns, by the rest of the row."""

Sum = dict[Any, Any]

NOTHING: Final[Signature] = (frozenset(), frozenset(), frozenset())
ABSENT: Final[Signature] = (frozenset(), frozenset(), frozenset({"absent"}))
"""What became of a unit that never came: nothing, and it adds nothing."""
ROUNDS: Final = 4
NO_LIMIT: Final = 10**9

ROW: Final = "a row"
"""What is counted beside the numbers of a row: that it is there, with these texts."""


@attrs.frozen
class Excess:
    """Something that succeeds more often when items come at once than one after another."""

    where: str
    what: str
    times: int
    serial: int


class Composition:
    """What each unit adds to what all share: learned from clean runs, checked on all of them."""

    def __init__(self, clean: Clean) -> None:
        self.clean = clean

    @cached_property
    def units(self) -> list[Unit]:
        """The items, those of one subject together."""
        groups = [tuple(group) for group in self.clean.subjects]
        taken = {item for group in groups for item in group}
        return groups + [(item,) for item in self.clean.everyone if item not in taken]

    def signature(self, out: Outcome, unit: Unit) -> Signature:
        """Return what became of a unit."""
        own = frozenset(pair for item in unit for pair in out.own.get(item, Counter()).items())
        effects: Counter[Entry] = Counter()
        for item in unit:
            effects.update(self.clean.ledgers.net(out, item))
        said = frozenset(entry for item in unit for entry in out.said.get(item, ()))
        return own, frozenset(effects.items()), said

    # ---- what is learned

    @cached_property
    def _whole(self) -> dict[Plan, Outcome]:
        """Runs in which all items come: in any order, at any distance."""
        clean = self.clean
        plans = [
            Plan(order=order, gap_ms=gap)
            for order in clean.every_order[:10]
            for gap in (None, 0, FAR_APART_MS)
        ]
        return {plan: out for plan in plans if (out := clean.outcome(plan)) is not None}

    @property
    def _legal(self) -> list[Outcome]:
        """The runs that say how items may end: not those at once, where each goes its own way.

        Two that share nothing decide nothing for each other. What one of them is when it overtakes
        itself, and in no run in which it comes in its turn, is no choice of anybody's.
        """
        at_once = {plan for plan in self._whole if plan.gap_ms == 0}
        if at_once and not self._share_something:
            return [out for plan, out in self._whole.items() if plan not in at_once]
        return [*self._whole.values()]

    @cached_property
    def _share_something(self) -> bool:
        """Whether items may decide for each other: in rows that are nobody's, or at a third party
        that refuses."""
        clean = self.clean
        base = clean.without(clean.everyone)
        if base is None or any(out.shared != base.shared for out in self._whole.values()):
            return True
        runs = [clean.family.run(plan) for plan in self._whole]
        return any(
            event.data.get("outcome") == "failed"
            for run in runs
            if run is not None
            for event in run.history.of("reply")
        )

    @cached_property
    def _parts(self) -> list[tuple[Outcome, frozenset[int]]]:
        """Runs in which one unit comes alone, or does not come, with the items that are absent."""
        everyone = frozenset(self.clean.everyone)
        absences = [
            absent
            for unit in self.units
            for absent in (frozenset(unit), everyone - frozenset(unit))
        ]
        return [(out, one) for one in absences if (out := self.clean.without(one)) is not None]

    @cached_property
    def _base(self) -> Cells | None:
        out = self.clean.without(self.clean.everyone)
        return None if out is None else cells(out)

    @cached_property
    def shares(self) -> Mapping[tuple[Unit, Signature], Sum] | None:
        """What each unit adds to what all share, by what became of it; None if no sums do."""
        if self.clean.count < 2 or self._base is None:
            return None
        runs: list[tuple[dict[Unit, Signature], Sum]] = []
        whole = [(out, frozenset[int]()) for out in self._legal]
        for out, absent in (*self._parts, *whole):
            held = cells(out)
            if held is None:
                return None
            signed = {
                unit: ABSENT if absent.issuperset(unit) else self.signature(out, unit)
                for unit in self.units
            }
            runs.append((signed, minus(held, self._base)))
        known: dict[tuple[Unit, Signature], Sum] = {(unit, ABSENT): {} for unit in self.units}
        for _ in range(ROUNDS):
            for signed, total in runs:
                unknown = [unit for unit in signed if (unit, signed[unit]) not in known]
                if len(unknown) == 1:
                    [one] = unknown
                    others = [known[unit, signed[unit]] for unit in signed if unit != one]
                    known[one, signed[one]] = less(total, others)
        for signed, total in runs:
            parts = [known.get((unit, signed[unit])) for unit in signed]
            shared = [part for part in parts if part is not None]
            if len(shared) == len(parts) and less(total, shared):
                return None  # it does not add up: nothing can be put together
        return known

    @cached_property
    def bounds(self) -> Mapping[Any, tuple[int, int]]:
        """How often each word, effect and message may be there: least and most."""
        serial = self.clean.serial()
        outs = [counts(self.clean, out) for out in (*self._whole.values(), *serial)]
        most_serial = [counts(self.clean, out) for out in serial]
        excessive = {key for key, _ in self.excess}
        found = {}
        for key in dict.fromkeys(key for one in outs for key in one):
            runs = most_serial if key in excessive and most_serial else outs
            found[key] = (min(one[key] for one in outs), max(one[key] for one in runs))
        return found

    @cached_property
    def _cleaned(self) -> frozenset[Any]:
        """Where rows go after a while, and nothing hangs on them: each unit that has some there is
        as well without, adds the same to what all share, and has had and said the same.

        An inbox that a job cuts: how many rows are left is a matter of when one looks.
        """
        with_rows: dict[Any, set[Unit]] = {}
        without: dict[Any, set[Unit]] = {}
        for (unit, (own, *rest)), total in (self.shares or {}).items():
            for (other, (theirs, *same)), also in (self.shares or {}).items():
                if unit == other and rest == same and total == also and theirs < own:
                    for (place, _), _ in own - theirs:
                        without.setdefault(place, set()).add(unit)
            for (place, _), _ in own:
                with_rows.setdefault(place, set()).add(unit)
        return frozenset(place for place, units in without.items() if units == with_rows[place])

    @cached_property
    def excess(self) -> list[tuple[Any, Excess]]:
        """What several items may each do alone, never do together, and do when they come at once.

        Each with the key under which it is counted.
        """
        serial = self.clean.serial()
        if self.clean.count < 2 or not serial:
            return []
        alone = self._alone
        found: dict[Any, Excess] = {}
        for plan, out in self._whole.items():
            said = self._sayings(out)
            for key, items in said.items():
                together = [item for item in items if key in alone.get(item, ())]
                times = [len(self._sayings(other).get(key, ())) for other in serial]
                if len(together) > max(times) and key not in found:
                    if self._in_one_batch(plan, key, len(together)) or self._goes(key):
                        continue
                    (_, where, table), word = key[0], key[-1]
                    place = f"{where}.{table}" if table else where
                    found[key] = Excess(place, word, len(together), max(times))
        return list(found.items())

    def _goes(self, key: Any) -> bool:
        """Say whether rows go after a while: also that of who came first, long before the others.

        A job that moves what is done to an archive leaves it where it was for a while. It is
        nobody's work: who deletes the row of another to put its own there is no such job.
        """
        clean, place = self.clean, key[0]
        for order in clean.every_order[:10]:
            plan = Plan(order=order, gap_ms=FAR_APART_MS)
            first, out = (order or clean.everyone)[0], clean.outcome(plan)
            if out is None or key not in self._alone.get(first, ()) or place[0] != "row":
                continue
            gone = not any(where == place for where, _ in out.own.get(first, ()))
            run = clean.family.run(plan)
            if gone and run is not None and _is_cut(run.history, place):
                return True
        return False

    def _in_one_batch(self, plan: Plan, key: Any, count: int) -> bool:
        """Say whether a word is the number of a batch, which one transaction gave several items.

        A word without a digit says what became of them (`won`), and may be one too many.
        """
        place, word = key[0], key[-1]
        run = self.clean.family.run(plan) if any(map(str.isdigit, word)) else None
        return run is not None and in_one_batch(run.history, place, word, count)

    def may_exceed(self) -> bool:
        """Say whether items that come at once say or do anything more often than in a row.

        A first look, by three runs in the order given: most workloads need no other.
        """
        clean = self.clean
        serial = clean.outcome(Plan(gap_ms=FAR_APART_MS))
        if clean.count < 2 or serial is None:
            return False
        usual = self._sayings(serial)
        return any(
            len(items) > len(usual.get(key, ()))
            for out in (clean.calm, clean.outcome(Plan(gap_ms=0)))
            if out is not None
            for key, items in self._sayings(out).items()
        )

    @cached_property
    def _alone(self) -> dict[int, frozenset[Any]]:
        """What each item says and has done when its unit comes alone."""
        everyone = frozenset(self.clean.everyone)
        found: dict[int, frozenset[Any]] = {}
        for unit in self.units:
            out = self.clean.without(everyone - frozenset(unit))
            if out is not None:
                said = self._sayings(out)
                for item in unit:
                    found[item] = frozenset(key for key, items in said.items() if item in items)
        return found

    def _sayings(self, out: Outcome) -> dict[Any, list[int]]:
        """Return which items say each word in their rows, or have each effect."""
        found: dict[Any, list[int]] = {}
        for item in self.clean.everyone:
            for key in self._says(out, item):
                found.setdefault(key, []).append(item)
        return found

    def _says(self, out: Outcome, item: int) -> dict[Any, None]:
        said: dict[Any, None] = {}
        for place, row in out.own.get(item, ()):
            for path, value in masked_leaves(row):
                is_word = isinstance(value, str) and value != STAR
                if is_word and not self.clean.reader.owners.of(value):
                    said[place, path, value] = None
        for place, _ in self.clean.ledgers.net(out, item):
            said[place, place[2]] = None
        return said

    # ---- what is asked

    def fits(self, seen: Outcome, client: Collection[int]) -> bool:
        """Say whether a run is put together from clean outcomes of its items."""
        return self._add_up(seen, client, lambda unit, signature: None) is not None

    def fits_refused(
        self, seen: Outcome, client: Collection[int], outcomes: Callable[[Unit], Iterable[Outcome]]
    ) -> list[tuple[Unit, Outcome]] | None:
        """Return the refusals of single units that a run is put together from; None if none.

        Args:
            seen: What came out of the run.
            client: Items whose client was told no.
            outcomes: Returns the outcomes in which something is refused to a unit.
        """
        used: list[tuple[Unit, Outcome]] = []

        def share(unit: Unit, signature: Signature) -> Sum | None:
            for out in outcomes(unit):
                if self.signature(out, unit) == signature:
                    found = self._share_of(unit, out)
                    if found is not None:
                        used.append((unit, out))
                        return found
            return None

        return None if self._add_up(seen, client, share) is None else used

    def _share_of(self, unit: Unit, out: Outcome) -> Sum | None:
        """Return what a unit adds in a clean run in which all others ended as usual."""
        held, shares = cells(out), self.shares
        if held is None or shares is None or self._base is None:
            return None
        others = [(one, self.signature(out, one)) for one in self.units if one != unit]
        if any(one not in shares for one in others):
            return None
        return less(minus(held, self._base), [shares[one] for one in others])

    def _add_up(
        self,
        seen: Outcome,
        client: Collection[int],
        share: Callable[[Unit, Signature], Sum | None],
    ) -> Sum | None:
        shares, held = self.shares, cells(seen)
        if shares is None or held is None or self._base is None:
            return None
        parts, refused = [], False
        for unit in self.units:
            signature = self.signature(seen, unit)
            part = shares.get((unit, signature))
            if signature == NOTHING and set(unit) <= set(client):
                part, refused = {}, True  # nothing came of what its client was told had failed
            if part is None:
                part, refused = share(unit, signature), True
            if part is None:
                return None
            parts.append(part)
        total = minus(held, self._base)
        if less(total, parts):
            return None
        return total if refused or self._within_bounds(seen) else None

    def _within_bounds(self, seen: Outcome) -> bool:
        mine = counts(self.clean, seen)
        for key in dict.fromkeys((*mine, *self.bounds)):
            # a word that was never seen is judged by its signature
            unheard = (0, NO_LIMIT) if isinstance(key[-1], str) and key[-1] != "rows" else (0, 0)
            low, high = self.bounds.get(key, unheard)
            if mine[key] > high or (mine[key] < low and key[0] not in self._cleaned):
                return False
        return True


def _is_cut(history: History, place: Place) -> bool:
    """Say whether a loop deletes rows of a table, for nobody."""
    return any(
        data.get("verb") == "delete" and (data["store"], data.get("table")) == place[1:]
        for _, kind, _, _, entity, _, _, data in history.raw
        if kind == "write" and not entity and data.get("rows")
    )


# ---- sums


def cells(out: Outcome) -> Cells | None:
    """Return the numbers in rows that all share, and which rows there are; None where rows cannot
    be told apart."""
    found: Cells = {}
    for (place, row), times in out.shared.items():
        flat = [*masked_leaves(row)]
        texts = Counter((path, repr(value)) for path, value in flat if not is_number(value))
        rest = frozenset(texts.items())
        name = (place, rest)
        if times > 1 or name in found:
            return None
        found[name] = {ROW: 1}
        for path, value in flat:
            if is_number(value):
                found[name][path] = found[name].get(path, 0) + value
    return found


def minus(one: Cells, other: Cells) -> Sum:
    """Return how numbers differ, where they do."""
    found: Sum = {}
    for name in {**one, **other}:
        mine, theirs = one.get(name, {}), other.get(name, {})
        for path in {**mine, **theirs}:
            difference = mine.get(path, 0) - theirs.get(path, 0)
            if difference:
                found[name, path] = difference
    return found


def less(total: Sum, parts: Iterable[Sum]) -> Sum:
    """Return what is left of a sum without its parts; nothing if it adds up."""
    left = dict(total)
    for part in parts:
        for name, value in part.items():
            left[name] = left.get(name, 0) - value
    return {name: value for name, value in left.items() if value}


def counts(clean: Clean, out: Outcome) -> Counter[Any]:
    """Count rows by their words, effects by their place, messages by their topic."""
    found: Counter[Any] = Counter()
    rows = [pair for own in out.own.values() for pair in own.items()]
    for (place, row), times in (*rows, *out.shared.items()):
        for path, value in masked_leaves(row):
            if isinstance(value, str) and value != STAR and not clean.reader.owners.of(value):
                found[place, path, value] += times
        found[place, "rows"] += times
    for item in out.ledger:
        for (place, _), times in clean.ledgers.net(out, item).items():
            found[place] += times
    for said in out.said.values():
        for place, _ in said:
            found[place] += 1
    return found
