"""The orchestrator: where each saga stands is durable before anything is asked of anyone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import msgspec

from models.saga.messages import QUEUE, STEPS, UNDO, Command, Order, Reply

RELAY_S = 30.0
SCHEMA = """
CREATE TABLE sagas (
    id TEXT PRIMARY KEY, item TEXT NOT NULL, cents INTEGER NOT NULL,
    action TEXT NOT NULL,  -- what has been asked for, and not been answered
    command TEXT NOT NULL, -- and in which command
    asked_ms INTEGER NOT NULL,
    status TEXT NOT NULL   -- running, undoing, completed, cancelled
);
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, saga TEXT, queue TEXT, body BLOB);
"""


class Orchestrator:
    """Every change of a saga goes with the command it leads to, in one transaction."""

    steps: tuple[str, ...] = STEPS
    patience_ms = 60_000

    def __init__(
        self,
        db: sqlite3.Connection,
        publish: Callable[..., Any],
        now_ms: Callable[[], int],
        sleep: Callable[[float], Any],
    ) -> None:
        self.db = db
        self.publish = publish
        self.now_ms = now_ms
        self.sleep = sleep

    def on_order(self, order: Order) -> None:
        """Begin a saga, unless it has begun before."""
        with self.db:
            command = Command(order.id, STEPS[0], order.item, order.cents, str(uuid4()))
            new = self.db.execute(
                "INSERT OR IGNORE INTO sagas VALUES (?, ?, ?, ?, ?, ?, 'running')",
                (order.id, order.item, order.cents, STEPS[0], command.id, self.now_ms()),
            ).rowcount
            if new:
                self.ask(command)
        self.flush(order.id)

    def on_reply(self, reply: Reply) -> None:
        """Go one step on, or one step back."""
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            saga = self.read(reply.saga)
            if saga is not None and self.is_answer(reply, saga[2]):
                self.advance(reply, *saga)
        self.flush(reply.saga)

    def read(self, saga: str) -> tuple[str, int, str, str] | None:
        """Return item, cents, what has been asked for, and the status."""
        query = "SELECT item, cents, action, status FROM sagas WHERE id = ?"
        found: tuple[str, int, str, str] | None = self.db.execute(query, (saga,)).fetchone()
        return found

    def is_answer(self, reply: Reply, asked: str) -> bool:
        """Say whether a reply answers what was asked last: old ones come again."""
        return reply.action == asked

    def advance(self, reply: Reply, item: str, cents: int, asked: str, status: str) -> None:
        """Write down the next state of a saga, with the command it leads to."""
        action, status = self.next(reply, asked, status)
        command = Command(reply.saga, action, item, cents, str(uuid4()))
        self.db.execute(
            "UPDATE sagas SET action = ?, command = ?, asked_ms = ?, status = ? WHERE id = ?",
            (action, command.id, self.now_ms(), status, reply.saga),
        )
        if action:
            self.ask(command)
        else:
            self.close(command, status)

    def close(self, last: Command, status: str) -> None:
        """Do what goes with the end of a saga, in the transaction that ends it."""

    def next(self, reply: Reply, asked: str, status: str) -> tuple[str, str]:
        """Return what is to be done next, if anything, and the new status."""
        if status == "running" and reply.outcome == "done":
            later = self.steps[self.steps.index(asked) + 1 :]
            return (later[0], "running") if later else ("", "completed")
        undone = asked if status == "running" else _step_of(asked)
        earlier = [step for step in self.steps[: self.steps.index(undone)] if step in UNDO]
        return (UNDO[earlier[-1]], "undoing") if earlier else ("", "cancelled")

    def ask(self, command: Command) -> None:
        """Have a command sent once the open transaction is committed."""
        self.send(command.saga, QUEUE[command.action], command)

    def send(self, saga: str, queue: str, message: Any) -> None:
        """Have a message sent once the open transaction is committed."""
        row = (saga, queue, msgspec.json.encode(message))
        self.db.execute("INSERT INTO outbox (saga, queue, body) VALUES (?, ?, ?)", row)

    def flush(self, saga: str) -> None:
        """Send what is due for one saga."""
        query = "SELECT id, queue, body FROM outbox WHERE saga = ? ORDER BY id"
        for number, queue, body in self.db.execute(query, (saga,)).fetchall():
            self.publish_to(queue, body, saga)
            with self.db:
                self.db.execute("DELETE FROM outbox WHERE id = ?", (number,))

    def ask_again(self) -> None:
        """Ask again where no answer came: it may have been lost, or been put aside."""
        now_ms = self.now_ms()
        for command in self.unanswered(now_ms - self.patience_ms):
            with self.db:
                still = self.db.execute(
                    "UPDATE sagas SET asked_ms = ? WHERE id = ? AND command = ?",
                    (now_ms, command.saga, command.id),
                ).rowcount
                if still:
                    self.ask(command)

    def unanswered(self, since_ms: int) -> list[Command]:
        """Return the commands that nobody has answered since then."""
        query = """SELECT id, action, item, cents, command FROM sagas
            WHERE action <> '' AND asked_ms < ?"""
        return [Command(*row) for row in self.db.execute(query, (since_ms,)).fetchall()]

    def publish_to(self, queue: str, body: bytes, saga: str) -> None:
        """Publish one message."""
        self.publish(queue, body, key=saga)

    def look_after(self) -> None:
        """Ask again, and send what others left behind, for ever."""
        while True:
            try:
                self.ask_again()
                self.flush_all()
            except (ConnectionError, TimeoutError, sqlite3.OperationalError):
                pass  # next time
            self.sleep(RELAY_S)

    def flush_all(self) -> None:
        """Send what others left behind."""
        query = "SELECT DISTINCT saga FROM outbox ORDER BY saga"
        for (saga,) in self.db.execute(query).fetchall():
            self.flush(saga)


def _step_of(undo: str) -> str:
    return next(step for step, action in UNDO.items() if action == undo)
