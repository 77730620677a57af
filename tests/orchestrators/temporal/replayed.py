"""What the real sdk-core says of histories of ours."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from temporalio.client import WorkflowHistory
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from chaosharness.system.run import Run

BEGUN = "EVENT_TYPE_WORKFLOW_TASK_STARTED"
"""Without it in a history (a cron run that waits for its time) the core waits for it, for ever."""


def refusals(runs: Iterable[Run], workflows: Sequence[type]) -> list[str]:
    """Return what the core refuses in the histories of runs.

    Each is replayed by a worker of its own: a worker that replays many hangs now and then before
    temporalio 1.35, without chaosharness too (4 times in 4 with 93 histories and 1.18; one by one,
    never in 651).
    """
    texts = {text: name for run in runs for name, text in run.event_histories.items()}
    histories = [
        WorkflowHistory.from_json(name.partition(" run ")[0], json.loads(text))
        for text, name in texts.items()
        if BEGUN in text
    ]
    return asyncio.run(_refused(histories, workflows))


@cache
def _runtime() -> Runtime:
    """The core's threads, for all tests of a process.

    To let go of a runtime waits for its threads, and before 1.35 one of them may wait for us.
    """
    return Runtime(telemetry=TelemetryConfig(logging=None))


async def _refused(histories: list[WorkflowHistory], workflows: Sequence[type[Any]]) -> list[str]:
    replayer = Replayer(
        workflows=workflows,
        workflow_runner=UnsandboxedWorkflowRunner(),
        runtime=_runtime(),
    )
    found = []
    for history in histories:
        result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
        if result.replay_failure is not None:
            found.append(repr(result.replay_failure))
    return found
