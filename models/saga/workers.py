"""The workers: each does what it is told, once, and says how it came out."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from chaosharness import Declined
from models.saga.messages import Command, Reply

PIECES = {"book": 10, "lamp": 10, "unicorn": 0}
STOCK_SCHEMA = """
CREATE TABLE stock (item TEXT PRIMARY KEY, pieces INTEGER NOT NULL CHECK (pieces >= 0));
CREATE TABLE reservations (
    saga TEXT PRIMARY KEY, item TEXT NOT NULL,
    status TEXT NOT NULL, -- reserved, refused, released
    command TEXT NOT NULL -- that it was made for
);
""" + "".join(f"INSERT INTO stock VALUES ('{item}', {pieces});" for item, pieces in PIECES.items())


class Known(Exception):
    """The courier has had this request before, and does nothing (HTTP 409)."""


class CannotDeliver(Exception):
    """The courier does not deliver such a thing; asking again changes nothing."""


class Courier:
    """A third party that takes one booking per reference, and does not deliver lamps."""

    def __init__(self) -> None:
        self.booked: set[str] = set()

    def book(self, reference: str, item: str) -> None:
        """Have a parcel collected.

        Raises:
            Known: There is a booking for this reference.
            CannotDeliver: It is a lamp.
        """
        if item == "lamp":
            raise CannotDeliver(item)
        if reference in self.booked:
            raise Known(reference)
        self.booked.add(reference)


class PaymentWorker:
    """Charges and refunds, under a key that is the same whenever the command comes."""

    def __init__(self, bank: Any, publish: Callable[..., Any]) -> None:
        self.bank = bank
        self.publish = publish

    def on_command(self, command: Command) -> None:
        """Charge or refund, and reply."""
        outcome = self.charge(command) if command.action == "charge" else self.refund(command)
        reply = {"saga": command.saga, "action": command.action, "outcome": outcome}
        self.publish("replies", reply, key=command.saga)

    def charge(self, command: Command) -> str:
        """Charge; say how it came out."""
        try:
            self.bank.charge(command.saga, command.cents, key=f"{command.saga} charge")
        except Declined:
            return "refused"
        return "done"

    def refund(self, command: Command) -> str:
        """Refund; say how it came out."""
        self.bank.refund(command.saga, command.cents, key=f"{command.saga} refund")
        return "done"


class StockWorker:
    """Reserves and releases pieces: a reservation is made once, and released once."""

    def __init__(
        self, db: sqlite3.Connection, publish: Callable[..., Any], note: Callable[..., Any]
    ) -> None:
        self.db = db
        self.publish = publish
        self.note = note

    def on_command(self, command: Command) -> None:
        """Reserve or release, and reply."""
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            outcome = (
                self.reserve(command) if command.action == "reserve" else self.release(command)
            )
        if outcome == "done":
            self.note(command.action, saga=command.saga)
        reply = Reply(command.saga, command.action, outcome)  # type: ignore[arg-type]
        self.publish("replies", reply, key=command.saga)

    def reserve(self, command: Command) -> str:
        """Take a piece from the stock for a saga."""
        status = self.status(command.saga)
        if status is None:
            taken = self.db.execute(
                "UPDATE stock SET pieces = pieces - 1 WHERE item = ? AND pieces > 0",
                (command.item,),
            ).rowcount
            status = "reserved" if taken else "refused"
            row = (command.saga, command.item, status, command.id)
            self.db.execute("INSERT INTO reservations VALUES (?, ?, ?, ?)", row)
        return "refused" if status == "refused" else "done"

    def release(self, command: Command) -> str:
        """Put it back."""
        if self.status(command.saga) == "reserved":
            self.db.execute("UPDATE stock SET pieces = pieces + 1 WHERE item = ?", (command.item,))
            self.db.execute(
                "UPDATE reservations SET status = 'released' WHERE saga = ?", (command.saga,)
            )
        return "done"

    def status(self, saga: str) -> str | None:
        """Return what became of a saga's reservation, if there is one."""
        query = "SELECT status FROM reservations WHERE saga = ?"
        found = self.db.execute(query, (saga,)).fetchone()
        return found[0] if found else None


class CourierWorker:
    """Books parcels, each under the reference of its saga."""

    def __init__(self, courier: Any, publish: Callable[..., Any]) -> None:
        self.courier = courier
        self.publish = publish

    def on_command(self, command: Command) -> None:
        """Book, and reply."""
        outcome = "done"
        try:
            self.courier.book(command.saga, command.item)
        except Known:  # by an earlier one of this command
            pass
        except CannotDeliver:
            outcome = "refused"
        reply = {"saga": command.saga, "action": command.action, "outcome": outcome}
        self.publish("replies", reply, key=command.saga)
