"""The order flow with one planted bug at a time: the broken twins of `right`.

Each twin changes one thing and shares all else. What it changes is what people write.

    chaosharness run models.order.broken:charge_without_key
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from chaosharness import Declined, System
from models.order.events import Cancelled, Order, Rejected
from models.order.inventory import InventoryService
from models.order.messages import Inbox, Outbox, Relay
from models.order.notification import NotificationService
from models.order.orders import OrderService
from models.order.payments import PaymentService
from models.order.right import GOOD, OUT_OF_STOCK, TOO_DEAR, order_flow

# ---- the same effect twice


def charge_without_key() -> System:
    """The bank cannot tell a second try from a second order."""

    class Payments(PaymentService):
        def charge(self, order: str, cents: int) -> None:
            self.bank.charge(order, cents)

    return order_flow(examples=[GOOD], payment_service=Payments)


def key_per_attempt() -> System:
    """The key names the attempt, so each attempt is something new."""

    class Payments(PaymentService):
        def charge(self, order: str, cents: int) -> None:
            self.bank.charge(order, cents, key=str(uuid4()))

    return order_flow(examples=[GOOD], payment_service=Payments)


def key_stored_after_the_effect() -> System:
    """The message is remembered in a transaction of its own, after what it led to."""

    class Inventory(InventoryService):
        def once(self, message: str, effect: Callable[[], None]) -> None:
            if not self.inbox.has(message):
                with self.db:
                    effect()
                with self.db:
                    self.inbox.take(message)

    return order_flow(examples=[GOOD], inventory_service=Inventory)


def check_then_set_race() -> System:
    """Two replicas ask whether the message is new, and both are told so."""

    class CheckThenSet(Inbox):
        def take(self, message: str) -> bool:
            is_new = not self.has(message)
            super().take(message)
            return is_new

    class Inventory(InventoryService):
        inbox_of = CheckThenSet

    return order_flow(examples=[GOOD], inventory_service=Inventory)


def dedupe_window_shorter_than_redelivery() -> System:
    """The bank forgets the key before the message comes again."""
    return order_flow(examples=[GOOD], bank_options={"idempotency_keys": 30_000})


def mail_id_per_attempt() -> System:
    """The mail service cannot tell a second try from a second mail."""

    class Notification(NotificationService):
        def tell(self, order: str, text: str) -> None:
            self.mail.send(order, text, message_id=str(uuid4()))

    return order_flow(examples=[GOOD], notification_service=Notification)


# ---- a change and its announcement


def committed_and_never_published() -> System:
    """The event waits in memory while the change is committed."""

    class InMemory(Outbox):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.waiting: list[tuple[str, str, Any]] = []

        def add(self, topic: str, key: str, event: Any) -> None:
            self.waiting.append((topic, key, event))

        def flush(self, key: str) -> None:
            while self.waiting:
                topic, key, event = self.waiting.pop(0)
                self.publish(topic, event, key=key)

    class Payments(PaymentService):
        outbox_of = InMemory

    return order_flow(examples=[GOOD], payment_service=Payments)


def published_then_rolled_back() -> System:
    """The event goes out inside the transaction, and then the transaction is undone."""

    class AtOnce(Outbox):
        def add(self, topic: str, key: str, event: Any) -> None:
            self.publish(topic, event, key=key)

    class Inventory(InventoryService):
        outbox_of = AtOnce

    lamps = [Order("o1", "lamp", 500), Order("o2", "lamp", 500)]  # and there is one
    return order_flow(examples=lamps, inventory_service=Inventory)


def relay_ends_at_the_first_error() -> System:
    """The thread that publishes what was left behind dies quietly. It is needed on bad days."""

    class Once(Relay):
        def relay(self) -> None:
            with suppress(ConnectionError, TimeoutError, sqlite3.OperationalError):
                while True:
                    self.outbox.flush_all()
                    self.sleep(30)

    return order_flow(examples=[GOOD], relay_of=Once)


# ---- messages


def offset_committed_before_processing() -> System:
    """The message is acknowledged when it is handed over (automatic commit)."""
    return order_flow(examples=[GOOD], payment_options={"acknowledge": "before"})


def poison_blocks_a_log_partition() -> System:
    """What cannot be read is tried again for ever, and what is behind it waits."""

    def as_it_comes(handler: Callable[[Any], None], kind: Any, publish: Any) -> Any:
        return handler

    return order_flow(examples=[GOOD], readable=as_it_comes)


def join_counts_a_duplicate() -> System:
    """Two answers make an order complete, whichever they are."""

    class Orders(OrderService):
        def join(self, order: str, half: str) -> None:
            with self.db:
                self.db.execute(f"UPDATE orders SET {half} = {half} + 1 WHERE id = ?", (order,))
                self.confirm(order, "paid + reserved = 2")
            self.outbox.flush(order)

    return order_flow(examples=[TOO_DEAR], order_service=Orders)


def duplicate_blocks_a_log_partition() -> System:
    """An order that comes twice is an error, and an error is tried again for ever."""

    class Orders(OrderService):
        def insert(self, order: Order) -> bool:
            command = "INSERT INTO orders (id, cents) VALUES (?, ?)"
            return self.db.execute(command, (order.id, order.cents)).rowcount == 1

    return order_flow(examples=[GOOD], order_service=Orders)


# ---- compensation


def compensation_not_idempotent() -> System:
    """A refund that is tried again is a second refund."""

    class Payments(PaymentService):
        def refund(self, order: str, cents: int) -> None:
            self.bank.refund(order, cents)

    return order_flow(examples=[OUT_OF_STOCK], payment_service=Payments)


def compensation_overtakes_forward_step() -> System:
    """Cancellations go their own way, and may be there before the order itself."""

    class Orders(OrderService):
        def cancel(self, event: Rejected) -> None:
            self.outbox.add("cancellations", event.order, Cancelled(event.order, event.why))

    return order_flow(examples=[TOO_DEAR], order_service=Orders, cancellations="cancellations")


def timeout_compensates_and_late_success_arrives() -> System:
    """The bank does not answer and has no such charge: not yet."""

    class Payments(PaymentService):
        def charge(self, order: str, cents: int) -> None:
            try:
                super().charge(order, cents)
            except TimeoutError:
                if not self.bank.find(order):
                    raise Declined("no answer") from None

    return order_flow(examples=[GOOD], payment_service=Payments)


def compensation_fails_and_is_not_tried_again() -> System:
    """A refund that is refused is written to a log, where nobody looks."""

    class Payments(PaymentService):
        def refund(self, order: str, cents: int) -> None:
            with suppress(ConnectionError, TimeoutError):
                super().refund(order, cents)

    return order_flow(examples=[OUT_OF_STOCK], payment_service=Payments)


def compensates_an_unknown_outcome() -> System:
    """The bank does not answer: the money is given back, whether it was taken or not."""

    class Payments(PaymentService):
        def charge(self, order: str, cents: int) -> None:
            try:
                super().charge(order, cents)
            except TimeoutError:
                self.refund(order, cents)
                raise Declined("no answer") from None

    return order_flow(examples=[GOOD], payment_service=Payments)
