"""What chooses the next schedule: the one thing that every mode of the search shares.

A planner is plain Python on `Schedule` values. Our own loop drives it (`search.explore`),
and so does the adapter behind Hypothesis's provider interface.
"""

from __future__ import annotations

from typing import Protocol

from chaosharness.schedule import Schedule
from chaosharness.system import Run


class Planner(Protocol):
    """Chooses schedules, and learns from what their runs reached.

    The caller asks, runs, and tells: `propose()`, `system.run(items, schedule)`,
    `observe(run)`. A planner must bear with a run that it did not propose (Hypothesis
    replays and shrinks on its own), and with a proposal that was never run: that one just
    does not count as tried.
    """

    def propose(self) -> Schedule | None:
        """Return the schedule to run next; None when this planner has nothing left.

        The first proposal is calm. None is final: it comes again at each later call.
        """

    def observe(self, run: Run) -> None:
        """Learn from a run: which sites it reached, which of its faults struck."""
