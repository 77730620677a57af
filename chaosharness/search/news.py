"""When a search has shown what it has to show: nothing new for long enough.

New is a cause of harm, once there is one: a search that has something to mend goes on for
twice as long as the last one took, and for `QUIET` runs at least. While there is none, new is
whatever happened in no run before.
"""

from __future__ import annotations

from typing import Final

import attrs

from chaosharness.search.marks import Fact, Marks

QUIET: Final = 100
"""Runs without another cause, after which no more are looked for; at least."""

TIMES: Final = 2
"""How many times as many runs as the last cause took there may be without another one."""

SILENT: Final = 200
"""Runs in which nothing happened that did not happen before, after which a search without any
finding ends: where it cannot finish its level anyway."""

ENOUGH: Final = 50
"""Runs by chance, from which on it can be said how often it still meets something new."""


@attrs.define
class News:
    """What a search has seen, and when it last saw something new.

    Attributes:
        causes_at: The run that showed the last new cause, from 1; 0 if none did.
        facts_at: The run in which something happened for the first time.
        dense: Runs by chance.
    """

    causes_at: int = 0
    facts_at: int = 0
    dense: int = 0
    _facts: set[Fact] = attrs.field(factory=set, init=False)
    _once: set[Fact] = attrs.field(factory=set, init=False)
    _by_chance: set[Fact] = attrs.field(factory=set, init=False)

    def saw(self, marks: Marks, run: int, *, by_chance: bool) -> None:
        """Take in what one run was like."""
        if not marks.facts <= self._facts:
            self._facts |= marks.facts
            self.facts_at = run
        if by_chance:
            self.dense += 1
            self._once -= marks.facts
            self._once |= marks.facts - self._by_chance
            self._by_chance |= marks.facts

    def found(self, run: int) -> None:
        """Note a new cause."""
        self.causes_at = run

    def quiet_for(self, runs: int, *, found: bool) -> int:
        """Return for how many runs there was nothing new, if that is long enough; else 0.

        Args:
            runs: Runs so far.
            found: Whether there is a finding.
        """
        since = runs - (self.causes_at if found else self.facts_at)
        enough = max(QUIET, TIMES * self.causes_at) if found else SILENT
        return since if since >= enough else 0

    def still_new(self) -> str:
        """Say how often chance still meets something new; nothing while that is not known.

        Source:
            I. J. Good, "The Population Frequencies of Species and the Estimation of Population
            Parameters", Biometrika 1953: what was seen once, by the number of draws.
        """
        if self.dense < ENOUGH:
            return ""
        if not self._once:
            return f"nothing that {self.dense:,} runs by chance met was met only once"
        every = max(1, round(self.dense / len(self._once)))
        which = "run" if every == 1 else f"{_ordinal(every)} run"
        return f"chance still meets something new about every {which}"


def _ordinal(number: int) -> str:
    last = number % 10
    teen = number % 100 in (11, 12, 13)
    ending = "th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(last, "th")
    return f"{number:,}{ending}"
