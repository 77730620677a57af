"""Definitions of each engine, mutated at random and run: taken, refused in clear words, or wrong.

    python -m benchmarks mutated_definitions

Wrong is any exception but one of ours, a message that no one would read, and a run that has no
verdict. The slowest one stands beside, in processor time.
"""

from __future__ import annotations

import time
from collections import Counter

from tests.orchestrators.mutated import SUBJECTS, fault_of

MANY = 2_000


def main() -> int:
    """Print the table, and what is wrong; return 1 where anything is."""
    bad = 0
    print(f"{'engine':<16}{'taken':>8}{'refused':>9}{'wrong':>7}{'slowest, s':>12}")
    for name, subject in SUBJECTS.items():
        counts: Counter[str] = Counter()
        slowest = 0.0
        for seed in range(MANY):
            begun = time.process_time()
            how, why = fault_of(subject, seed)
            slowest = max(slowest, time.process_time() - begun)
            counts[how] += 1
            if how == "wrong":
                bad += 1
                print(f"  {name}, seed {seed}: {why}")
        print(
            f"{name:<16}{counts['taken']:>8,}{counts['refused']:>9,}{counts['wrong']:>7}"
            f"{slowest:>12.2f}"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
