"""How figures are taken: CPU time, the best of several short samples, a yardstick beside it."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from types import CodeType
from typing import Any


def best(function: Callable[[], object], *, runs: int, samples: int = 15) -> float:
    """Return CPU seconds per call: the best of `samples`, each of `runs` calls.

    The best, because noise on a shared machine only ever adds.
    """
    figures = []
    function()
    for _ in range(samples):
        gc.collect()
        begun = time.process_time()
        for _ in range(runs):
            function()
        figures.append((time.process_time() - begun) / runs)
    return min(figures)


def watch(action: Callable[[], object], instruction: Callable[[CodeType, int], object]) -> None:
    """Do something, and call `instruction` at each bytecode of it (CPython 3.13)."""
    monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
    tool = monitoring.PROFILER_ID
    monitoring.use_tool_id(tool, "chaosharness")
    try:
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, instruction)
        monitoring.set_events(tool, monitoring.events.INSTRUCTION)
        action()
        monitoring.set_events(tool, 0)
    finally:
        monitoring.free_tool_id(tool)


def count(action: Callable[[], object]) -> int:
    """Return how many bytecodes an action takes (CPython 3.13).

    It stands here, beside no system: the modules of a process that a system's functions lead to
    are looked at in each of its runs, and a figure would count those of other benchmarks too.
    """
    counted = 0

    def instruction(_: Any, __: int) -> None:
        nonlocal counted
        counted += 1

    watch(action, instruction)
    return counted


def simpy_event() -> float:
    """Return CPU seconds of one bare SimPy event: a process that waits, again and again."""
    import simpy

    def run() -> None:
        environment = simpy.Environment()

        def process():
            for _ in range(5_000):
                yield environment.timeout(1)

        environment.process(process())
        environment.run()

    return best(run, runs=2) / 5_000


def table(title: str, rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns."""
    print(f"\n{title}")
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        first, *rest = row
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        print("  " + "  ".join(cells))
