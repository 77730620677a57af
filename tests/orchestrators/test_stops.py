"""Workers of orchestrators whose process is told to stop, and functions that cannot be told.

Those of Temporal are in `temporal/test_stops.py`.
"""

from collections.abc import Callable
from typing import Any

import pytest

from chaosharness import (
    SQS,
    Airflow,
    AirflowDAG,
    AirflowTask,
    Conductor,
    GracefulStop,
    KeyValue,
    Lambda,
    Schedule,
    Site,
    StepFunctions,
    System,
    explore,
)
from chaosharness.errors import IllegalFault

WORK_S = 20
FLOW = {
    "name": "flow",
    "version": 1,
    "tasks": [{"name": "work", "taskReferenceName": "work", "type": "SIMPLE"}],
}
CALLS = {
    **FLOW,
    "tasks": [
        {
            "name": "work",
            "taskReferenceName": "work",
            "type": "HTTP",
            "inputParameters": {"http_request": {"uri": "http://desk/work", "method": "POST"}},
        }
    ],
}
STATES = {"StartAt": "work", "States": {"work": {"Type": "Task", "Resource": "work", "End": True}}}


def system_of(part: Any, wire: Callable[[Any, Any, Any], None], begin: Callable[..., None]) -> Any:
    """A system of one worker that takes `WORK_S` seconds for one thing."""
    system = System("worker")
    engine, db = system.add(part), system.add(KeyValue("db"))

    @system.service("worker")
    def worker(env: Any) -> None:
        store = env.connect(db)

        def work(*_: Any, **__: Any) -> dict[str, Any]:
            store.put("begun", (store.get("begun") or 0) + 1)
            env.sleep(WORK_S)
            store.put("done", True)
            return {}

        wire(env, engine, work)

    @system.entry(examples=["o1"])
    def entry(env: Any, item: str) -> None:
        begin(env, engine, item)

    return system


def start(env: Any, engine: Any, item: str) -> None:
    env.client(engine).start_workflow_by_name("flow", {"n": item})


AIRFLOW = system_of(
    Airflow("airflow", dags=[AirflowDAG("d", tasks=[AirflowTask("work")])]),
    lambda env, engine, work: env.tasks(engine, {"work": work}),
    lambda env, engine, item: env.client(engine).trigger_dag_run("d", dag_run_id=item, conf={}),
)
CONDUCTOR = system_of(
    Conductor(
        "conductor", workflows=[FLOW], tasks=[{"name": "work", "responseTimeoutSeconds": 60}]
    ),
    lambda env, engine, work: env.task_worker(engine, work),
    start,
)
ANSWERS = system_of(
    Conductor("conductor", workflows=[CALLS]),
    lambda env, engine, work: env.task_endpoint(engine, "http://desk/work", work),
    start,
)
FUNCTION = system_of(
    StepFunctions("machine", machines={"m": STATES}),
    lambda env, engine, work: env.function(engine, "work", work),
    lambda env, engine, item: env.client(engine).start_execution(stateMachineArn="m", name=item),
)
READER = system_of(
    SQS("bus", ["orders"]),
    lambda env, engine, work: env.consume(engine, "orders", Lambda(lambda event, context: work())),
    lambda env, engine, item: env.publisher(engine)("orders", {"id": item}),
)


def told(system: Any) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Return how the worker ended that was told to stop at work, and what was left."""
    calm = system.run()
    [place] = {e.operation for e in calm.history.of("commit") if e.data.get("key") == "begun"}
    run = system.run(None, Schedule([GracefulStop(Site(place, "after", 1))]))
    ends = [(one.data["how"], one.at_ms // 1_000) for one in run.history.of("crash")]
    [rows] = [one.data["items"] for one in run.history.of("state") if one.actor == "db"]
    return ends, rows


@pytest.mark.parametrize("system", [AIRFLOW, ANSWERS], ids=["airflow", "conductor's HTTP task"])
def test_what_is_in_hand_is_done_before_the_worker_ends(system: Any) -> None:
    [(how, at_s)], rows = told(system)
    assert how == "stopped"
    assert WORK_S <= at_s <= WORK_S + 6
    assert rows == {"begun": 1, "done": True}


def test_a_worker_of_conductor_is_cut_off() -> None:
    """Its processes have no handler of SIGTERM: the server notices after the response timeout."""
    assert told(CONDUCTOR) == ([("untold", 0)], {"begun": 2, "done": True})


@pytest.mark.parametrize("system", [FUNCTION, READER], ids=["step functions", "sqs"])
def test_a_lambda_function_cannot_be_told_and_a_search_leaves_it_alone(system: Any) -> None:
    with pytest.raises(IllegalFault, match=r"worker#1.* AWS Lambda ends .*\. Use Crash there\."):
        told(system)
    found = explore(system, kinds=[GracefulStop], faults_max=1)
    assert not [cell for cell in found.coverage.cells if "worker" in cell and "graceful" in cell]
