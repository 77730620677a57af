"""A Map of which some items are carried out and others are not, judged with nothing claimed."""

import json
from typing import Any

from chaosharness import Env, External, NetworkPartition, StepFunctions, System, explore
from models.third_parties import Bank

RETRY = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "MaxAttempts": 8, "BackoffRate": 2}]
SWALLOW = {"Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "Skip"}]}


def build(*, swallows: bool) -> System:
    """Charges each line of an order."""
    system = System("lines")
    charge: dict[str, Any] = {"Type": "Task", "Resource": "charge", "Retry": RETRY, "End": True}
    states: dict[str, Any] = {"Charge": charge}
    if swallows:
        states = {"Charge": {**charge, **SWALLOW}, "Skip": {"Type": "Pass", "End": True}}
    each = {"Type": "Map", "ItemsPath": "$.lines", "End": True,
            "ItemProcessor": {"StartAt": "Charge", "States": states}}  # fmt: skip
    definition = {"StartAt": "Each", "States": {"Each": each}}
    server = system.add(StepFunctions("sfn", machines={"order": definition}))
    bank = system.add(External("bank", Bank))

    @system.service("functions")
    def functions(env: Env) -> None:
        money = env.client(bank)

        def charge(event: Any, context: Any) -> None:
            money.charge(event["line"], event["cents"])

        env.function(server, "charge", charge)

    @system.entry(examples=["o1", "o2"])
    def place(env: Env, order: str) -> None:
        lines = [{"line": f"{order}-{number}", "cents": 100 * number} for number in (1, 2)]
        given = json.dumps({"lines": lines})
        env.client(server).start_execution(stateMachineArn="order", name=order, input=given)

    return system


def test_an_execution_that_fails_with_a_part_of_its_charges_is_asked_about() -> None:
    """One request got through without an answer, and the other did not: no refusal does that."""
    campaign = explore(build(swallows=False), kinds=[NetworkPartition], faults_max=1)
    assert campaign.counterexamples == ()
    [question] = campaign.questions
    assert question.place == "bank.charge"
    assert "execution failed" in str(question)


def test_one_that_succeeds_without_a_part_of_them_has_lost_it() -> None:
    campaign = explore(build(swallows=True), kinds=[NetworkPartition], faults_max=1)
    kinds = {one.findings[0].kind for one in campaign.counterexamples}
    assert "effect lost" in kinds
