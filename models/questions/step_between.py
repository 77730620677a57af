"""A step must run after the payment and before the shipping. Where does it go?

chaosharness run models.questions.step_between:both_listen_to_paid
"""

from __future__ import annotations

from typing import Any

from chaosharness import Env, External, Gateway, Kafka, System, eventually
from chaosharness.kernel.history import History
from models.questions import PATIENT, Order


class Once:
    """A third party that does a thing once for each order."""

    def __init__(self) -> None:
        self.done: set[str] = set()

    def _once(self, order: str) -> None:
        self.done.add(order)


class Customs(Once):
    """Must have cleared a parcel before it leaves."""

    def clear(self, order: str) -> None:
        """Clear it."""
        self._once(order)


class Courier(Once):
    """Takes a parcel."""

    def book(self, order: str) -> None:
        """Have it fetched."""
        self._once(order)


def right(*, shipping_hears: str = "cleared") -> System:
    """Build the flow: the new step hears the payment, and shipping hears the new step."""
    shop = System("step between")
    bus = shop.add(Kafka("bus", {"placed": 1, "paid": 1, "cleared": 1}))
    bank = shop.add(Gateway("bank"))
    customs = shop.add(External("customs", Customs))
    courier = shop.add(External("courier", Courier))

    @shop.service("payments")
    def payments(env: Env) -> None:
        client, publish = env.client(bank), env.publisher(bus)

        def on_placed(order: Order) -> None:
            client.charge(order.id, order.cents, key=order.id)
            publish("paid", order, key=order.id)

        env.consume(bus, "placed", on_placed, **PATIENT)

    @shop.service("clearance")
    def clearance(env: Env) -> None:
        client, publish = env.client(customs), env.publisher(bus)

        def on_paid(order: Order) -> None:
            client.clear(order.id)
            publish("cleared", order, key=order.id)

        env.consume(bus, "paid", on_paid, **PATIENT)

    @shop.service("shipping")
    def shipping(env: Env) -> None:
        client: Any = env.client(courier)

        def on_ready(order: Order) -> None:
            env.sleep(1)  # the label is printed
            client.book(order.id)

        env.consume(bus, shipping_hears, on_ready, **PATIENT)

    @shop.entry(examples=[Order("o1")])
    def place(env: Env, order: Order) -> None:
        env.publisher(bus)("placed", order, key=order.id)

    shop.claim(eventually("cleared before it ships", _too_early))
    return shop


def _too_early(history: History) -> list[str]:
    """Return the parcels that left before they were cleared."""
    cleared: set[str] = set()
    wrong = []
    for event in history.of("effect"):
        order = str(event.data["order"])
        if event.actor == "customs":
            cleared.add(order)
        elif event.actor == "courier" and order not in cleared:
            wrong.append(f"{order} was shipped, and was not cleared yet")
    return wrong


def both_listen_to_paid() -> System:
    """The step was added beside the shipping: as long as it is the faster one, nobody notices."""
    return right(shipping_hears="paid")
