"""The connection that user code gets: an ordinary `sqlite3.Connection`, whose statements
pass ports.

What runs is SQLite itself. Ours are the sites, the faults of a commit, and that a lock is
waited for in virtual time (see `locks`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.clocks import guess_from_text, show_parameters
from chaosharness.handlers.port import NOTE, READ, WRITE, Surface, careful, current_scope
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.stores.durable import QUIET, quietly
from chaosharness.stores.sqlite.askers import texts_beside
from chaosharness.stores.sqlite.configured import ConfiguredConnection
from chaosharness.stores.sqlite.locks import (
    RESETTABLE,
    Effect,
    How,
    an_error,
    count_changes,
    set_isolation,
)
from chaosharness.stores.sqlite.parameters import shown
from chaosharness.stores.sqlite.statement import Statement, split

HARMLESS: Final = frozenset({"schema_version", "user_version", "application_id"})
"""Pragmas that belong to the database, and leave nothing behind in a connection."""

_make_cursor: Final = sqlite3.Connection.cursor
_execute: Final = sqlite3.Cursor.execute
_executemany: Final = sqlite3.Cursor.executemany
_plain_commit: Final = sqlite3.Connection.commit
_plain_rollback: Final = sqlite3.Connection.rollback
_plain_fetchone: Final = sqlite3.Cursor.fetchone
_plain_fetchmany: Final = sqlite3.Cursor.fetchmany

Finish = Callable[[Any], object]


class Cursor(sqlite3.Cursor):
    """An ordinary cursor. Its statements pass the ports of its connection."""

    __slots__ = ("home", "taken")

    home: Connection
    taken: int
    """Rows that were fetched one by one: what code that sleeps in between knows."""

    @property
    def connection(self) -> Connection:
        """The connection this cursor was made by, wherever it reads just now."""
        return self.home

    def fetchone(self) -> Any:
        """Return the next row; None where there is none."""
        row = _plain_fetchone(self)
        if row is not None:
            self.taken += 1
        return row

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next rows: `arraysize` of them, unless a number is given."""
        rows = _plain_fetchmany(self, self.arraysize if size is None else size)
        self.taken += len(rows)
        return rows

    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
        """Run one statement."""
        home = self.home
        if not (home._calm and home.run_calmly(self, sql, parameters)):
            home.pass_port(_execute, self, sql, parameters)
        return self

    def executemany(self, sql: str, parameters: Any, /) -> Cursor:
        """Run one statement for each set of parameters."""
        self.home.pass_port(_executemany, self, sql, list(parameters))
        return self

    def executescript(self, sql: str, /) -> Cursor:
        """Commit, then run statements one by one, each committed by itself."""
        self.home.run_script(self, sql)
        return self


class Connection(ConfiguredConnection):
    """An ordinary `sqlite3.Connection` to a store of the system under test.

    Not modelled: `sqlite3.Cursor(connection)` built by hand, `blobopen`, and `backup` onto
    this connection go past the ports.
    """

    __slots__ = ()

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor; of this class, if one is given."""
        made = _make_cursor(self, Cursor if factory is None else with_ports(factory))
        made.home = self
        made.taken = 0
        return made

    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
        """Run one statement with a new cursor; return it."""
        cursor = _make_cursor(self, Cursor)
        cursor.home = self
        cursor.taken = 0
        if not (self._calm and self.run_calmly(cursor, sql, parameters)):
            self.pass_port(_execute, cursor, sql, parameters)
        return cursor

    def executemany(self, sql: str, parameters: Any, /) -> Cursor:
        """Run one statement for each set of parameters, with a new cursor; return it."""
        cursor: Cursor = self.cursor()
        return cursor.executemany(sql, parameters)

    def executescript(self, sql: str, /) -> Cursor:
        """Run a script with a new cursor; return it."""
        cursor: Cursor = self.cursor()
        return cursor.executescript(sql)

    def commit(self) -> None:
        """Commit the open transaction, if there is one."""
        if self.in_transaction:
            if self._touched or count_changes(self) != self._committed:
                if self._calm and self.commit_calmly():
                    return
                store = self._store
                self._pass(store.committing, self._commit, _plain_commit, store.surface)
            else:
                super().commit()
                self.ended()

    def rollback(self) -> None:
        """Undo the open transaction, if there is one."""
        if self._shut and self._owner is None:
            return  # its run is over, and the clean-up of code that was abandoned comes after it
        if self.in_transaction:
            if self._touched or count_changes(self) != self._committed:
                self._pass(self._store.rolling_back, self._undo, _plain_rollback, READ)
            else:
                super().rollback()
                self.ended()

    def close(self) -> None:
        """Close the connection; what is not committed is undone."""
        if not self._shut and self._owner is not None:
            self.abandon("connection closed")
        self.shut()

    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> Any:
        if kind is not None:
            self.rollback()
            return False
        try:
            self.commit()
        except BaseException:
            self.rollback()
            raise
        return False

    # ---- from a statement to its site

    def _pass(
        self,
        statement: Statement,
        effect: Callable[[Scope, str, int, Any], None],
        argument: Any,
        surface: Surface,
    ) -> None:
        """Pass a port, as `handlers.port.operate` does where a caller cannot await."""
        scope = SCOPE.get()
        if scope is None or not scope.incarnation.alive or scope.world.ending is not None:
            scope = current_scope(statement.action)  # refuses
        if QUIET.get():
            effect(quietly(scope), statement.operations[scope.place], 0, argument)
            return
        scope.steps += 1
        world = scope.world
        if scope.steps > world.budget.steps_max:
            scope.steps -= 1
            current_scope(statement.action)
        operation = statement.operations[scope.place]
        key = (operation, scope.entity, scope.message)
        world.counts[key] = attempt = world.counts.get(key, 0) + 1
        if operation not in world.surfaces:
            world.meet(operation, surface)
        if operation in world.armed or world.unreachable:
            script = careful(scope, operation, attempt, effect, argument, self._store)
            scope.colour.block(script, scope)
        else:
            effect(scope, operation, attempt, argument)

    def pass_port(self, how: How, cursor: Cursor, sql: str, parameters: Any) -> None:
        """Run a statement at the site it belongs to."""
        store = self._store
        try:
            statement = store.statements[sql]
        except (KeyError, TypeError):
            statement = store.learn(sql)
        argument = (how, cursor, statement, sql, parameters)
        kind = statement.kind
        if kind == "write":
            if self.in_transaction or (self._implicit and statement.implicit):
                self._pass(statement, self._write, argument, WRITE)
            else:
                self._pass(statement, self._write_now, argument, store.surface)
        elif kind == "read":
            self._pass(statement, self._read, argument, READ)
        elif statement.asks:
            how(cursor, sql, parameters)
        elif kind == "pragma":
            self._pass(statement, self._pragma, argument, NOTE)
        else:
            self._control(statement, argument)

    def _control(self, statement: Statement, argument: Effect) -> None:
        """Run a statement that opens or ends a transaction, or part of one."""
        how, cursor, _, sql, parameters = argument
        store = self._store
        kind = statement.kind

        def finish(_: object) -> None:
            how(cursor, sql, parameters)

        if self.in_transaction and kind == "rollback":
            self._pass(statement, self._undo, finish, READ)
        elif self.in_transaction and (
            kind == "commit" or (kind == "release" and statement.table.lower() == self._outermost)
        ):
            self._pass(statement, self._commit, finish, store.surface)
        else:
            self._pass(statement, self._begin, argument, READ if kind == "begin" else NOTE)

    def run_script(self, cursor: Cursor, script: str) -> None:
        """Run a script as sqlite3 does: commit first, then statement by statement."""
        if not isinstance(script, str):
            sqlite3.Cursor.executescript(cursor, script)  # says what is wrong with it
        if not self._implicit:
            for part in split(script):
                self.pass_port(_run_through, cursor, part, ())
            return
        self.commit()
        self._spoilt = True
        level = self.isolation_level
        set_isolation(self, None)
        self._implicit = False
        try:
            for part in split(script):
                self.pass_port(_run_through, cursor, part, ())
        finally:
            self._implicit = True
            if not self._shut:
                set_isolation(self, level)

    # ---- effects

    def _read(self, scope: Scope, operation: str, attempt: int, effect: Effect) -> None:
        how, cursor, statement, sql, parameters = effect
        store = self._store
        if scope.clock:
            show_parameters(scope, sql, parameters)
        clock = scope.clock
        if scope.struck:
            store.verdict(scope)
        if scope.incarnation is not self._owner or store.down:
            self.check(scope, "read", operation, attempt)
        if store.copied:
            self.go_home(cursor)
        try:
            if self._snapshot is not None:
                self.look(self._snapshot, effect)
            else:
                how(cursor, sql, parameters)
        except Exception as error:
            self.face_statement(error, scope, "read", operation, attempt, effect)
        if scope.clock != clock:
            guess_from_text(scope, sql, parameters, partial(texts_beside, self))
        if self.in_transaction:
            self._reading = True
        scope.record("read", operation, attempt, statement.data)

    def _write(self, scope: Scope, operation: str, attempt: int, effect: Effect) -> None:
        """Write inside a transaction."""
        how, cursor, statement, sql, parameters = effect
        store = self._store
        if scope.clock:
            show_parameters(scope, sql, parameters)
        clock = scope.clock
        if scope.struck:
            store.verdict(scope)
        if scope.incarnation is not self._owner or store.down:
            self.check(scope, "write", operation, attempt)
        if store.copied:
            self.go_home(cursor)
        try:
            how(cursor, sql, parameters)
        except Exception as error:
            self.face_statement(error, scope, "write", operation, attempt, effect)
        if scope.clock != clock:
            guess_from_text(scope, sql, parameters, partial(texts_beside, self))
        self._writer = scope
        store.changed = True
        if self._snapshot is not None:
            self.drop_snapshot()
        if self._exclusive and self.in_transaction:
            store.pending[self] = None
        data = {
            "store": store.name,
            "verb": statement.verb,
            "table": statement.table,
            "rows": cursor.rowcount,
            "params": shown(parameters),
        }
        if statement.touches:
            self._touch(statement)
            del data["rows"]  # not known: no rows at all, or more to come with RETURNING
        scope.record("write", operation, attempt, data)

    def _write_now(self, scope: Scope, operation: str, attempt: int, effect: Effect) -> None:
        """Write outside of any transaction: the statement is its own commit."""
        store = self._store
        outcome = store.verdict(scope) if scope.struck else None
        if scope.incarnation is not self._owner or store.down:
            self.check(scope, "write", operation, attempt)
        if outcome == "rolled-back":
            self._fail_commit(scope, operation, attempt)
        if store.lookers:
            self.wait_for_readers(scope, operation, attempt)
        self._write(scope, operation, attempt, effect)
        if self._touched or count_changes(self) != self._committed:
            self._durable(scope, operation, attempt, outcome)
        else:
            self.ended()

    def _commit(self, scope: Scope, operation: str, attempt: int, finish: Finish) -> None:
        store = self._store
        outcome = store.verdict(scope) if scope.struck else None
        if scope.incarnation is not self._owner or store.down:
            self.check(scope, "commit", operation, attempt)
        if outcome == "rolled-back":
            self._fail_commit(scope, operation, attempt)
        if store.lookers:
            self.wait_for_readers(scope, operation, attempt)
        try:
            finish(self)
        except Exception as error:
            self.face(error, scope, "commit", operation, attempt, partial(finish, self))
        if finish is not _plain_commit and self.in_transaction:
            return  # it released an inner savepoint of the same name
        self._durable(scope, operation, attempt, outcome)

    def _fail_commit(self, scope: Scope, operation: str, attempt: int) -> None:
        """Undo the transaction, and say that the commit failed."""
        error = an_error("database or disk is full", "SQLITE_FULL", sqlite3.SQLITE_FULL)
        self.undo(scope, operation, attempt, "commit failed")
        self.record_error(scope, "commit", operation, attempt, error)
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a circle

    def _undo(self, scope: Scope, operation: str, attempt: int, finish: Finish) -> None:
        if scope.incarnation is not self._owner:
            self.check(scope, "rollback", operation, attempt)
        finish(self)  # even while the store is out of order: what is undone was never there
        scope.record("rollback", operation, attempt, {"store": self._store.name})
        self.ended()

    def _begin(self, scope: Scope, operation: str, attempt: int, effect: Effect) -> None:
        how, cursor, statement, sql, parameters = effect
        store = self._store
        if scope.struck:
            store.verdict(scope)
        if scope.incarnation is not self._owner or store.down:
            self.check(scope, "read", operation, attempt)
        opens = not self.in_transaction
        try:
            how(cursor, sql, parameters)
        except Exception as error:
            retry = partial(how, cursor, sql, parameters)
            self.face(error, scope, "read", operation, attempt, retry)
        if statement.exclusive:
            store.pending[self] = None
        if opens and statement.kind == "savepoint":
            self._spoilt = True
            self._outermost = statement.table.lower()

    def _pragma(self, scope: Scope, operation: str, attempt: int, effect: Effect) -> None:
        self._read(scope, operation, attempt, effect)
        statement = effect[2]
        name = statement.table.lower()
        if statement.value is None or name.endswith(("_info", "_list", "_check")):
            return
        self._spoilt = True
        if name == "busy_timeout":
            if statement.value.isdigit():
                self._timeout_ms = int(statement.value)
                self._store.world.know_duration(self._timeout_ms)
            sqlite3.Connection.execute(self, "PRAGMA busy_timeout = 0")
        elif name in RESETTABLE:
            self._pragmas.add(name)
        elif name in HARMLESS:
            self._defined = True
            self._store.changed = True
            self._store.schema_touched |= name == "schema_version"
        else:
            self._private = True

    def _touch(self, statement: Statement) -> None:
        """Take note of a change that no count of rows shows."""
        self._touched = self._spoilt = True
        self._defined |= statement.defines
        self._store.schema_touched |= statement.defines
        self._private = self._private or statement.private


def _run_through(cursor: Cursor, sql: str, parameters: Any) -> None:
    """Run a statement of a script to its end; nobody reads its rows."""
    _execute(cursor, sql, parameters)
    cursor.fetchall()


_WITH_PORTS: dict[type, type[Cursor]] = {}


def with_ports(factory: Any) -> type[Cursor]:
    """Return a cursor class that is also the user's.

    Raises:
        InvalidDefinition: It is no cursor class.
    """
    if isinstance(factory, type) and issubclass(factory, Cursor):
        return factory
    if not (isinstance(factory, type) and issubclass(factory, sqlite3.Cursor)):
        raise InvalidDefinition(f"{factory!r} is no subclass of sqlite3.Cursor")
    if factory not in _WITH_PORTS:
        _WITH_PORTS[factory] = type(factory.__name__, (factory, Cursor), {})
    return _WITH_PORTS[factory]
