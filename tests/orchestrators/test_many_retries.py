"""Ninety-nine retries whose pauses double: the engine's own limit, and a sentence to read."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

from chaosharness import (
    Airflow,
    AirflowDAG,
    AirflowTask,
    Conductor,
    Env,
    StepFunctions,
    System,
    Temporal,
)
from chaosharness.orchestrators.conductor.decider import retry_delay_s
from chaosharness.orchestrators.conductor.definition import TaskDef

TIMES = 99


@workflow.defn
class Patient:
    """Has something done that never works."""

    @workflow.run
    async def run(self) -> None:
        policy = RetryPolicy(maximum_attempts=TIMES, maximum_interval=timedelta(days=100_000))
        await workflow.execute_activity(
            "fails", start_to_close_timeout=timedelta(seconds=20), retry_policy=policy
        )


def fails() -> None:
    """Never work."""
    raise ConnectionError("no")


def step_functions(kind: str = "standard") -> System:
    retry = {"ErrorEquals": ["States.ALL"], "MaxAttempts": TIMES, "BackoffRate": 2}
    task = {"Type": "Task", "Resource": "fails", "End": True, "Retry": [retry]}
    machine = {"StartAt": "A", "States": {"A": task}}
    express = ["m"] if kind == "express" else []
    system = System("patient")
    server = system.add(StepFunctions("sfn", machines={"m": machine}, express=express))

    @system.service("w")
    def w(env: Env) -> None:
        env.function(server, "fails", lambda event, context: fails())

    @system.entry(examples=["o1"])
    def begin(env: Env, name: str) -> None:
        env.client(server).start_execution(stateMachineArn="m", name=name, input="{}")

    return system


def conductor() -> System:
    rules = {"retryCount": TIMES, "retryLogic": "EXPONENTIAL_BACKOFF", "retryDelaySeconds": 1}
    task = {"name": "fails", "taskReferenceName": "fails", "type": "SIMPLE"}
    system = System("patient")
    server = system.add(
        Conductor(
            "c", workflows=[{"name": "w", "tasks": [task]}], tasks=[{"name": "fails", **rules}]
        )
    )

    @system.service("w")
    def w(env: Env) -> None:
        env.task_worker(server, fails)

    @system.entry(examples=["o1"])
    def begin(env: Env, name: str) -> None:
        env.client(server).start_workflow_by_name("w", {})

    return system


def airflow() -> System:
    task = AirflowTask("fails", retries=TIMES, retry_delay_s=1, retry_exponential_backoff=2)
    system = System("patient")
    server = system.add(Airflow("a", dags=[AirflowDAG("d", tasks=[task])]))

    @system.service("w")
    def w(env: Env) -> None:
        env.tasks(server, {"fails": fails})

    @system.entry(examples=["o1"])
    def begin(env: Env, name: str) -> None:
        env.client(server).trigger_dag_run("d", dag_run_id=name, conf={})

    return system


def temporal() -> System:
    system = System("patient")
    server = system.add(Temporal("t"))

    @system.service("w")
    def w(env: Env) -> None:
        @activity.defn(name="fails")
        async def never() -> None:
            fails()

        env.worker(server, task_queue="q", workflows=[Patient], activities=[never])

    @system.entry(examples=["o1"])
    async def begin(env: Env, name: str) -> None:
        await env.client(server).start_workflow(Patient.run, id=name, task_queue="q")

    return system


@pytest.mark.parametrize(("kind", "ends_s"), [("standard", 365 * 86_400), ("express", 300)])
def test_an_execution_ends_after_its_longest_time(kind: str, ends_s: int) -> None:
    run = step_functions(kind).run()
    said = [(one.data["what"], one.at_ms // 1000) for one in run.history.of("note")]
    assert said[-1] == ("execution timed_out", ends_s)
    assert run.ending.verdict == "quiet"


@pytest.mark.parametrize(
    ("build", "words"),
    [(conductor, "years of calm"), (airflow, "50 days of calm"), (temporal, "of calm")],
)
def test_what_waits_for_years_is_told_in_words(build: Callable[[], System], words: str) -> None:
    ending = build().run().ending
    assert ending.verdict == "budget"
    assert words in ending.reason
    assert "raises ConnectionError: no" in ending.reason
    assert "allow fewer retries, or make their longest pause shorter" in ending.reason
    assert len(ending.reason) < 300


@pytest.mark.parametrize(
    ("delay", "count", "seconds"),
    [(1, 3, 8), (1, 31, 2**31 - 1), (60, 26, 2**31 - 1), (60, 30, 0), (1, 99, 2**31 - 1)],
)
def test_conductor_reckons_as_java_does(delay: int, count: int, seconds: int) -> None:
    found: Any = TaskDef(name="t", retry_logic="EXPONENTIAL_BACKOFF", retry_delay_s=delay)
    assert retry_delay_s(found, count) == seconds
