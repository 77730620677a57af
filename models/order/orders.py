"""The order service: knows what became of each order, and joins payment and stock."""

from __future__ import annotations

import sqlite3

from models.order import messages
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
from models.order.messages import Outbox, Publish

SCHEMA = f"""
CREATE TABLE orders (
    id TEXT PRIMARY KEY,
    cents INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending', -- confirmed, shipped; cancelled
    paid INTEGER NOT NULL DEFAULT 0,
    reserved INTEGER NOT NULL DEFAULT 0
);
{messages.SCHEMA}
"""


class OrderService:
    """Needs no inbox: whatever is told twice changes nothing the second time."""

    outbox_of: type[Outbox] = Outbox

    def __init__(self, db: sqlite3.Connection, publish: Publish) -> None:
        self.db = db
        self.outbox = self.outbox_of(db, publish)

    def on_checkout(self, order: Order) -> None:
        """Take an order in."""
        with self.db:
            if self.insert(order):
                self.outbox.add("orders", order.id, Placed(order.id, order.sku, order.cents))
        self.outbox.flush(order.id)

    def insert(self, order: Order) -> bool:
        """Write a new order down; say whether it is new."""
        command = "INSERT OR IGNORE INTO orders (id, cents) VALUES (?, ?)"
        return self.db.execute(command, (order.id, order.cents)).rowcount == 1

    def on_paid(self, event: Paid) -> None:
        """Learn that the money is there."""
        self.join(event.order, "paid")

    def on_reserved(self, event: Reserved) -> None:
        """Learn that the goods are there."""
        self.join(event.order, "reserved")

    def join(self, order: str, half: str) -> None:
        """Confirm the order once both halves are there."""
        with self.db:
            self.db.execute(f"UPDATE orders SET {half} = 1 WHERE id = ?", (order,))
            self.confirm(order, "paid AND reserved")
        self.outbox.flush(order)

    def confirm(self, order: str, complete: str) -> None:
        """Confirm a pending order if it is complete."""
        command = f"UPDATE orders SET status = 'confirmed' WHERE id = ? AND {complete}"
        if self.db.execute(f"{command} AND status = 'pending'", (order,)).rowcount:
            self.outbox.add("confirmed", order, Confirmed(order))

    def on_rejected(self, event: Rejected) -> None:
        """Cancel the order: the first to say no decides."""
        with self.db:
            command = "UPDATE orders SET status = 'cancelled' WHERE id = ? AND status = 'pending'"
            if self.db.execute(command, (event.order,)).rowcount:
                self.cancel(event)
        self.outbox.flush(event.order)

    def cancel(self, event: Rejected) -> None:
        """Tell the others, on the topic on which they were told of the order."""
        self.outbox.add("orders", event.order, Cancelled(event.order, event.why))

    def on_shipped(self, event: Shipped) -> None:
        """Close the order."""
        with self.db:
            command = "UPDATE orders SET status = 'shipped' WHERE id = ? AND status = 'confirmed'"
            self.db.execute(command, (event.order,))
