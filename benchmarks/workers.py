"""What processes gain: the same search by none, one, two and four of them.

    python -m benchmarks workers                # 500 runs of the order flow
    python -m benchmarks.workers --runs 30000   # to the end of its pairs, mildest sizes
    python -m benchmarks.workers --workers 0 2  # with these numbers of processes
    python -m benchmarks.workers --runs 3000 --workers 0 2 --times 7    # in turns, seven of each

CPU seconds of this process and of its children, since those of the clock say how busy the machine
was. `gain` is what n processes do at once if each has a core: n times the CPU of one process by
itself, divided by the CPU of all of them; so 2.0 is all that two processes can give. One search
costs a tenth more or less from one minute to the next: with `--times` the numbers take turns, and
the last table holds their sums.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

import attrs

from benchmarks.measure import table
from chaosharness import Campaign, explore
from models.order import right

RUNS: Final = 500
NUMBERS = (0, 1, 2, 4, 0)
"""Nobody twice: the machine is not the same from one minute to the next."""


@attrs.frozen
class Measured:
    """One search, measured."""

    workers: int
    runs: int
    said: tuple[str, ...]
    digest: str
    own_s: float
    children_s: float
    real_s: float

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all processes."""
        return self.own_s + self.children_s


def _digest(campaign: Campaign) -> str:
    """Return 8 hexadecimal digits that differ when anything in the result does."""
    text = json.dumps(campaign.to_json(), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def measure(workers: int, runs: int, faults: int = 2) -> Measured:
    """Search the order flow with one good order."""
    system = right.order_flow(examples=[right.GOOD])
    begun, before = time.perf_counter(), os.times()
    campaign = explore(
        system, faults_max=faults, runs_max=runs, mode="small-first", workers=workers
    )
    after = os.times()
    return Measured(
        workers,
        campaign.searched,
        tuple(campaign.sentences()),
        _digest(campaign),
        after.user + after.system - before.user - before.system,
        after.children_user + after.children_system - before.children_user - before.children_system,
        time.perf_counter() - begun,
    )


def main(arguments: Sequence[str] = ()) -> int:
    """Measure, print a table, and say whether all results are the same."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--faults", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="*", default=NUMBERS)
    parser.add_argument("--times", type=int, default=1)
    options = parser.parse_args(list(arguments))
    found = list(_all(options.workers * options.times, options.runs, options.faults))
    _print_each(found)
    if options.times > 1:
        _print_sums(found)
    for line in found[0].said:
        print(f"  {line}")
    same = len({one.digest for one in found}) == 1
    print(f"\n  the result is {'the same, byte for byte' if same else 'NOT THE SAME'}")
    return 0 if same else 1


def _all(numbers: Sequence[int], runs: int, faults: int) -> Iterator[Measured]:
    """Measure each in a process of its own: a search is quicker where one was before."""
    for workers in numbers:
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as alone:
            yield alone.submit(measure, workers, runs, faults).result()


def _print_each(found: Sequence[Measured]) -> None:
    alone = [one.cpu_s for one in found if not one.workers]
    rows = [("processes", "runs", "own CPU s", "children", "all", "gain", "real s", "result")]
    for one in found:
        gain = f"{one.workers * min(alone) / one.cpu_s:.2f}" if alone and one.workers else ""
        rows.append(
            (
                str(one.workers or "none"),
                f"{one.runs:,}",
                f"{one.own_s:.2f}",
                f"{one.children_s:.2f}",
                f"{one.cpu_s:.2f}",
                gain,
                f"{one.real_s:.1f}",
                one.digest,
            )
        )
    table("The order flow, one good order", rows)


def _print_sums(found: Sequence[Measured]) -> None:
    """Print the CPU seconds of all searches with one number of processes, and what they gain."""
    sums: dict[int, list[float]] = {}
    for one in found:
        sums.setdefault(one.workers, []).append(one.cpu_s)
    alone = sum(sums[0]) / len(sums[0]) if 0 in sums else None
    rows: list[tuple[str, ...]] = [("processes", "searches", "CPU s of one", "gain")]
    for workers, taken in sums.items():
        mean = sum(taken) / len(taken)
        gain = f"{workers * alone / mean:.2f}" if alone and workers else ""
        rows.append((str(workers or "none"), str(len(taken)), f"{mean:.2f}", gain))
    table("In turns", rows)


if __name__ == "__main__":
    os.nice(10)
    sys.exit(main(sys.argv[1:]))
