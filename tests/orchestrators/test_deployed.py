"""A definition changed under running executions: each engine keeps, or changes, what it must."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowTask,
    Conductor,
    Delay,
    NetworkPartition,
    Redeploy,
    Schedule,
    Site,
    StepFunctions,
    System,
    explore,
)
from chaosharness.errors import InvalidDefinition
from chaosharness.orchestrators.saga import Begin, Parallel, Saga, SagaMachine, Step
from chaosharness.system.run import Run
from models.airflow import right as airflow
from models.conductor import right as conductor
from models.saga_engine import right as saga
from models.step_functions import right as step_functions

DEPLOYED = (airflow.deployed, conductor.deployed, saga.deployed, step_functions.deployed)


@pytest.mark.parametrize("shop", DEPLOYED, ids=["airflow", "conductor", "saga", "step functions"])
def test_a_right_deploy_is_silent(shop: System) -> None:
    campaign = explore(shop, faults_max=1, kinds=(Redeploy,))
    assert campaign.counterexamples == ()
    assert campaign.coverage.levels[1].complete
    assert campaign.coverage.levels[1].total


def test_what_undoes_is_tried_for_longer_than_the_network_is_cut() -> None:
    campaign = explore(step_functions.deployed, faults_max=1, kinds=(NetworkPartition,))
    assert campaign.counterexamples == ()
    assert campaign.coverage.levels[1].complete


# ---- Step Functions


def machine(*functions: str) -> dict[str, Any]:
    """A pause before each function, one after the other."""
    states: dict[str, Any] = {}
    for here, after in zip(functions, (*functions[1:], None), strict=True):
        follows = {"Next": f"Wait {after}"} if after else {"End": True}
        states[f"Wait {here}"] = {"Type": "Wait", "Seconds": 10, "Next": here}
        states[here] = {"Type": "Task", "Resource": here, "ResultPath": None, **follows}
    return {"StartAt": f"Wait {functions[0]}", "States": states}


def updated(definition: Any, *faults: Any, functions: str = "ab") -> Run:
    """One execution begins; the definition is updated; another one begins."""
    shop = System("updated")
    sfn = shop.add(StepFunctions("sfn", machines={"m": machine("a")}))

    @shop.service("functions")
    def serve(env: Any) -> None:
        for name in functions:
            env.function(sfn, name, lambda event, context, name=name: env.note(name, **event))

    @shop.entry(examples=[{}])
    def deploy(env: Any, item: Any) -> None:
        client = env.client(sfn)
        for name in ("old", "new"):
            client.start_execution(stateMachineArn="m", name=name, input=json.dumps({"name": name}))
            if name == "old":
                env.sleep(5)
                try:
                    client.update_state_machine(
                        stateMachineArn="m", definition=json.dumps(definition)
                    )
                except Exception as error:
                    env.note("refused", error=str(error))

    return shop.run(None, Schedule(list(faults)))


def noted(run: Run, name: str) -> list[str]:
    notes = [one.data for one in run.history.of("note")]
    return [str(one["what"]) for one in notes if one.get("name") == name]


def test_step_functions_an_execution_keeps_its_definition() -> None:
    run = updated(machine("a", "b"))
    assert noted(run, "old") == ["a"]
    assert noted(run, "new") == ["a", "b"]
    assert run.ending.verdict == "quiet"


def test_step_functions_what_begins_at_once_may_see_the_old_one() -> None:
    late = updated(machine("a", "b"), Delay(Site("m/update"), lasting=1_000))
    assert noted(late, "new") == ["a"]
    assert late.unused == ()


def test_step_functions_a_wrong_definition_changes_nothing() -> None:
    run = updated({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}}}, functions="a")
    [refused] = [one.data for one in run.history.of("note") if one.data["what"] == "refused"]
    assert "(InvalidDefinition)" in refused["error"]
    assert "/States/A: Next names 'B', which is no state here" in refused["error"]
    assert noted(run, "new") == ["a"]


def test_step_functions_a_function_that_is_not_there_fails_the_task() -> None:
    run = updated(machine("a", "c"), functions="a")
    events = json.loads(run.event_histories["m:new"])["events"]
    details = events[-1]["executionFailedEventDetails"]
    assert details == {
        "error": "Lambda.ResourceNotFoundException",
        "cause": "Function not found: c",
    }


def test_step_functions_a_function_that_nothing_runs_may_be_there() -> None:
    assert updated(machine("a", "b"), functions="abc").ending.verdict == "quiet"


def test_step_functions_a_function_with_a_misspelt_name_is_refused() -> None:
    """Also where the run without faults does not come by it: a compensation, mostly."""
    undo = {"Type": "Task", "Resource": "refund", "End": True}
    begin = {"Type": "Task", "Resource": "charge", "End": True,
             "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Undo"}]}  # fmt: skip
    shop = System("misspelt")
    machines = {"m": {"StartAt": "Begin", "States": {"Begin": begin, "Undo": undo}}}
    sfn = shop.add(StepFunctions("sfn", machines=machines))

    @shop.service("functions")
    def serve(env: Any) -> None:
        for name in ("charge", "refnud"):
            env.function(sfn, name, lambda event, context: None)

    @shop.entry(examples=[{}])
    def start(env: Any, item: Any) -> None:
        env.client(sfn).start_execution(stateMachineArn="m", name="x", input="{}")

    words = "runs a function 'refnud'; they run: charge, refund. Is 'refund' meant?"
    with pytest.raises(InvalidDefinition, match=re.escape(words)):
        shop.run()


def test_step_functions_previous_is_of_a_machine_of_its_own() -> None:
    with pytest.raises(InvalidDefinition, match="previous names 'n', which is none of its machine"):
        StepFunctions("sfn", machines={"m": machine("a")}, previous={"n": machine("a")})
    with pytest.raises(InvalidDefinition, match="'m, the one before' is not valid"):
        StepFunctions("sfn", machines={"m": machine("a")}, previous={"m": {}})


# ---- Conductor


def flow(version: int, *names: str, **more: Any) -> dict[str, Any]:
    tasks = [{"name": name, "taskReferenceName": name, "type": "SIMPLE"} for name in names]
    return {"name": "flow", "version": version, "tasks": tasks, **more}


def started(*workflows: dict[str, Any], version: int | None = None, name: str = "flow") -> Run:
    shop = System("versions")
    server = shop.add(Conductor("conductor", workflows=workflows))

    @shop.service("workers")
    def workers(env: Any) -> None:
        for task in {one["name"] for each in workflows for one in each["tasks"]} & {"a", "b"}:
            env.task_worker(server, lambda task: {}, name=task)

    @shop.entry(examples=[{}])
    def start(env: Any, item: Any) -> None:
        try:
            env.client(server).start_workflow_by_name(name, {}, version=version)
        except Exception as error:
            env.note("refused", error=str(error))

    return shop.run()


def done(run: Run, workflow: str = "flow-1") -> list[str]:
    return [one["referenceTaskName"] for one in json.loads(run.event_histories[workflow])["tasks"]]


def test_conductor_the_latest_version_is_the_highest() -> None:
    assert done(started(flow(2, "a", "b"), flow(1, "a"))) == ["a", "b"]
    assert done(started(flow(2, "a", "b"), flow(1, "a"), version=1)) == ["a"]


def test_conductor_a_version_that_is_not_there_is_named() -> None:
    run = started(flow(2, "a", "b"), flow(1, "a"), version=3)
    [refused] = [one.data["error"] for one in run.history.of("note")]
    assert "flow, version: 3 (there are: flow version 1, flow version 2)" in refused


def test_conductor_a_child_is_of_the_version_that_is_said() -> None:
    child = {"name": "child", "taskReferenceName": "child", "type": "SUB_WORKFLOW"}
    for version, ends in ((1, ["a"]), (None, ["a", "b"])):
        param = {"name": "flow"} | ({} if version is None else {"version": version})
        parent = {"name": "parent", "tasks": [child | {"subWorkflowParam": param}]}
        run = started(flow(2, "a", "b"), flow(1, "a"), parent, name="parent")
        [id] = [one for one in run.event_histories if one.endswith(":flow")]
        assert done(run, id) == ends


@pytest.mark.parametrize("name", [{"a": 1}, ["flow"], None])
def test_conductor_what_is_no_version_is_not_there(name: Any) -> None:
    param = {"name": "flow", "version": "${workflow.input.version}"}
    child = {"name": "child", "taskReferenceName": "child", "type": "SUB_WORKFLOW",
             "subWorkflowParam": param}  # fmt: skip
    shop = System("versions")
    parent = {"name": "parent", "tasks": [child]}
    server = shop.add(Conductor("conductor", workflows=[flow(1, "a"), parent]))
    shop.service("workers")(lambda env: env.task_worker(server, lambda task: {}, name="a"))

    @shop.entry(examples=[{}])
    def start(env: Any, item: Any) -> None:
        env.client(server).start_workflow_by_name("parent", {"version": name})

    told = json.loads(shop.run().event_histories["parent-1"])
    assert (told["status"] == "COMPLETED") == (name is None)


def test_conductor_wrong_versions_are_refused() -> None:
    with pytest.raises(InvalidDefinition, match="called 'flow', of version 1 each"):
        Conductor("c", workflows=[flow(1, "a"), flow(1, "b")])
    with pytest.raises(InvalidDefinition, match="previous has version 1 of 'flow', which is none"):
        Conductor("c", workflows=[flow(1, "a") | {"name": "other"}], previous=[flow(1, "a")])
    child = {"name": "child", "taskReferenceName": "child", "type": "SUB_WORKFLOW",
             "subWorkflowParam": {"name": "flow", "version": 7}}  # fmt: skip
    with pytest.raises(InvalidDefinition, match=r"starts version 7 of 'flow'; there are: 1"):
        Conductor("c", workflows=[flow(1, "a"), {"name": "parent", "tasks": [child]}])


# ---- Airflow


def changed(old: list[AirflowTask], new: list[AirflowTask], at: str) -> dict[str, str]:
    """The states of the tasks of a run, whose DAG file is changed when a task is queued."""
    shop = System("changed")
    dags = AirflowDAG("d", tasks=old)
    engine = shop.add(Airflow("airflow", dags=[dags], previous=[AirflowDAG("d", tasks=new)]))

    @shop.service("workers")
    def workers(env: Any) -> None:
        env.tasks(engine, {one.task_id: lambda: None for one in (*old, *new)})

    @shop.entry(examples=[{}])
    def trigger(env: Any, item: Any) -> None:
        env.client(engine).trigger_dag_run("d", dag_run_id="r1")
        env.sleep(10)  # before the calm, in which the DAG is what it was
        shown = env.client(engine).get_task_instances("d", "r1")
        env.note("seen", states={one["task_id"]: one["state"] for one in shown})

    run = shop.run(None, Schedule([Redeploy(Site(f"d.{at}/queue"))]))
    assert run.unused == ()
    return next(e.data["states"] for e in run.history.of("note") if e.data["what"] == "seen")


def test_airflow_a_run_that_goes_on_gets_the_tasks_of_its_new_dag() -> None:
    a, b = AirflowTask("a"), AirflowTask("b", upstream="a")
    c, d = AirflowTask("c", upstream="a"), AirflowTask("d", upstream="c")
    states = changed([a, b], [a, c, d], at="b")
    assert states == {"a": "success", "b": "removed", "c": "success", "d": "success"}


def test_airflow_what_was_done_is_done_again_under_another_name() -> None:
    a, b = AirflowTask("a"), AirflowTask("b", upstream="a")
    z, y = AirflowTask("z"), AirflowTask("b", upstream="z")
    assert changed([a, b], [z, y], at="b") == {"a": "removed", "b": "success", "z": "success"}


def test_airflow_previous_is_of_a_dag_of_its_own() -> None:
    dags = [AirflowDAG("d", tasks=[AirflowTask("a")])]
    with pytest.raises(InvalidDefinition, match="previous has 'e', which is none of its DAGs: d"):
        Airflow("airflow", dags=dags, previous=[AirflowDAG("e", tasks=[AirflowTask("a")])])


# ---- sagas of one's own


def went_on(old: Saga, new: Saga, *answered: str) -> str:
    """Begin a saga, answer some of its steps, and go on with another list; why it is stuck."""
    first = SagaMachine(old, "s1")
    first.apply(Begin({}), 0)
    records = first.take()
    for name in answered:
        [asked] = [one for one in records if one.kind == "asked" and one.step == name]
        first.apply(first.command(asked).reply("done"), 0)
        records += first.take()
    second = SagaMachine(new, "s1", records)
    second.tick(1)
    return second.execution.stuck


A, B, C = Step("a"), Step("b"), Step("c")


@pytest.mark.parametrize(
    ("new", "answered", "stuck"),
    [
        (Saga("s", A, B, C), ("a",), ""),  # what comes after is new
        (Saga("s", A, C, B), (), ""),  # nothing of it has begun
        (Saga("s", A, C, B), ("a",), "'c' comes before 'b' now, which its journal has"),
        (Saga("s", C, A, B), (), "'c' comes before 'a' now, which its journal has"),
        (Saga("s", B, A), (), "'b' comes before 'a' now, which its journal has"),
        (Saga("s", A, Parallel(C, B)), ("a",), ""),  # beside, and not before
        (Saga("s", A, Parallel([C, B], Step("d"))), ("a",),
         "'c' comes before 'b' now, which its journal has"),
        (Saga("s", A), ("a",), "it does not ask for 'b' any more, which its journal has"),
    ],
)  # fmt: skip
def test_a_saga_with_another_list_goes_on_or_is_parked(
    new: Saga, answered: tuple[str, ...], stuck: str
) -> None:
    assert went_on(Saga("s", A, B), new, *answered) == stuck
