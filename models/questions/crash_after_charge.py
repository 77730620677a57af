"""What if we crash after "charge" was sent, and before its answer was written down?

chaosharness run models.questions.crash_after_charge:charges_again
"""

from __future__ import annotations

from typing import Any

from chaosharness import Env, External, Kafka, KeyValue, System
from models.questions import PATIENT, Order


class Bank:
    """A payment service that knows no idempotency keys, but can be asked."""

    def __init__(self) -> None:
        self.charges: dict[str, int] = {}

    def charge(self, order: str, cents: int, key: str = "") -> Any:
        """Take the money; of a key that is known it was taken before."""
        if key and key in self.charges:
            return External.unchanged(key)
        name = key or f"{order}/{len(self.charges) + 1}"
        self.charges[name] = cents
        return name

    def find(self, order: str) -> str | None:
        """Return the charge of an order, if there is one."""
        return next((name for name in self.charges if name.partition("/")[0] == order), None)


class Payments:
    """Charges, and writes down that it did. Whatever happens in between, the order comes again."""

    def __init__(self, bank: Any, book: Any) -> None:
        self.bank = bank
        self.book = book

    def on_placed(self, order: Order) -> None:
        """Charge an order that was not charged."""
        if self.book.get(order.id) is None:
            self.book.put(order.id, self.charge(order))

    def charge(self, order: Order) -> str:
        """Send the key with it: the payment service tells a second try from a second charge."""
        charge: str = self.bank.charge(order.id, order.cents, key=order.id)
        return charge


class Asks(Payments):
    """Asks first whether the charge is there."""

    def charge(self, order: Order) -> str:
        found: str | None = self.bank.find(order.id)
        charge: str = found or self.bank.charge(order.id, order.cents)
        return charge


class ChargesAgain(Payments):
    """Relies on its own book, which does not know of a charge that nobody wrote down."""

    def charge(self, order: Order) -> str:
        charge: str = self.bank.charge(order.id, order.cents)
        return charge


def right(*, payments: type[Payments] = Payments) -> System:
    """Build the till: the payment service exposes an idempotency key."""
    shop = System("crash after charge")
    bus = shop.add(Kafka("bus", {"placed": 1}))
    bank = shop.add(External("bank", Bank, reads=["find"]))
    book = shop.add(KeyValue("book"))

    @shop.service("payments")
    def till(env: Env) -> None:
        one = payments(env.client(bank), env.connect(book))
        env.consume(bus, "placed", one.on_placed, **PATIENT)

    @shop.entry(examples=[Order("o1")])
    def place(env: Env, order: Order) -> None:
        env.publisher(bus)("placed", order, key=order.id)

    return shop


def asks_before_it_charges() -> System:
    """It exposes a query instead: enough against a crash, and not against a charge under way."""
    return right(payments=Asks)


def charges_again() -> System:
    """It exposes neither, and a crash between the two is a second charge."""
    return right(payments=ChargesAgain)
