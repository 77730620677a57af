"""What the three styles have in common: who takes part, what comes in, and what is claimed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from chaosharness import (
    External,
    Gateway,
    Order,
    Property,
    Queue,
    RabbitMQ,
    System,
    eventually,
    never_stuck,
    never_twice,
    nothing_acknowledged_lost,
)
from chaosharness.kernel.history import History

GOOD: Final = Order("o1", "ann", "book", 500)
OUT_OF_STOCK: Final = Order("o2", "bob", "unicorn", 700)
AGAIN: Final[dict[str, Any]] = {"on_error": "dead-letter", "retries_max": 50}
CRITICAL: Final = ("payment", "stock", "delivery", "bank", "warehouse", "courier")


class OutOfStock(Exception):
    """There is none; asking again changes nothing."""


class Warehouse:
    """Keeps a piece for an order; of unicorns it has none."""

    def __init__(self) -> None:
        self.kept: set[str] = set()

    def reserve(self, order: str, item: str) -> None:
        """Keep a piece.

        Raises:
            OutOfStock: It is a unicorn.
        """
        if item == "unicorn":
            raise OutOfStock(item)
        self.kept.add(order)


class Courier:
    """Fetches each parcel once."""

    def __init__(self) -> None:
        self.parcels: set[str] = set()

    def ship(self, order: str) -> None:
        """Fetch it."""
        self.parcels.add(order)


class Post:
    """Sends each letter once."""

    def __init__(self) -> None:
        self.letters: set[str] = set()

    def send(self, order: str) -> None:
        """Send it."""
        self.letters.add(order)


class Cashier:
    """Charges an order, and refunds it: whatever is asked for again, once."""

    def __init__(self, bank: Any) -> None:
        self.bank = bank

    def charge(self, order: str, cents: int) -> None:
        """Take the money."""
        self.bank.charge(order, cents, key=f"charge {order}")

    def refund(self, order: str, cents: int) -> None:
        """Give it back."""
        self.bank.refund(order, cents, key=f"refund {order}")


class KeylessCashier(Cashier):
    """Cannot tell a second try from a second charge."""

    def charge(self, order: str, cents: int) -> None:
        self.bank.charge(order, cents)


@attrs.frozen
class Business:
    """A shop without services: they are what differs."""

    shop: System
    bus: RabbitMQ
    bank: Gateway
    warehouse: External
    courier: External
    post: External
    cashier: Callable[[Any], Cashier]


def business(
    name: str, *, queues: tuple[str, ...], cashier: type[Cashier] = Cashier, **options: Any
) -> Business:
    """Begin a shop with these queues; options go to the broker."""
    shop = System(name)
    declared = {one: Queue("quorum", dead_letter="parked") for one in queues}
    bus = shop.add(RabbitMQ("bus", queues=declared | {"parked": Queue("quorum")}, **options))
    bank = shop.add(Gateway("bank"))
    warehouse = shop.add(External("warehouse", Warehouse))
    courier = shop.add(External("courier", Courier))
    post = shop.add(External("post", Post))

    @shop.entry(examples=[GOOD, OUT_OF_STOCK])
    def place(env: Any, order: Order) -> None:
        env.publisher(bus)("orders", attrs.asdict(order), key=order.id)

    return Business(shop, bus, bank, warehouse, courier, post, cashier)


def claimed(shop: System, *, critical: tuple[str, ...] = ()) -> System:
    """Claim what each style must keep; and that what is aside, if anything is, stays there."""
    if critical:
        shop.critical_path(*critical)
    shop.claim(*claims())
    return shop


def claims() -> tuple[Property, ...]:
    """Return what each style must keep, beside its critical path."""
    return (
        never_twice("bank", "charge", key="order"),
        never_twice("courier", "ship", key="order"),
        never_twice("post", "send", key="order"),
        eventually("money is kept for parcels alone", _paid_and_shipped, or_put_aside=True),
        nothing_acknowledged_lost(),
        never_stuck(),
    )


def _paid_and_shipped(history: History) -> list[str]:
    """Return the orders that are charged and not shipped, or shipped and not charged."""
    done: dict[str, set[str]] = {}
    for event in history.of("effect"):
        done.setdefault(str(event.data["order"]), set()).add(str(event.data["method"]))
    wrong = []
    for order, deeds in done.items():
        paid = "charge" in deeds and "refund" not in deeds
        if paid and "ship" not in deeds:
            wrong.append(f"{order} is charged, and was not shipped")
        elif "ship" in deeds and not paid:
            wrong.append(f"{order} was shipped, and is not charged")
    return wrong
