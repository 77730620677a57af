"""Who gives the money back, in a choreography, when the goods are out of stock?

chaosharness run models.questions.refund:stock_tells_nobody
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from chaosharness import Env, Gateway, Kafka, KeyValue, System
from models.questions import PATIENT, Order

BOOK = Order("o1")
UNICORN = Order("o2", "unicorn", 700)


class Payments:
    """Charges what is placed, and refunds what cannot be had."""

    def __init__(self, bank: Any, publish: Any) -> None:
        self.bank = bank
        self.publish = publish

    def on_placed(self, order: Order) -> None:
        """Take the money."""
        self.bank.charge(order.id, order.cents, key=f"charge {order.id}")
        self.publish("paid", order, key=order.id)

    def on_out_of_stock(self, order: Order) -> None:
        """Give it back."""
        self.bank.refund(order.id, order.cents, key=f"refund {order.id}")


class Stock:
    """Puts aside what was paid for, or says that there is none."""

    def __init__(self, shelf: Any, publish: Any) -> None:
        self.shelf = shelf
        self.publish = publish

    def on_paid(self, order: Order) -> None:
        """Put it aside."""
        if order.sku == "book":
            self.shelf.put(order.id, order.sku)
        else:
            self.refuse(order)

    def refuse(self, order: Order) -> None:
        """Say that there is none. Until that is said, the event of the payment is not done."""
        self.publish("out-of-stock", order, key=order.id)


class TellsNobody(Stock):
    """Takes a broker that does not answer for none of its business."""

    def refuse(self, order: Order) -> None:
        with suppress(ConnectionError, TimeoutError):
            super().refuse(order)


def right(*, stock: type[Stock] = Stock) -> System:
    """Build the shop: an event that leads to the refund is as important as one that leads to it."""
    shop = System("refund")
    bus = shop.add(Kafka("bus", {"placed": 1, "paid": 1, "out-of-stock": 1}))
    bank = shop.add(Gateway("bank"))
    shelf = shop.add(KeyValue("shelf"))

    @shop.service("payments")
    def payments(env: Env) -> None:
        one = Payments(env.client(bank), env.publisher(bus))
        env.consume(bus, "placed", one.on_placed, **PATIENT)
        env.consume(bus, "out-of-stock", one.on_out_of_stock, **PATIENT)

    @shop.service("stock")
    def warehouse(env: Env) -> None:
        one = stock(env.connect(shelf), env.publisher(bus))
        env.consume(bus, "paid", one.on_paid, **PATIENT)

    @shop.entry(examples=[BOOK, UNICORN])
    def place(env: Env, order: Order) -> None:
        env.publisher(bus)("placed", order, key=order.id)

    return shop


def stock_tells_nobody() -> System:
    """The customer has paid for a unicorn, and the one event that says so is lost."""
    return right(stock=TellsNobody)
