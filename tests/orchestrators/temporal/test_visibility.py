"""Lists and counts of workflows: from an index that may be older than what has happened (T33)."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import workflow
from temporalio.client import Client

from chaosharness import Delay, Env, Schedule, Site, System, Temporal, explore
from chaosharness.system.run import Run
from tests.orchestrators.temporal.test_scripts import ran

QUEUE = "q"


@workflow.defn
class Order:
    """Takes a while."""

    @workflow.run
    async def run(self) -> str:
        await asyncio.sleep(5)
        return "shipped"


def shop(starts_what_it_does_not_see: bool = False) -> System:
    """A client that starts an order, looks for it, and starts it once more if it is not there."""
    system = System("shop")
    temporal = system.add(Temporal("temporal"))

    @system.service("worker")
    def worker(env: Env) -> None:
        env.worker(temporal, task_queue=QUEUE, workflows=[Order])

    @system.entry(examples=["o1"])
    async def place(env: Env, order: str) -> None:
        client = env.client(temporal)
        await client.start_workflow(Order.run, id=f"{order}-1", task_queue=QUEUE)
        await env.sleep(10)
        seen = [(one.id, one.status) async for one in client.list_workflows("WorkflowType='Order'")]
        env.note("seen", rows=[[id, status.name if status else ""] for id, status in seen])
        if starts_what_it_does_not_see and not seen:
            await client.start_workflow(Order.run, id=f"{order}-2", task_queue=QUEUE)

    return system


def seen(run: Run) -> list[Any]:
    """What the client saw."""
    [note] = [one for one in run.history.of("note") if one.data["what"] == "seen"]
    found: list[Any] = note.data["rows"]
    return found


@pytest.mark.parametrize(
    ("late_ms", "rows"),
    [
        (None, [["o1-1", "COMPLETED"]]),
        (1_000, [["o1-1", "COMPLETED"]]),
        (7_000, [["o1-1", "RUNNING"]]),
        (60_000, []),
    ],
)
def test_a_list_is_as_old_as_the_delay(late_ms: int | None, rows: list[Any]) -> None:
    faults = [] if late_ms is None else [Delay(Site("temporal/visibility"), lasting=late_ms)]
    run = shop().run(None, Schedule(faults))
    assert not run.unused
    assert seen(run) == rows


def test_who_starts_what_it_does_not_see_is_found_by_one_fault() -> None:
    def twice(run: Run) -> bool:
        return len(run.event_histories) == 2

    found: list[Run] = []
    from chaosharness.system.run import OBSERVERS

    for careless in (True, False):
        runs: list[Run] = []
        token = OBSERVERS.set((*OBSERVERS.get(), runs.append))
        try:
            explore(shop(careless), properties=(), faults_max=1, mode="small-first")
        finally:
            OBSERVERS.reset(token)
        found = [run for run in runs if twice(run)]
        assert bool(found) is careless
        assert all("Delay" in str(run.schedule) or "delay" in str(run.schedule) for run in found)


def test_a_description_is_never_old() -> None:
    told: list[str] = []
    system = System("shop")
    temporal = system.add(Temporal("temporal"))

    @system.service("worker")
    def worker(env: Env) -> None:
        env.worker(temporal, task_queue=QUEUE, workflows=[Order])

    @system.entry(examples=["o1"])
    async def place(env: Env, order: str) -> None:
        client: Client = env.client(temporal)
        handle = await client.start_workflow(Order.run, id=order, task_queue=QUEUE)
        await handle.result()
        described = await handle.describe()
        assert described.status is not None and described.close_time is not None
        told.append(described.status.name)

    explore(system, properties=(), faults_max=1, runs_max=60)
    assert set(told) == {"COMPLETED"}


@pytest.mark.parametrize(
    "query",
    [
        "(", "WorkflowType =", "= 'x'", "WorkflowType = 'x' AND", "Cents IN ()", "Cents IN (1",
        "Cents BETWEEN 1 2", "Cents BETWEEN 1 AND", "'x' = WorkflowType", "a b c", "%", "--",
        "Cents = 1 1", "NOT", "Cents IS", "Cents IS NOT", "Cents NOT = 1", "((((", "Cents = true",
        "WorkflowType = 'x", "Tags > 'a'", "(" * 200 + "Cents = 1" + ")" * 200, "\x00",
        "NOT " * 3_000 + "Cents = 1",
    ],
)  # fmt: skip
def test_what_is_no_filter_is_refused_in_the_servers_words(query: str) -> None:
    from chaosharness.orchestrators.temporal.refusals import Refused
    from chaosharness.orchestrators.temporal.visibility_query import test_of

    with pytest.raises(Refused, match="invalid query") as refused:
        test_of(query, {"Cents": "Int", "Tags": "KeywordList"})
    assert refused.value.status == "INVALID_ARGUMENT"


def test_a_search_attribute_that_there_is_not_fails_the_task_and_not_the_workflow() -> None:
    _, run = ran("search-attribute-misnamed")
    assert "WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES" in "".join(
        run.event_histories.values()
    )
