"""How much of a campaign of 500 runs is spent on reference runs and on judging.

    python -m benchmarks judging
    python -m benchmarks.judging wallet trip --runs 500    # those whose name begins so

Nothing is claimed. The share is of the process's own time, everything of `explore` in it:
searching, running, judging, reference runs, shrinking. Wanted: a quarter at most. What the
garbage collector takes has a column of its own, wherever it falls: it is off while a run lasts,
and what the run left is then looked through by whoever goes on.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from time import process_time
from typing import Any

import attrs

from benchmarks.measure import table
from benchmarks.nothing_claimed import RIGHT
from chaosharness import Property, System, assumed, explore
from models.order import broken as order
from models.small import cashier, tickets, trip, wallet

RUNS = 500
BROKEN: tuple[Callable[[], System], ...] = (
    order.charge_without_key,
    order.committed_and_never_published,
    order.compensates_an_unknown_outcome,
    cashier.moves_on_after_a_timeout,
    tickets.cancelled_is_not_undone,
    trip.commits_before_it_works,
    wallet.counts_in_python,
)


@attrs.define
class Watched:
    """What judging took so far, and what the garbage collector did, in seconds of the process."""

    judging_s: float = 0.0
    collecting_s: float = 0.0
    _began: float = 0.0

    def collects(self, phase: str, _: object) -> None:
        """Be told by the garbage collector that it begins, or ends."""
        if phase == "start":
            self._began = process_time()
        else:
            self.collecting_s += process_time() - self._began

    def over(self, claim: Property) -> Property:
        """Return the same claim, with a watch on it."""
        return attrs.evolve(claim, judge=self._timed(claim.judge), tested=self._timed(claim.tested))

    def _timed(self, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def timed(evidence: Any) -> Any:
            collected, began = self.collecting_s, process_time()
            try:
                return function(evidence)
            finally:
                self.judging_s += process_time() - began - (self.collecting_s - collected)

        return timed


def share(build: Callable[[], System], runs: int) -> tuple[str, ...]:
    """Return a line on one model."""
    system, watched = build(), Watched()
    claims = [watched.over(one) for one in assumed(system)]
    gc.callbacks.append(watched.collects)
    began = process_time()
    try:
        campaign = explore(system, properties=claims, runs_max=runs, mode="small-first")
    finally:
        gc.callbacks.remove(watched.collects)
    whole = process_time() - began
    name = f"{build.__module__.removeprefix('models.')}.{build.__name__}"
    made = str(system.family().made)
    parts = f"{watched.collecting_s / whole:.0%}", f"{watched.judging_s / whole:.0%}"
    return name, campaign.result, f"{campaign.runs:,}", made, f"{whole:.1f} s", *parts


def main(arguments: Sequence[str] = ()) -> int:
    """Print a line for each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judging")
    parser.add_argument("names", nargs="*", help="only models whose name begins so")
    parser.add_argument("--runs", type=int, default=RUNS)
    given = parser.parse_args(arguments)
    rows = []
    for build in (*RIGHT.values(), *BROKEN):
        if not given.names or any(build.__name__.startswith(one) for one in given.names):
            rows.append(share(build, given.runs))
    heads = ("model", "result", "runs", "reference runs", "CPU", "collector", "judging")
    table(f"share of judging in a campaign of {given.runs} runs", [heads, *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
