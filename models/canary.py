"""A model that always fails: whoever finds nothing here is not looking.

chaosharness run models.canary:canary
"""

from __future__ import annotations

from chaosharness import Gateway, Kafka, System, never_charged_twice


def canary() -> System:
    """Build a shop that charges every order twice, whatever happens."""
    shop = System("canary")
    bus = shop.add(Kafka("bus", {"orders": 1}))
    bank = shop.add(Gateway("bank"))

    @shop.service("payments")
    def payments(env):  # type: ignore[no-untyped-def]
        def on_order(order):  # type: ignore[no-untyped-def]
            for _ in range(2):
                env.client(bank).charge(order["id"], order["cents"])

        env.consume(bus, "orders", on_order)

    @shop.entry(examples=[{"id": "o1", "cents": 500}])
    def place(env, order):  # type: ignore[no-untyped-def]
        env.publisher(bus)("orders", order, key=order["id"])

    shop.claim(never_charged_twice(bank))
    return shop
