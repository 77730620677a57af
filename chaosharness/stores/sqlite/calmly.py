"""Statements and commits at sites where nothing is the matter, in one step.

What they do is what `connection` does, where no fault is armed and no lock was
ever in the way: nearly all of them, and the dearest part of a run.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Any, Final

from chaosharness.handlers.clocks import guess_from_text, show_parameters
from chaosharness.handlers.port import READ, WRITE
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.stores.durable import QUIET
from chaosharness.stores.sqlite.askers import texts_beside
from chaosharness.stores.sqlite.locks import Effect, LockingConnection, an_error, count_changes
from chaosharness.stores.sqlite.parameters import shown

_execute: Final = sqlite3.Cursor.execute
_plain_commit: Final = sqlite3.Connection.commit


class CalmConnection(LockingConnection):
    """A connection while it is calm: its owner lives, and it was never configured or copied."""

    __slots__ = ()

    def run_calmly(self, cursor: Any, sql: str, parameters: Any) -> bool:
        """Run a statement that reads, or writes in a transaction; say whether it was run."""
        store = self._store
        try:
            statement = store.statements[sql]
        except (KeyError, TypeError):
            return False
        scope = SCOPE.get()
        if scope is None or scope.incarnation is not self._owner or not statement.calm:
            return False
        world = scope.world
        operation = statement.operations[scope.place]
        if (
            operation in world.armed
            or scope.struck
            or store.down
            or world.unreachable
            or world.ending is not None
            or scope.steps >= world.budget.steps_max
            or QUIET.get()
        ):
            return False
        scope.steps += 1
        key = (operation, scope.entity, scope.message)
        world.counts[key] = attempt = world.counts.get(key, 0) + 1
        if operation not in world.surfaces:
            world.surfaces[operation] = READ if statement.reads else WRITE
        clock = scope.clock
        if clock:
            show_parameters(scope, sql, parameters)
        try:
            _execute(cursor, sql, parameters)
        except Exception as error:
            kind = "read" if statement.reads else "write"
            effect: Effect = (_execute, cursor, statement, sql, parameters)
            self.face_statement(error, scope, kind, operation, attempt, effect)
        if scope.clock != clock:
            guess_from_text(scope, sql, parameters, partial(texts_beside, self))
        kind, data = "read", statement.data
        if not statement.reads:
            self._writer = scope
            store.changed = True
            kind, rows = "write", cursor.rowcount
            data = {**data, "rows": rows, "params": shown(parameters)}
        elif self.in_transaction:
            self._reading = True
        raw = world.raw
        cause, scope.cause = scope.cause, len(raw)
        label = scope.incarnation.label
        raw.append((world.now, kind, label, operation, scope.entity, attempt, cause, data))
        return True

    def commit_calmly(self) -> bool:
        """Commit the open transaction; say whether it was committed."""
        store = self._store
        scope = SCOPE.get()
        if scope is None or scope.incarnation is not self._owner:
            return False
        world = scope.world
        operation = store.committing.operations[scope.place]
        if (
            operation in world.armed
            or scope.struck
            or store.down
            or store.lookers
            or world.unreachable
            or world.ending is not None
            or scope.steps >= world.budget.steps_max
            or QUIET.get()
        ):
            return False
        scope.steps += 1
        key = (operation, scope.entity, scope.message)
        world.counts[key] = attempt = world.counts.get(key, 0) + 1
        if operation not in world.surfaces:
            world.surfaces[operation] = store.surface
        try:
            _plain_commit(self)
        except Exception as error:
            self.face(error, scope, "commit", operation, attempt, partial(_plain_commit, self))
        self._durable(scope, operation, attempt, None)
        return True

    def _durable(self, scope: Scope, operation: str, attempt: int, outcome: str | None) -> None:
        """Record that changes are durable, and let others go on."""
        store = self._store
        world = scope.world
        now = count_changes(self)
        rows = now - self._committed
        data: dict[str, Any] = {"store": store.name, "rows": rows}
        if outcome is not None:
            data["outcome"] = "unknown"
        scope.record("commit", operation, attempt, data)
        if self._defined or (rows and not store.repeats.unchanged(scope, store.in_order)):
            world.effects += 1
        self._defined = False
        store.version += 1
        self._committed = now
        self._touched = self._reading = False
        if store.keeps:
            store.keep_image()
        if store.tells:
            store.committed(scope)
        if store.waiting or store.pending or self._snapshot is not None or self._outermost:
            self.ended()
        if outcome is not None:
            words = "disk I/O error: outcome of the commit unknown"
            raise an_error(words, "SQLITE_IOERR", sqlite3.SQLITE_IOERR)
