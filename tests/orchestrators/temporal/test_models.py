"""The order saga on Temporal: right, with a planted bug, and held against the real sdk-core."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

pytest.importorskip("temporalio", reason="the extra chaosharness[temporal] is not installed")

from temporalio.client import WorkflowHistory
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from chaosharness import Crash, Schedule, Site, assumed, explore
from chaosharness.system.run import Run
from models.temporal import broken, right


def test_the_right_saga_is_silent_over_all_single_faults_with_nothing_claimed() -> None:
    shop = right.build()
    campaign = explore(shop, properties=assumed(shop), faults_max=1)
    assert campaign.counterexamples == ()
    assert campaign.coverage.levels[1].complete


def test_a_key_per_attempt_is_named_at_one_fault_with_nothing_claimed() -> None:
    shop = broken.key_of_attempt()
    campaign = explore(shop, properties=assumed(shop), faults_max=1)
    first = campaign.counterexamples[0]
    assert (first.findings[0].kind, first.findings[0].place) == ("effect twice", "bank.charge")
    assert len(first.schedule) == 1


def refused(histories: list[WorkflowHistory]) -> list[str]:
    """Return what the real sdk-core says against histories of ours."""

    async def replay() -> list[str]:
        runtime = Runtime(telemetry=TelemetryConfig(logging=None))
        replayer = Replayer(
            workflows=[right.OrderSaga],
            workflow_runner=UnsandboxedWorkflowRunner(),
            runtime=runtime,
        )

        async def each() -> AsyncIterator[WorkflowHistory]:
            for history in histories:
                yield history

        async with replayer.workflow_replay_iterator(each()) as results:
            return [repr(one.replay_failure) async for one in results if one.replay_failure]

    return asyncio.run(replay())


def histories_of(run: Run) -> list[WorkflowHistory]:
    return [
        WorkflowHistory.from_json(name, json.loads(text))
        for name, text in run.event_histories.items()
    ]


def test_every_history_is_accepted_by_the_real_replayer() -> None:
    shop = right.build()
    calm = shop.run(list(shop.examples), Schedule())
    found = histories_of(calm)
    for operation in ("orders.OrderSaga/store decision", "orders.charge/bank.charge"):
        for phase in ("before", "after"):
            for attempt in (1, 2, 3):
                site = Site(operation, phase, 1, attempt)  # type: ignore[arg-type]
                found += histories_of(shop.run(list(shop.examples), Schedule((Crash(site),))))
    assert len(found) >= 20
    assert refused(found) == []
