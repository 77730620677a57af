"""The order flow, put together as it should be.

chaosharness run models.order.right:order_flow
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
    shop = System("order flow")
    topics = {**TOPICS, cancellations: 2}
    bus = shop.add(Kafka("bus", topics, idempotent_producer=False))
    bank = shop.add(Gateway("bank", declines=declines, **bank_options))
    courier = shop.add(External("courier", Courier))
    mail = shop.add(External("mail", MailService))
    order_db = shop.add(SQLite("order-db", orders.SCHEMA))
    payment_db = shop.add(SQLite("payment-db", payments.SCHEMA))
    stock_db = shop.add(SQLite("stock-db", inventory.SCHEMA))

    def listen(env: Env, topic: str, handler: Any, kind: Any, **options: Any) -> None:
        env.consume(bus, topic, readable(handler, kind, env.publisher(bus)), **options)

    def relay(env: Env, db: SQLite) -> None:
        outbox = Outbox(env.connect(db), env.publisher(bus))
        env.main(relay_of(outbox, env.sleep).relay)

    @shop.service("orders")
    def order_desk(env: Env) -> None:
        def service() -> OrderService:  # each consumer is a thread: with a connection of its own
            return order_service(env.connect(order_db), env.publisher(bus))

        listen(env, "checkout", service().on_checkout, Order)
        listen(env, "paid", service().on_paid, Paid)
        listen(env, "reserved", service().on_reserved, Reserved)
        listen(env, "rejected", service().on_rejected, Rejected)
        listen(env, "shipped", service().on_shipped, Shipped)
        relay(env, order_db)

    @shop.service("payments", replicas=2)
    def cashier(env: Env) -> None:
        for topic in dict.fromkeys(("orders", cancellations)):
            service = payment_service(env.connect(payment_db), env.client(bank), env.publisher(bus))
            listen(env, topic, service.on_order, Placed | Cancelled, **payment_options)
        relay(env, payment_db)

    @shop.service("inventory", replicas=2)
    def warehouse(env: Env) -> None:
        for topic in dict.fromkeys(("orders", cancellations)):
            service = inventory_service(env.connect(stock_db), env.publisher(bus))
            listen(env, topic, service.on_order, Placed | Cancelled)
        relay(env, stock_db)

    @shop.service("shipping")
    def dispatch(env: Env) -> None:
        service = ShippingService(env.client(courier), env.publisher(bus))
        listen(env, "confirmed", service.on_confirmed, Confirmed)

    @shop.service("notification")
    def notify(env: Env) -> None:
        service = notification_service(env.client(mail))
        listen(env, "confirmed", service.on_confirmed, Confirmed)
        listen(env, "rejected", service.on_rejected, Rejected)

    @shop.entry(examples=examples)
    def check_out(env: Env, order: Order) -> None:
        env.publisher(bus)("checkout", order, key=order.id)

    shop.claim(*claims(cancellations))
    return shop
