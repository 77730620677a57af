"""Rows that are left of what was given up: what a service did when called, and what stands.

A row that another service wrote when it was called is an effect of that call, as an entry in
the ledger of a third party is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import attrs

from chaosharness.checkers.outcomes.clean import Clean
from chaosharness.checkers.outcomes.differences import Difference, moves
from chaosharness.checkers.outcomes.outcome import Entry, Outcome, Place
from chaosharness.checkers.outcomes.plan import Refusal
from chaosharness.faults import LostReply, LostRequest


class Leftovers:
    """The rows of one item in an outcome in which something is refused for good.

    Args:
        clean: The clean runs.
        out: The outcome.
        item: The item, from 1.
        refusals: What is refused there.
    """

    def __init__(
        self, clean: Clean, out: Outcome, item: int, refusals: tuple[Refusal, ...]
    ) -> None:
        self.clean, self.out, self.item, self.refusals = clean, out, item, refusals

    def _rows(self, out: Outcome, places: Collection[Place]) -> Counter[Entry]:
        own = out.own.get(self.item, Counter[Entry]())
        return Counter({entry: n for entry, n in own.items() if entry[0] in places})

    def twice(self) -> Iterator[Difference]:
        """Yield what one service did although it stands at another, both when called.

        A run without faults has it at the one; where the first is never asked, it is at the
        other; here it is at both.
        """
        calm, item = self.clean.calm, self.item
        for refusal in self.refusals:
            if refusal.entity != item or not calm.served_by(item, refusal.operation):
                continue
            never = self.clean.refused((attrs.evolve(refusal, kind=LostRequest),))
            if never is None:
                continue
            new = never.served.get(item, {}).keys() - calm.served.get(item, {}).keys()
            for service, method, value in sorted(new, key=repr):
                for usual in calm.served_by(item, refusal.operation):
                    here = self._rows(calm, calm.served[item][usual])
                    there = self._rows(never, never.served[item][service, method, value])
                    if usual[1:] == (method, value) and self._both(here, there, never):
                        yield Difference(
                            "effect twice", item, f"{service}.{method}",
                            f", which stands at {usual[0]} as well,", source=service,
                            count=2, usual=1,
                        )  # fmt: skip

    def _both(self, here: Counter[Entry], there: Counter[Entry], never: Outcome) -> bool:
        """Say whether both stand here, and each stands alone in a clean run."""
        mine = self.out.own.get(self.item, Counter[Entry]())
        calm = self.clean.calm.own.get(self.item, Counter[Entry]())
        other = never.own.get(self.item, Counter[Entry]())
        either = here and there and not here <= other and not there <= calm
        return bool(either) and here <= mine and there <= mine

    def not_taken_back(self, gone: Outcome) -> Counter[Entry]:
        """Return what stands here, is taken back in the calm run, and nobody speaks of.

        Args:
            gone: What comes out where the item never entered.
        """
        calm, item = self.clean.calm, self.item
        if self.out.tells(item, calm):
            return Counter()
        taken = self._taken_back(calm)
        kept = {place for own in calm.own.values() for place, _ in own}
        left = self._rows(self.out, taken & kept)
        elsewhere = self._rows(self.out, {place for place, _ in self.out.own.get(item, ())} - taken)
        if left and elsewhere == calm.own.get(item, Counter()):
            return left
        if {one.entity for one in self.refusals} != {item} or calm.shared != gone.shared:
            return Counter()
        wrote = {place for place, times in calm.writes.get(item, {}).items() if times > 1}
        odd = (self.out.shared - gone.shared) + (gone.shared - self.out.shared)
        same = self.out.own.get(item) == calm.own.get(item)
        return odd if same and {place for place, _ in odd} <= wrote else Counter()

    def never_made_up_for(self) -> Counter[Entry]:
        """Return what a refused call of a service would have written, if only that is lacking."""
        calm, item = self.clean.calm, self.item
        refused = {
            name
            for one in self.refusals
            if one.entity == item
            for name in (one.operation.partition("/")[0], one.operation.rpartition("/")[2])
        }
        places = {
            place
            for (service, method, _), written in calm.served.get(item, {}).items()
            if f"{service}.{method}" in refused
            for place in written
        }
        mine, usual = self.out.own.get(item, Counter()), calm.own.get(item, Counter())
        lost = (usual - mine) + (calm.shared - self.out.shared)
        more = (mine - usual) + (self.out.shared - calm.shared)
        there = {place for place, _ in (*lost, *more)}
        others = any(place not in places for place, _ in mine) or calm.says(item)
        same = not mine - usual and self.out.says(item) == calm.says(item)
        if not there or not there <= places or not same or not others:
            return Counter()
        return Counter({entry: n for entry, n in lost.items() if moves(entry)})

    def _taken_back(self, out: Outcome) -> set[Place]:
        """Return the tables where a run wrote something for the item, and nothing is left."""
        left = {place for place, _ in out.own.get(self.item, ())}
        written = out.writes.get(self.item, Counter[Place]())
        return {place for place, times in written.items() if times > 1 and place not in left}

    def standing(self, other: Outcome) -> Counter[Entry]:
        """Return the rows that stand as usual, and that are not there in another refusal.

        Those that are taken back there, and those that the call made of which no answer
        came, and of which its service was told nothing since.

        Args:
            other: What comes out where something else is refused.
        """
        mine = self.out.own.get(self.item, Counter[Entry]())
        kept = mine & self.clean.calm.own.get(self.item, Counter[Entry]())
        there = {place for place, _ in other.own.get(self.item, ())}
        places = (self._taken_back(other) | self._unanswered()) - there
        return Counter({entry: n for entry, n in kept.items() if entry[0] in places})

    def _unanswered(self) -> set[Place]:
        """Return where a call wrote of which the code never heard, and which it left so."""
        calm, found = self.clean.calm, set[Place]()
        new = self.out.served.get(self.item, {}).keys() - calm.served.get(self.item, {}).keys()
        for refusal in self.refusals:
            if refusal.entity == self.item and refusal.kind is LostReply:
                for call in calm.served_by(self.item, refusal.operation):
                    if not any(service == call[0] for service, _, _ in new):
                        found |= calm.served[self.item][call]
        return found
