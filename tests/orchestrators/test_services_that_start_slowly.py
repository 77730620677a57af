"""Functions of services that ask somebody before they are there: they are deployed all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from chaosharness import (
    Crash,
    Delay,
    DurableFunctions,
    External,
    Pause,
    Schedule,
    Site,
    StepFunctions,
    System,
    assumed,
    explore,
)
from chaosharness.errors import InvalidDefinition


class Parameters:
    """Where a function gets its token from, once, as it begins."""

    def get(self, name: str) -> str:
        return f"value of {name}"


def run_by_state_machine(asks: str = "charge") -> System:
    shop = System("slow")
    definition = {"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": asks, "End": True}}}
    engine = shop.add(StepFunctions("sfn", machines={"m": definition}))
    parameters = shop.add(External("parameters", Parameters, reads=("get",)))

    @shop.service("payments")
    def payments(env: Any) -> None:
        token = env.client(parameters).get("token")

        def charge(event: Any, context: Any) -> str:
            env.note("charged", by=token)
            return token

        env.function(engine, "charge", charge)

    @shop.entry(examples=[{"id": "o1"}])
    def place(env: Any, item: Any) -> None:
        given = json.dumps(item)
        env.client(engine).start_execution(stateMachineArn="m", name=item["id"], input=given)

    return shop


def run_by_lambda(asks: str = "charge") -> System:
    durable = pytest.importorskip("aws_durable_execution_sdk_python").durable_execution
    shop = System("slow")
    engine = shop.add(DurableFunctions("lambda"))
    parameters = shop.add(External("parameters", Parameters, reads=("get",)))

    @shop.service("payments")
    def payments(env: Any) -> None:
        token = env.client(parameters).get("token")

        def charge(event: Any, context: Any) -> str:
            env.note("charged", by=token)
            return token

        env.function(engine, "charge", durable(charge))

    @shop.entry(examples=[{"id": "o1"}])
    def place(env: Any, item: Any) -> None:
        env.client(engine).invoke(FunctionName=asks, InvocationType="Event", Payload="{}")

    return shop


BOTH = pytest.mark.parametrize("build", [run_by_state_machine, run_by_lambda])


def charged(shop: System, *faults: Any) -> int:
    run = shop.run(None, Schedule(faults))
    assert run.unused == ()
    assert run.ending.verdict == "quiet"
    return sum(1 for one in run.history.of("note") if one.data["what"] == "charged")


@BOTH
def test_a_call_waits_for_a_function_that_is_being_built(build: Callable[[], System]) -> None:
    assert charged(build()) == 1


@BOTH
@pytest.mark.parametrize(
    "fault",
    [
        Delay(Site("payments.start/parameters.get", entity=0), lasting=5_000),
        Pause(Site("payments.start/parameters.get", entity=0), lasting=5_000),
        Crash(Site("payments.start/parameters.get", "after", entity=0)),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_so_it_does_where_that_takes_longer_or_has_to_be_begun_anew(
    build: Callable[[], System], fault: Any
) -> None:
    assert charged(build(), fault) == 1


@BOTH
def test_a_search_of_it_finds_nothing(build: Callable[[], System]) -> None:
    shop = build()
    campaign = explore(shop, properties=assumed(shop), faults_max=1, runs_max=150)
    assert campaign.counterexamples == ()


@BOTH
def test_a_function_that_no_service_has_is_refused_once_all_are_there(
    build: Callable[[str], System],
) -> None:
    with pytest.raises(InvalidDefinition, match="'chrage', which no service has"):
        build("chrage").run()


def test_one_that_no_service_has_fails_its_task_where_a_fault_has_struck() -> None:
    late = Delay(Site("payments.start/parameters.get", entity=0), lasting=5_000)
    run = run_by_state_machine("bill").run(None, Schedule([late]))
    [history] = run.event_histories.values()
    assert "Function not found: bill" in history
