"""A shop that tells EventBridge what was ordered, and a till that hears of it by a rule.

chaosharness run models.aws.router:router
"""

from __future__ import annotations

import json
from typing import Any, Literal

import boto3  # type: ignore[import-untyped]
from msgspec import Struct

from chaosharness import (
    AWS,
    SQS,
    Env,
    EventBridge,
    EventRule,
    EventTarget,
    Gateway,
    SQSQueue,
    System,
    idempotent,
    never_charged_twice,
)

events = boto3.client("events", region_name="eu-central-1")


class Order(Struct, frozen=True):
    """What is ordered."""

    id: str
    cents: int


class Placed(Struct, frozen=True):
    """An event as its queue holds it."""

    id: str
    detail: Order


class NotPut(Exception):
    """Entries that EventBridge has not taken, although the call went well."""


def router() -> System:
    """The right one: it looks at each entry, and a charge is named by its order."""
    return _system("router", looks=True, key="order")


def failed_entries_unread() -> System:
    """`FailedEntryCount` is not looked at: an event that was not taken is lost."""
    return _system("router-trusting", looks=False, key="order")


def key_from_the_event_id() -> System:
    """A charge is named by the id of the event: an event that is put twice has two."""
    return _system("router-by-event", looks=True, key="event")


def put(order: Order, *, looks: bool) -> None:
    """Tell EventBridge of an order.

    Raises:
        NotPut: It has not taken it.
    """
    detail = json.dumps({"id": order.id, "cents": order.cents})
    entry = {"Source": "shop", "DetailType": "OrderPlaced", "Detail": detail}
    answer = events.put_events(Entries=[entry])
    if looks and answer["FailedEntryCount"]:
        raise NotPut(answer["Entries"])


def _system(name: str, *, looks: bool, key: Literal["order", "event"]) -> System:
    system = System(name)
    letters = {"dead_letter": "dead", "receives_max": 10}
    queues = system.add(
        SQS(
            "queues",
            {
                "orders": SQSQueue(**letters),  # type: ignore[arg-type]
                "till": SQSQueue(**letters),  # type: ignore[arg-type]
                "dead": SQSQueue(),
            },
        )
    )
    rule = EventRule(
        {"source": ["shop"], "detail-type": ["OrderPlaced"]},
        EventTarget("till", dead_letter="dead"),
    )
    bus = system.add(EventBridge("bus", queues, {"placed": rule}))
    system.add(AWS(queues, bus))
    bank = system.add(Gateway("bank", timeout_ms=1_000))

    @system.service("shop")
    def shop(env: Env) -> None:
        def on_order(order: Order) -> None:
            put(order, looks=looks)

        env.consume(queues, "orders", on_order, on_unreadable="skip")

    @system.service("till")
    def till(env: Env) -> None:
        client: Any = env.client(bank)

        def on_placed(event: Placed) -> None:
            named = event.detail.id if key == "order" else event.id
            client.charge(event.detail.id, event.detail.cents, key=named)

        env.consume(queues, "till", on_placed, on_unreadable="skip")

    @system.entry(examples=[Order("o1", 500), Order("o2", 900)])
    def place(env: Env, order: Order) -> None:
        env.publisher(queues)("orders", order, key=order.id)

    system.claim(idempotent(), never_charged_twice(bank))
    return system
