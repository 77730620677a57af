"""Where the bytecodes of a run go: by function and by room, the same figures on every machine.

python -m benchmarks.where                       # the order flow; needs CPython 3.13
python -m benchmarks.where "saga: good" 60       # another system, and how many functions
python -m benchmarks.where "order: good" 40 idle # a run without any workload item
python -m benchmarks.where "order: good" 40 search  # 60 runs of a search, judged
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

from benchmarks.bytecodes import systems
from benchmarks.measure import table, watch
from chaosharness import System
from chaosharness.search.explore import explore

_ROOT = Path(__file__).parent.parent
_WARM = 10
"""Runs before the one that is counted: what never changes is not looked at any more."""


def by_code(action: Callable[[], object]) -> Counter[CodeType]:
    """Return how many bytecodes each function took, itself only."""
    found: Counter[CodeType] = Counter()

    def instruction(code: CodeType, _: int) -> None:
        found[code] += 1

    watch(action, instruction)
    return found


def place(code: CodeType) -> str:
    """Return the file of a function, from the root of the repository."""
    path = Path(code.co_filename)
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else path.name


def room(code: CodeType) -> str:
    """Return the room of a function: a folder of the instrument, else models or others."""
    parts = place(code).split("/")
    if parts[0] != "chaosharness":
        return parts[0] if len(parts) > 1 else "other"
    return parts[1].removesuffix(".py")


def action_of(system: System, what: str) -> Callable[[], Any]:
    """Return what is counted: a run, a run without items, or a search of 60 runs."""
    if what == "idle":
        return lambda: system.run(())
    if what == "search":
        return lambda: explore(system, faults_max=1, runs_max=60)
    return system.run


def main() -> None:
    """Print the table."""
    if sys.version_info < (3, 13):
        print("bytecodes are counted on CPython 3.13")
        return
    name, many, what = (*sys.argv[1:], *("order: good", "40", "run")[len(sys.argv) - 1 :])
    action = action_of(systems()[name], what)
    for _ in range(_WARM):
        action()
    found = by_code(action)
    total = sum(found.values())
    rooms: Counter[str] = Counter()
    for code, times in found.items():
        rooms[room(code)] += times
    print(f"{total:,} bytecodes")
    rows = [(one, f"{times:,}", f"{times / total:.1%}") for one, times in rooms.most_common()]
    table("by room", [("room", "bytecodes", "share"), *rows])
    rows = [
        (f"{place(code)}:{code.co_firstlineno}", code.co_qualname, f"{times:,}")
        for code, times in found.most_common(int(many))
    ]
    table("by function", [("file", "function", "bytecodes"), *rows])


if __name__ == "__main__":
    main()
