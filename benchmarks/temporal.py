"""Every history of an order saga under every single fault, held against the real sdk-core.

python -m benchmarks temporal

`temporalio.worker.Replayer` holds the real core of Temporal's SDK: it accepts a history only if the
workflow could have written it. Prints how many histories it was given and how many it refused.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

from temporalio.client import WorkflowHistory
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from chaosharness import explore
from chaosharness.system.run import OBSERVERS, Run
from models.temporal import right


async def refusals(histories: list[WorkflowHistory]) -> list[str]:
    """Return what the real sdk-core refuses, and why."""
    replayer = Replayer(
        workflows=[right.OrderSaga],
        workflow_runner=UnsandboxedWorkflowRunner(),
        runtime=Runtime(telemetry=TelemetryConfig(logging=None)),
    )

    async def each() -> AsyncIterator[WorkflowHistory]:
        for history in histories:
            yield history

    async with replayer.workflow_replay_iterator(each()) as results:
        return [repr(one.replay_failure) async for one in results if one.replay_failure]


def main() -> None:
    """Print how many histories the real core was given, and how many it refused."""
    texts: dict[str, str] = {}
    runs = 0

    def see(run: Run) -> None:
        nonlocal runs
        runs += 1
        for name, text in run.event_histories.items():
            texts.setdefault(text, name)

    started = time.process_time()
    token = OBSERVERS.set((*OBSERVERS.get(), see))
    try:
        shop = right.build()
        for seed in range(2):
            explore(shop, properties=(), faults_max=1 + 7 * seed, runs_max=1_500, mode="random"
                    if seed else "small-first", seed=seed)  # fmt: skip
    finally:
        OBSERVERS.reset(token)
    took = time.process_time() - started
    histories = [WorkflowHistory.from_json(name, json.loads(text)) for text, name in texts.items()]
    refused = asyncio.run(refusals(histories))
    print(f"{runs:,} runs ({runs / took:,.0f} a second), {len(histories):,} different histories")
    print(f"refused by the real sdk-core: {len(refused)}")
    for why in refused[:5]:
        print(f"    {why[:300]}")


if __name__ == "__main__":
    main()
