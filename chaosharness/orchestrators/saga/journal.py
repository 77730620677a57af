"""Where sagas are kept: four tables, written in one transaction for each transition.

Nothing here needs the harness: the connection is an ordinary `sqlite3.Connection`, and the
statements are those that any SQL database takes.

*Source*: rules N1, N2, N13; Richardson, "Microservices Patterns", chapter 3 (transactional outbox).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition, RefusedValue
from chaosharness.kernel.places import asked_at
from chaosharness.orchestrators.saga.errors import Fenced
from chaosharness.orchestrators.saga.records import Command, Record, Reply, as_json

__all__ = ["SCHEMA", "Journal", "Row"]

SCHEMA: Final = """
CREATE TABLE saga_executions (
    id TEXT PRIMARY KEY, saga TEXT NOT NULL, status TEXT NOT NULL,
    version INTEGER NOT NULL,        -- records in its journal
    lease INTEGER NOT NULL,          -- the number of the last lease: the fence
    lease_until_ms INTEGER,          -- NULL: nobody has it
    due_ms INTEGER                   -- when time acts next
);
CREATE TABLE saga_journal (
    saga TEXT, number INTEGER, record TEXT NOT NULL, PRIMARY KEY (saga, number)
);
CREATE TABLE saga_outbox (
    saga TEXT, number INTEGER, command TEXT NOT NULL, PRIMARY KEY (saga, number)
);
CREATE TABLE saga_inbox (id INTEGER PRIMARY KEY, saga TEXT NOT NULL, reply TEXT NOT NULL);
"""
"""What a database needs for it."""

TABLES: Final = ("saga_executions", "saga_journal", "saga_outbox", "saga_inbox")

SHARED: Final = (
    "an Orchestrator begins a transaction{}, and one is open on its connection: another consumer, "
    "loop or call is amid its own. Make an Orchestrator, with a connection of its own, for each of "
    "them (where calls are served, in the function that is served)"
)


@attrs.frozen
class Row:
    """How a saga stands, and who has it."""

    saga: str
    version: int
    lease: int
    lease_until_ms: int | None

    def is_held(self, now_ms: int) -> bool:
        """Say whether somebody has the lease."""
        return self.lease_until_ms is not None and self.lease_until_ms > now_ms


@attrs.frozen(kw_only=True)
class Change:
    """One transition, as it is written.

    Attributes:
        lease: The lease it is made under; it must still be the last one.
        version: How many records there were when it was decided.
        lease_until_ms: Until when the saga is held from now on; None to let go of it.
    """

    id: str
    lease: int
    version: int
    lease_until_ms: int | None
    status: str
    due_ms: int | None
    records: Sequence[Record] = ()
    commands: Sequence[tuple[int, Command]] = ()
    sent: Sequence[int] = ()
    heard: Sequence[int] = ()


class Journal:
    """The tables, over one connection. Each method but `due` belongs inside `transaction`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, one writer at a time.

        Raises:
            InvalidDefinition: A transaction is open: two work with one connection at once. What
                one of them wrote would be taken back with what the other did.
        """
        if self.db.in_transaction:
            raise InvalidDefinition(SHARED.format(asked_at()))
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            yield

    def begin(self, id: str, saga: str) -> bool:
        """Make a saga known; say whether it was not."""
        command = "INSERT OR IGNORE INTO saga_executions VALUES (?, ?, 'new', 0, 0, NULL, NULL)"
        return self.db.execute(command, (id, saga)).rowcount > 0

    def row(self, id: str) -> Row | None:
        """Return how a saga stands."""
        query = "SELECT saga, version, lease, lease_until_ms FROM saga_executions WHERE id = ?"
        found = self.db.execute(query, (id,)).fetchone()
        return None if found is None else Row(*found)

    def records(self, id: str) -> list[Record]:
        """Return the journal of a saga."""
        query = "SELECT record FROM saga_journal WHERE saga = ? ORDER BY number"
        return [Record.of_text(text) for (text,) in self.db.execute(query, (id,)).fetchall()]

    def lease(self, id: str, row: Row, until_ms: int) -> int:
        """Take the lease on a saga; return its number, which no other lease has or had."""
        number = row.lease + 1
        command = "UPDATE saga_executions SET lease = ?, lease_until_ms = ? WHERE id = ?"
        self.db.execute(command, (number, until_ms, id))
        return number

    def write(self, change: Change) -> None:
        """Write a transition, if its lease is still the last one.

        Raises:
            Fenced: It is not, or somebody else has written since.
        """
        self.guard(change)
        numbered = enumerate(change.records, change.version + 1)
        rows = [(change.id, number, record.as_text()) for number, record in numbered]
        self._many("INSERT INTO saga_journal VALUES (?, ?, ?)", rows)
        sends = [(change.id, number, as_text(one)) for number, one in change.commands]
        self._many("INSERT INTO saga_outbox VALUES (?, ?, ?)", sends)
        gone = [(change.id, number) for number in change.sent]
        self._many("DELETE FROM saga_outbox WHERE saga = ? AND number = ?", gone)
        self._many("DELETE FROM saga_inbox WHERE id = ?", [(number,) for number in change.heard])

    def guard(self, change: Change) -> None:
        """Refuse who was replaced: the lease and the version must be those that were read."""
        command = """UPDATE saga_executions
            SET version = ?, lease_until_ms = ?, status = ?, due_ms = ?
            WHERE id = ? AND lease = ? AND version = ?"""
        version = change.version + len(change.records)
        values = (version, change.lease_until_ms, change.status, change.due_ms, change.id)
        if not self.db.execute(command, (*values, change.lease, change.version)).rowcount:
            raise Fenced(f"lease {change.lease} of saga {change.id} is not the last one any more")

    def _many(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        for row in rows:
            self.db.execute(statement, row)

    def hear(self, reply: Reply) -> None:
        """Keep a reply until whoever has the saga takes it."""
        command = "INSERT INTO saga_inbox (saga, reply) VALUES (?, ?)"
        self.db.execute(command, (reply.saga, as_text(reply)))

    def replies(self, id: str) -> list[tuple[int, Reply]]:
        """Return the replies that nobody has taken yet, oldest first."""
        query = "SELECT id, reply FROM saga_inbox WHERE saga = ? ORDER BY id"
        found = self.db.execute(query, (id,)).fetchall()
        return [(number, Reply(**json.loads(text))) for number, text in found]

    def outbox(self, id: str) -> list[tuple[int, Command]]:
        """Return the commands that may not have been sent yet, oldest first."""
        query = "SELECT number, command FROM saga_outbox WHERE saga = ? ORDER BY number"
        found = self.db.execute(query, (id,)).fetchall()
        return [(number, Command(**json.loads(text))) for number, text in found]

    def due(self, saga: str, now_ms: int) -> list[str]:
        """Return the sagas of a definition that somebody should look after, and nobody has.

        It may be old: each is read again, in a transaction, before anything is done.
        """
        query = """SELECT id FROM saga_executions
            WHERE saga = ? AND (lease_until_ms IS NULL OR lease_until_ms <= ?) AND (due_ms <= ?
            OR id IN (SELECT saga FROM saga_outbox) OR id IN (SELECT saga FROM saga_inbox))
            ORDER BY id"""
        return [id for (id,) in self.db.execute(query, (saga, now_ms, now_ms)).fetchall()]


def as_text(value: Any) -> str:
    """Return a command or a reply as JSON.

    Raises:
        RefusedValue: It has a value that JSON cannot say.
    """
    try:
        return as_json(attrs.asdict(value))
    except (TypeError, ValueError) as error:
        raise RefusedValue(
            f"what is sent for {value.action!r} of saga {value.saga} is kept as JSON, and cannot "
            f"be: {error}. Give plain values"
        ) from None
