"""What orchestrators wait for by themselves is waited for, be it a month; and not for ever."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow

from chaosharness import (
    Conductor,
    Delay,
    Env,
    Gateway,
    Schedule,
    Site,
    StepFunctions,
    System,
    Temporal,
)
from chaosharness.system.run import Run

MONTH = timedelta(days=30)


@workflow.defn
class Pays:
    """Pays each month: so often, or for ever."""

    @workflow.run
    async def run(self, months: int) -> str:
        paid = 0
        while months < 0 or paid < months:
            await asyncio.sleep(MONTH.total_seconds())
            await workflow.execute_activity("pay", start_to_close_timeout=timedelta(seconds=20))
            paid += 1
        return "over"


@workflow.defn
class Waits:
    """Waits for what never comes."""

    @workflow.run
    async def run(self, months: int) -> None:
        await workflow.execute_activity("pay", start_to_close_timeout=timedelta(seconds=20))
        await workflow.wait_condition(lambda: False)


def started(name: str, months: int, schedule: Schedule | None = None, **options: Any) -> Run:
    system = System("months")
    server, bank = system.add(Temporal("temporal")), system.add(Gateway("bank"))

    @system.service("work")
    def work(env: Env) -> None:
        client = env.client(bank)

        @activity.defn
        async def pay() -> None:
            await client.charge("o1", 500, key=activity.info().activity_id)

        env.worker(server, task_queue="q", workflows=[Pays, Waits], activities=[pay])

    @system.entry(examples=[months])
    async def begin(env: Env, months: int) -> None:
        given: dict[str, Any] = {"id": "w", "task_queue": "q", **options}
        await env.client(server).start_workflow(name, months, **given)

    return system.run(None, schedule)


def test_each_month_is_waited_for() -> None:
    run = started("Pays", 3)
    assert run.ending.verdict == "quiet"
    days = [round(event.at_ms / 86_400_000) for event in run.history.of("effect")]
    assert days == [30, 60, 90]


def test_so_is_the_time_that_a_workflow_may_take() -> None:
    run = started("Waits", 0, execution_timeout=MONTH)
    assert run.ending.verdict == "quiet"
    assert "WORKFLOW_EXECUTION_TIMED_OUT" in run.event_histories["w"]


def test_a_workflow_that_pays_for_ever_is_called_off() -> None:
    run = started("Pays", -1)
    assert run.ending.verdict == "budget"
    assert 50 <= len([*run.history.of("effect")]) <= 60


def test_a_request_that_is_late_past_a_timeout_of_days_comes_in_the_end() -> None:
    late = Schedule([Delay(Site("work.pay/bank.charge"), lasting="long")])
    run = started("Waits", 0, late, execution_timeout=timedelta(days=2))
    assert run.ending.verdict == "quiet"
    [end] = run.history.of("end")
    assert end.at_ms > 4 * 86_400_000


def test_a_state_that_waits_for_a_week_is_waited_for() -> None:
    states = {"A": {"Type": "Wait", "Seconds": 7 * 86_400, "End": True}}
    system = System("week")
    server = system.add(StepFunctions("sfn", machines={"m": {"StartAt": "A", "States": states}}))

    @system.entry(examples=["e1"])
    def begin(env: Env, name: str) -> None:
        env.client(server).start_execution(stateMachineArn="m", name=name, input="{}")

    run = system.run()
    assert run.ending.verdict == "quiet"
    last = json.loads(run.event_histories["m:e1"])["events"][-1]
    assert (last["type"], last["timestamp"] >= 7 * 86_400_000) == ("ExecutionSucceeded", True)


def test_a_task_that_waits_for_a_week_is_waited_for() -> None:
    task = {"name": "w", "taskReferenceName": "w", "type": "WAIT",
            "inputParameters": {"duration": "7 days"}}  # fmt: skip
    system = System("week")
    flow = {"name": "flow", "tasks": [task]}
    server = system.add(Conductor("conductor", workflows=[flow]))

    @system.entry(examples=["e1"])
    def begin(env: Env, name: str) -> None:
        env.client(server).start_workflow_by_name("flow", {})

    run = system.run()
    assert run.ending.verdict == "quiet"
    assert json.loads(run.event_histories["flow-1"])["status"] == "COMPLETED"
