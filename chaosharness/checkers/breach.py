"""What one run breaks: the findings of each property, cause by cause, the heaviest first.

The one place that says which of several broken promises a run is told by. Every door
asks it (`run.check`, a search, a replay), so that one bug has one explanation.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence

import attrs

from chaosharness.checkers.harm import rank
from chaosharness.checkers.property import Evidence, Finding, Property
from chaosharness.errors import PropertyViolated

Group = tuple[str, str, str]
"""Name of the property, kind and place of the finding: what a cause is told apart by."""


@attrs.frozen
class Breach:
    """What one run broke of one property, for one cause.

    Attributes:
        property: The property.
        findings: What was found, all of one group.
        number: Which of the claims it is, from 0.
    """

    property: Property
    findings: tuple[Finding, ...]
    number: int = 0

    @builtins.property
    def group(self) -> Group:
        """What is told apart from it as another cause."""
        return (self.property.name, *self.findings[0].group)

    @builtins.property
    def question(self) -> bool:
        """Whether only the user can say if it is right."""
        return self.findings[0].question

    @builtins.property
    def claimed(self) -> bool:
        """Whether somebody promised it; else it was taken for granted."""
        return not self.property.assumption

    def order(self) -> tuple[bool, bool, int, int]:
        """Return by what breaches are ranked: what the user claimed, then the worst harm."""
        return self.question, not self.claimed, rank(self.findings[0]), self.number

    def violation(self) -> PropertyViolated:
        """Return the exception that shows it."""
        found = self.property.violation(self.findings)
        found.findings, found.property = self.findings, self.property
        return found


def breaches(
    properties: Iterable[Property], evidence: Evidence, *, questions: bool = False
) -> list[Breach]:
    """Judge one run by some properties; return what it breaks, the heaviest first.

    Args:
        properties: The claims. A `sometimes` is about a campaign, and left out.
        evidence: The run.
        questions: Whether to return questions as well: last.
    """
    found: list[Breach] = []
    for number, one in enumerate(properties):
        if one.when != "sometimes":
            found += split(one, one.findings(evidence), number)
    return sorted((one for one in found if questions or not one.question), key=Breach.order)


def split(property: Property, findings: Sequence[Finding], number: int = 0) -> list[Breach]:
    """Sort the findings of one property by group, in the order in which they were found."""
    groups: dict[tuple[bool, str, str], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.question, *one.group), []).append(one)
    return [Breach(property, tuple(group), number) for group in groups.values()]
