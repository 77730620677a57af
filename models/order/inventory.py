"""The inventory service: one piece per order, while there are any."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from models.order import messages
from models.order.events import Cancelled, Placed, Rejected, Reserved
from models.order.messages import Inbox, Outbox, Publish

PIECES = {"book": 10, "lamp": 1, "unicorn": 0}

SCHEMA = f"""
CREATE TABLE stock (sku TEXT PRIMARY KEY, pieces INTEGER NOT NULL CHECK (pieces >= 0));
CREATE TABLE moves (order_id TEXT NOT NULL, sku TEXT NOT NULL, pieces INTEGER NOT NULL);
INSERT INTO stock VALUES {", ".join(f"('{sku}', {count})" for sku, count in PIECES.items())};
{messages.SCHEMA}
"""


class InventoryService:
    """What a message leads to is committed together with the message itself: once."""

    inbox_of: type[Inbox] = Inbox
    outbox_of: type[Outbox] = Outbox

    def __init__(self, db: sqlite3.Connection, publish: Publish) -> None:
        self.db = db
        self.inbox = self.inbox_of(db)
        self.outbox = self.outbox_of(db, publish)

    def on_order(self, event: Placed | Cancelled) -> None:
        """Reserve for a new order, release for a cancelled one."""
        match event:
            case Placed():
                self.once(f"placed {event.order}", lambda: self.reserve(event))
                self.outbox.flush(event.order)
            case Cancelled():
                self.once(f"cancelled {event.order}", lambda: self.release(event))

    def once(self, message: str, effect: Callable[[], None]) -> None:
        """Have an effect, unless the message had it before."""
        with self.db:
            if self.inbox.take(message):
                effect()

    def reserve(self, event: Placed) -> None:
        """Take a piece from stock; say whether there was one."""
        command = "UPDATE stock SET pieces = pieces - 1 WHERE sku = ? AND pieces > 0"
        if self.db.execute(command, (event.sku,)).rowcount:
            self.db.execute("INSERT INTO moves VALUES (?, ?, -1)", (event.order, event.sku))
            self.outbox.add("reserved", event.order, Reserved(event.order, event.sku))
        else:
            self.outbox.add("rejected", event.order, Rejected(event.order, "out of stock"))

    def release(self, event: Cancelled) -> None:
        """Put back what was taken for an order."""
        query = "SELECT sku, -sum(pieces) FROM moves WHERE order_id = ? GROUP BY sku"
        for sku, pieces in self.db.execute(query, (event.order,)).fetchall():
            command = "UPDATE stock SET pieces = pieces + ? WHERE sku = ?"
            self.db.execute(command, (pieces, sku))
            self.db.execute("INSERT INTO moves VALUES (?, ?, ?)", (event.order, sku, pieces))
