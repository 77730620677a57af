"""What AWS's own store can do: an Express run carried out twice, a description that is old."""

import json
from typing import Any, Literal

import pytest

from chaosharness import Delay, Duplicate, Schedule, Site, StepFunctions, System
from chaosharness.system.run import Run

STATES = {
    "StartAt": "Draw",
    "States": {
        "Draw": {
            "Type": "Pass",
            "Parameters": {"drawn.$": "States.UUID()", "name.$": "$$.Execution.Name"},
            "Next": "Tell",
        },
        "Tell": {"Type": "Task", "Resource": "tell", "End": True},
    },
}


def shop(kind: Literal["express", "standard"], *, look_s: float | None = None) -> System:
    system = System("shop")
    express = ["m"] if kind == "express" else []
    sfn = system.add(StepFunctions("sfn", machines={"m": STATES}, express=express))

    @system.service("functions")
    def functions(env: Any) -> None:
        def tell(event: Any, context: Any) -> None:
            env.note("told", **event, request=context.aws_request_id)

        env.function(sfn, "tell", tell)

    @system.entry(examples=[{}])
    def begin(env: Any, item: Any) -> None:
        client = env.client(sfn)
        client.start_execution(stateMachineArn="m", name="e1", input=json.dumps({}))
        if look_s is not None:
            env.sleep(look_s)
            try:
                seen = client.describe_execution(executionArn="m:e1")["status"]
            except Exception as error:
                seen = type(error).__name__
            env.note("seen", status=seen)

    return system


def told(run: Run, what: str) -> list[dict[str, Any]]:
    return [one.data for one in run.history.of("note") if one.data["what"] == what]


def test_an_express_execution_runs_twice_under_one_name() -> None:
    run = shop("express").run(None, Schedule([Duplicate(Site("m/run"))]))
    assert run.ending.verdict == "quiet"
    first, second = told(run, "told")
    assert first["name"] == second["name"] == "e1"
    assert first["drawn"] != second["drawn"]
    assert first["request"] != second["request"]


def test_it_runs_once_without_a_fault_and_a_standard_one_always() -> None:
    assert len(told(shop("express").run(), "told")) == 1
    calm = shop("standard").run(None, Schedule([Duplicate(Site("m/run"))]))
    assert len(told(calm, "told")) == 1
    assert not any(operation == "m/run" for operation, _ in calm.reached)


@pytest.mark.parametrize(
    ("look_s", "late_ms", "status"),
    [
        (5, None, "SUCCEEDED"),
        (0, 60_000, "ExecutionDoesNotExist"),
        (5, 60_000, "ExecutionDoesNotExist"),
        (5, 5_010, "RUNNING"),
        (5, 100, "SUCCEEDED"),
    ],
)
def test_a_description_is_as_old_as_the_delay(
    look_s: float, late_ms: int | None, status: str
) -> None:
    faults = [] if late_ms is None else [Delay(Site("m/describe"), lasting=late_ms)]
    run = shop("standard", look_s=look_s).run(None, Schedule(faults))
    assert [one["status"] for one in told(run, "seen")] == [status]
