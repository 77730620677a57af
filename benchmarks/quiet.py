"""That right systems become quiet: every single fault of each, of every length that is tried.

    python -m benchmarks.quiet               # all of them: some minutes
    python -m benchmarks.quiet order         # those whose name begins so

The right models, the mended services of `tests/incidents`, and a dozen loops that are driven by
time, which put nothing aside: they are spared poison. A run that ends in any other way than quiet
is printed with its schedule. Ends with 1 if there is one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.certify import subjects
from benchmarks.measure import table
from chaosharness import Poison, Schedule, System
from chaosharness.search.sites import candidates
from tests.system.periodic import SYSTEMS

INCIDENTS = Path(__file__).parent.parent / "tests" / "incidents"


def systems() -> Iterator[tuple[str, System]]:
    """Yield the right systems, with their names."""
    for subject in subjects():
        yield subject.name, subject.system
    for path in sorted(INCIDENTS.glob("*.py")):
        if not path.stem.startswith("test_"):
            yield f"incident: {path.stem}", import_module(f"tests.incidents.{path.stem}").right
    for system in SYSTEMS:
        yield f"periodic: {system.name}", system


def main(arguments: Sequence[str] = ()) -> int:
    """Run all single faults, print a table, and say what did not become quiet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="beginnings of names; all by default")
    options = parser.parse_args(arguments)
    rows: list[tuple[str, ...]] = [("system", "single faults", "not quiet", "CPU s")]
    loud: list[str] = []
    runs = 0
    for name, system in systems():
        if options.names and not name.startswith(tuple(options.names)):
            continue
        begun, before = time.process_time(), len(loud)
        calm = system.run()
        spared = Poison if name.startswith("periodic") else ()
        faults = [one for one in candidates(calm) if not isinstance(one, spared)]
        schedules = [Schedule(), *(Schedule([fault]) for fault in faults)]
        for schedule in schedules:
            ending = system.run(None, schedule).ending
            if ending.verdict != "quiet":
                loud.append(f"{name}: {ending.verdict}, {ending.reason}: {schedule!r}")
        runs += len(schedules)
        seconds = time.process_time() - begun
        rows.append((name, f"{len(schedules) - 1:,}", str(len(loud) - before), f"{seconds:,.0f}"))
    if not runs:
        parser.error(f"no system's name begins with {' or '.join(options.names)}")
    rows.append(("all", f"{runs:,} runs", str(len(loud)), ""))
    table("Not quiet, of right systems", rows)
    print("\n".join(loud))
    return 1 if loud else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
