"""Some claims while runs are made to test them: how each stands, and the causes of its breaks."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from chaosharness.campaign import Result, Standing, runs_in_words
from chaosharness.checkers import Finding, Property, assumed
from chaosharness.checkers.breach import Breach, split
from chaosharness.checkers.property import check_properties
from chaosharness.errors import InvalidDefinition
from chaosharness.system import System
from chaosharness.system.parts import clipped

PATIENCE: Final = 300
"""Runs without any new cause, after which no more are expected of a property."""


def chosen(system: System, properties: Iterable[Property] | None) -> tuple[Property, ...]:
    """Return the properties to judge: given, or claimed, or else those assumed of any system.

    Raises:
        InvalidDefinition: One is no property, or two have one name; or the system is none.
    """
    if not isinstance(system, System):
        raise InvalidDefinition(
            f"{clipped(system)} is not a System: give the system itself, for example check(shop), "
            "and call the function first if one makes it"
        )
    if properties is None:
        properties = system.properties or assumed(system)
    claims = check_properties(properties)
    names = set()
    for one in claims:
        if one.name in names:
            raise InvalidDefinition(f"two properties of {system.name!r} are named {one.name!r}")
        names.add(one.name)
    return claims


@attrs.define
class Claim:
    """One property, and how it stands so far.

    Attributes:
        property: The property.
        number: Which of the claims it is, from 0.
        broken_in: The run that broke it first, from 1; 0 if none did.
        judged: Runs it was judged on.
        tested: Runs among them that put it to the test.
        reached: Runs that reached the case, for `sometimes`.
    """

    property: Property
    number: int = 0
    broken_in: int = 0
    judged: int = 0
    tested: int = 0
    reached: int = 0
    _groups: set[tuple[str, str]] = attrs.field(factory=set, init=False)
    _news: int = attrs.field(default=0, init=False)

    @builtins.property
    def broken(self) -> bool:
        """Whether a run broke it."""
        return self.broken_in > 0

    def take(
        self, tested: bool, findings: Sequence[Finding], *, tentative: bool = False
    ) -> list[Breach]:
        """Take in what one run showed; return what it breaks, and the questions it leaves.

        Args:
            tested: Whether it put the property to the test.
            findings: What it broke.
            tentative: Whether it had more faults than were asked for. Then it breaks the
                property only if as few as were asked for do: see `broke`.
        """
        self.judged += 1
        self.tested += tested
        if not findings:
            self.reached += self.property.when == "sometimes"
            return []
        if self.property.when == "sometimes":
            return []
        found = split(self.property, findings, self.number)
        if not tentative:
            self.broke(found)
        return found

    def broke(self, found: Iterable[Breach]) -> None:
        """Take in what broke it in the run that was judged last, or in one made from it."""
        groups = {one.findings[0].group for one in found if not one.question}
        if groups and not self.broken:
            self.broken_in = self.judged
        if not groups <= self._groups:
            self._groups |= groups
            self._news = self.judged

    @builtins.property
    def settled(self) -> bool:
        """Whether no further cause is to be expected of it.

        A claim that knows one sort of harm only has one cause. Others go on being judged.
        """
        if not self.broken:
            return bool(self.reached)
        one_sort = self._groups == {("", "")}
        late = self.judged - self._news >= PATIENCE
        return one_sort or late

    def doubt(self) -> str:
        """Say why the property is not known to hold although nothing broke it, if so."""
        if self.property.when == "sometimes":
            return "" if self.reached else f"never reached in {runs_in_words(self.judged)}"
        return "" if self.tested else f"never put to the test in {runs_in_words(self.judged)}"

    def standing(self, complete: bool) -> Standing:
        """Return how it came out."""
        result: Result = "unknown" if self.doubt() or not complete else "holds"
        if self.property.when == "sometimes" and self.reached:
            result = "holds"
        return Standing(
            name=self.property.name,
            when=self.property.when,
            result="violated" if self.broken else result,
            judged=self.judged,
            tested=self.tested,
            reached=self.reached,
            broken_in=self.broken_in,
            assumption=self.property.assumption,
        )
