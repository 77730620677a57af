"""The order flow, put together as it should be.

chaosharness run models.order.right:order_flow
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from chaosharness import Env, External, Gateway, Kafka, SQLite, System
from models.order import inventory, orders, payments
from models.order.claims import claims
from models.order.events import (
    Cancelled,
    Confirmed,
    Order,
    Paid,
    Placed,
    Rejected,
    Reserved,
    Shipped,
)
from models.order.inventory import InventoryService
from models.order.messages import Outbox, Relay, readable
from models.order.notification import MailService, NotificationService
from models.order.orders import OrderService
from models.order.payments import PaymentService
from models.order.shipping import Courier, ShippingService

TOPICS = {
    "checkout": 2,
    "orders": 2,
    "paid": 2,
    "reserved": 2,
    "rejected": 2,
    "confirmed": 2,
    "shipped": 2,
    "dead-letters": 1,
}
NOTHING: Mapping[str, Any] = {}

GOOD = Order("o1", "book", 500)
OUT_OF_STOCK = Order("o2", "unicorn", 700)
TOO_DEAR = Order("o3", "book", 1_000_000)
ALL = (GOOD, OUT_OF_STOCK, TOO_DEAR)


def declines(order: str, cents: int) -> bool:
    """Say no to what is above the limit of every card."""
    return cents > 100_000


@attrs.frozen
class Plant:
    """What the services are connected to, and how they listen and publish."""

    readable: Callable[..., Any]
    relay_of: type[Relay]
    bus: Kafka
    bank: Gateway
    courier: External = attrs.field(factory=lambda: External("courier", Courier))
    mail: External = attrs.field(factory=lambda: External("mail", MailService))
    orders: SQLite = attrs.field(factory=lambda: SQLite("order-db", orders.SCHEMA))
    payments: SQLite = attrs.field(factory=lambda: SQLite("payment-db", payments.SCHEMA))
    stock: SQLite = attrs.field(factory=lambda: SQLite("stock-db", inventory.SCHEMA))

    def listen(self, env: Env, topic: str, handler: Any, kind: Any, **options: Any) -> None:
        """Have a handler called with the events of a topic that can be read."""
        publish = env.publisher(self.bus)
        env.consume(self.bus, topic, self.readable(handler, kind, publish), **options)

    def relay(self, env: Env, db: SQLite) -> None:
        """Have left-over events published."""
        outbox = Outbox(env.connect(db), env.publisher(self.bus))
        env.main(self.relay_of(outbox, env.sleep).relay)


def order_flow(
    *,
    examples: Sequence[Order] = (GOOD, OUT_OF_STOCK),
    order_service: type[OrderService] = OrderService,
    payment_service: type[PaymentService] = PaymentService,
    inventory_service: type[InventoryService] = InventoryService,
    notification_service: type[NotificationService] = NotificationService,
    bank_options: Mapping[str, Any] = NOTHING,
    payment_options: Mapping[str, Any] = NOTHING,
    relay_of: type[Relay] = Relay,
    cancellations: str = "orders",
    readable: Callable[..., Any] = readable,
) -> System:
    """Build the order flow. Without arguments it is right; the twins change one thing each."""
    bus = Kafka("bus", {**TOPICS, cancellations: 2}, idempotent_producer=False)
    bank = Gateway("bank", declines=declines, **bank_options)
    plant = Plant(readable, relay_of, bus, bank)
    told = tuple(dict.fromkeys(("orders", cancellations)))
    shop = System("order flow")
    for part in (bus, bank, plant.courier, plant.mail, plant.orders, plant.payments, plant.stock):
        shop.add(part)
    add_order_desk(shop, plant, order_service)
    add_cashier(shop, plant, payment_service, told, payment_options)
    add_warehouse(shop, plant, inventory_service, told)
    add_dispatch(shop, plant, notification_service)

    @shop.entry(examples=examples)
    def check_out(env: Env, order: Order) -> None:
        env.publisher(bus)("checkout", order, key=order.id)

    shop.claim(*claims(cancellations))
    return shop


# Each consumer is a thread: with a service object and a connection of its own.


def add_order_desk(shop: System, plant: Plant, service: type[OrderService]) -> None:
    """Add the order service."""

    @shop.service("orders")
    def order_desk(env: Env) -> None:
        def desk() -> OrderService:
            return service(env.connect(plant.orders), env.publisher(plant.bus))

        plant.listen(env, "checkout", desk().on_checkout, Order)
        plant.listen(env, "paid", desk().on_paid, Paid)
        plant.listen(env, "reserved", desk().on_reserved, Reserved)
        plant.listen(env, "rejected", desk().on_rejected, Rejected)
        plant.listen(env, "shipped", desk().on_shipped, Shipped)
        plant.relay(env, plant.orders)


def add_cashier(
    shop: System,
    plant: Plant,
    service: type[PaymentService],
    told: Sequence[str],
    options: Mapping[str, Any],
) -> None:
    """Add the payment service."""

    @shop.service("payments", replicas=2)
    def cashier(env: Env) -> None:
        for topic in told:
            db, bank = env.connect(plant.payments), env.client(plant.bank)
            one = service(db, bank, env.publisher(plant.bus))
            plant.listen(env, topic, one.on_order, Placed | Cancelled, **options)
        plant.relay(env, plant.payments)


def add_warehouse(
    shop: System, plant: Plant, service: type[InventoryService], told: Sequence[str]
) -> None:
    """Add the inventory service."""

    @shop.service("inventory", replicas=2)
    def warehouse(env: Env) -> None:
        for topic in told:
            one = service(env.connect(plant.stock), env.publisher(plant.bus))
            plant.listen(env, topic, one.on_order, Placed | Cancelled)
        plant.relay(env, plant.stock)


def add_dispatch(shop: System, plant: Plant, service: type[NotificationService]) -> None:
    """Add the shipping service and the notification service."""

    @shop.service("shipping")
    def dispatch(env: Env) -> None:
        one = ShippingService(env.client(plant.courier), env.publisher(plant.bus))
        plant.listen(env, "confirmed", one.on_confirmed, Confirmed)

    @shop.service("notification")
    def notify(env: Env) -> None:
        one = service(env.client(plant.mail))
        plant.listen(env, "confirmed", one.on_confirmed, Confirmed)
        plant.listen(env, "rejected", one.on_rejected, Rejected)
