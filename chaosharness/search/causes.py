"""Which causes the broken runs of a campaign have, each told once.

What the user claimed is answered by itself: a claim that a run breaks is told. What is only
taken for granted speaks with one voice: a run is told by the heaviest thing it breaks, and
what comes with it only ever together is told beneath it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs

from chaosharness.campaign import Group, Question
from chaosharness.checkers.breach import Breach
from chaosharness.checkers.breach import Group as Key
from chaosharness.checkers.property import in_words
from chaosharness.counterexample import Counterexample
from chaosharness.faults import Fault

GROUPS_MAX: Final = 12
"""Causes of one property that are told on their own: there is enough to mend."""


@attrs.define
class Cause:
    """What is known of one cause.

    Attributes:
        breach: As it was seen first.
        runs: Runs that showed it.
        found: Its counterexample; None while it comes only with something heavier.
        above: The heavier cause that it came with first, if it did.
    """

    breach: Breach
    runs: int = 0
    found: Counterexample | None = None
    above: Key | None = None
    _operations: dict[int, dict[str, None]] = attrs.field(factory=dict, init=False)

    def saw(self, struck: Sequence[Fault]) -> None:
        """Count a run, and where its faults struck."""
        self.runs += 1
        places = self._operations.setdefault(len(struck), {})
        places.update(dict.fromkeys(fault.site.operation for fault in struck))

    def elsewhere(self) -> tuple[str, ...]:
        """Return at which other operations as few faults did the same."""
        if self.found is None:
            return ()
        schedule = self.found.schedule
        known = {fault.site.operation for fault in schedule}
        return tuple(one for one in self._operations.get(len(schedule), ()) if one not in known)


@attrs.define
class Causes:
    """All causes that a campaign has seen."""

    _known: dict[Key, Cause] = attrs.field(factory=dict, init=False)
    _questions: dict[Key, Cause] = attrs.field(factory=dict, init=False)

    def take(self, breaches: Iterable[Breach], struck: Sequence[Fault]) -> list[Cause]:
        """Count what one run broke; return what is told by it, and was not told before.

        Args:
            breaches: What it broke, the heaviest first, questions included.
            struck: The faults that found their site.
        """
        fresh = []
        for leading, together in _voices(breaches):
            cause = self._saw(leading, struck)
            if cause.found is None:
                fresh.append(cause)
            for one in together:
                lesser = self._saw(one, struck)
                lesser.above = lesser.above or leading.group
        return fresh

    def _saw(self, breach: Breach, struck: Sequence[Fault]) -> Cause:
        known = self._questions if breach.question else self._known
        cause = known.setdefault(breach.group, Cause(breach))
        cause.saw(struck)
        return cause

    def know(self, breach: Breach, found: Counterexample) -> None:
        """Take a cause as told by a counterexample that is known from elsewhere."""
        self._known[breach.group] = Cause(breach, found=found)

    def met(self) -> list[Counterexample]:
        """Return the counterexamples of causes that runs have shown."""
        return [one.found for one in self._known.values() if one.found is not None and one.runs]

    def heavier(self, breaches: Iterable[Breach], than: Cause) -> Breach | None:
        """Return what a run is told by, where it shows a cause together with a heavier one."""
        for leading, together in _voices(breaches):
            if any(one.group == than.breach.group for one in together):
                return leading
        return None

    def is_told(self, breach: Breach) -> bool:
        """Say whether a cause has its counterexample."""
        known = self._known.get(breach.group)
        return known is not None and known.found is not None

    def first_of(self, name: str) -> Key | None:
        """Return the first told cause of a property that has enough of them; else None."""
        told = [
            one.breach.group
            for one in self._known.values()
            if one.breach.property.name == name and one.found is not None
        ]
        return told[0] if len(told) >= GROUPS_MAX else None

    # ---- what came of it

    def _told(self) -> list[tuple[Cause, Counterexample]]:
        told = [(one, one.found) for one in self._known.values() if one.found is not None]
        # Needing no fault first; then claims, and the worst harm. The rest as it was found.
        return sorted(told, key=lambda pair: (bool(pair[1].schedule), pair[0].breach.order()))

    def counterexamples(self) -> tuple[Counterexample, ...]:
        """Return one for each cause, the heaviest first."""
        return tuple(found for _, found in self._told())

    def groups(self) -> tuple[Group, ...]:
        """Return what else is known of each counterexample, in the same order."""
        return tuple(
            Group(
                property=cause.breach.property.name,
                kind=found.kind,
                place=found.place,
                runs=cause.runs,
                operations=cause.elsewhere(),
                together=tuple(self._beneath(cause)),
                calm=not found.schedule,
            )
            for cause, found in self._told()
        )

    def _beneath(self, cause: Cause) -> Iterator[str]:
        for one in self._known.values():
            if one.found is None and self._root(one) == cause.breach.group:
                yield in_words(one.breach.property.name, one.breach.findings[0].summary)

    def _root(self, cause: Cause) -> Key | None:
        """Return the told cause that another is told beneath, from one to the next."""
        above, passed = cause.above, {cause.breach.group}
        while above is not None and above not in passed:
            upper = self._known.get(above)
            if upper is None or upper.found is not None:
                return above
            passed.add(above)
            above = upper.above
        return None

    def questions(self) -> tuple[Question, ...]:
        """Return what only the user can decide."""
        return tuple(
            Question(
                property=cause.breach.property.name,
                kind=cause.found.kind,
                place=cause.found.place,
                summary=cause.found.findings[0].summary,
                runs=cause.runs,
                schedule=repr(cause.found.schedule),
            )
            for cause in self._questions.values()
            if cause.found is not None
        )


def told_by(breaches: Iterable[Breach]) -> list[Breach]:
    """Return what a run is told by, the heaviest first: one breach for each voice."""
    return [leading for leading, _ in _voices(breaches)]


def _voices(breaches: Iterable[Breach]) -> Iterator[tuple[Breach, list[Breach]]]:
    """Yield what a run is told by, each with what is told beneath it.

    Each claim of the user's has a voice of its own; what is taken for granted has one, and
    each question.
    """

    def voice(one: Breach) -> tuple[str, ...]:
        if one.question:
            return ("?", *one.group)
        return ("claim", one.property.name) if one.claimed else ("assumed",)

    voices: dict[tuple[str, ...], list[Breach]] = {}
    for one in sorted(breaches, key=Breach.order):
        voices.setdefault(voice(one), []).append(one)
    for leading, *together in voices.values():
        yield leading, together
