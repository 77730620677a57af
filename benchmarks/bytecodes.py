"""What a run costs, in bytecodes: the same figure on every machine.

    python -m benchmarks bytecodes            # needs CPython 3.13

Each figure is the number of Python instructions of one run, counted by `sys.monitoring`, after a
first run that fills the caches: of the calm run, and of the runs of a fixed sample of single
faults (a crash at the first attempt of each handler and after that of each commit), on average.
The yardstick is what the same runs cost at commit 5e51f70, before it was asked whether a loop
is at rest. A run may cost 1.3 times that where no clock is read and nothing
polls, else 2.2 times.
"""

from __future__ import annotations

import sys
from typing import Final

import attrs

from benchmarks.certify import subjects
from benchmarks.colours import COLOURS, build
from benchmarks.eight_messages import eight
from benchmarks.measure import count, table
from chaosharness import Crash, Schedule, Site, System

FACTOR_MAX: Final = 1.3
FACTOR_MAX_OF_LOOPS: Final = 2.2

BEFORE: Final[dict[str, tuple[int, int]]] = {
    "order: good": (68_026, 82_182),
    "order: out of stock": (66_101, 80_331),
    "order: declined": (65_590, 80_095),
    "order: all three": (122_194, 139_370),
    "order: the last lamp": (95_700, 111_587),
    "saga: good": (50_606, 57_103),
    "saga: out of stock": (47_881, 54_816),
    "saga: undeliverable": (63_637, 70_463),
    "saga: two": (91_496, 99_332),
    "hybrid: good": (66_815, 72_395),
    "hybrid: two": (107_715, 114_723),
    "small: cashier": (11_066, 15_925),
    "small: tickets": (26_776, 30_028),
    "small: trip": (32_721, 35_889),
    "small: wallet": (111_447, 120_270),
    "small: watchers": (12_278, 15_415),
    "eight messages": (17_129, 22_236),
    "eight messages, plain": (20_925, 26_018),
    "eight messages, ports": (22_295, 27_410),
    "eight messages, asyncio": (26_566, 31_721),
    "eight messages, trio": (33_241, 38_457),
}
"""At commit 5e51f70, CPython 3.13.0: bytecodes of the calm run, and of a run with one fault."""


@attrs.frozen
class Cost:
    """Bytecodes of the calm run, and of a run with a fault of the sample."""

    calm: int
    faulty: int
    loops: bool


def sample(system: System) -> list[Schedule]:
    """Return schedules of one crash each, at sites that the calm run reaches."""
    found = []
    for operation, entity in sorted(system.run().reached):
        if operation.startswith("client."):
            continue
        if operation.endswith("/handle"):
            found.append(Schedule([Crash(Site(operation, "before", entity))]))
        elif operation.rpartition(".")[2] in ("commit", "put", "put_if_absent"):
            found.append(Schedule([Crash(Site(operation, "after", entity))]))
    return found


def measure(system: System) -> Cost:
    """Return what the runs of a system cost."""
    some = sample(system)
    total = 0
    for schedule in some:
        system.run(None, schedule)
        total += count(lambda schedule=schedule: system.run(None, schedule))  # type: ignore[misc]
    system.run()
    loops = any("/sleep" in operation for operation, _ in system.run().reached)
    return Cost(count(system.run), total // max(len(some), 1), loops)


def systems() -> dict[str, System]:
    """Return what is measured."""
    found = {one.name: one.system for one in subjects()}
    found["eight messages"] = eight()
    return {**found, **{f"eight messages, {colour}": build(colour) for colour in COLOURS}}


def main() -> None:
    """Print the table."""
    if sys.version_info < (3, 13):
        print("bytecodes are counted on CPython 3.13, whose figures the yardstick has")
        return
    rows = [("", "calm run", "times before", "one fault", "times before", "at most")]
    for name, system in systems().items():
        cost = measure(system)
        before = BEFORE.get(name)
        calm, faulty = (0, 0) if before is None else before
        rows.append(
            (
                name,
                f"{cost.calm:,}",
                f"{cost.calm / calm:.2f}" if calm else "-",
                f"{cost.faulty:,}",
                f"{cost.faulty / faulty:.2f}" if faulty else "-",
                f"{FACTOR_MAX_OF_LOOPS if cost.loops else FACTOR_MAX}",
            )
        )
    table("Bytecodes of a run (CPython 3.13; before: commit 5e51f70)", rows)


if __name__ == "__main__":
    main()
