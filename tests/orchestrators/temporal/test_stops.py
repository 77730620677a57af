"""A worker that is shut down, as its process is told to stop: what it finishes, what it cancels."""

import asyncio
from datetime import timedelta

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import activity, workflow
from temporalio.exceptions import CancelledError

from chaosharness import (
    Crash,
    GracefulStop,
    KeyValue,
    Schedule,
    Site,
    System,
    Temporal,
    assumed,
    explore,
)
from chaosharness.errors import InvalidDefinition

PUT = "orders.do/db.put"
PATIENCE = timedelta(seconds=60)


@workflow.defn
class Order:
    @workflow.run
    async def run(self, order: str, nap_s: int = 0) -> str:
        await asyncio.sleep(nap_s)
        for _ in range(2):
            await workflow.execute_activity("do", order, start_to_close_timeout=PATIENCE)
        return "done"


def shop(make, *, replicas=1, nap_s=0, **options):
    """An order that does one thing twice; `make(env, store)` returns the activity."""
    system = System("shop")
    temporal = system.add(Temporal("temporal"))
    db = system.add(KeyValue("db"))

    @system.service("orders", replicas=replicas)
    def worker(env):
        do = activity.defn(name="do")(make(env, env.connect(db)))
        env.worker(temporal, task_queue="q", workflows=[Order], activities=[do], **options)

    @system.entry(examples=["o1"])
    async def place(env, order):
        await env.client(temporal).start_workflow(
            Order.run, args=[order, nap_s], id=order, task_queue="q"
        )

    return system


def slow(env, store):
    """Takes ten seconds, with what it began and what it ended in its store."""

    async def do(order: str) -> None:
        number = await store.put("begun", (await store.get("begun") or 0) + 1)
        await asyncio.sleep(10)
        await store.put("done", (await store.get("done") or 0) + 1)
        return number

    return do


def plain(env, store):
    def do(order: str) -> None:
        store.put("begun", (store.get("begun") or 0) + 1)
        try:
            env.sleep(10)
        except CancelledError:
            store.put("cancelled", activity.is_worker_shutdown())
            raise
        store.put("done", (store.get("done") or 0) + 1)

    return do


def told(system, grace_s=None, phase="after", **options):
    return system.run(None, Schedule([GracefulStop(Site(PUT, phase, 1), **options)]))


def rows(run):
    return next(one.data["items"] for one in run.history.of("state") if one.actor == "db")


def ends(run):
    return [(one.data["how"], one.at_ms // 1_000) for one in run.history.of("crash")]


@pytest.mark.parametrize("make", [slow, plain])
def test_an_activity_comes_to_its_end_in_the_grace_of_its_worker(make):
    run = told(shop(make, graceful_shutdown_timeout=timedelta(seconds=20)))
    assert ends(run) == [("stopped", 10)]
    assert (rows(run)["begun"], rows(run)["done"]) == (2, 2)


@pytest.mark.parametrize("make", [slow, plain])
def test_without_a_grace_it_is_cancelled_and_tried_again(make):
    run = told(shop(make))
    assert (rows(run)["begun"], rows(run)["done"]) == (3, 2)
    [history] = run.event_histories.values()
    assert "Worker is shutting down and this activity did not complete in time" in history


def test_a_plain_activity_is_cancelled_when_its_wait_is_over():
    """As in a thread: a call that has begun comes to its end."""
    run = told(shop(plain, graceful_shutdown_timeout=timedelta(seconds=3)))
    assert ends(run) == [("stopped", 10)]
    assert rows(run)["cancelled"] is True


def test_an_asyncio_activity_is_cancelled_where_it_waits():
    assert ends(told(shop(slow))) == [("stopped", 0)]


def test_the_grace_of_the_process_is_the_shorter_one():
    run = told(shop(slow, graceful_shutdown_timeout=timedelta(seconds=20)), grace_ms=5_000)
    assert ends(run) == [("killed", 5)]
    assert (rows(run)["begun"], rows(run)["done"]) == (3, 2)


@pytest.mark.parametrize(("fault", "waits_s"), [(GracefulStop, 0), (Crash, 10)])
def test_the_next_task_of_a_run_need_not_wait_for_who_had_it(fault, waits_s):
    """ShutdownWorker: after a crash it waits ten seconds (T5)."""
    site = Site("orders.Order/store decision", "after", 1)
    run = shop(slow, replicas=2, nap_s=5).run(None, Schedule([fault(site, down=60_000)]))
    first = next(run.history.of("commit"))
    assert first.at_ms // 1_000 == 5 + waits_s


def test_a_grace_that_is_none_is_refused():
    with pytest.raises(InvalidDefinition, match="graceful_shutdown_timeout must be a timedelta"):
        shop(slow, graceful_shutdown_timeout=20).run()


def test_a_search_tries_it_where_it_is_asked_to():
    system = shop(slow, graceful_shutdown_timeout=timedelta(seconds=20))
    found = explore(system, properties=assumed(system), kinds=[GracefulStop], faults_max=1)
    assert any("graceful stop" in cell for cell in found.coverage.cells)
