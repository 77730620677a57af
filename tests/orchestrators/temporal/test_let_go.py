"""Workflows that are under way as a run ends, or a worker dies: nothing of them goes on later."""

from __future__ import annotations

import gc
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("temporalio")

from temporalio import activity, workflow

from chaosharness import Crash, Gateway, Schedule, Site, System, Temporal, explore, idempotent

PATIENCE = timedelta(seconds=30)


@asynccontextmanager
async def held(order: str) -> Any:
    """What workflows do with a pool: take something, and give it back on the way out."""
    await workflow.execute_activity("take", order, start_to_close_timeout=PATIENCE)
    try:
        yield
    finally:
        await workflow.execute_activity("give", order, start_to_close_timeout=PATIENCE)


@workflow.defn
class Holds:
    @workflow.run
    async def run(self, order: str) -> None:
        async with held(order):
            await workflow.sleep(60)


ROUNDS: list[str] = []


@workflow.defn
class TriesAgain:
    @workflow.run
    async def run(self, order: str) -> None:
        try:
            await workflow.sleep(3600)
        finally:
            while True:
                ROUNDS.append(order)
                try:
                    await workflow.sleep(1)
                except Exception:
                    continue


def pool(**options: Any) -> System:
    system = System("pool")
    temporal = system.add(Temporal("temporal"))
    bank = system.add(Gateway("bank"))

    @system.service("pool")
    def worker(env: Any) -> None:
        client = env.client(bank)

        @activity.defn
        async def take(order: str) -> None:
            await client.charge(order, 1, key=order)

        @activity.defn
        async def give(order: str) -> None:
            await client.refund(order, 1, key=f"{order} back")

        env.worker(temporal, task_queue="q", workflows=[Holds], activities=[take, give], **options)

    @system.entry(examples=["o1", "o2"])
    async def begin(env: Any, order: str) -> None:
        await env.client(temporal).start_workflow(Holds.run, order, id=order, task_queue="q")

    return system


@pytest.mark.parametrize("options", [{}, {"max_cached_workflows": 0}], ids=["cached", "replayed"])
def test_no_code_of_a_workflow_runs_as_it_is_freed(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """It would ask for an activity outside of any workflow, and Python print each error."""
    ignored: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: ignored.append(repr(found.object)))
    campaign = explore(
        pool(**options), properties=[idempotent()], faults_max=1, kinds=[Crash], runs_max=40
    )
    gc.collect()
    assert campaign.counterexamples == ()
    assert ignored == []


def test_code_that_tries_again_on_its_way_out_comes_to_its_end() -> None:
    """Outside of a workflow each try fails at once, and there is no end of them."""
    system = System("endless", may_wait=["TriesAgain"])
    temporal = system.add(Temporal("temporal"))
    system.service("w")(lambda env: env.worker(temporal, task_queue="q", workflows=[TriesAgain]))

    @system.entry(examples=["o1"])
    async def begin(env: Any, order: str) -> None:
        await env.client(temporal).start_workflow(TriesAgain.run, order, id=order, task_queue="q")

    ROUNDS.clear()
    died = Schedule([Crash(Site("w.TriesAgain/decide", "before", attempt=1))])
    assert system.run(None, died).ending.verdict in ("quiet", "budget")
    assert len(ROUNDS) < 100
