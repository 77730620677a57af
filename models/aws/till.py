"""A till in a Lambda function: it charges batches of orders.

chaosharness run models.aws.till:till
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from chaosharness import (
    SQS,
    Env,
    Gateway,
    Lambda,
    SQSQueue,
    System,
    dead_letters_were_tried,
    idempotent,
    never_charged_twice,
    nothing_acknowledged_lost,
)

ORDERS = [{"order": "o1", "cents": 500}, {"order": "o2", "cents": 900}]


WORK_S = 9.0
"""How long it takes to look at an order."""


def till() -> System:
    """The right one: it says which records failed, and asks AWS to read that."""
    return _system("till", partial=True)


def partial_response_missing() -> System:
    """It says which records failed, and nobody reads it: ReportBatchItemFailures is not set."""
    return _system("till-deaf", partial=False)


def bounded() -> System:
    """The right one for a bank that takes one request at a time: the mapping asks for no more."""
    return _bounded("till-bounded", concurrency_max=2)


def throttled() -> System:
    """The function is held to one call at a time, and who polls the queue does not know of it.

    What it is throttled with is received again and again, and put aside: nobody has seen it.
    """
    return _bounded("till-throttled", reserved=1)


def _bounded(
    name: str, *, concurrency_max: int | None = None, reserved: int | None = None
) -> System:
    system = System(name, arrival_ms=1)
    queues = {
        "orders": SQSQueue(dead_letter="dead", receives_max=2, visibility_ms=10_000),
        "dead": SQSQueue(),
    }
    bus = system.add(SQS("bus", queues))
    bank = system.add(Gateway("bank", timeout_ms=1_000))

    @system.service("till", replicas=3)
    def serve(env: Env) -> None:
        client = env.client(bank)

        def handler(event: dict[str, Any], context: Any) -> None:
            for record in event["Records"]:
                order = json.loads(record["body"])
                env.sleep(WORK_S)
                client.charge(order["order"], order["cents"], key=order["order"])

        charge = Lambda(
            handler,
            batch=1,
            timeout_ms=10_000,
            concurrency_max=concurrency_max,
            reserved=reserved,
        )
        env.consume(bus, "orders", charge)

    @system.entry(examples=[{"order": f"o{number}", "cents": 500} for number in range(1, 5)])
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["order"])

    system.claim(dead_letters_were_tried())
    return system


def _system(name: str, *, partial: bool) -> System:
    system = System(name, arrival_ms=1)
    bus = system.add(
        SQS(
            "bus",
            {"orders": SQSQueue(dead_letter="dead", receives_max=10), "dead": SQSQueue()},
        )
    )
    bank = system.add(Gateway("bank", timeout_ms=1_000))

    @system.service("till")
    def serve(env: Env) -> None:
        handler = charging(env.client(bank))
        charge = Lambda(handler, batch=5, window_ms=100, timeout_ms=6_000, partial=partial)
        env.consume(bus, "orders", charge)

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["order"])

    system.claim(idempotent(), never_charged_twice(bank), nothing_acknowledged_lost())
    return system


def charging(bank: Any) -> Callable[[dict[str, Any], Any], dict[str, Any]]:
    """Return the function, as it would be deployed."""

    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
        failed = []
        for record in event["Records"]:
            try:
                order = json.loads(record["body"])
                bank.charge(order["order"], order["cents"], key=order["order"])
            except (OSError, ValueError, KeyError):
                failed.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failed}

    return handler
