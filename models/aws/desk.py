"""A desk that takes orders, and one that charges them, with a FIFO queue between.

chaosharness run models.aws.desk:desk
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from chaosharness import (
    SQS,
    Env,
    Gateway,
    SQSQueue,
    System,
    idempotent,
    never_charged_twice,
    never_stuck,
)

CHECK_S = 20
"""How long it takes to look at an order before it is charged."""

VISIBILITY_MS = 60_000
RETRY_S = 10.0
TRIES = 4
"""With half a minute for each to time out all are within five; then the order is left for later."""

LATE_S = 600.0
"""Later than the five minutes in which a FIFO queue recognises what is sent again."""


class Charge(Struct, frozen=True):
    """What is to be charged, and how often that was asked for."""

    order: str
    cents: int
    attempt: int


def desk() -> System:
    """The right one: the name of a charge is the order, whoever asks for it, and when."""
    return _system("desk")


def visibility_shorter_than_the_handler() -> System:
    """A message is visible again before its handler is done: its delete is refused, for ever."""
    return _system("desk-hasty", visibility_ms=15_000)


def window_longer_than_the_retry() -> System:
    """Another right one: the name of a charge is the attempt, and the queue knows it again.

    All attempts are made in less than the five minutes in which it does.
    """
    return _system("desk-in-time", by_attempt=True)


def window_shorter_than_the_retry() -> System:
    """The same, and the desk tries again after ten minutes: what was sent is another message."""
    return _system("desk-late", retry_s=LATE_S, by_attempt=True)


def _system(
    name: str,
    *,
    visibility_ms: int = VISIBILITY_MS,
    retry_s: float = RETRY_S,
    by_attempt: bool = False,
) -> System:
    system = System(name, arrival_ms=1)
    bus = system.add(
        SQS(
            "bus",
            {
                "orders": SQSQueue(dead_letter="dead", receives_max=10, visibility_ms=1_800_000),
                "dead": SQSQueue(),
                "charges.fifo": SQSQueue(visibility_ms=visibility_ms),
            },
        )
    )
    bank = system.add(Gateway("bank", timeout_ms=5_000))

    @system.service("front")
    def front(env: Env) -> None:
        publish = env.publisher(bus)

        def on_order(order: dict[str, Any]) -> None:
            for attempt in range(1, TRIES + 1):
                try:
                    publish(
                        "charges.fifo",
                        {**order, "attempt": attempt},
                        key=order["order"],
                        deduplication=order["order"],
                    )
                    return
                except OSError:
                    if attempt == TRIES:
                        raise
                    env.sleep(retry_s)

        env.consume(bus, "orders", on_order)

    @system.service("billing")
    def billing(env: Env) -> None:
        client = env.client(bank)

        def on_charge(charge: Charge) -> None:
            env.sleep(CHECK_S)
            name = f"{charge.order}-{charge.attempt}" if by_attempt else charge.order
            client.charge(charge.order, charge.cents, key=name)

        env.consume(bus, "charges.fifo", on_charge, on_unreadable="skip")

    @system.entry(examples=[{"order": "o1", "cents": 500}])
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["order"])

    system.claim(idempotent(), never_charged_twice(bank), never_stuck())
    return system
