"""The self-check: one schedule, one history. In this process twice, and in another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

from chaosharness.counterexample import items_for, plain_items
from chaosharness.errors import ChaosharnessError, Nondeterminism
from chaosharness.kernel.history import History, RawEvent, encode
from chaosharness.schedule import Schedule
from chaosharness.search.target import load_target
from chaosharness.system import Run, System

OTHER_SEED: Final = "4242"
TIMEOUT_S: Final = 120
_MODULE: Final = "chaosharness.search.determinism"


def check_determinism(
    system: System,
    schedule: Schedule | None = None,
    *,
    items: Sequence[Any] | None = None,
    target: str = "",
    hash_seed: str = OTHER_SEED,
) -> Run:
    """Run a schedule twice, and see that the two histories are the same, byte for byte.

    Args:
        system: The system.
        schedule: The faults; calm by default.
        items: The workload; the examples of the entry by default.
        target: Where the system is found, as `module:attribute`. With it, the schedule is
            run once more in a process of its own, under another PYTHONHASHSEED.
        hash_seed: That PYTHONHASHSEED.

    Returns:
        The first run.

    Raises:
        Nondeterminism: They differ; the message shows the first event that does.
    """
    schedule = Schedule() if schedule is None else schedule
    first = system.run(items, schedule)
    compare(first.history, system.run(items, schedule).history, schedule=repr(schedule))
    if target:
        values = None if items is None else plain_items(items)
        events = elsewhere(target, schedule, values, hash_seed=hash_seed)
        mine = [encode(raw).decode("utf-8", "surrogatepass") for raw in first.history.raw]
        _compare_texts(mine, events, f"{schedule!r}, the second under another hash seed")
    return first


def compare(first: History, second: History, *, schedule: str) -> None:
    """See that two histories of one schedule are the same.

    Raises:
        Nondeterminism: They are not.
    """
    if first.raw == second.raw:
        return
    mine, other = [[_text(raw) for raw in history.raw] for history in (first, second)]
    _compare_texts(mine, other, schedule)


def _text(raw: RawEvent) -> str:
    return encode(raw).decode("utf-8", "surrogatepass")


def _compare_texts(first: list[str], second: list[str], schedule: str) -> None:
    count = min(len(first), len(second))
    at = next((at for at in range(count) if first[at] != second[at]), count)
    if at == len(first) == len(second):
        return
    sides = [side[at].strip() if at < len(side) else "(no event)" for side in (first, second)]
    raise Nondeterminism(index=at, first=sides[0], second=sides[1], schedule=schedule)


def elsewhere(
    target: str, schedule: Schedule, items: Sequence[Any] | None, *, hash_seed: str
) -> list[str]:
    """Run a schedule in a process of its own; return the events as text, one spelling each.

    Raises:
        ChaosharnessError: The other process could not do it; the message is its own.
    """
    question = {"target": target, "faults": schedule.to_json(), "items": items}
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": os.pathsep.join(one or os.getcwd() for one in sys.path),
    }
    answer = subprocess.run(
        [sys.executable, "-m", _MODULE],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogatepass",
        env=environment,
        timeout=TIMEOUT_S,
        check=False,
    )
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["it said nothing"]
        raise ChaosharnessError(
            f"{target} could not be run in another process (PYTHONHASHSEED={hash_seed}): "
            f"{lines[-1]}"
        )
    events: list[str] = json.loads(answer.stdout)
    return events


def main() -> None:
    """Answer the question of `elsewhere`: in the process that it starts."""
    question = json.loads(sys.stdin.read())
    try:
        system = load_target(question["target"])
        items = question["items"]
        workload = None if items is None else items_for(system, items)
        run = system.run(workload, Schedule.from_json(question["faults"]))
    except ChaosharnessError as error:
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
    json.dump([_text(raw) for raw in run.history.raw], sys.stdout)


if __name__ == "__main__":
    main()
