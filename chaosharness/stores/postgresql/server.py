"""A real server: a database of this process's own, its connections, and how it is put back.

One database belongs to one store of one process, and lives as long as that. Connections are kept
from run to run; after each run rows are deleted and sequences set back, which is measured to take
well under a millisecond, where a new database takes a hundred.
"""

from __future__ import annotations

import atexit
import os
import select
from itertools import count
from typing import Any, Final

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.watchdog import ANSWERS
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.stores.postgresql.askers import CATALOGUE, Askers
from chaosharness.stores.postgresql.statement import SCHEMA, asking_the_run

PREFIX: Final = "chaosharness_"
OPTIONS: Final = (
    "-c deadlock_timeout=1h -c synchronous_commit=off -c timezone=UTC "
    "-c client_min_messages=warning"
)
"""Deadlocks are looked for in virtual time. Nothing here has to outlive the machine."""

_CLOCK: Final = {"now": "began", "transaction_timestamp": "began", "current_timestamp": "began"}
_CLOCK_NOW: Final = ("clock_timestamp", "statement_timestamp")
_TYPED: Final = {
    "localtimestamp": "timestamp",
    "current_date": "date",
    "current_time": "timetz",
    "localtime": "time",
}
_NUMBERS: Final = count(1)

TOO_MANY: Final = ("too many clients", "remaining connection slots", "too many connections")
"""What a server says that has no connection left, in parts."""

IDLE_MAX: Final = 20
"""How many connections are kept for clients to come: a server has a hundred, for all processes."""


def functions() -> str:
    """Return the SQL that makes what stands for the server's clock and chance."""
    when = "to_timestamp(coalesce(nullif(current_setting('{}.{}', true), ''), '{}')::float8)"
    made = [f"CREATE SCHEMA {SCHEMA}", f"CREATE SEQUENCE {SCHEMA}.draws"]

    def add(name: str, kind: str, body: str) -> None:
        made.append(
            f'CREATE FUNCTION {SCHEMA}."{name}"() RETURNS {kind} LANGUAGE sql '
            f"AS $f$SELECT {body}$f$"
        )

    for name, setting in {**_CLOCK, **dict.fromkeys(_CLOCK_NOW, "now")}.items():
        add(name, "timestamptz", when.format(SCHEMA, setting, EPOCH_MS / 1000))
    for name, kind in _TYPED.items():
        add(name, kind, f"{when.format(SCHEMA, 'began', EPOCH_MS / 1000)}::{kind}")
    draw = f"md5(current_setting('{SCHEMA}.draw', true) || '/' || nextval('{SCHEMA}.draws'))"
    add(
        "gen_random_uuid",
        "uuid",
        f"overlay(overlay({draw} placing '4' from 13) placing '8' from 17)::uuid",
    )
    add("uuid_generate_v4", "uuid", f'{SCHEMA}."gen_random_uuid"()')
    add(
        "random",
        "float8",
        f"('x' || substr({draw}, 1, 12))::bit(48)::bigint / 281474976710656.0::float8",
    )
    return ";\n".join(made)


READY: Final = b"Z\x00\x00\x00\x05"
READY_BYTES: Final = 6
"""How a server says that it is ready for another query, with the status of the transaction."""


class NoneLeft(ConnectionError):
    """The server has no connection left."""


class Backend:
    """One connection to the server, used by one client of a run after another.

    Attributes:
        pgconn: libpq's connection.
        raw: The transaction status, where a client speaks with the server past libpq.
        pid: Of the process that serves it.
    """

    def __init__(self, conninfo: str) -> None:
        from psycopg import pq

        self.pgconn: Any = pq.PGconn.connect(conninfo.encode())
        if self.pgconn.status != pq.ConnStatus.OK:
            words = self.pgconn.get_error_message().strip().splitlines()[0]
            is_full = any(one in words for one in TOO_MANY)
            raise (
                NoneLeft(words.rpartition("FATAL:")[2].strip())
                if is_full
                else ConnectionError(words)
            )
        self.pid = int(self.pgconn.backend_pid)
        self.raw: int | None = None

    def ask(self, sql: str) -> list[tuple[str | None, ...]]:
        """Run SQL at once, outside of any port; return the rows of its last statement.

        Raises:
            InvalidDefinition: The server refuses it.
        """
        result = self.pgconn.exec_(sql.encode())
        ANSWERS[0] += 1
        if result.status not in (0, 1, 2):
            raise InvalidDefinition(f"PostgreSQL says: {result.error_message.decode().strip()}")
        if self.raw is not None:
            self.raw = int(self.pgconn.transaction_status)
        columns = range(result.nfields)
        return [
            tuple(
                None if (value := result.get_value(row, column)) is None else value.decode()
                for column in columns
            )
            for row in range(result.ntuples)
        ]

    @property
    def status(self) -> int:
        """libpq's transaction status: 0 idle, 1 active, 2 in a transaction, 3 in a failed one."""
        return int(self.pgconn.transaction_status) if self.raw is None else self.raw

    def readable(self, seconds: float) -> bool:
        """Wait in real time for the server to say something; say whether it has."""
        return bool(select.select([self.pgconn.socket], [], [], seconds)[0])

    def drain(self) -> bool:
        """Read what a statement still answers; say whether the connection is of use."""
        pgconn = self.pgconn
        if self.raw is not None:
            return self._drain_raw()
        pgconn.flush()
        for _ in range(1_000):
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    return True
                if result.status in (3, 4, 8):  # in the midst of a COPY
                    return False
            if not self.readable(5.0):
                return False
            pgconn.consume_input()
        return False

    def _drain_raw(self) -> bool:
        """Read until the server is ready for another query, as its protocol says it."""
        seen = b""
        while not (len(seen) >= READY_BYTES and seen[-READY_BYTES:-1] == READY):
            if not self.readable(5.0):
                return False
            seen += os.read(self.pgconn.socket, 65_536)
        self.raw = {b"I": 0, b"T": 2}.get(seen[-1:], 3)
        return True

    def renew(self) -> bool:
        """Become as good as new; say whether that can be."""
        if self.status == 1 and not self.drain():
            return False
        try:
            if self.status in (2, 3):
                self.ask("ROLLBACK")
            self.ask("DISCARD ALL")
            self.raw = None
        except InvalidDefinition:
            return False
        while self.pgconn.notifies():
            pass
        return self.status == 0


class Database:
    """A database on the server that nobody else uses."""

    def __init__(self, store: str, server: str, schema: str) -> None:
        from psycopg import conninfo

        self.store = store
        self.schema = schema
        self.name = ""
        known = conninfo.conninfo_to_dict(server)
        known.setdefault("sslmode", "disable")
        self._server = conninfo.make_conninfo("", **known)
        self.idle: list[Backend] = []
        self.uses_clock = self.uses_chance = False
        self.askers = Askers(())
        self._made = False
        self.make()
        atexit.register(self.drop)

    def make(self) -> None:
        """Make the database, as the schema has it.

        Raises:
            InvalidDefinition: There is no server, it does not let us, or the schema does not run.
        """
        from psycopg.conninfo import make_conninfo

        with_server = self._connect(self._server)
        _drop_stale(with_server)
        if not self.name:
            self.name = f"{PREFIX}{os.getpid()}_{with_server.pid}_{next(_NUMBERS)}"
        self._conninfo = make_conninfo(
            self._server, dbname=self.name, options=OPTIONS, client_encoding="utf8"
        )
        try:
            with_server.ask(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
            with_server.ask(f"CREATE DATABASE {self.name}")
        except InvalidDefinition as error:
            raise InvalidDefinition(
                f"PostgreSQL({self.store!r}) makes a database of its own, and may not: {error}. "
                "Give it a superuser of a server for tests: server=, or PGUSER"
            ) from None
        finally:
            with_server.pgconn.finish()
        self._made = True
        self.monitor = self._connect(self._conninfo)
        self.monitor.ask(functions())
        sql, self.uses_clock, self.uses_chance = asking_the_run(self.schema)
        try:
            self.monitor.ask(sql)
        except InvalidDefinition as error:
            raise InvalidDefinition(
                f"the schema of store {self.store!r} does not run. {error}"
            ) from None
        self._learn()
        self.look_for_askers()

    def look_for_askers(self) -> None:
        """Learn who asks for the time without being asked to by name."""
        self.askers = Askers(self.monitor.ask(CATALOGUE) if self.uses_clock else ())

    def _connect(self, conninfo: str) -> Backend:
        try:
            return Backend(conninfo)
        except NoneLeft as error:
            raise InvalidDefinition(
                f"PostgreSQL({self.store!r}) finds its server full: {error}. End what else uses "
                "it, or give it more connections (max_connections)"
            ) from None
        except ConnectionError as error:
            raise InvalidDefinition(
                f"PostgreSQL({self.store!r}) finds no server: {error}. Start one (docker run -e "
                "POSTGRES_HOST_AUTH_METHOD=trust -p 5432:5432 postgres), or say where it is: "
                'server="host=... user=...", or PGHOST and PGUSER. Where there is none, SQLite(...'
                ', url="postgresql://...") stands for much of it'
            ) from None

    def _learn(self) -> None:
        """Learn what puts the database back, and what reads it."""
        ask = self.monitor.ask
        tables = ask(
            "SELECT c.oid::regclass, c.relname, c.reltoastrelid::text FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' "
            f"AND n.nspname NOT IN ('pg_catalog', 'information_schema', '{SCHEMA}') "
            "AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1::text"
        )
        self._tables = [str(table) for table, _, _ in tables]
        filled = [one for one in self._tables if ask(f"SELECT 1 FROM {one} LIMIT 1")]
        for table in self._tables:
            ask(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
        begin = "SET LOCAL session_replication_role = replica"
        self._empty = ";".join((begin, *(f"DELETE FROM {table}" for table in self._tables)))
        reset = [begin]
        for number, table in enumerate(filled):
            ask(f"CREATE TABLE {SCHEMA}.kept_{number} AS SELECT * FROM {table}")
            columns = ask(
                "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
                f"WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped "
                "AND attgenerated = ''"
            )[0][0]
            reset.append(
                f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE "
                f"SELECT {columns} FROM {SCHEMA}.kept_{number}"
            )
        sequences = ask(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename), "
            "coalesce(last_value, start_value), last_value IS NOT NULL FROM pg_sequences"
        )
        if sequences:
            sets = (
                f"setval('{name}', {value}, {'true' if called == 't' else 'false'})"
                for name, value, called in sequences
            )
            reset.append(f"SELECT {', '.join(sets)}")
        self._fill = ";".join(reset) if len(reset) > 1 else ""
        sizes = ", ".join(f"pg_relation_size('{table}')" for table in self._tables)
        self._sizes = f"SELECT {sizes}" if sizes else ""
        self.final_sql = " UNION ALL ".join(map(self._rows_of, self._tables))

    def _rows_of(self, table: str) -> str:
        key = self.monitor.ask(
            "SELECT string_agg('t.' || quote_ident(a.attname), ', ' ORDER BY "
            "array_position(i.indkey::int2[], a.attnum)) FROM pg_index i JOIN pg_attribute a "
            "ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) "
            f"WHERE i.indrelid = '{table}'::regclass AND i.indisprimary"
        )[0][0]
        order = f" ORDER BY {key}" if key else " ORDER BY row_to_json(t)::text"
        name = table.replace("'", "''")
        return f"SELECT '{name}', (SELECT json_agg(row_to_json(t){order}) FROM {table} t)"

    def relearn(self) -> None:
        """Learn what reads it anew: its schema may have changed."""
        tables = self.monitor.ask(
            "SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            f"WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema', "
            f"'{SCHEMA}') AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1::text"
        )
        self.final_sql = " UNION ALL ".join(self._rows_of(str(table)) for (table,) in tables)

    @property
    def conninfo(self) -> str:
        """How it is connected to."""
        return self._conninfo

    def connect(self) -> Backend:
        """Return a connection that nobody uses.

        Raises:
            NoneLeft: The server has no more.
        """
        if self.idle:
            return self.idle.pop()
        try:
            made = Backend(self._conninfo)
        except NoneLeft:
            raise
        except ConnectionError:
            made = self._connect(self._conninfo)  # which says what is wrong
        made.pgconn.nonblocking = 1
        return made

    def give_back(self, backend: Backend) -> None:
        """Keep a connection for another client, or close it."""
        if len(self.idle) < IDLE_MAX and backend.renew():
            self.idle.append(backend)
        else:
            backend.pgconn.finish()

    def number_after(self, dealt: int) -> None:
        """Have each sequence that has so many left go on as if it had dealt them out before."""
        for name, last in self.monitor.ask(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename), "
            "coalesce(last_value, start_value) FROM pg_sequences "
            f"WHERE coalesce(last_value, start_value) <= max_value - {2 * dealt}"
        ):
            self.monitor.ask(f"SELECT setval('{name}', {int(last or 0) + dealt})")

    def reset(self, *, anew: bool) -> None:
        """Put everything back: rows, sequences, and where rows lie.

        Args:
            anew: Whether the schema was changed, so that the database has to be made once more.
        """
        if anew:
            for backend in self.idle:
                backend.pgconn.finish()
            self.idle.clear()
            self.monitor.pgconn.finish()
            self.make()
            return
        self.monitor.ask(self._empty)
        if self._sizes:
            self._tidy()
        if self._fill:
            self.monitor.ask(self._fill)

    def _tidy(self) -> None:
        """Have all pages empty: rows are read in the order in which room was found for them."""
        sizes = [int(size or 0) for size in self.monitor.ask(self._sizes)[0]]
        used = zip(self._tables, sizes, strict=True)
        small = [table for table, size in used if 0 < size <= PAGE_BYTES]
        large = [
            table for table, size in zip(self._tables, sizes, strict=True) if size > PAGE_BYTES
        ]
        for tables, how in ((small, SMALL), (large, LARGE)):
            if tables:
                self.monitor.ask(f"VACUUM ({how}) {', '.join(tables)}")

    def is_blocked(self, pid: int) -> bool:
        """Say whether a process of the server waits for a lock that another one holds."""
        return self.monitor.ask(f"SELECT cardinality(pg_blocking_pids({pid}))")[0][0] != "0"

    def blockers(self, pid: int) -> list[int]:
        """Return the processes that one waits for."""
        found = self.monitor.ask(f"SELECT unnest(pg_blocking_pids({pid}))")
        return [int(one or 0) for (one,) in found]

    def cancel(self, pid: int) -> None:
        """Have a statement of another process end in an error."""
        self.monitor.ask(f"SELECT pg_cancel_backend({pid})")

    def drop(self) -> None:
        """Take the database away."""
        if not self._made:
            return
        self._made = False
        try:
            for backend in (*self.idle, self.monitor):
                backend.pgconn.finish()
            last = Backend(self._server)
            last.ask(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
            last.pgconn.finish()
        except (ConnectionError, InvalidDefinition):
            return  # the server is gone, and the database with it


def _drop_stale(server: Backend) -> None:
    """Take away what processes left behind that were killed."""
    left = server.ask(
        f"SELECT datname FROM pg_database d WHERE datname ~ '^{PREFIX}\\d+_' AND NOT EXISTS "
        "(SELECT 1 FROM pg_stat_activity a WHERE a.datid = d.oid)"
    )
    for (name,) in left:
        pid = str(name).removeprefix(PREFIX).partition("_")[0]
        if os.path.isdir("/proc/self") and not os.path.isdir(f"/proc/{pid}"):
            server.ask(f"DROP DATABASE IF EXISTS {name}")


PAGE_BYTES: Final = 8_192
SMALL: Final = "TRUNCATE off, PROCESS_TOAST off, INDEX_CLEANUP on"
LARGE: Final = "TRUNCATE on, INDEX_CLEANUP on"
