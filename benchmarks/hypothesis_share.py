"""Hypothesis's share: examples a second, and what of an example is our run.

The eight messages in plain `def`, and for each example a schedule of up to two crashes,
before or after the effect of a delivery.
The yardsticks, in the same process: an empty `@given` test, and the same schedules run
without Hypothesis. Must reach 1,000 examples a second under Hypothesis.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmarks.eight_messages import eight
from benchmarks.measure import best, table
from chaosharness import Crash, Schedule, chaos_settings, chaos_test, schedules
from chaosharness.strategies.drawing import deck_for

EXAMPLES = 300
SAMPLES = 9
FAULTS_MAX = 2
KINDS = (Crash,)
MUST = 1_000


def quiet(make: Callable[..., settings], **words: Any) -> settings:
    """Return settings that generate only, and keep nothing."""
    return make(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        **words,
    )


def per_example(test: Callable[[], None]) -> float:
    """Return CPU seconds an example: the best of several campaigns."""
    figures = []
    for _ in range(SAMPLES):
        gc.collect()
        begun = time.process_time()
        test()
        figures.append((time.process_time() - begun) / EXAMPLES)
    return min(figures)


def main() -> None:
    """Print the table."""
    system = eight()
    strategy = schedules(system, faults_max=FAULTS_MAX, kinds=KINDS)
    random, planned = quiet(settings), quiet(chaos_settings)

    def run(schedule: Schedule) -> None:
        system.run(None, schedule)

    def draw(schedule: Schedule) -> None:
        """Run nothing."""

    def number(number: int) -> None:
        """Do nothing."""

    def judge(run: Any) -> None:
        """The system claims nothing: say that something looks at the run."""

    deck = deck_for(system, faults_max=FAULTS_MAX, kinds=KINDS)
    chance = Random(8)
    drawn = [deck.read(lambda top: chance.randint(0, top)) for _ in range(200)]
    alone = best(lambda: [run(one) for one in drawn], runs=1, samples=10) / len(drawn)
    rows = [("", "us an example", "examples a second", "of it our run")]
    measured = {
        "empty @given test": random(given(st.integers())(number)),
        "schedule drawn by chance, nothing run": random(given(strategy)(draw)),
        "schedule planned, nothing run": planned(given(strategy)(draw)),
        "schedule drawn by chance, run": random(given(strategy)(run)),
        "schedule planned, run": planned(given(strategy)(run)),
        "@chaos_test": chaos_test(system, faults_max=FAULTS_MAX, kinds=KINDS, settings=planned)(
            judge
        ),
    }
    figures = {name: per_example(test) for name, test in measured.items()}
    for name, cost in {"without Hypothesis": alone, **figures}.items():
        runs = name.endswith(", run") or name.startswith(("@chaos_test", "without"))
        share = f"{alone / cost:.0%}" if runs else "-"
        rows.append((name, f"{cost * 1e6:,.0f}", f"{1 / cost:,.0f}", share))
    table("Eight messages under Hypothesis", rows)
    reached = 1 / figures["schedule planned, run"]
    print(f"  must reach {MUST:,} examples a second: {'yes' if reached >= MUST else 'NO'}")


if __name__ == "__main__":
    main()
