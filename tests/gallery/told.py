"""What the report of a broken twin must say, and the schedule that brings it out."""

from __future__ import annotations

import re

import attrs

from chaosharness import Property, Schedule
from chaosharness.counterexample import claimed
from chaosharness.faults import Fault
from chaosharness.reporting import to_text
from chaosharness.search.shrink import shrink
from chaosharness.search.target import load_target


@attrs.frozen
class Told:
    """What is told of one twin.

    Attributes:
        claim: What it breaks: by its name, or itself where the twin does not make it.
        words: What must stand in the first two sentences of the report, beneath the finding.
        faults: With which it breaks it.
        items: The workload, by the places of the examples; all of them by default.
        claimed: Whether with its own claims; else as those have it who claim nothing.
        in_finding: Whether the finding itself is the cause: the words are its first sentence's.
        slow: Whether that takes more than a second.
    """

    claim: str | Property
    words: str
    faults: list[Fault]
    items: tuple[int, ...] = ()
    claimed: bool = attrs.field(default=True, kw_only=True)
    in_finding: bool = attrs.field(default=False, kw_only=True)
    slow: bool = attrs.field(default=False, kw_only=True)

    def where(self, report: str) -> str:
        """Return the sentences of a report that must say it."""
        return first_of_the_finding(report) if self.in_finding else first_two_sentences(report)

    def report(self, target: str) -> str:
        """Run the schedule, see to it that all of it is needed, and return the report."""
        system = load_target(f"models.{target}")
        if not self.claimed:
            system.properties.clear()
        items = [system.examples[at] for at in self.items or range(len(system.examples))]
        claim = claimed(system, self.claim) if isinstance(self.claim, str) else self.claim
        found = shrink(system, claim, items, Schedule(self.faults))
        assert found.minimal
        return to_text(found)


def first_two_sentences(report: str) -> str:
    """Return what stands beneath the finding, up to the end of the second sentence."""
    return " ".join(_sentences(report, 2)[:2])


def first_of_the_finding(report: str) -> str:
    """Return the first sentence of the finding."""
    return _sentences(report, 1)[0]


def _sentences(report: str, paragraph: int) -> list[str]:
    """Split a paragraph into sentences: each ends with a full stop, whatever comes after it."""
    return re.split(r"(?<=[.?!]) ", " ".join(report.split("\n\n")[paragraph].split()))
