"""What the connections to one SQLite database have in common during a run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from chaosharness.handlers.script import Resume
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.stores.durable import OpenStore
from chaosharness.stores.repeats import Repeats, in_one_order
from chaosharness.stores.sqlite.statement import Statement


class SharedStore(OpenStore):
    """A SQLite database during one run, as its connections know it.

    Attributes:
        statements: SQL texts that were met, read once.
        waiting: Who waits for a lock.
        pending: Connections that keep new readers out: they wait to commit, or are exclusive.
        lookers: Connections whose transaction reads an older state from a copy.
        version: How many commits there were.
        changed: Whether anything was written at all.
        schema_touched: Whether a statement was run that may have changed the schema.
        copied: Whether any cursor was ever sent to a copy.
        tells: Whether `committed` has something to do.
        repeats: Tells commits that leave everything as it was.
    """

    tells = False

    def __init__(
        self,
        name: str,
        world: World,
        *,
        timeout_ms: int,
        synced: bool,
        unsynced_ms: int,
        statements: dict[str, Statement],
        learn: Callable[[object], Statement],
    ) -> None:
        super().__init__(name, world, timeout_ms=timeout_ms, synced=synced, unsynced_ms=unsynced_ms)
        self.statements = statements
        self.learn = learn
        self.committing = self.statements.get("COMMIT") or self.learn("COMMIT")
        self.rolling_back = self.statements.get("ROLLBACK") or self.learn("ROLLBACK")
        self.waiting: list[tuple[Resume, list[Entry]]] = []
        self.pending: dict[sqlite3.Connection, None] = {}
        self.lookers: dict[sqlite3.Connection, None] = {}
        self.version = 0
        self.changed = False
        self.schema_touched = False
        self.copied = False
        self.repeats = Repeats()

    def wake(self) -> None:
        """Have those who wait for a lock try again, in the order in which they came."""
        waiting, self.waiting = self.waiting, []
        for resume, _ in waiting:
            self.world.after(0, resume)

    def record_undone(self, owner: Incarnation | None, scope: Scope | None, why: str) -> None:
        """Record that a transaction was undone without anybody asking."""
        world = self.world
        cause = -1 if scope is None else scope.cause
        if why == "crash" and owner is not None:
            raw = world.raw
            crashes = (index for index in range(len(raw) - 1, cause, -1) if raw[index][1] == why)
            cause = next((index for index in crashes if raw[index][2] == owner.label), cause)
        world.record(
            "rollback",
            "" if owner is None else owner.label,
            entity=0 if scope is None else scope.entity,
            cause=cause,
            data={"store": self.name, "why": why},
        )

    def committed(self, scope: Scope) -> None:
        """Take note of what became durable; a store whose tables have a meaning tells it."""

    def in_order(self) -> Any:
        """Return what is committed, in one order; None where it cannot be looked at now."""
        try:
            return in_one_order(self.contents())
        except sqlite3.Error:  # another connection is writing
            return None

    def contents(self) -> dict[str, Any]:
        """Return all that is committed, also what `final` shows in other words."""
        return self.final()

    def final(self) -> dict[str, Any]:
        """Return what is committed: `{"tables": {table: [row, ...]}}`."""
        raise NotImplementedError

    def copy(self) -> sqlite3.Connection:
        """Return a private copy of what is committed."""
        raise NotImplementedError

    def keep_image(self) -> None:
        """Keep what is committed, for a power failure to come."""
        raise NotImplementedError
