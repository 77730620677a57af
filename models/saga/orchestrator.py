"""The orchestrator: where each saga stands is durable before anything is asked of anyone."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from models.saga.messages import QUEUE, STEPS, UNDO, Command, Order, Reply

PATIENCE_MS = 600_000
SCHEMA = """
CREATE TABLE sagas (
    id TEXT PRIMARY KEY, item TEXT NOT NULL, cents INTEGER NOT NULL,
    action TEXT NOT NULL,  -- what has been asked for, and not been answered
    asked_ms INTEGER NOT NULL,
    status TEXT NOT NULL   -- running, undoing, completed, cancelled
);
CREATE TABLE outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, saga TEXT, queue TEXT, body BLOB);
"""


class Orchestrator:
    """Every change of a saga goes with the command it leads to, in one transaction."""

    def __init__(
        self, db: sqlite3.Connection, publish: Callable[..., Any], now_ms: Callable[[], int]
    ) -> None:
        self.db = db
        self.publish = publish
        self.now_ms = now_ms

    def on_order(self, order: Order) -> None:
        """Begin a saga, unless it has begun before."""
        with self.db:
            new = self.db.execute(
                "INSERT OR IGNORE INTO sagas VALUES (?, ?, ?, ?, ?, 'running')",
                (order.id, order.item, order.cents, STEPS[0], self.now_ms()),
            ).rowcount
            if new:
                self.ask(order.id, STEPS[0], order.item, order.cents)
        self.flush(order.id)

    def on_reply(self, reply: Reply) -> None:
        """Go one step on, or one step back."""
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            saga = self.db.execute(
                "SELECT item, cents, action, status FROM sagas WHERE id = ?", (reply.saga,)
            ).fetchone()
            if saga is not None and self.is_answer(reply, saga[2]):
                self.advance(reply, *saga)
        self.flush(reply.saga)

    def is_answer(self, reply: Reply, asked: str) -> bool:
        """Say whether a reply answers what was asked last: old ones come again."""
        return reply.action == asked

    def advance(self, reply: Reply, item: str, cents: int, asked: str, status: str) -> None:
        """Write down the next state of a saga, with the command it leads to."""
        action, status = self.next(reply, asked, status)
        self.db.execute(
            "UPDATE sagas SET action = ?, asked_ms = ?, status = ? WHERE id = ?",
            (action, self.now_ms(), status, reply.saga),
        )
        if action:
            self.ask(reply.saga, action, item, cents)

    def next(self, reply: Reply, asked: str, status: str) -> tuple[str, str]:
        """Return what is to be done next, if anything, and the new status."""
        if status == "running" and reply.outcome == "done":
            later = STEPS[STEPS.index(asked) + 1 :]
            return (later[0], "running") if later else ("", "completed")
        undone = asked if status == "running" else _step_of(asked)
        earlier = STEPS[: STEPS.index(undone)]
        return (UNDO[earlier[-1]], "undoing") if earlier else ("", "cancelled")

    def ask(self, saga: str, action: str, item: str, cents: int) -> None:
        """Have a command sent once the open transaction is committed."""
        body = msgspec.json.encode(Command(saga, action, item, cents))
        self.db.execute(
            "INSERT INTO outbox (saga, queue, body) VALUES (?, ?, ?)", (saga, QUEUE[action], body)
        )

    def flush(self, saga: str) -> None:
        """Send what is due for one saga."""
        query = "SELECT id, queue, body FROM outbox WHERE saga = ? ORDER BY id"
        for number, queue, body in self.db.execute(query, (saga,)).fetchall():
            self.publish(queue, body, key=saga)
            with self.db:
                self.db.execute("DELETE FROM outbox WHERE id = ?", (number,))

    def ask_again(self) -> None:
        """Ask again where no answer came: it may have been lost, or been put aside."""
        query = "SELECT id, item, cents, action FROM sagas WHERE action <> '' AND asked_ms < ?"
        now_ms = self.now_ms()
        for saga, item, cents, action in self.db.execute(query, (now_ms - PATIENCE_MS,)).fetchall():
            with self.db:
                still = self.db.execute(
                    "UPDATE sagas SET asked_ms = ? WHERE id = ? AND action = ?",
                    (now_ms, saga, action),
                ).rowcount
                if still:
                    self.ask(saga, action, item, cents)

    def flush_all(self) -> None:
        """Send what others left behind."""
        query = "SELECT DISTINCT saga FROM outbox ORDER BY saga"
        for (saga,) in self.db.execute(query).fetchall():
            self.flush(saga)


def _step_of(undo: str) -> str:
    return next(step for step, action in UNDO.items() if action == undo)
