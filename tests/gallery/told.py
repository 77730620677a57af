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
        words: What must stand in the first two sentences of the report.
        faults: With which it breaks it.
        items: The workload, by the places of the examples; all of them by default.
        claimed: Whether with its own claims; else as those have it who claim nothing.
        slow: Whether that takes more than a second.
    """

    claim: str | Property
    words: str
    faults: list[Fault]
    items: tuple[int, ...] = ()
    claimed: bool = attrs.field(default=True, kw_only=True)
    slow: bool = attrs.field(default=False, kw_only=True)

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
    words = " ".join(report.split("\n\n")[2].split())
    return ". ".join(re.split(r"\. (?=[A-Z]|[a-z]+ )", words)[:2])
