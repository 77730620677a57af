"""One client's connection to a PostgreSQL server during a run: its statements pass ports.

An adapter drives it. Before a statement is sent it lets the session `begin`, while the answer is
awaited it has it `wait`, and when there is one the session takes note, with `succeed` or `fail`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import (
    READ,
    WRITE,
    Surface,
    after,
    before,
    call_off,
    refuse_stranger,
)
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.stores.durable import quietly
from chaosharness.stores.postgresql.pending import Pending
from chaosharness.stores.postgresql.server import Backend, Database
from chaosharness.stores.postgresql.statement import Statement
from chaosharness.stores.repeats import Repeats
from chaosharness.stores.sqlite.parameters import shown

PATIENCE_S: Final = 0.002
"""How long the server is waited for, in real time, before it is asked whether there is a lock."""

DEADLOCK_MS: Final = 1_000
IDLE, ACTIVE, IN_TRANSACTION, FAILED = 0, 1, 2, 3

GONE: Final = "server closed the connection unexpectedly"
_OPTION: Final = re.compile(r"-c\s*(\w+)\s*=\s*([^\s']+)")


class Shared(Protocol):
    """What sessions ask of their store."""

    name: str
    world: World
    down: bool
    surface: Surface
    database: Database
    waiting: list[Session]
    listening: list[Session]
    repeats: Repeats
    defined: bool

    def settle(self) -> None:
        """See who has got a lock."""

    def in_order(self) -> Any:
        """Return what is committed, in one order."""

    def notified(self) -> None:
        """Hand out notifications."""

    def record_undone(self, session: Session, scope: Scope | None, why: str) -> None:
        """Record that a transaction was undone."""

    def learn(self, text: str) -> Statement:
        """Return what is known of an SQL text."""


class ServerError(Exception):
    """An error that the server would tell: an adapter makes its library's own of it.

    Attributes:
        code: Its SQLSTATE; empty where the connection is lost.
    """

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


@attrs.define(eq=False)
class Visit:
    """One statement on its way.

    Attributes:
        statement: What it is.
        parameters: As the history shows them.
        scope: Who asks.
        operation: Its site's operation; empty where it is no site.
        attempt: Which attempt.
        alone: Whether it is a transaction of its own.
        outcome: How its commit fails, if it does.
        ended: The error by which it was ended here, in place of the server's.
    """

    statement: Statement
    parameters: Any
    scope: Scope
    operation: str = ""
    attempt: int = 0
    alone: bool = False
    outcome: str | None = None
    ended: ServerError | None = None


class Session:
    """One client's connection during a run.

    Attributes:
        owner: Whose it is.
        backend: The connection to the server.
        broken: Why it is of no use any more; empty while it is.
        on_break: Told when it breaks.
        on_heard: Told of notifications, where the client waits for none by itself.
        heard: Notifications that nobody has taken yet.
        listens: Whether it has asked for any.
        given: Parameters of the statement that an adapter is about to send.
        opened: By whom and where, of all but the first ones of a run.
    """

    def __init__(self, store: Any, owner: Incarnation, backend: Backend) -> None:
        self.store: Shared = store
        self.owner = owner
        self.backend = backend
        self.broken = ""
        self.on_break: Callable[[], None] | None = None
        self.on_heard: Callable[[], None] | None = None
        self.heard: list[Any] = []
        self.listens = False
        self.given: Any = None
        self.opened = ""
        self._visit: Visit | None = None
        self._resume: Resume | None = None
        self._entries: list[Entry] = []
        self._pending = Pending()

    def configure(self, options: str) -> None:
        """Set what a client asks for when it connects: `-c lock_timeout=5000`."""
        for name, value in _OPTION.findall(options):
            text = f"SET {name} = '{value}'"
            self.backend.ask(text)
            self._pending.set(self.store.learn(text), self.store.world)

    # ---- a statement

    def arrive(
        self, scope: Scope, statement: Statement, parameters: Any, quiet: bool
    ) -> Script[Visit]:
        """Have a statement reach the server, with the faults of its site.

        Raises:
            ServerError: The connection is lost, or the commit fails.
        """
        store, status = self.store, self.backend.status
        alone = status == IDLE
        visit = Visit(statement, parameters, quietly(scope) if quiet else scope, alone=alone)
        if scope.incarnation is not self.owner:
            refuse_stranger(scope, f"a connection to {store.name!r}", self.owner)
        if statement.sleeps:
            call_off(
                InvalidDefinition(
                    f"{scope.place} runs pg_sleep{asked_at()}, which is not modelled: it would "
                    "take real time. Sleep in the code instead"
                )
            )
        surface = None if quiet or self.broken else self._surface(statement, status)
        if surface is not None:
            yield from self._strike(visit, surface)
        self._usable(visit)
        shows = self._pending.shows(
            statement, parameters, visit.scope, store.database, status == IDLE
        )
        if shows and status != FAILED:
            self.backend.ask(shows)
        self._visit = visit
        return visit

    def _surface(self, statement: Statement, status: int) -> Surface | None:
        """Return what may strike at a statement; None where it is no site."""
        kind = statement.kind
        unsaved = self._pending.unsaved
        if kind == "write":
            return self.store.surface if status == IDLE else WRITE
        if kind == "commit":
            return self.store.surface if unsaved and status == IN_TRANSACTION else None
        if kind == "rollback":
            return READ if unsaved else None
        if kind == "read" and statement.touches and status == IDLE:
            return self.store.surface
        return READ if kind == "read" else None

    def _strike(self, visit: Visit, surface: Surface) -> Script[None]:
        scope, statement = visit.scope, visit.statement
        world = scope.world
        visit.operation = operation = statement.operations[scope.place]
        visit.attempt = world.reach(operation, scope.entity, scope.message)
        if operation not in world.surfaces:
            world.meet(operation, surface)
        if operation not in world.armed:
            return
        store: Any = self.store
        yield from before(scope, operation, visit.attempt, store)
        if scope.struck:
            visit.outcome = store.verdict(scope)
            scope.struck = ()

    def _usable(self, visit: Visit) -> None:
        """Raise where the connection is lost, or the commit fails before it is made."""
        if self.store.down and not self.broken:
            self.break_off("outage")
        if self.broken:
            error = ServerError("", self.broken)
            self.broken = "the connection is closed"
            self._record_error(visit, error)
            raise error
        if visit.outcome == "rolled-back" and visit.statement.kind != "rollback":
            error = self._failed_commit(visit)
            self._record_error(visit, error)
            raise error

    def _failed_commit(self, visit: Visit) -> ServerError:
        """Fail a commit: by a broken connection, or by what the isolation level may always say."""
        if not visit.alone and visit.statement.kind == "commit":
            level = self.backend.ask("SHOW transaction_isolation")[0][0]
            if level in ("serializable", "repeatable read"):
                self.undo(visit.scope, "commit failed")
                words = (
                    "could not serialize access due to read/write dependencies among transactions"
                )
                return ServerError("40001", words)
        self.break_off("commit failed")
        words, self.broken = self.broken, "the connection is closed"
        return ServerError("", words)

    def undo(self, scope: Scope | None, why: str) -> None:
        """Roll back at the server, without anybody asking."""
        if self.backend.status in (IN_TRANSACTION, FAILED):
            self.backend.ask("ROLLBACK")
            if self._pending.unsaved:
                self.store.record_undone(self, scope or self._pending.writer, why)
        self._pending.ended()
        self.store.settle()

    def succeed(self, visit: Visit, rows: int) -> Script[None]:
        """Take note that a statement has done what it does, and suffer what strikes after it.

        Raises:
            ServerError: The connection is lost, so nobody learns that it was committed.
        """
        statement, scope = visit.statement, visit.scope
        self._visit = None
        self._pending.note(statement, scope, rows, self.store.database)
        self.listens |= statement.verb == "listen"
        self.store.defined |= statement.defines
        self._record(visit, rows)
        if statement.kind in ("commit", "rollback"):
            self._pending.ended()
        if self.store.waiting:
            self.store.settle()
        if visit.outcome == "committed":
            self.break_off("outcome of the commit unknown")
            words, self.broken = self.broken, "the connection is closed"
            raise ServerError("", words)
        if visit.operation and visit.operation in scope.world.armed:
            yield from after(scope, visit.operation, visit.attempt, self.store)  # type: ignore[arg-type]

    def _record(self, visit: Visit, rows: int) -> None:
        """Write down what has happened, with what became durable by it."""
        statement, scope = visit.statement, visit.scope
        kind, operation, attempt = statement.kind, visit.operation, visit.attempt
        if not operation:
            if kind == "commit":
                self._durable(visit)
            return
        if kind == "write":
            data = {**statement.data, "rows": rows, "params": shown(visit.parameters)}
            if statement.touches:
                del data["rows"]
            if visit.parameters is None:
                del data["params"]
            scope.record("write", operation, attempt, data)
        elif kind == "read":
            scope.record("read", operation, attempt, statement.data)
        elif kind == "rollback":
            scope.record("rollback", operation, attempt, {"store": self.store.name})
        if kind == "commit" or (visit.alone and (kind == "write" or statement.touches)):
            self._durable(visit)

    def _durable(self, visit: Visit) -> None:
        """Record that changes are durable."""
        scope, store = visit.scope, self.store
        if visit.operation:
            data: dict[str, Any] = {"store": store.name, "rows": self._pending.rows}
            if visit.outcome is not None:
                data["outcome"] = "unknown"
            scope.record("commit", visit.operation, visit.attempt, data)
            pending = self._pending
            changes = pending.rows and not store.repeats.unchanged(scope, store.in_order)
            if pending.defined or changes or (pending.touched and pending.notifies):
                scope.world.effects += 1
        if self._pending.defined:
            store.database.look_for_askers()
        notifies = self._pending.notifies
        self._pending.ended()
        if notifies:
            store.notified()

    def fail(self, visit: Visit, error: BaseException) -> ServerError | None:
        """Take note that the server refused a statement; return the error that takes its place."""
        self._visit = None
        self._record_error(visit, visit.ended or error)
        if self.backend.status == IDLE:
            self._pending.ended()
        self.store.settle()
        return visit.ended

    def _record_error(self, visit: Visit, error: BaseException) -> None:
        if not visit.operation:
            return
        name = f"{error.code or 'lost'}" if isinstance(error, ServerError) else type(error).__name__
        words = str(error).partition("\n")[0]
        kind = {"write": "write", "commit": "commit"}.get(visit.statement.kind, "read")
        data = {"store": self.store.name, "error": f"{name}: {words}"}
        visit.scope.record(kind, visit.operation, visit.attempt, data)

    # ---- waiting

    def wait(self, scope: Scope, timeout_ms: int | None) -> Script[bool]:
        """Wait for the server to answer; say whether it did, and not the time-out came first.

        Raises:
            ServerError: The connection is lost meanwhile.
        """
        while not self.backend.readable(PATIENCE_S):
            answers = self.backend.status == ACTIVE
            if answers and not self.store.database.is_blocked(self.backend.pid):
                continue
            why = yield from self._park(scope, timeout_ms)
            if why == "broken":
                words, self.broken = self.broken, "the connection is closed"
                raise ServerError("", words)
            if why == "timeout":
                return False
            if why == "notified":
                return True
        return True

    def _park(self, scope: Scope, timeout_ms: int | None) -> Script[str]:
        """Park until there is an answer, or somebody ends the wait."""
        world, store = scope.world, self.store
        visit, listens = self._visit, self.backend.status != ACTIVE
        among = store.listening if listens else store.waiting

        def keep(resume: Resume) -> None:
            self._resume = resume
            among.append(self)
            for delay_ms, act in self._ends(visit, timeout_ms, listens):
                self._entries.append(world.timer(delay_ms, act, None))

        why: str = yield keep
        for entry in self._entries:
            world.agenda.cancel(entry)
        self._entries.clear()
        if self in among:
            among.remove(self)
        return why

    def _ends(
        self, visit: Visit | None, timeout_ms: int | None, listens: bool
    ) -> list[tuple[int, Callable[[Any], None]]]:
        """Return what may end a wait, and when."""
        if listens or visit is None:
            limit: list[tuple[int, Callable[[Any], None]]]
            limit = [] if timeout_ms is None else [(timeout_ms, lambda _: self.wake("timeout"))]
            return limit
        known = self._pending.limits_ms
        found: list[tuple[int, Callable[[Any], None]]] = [(DEADLOCK_MS, self._look_for_deadlock)]
        for name, code in (("lock_timeout", "55P03"), ("statement_timeout", "57014")):
            if known.get(name):
                words = f"canceling statement due to {name.replace('_', ' ')}"
                error = ServerError(code, words)
                found.append((known[name], lambda _, error=error: self._end(error)))  # type: ignore[misc]
        return found

    def _look_for_deadlock(self, _: Any = None) -> None:
        """End the statement if it waits for somebody who waits for it."""
        by_pid = {one.backend.pid: one for one in self.store.waiting}
        seen: set[int] = set()
        ahead = [self.backend.pid]
        while ahead:
            for pid in self.store.database.blockers(ahead.pop()):
                if pid == self.backend.pid:
                    self._end(ServerError("40P01", "deadlock detected"))
                    return
                if pid in by_pid and pid not in seen:
                    seen.add(pid)
                    ahead.append(pid)

    def _end(self, error: ServerError) -> None:
        """Have the server end the statement that waits, by an error of ours."""
        if self._visit is not None:
            self._visit.ended = error
        self.store.database.cancel(self.backend.pid)
        self.backend.readable(5.0)
        if self in self.store.waiting:
            self.store.waiting.remove(self)
        self.wake("answered")
        self.store.settle()

    def has_answer(self) -> bool:
        """Say whether the server has answered; if not, it waits for another lock."""
        while not self.backend.readable(0):
            if self.store.database.is_blocked(self.backend.pid):
                return False
            if self.backend.readable(PATIENCE_S):
                break
        return True

    def hear(self) -> bool:
        """Say whether there are notifications, which are kept in `heard`."""
        if self.broken or self.backend.status == ACTIVE:
            return False
        self.backend.ask("")  # a server hands them out when it has nothing else to do
        while (one := self.backend.pgconn.notifies()) is not None:
            self.heard.append(one)
        return bool(self.heard)

    def wake(self, why: str) -> None:
        """Have the code go on that waits here."""
        resume, self._resume = self._resume, None
        if resume is not None:
            self.store.world.after(0, resume, why)

    # ---- the end

    def break_off(self, why: str) -> None:
        """Lose the connection, and with it what is not committed."""
        if self.broken:
            return
        self.broken = GONE
        visit, self._visit = self._visit, None
        if self.backend.status == ACTIVE:
            self.store.database.cancel(self.backend.pid)
            self.backend.drain()
        for among in (self.store.waiting, self.store.listening):
            if self in among:
                among.remove(self)
        self.undo(None if visit is None else visit.scope, why)
        self._give_back()
        self.wake("broken")

    def close(self) -> None:
        """Close the connection, as its client asks; what is not committed is undone."""
        if not self.broken:
            self.broken = "the connection is closed"
            self.undo(None, "connection closed")
            self._give_back()

    def leave(self) -> None:
        """Let go of the connection: the run is over."""
        if not self.broken:
            self.broken = "its run is over"
            if self.backend.status == ACTIVE:
                self.store.database.cancel(self.backend.pid)
            self._give_back()

    def _give_back(self) -> None:
        if self.on_break is not None:
            self.on_break()
        self.store.database.give_back(self.backend)
