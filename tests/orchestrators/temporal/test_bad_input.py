"""What no server, or not this one, can carry out: one clear error or verdict, and nothing lost."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
)
from temporalio.common import (
    RetryPolicy,
)

from chaosharness import Budget, Env, Gateway, System, Temporal, never_stuck
from chaosharness.errors import InvalidDefinition, NotAwaited, PropertyViolated
from chaosharness.system.run import Run

QUEUE = "q"
SOON = timedelta(seconds=5)


@activity.defn
def works() -> str:
    return "done"


@activity.defn
def returns_what_is_no_json() -> object:
    return object()


@activity.defn
def returns_three_megabytes() -> str:
    return "x" * 3_000_000


@workflow.defn
class PassesOn:
    """Has an activity done with more than the server takes."""

    @workflow.run
    async def run(self, name: str) -> Any:
        return await workflow.execute_activity(
            "works", "x" * 3_000_000, start_to_close_timeout=SOON
        )


@workflow.defn
class HasABug:
    """Fails its task, and so never ends."""

    @workflow.run
    async def run(self, name: str) -> None:
        raise KeyError(name)


@workflow.defn
class Asks:
    """Has an activity done."""

    @workflow.run
    async def run(self, name: str) -> Any:
        return await workflow.execute_activity(name, start_to_close_timeout=SOON)


@workflow.defn
class AsksHere:
    """Has a local activity done, once."""

    @workflow.run
    async def run(self, name: str) -> Any:
        return await workflow.execute_local_activity(
            name, start_to_close_timeout=SOON, retry_policy=RetryPolicy(maximum_attempts=1)
        )


@workflow.defn
class Sleeps:
    """Never ends."""

    @workflow.run
    async def run(self, name: str) -> None:
        while True:
            await asyncio.sleep(3_600)


def played(
    client: Callable[[Client], Awaitable[Any]], *, queue: str = QUEUE, budget: Budget | None = None
) -> Run:
    system = System("bad input")
    temporal = system.add(Temporal("temporal"))

    @system.service("worker")
    def worker(env: Env) -> None:
        workflows = [HasABug, Asks, AsksHere, PassesOn, Sleeps]
        activities = [works, returns_what_is_no_json, returns_three_megabytes]
        env.worker(temporal, task_queue=queue, workflows=workflows, activities=activities)

    @system.entry(examples=["x"])
    async def place(env: Env, item: str) -> None:
        await client(env.client(temporal))

    return system.run(budget=budget)


def starting(name: str, argument: Any = "works", **options: Any) -> Callable[[Client], Any]:
    return lambda client: client.start_workflow(
        name, args=[argument], id="w", task_queue=QUEUE, **options
    )


def raised(run: Run) -> list[str]:
    return [str(event.data["error"]) for event in run.history.of("raised")]


def test_a_result_without_a_json_form_fails_the_attempt_as_in_the_library() -> None:
    run = played(starting("Asks", "returns_what_is_no_json"))
    assert raised(run)[0] == "TypeError: Object of type object is not JSON serializable"


def test_so_it_does_where_it_is_local() -> None:
    run = played(starting("AsksHere", "returns_what_is_no_json"))
    assert run.ending.verdict == "quiet"
    failed = json.loads(run.event_histories["w"])["events"][-1]
    failure = failed["workflowExecutionFailedEventAttributes"]["failure"]
    assert failure["message"] == "Object of type object is not JSON serializable"


def test_a_result_that_is_too_large_fails_the_activity_for_good() -> None:
    run = played(starting("Asks", "returns_three_megabytes"))
    failed = json.loads(run.event_histories["w"])["events"]
    [activity_failed] = [one for one in failed if one["eventType"].endswith("ACTIVITY_TASK_FAILED")]
    told = activity_failed["activityTaskFailedEventAttributes"]
    assert told["failure"]["message"] == "Complete result exceeds size limit."
    assert told["retryState"] == "RETRY_STATE_NON_RETRYABLE_FAILURE"
    assert failed[-1]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_FAILED"


def test_a_workflow_that_commands_too_much_stays_open() -> None:
    run = played(starting("PassesOn"), budget=Budget(chaos_ms=60_000, calm_ms=60_000))
    events = json.loads(run.event_histories["w"])["events"]
    told = events[-1]["workflowTaskFailedEventAttributes"]
    assert told["cause"] == "WORKFLOW_TASK_FAILED_CAUSE_PAYLOADS_TOO_LARGE"
    assert "[TMPRL1103]" in told["failure"]["message"]
    assert run.ending.verdict == "budget"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (3_000_000, "Blob data size exceeds limit."),
        (5_000_000, r"received message larger than max \(\d+ vs. 4194304\)"),
    ],
)
def test_a_start_that_is_too_large_is_refused(size: int, words: str) -> None:
    with pytest.raises(InvalidDefinition, match=words):
        played(starting("Asks", "x" * size))


def test_a_queue_that_nobody_polls_is_named() -> None:
    with pytest.raises(InvalidDefinition, match="waits on the task queue 'q', which no worker"):
        played(starting("Asks"), queue="another")


def test_a_workflow_that_never_ends_has_a_verdict() -> None:
    """It is over where nothing else is to come, and says what goes on."""
    run = played(starting("Sleeps"))
    assert run.ending.verdict == "quiet"
    with pytest.raises(PropertyViolated, match=r"'Sleeps' \(w\) goes on for ever by its timers"):
        run.check(never_stuck(waiting=True))


def test_a_cron_that_is_none_is_refused_in_the_servers_words() -> None:
    with pytest.raises(InvalidDefinition, match="RPCError: Invalid CronSchedule"):
        played(starting("Asks", cron_schedule="each day"))


async def schedules(client: Client) -> None:
    spec = ScheduleSpec(cron_expressions=["each day"])
    action = ScheduleActionStartWorkflow("Asks", "works", id="w", task_queue=QUEUE)
    await client.create_schedule("s", Schedule(action=action, spec=spec))


async def asks_for_schedules(client: Client) -> None:
    async for _ in await client.list_schedules("TemporalSchedulePaused = true"):
        pass


@pytest.mark.parametrize(
    ("ask", "words"),
    [(schedules, "invalid schedule spec"), (asks_for_schedules, "a query of schedules is not")],
)
def test_a_wrong_schedule_is_said(ask: Callable[[Client], Any], words: str) -> None:
    with pytest.raises(InvalidDefinition, match=words):
        played(ask)


@pytest.mark.parametrize(
    ("flow", "words"),
    [
        ("HasABug", "HasABug raises KeyError: '"),
        ("Asks", "raises TypeError: Object of type object"),
    ],
)
def test_who_waits_for_what_fails_again_and_again_is_told_what_fails(flow: str, words: str) -> None:
    async def client(of: Client) -> None:
        await of.execute_workflow(flow, "returns_what_is_no_json", id="w1", task_queue=QUEUE)

    run = played(client)
    assert run.ending.verdict == "budget"
    assert words in run.ending.reason
    assert run.ending.reason.endswith("again and again")


# ---- an async activity that hands on what it should have awaited


@workflow.defn
class Pays:
    """Has one charge made."""

    @workflow.run
    async def run(self, name: str) -> Any:
        patience = RetryPolicy(maximum_attempts=2)
        return await workflow.execute_activity(
            "charge", name, start_to_close_timeout=SOON, retry_policy=patience
        )


def paying(*, blocking: bool) -> System:
    system = System("paying")
    temporal = system.add(Temporal("temporal"))
    bank = system.add(Gateway("bank"))

    @system.service("pay")
    def pay(env: Env) -> None:
        client = env.client(bank, blocking=blocking)

        @activity.defn
        async def charge(name: str) -> Any:
            receipt = client.charge(name, 500, key=name)
            return receipt if not blocking else receipt.order

        env.worker(temporal, task_queue=QUEUE, workflows=[Pays], activities=[charge])

    @system.entry(examples=["o1"])
    async def start(env: Env, name: str) -> None:
        await env.client(temporal).start_workflow(Pays.run, name, id=name, task_queue=QUEUE)

    return system


def test_an_activity_that_returns_a_call_which_it_has_not_awaited_is_told_so() -> None:
    with pytest.raises(NotAwaited, match=r"bank\.charge was called without await"):
        paying(blocking=False).run()
    notes = paying(blocking=True).run().history.of("note")
    assert [one.data["what"] for one in notes] == ["workflow started", "workflow completed"]
