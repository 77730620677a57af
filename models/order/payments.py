"""The payment service: charges each order once, and gives the money back if it is cancelled."""

from __future__ import annotations

import sqlite3
from typing import Any

from chaosharness import Declined
from models.order import messages
from models.order.events import Cancelled, Paid, Placed, Rejected
from models.order.messages import Inbox, Outbox, Publish

SCHEMA = f"""
CREATE TABLE charges (order_id TEXT PRIMARY KEY, cents INTEGER NOT NULL, status TEXT NOT NULL);
{messages.SCHEMA}
"""


class PaymentService:
    """Whatever the bank does not answer is asked again under the same key, until it answers."""

    inbox_of: type[Inbox] = Inbox
    outbox_of: type[Outbox] = Outbox

    def __init__(self, db: sqlite3.Connection, bank: Any, publish: Publish) -> None:
        self.db = db
        self.bank = bank
        self.inbox = self.inbox_of(db)
        self.outbox = self.outbox_of(db, publish)

    def on_order(self, event: Placed | Cancelled) -> None:
        """Charge a new order, refund a cancelled one."""
        match event:
            case Placed():
                self.pay(event)
            case Cancelled():
                self.undo(event)

    def pay(self, event: Placed) -> None:
        """Charge an order, and tell the others whether that was possible."""
        message = f"placed {event.order}"
        if self.inbox.has(message):
            return
        answer: Paid | Rejected
        try:
            self.charge(event.order, event.cents)
            answer = Paid(event.order, event.cents)
        except Declined as error:
            answer = Rejected(event.order, str(error))
        with self.db:
            if self.inbox.take(message):
                self.keep(answer)
        self.outbox.flush(event.order)

    def keep(self, answer: Paid | Rejected) -> None:
        """Write down how it came out, and tell the others."""
        if isinstance(answer, Paid):
            command = "INSERT INTO charges VALUES (?, ?, 'charged')"
            self.db.execute(command, (answer.order, answer.cents))
            self.outbox.add("paid", answer.order, answer)
        else:
            self.outbox.add("rejected", answer.order, answer)

    def undo(self, event: Cancelled) -> None:
        """Refund an order, if it was charged."""
        message = f"cancelled {event.order}"
        if self.inbox.has(message):
            return
        query = "SELECT cents FROM charges WHERE order_id = ?"
        charged = self.db.execute(query, (event.order,)).fetchone()
        if charged:
            self.refund(event.order, *charged)
        with self.db:
            if self.inbox.take(message):
                command = "UPDATE charges SET status = 'refunded' WHERE order_id = ?"
                self.db.execute(command, (event.order,))

    def charge(self, order: str, cents: int) -> None:
        """Take the money."""
        self.bank.charge(order, cents, key=f"charge {order}")

    def refund(self, order: str, cents: int) -> None:
        """Give it back."""
        self.bank.refund(order, cents, key=f"refund {order}")
