"""A signal and the timer that it is waited for with, in one workflow task: core drops the cancel.

*Source*: sdk-core, `timer_state_machine.rs`: cancellations after a timer has fired are ignored.
"""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from chaosharness import Crash, Env, Pause, Schedule, Site, System, Temporal
from chaosharness.faults import StoreOutage
from chaosharness.system.run import Run


@workflow.defn
class Hold:
    """Waits for money, ten minutes at most."""

    def __init__(self) -> None:
        self.paid = False

    @workflow.signal
    def pay(self) -> None:
        self.paid = True

    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.wait_condition(lambda: self.paid, timeout=timedelta(minutes=10))
        except TimeoutError:
            return "expired"
        await asyncio.sleep(5)
        return "sold"


def shop() -> System:
    system = System("hold")
    server = system.add(Temporal("temporal"))

    @system.service("workers")
    def workers(env: Env) -> None:
        env.worker(server, task_queue="q", workflows=[Hold])

    @system.entry(examples=["o1"])
    async def place(env: Env, id: str) -> None:
        handle = await env.client(server).start_workflow(Hold.run, id=id, task_queue="q")
        await env.sleep(590)
        await handle.signal(Hold.pay)

    return system


def types(run: Run) -> list[str]:
    events = json.loads(run.event_histories["o1"])["events"]
    return [one["eventType"].removeprefix("EVENT_TYPE_") for one in events]


async def refused(text: str) -> Any:
    """What the real core says of a history."""
    replayer = Replayer(workflows=[Hold], workflow_runner=UnsandboxedWorkflowRunner())
    history = WorkflowHistory.from_json("o1", text)
    return (await replayer.replay_workflow(history, raise_on_replay_failure=False)).replay_failure


@pytest.mark.parametrize(
    "faults",
    [
        [Crash(Site("workers.Hold/decide", attempt=2), down=60_000)],
        [Pause(Site("workers.Hold/decide", attempt=2), lasting=60_000)],
        [StoreOutage(Site("workers.Hold/store decision", attempt=2), lasting=60_000)],
    ],
    ids=["crash", "stall", "store"],
)
def test_both_come_in_one_task_and_the_signal_counts(faults: list[Any]) -> None:
    run = shop().run(None, Schedule(faults))
    assert run.unused == ()
    assert run.ending.verdict == "quiet"
    found = types(run)
    fired = found.index("TIMER_FIRED")
    assert found.index("WORKFLOW_EXECUTION_SIGNALED") < fired
    assert "TIMER_CANCELED" not in found
    assert found[-1] == "WORKFLOW_EXECUTION_COMPLETED"
    assert asyncio.run(refused(run.event_histories["o1"])) is None


def test_where_the_signal_comes_first_the_timer_is_cancelled() -> None:
    assert "TIMER_CANCELED" in types(shop().run())
