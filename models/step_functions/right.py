"""Charge, reserve, ship; what fails after the charge is undone. Functions know their keys."""

import json
from collections.abc import Callable
from typing import Any

import attrs

from chaosharness import Env, External, Order, StepFunctions, System, every_saga_settles

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
                    {"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Refund"}
                ],
                "ResultPath": "$.parcel",
                "Next": "Done",
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


class Bank:
    """Takes money once per key, and gives it back once."""

    def __init__(self) -> None:
        self.charged: dict[str, int] = {}
        self.refunded: dict[str, int] = {}

    def charge(self, key: str, cents: int) -> Any:
        if key in self.charged:
            return External.unchanged(key)
        self.charged[key] = cents
        return key

    def refund(self, key: str) -> Any:
        if key in self.refunded or key not in self.charged:
            return External.unchanged(key)
        self.refunded[key] = self.charged[key]
        return key


class Courier:
    """Books one parcel per order."""

    def __init__(self) -> None:
        self.parcels: set[str] = set()

    def ship(self, order: str) -> Any:
        if order in self.parcels:
            return External.unchanged(order)
        self.parcels.add(order)
        return order


@attrs.frozen
class Parts:
    """What a variant may replace."""

    definition: Callable[[], dict[str, Any]] = definition
    key: Callable[[Any, Any], str] = lambda event, context: str(event["id"])


def build(parts: Parts = Parts(), *, name: str = "step functions") -> System:
    """Build the shop."""
    shop = System(name)
    engine = shop.add(StepFunctions("sfn", machines={"order": parts.definition()}))
    bank = shop.add(External("bank", Bank))
    courier = shop.add(External("courier", Courier))

    @shop.service("payments")
    def payments(env: Env) -> None:
        client = env.client(bank)

        def charge(event: Any, context: Any) -> Any:
            return client.charge(parts.key(event, context), event["cents"])

        def refund(event: Any, context: Any) -> Any:
            return client.refund(parts.key(event, context))

        env.function(engine, "charge", charge)
        env.function(engine, "refund", refund)

    @shop.service("shipping")
    def shipping(env: Env) -> None:
        client = env.client(courier)

        def ship(event: Any, context: Any) -> Any:
            return client.ship(event["id"])

        env.function(engine, "ship", ship)

    @shop.entry(examples=[Order("o1", "ann", "book", 500), Order("o2", "bob", "lamp", 700)])
    def place(env: Env, order: Order) -> None:
        env.client(engine).start_execution(
            stateMachineArn="order",
            name=order.id,
            input=json.dumps({"id": order.id, "cents": order.cents}),
        )

    shop.claim(
        every_saga_settles(
            started="execution started",
            settled=("execution succeeded", "execution failed"),
            by="saga",
        )
    )
    return shop


shop = build()
