"""PostgreSQL: a real server, with ports for its statements and virtual time for its locks.

Source:
    PostgreSQL 15 to 17 documentation: "Explicit Locking", "Transaction Isolation", "Client
    Connection Defaults" (`lock_timeout`, `statement_timeout`), "Lock Management"
    (`deadlock_timeout`), "System Information Functions" (`pg_blocking_pids`), "VACUUM".

Modelled:
    The server itself runs. A statement that waits for a lock waits in virtual time, until it gets
    it, `lock_timeout` or `statement_timeout` has passed, or a deadlock is found after 1 s; the
    victim is whoever has waited longest. A crash rolls back. `now()`, `CURRENT_TIMESTAMP` and the
    like, `random()` and `gen_random_uuid()` are those of the run, also in defaults and functions of
    the schema. A failed commit breaks the connection, as a failover does; under SERIALIZABLE and
    REPEATABLE READ it is a serialization failure. An outage breaks every connection.

Not modelled:
    What `'now'::timestamptz` and `clock_timestamp` inside of extensions see. `pg_sleep`.
    `idle_in_transaction_session_timeout`. Transaction numbers, process numbers and `ctid`, which
    differ from run to run. Two waiters whom one commit wakes, and who then want the same lock:
    the server decides. Roles and passwords. Replicas, and commits that a failover loses. A
    `SELECT` of a function of the schema that writes counts as a read. What code outside of the
    run does to the database. Large objects.
"""

from __future__ import annotations

import re
import weakref
from collections import Counter
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.port import call_off
from chaosharness.kernel import allowed
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import Lasting, World
from chaosharness.stores.address import is_address, read
from chaosharness.stores.durable import OpenStore
from chaosharness.stores.postgresql.server import Database, NoneLeft
from chaosharness.stores.postgresql.session import Session
from chaosharness.stores.postgresql.statement import Statement
from chaosharness.stores.repeats import Repeats, in_one_order
from chaosharness.stores.tables import sql_of

LIBRARIES: Final = ("psycopg", "asyncpg", "sqlalchemy", "django.db")
STATEMENTS_MAX: Final = 4_096
SESSIONS_FEW: Final = 20
"""Connections of a run whose places are not kept: a server has a hundred."""

DEADLOCK_MS: Final = 1_000
"""`deadlock_timeout`, by default."""

_SEQUENCE: Final = re.compile(r"\b(?:(?:big|small)?serial|identity|sequence)\b", re.IGNORECASE)


def _as_sql(schema: str | Any) -> str:
    return sql_of(schema, "postgresql", "PostgreSQL")


@attrs.frozen(eq=False)
class PostgreSQL:
    """A PostgreSQL database on a real server: `env.connect(db)` returns a `psycopg.Connection`.

    Code that connects itself does so as ever: `psycopg.connect(...)`, `asyncpg.connect(...)`,
    SQLAlchemy and Django on either. Every statement and commit is a site:
    `payments.on_order/db.insert charges`, `payments.on_order/db.commit`.

    Each process makes a database of its own on the server, and takes it away when it ends.

    Args:
        name: What sites and reports call it.
        schema: SQL statements, run once; each run begins with what they made. Or SQLAlchemy's
            tables: a `MetaData` (`Base.metadata`), or the class of it.
        server: Where the server is, as libpq has it: `host=127.0.0.1 user=postgres`. By default
            what `PGHOST` and the like say. The user makes databases, and is a superuser.
        url: What the code under test connects to, where a system has several databases:
            `postgresql://db.internal/orders`. By default it stands for any.
        timeout_ms: How long a connection waits for its server, in virtual time.

    Raises:
        InvalidDefinition: There is no server, or the schema does not run.
    """

    name: str = attrs.field(validator=allowed.text())
    schema: str = attrs.field(default="", converter=_as_sql, repr=False)
    server: str = attrs.field(default="", kw_only=True, repr=False)
    url: str | None = attrs.field(default=None, validator=is_address, kw_only=True)
    timeout_ms: int = attrs.field(default=10_000, validator=allowed.whole(1), kw_only=True)
    _shelf: list[Database] = attrs.field(init=False, repr=False, factory=list)
    _statements: dict[str, Statement] = attrs.field(init=False, repr=False, factory=dict)

    @property
    def speaks(self) -> tuple[str, ...]:
        """The libraries whose calls it is met by."""
        return LIBRARIES

    @property
    def deals_numbers(self) -> bool:
        """Whether the schema has a sequence."""
        return _SEQUENCE.search(self.schema) is not None

    def prepare(self) -> None:
        """Have a database on the server, before a run begins.

        Raises:
            InvalidDefinition: There is no server, or the schema does not run.
        """
        if not self._shelf:
            try:
                made = Database(self.name, self.server, self.schema)
            except ImportError:
                raise InvalidDefinition(
                    f"PostgreSQL({self.name!r}) needs psycopg: pip install "
                    "'chaosharness[postgresql]'"
                ) from None
            self._shelf.append(made)
            weakref.finalize(self, made.drop)

    def open(self, world: World) -> OpenPostgreSQL:
        """Return this database, as the schema left it, for one run."""
        return OpenPostgreSQL(self, self._shelf[0], self._statements, world)


class OpenPostgreSQL(OpenStore):
    """A PostgreSQL database during one run.

    Attributes:
        waiting: Sessions whose statement waits for a lock, in the order in which they came.
        listening: Sessions that wait for a notification.
    """

    def __init__(
        self,
        definition: PostgreSQL,
        database: Database,
        statements: dict[str, Statement],
        world: World,
    ) -> None:
        super().__init__(
            definition.name, world, timeout_ms=definition.timeout_ms, synced=True, unsynced_ms=1
        )
        self.address = read(definition.url)
        self.database = database
        self.sessions: list[Session] = []
        self.waiting: list[Session] = []
        self.listening: list[Session] = []
        self.defined = self.numbered = False
        self.repeats = Repeats()
        self._statements = statements
        world.know_duration(DEADLOCK_MS)

    def is_server(self, url: Any) -> bool:
        """Say whether SQLAlchemy's URL means this database."""
        if url.get_backend_name() != "postgresql":
            return False
        return self.stands_for(url.host or "", url.database or "")

    def stands_for(self, host: str, database: str) -> bool:
        """Say whether this is the database that a client connects to."""
        return self.address is None or self.address.is_server(host, database)

    def learn(self, text: str) -> Statement:
        """Return what is known of an SQL text."""
        found = self._statements.get(text)
        if found is None:
            if len(self._statements) >= STATEMENTS_MAX:
                self._statements.clear()
            found = self._statements[text] = Statement(self.name, text)
        return found

    def connect(self, incarnation: Incarnation) -> Any:
        """Return a new `psycopg.Connection` of an incarnation."""
        import psycopg

        return psycopg.connect(f"dbname={self.database.name}")

    def session(self, incarnation: Incarnation) -> Session:
        """Return a new session of an incarnation."""
        if incarnation not in self.owners:
            self.owners[incarnation] = None
            incarnation.on_death.append(lambda: self._drop(incarnation))
        try:
            backend = self.database.connect()
        except NoneLeft as error:
            call_off(self._too_many(str(error)))
        made = Session(self, incarnation, backend)
        if len(self.sessions) >= SESSIONS_FEW:
            made.opened = incarnation.label + asked_at()
        self.sessions.append(made)
        return made

    def _too_many(self, words: str) -> InvalidDefinition:
        """Return what to say where the server has no connection left: who has them, and where."""
        left_open = Counter(one.opened for one in self.sessions if not one.broken)
        count = left_open.total()
        if count < SESSIONS_FEW:
            return InvalidDefinition(
                f"the server of store {self.name!r} says {words!r}{asked_at()}: this run has "
                f"{count} of its connections open, others have the rest. End what else uses "
                "it, or give it more (max_connections)"
            )
        del left_open[""]  # the first ones
        opened = next((one for one, _ in left_open.most_common(1)), "its services")
        return InvalidDefinition(
            f"the server of store {self.name!r} says {words!r}{asked_at()}: this run has {count} "
            f"connections open, most by {opened}, and does not close "
            "them. Close each (with psycopg.connect(...) as connection, a finally), or take them "
            "from a pool"
        )

    def number_after(self, dealt: int) -> None:
        """Go on as if each sequence had dealt out so many numbers before.

        Not modelled: sequences that services make themselves.
        """
        self.database.number_after(dealt)
        self.numbered = True

    # ---- locks

    def settle(self) -> None:
        """See who of those that wait has got a lock, after somebody may have let go of one."""
        going_on = True
        while going_on:
            going_on = False
            for session in tuple(self.waiting):
                if session in self.waiting and session.has_answer():
                    self.waiting.remove(session)
                    session.wake("answered")
                    going_on = True

    def notified(self) -> None:
        """Hand out notifications, after a commit."""
        for session in tuple(self.listening):
            if session.hear():
                self.listening.remove(session)
                session.wake("notified")
        for session in self.sessions:
            if session.listens and session.on_heard is not None and session.hear():
                session.on_heard()

    # ---- trouble

    def _begin_outage(self, lasting: Lasting) -> None:
        super()._begin_outage(lasting)
        for session in self.sessions:
            session.break_off("outage")

    def _drop(self, incarnation: Incarnation) -> None:
        """Undo what a dead incarnation had not committed, and free its locks."""
        for session in self.sessions:
            if session.owner is incarnation:
                session.break_off("crash")
        self.settle()

    def record_undone(self, session: Session, scope: Scope | None, why: str) -> None:
        """Record that a transaction was undone without anybody asking."""
        world = self.world
        cause = -1 if scope is None else scope.cause
        if why == "crash":
            raw, label = world.raw, session.owner.label
            crashes = (index for index in range(len(raw) - 1, cause, -1) if raw[index][1] == why)
            cause = next((index for index in crashes if raw[index][2] == label), cause)
        entity = 0 if scope is None else scope.entity
        data = {"store": self.name, "why": why}
        world.record("rollback", session.owner.label, entity=entity, cause=cause, data=data)

    # ---- the end

    def final(self) -> dict[str, Any]:
        """Return what is committed: `{"tables": {table: [row, ...]}}`, rows by primary key."""
        import msgspec

        if self.defined:
            self.database.relearn()
        found = (
            self.database.monitor.ask(self.database.final_sql) if self.database.final_sql else []
        )
        return {"tables": {str(table): msgspec.json.decode(rows or "[]") for table, rows in found}}

    def in_order(self) -> Any:
        """Return what is committed, in one order."""
        return in_one_order(self.final())

    def close(self) -> None:
        """Put the database back, for the next run."""
        used = bool(self.sessions)
        for session in self.sessions:
            session.leave()
        self.sessions.clear()
        self.waiting.clear()
        self.kept.clear()
        if used or self.numbered:
            self.database.reset(anew=self.defined)
