"""Workers of a group that charge orders, each a handler: what is pending is claimed in the end.

chaosharness run models.redis_streams.till:till
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from chaosharness import (
    Env,
    Gateway,
    Redis,
    RedisStream,
    System,
    idempotent,
    never_charged_twice,
    never_stuck,
    nothing_acknowledged_lost,
)

CHECK_S = 20
"""How long it takes to look at an order before it is charged."""

CLAIM_MS = 120_000
ORDERS = [{"order": "o1", "cents": 500}, {"order": "o2", "cents": 900}]


class Charge(Struct, frozen=True):
    """What is to be charged."""

    order: str
    cents: int


def till() -> System:
    """The right one: keyed charges, acknowledged after the work; what stays pending is claimed."""
    return _system("till", claim_ms=CLAIM_MS)


def nobody_claims() -> System:
    """It reads `>` and nothing else: what was handed out to nobody stays pending for ever."""
    return _system("till-unclaimed", history=False)


def acknowledged_before_the_work() -> System:
    """XACK comes first: a worker that dies with an order in hand has lost it."""
    return _system("till-eager", claim_ms=CLAIM_MS, acknowledge="before")


def nothing_is_pending() -> System:
    """NOACK: Redis forgets an order as soon as it has handed it out."""
    return _system("till-noack", no_ack=True)


def trimmed_before_it_is_claimed() -> System:
    """Entries are kept for 15 s, and claimed after two minutes: what is pending then is gone."""
    stream = RedisStream(keep_ms=15_000, about=False)
    return _system("till-trimmed", stream=stream, claim_ms=CLAIM_MS, arrival_ms=25_000)


def claimed_while_it_works() -> System:
    """What is idle for 5 s is claimed, and the work takes 20 s: two workers at one order."""
    return _system("till-hasty", claim_ms=5_000, keyed=False)


def _system(
    name: str,
    *,
    stream: RedisStream | None = None,
    keyed: bool = True,
    arrival_ms: int = 1,
    **options: Any,
) -> System:
    system = System(name, arrival_ms=arrival_ms)
    bus = system.add(Redis("bus", {"orders": stream or RedisStream()}))
    bank = system.add(Gateway("bank", timeout_ms=5_000))

    @system.service("billing", replicas=2)
    def billing(env: Env) -> None:
        client = env.client(bank)

        def on_order(order: Charge) -> None:
            env.sleep(CHECK_S)
            client.charge(order.order, order.cents, key=order.order if keyed else None)

        env.consume(bus, "orders", on_order, on_unreadable="skip", count=1, **options)

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["order"])

    system.claim(
        idempotent(), never_charged_twice(bank), never_stuck(), nothing_acknowledged_lost()
    )
    return system
