"""The self-check: one schedule, one history. In this process twice, and in another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from chaosharness.counterexample import items_for, plain_items, types_of
from chaosharness.errors import ChaosharnessError
from chaosharness.schedule import Schedule
from chaosharness.search.target import load_target
from chaosharness.system import Run, System
from chaosharness.system.twice import compare, compare_texts, text_of

OTHER_SEED: Final = "4242"
SEEDS: Final = ("1", "2", "3", "5", "8")
"""Hash seeds that are tried where none is named: the order of two words differs in one of them
with a probability of 15 in 16, in every second one by chance."""

CAMPAIGN_SEEDS: Final = 2
"""How many of these a campaign tries at its end."""

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
        types = types_of(system, items or ())
        events = elsewhere(target, schedule, values, types, hash_seed=hash_seed)
        mine = [text_of(raw) for raw in first.history.raw]
        compare_texts(mine, events, f"{schedule!r}, the second under another hash seed")
    return first


def elsewhere(
    target: str,
    schedule: Schedule,
    items: Sequence[Any] | None,
    types: Sequence[str] = (),
    *,
    hash_seed: str,
) -> list[str]:
    """Run a schedule in a process of its own; return the events as text, one spelling each.

    Args:
        target: Where the system is found.
        schedule: The faults.
        items: The workload as plain values; the examples by default.
        types: The names of their types, where these differ.
        hash_seed: The PYTHONHASHSEED there.

    Raises:
        ChaosharnessError: The other process could not do it; the message is its own.
    """
    return others(target, schedule, items, [hash_seed], types)[hash_seed]


def others(
    target: str,
    schedule: Schedule,
    items: Sequence[Any] | None,
    hash_seeds: Iterable[str],
    types: Sequence[str] = (),
) -> dict[str, list[str]]:
    """Run a schedule in processes of their own, side by side, each under its PYTHONHASHSEED.

    Returns:
        The events of each, as text, by hash seed.

    Raises:
        ChaosharnessError: One of them could not do it; the message is its own.
    """
    asked = {"target": target, "faults": schedule.to_json(), "items": items, "types": list(types)}
    question = json.dumps(asked)
    started = {seed: _start(seed) for seed in hash_seeds}
    answers = {}
    try:
        for seed, process in started.items():
            failed = f"{target} could not be run in another process (PYTHONHASHSEED={seed})"
            answers[seed] = _answer(process, question, failed)
    finally:
        for process in started.values():
            process.kill()
    return answers


def _start(hash_seed: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": os.pathsep.join(one or os.getcwd() for one in sys.path),
    }
    return subprocess.Popen(
        [sys.executable, "-m", _MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )


def _answer(process: subprocess.Popen[bytes], question: str, failed: str) -> list[str]:
    try:
        asked = question.encode("utf-8", "surrogatepass")
        answer, complaints = process.communicate(asked, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise ChaosharnessError(f"{failed}: no answer within {TIMEOUT_S} s") from None
    if not answer:
        lines = complaints.decode("utf-8", "backslashreplace").strip().splitlines()
        if process.returncode == 0:
            lines = ["it ended before there was a result, with exit code 0"]
        raise ChaosharnessError(f"{failed}: {(lines or ['it said nothing'])[-1]}")
    said: dict[str, Any] = json.loads(answer.decode("utf-8", "surrogatepass"))
    if "failed" in said:
        raise ChaosharnessError(f"{failed}: {said['failed']}")
    events: list[str] = said["events"]
    return events


def other_seeds(count: int = len(SEEDS)) -> list[str]:
    """Return hash seeds that are not that of this process."""
    return [seed for seed in SEEDS if seed != os.environ.get("PYTHONHASHSEED")][:count]


def same_elsewhere(target: str, run: Run, hash_seeds: Iterable[str] = ()) -> None:
    """See that a run is the same in other processes, under other hash seeds.

    Args:
        target: Where its system is found.
        run: The run.
        hash_seeds: Which; by default two that are not that of this process.

    Raises:
        Nondeterminism: It is not.
        ChaosharnessError: They could not run it.
    """
    mine = [text_of(raw) for raw in run.history.raw]
    seeds = tuple(hash_seeds) or other_seeds(CAMPAIGN_SEEDS)
    items, types = plain_items(run.items), types_of(run.system, run.items)
    for seed, events in others(target, run.schedule, items, seeds, types).items():
        what = f"{run.schedule!r}, the second in another process with PYTHONHASHSEED={seed}"
        compare_texts(mine, events, what)


def main() -> None:
    """Answer the question of `elsewhere`: in the process that it starts."""
    question = json.loads(sys.stdin.buffer.read().decode("utf-8", "surrogatepass"))
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever the user's code prints is no answer, whichever way it goes
    said: dict[str, Any] = {}
    try:
        system = load_target(question["target"])
        items = question["items"]
        workload = None if items is None else items_for(system, items, question["types"])
        run = system.run(workload, Schedule.from_json(question["faults"]))
        said["events"] = [text_of(raw) for raw in run.history.raw]
    except ChaosharnessError as error:
        said["failed"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    with os.fdopen(answer, "wb") as pipe:
        pipe.write(json.dumps(said).encode("utf-8", "surrogatepass"))


if __name__ == "__main__":
    main()
    # here and now: what the user's code has left (threads, handlers of atexit) is not waited for
    getattr(os._exit, "stands_for", os._exit)(0)
