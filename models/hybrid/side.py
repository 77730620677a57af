"""Who listens when an order is completed. None of them is asked whether it may be."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Any

import attrs

POINTS_SCHEMA = "CREATE TABLE points (saga TEXT PRIMARY KEY, points INTEGER NOT NULL);"


@attrs.frozen
class Completed:
    """An order is charged, reserved and booked. There is no way back from here."""

    saga: str
    item: str
    cents: int


class AlreadySent(Exception):
    """The mail service has sent a mail with this id before, and does nothing (HTTP 409)."""


class MailService:
    """A third party that sends each message id once."""

    def __init__(self) -> None:
        self.ids: set[str] = set()

    def send(self, saga: str, text: str, message_id: str) -> None:
        """Send a mail to the customer.

        Raises:
            AlreadySent: A mail with this id was sent before.
        """
        if message_id in self.ids:
            raise AlreadySent(message_id)
        self.ids.add(message_id)


class Mailer:
    """Says thank you, once."""

    def __init__(self, mail: Any) -> None:
        self.mail = mail

    def on_completed(self, event: Completed) -> None:
        """Send the mail."""
        with suppress(AlreadySent):
            self.mail.send(event.saga, f"Your {event.item} is on its way", f"{event.saga} thanks")


class Loyalty:
    """A point for each euro, once for each order."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def on_completed(self, event: Completed) -> None:
        """Write the points down."""
        with self.db:
            row = (event.saga, event.cents // 100)
            self.db.execute("INSERT OR IGNORE INTO points VALUES (?, ?)", row)


class Analytics:
    """Keeps what was sold: one entry an order, so that counting twice changes nothing."""

    def __init__(self, facts: Any) -> None:
        self.facts = facts

    def on_completed(self, event: Completed) -> None:
        """Keep it."""
        self.facts.put(event.saga, {"item": event.item, "cents": event.cents})
