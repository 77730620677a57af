"""A client that waits for the end of a workflow which nothing moves any more is told so."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio import workflow

from chaosharness import System, Temporal


@workflow.defn
class Held:
    """Waits to be let go."""

    def __init__(self) -> None:
        self.free = False

    @workflow.signal
    def let_go(self) -> None:
        self.free = True

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.free)
        return "gone"


def shop(*, lets_go: bool) -> System:
    system = System("held")
    temporal = system.add(Temporal("temporal"))

    @system.service("worker")
    def worker(env: Any) -> None:
        env.worker(temporal, task_queue="q", workflows=[Held])

    @system.entry(examples=["a"])
    async def hold(env: Any, name: str) -> None:
        handle = await env.client(temporal).start_workflow(Held.run, id=name, task_queue="q")
        if lets_go:
            await handle.signal(Held.let_go)
        await handle.result()

    return system


def test_who_waits_for_what_nobody_moves_is_told() -> None:
    ending = shop(lets_go=False).run().ending
    assert ending.verdict == "budget"
    assert ending.reason.endswith(
        "Somebody waits for the end of workflow 'Held' (a), which waits for a signal, an update or "
        "a cancellation, and nobody is there to send one"
    )


def test_who_waits_for_what_comes_is_not() -> None:
    assert shop(lets_go=True).run().ending.verdict == "quiet"
