"""SQLite: a real database per store, in memory, put back to its beginning for every run.

Source:
    SQLite documentation: "File Locking And Concurrency" (lockingv3.html), "Isolation In
    SQLite" (isolation.html), "Transaction" (lang_transaction.html, on errors that undo a
    transaction by themselves), PRAGMA synchronous and busy_timeout (pragma.html), result
    codes (rescode.html). Python documentation: sqlite3, "Transaction control".

Modelled:
    SQLite itself runs, with its locks as in rollback-journal mode, the default: one
    writer; readers see what was committed; a commit waits for readers that are not
    through. Waiting for a lock takes virtual time, up to `timeout_ms`.

Not modelled:
    WAL mode (`PRAGMA journal_mode = WAL` is answered `memory`, as by any database in
    memory): there a reader does not hold up a commit. A reader that was let past a writer
    and leaves its cursor half read holds no lock. Several databases under one store
    (ATTACH works, without sites of its own). `sqlite3.threadsafety`: all runs in one
    thread. `PRAGMA page_size`: databases here have small pages.
"""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterable
from itertools import chain, count
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.kernel import allowed
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Incarnation
from chaosharness.kernel.world import World
from chaosharness.stores.address import is_address, read
from chaosharness.stores.sqlite.connection import Connection
from chaosharness.stores.sqlite.functions import pin, pin_to_the_beginning
from chaosharness.stores.sqlite.sharing import SharedStore
from chaosharness.stores.sqlite.statement import Statement, counts_changes, split
from chaosharness.stores.tables import sql_of

PAGE_BYTES: Final = 1024
"""A database is copied whole for each run, so its pages are small."""

STATEMENTS_MAX: Final = 4096
IDLE_MAX: Final = 64
VERSION_MIN: Final = (3, 37)

LIBRARIES: Final = ("sqlite3", "aiosqlite", "django.db", "sqlalchemy")

_NUMBERS: Final = count(1)
_positive: Final = allowed.whole(1)


def _as_sql(schema: str | Any) -> str:
    return sql_of(schema, "sqlite", "SQLite")


@attrs.frozen(eq=False)
class SQLite:
    """A SQLite database: `env.connect(db)` returns an ordinary `sqlite3.Connection` to it.

    Every statement, commit and rollback is a site: `payments.on_order/db.insert charges`,
    `payments.on_order/db.commit`. What a crashed incarnation had not committed is undone.
    SQLAlchemy works on top: `create_engine("sqlite://", creator=lambda: env.connect(db),
    poolclass=StaticPool)`.

    Args:
        name: What sites and reports call it.
        schema: SQL statements, run once; each run begins with what they made. Or SQLAlchemy's
            tables: a `MetaData` (`Base.metadata`), or the class of it.
        synced: Whether a commit is on the disk when it returns (PRAGMA synchronous FULL).
            False stands for OFF, or for WAL with NORMAL: a power failure (`LostWrites`)
            takes what was committed lately, last things first; the database stays whole.
        unsynced_ms: What "lately" is, in ms of virtual time from 1.
        timeout_ms: How long a statement waits for a lock before it raises "database is
            locked", from 0. The default is that of Python's sqlite3.
        detect_types: As of `sqlite3.connect`.
        url: What the code under test connects to, where it makes its connections itself: the file
            (`sqlite:///orders.db`), or for SQLAlchemy any URL, as that of a PostgreSQL server
            which this database stands for. `sqlite3.connect`, SQLAlchemy, aiosqlite and Django
            are met inside a run then.

    Raises:
        InvalidDefinition: The schema does not run; the message has SQLite's words and the
            statement.
    """

    name: str = attrs.field(validator=allowed.text())
    schema: str = attrs.field(default="", converter=_as_sql, repr=False)
    synced: bool = attrs.field(default=True, validator=allowed.flag(), kw_only=True)
    unsynced_ms: int = attrs.field(default=1_000, validator=_positive, kw_only=True)
    timeout_ms: int = attrs.field(default=5_000, validator=allowed.whole(0), kw_only=True)
    detect_types: int = attrs.field(default=0, validator=allowed.whole(0), kw_only=True)
    url: str | None = attrs.field(default=None, validator=is_address, kw_only=True)
    _shelf: Shelf = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        shelf = Shelf(self.name, pristine(self.name, self.schema), self.detect_types)
        object.__setattr__(self, "_shelf", shelf)
        weakref.finalize(self, shelf.clear)

    @property
    def speaks(self) -> tuple[str, ...]:
        """The libraries whose calls it is met by."""
        return () if self.url is None else LIBRARIES

    @property
    def deals_numbers(self) -> bool:
        """Whether the schema has a table in which a number is never dealt out twice."""
        return "AUTOINCREMENT" in self.schema.upper()

    def open(self, world: World) -> OpenSQLite:
        """Return this database, as the schema left it, for one run."""
        return OpenSQLite(self, self._shelf, world)


def pristine(name: str, schema: str) -> sqlite3.Connection:
    """Return a database as a schema makes it.

    Raises:
        InvalidDefinition: A statement fails.
    """
    if sqlite3.sqlite_version_info < VERSION_MIN:
        raise InvalidDefinition(
            f"SQLite stores need version {'.'.join(map(str, VERSION_MIN))} of the SQLite library; "
            f"this Python has {sqlite3.sqlite_version}"
        )
    made = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    made.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    pin_to_the_beginning(made)
    for statement in split(schema):
        try:
            made.execute(statement).fetchall()
        except (sqlite3.Error, sqlite3.Warning) as error:
            made.close()
            raise InvalidDefinition(
                f"the schema of store {name!r} does not run{asked_at()}: {error}, in\n  {statement}"
            ) from None
    if made.in_transaction:
        made.close()
        raise InvalidDefinition(f"the schema of store {name!r} opens a transaction and leaves it")
    return made


class Database:
    """A database in memory that several connections share; used for one run after another."""

    __slots__ = ("_cookie", "detect_types", "idle", "keeper", "reader", "uri")

    def __init__(self, pristine: sqlite3.Connection, detect_types: int) -> None:
        self.uri = f"file:/chaosharness-{next(_NUMBERS)}?vfs=memdb"
        self.detect_types = detect_types
        self.keeper = sqlite3.connect(
            self.uri, timeout=0, isolation_level=None, check_same_thread=False, uri=True
        )
        pristine.backup(self.keeper)
        self._cookie = self.cookie()
        # sees what was committed, whatever locks are held
        self.reader = sqlite3.connect(
            f"{self.uri}&nolock=1",
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )
        self.idle: dict[int, list[Connection]] = {}

    def cookie(self) -> int:
        """Return the number by which connections notice that the schema has changed."""
        return int(self.keeper.execute("PRAGMA schema_version").fetchone()[0])

    def connect(self, detect_types: int) -> Connection:
        """Return a connection that nobody uses."""
        idle = self.idle.get(detect_types)
        while idle:
            connection = idle.pop()
            if not connection._shut:  # code that outlived its run may have closed it
                return connection
        made = sqlite3.connect(
            self.uri,
            timeout=0,
            detect_types=detect_types,
            factory=Connection,
            check_same_thread=False,
            uri=True,
        )
        pin(made)
        # what is not committed stays with its connection, or `reader` would see it
        sqlite3.Connection.execute(made, "PRAGMA cache_spill = 0")
        made.detects = detect_types
        made._spoilt = True
        return made

    def keep(self, connections: Iterable[Connection]) -> None:
        """Keep connections for the next run, if there are not too many; else shut them."""
        kept = self.idle
        for connection in connections:
            idle = kept.get(connection.detects)
            if idle is None:
                idle = kept[connection.detects] = []
            if len(idle) < IDLE_MAX:
                idle.append(connection)
            else:
                connection.shut()

    def reset(self, pristine: sqlite3.Connection) -> None:
        """Put everything back, and let idle connections keep what they know of the schema.

        Raises:
            sqlite3.OperationalError: Somebody still holds a lock.
        """
        pristine.backup(self.keeper, progress=_no_waiting)
        self.keeper.execute(f"PRAGMA schema_version = {self._cookie}")

    def has_its_schema(self) -> bool:
        """Say whether the schema is still the one it began with, as far as can be read."""
        try:
            return self.cookie() == self._cookie
        except sqlite3.OperationalError:
            return False

    def without_readers(self) -> Database:
        """End what cursors of the last run are still reading; return the database."""
        for connection in chain(*self.idle.values()):
            connection.let_readers_go()
        return self

    def close(self) -> None:
        """Free the memory, and whoever is still connected."""
        for connection in chain(*self.idle.values()):
            connection.shut()
        self.idle.clear()
        self.keeper.close()
        self.reader.close()


def _no_waiting(status: int, _: int, __: int) -> None:
    """Give up a copy that finds a lock: sqlite3 would try again for ever, in real time."""
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise sqlite3.OperationalError("database is locked")


class Shelf:
    """The databases of one store that no run is using, and what all of them share.

    Attributes:
        statements: SQL texts that were met, read once.
        reuse: Whether connections may be used again in the next run.
        queries: What reads each table, for `final`; made when first asked for.
    """

    __slots__ = ("databases", "detect_types", "name", "pristine", "queries", "reuse", "statements")

    def __init__(self, name: str, pristine: sqlite3.Connection, detect_types: int) -> None:
        self.name = name
        self.pristine = pristine
        self.detect_types = detect_types
        self.databases: list[Database] = []
        self.statements: dict[str, Statement] = {}
        self.reuse = True
        self.queries: list[Query] | None = None

    def take(self) -> Database:
        """Return a database as the schema left it."""
        return (
            self.databases.pop() if self.databases else Database(self.pristine, self.detect_types)
        )

    def give_back(self, database: Database, *, changed: bool, schema_touched: bool) -> None:
        """Keep a database for the next run, if it can be put back to its beginning."""
        if schema_touched and not database.has_its_schema():
            database.close()
        elif self._is_restored(database, changed) or self._is_restored(
            database.without_readers(), changed
        ):
            self.databases.append(database)
        else:
            database.close()

    def _is_restored(self, database: Database, changed: bool) -> bool:
        """Put a database back; return False where somebody still holds a lock."""
        try:
            if changed:
                database.reset(self.pristine)
            else:
                database.keeper.execute("BEGIN EXCLUSIVE")
                database.keeper.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        return True

    def learn(self, sql: object) -> Statement:
        """Read a text for the first time."""
        text = sql if isinstance(sql, str) else ""
        if len(self.statements) >= STATEMENTS_MAX:
            self.statements.clear()
        if counts_changes(text):
            self.reuse = False
        self.statements[text] = made = Statement(self.name, text)
        return made

    def clear(self) -> None:
        """Close everything."""
        for database in self.databases:
            database.close()
        self.databases.clear()
        self.pristine.close()


class OpenSQLite(SharedStore):
    """A SQLite database during one run."""

    def __init__(self, definition: SQLite, shelf: Shelf, world: World) -> None:
        super().__init__(
            definition.name,
            world,
            timeout_ms=definition.timeout_ms,
            synced=definition.synced,
            unsynced_ms=definition.unsynced_ms,
            statements=shelf.statements,
            learn=shelf.learn,
        )
        self._shelf = shelf
        self.definition = definition
        self.address = read(definition.url)
        self._database: Database | None = shelf.take()
        self._connections: list[Connection] = []
        self._copies: list[sqlite3.Connection] = []
        self._images: list[tuple[int, sqlite3.Connection]] = []
        world.know_timeout(definition.timeout_ms)

    @property
    def database(self) -> Database:
        """The database of this run."""
        assert self._database is not None
        return self._database

    def number_after(self, dealt: int) -> None:
        """Go on as if so many numbers had been dealt out before, in each AUTOINCREMENT table.

        Not modelled: tables that services make themselves.
        """
        ask = self.database.keeper.execute
        tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
        if not ask(f"{tables} AND name = 'sqlite_sequence'").fetchone():
            return  # the word stands in a comment
        for (name,) in ask(f"{tables} AND sql LIKE '%AUTOINCREMENT%'").fetchall():
            ask(
                "INSERT INTO sqlite_sequence (name, seq) SELECT ?, 0 WHERE NOT EXISTS "
                "(SELECT 1 FROM sqlite_sequence WHERE name = ?)",
                (name, name),
            )
            ask("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = ?", (dealt, name))
            self.changed = True

    def connect(self, incarnation: Incarnation, detect_types: int | None = None) -> Connection:
        """Return a new connection of an incarnation.

        It is kept until the run is over: as with sqlite3 itself, a connection that is
        dropped without being closed lives on, locks and all, until a garbage collector
        comes by, and here none does.
        """
        if incarnation not in self.owners:
            self.owners[incarnation] = None
            incarnation.on_death.append(lambda: self._drop(incarnation))
        detects = self.definition.detect_types if detect_types is None else detect_types
        database = self._database
        assert database is not None
        connection = database.connect(detects)
        connection.adopt(self, incarnation)
        self._connections.append(connection)
        return connection

    def _drop(self, incarnation: Incarnation) -> None:
        """Undo what a dead incarnation had not committed, and free its locks."""
        for connection in self._connections:
            if connection.is_open_for(incarnation):
                connection.abandon("crash")
                connection.let_readers_go()
        if self.waiting:
            self.wake()

    # ---- copies

    def copy(self) -> sqlite3.Connection:
        """Return a private copy of what is committed."""
        copy = sqlite3.connect(
            ":memory:",
            detect_types=self.database.detect_types,
            isolation_level=None,
            check_same_thread=False,
        )
        pin(copy)
        self.database.reader.backup(copy)
        copy.execute("PRAGMA query_only = 1")
        self._copies.append(copy)
        return copy

    def keep_image(self) -> None:
        """Keep what is committed, for a power failure to come."""
        self._images.append((self.world.now, self.copy()))

    def forget(self, since_ms: int) -> int:
        """Go back to the state before the first commit at or after a moment."""
        for connection in self._connections:
            if connection.is_open_for(None):
                connection.abandon("power failure")
                connection.let_readers_go()
        kept = [image for image in self._images if image[0] < since_ms]
        lost = len(self._images) - len(kept)
        if lost:
            # onto the one that asks for no locks: whoever may still hold one is dead
            (kept[-1][1] if kept else self._shelf.pristine).backup(self.database.reader)
            self.version += 1
            self.changed = self.schema_touched = True
        self._images = kept
        return lost

    # ---- the end

    def final(self) -> dict[str, Any]:
        """Return what is committed: `{"tables": {table: [row, ...]}}`, rows by primary key."""
        shelf = self._shelf
        reader = self.database.reader
        if self.schema_touched:
            found = queries(reader)
        else:
            if shelf.queries is None:
                shelf.queries = queries(reader)
            found = shelf.queries
        return {"tables": {query.table: rows(reader, query) for query in found}}

    def close(self) -> None:
        """Give the database back, for the next run."""
        database, self._database = self._database, None
        if database is None:
            return
        reuse = self._shelf.reuse
        fit = []
        for connection in self._connections:
            if connection.release() and reuse:
                fit.append(connection)
            else:
                connection.shut()
        database.keep(fit)
        for copy in self._copies:
            copy.close()
        self._shelf.give_back(database, changed=self.changed, schema_touched=self.schema_touched)


@attrs.frozen
class Query:
    """What reads a whole table, in the order of its primary key."""

    table: str
    sql: str
    columns: tuple[str, ...]


def queries(reader: sqlite3.Connection) -> list[Query]:
    """Return what reads each table of a database."""
    tables = reader.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    found = []
    for (table,) in tables:
        columns = reader.execute(f"PRAGMA table_info({quoted(table)})").fetchall()
        key = sorted((column[5], column[1]) for column in columns if column[5])
        order = ", ".join(quoted(column) for _, column in key) or "rowid"
        sql = f"SELECT * FROM {quoted(table)} ORDER BY {order}"
        names = [column[0] for column in reader.execute(f"{sql} LIMIT 0").description]
        found.append(Query(table, sql, tuple(names)))
    return found


def quoted(name: str) -> str:
    """Spell a name so that SQL takes it as it is."""
    return '"' + name.replace('"', '""') + '"'


def rows(reader: sqlite3.Connection, query: Query) -> list[dict[str, Any]]:
    """Return the rows of a table as dicts; text that is no UTF-8 is shown escaped."""
    try:
        found = reader.execute(query.sql).fetchall()
    except sqlite3.OperationalError:
        reader.text_factory = _decode
        found = reader.execute(query.sql).fetchall()
        reader.text_factory = str
    return [dict(zip(query.columns, row, strict=True)) for row in found]


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")
