"""A workflow of five tasks on each engine: runs a second, and their ratio to the eight messages.

    python -m benchmarks engines     # with CPython 3.13 the bytecodes, too

One client starts one workflow; its five tasks return a number, one after the other. Calm, with
its history; nothing is judged. The native saga writes each step in a SQLite database, as it would
in production. Temporal once calm, and once with a worker that dies at its third activity, after
which the next one replays the whole history. The yardstick, in the same process: the eight
messages of `python -m benchmarks eight_messages`. The aims are what bare prototypes reached, which
had no faults, no sites and no history that names causes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, Final

import attrs

from benchmarks.eight_messages import eight
from benchmarks.measure import best, count, table
from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowTask,
    Conductor,
    Crash,
    Env,
    Schedule,
    Site,
    StepFunctions,
    System,
)
from chaosharness.orchestrators.saga import Orchestrator, Saga, SagaStore, Step

STEPS: Final = ("reserve", "charge", "pack", "ship", "mail")
WARM: Final = 10
RUNS: Final = 20
EIGHT_AIM: Final = 10_000
"""Runs a second that the eight messages were to reach: by it an aim becomes a ratio."""

ENDED: Final = {
    "native saga": "saga completed",
    "Step Functions": "execution succeeded",
    "Temporal": "workflow completed",
    "Conductor": "workflow completed",
    "Airflow": "dag run success",
}
"""What a run's history must say in the end, or nothing was measured."""


def native() -> System:
    """A saga of five steps, called by its orchestrator."""
    system = System("native saga")
    store = system.add(SagaStore("db"))
    saga = Saga("order", *(Step(name) for name in STEPS))

    @system.entry(examples=["o1"])
    def place(env: Env, order: str) -> None:
        db = env.connect(store)
        calls = {name: lambda command: 1 for name in STEPS}
        Orchestrator(saga, db, now_ms=env.now_ms, sleep=env.sleep, calls=calls).start(order)

    return system


def step_functions() -> System:
    """A state machine of five tasks."""
    states: dict[str, Any] = {
        name: {"Type": "Task", "Resource": name, "Next": after} for name, after in pairwise(STEPS)
    }
    states[STEPS[-1]] = {"Type": "Task", "Resource": STEPS[-1], "End": True}
    system = System("Step Functions")
    machines = {"order": {"StartAt": STEPS[0], "States": states}}
    engine = system.add(StepFunctions("sfn", machines=machines))

    @system.service("work")
    def work(env: Env) -> None:
        for name in STEPS:
            env.function(engine, name, lambda event, context: 1)

    @system.entry(examples=["o1"])
    def place(env: Env, order: str) -> None:
        client = env.client(engine)
        client.start_execution(stateMachineArn="order", name=order, input=json.dumps({}))

    return system


def temporal() -> System:
    """A workflow of five activities."""
    from benchmarks.temporal_workflow import ACTIVITIES, FiveSteps
    from chaosharness import Temporal

    system = System("Temporal")
    server = system.add(Temporal("temporal"))

    @system.service("work")
    def work(env: Env) -> None:
        env.worker(server, task_queue="q", workflows=[FiveSteps], activities=ACTIVITIES)

    @system.entry(examples=["o1"])
    async def place(env: Env, order: str) -> None:
        await env.client(server).start_workflow(FiveSteps.run, id=order, task_queue="q")

    return system


def conductor() -> System:
    """A workflow of five SIMPLE tasks."""
    tasks = [{"name": name, "taskReferenceName": name, "type": "SIMPLE"} for name in STEPS]
    system = System("Conductor")
    engine = system.add(Conductor("conductor", workflows=[{"name": "order", "tasks": tasks}]))

    def working(name: str) -> Callable[[], Any]:
        def task() -> Any:
            return {"done": 1}

        task.__name__ = name
        return task

    @system.service("work")
    def work(env: Env) -> None:
        for name in STEPS:
            env.task_worker(engine, working(name))

    @system.entry(examples=["o1"])
    def place(env: Env, order: str) -> None:
        env.client(engine).start_workflow_by_name("order", {})

    return system


def airflow() -> System:
    """A DAG of five tasks in a row."""
    before = dict(zip(STEPS[1:], STEPS, strict=False))
    tasks = [AirflowTask(name, upstream=[before[name]] if name in before else []) for name in STEPS]
    system = System("Airflow")
    engine = system.add(Airflow("airflow", dags=[AirflowDAG("order", tasks=tasks)]))

    @system.service("work")
    def work(env: Env) -> None:
        env.tasks(engine, {name: lambda: 1 for name in STEPS})

    @system.entry(examples=["o1"])
    def place(env: Env, order: str) -> None:
        env.client(engine).trigger_dag_run("order", dag_run_id=order)

    return system


@attrs.frozen
class Measured:
    """One row: a system, under which faults, and how many runs a second were aimed at."""

    name: str
    system: Callable[[], System]
    aim: int | None = None
    faults: tuple[Any, ...] = ()


_DIES: Final = Crash(Site("work.pack/handle", "after"))

ROWS: Final = (
    Measured("native saga", native, 2_000),
    Measured("Step Functions", step_functions, 1_500),
    Measured("Temporal", temporal),
    Measured("Temporal, a crash and a replay", temporal, 350, (_DIES,)),
    Measured("Conductor", conductor),
    Measured("Airflow", airflow),
)


def running(row: Measured) -> Callable[[], Any]:
    """Return what is measured, after it was seen to do what it should."""
    system, schedule = row.system(), Schedule(row.faults)
    for _ in range(WARM):
        run = system.run(None, schedule)
    assert run.ending.verdict == "quiet", (row.name, run.ending)
    assert not run.unused, row.name
    ends = [one.data["what"] for one in run.history.of("note")]
    assert ENDED[system.name] in ends, (row.name, ends)
    return lambda: system.run(None, schedule)


def rows() -> list[tuple[str, ...]]:
    """Measure; return the table."""
    counted = sys.version_info >= (3, 13)
    yardstick = eight()
    unit = best(yardstick.run, runs=100)
    bytecodes = count(yardstick.run) if counted else 0
    head = "us a run, runs a second, aim, times eight messages, aim, bytecodes, times"
    found: list[tuple[str, ...]] = [("", *head.split(", "))]
    first = [f"{unit * 1e6:.0f}", f"{1 / unit:,.0f}", f"{EIGHT_AIM:,}", "1.0", "1.0"]
    counts = [f"{bytecodes:,}", "1.0"] if counted else ["-", "-"]
    found.append(("eight messages", *first, *counts))
    for row in ROWS:
        if row.system is temporal and find_spec("temporalio") is None:
            continue
        run = running(row)
        cost = best(run, runs=RUNS)
        many = count(run) if counted else 0
        found.append(
            (
                row.name,
                f"{cost * 1e6:.0f}",
                f"{1 / cost:,.0f}",
                f"{row.aim:,}" if row.aim else "-",
                f"{cost / unit:.1f}",
                f"{EIGHT_AIM / row.aim:.1f}" if row.aim else "-",
                f"{many:,}" if counted else "-",
                f"{many / bytecodes:.1f}" if counted else "-",
            )
        )
    return found


def main() -> None:
    """Print the table."""
    table("A workflow of five tasks on each engine (the aims are of bare prototypes)", rows())


if __name__ == "__main__":
    main()
