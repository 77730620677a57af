"""Molly's seven protocols, with Molly's faults: runs to the first counterexample.

Faults are lost requests, lost replies and crashes, up to three of them; the calm run counts as
one. Beside ours stand the figures that Molly's authors have published, of their search and of
chance. A process of ours may die between two messages that it sends, of theirs between two
rounds only; so the figures are near each other, and not of the same thing.

    python -m benchmarks lineage

Source:
    Alvaro, Rosen, Hellerstein, "Lineage-driven Fault Injection", SIGMOD 2015, figure 12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from benchmarks.measure import table
from chaosharness import Crash, LostReply, LostRequest, System, explore
from models.protocols import broadcast, commit, replication, three_phase

KINDS = (LostRequest, LostReply, Crash)
FAULTS_MAX = 3
RUNS_MAX = 3_000
MODES = ("lineage", "portfolio", "small-first")


@attrs.frozen
class Row:
    """A protocol, and what Molly needs for it: its search, and chance in the mean."""

    build: Callable[[], System]
    molly: int
    chance: float


ROWS = (
    Row(broadcast.simple_broadcast, 2, 4.08),
    Row(broadcast.retry_broadcast, 3, 75.24),
    Row(broadcast.classic_broadcast, 5, 116.16),
    Row(commit.two_phase, 2, 5.48),
    Row(commit.cooperative_two_phase, 3, 8.56),
    Row(three_phase.three_phase, 55, 40.60),
    Row(replication.replication, 38, 1_183.12),
)


def runs_to_find(system: System, mode: Any, runs_max: int = RUNS_MAX) -> int:
    """Return the run that broke a claim first, from 1; 0 if none did."""
    campaign = explore(
        system,
        mode=mode,
        kinds=KINDS,
        faults_max=FAULTS_MAX,
        runs_max=runs_max,
        stop_at_first=True,
    )
    return campaign.counterexamples[0].found_after if campaign.counterexamples else 0


def main() -> None:
    """Print the table."""
    rows = [("protocol", "Molly", "its chance", *MODES)]
    sums = [0] * len(MODES)
    for row in ROWS:
        system = row.build()
        found = [runs_to_find(system, mode) for mode in MODES]
        sums = [total + one for total, one in zip(sums, found, strict=True)]
        shown = [str(one) if one else f"none in {RUNS_MAX:,}" for one in found]
        rows.append((system.name, str(row.molly), f"{row.chance:,.1f}", *shown))
    molly, chance = sum(row.molly for row in ROWS), sum(row.chance for row in ROWS)
    rows.append(("sum", str(molly), f"{chance:,.1f}", *[f"{one:,}" for one in sums]))
    table("Runs to the first counterexample", rows)


if __name__ == "__main__":
    main()
