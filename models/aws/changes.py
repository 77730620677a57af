"""A till that hears of orders by the stream of a DynamoDB table.

chaosharness run models.aws.changes:changes
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from chaosharness import (
    SQS,
    DynamoDB,
    DynamoStream,
    Env,
    Gateway,
    Lambda,
    SQSQueue,
    System,
    idempotent,
    never_charged_twice,
    order_per_key,
)

Charge = Callable[[dict[str, Any], Any], dict[str, Any]]


class Order(Struct, frozen=True):
    """What is ordered."""

    id: str
    cents: int


def changes() -> System:
    """The right one: it says at which change it failed, and goes on there, however often."""
    return _system("changes")


def key_from_the_call() -> System:
    """A charge is named by the call of the function, and each try of a batch is another call."""
    return _system("changes-by-call", key="call")


def given_up_after_two() -> System:
    """A batch is tried three times, and then all of its changes are skipped: nobody is told."""
    return _system("changes-impatient", retries_max=2)


def _system(name: str, *, key: str = "order", retries_max: int | None = None) -> System:
    system = System(name)
    letters = {"dead_letter": "dead", "receives_max": 10}
    queues = system.add(
        SQS("queues", {"orders": SQSQueue(**letters), "dead": SQSQueue()})  # type: ignore[arg-type]
    )
    db = system.add(DynamoDB("db", {"orders": "id"}))
    stream = system.add(DynamoStream("stream", db, "orders"))
    bank = system.add(Gateway("bank", timeout_ms=1_000))

    @system.service("desk")
    def desk(env: Env) -> None:
        tables = env.connect(db)

        def on_order(order: Order) -> None:
            tables.put("orders", {"id": order.id, "cents": order.cents})

        env.consume(queues, "orders", on_order, on_unreadable="skip")

    @system.service("till")
    def till(env: Env) -> None:
        handler = charging(env.client(bank), key)
        charge = Lambda(handler, batch=10, window_ms=500, partial=True, timeout_ms=5_000)
        env.consume(stream, "orders", charge, retries_max=retries_max)

    @system.entry(examples=[Order("o1", 500), Order("o2", 900)])
    def place(env: Env, order: Order) -> None:
        env.publisher(queues)("orders", order, key=order.id)

    system.claim(idempotent(), never_charged_twice(bank), order_per_key("orders"))
    return system


def charging(bank: Any, key: str) -> Charge:
    """Return the function, as it would be deployed."""

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        for record in event["Records"]:
            change = record["dynamodb"]
            if record["eventName"] != "INSERT":
                continue
            order, cents = change["NewImage"]["id"]["S"], int(change["NewImage"]["cents"]["N"])
            named = order if key == "order" else f"{context.aws_request_id}/{order}"
            try:
                bank.charge(order, cents, key=named)
            except OSError:
                return {"batchItemFailures": [{"itemIdentifier": change["SequenceNumber"]}]}
        return {"batchItemFailures": []}

    return handler
