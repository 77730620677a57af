"""Charge, then ship; what fails after the charge is undone. Functions know their keys."""

import json
from collections.abc import Callable
from typing import Any

import attrs

from chaosharness import Env, External, Order, StepFunctions, System, every_saga_settles
from models.third_parties import (
    VASE,
    Bank,
    Courier,
    Insurer,
    money_is_kept_for_parcels,
    parcels_are_stopped_before_money_goes_back,
)

RETRY = [
    {
        "ErrorEquals": ["Lambda.ServiceException", "Lambda.SdkClientException", "Lambda.Unknown",
                        "ConnectionError", "TimeoutError", "States.Timeout"],
        "IntervalSeconds": 2,
        "BackoffRate": 2.0,
        "MaxAttempts": 6,
    }
]  # fmt: skip


def definition() -> dict[str, Any]:
    """Return the state machine, as its JSON is."""
    return {
        "StartAt": "Charge",
        "States": {
            "Charge": {
                "Type": "Task",
                "Resource": "charge",
                "TimeoutSeconds": 30,
                "Retry": RETRY,
                "Catch": [
                    {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Refund"}
                ],
                "ResultPath": "$.charge",
                "Next": "Ship",
            },
            "Ship": {
                "Type": "Task",
                "Resource": "ship",
                "TimeoutSeconds": 30,
                "Retry": RETRY,
                "Catch": [
                    {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Recall"}
                ],
                "ResultPath": "$.parcel",
                "Next": "Done",
            },
            "Recall": {  # a request without an answer may have been carried out
                "Type": "Task",
                "Resource": "recall",
                "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 20}],
                "ResultPath": "$.recall",
                "Next": "Refund",
            },
            "Refund": {
                "Type": "Task",
                "Resource": "refund",
                "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 20}],
                "ResultPath": "$.refund",
                "Next": "Cancelled",
            },
            "Cancelled": {"Type": "Fail", "Error": "OrderCancelled"},
            "Done": {"Type": "Succeed"},
        },
    }


def side_by_side() -> dict[str, Any]:
    """Charge and Ship in one Parallel state: each branch ends, and says how it came out."""
    states = definition()["States"]
    branches = []
    for name in ("Charge", "Ship"):
        task = {"Type": "Task", "Resource": name.lower(), "TimeoutSeconds": 30, "Retry": RETRY,
                "ResultPath": None, "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "No"}],
                "Next": "Yes"}  # fmt: skip
        ends = {word: {"Type": "Pass", "Result": word, "End": True} for word in ("Yes", "No")}
        branches.append({"StartAt": name, "States": {name: task, **ends}})
    done = [{"Variable": f"$.both[{at}]", "StringEquals": "Yes"} for at in (0, 1)]
    rest = {name: states[name] for name in ("Recall", "Refund", "Cancelled", "Done")}
    both = {"Type": "Parallel", "Branches": branches, "ResultPath": "$.both", "Next": "How"}
    how = {"Type": "Choice", "Choices": [{"And": done, "Next": "Done"}], "Default": "Recall"}
    return {"StartAt": "Both", "States": {"Both": both, "How": how, **rest}}


def with_insurance() -> dict[str, Any]:
    """A third step, after which two are undone: the last first."""
    found = definition()
    found["States"]["Ship"]["Next"] = "Insure"
    insure = {"Resource": "insure", "ResultPath": "$.cover"}
    found["States"]["Insure"] = {**definition()["States"]["Ship"], **insure}
    return found


def without_receipt() -> dict[str, Any]:
    """The version before `with_receipt`: a refund is given up within the day.

    That is longer than the bank is away: one that was given up sooner would keep the money.
    """
    found = definition()
    found["States"]["Refund"]["Retry"][0]["MaxDelaySeconds"] = 600
    return found


def with_receipt() -> dict[str, Any]:
    """The next version: a refund is told the receipt of the charge that it is for."""
    found = without_receipt()
    found["States"]["Refund"]["Parameters"] = {
        "id.$": "$.id",
        "cents.$": "$.cents",
        "receipt.$": "$.id",
    }
    return found


def start(client: Any, order: Order) -> None:
    """Start an order's execution: under its id, however often it is asked for."""
    given = {"id": order.id, "item": order.item, "cents": order.cents}
    client.start_execution(stateMachineArn="order", name=order.id, input=json.dumps(given))


@attrs.frozen
class Parts:
    """What a variant may replace."""

    definition: Callable[[], dict[str, Any]] = definition
    key: Callable[[Any, Any], str] = lambda event, context: str(event["id"])
    bank: type[Bank] = Bank
    express: bool = False
    previous: Callable[[], dict[str, Any]] | None = None
    refund_key: Callable[[Any, Any], str] | None = None
    start: Callable[[Any, Order], None] = start
    insured: bool = False


def build(parts: Parts = Parts(), *, name: str = "step functions") -> System:
    """Build the shop."""
    shop = System(name)
    engine = shop.add(
        StepFunctions(
            "sfn",
            machines={"order": parts.definition()},
            express=("order",) if parts.express else (),
            previous={} if parts.previous is None else {"order": parts.previous()},
        )
    )
    bank = shop.add(External("bank", parts.bank))
    courier = shop.add(External("courier", Courier))

    @shop.service("payments")
    def payments(env: Env) -> None:
        client = env.client(bank)

        def charge(event: Any, context: Any) -> Any:
            return client.charge(parts.key(event, context), event["cents"])

        def refund(event: Any, context: Any) -> Any:
            key = (parts.refund_key or parts.key)(event, context)
            return client.refund(key, event["cents"])

        env.function(engine, "charge", charge)
        env.function(engine, "refund", refund)

    @shop.service("shipping")
    def shipping(env: Env) -> None:
        client = env.client(courier)

        def ship(event: Any, context: Any) -> Any:
            return client.ship(event["id"], event["item"])

        def recall(event: Any, context: Any) -> Any:
            return client.recall(event["id"])

        env.function(engine, "ship", ship)
        env.function(engine, "recall", recall)

    if parts.insured:
        insurer = shop.add(External("insurer", Insurer, reads=("cover",)))

        @shop.service("insurance")
        def insurance(env: Env) -> None:
            client = env.client(insurer)
            env.function(
                engine, "insure", lambda event, _: client.cover(event["id"], event["item"])
            )

    orders = [Order("o1", "ann", "book", 500), Order("o2", "bob", "lamp", 700)]

    @shop.entry(examples=[VASE] if parts.insured else orders)
    def place(env: Env, order: Order) -> None:
        parts.start(env.client(engine), order)

    shop.claim(
        every_saga_settles(
            started="execution started",
            settled=("execution succeeded", "execution failed"),
            by="saga",
        ),
        money_is_kept_for_parcels(),
    )
    if parts.insured:
        shop.claim(parcels_are_stopped_before_money_goes_back())
    return shop


shop = build()
express = build(Parts(express=True), name="express")
insured = build(Parts(definition=with_insurance, insured=True), name="insured")
deployed = build(
    Parts(
        definition=with_receipt,
        previous=without_receipt,
        refund_key=lambda event, context: str(event.get("receipt", event["id"])),
    ),
    name="deployed",
)
