"""What stands where a workflow has failed, and everybody can see it: that is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chaosharness import (
    ErrorReply,
    External,
    Gateway,
    Schedule,
    Site,
    StepFunctions,
    System,
    explore,
    idempotent,
)
from chaosharness.checkers import assumed

AGAIN = [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 99}]
"""So that charging never fails for good: no other end of the execution says what leaves nothing."""


class Courier:
    def __init__(self) -> None:
        self.parcels: set[str] = set()

    def ship(self, order: str) -> Any:
        if order in self.parcels:
            return External.unchanged("there")
        self.parcels.add(order)
        return "shipped"


def shop(*, refunds: bool = False, charges_last: bool = False) -> System:
    """An execution that charges, ships, and fails where it cannot ship."""
    catcher = {"ErrorEquals": ["States.ALL"], "ResultPath": None, "Next": "refund"}
    caught = {"Catch": [catcher]} if refunds else {}
    after = {"End": True} if charges_last else {"Next": "ship"}
    follows = {"Next": "charge"} if charges_last else {"End": True}
    states: dict[str, Any] = {
        "charge": task("charge", Retry=AGAIN, **after),
        "ship": task("ship", **caught, **follows),
        "refund": task("refund", Retry=AGAIN, Next="failed"),
        "failed": {"Type": "Fail", "Error": "CannotShip"},
    }
    if not refunds:
        del states["refund"], states["failed"]
    first = "ship" if charges_last else "charge"
    system = System("shop")
    sfn = system.add(StepFunctions("sfn", machines={"m": {"StartAt": first, "States": states}}))
    bank, courier = system.add(Gateway("bank")), system.add(External("courier", Courier))

    @system.service("functions")
    def functions(env: Any) -> None:
        money, parcels = env.client(bank), env.client(courier)
        does = {
            "charge": lambda id: money.charge(id, 500, key=id),
            "ship": parcels.ship,
            "refund": lambda id: money.refund(id, 500, key=f"{id} back"),
        }
        for name in ("charge", "ship", *(["refund"] if refunds else [])):
            env.function(sfn, name, lambda event, _, do=does[name]: do(event["id"]) and None)

    @system.entry(examples=[{"id": "o1"}])
    def begin(env: Any, order: dict[str, str]) -> None:
        client = env.client(sfn)
        client.start_execution(stateMachineArn="m", name=order["id"], input=json.dumps(order))

    return system


def task(name: str, **more: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": name, "ResultPath": None, **more}


REFUSED = Schedule([ErrorReply(Site("functions.<lambda>/courier.ship"))])


def asked(system: System, *answers: Any) -> list[tuple[str, str, bool]]:
    run = system.run(None, REFUSED)
    assert run.unused == ()
    claims = answers or assumed(system)
    found = [one for claim in claims for one in claim.findings(run.evidence())]
    return [(one.kind, one.place, one.question) for one in found]


def test_money_that_is_kept_by_a_failed_execution_is_asked_about() -> None:
    assert asked(shop()) == [("stands", "bank.charge", True)]
    campaign = explore(shop(), properties=assumed(shop()), faults_max=1, kinds=[ErrorReply])
    assert campaign.counterexamples == ()  # a question breaks nothing
    [question] = campaign.questions
    assert "ends as 'execution failed', and bank.charge(cents=500, order=o1) stands" in str(
        question
    )


def test_an_option_answers_it() -> None:
    answer = idempotent(may_end=[("bank.charge", "execution failed")])
    assert asked(shop(), answer) == []


@pytest.mark.parametrize(
    "system", [shop(refunds=True), shop(charges_last=True)], ids=["refunds", "charges last"]
)
def test_what_was_given_back_or_never_taken_is_not(system: System) -> None:
    """Whose execution ends as failed as well, and nothing stands."""
    assert asked(system) == []
    notes = [one.data["what"] for one in system.run(None, REFUSED).history.of("note")]
    assert "execution failed" in notes
