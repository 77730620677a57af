"""Locks of a SQLite database, waited for in virtual time, and how a transaction ends.

SQLite's own locks are the truth: what is here begins when SQLite says "database is
locked". The file system in memory (`memdb`) is stricter than a disk in one way: it turns
readers away as soon as one connection has begun to write, where a disk lets them see
what was committed until the writer commits. So a reader who is turned away reads from a
copy of what was committed, and if it does so inside a transaction, the writer's commit
waits for it, as it would on a disk.
"""

from __future__ import annotations

import gc
import sqlite3
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from chaosharness.handlers.port import refuse_stranger
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.stores.sqlite.sharing import SharedStore
from chaosharness.stores.sqlite.statement import Statement

LOCKED: Final = "database is locked"

POLL_MS: Final = 100
"""How often a commit looks whether the readers are gone: a cursor that is read to its end
tells nobody. It is the longest pause of SQLite's own busy handler."""

RESETTABLE: Final = {"foreign_keys": "0", "synchronous": "2", "journal_mode": "MEMORY"}
"""Pragmas of a connection that are put back when it is used again, and to what."""

_OWN: Final = vars(sqlite3.Connection)
count_changes: Final[Callable[[sqlite3.Connection], int]] = _OWN["total_changes"].__get__
get_isolation: Final[Callable[[sqlite3.Connection], Any]] = _OWN["isolation_level"].__get__
set_isolation: Final[Callable[[sqlite3.Connection, Any], None]] = _OWN["isolation_level"].__set__
_connected_to: Final = vars(sqlite3.Cursor)["connection"].__get__

How = Callable[[Any, str, Any], Any]
Effect = tuple[How, Any, Statement, str, Any]
"""How to run it, the cursor, the statement, its text and its parameters."""


class LockingConnection(sqlite3.Connection):
    """A connection of one incarnation, and what it holds."""

    __slots__ = (
        "__weakref__",
        "_calm",
        "_committed",
        "_copy",
        "_defined",
        "_exclusive",
        "_extras",
        "_implicit",
        "_outermost",
        "_owner",
        "_pragmas",
        "_private",
        "_reading",
        "_shut",
        "_snapshot",
        "_spoilt",
        "_store",
        "_timeout_ms",
        "_touched",
        "_writer",
        "_zero",
        "detects",
    )

    detects: int
    """Its `detect_types`, which it was made with."""

    _store: SharedStore
    _owner: Incarnation | None

    def adopt(self, store: SharedStore, owner: Incarnation) -> None:
        """Become a connection of an incarnation, as new as a connection can be."""
        self._store = store
        self._owner = owner
        self._calm = True  # nothing is known of it that a statement has to look at
        self._timeout_ms = store.timeout_ms
        self._zero = self._committed = count_changes(self)
        if self._spoilt:
            self._renew()

    def _renew(self) -> None:
        """Know nothing of what an earlier owner did with it."""
        self._spoilt = False  # whether anything of this is not as it is here
        self._writer: Scope | None = None  # who wrote last
        self._implicit = True  # sqlite3 opens transactions by itself
        self._exclusive = False  # its transactions keep even readers out
        self._touched = False  # changed something that no count of rows shows
        self._defined = False  # changed the schema, or what lies beside the rows
        self._reading = False  # read inside the transaction: holds a shared lock
        self._outermost = ""  # the savepoint that opened the transaction
        self._snapshot: sqlite3.Connection | None = None  # where this transaction reads
        self._copy: tuple[int, sqlite3.Connection] | None = None
        self._extras: list[tuple[str, Any, Any]] = []  # functions and the like, made by the user
        self._pragmas: set[str] = set()
        self._private = False  # has what no other connection has: attached or temporary tables
        self._shut = False

    def wait_up_to(self, timeout_ms: int) -> None:
        """Wait so long for a lock, as `timeout=` of `sqlite3.connect` has it."""
        self._timeout_ms = timeout_ms
        self._store.world.know_timeout(timeout_ms)

    def release(self) -> bool:
        """Let go of a run; return whether the connection is as good as new."""
        self._owner = None
        self._calm = self._reading = False
        self._store = self._store.retired  # type: ignore[assignment]
        self._writer = None
        try:
            if self.in_transaction:
                sqlite3.Connection.rollback(self)
            self.row_factory = None
            self.text_factory = str
            return not self._spoilt or self._clean_up()
        except sqlite3.Error:
            return False

    def _clean_up(self) -> bool:
        """Put back what was configured; return whether all of it can be."""
        self._snapshot = self._copy = None
        if self._shut or self._private or self._extras:
            return False
        set_isolation(self, "")
        for pragma in sorted(self._pragmas):
            sqlite3.Connection.execute(self, f"PRAGMA {pragma} = {RESETTABLE[pragma]}")
        return True

    def is_open_for(self, owner: Incarnation | None) -> bool:
        """Say whether the connection is open, and belongs to this incarnation (None: any)."""
        return not self._shut and (owner is None or self._owner is owner)

    def shut(self) -> None:
        """Close for good, and tell nobody."""
        self._shut = self._spoilt = True
        sqlite3.Connection.close(self)

    def __del__(
        self, close: Callable[[sqlite3.Connection], None] = sqlite3.Connection.close
    ) -> None:
        close(self)  # or Python 3.13 warns; at the end of the process the module is gone already

    # ---- waiting

    def face(
        self,
        error: Exception,
        scope: Scope,
        kind: str,
        operation: str,
        attempt: int,
        retry: Callable[[], Any],
    ) -> None:
        """Wait where SQLite says that the database is locked; else record the error, and raise.

        Raises:
            sqlite3.Error: What SQLite said, the same object; or that the store is out of order.
        """
        try:
            if not is_locked(error):
                raise error
            self._insist(error, scope, kind, operation, attempt, retry)
        except Exception as failure:
            self.record_error(scope, kind, operation, attempt, failure)
            raise
        finally:
            del error  # its traceback may hold this frame: a circle

    def face_statement(
        self,
        error: Exception,
        scope: Scope,
        kind: str,
        operation: str,
        attempt: int,
        effect: Effect,
    ) -> None:
        """Face what a statement was told: one that reads may do it past a writer."""
        if kind == "read" and self.can_read_past(error):
            self.read_past(effect)
        else:
            how, cursor, _, sql, parameters = effect
            retry = partial(how, cursor, sql, parameters)
            try:
                self.face(error, scope, kind, operation, attempt, retry)
            finally:
                del error

    def _insist(
        self,
        error: Exception,
        scope: Scope,
        kind: str,
        operation: str,
        attempt: int,
        retry: Callable[[], Any],
    ) -> None:
        """Try again until the lock is free, as SQLite's busy handler does, or time is up.

        A transaction that has read and now wants to write while another writes is told at
        once, as by SQLite: waiting could never help.
        """
        store = self._store
        world = store.world
        commits = kind == "commit"
        hopeless = not commits and (self._reading or self._snapshot is not None)
        give_up_ms = world.now + (0 if hopeless else self._timeout_ms)
        if commits:
            store.pending[self] = None
        try:
            while True:
                if world.now >= give_up_ms:
                    raise error
                self._await_lock(scope, give_up_ms, POLL_MS if commits else 0)
                if store.down:
                    raise self._outage(scope, operation, attempt)
                try:
                    retry()
                    return
                except sqlite3.OperationalError as again:
                    if not is_locked(again):
                        raise
        finally:
            store.pending.pop(self, None)
            del error

    def _await_lock(self, scope: Scope, give_up_ms: int, poll_ms: int) -> None:
        """Park until somebody lets go of a lock, or until time is up."""
        store = self._store
        world = store.world
        entries: list[Any] = []

        def keep(resume: Resume) -> None:
            entries.append(world.timer(give_up_ms - world.now, resume, None, None))
            if poll_ms:
                entries.append(world.after(poll_ms, resume))
            store.waiting.append((resume, entries))

        def script() -> Script[None]:
            yield keep

        scope.colour.block(script(), scope)
        for entry in entries:
            world.agenda.cancel(entry)
        store.waiting = [one for one in store.waiting if one[1] is not entries]

    def wait_for_readers(self, scope: Scope, operation: str, attempt: int) -> None:
        """Wait until no other transaction reads an older state: a commit needs all locks."""
        lookers = self._store.lookers
        locked = an_error(LOCKED, "SQLITE_BUSY", sqlite3.SQLITE_BUSY)

        def nobody_looks() -> None:
            if lookers.keys() - {self}:
                raise locked

        if lookers.keys() - {self}:
            self.face(locked, scope, "commit", operation, attempt, nobody_looks)

    # ---- reading past a writer

    def can_read_past(self, error: Exception) -> bool:
        """Say whether a refused reader may see what was committed; if not, it has to wait.

        It waits where a writer waits to commit, and where only this connection could run
        the statement.
        """
        return is_locked(error) and not self._store.pending and not self._private

    def read_past(self, effect: Effect) -> None:
        """Read what was committed while another connection writes."""
        copy = self._current_copy()
        self.look(copy, effect)
        if self.in_transaction:
            self._snapshot = copy
            self._store.lookers[self] = None

    def look(self, copy: sqlite3.Connection, effect: Effect) -> None:
        """Have a cursor read from a copy, until its next statement."""
        how, cursor, _, sql, parameters = effect
        copy.text_factory = self.text_factory
        _move(cursor, copy)
        self._store.copied = True
        self._calm = False
        self._spoilt = True
        how(cursor, sql, parameters)

    def go_home(self, cursor: Any) -> None:
        """Have a cursor that read from a copy work on its own connection again."""
        if _connected_to(cursor) is not self:
            _move(cursor, self)

    def _current_copy(self) -> sqlite3.Connection:
        store = self._store
        if self._copy is None or self._copy[0] != store.version:
            copy = store.copy()
            for method, arguments, keywords in self._extras:
                getattr(copy, method)(*arguments, **keywords)
            self._copy = (store.version, copy)
        return self._copy[1]

    def drop_snapshot(self) -> None:
        """Read from the database again: nobody committed meanwhile, so it is the same."""
        self._snapshot = None
        self._store.lookers.pop(self, None)
        self._reading = True

    # ---- the end of a transaction

    def ended(self) -> None:
        """Take note that no transaction is open any more."""
        store = self._store
        self._committed = count_changes(self)
        self._touched = self._reading = False
        self._outermost = ""
        store.pending.pop(self, None)
        if self._snapshot is not None:
            self._snapshot = None
            store.lookers.pop(self, None)
        if store.waiting:
            store.wake()

    def abandon(self, why: str) -> None:
        """Undo what is not committed, without passing a port: the other side is gone."""
        store = self._store
        self._calm = False
        self._spoilt = True
        store.pending.pop(self, None)
        if not self.in_transaction:
            return
        changed = self._touched or count_changes(self) != self._committed
        sqlite3.Connection.rollback(self)
        self.ended()
        if changed:
            store.record_undone(self._owner, self._writer, why)

    def let_readers_go(self) -> None:
        """End what cursors are still reading: whoever read them is dead."""
        for cursor in cursors_of(self):
            if _connected_to(cursor) is self:
                sqlite3.Cursor.close(cursor)

    def undo(self, scope: Scope, operation: str, attempt: int, why: str) -> None:
        """Undo the transaction by itself, as SQLite does when the disk fails it."""
        if self.in_transaction:
            sqlite3.Connection.rollback(self)
            self.ended()
            data = {"store": self._store.name, "why": why}
            scope.record("rollback", operation, attempt, data)

    def check(self, scope: Scope, kind: str, operation: str, attempt: int) -> None:
        """Raise for a connection that is not the caller's, and for a store out of order."""
        store = self._store
        if scope.incarnation is not self._owner:
            refuse_stranger(scope, f"a connection to {store.name!r}", self._owner)
        if store.down:
            error = self._outage(scope, operation, attempt)
            self.record_error(scope, kind, operation, attempt, error)
            try:
                raise error
            finally:
                del error  # its traceback holds this frame: a circle

    def _outage(self, scope: Scope, operation: str, attempt: int) -> Exception:
        """Undo the transaction, and return what is raised while the store is out of order."""
        self.undo(scope, operation, attempt, "outage")
        words = f"disk I/O error: {self._store.name} is out of order"
        return an_error(words, "SQLITE_IOERR", sqlite3.SQLITE_IOERR)

    def record_error(
        self, scope: Scope, kind: str, operation: str, attempt: int, error: Exception
    ) -> None:
        """Record an error that goes on to the user's code."""
        data = {"store": self._store.name, "error": f"{type(error).__name__}: {error}"}
        scope.record(kind, operation, attempt, data)
        if not self._shut and not self.in_transaction:
            self.ended()  # some errors undo the whole transaction


def cursors_of(connection: sqlite3.Connection) -> list[sqlite3.Cursor]:
    """Return the cursors of a connection that are still there.

    sqlite3 keeps weak references to them in a list, and shows it to nobody but the garbage
    collector. Keeping a list of our own would make every read slower by a tenth.
    """
    for held in gc.get_referents(connection):
        if type(held) is list and held and type(held[0]) is weakref.ref:
            return [cursor for reference in held if (cursor := reference()) is not None]
    return []


def _move(cursor: Any, connection: sqlite3.Connection) -> None:
    """Have a cursor work on another connection; it keeps its row factory."""
    row_factory, size = cursor.row_factory, cursor.arraysize
    sqlite3.Cursor.__init__(cursor, connection)
    cursor.row_factory, cursor.arraysize = row_factory, size


def an_error(message: str, name: str, code: int) -> sqlite3.OperationalError:
    """Return an error as sqlite3 raises it, with SQLite's own code."""
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    error.sqlite_errorname = name
    return error


def is_locked(error: BaseException) -> bool:
    """Say whether an error means that another connection holds a lock."""
    return (
        isinstance(error, sqlite3.OperationalError)
        and getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        and str(error) == LOCKED
    )
