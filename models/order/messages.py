"""Messages that go out with a transaction, and messages that are handled once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

Publish = Callable[..., Any]

SCHEMA = """
CREATE TABLE inbox (message TEXT PRIMARY KEY);
-- AUTOINCREMENT: no number is used again, or a slow relay would delete another's event by it
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT, key TEXT, body BLOB);
"""


class Outbox:
    """Events that become durable with the state change, and are published after it."""

    def __init__(self, db: sqlite3.Connection, publish: Publish) -> None:
        self.db = db
        self.publish = publish

    def add(self, topic: str, key: str, event: Any) -> None:
        """Have an event published once the open transaction is committed."""
        self.db.execute(
            "INSERT INTO outbox (topic, key, body) VALUES (?, ?, ?)",
            (topic, key, msgspec.json.encode(event)),
        )

    def flush(self, key: str) -> None:
        """Publish what is due for one order."""
        self._publish("SELECT * FROM outbox WHERE key = ? ORDER BY id", (key,))

    def flush_all(self) -> None:
        """Publish what others left behind."""
        self._publish("SELECT * FROM outbox ORDER BY id", ())

    def _publish(self, query: str, parameters: tuple[str, ...]) -> None:
        for number, topic, key, body in self.db.execute(query, parameters).fetchall():
            self.publish(topic, body, key=key)
            with self.db:
                self.db.execute("DELETE FROM outbox WHERE id = ?", (number,))


class Relay:
    """Publishes what handlers left behind: they were cut off, or the broker refused."""

    def __init__(self, outbox: Outbox, sleep: Callable[[float], Any]) -> None:
        self.outbox = outbox
        self.sleep = sleep

    def relay(self) -> None:
        """Go on for ever."""
        while True:
            with suppress(ConnectionError, TimeoutError, sqlite3.OperationalError):
                self.outbox.flush_all()  # else the next time
            self.sleep(30)


class Inbox:
    """Messages that were handled, remembered with what they led to."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    def has(self, message: str) -> bool:
        """Say whether a message was handled before."""
        query = "SELECT 1 FROM inbox WHERE message = ?"
        return self.db.execute(query, (message,)).fetchone() is not None

    def take(self, message: str) -> bool:
        """Remember a message in the open transaction; say whether it is new."""
        command = "INSERT OR IGNORE INTO inbox VALUES (?)"
        return self.db.execute(command, (message,)).rowcount == 1


def readable(handler: Callable[[Any], None], kind: Any, publish: Publish) -> Callable[..., None]:
    """Have a message that nobody can read put aside, where a person will look at it.

    One that can be read but not handled is another matter: it raises, and comes again.
    """
    decode = msgspec.json.Decoder(kind).decode

    def handle(body: bytes) -> None:
        try:
            event = decode(body)
        except msgspec.DecodeError:
            publish("dead-letters", body)
        else:
            handler(event)

    handle.__name__ = handler.__name__
    return handle
