"""psycopg 3, sync and asyncio, on a real server: a `PostgreSQL` store.

psycopg writes each operation as a generator, which its connection drives until the server has
answered. Here a connection drives it in virtual time. All else is psycopg's own, down to libpq and
the server.

Source:
    psycopg 3.2 and 3.3: `_connection_base.py`, `_cursor_base.py`, `generators.py`; documentation,
    "Transactions management", "Asynchronous notifications".

Not modelled:
    Pipelines, `stream()`, two-phase commits, `cancel()`, and psycopg_pool's threads: said so.
    `executemany` sends one row after the other. A `COPY` is a site when it begins.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping
from contextvars import ContextVar
from types import FrameType
from typing import Any, Final
from weakref import ref

import psycopg
from psycopg import errors, pq
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import lookup
from psycopg.waiting import Wait

from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.stores.address import one_of
from chaosharness.stores.durable import QUIET
from chaosharness.stores.postgresql.postgresql import OpenPostgreSQL
from chaosharness.stores.postgresql.session import ServerError, Session, Visit
from chaosharness.stores.postgresql.statement import Statement

Steps = Generator[Any, Any, Any]


class _Late(psycopg.OperationalError):
    """Stands for `_WaitTimeout` before psycopg 3.3.7, which waits by intervals."""


_BY_INTERVALS: Final = not hasattr(errors, "_WaitTimeout")
_WaitTimeout: Final[type[psycopg.Error]] = getattr(errors, "_WaitTimeout", _Late)

_SESSION: Final = "_chaosharness"
_LOST: Final = (
    "consuming input failed: {}\n\tThis probably means the server terminated abnormally\n\tbefore "
    "or while processing the request."
)


library_of: ContextVar[str] = ContextVar("chaosharness.library_of", default="psycopg")
"""Which library connects: psycopg2 does so by this one."""


def store_at(scope: Scope, host: str, database: str, library: str) -> OpenPostgreSQL:
    """Return the store that stands for a server's database, in this run.

    Raises:
        InvalidDefinition: None does, which calls the run off.
    """
    stores = [one for one in scope.world.states.values() if isinstance(one, OpenPostgreSQL)]
    named = next((one for one in stores if one.database.name == database), None)
    meant = (one for one in stores if one.stands_for(host, database))
    where = f"{host or 'its default'}/{database}".rstrip("/")
    url = f"{host or 'HOST'}/{database or 'DATABASE'}"
    found: OpenPostgreSQL | None = named or one_of(
        meant, lambda: f"{library}'s connection to {where}"
    )
    if found is None:
        call_off(
            InvalidDefinition(
                f"{scope.place} connects to {where} by {library}{asked_at()}, and no store of this "
                f'system stands for it: add PostgreSQL("db", schema, url="postgresql://{url}")'
            )
        )
    return found


def _connect_gen(real: Any, cls: Any, conninfo: str = "", **_: Any) -> Steps:
    """Connect: no time passes, and no port."""
    scope = current_scope("psycopg.connect")
    known = conninfo_to_dict(conninfo)
    host, database = str(known.get("host") or ""), str(known.get("dbname") or "")
    library = library_of.get()
    store = store_at(scope, host, database, library)
    if store.down:
        words = f'connection failed: connection to server at "{host}" failed: Connection refused'
        raise psycopg.OperationalError(words)
    session = store.session(scope.incarnation)
    if library == "psycopg":  # else who connects by this one says so
        note_spoken(scope, library, f"{store.name}.connect")
    session.configure(str(known.get("options") or ""))
    made = cls(session.backend.pgconn)
    setattr(made, _SESSION, session)

    def drop(_: object) -> None:
        """Close it where nobody holds it any more, while its run goes on: libpq does so."""
        if SCOPE.get() is not None:
            session.close()

    known_by = ref(made, drop)  # no circle: it is closed when nobody holds it

    def lose() -> None:
        held = known_by()
        if held is not None:
            held.pgconn = _dead()

    session.on_break = lose
    return made
    yield  # a generator, as psycopg's own


_DEAD: Final[list[Any]] = []


def _dead() -> Any:
    """Return a connection of libpq's that is closed."""
    if not _DEAD:
        closed = pq.PGconn.connect(b"host=/nonexistent")
        closed.finish()
        _DEAD.append(closed)
    return _DEAD[0]


# ---- what is sent: marks in psycopg's generators


class Sent:
    """Marks in a generator that a statement is about to be sent; answered with its visit."""

    def __init__(self, statement: Statement, parameters: Any) -> None:
        self.statement = statement
        self.parameters = parameters


class Answered:
    """Marks that the server has answered."""

    def __init__(self, visit: Visit, rows: int, error: BaseException | None = None) -> None:
        self.visit = visit
        self.rows = rows
        self.error = error


def _marked(
    statement: Statement, parameters: Any, send: Callable[[], Steps], rows: Callable[[], int]
) -> Steps:
    visit = yield Sent(statement, parameters)
    try:
        result = yield from send()
    except psycopg.Error as error:
        instead = yield Answered(visit, 0, error)
        if instead is not None:
            raise instead from None
        raise
    yield Answered(visit, rows())
    return result


def _execute(
    real: Any, self: Any, pgq: Any, *, prepare: bool | None = None, binary: bool | None = None
) -> Steps:
    session = getattr(self._conn, _SESSION, None)
    if session is None:
        return (yield from real(self, pgq, prepare=prepare, binary=binary))
    statement = session.store.learn(pgq.query.decode())
    pgq.query = statement.sql.encode()

    def send() -> Steps:
        return real(self, pgq, prepare=prepare, binary=binary)  # type: ignore[no-any-return]

    given, session.given = session.given, None
    return (yield from _marked(statement, _plain(given), send, lambda: self._rowcount))


def _plain(given: Any) -> Any:
    return tuple(given.values()) if isinstance(given, Mapping) else tuple(given or ())


def _convert(real: Any, self: Any, query: Any, params: Any = None) -> Any:
    """Remember the parameters of a statement as the code gives them."""
    session = getattr(self._conn, _SESSION, None)
    if session is not None:
        session.given = params
    made = real(self, query, params)
    if session is not None and hasattr(self, "_declare_gen"):  # of a cursor at the server
        made.query = session.store.learn(made.query.decode()).sql.encode()
    return made


def _declare(
    real: Any, self: Any, query: Any, params: Any = None, binary: bool | None = None
) -> Steps:
    session = getattr(self._conn, _SESSION, None)
    if session is None:
        return (yield from real(self, query, params, binary))
    text = self._make_declare_statement(query)
    statement = session.store.learn(text if isinstance(text, str) else text.as_string(self))

    def send() -> Steps:
        return real(self, query, params, binary)  # type: ignore[no-any-return]

    return (yield from _marked(statement, _plain(params), send, lambda: 0))


def _command(real: Any, self: Any, command: Any, result_format: Any = pq.Format.TEXT) -> Steps:
    session = getattr(self, _SESSION, None)
    if session is None:
        return (yield from real(self, command, result_format))
    text = command if isinstance(command, bytes) else command.as_bytes(self)
    statement = session.store.learn(text.decode())

    def send() -> Steps:
        return real(self, statement.sql.encode(), result_format)  # type: ignore[no-any-return]

    return (yield from _marked(statement, (), send, lambda: 0))


def _copy(real: Any, self: Any, statement: Any, params: Any = None) -> Steps:
    session = getattr(self._conn, _SESSION, None)
    if session is None:
        return (yield from real(self, statement, params))
    text = statement if isinstance(statement, str) else statement.as_string(self)
    known = session.store.learn(text)
    yield from self._conn._start_query()
    return (yield from _marked(known, (), lambda: real(self, statement, params), lambda: 0))


def _many(real: Any, self: Any, query: Any, params_seq: Any, *, returning: bool = False) -> None:
    if getattr(self._conn, _SESSION, None) is None:
        return real(self, query, params_seq, returning=returning)  # type: ignore[no-any-return]
    with self._conn.lock:
        self._conn.wait(self._executemany_gen_no_pipeline(query, params_seq, returning))
    return None


async def _many_async(
    real: Any, self: Any, query: Any, params_seq: Any, *, returning: bool = False
) -> None:
    if getattr(self._conn, _SESSION, None) is None:
        return await real(self, query, params_seq, returning=returning)  # type: ignore[no-any-return]
    async with self._conn.lock:
        await self._conn.wait(self._executemany_gen_no_pipeline(query, params_seq, returning))
    return None


# ---- who drives


def _wait(real: Any, self: Any, gen: Steps, interval: Any = 0.1, *timeout: Any, **late: Any) -> Any:
    session = getattr(self, _SESSION, None)
    if session is None:
        return real(self, gen, interval, *timeout, **late)
    scope = current_scope("a connection of psycopg's")
    script = _driven(session, scope, gen, _given(timeout, late), sys._getframe(2))
    return scope.colour.block(script, scope)


async def _wait_async(
    real: Any, self: Any, gen: Steps, interval: Any = 0.1, *timeout: Any, **late: Any
) -> Any:
    session = getattr(self, _SESSION, None)
    if session is None:
        return await real(self, gen, interval, *timeout, **late)
    scope = current_scope("a connection of psycopg's")
    script = _driven(session, scope, gen, _given(timeout, late), sys._getframe(1))
    return await scope.colour.drive(script, scope)


def _given(timeout: tuple[Any, ...], late: Mapping[str, Any]) -> float | None:
    """Return the time-out of a wait, which older versions do not have."""
    found: float | None = timeout[0] if timeout else late.get("timeout")
    return found


def _driven(
    session: Session, scope: Scope, gen: Steps, timeout_s: float | None, asker: FrameType | None
) -> Script[Any]:
    """Drive a generator of psycopg's to its end.

    Where it waits by intervals, `notifies()` asks again each tenth of a second, up to a deadline of
    its own. It is answered when that is past, with nothing, and not before.
    """
    quiet = QUIET.get()
    if not _BY_INTERVALS or asker is None or asker.f_code.co_name != "notifies":
        return (yield from _drive(session, scope, gen, timeout_s, quiet))
    deadline_s = asker.f_locals.get("deadline")
    if deadline_s is None:
        return (yield from _drive(session, scope, gen, None, quiet))
    now_ms = EPOCH_MS + scope.world.now + scope.incarnation.skew_ms
    left_s = max(deadline_s - now_ms / 1000, 0.0) + 0.001
    try:
        return (yield from _drive(session, scope, gen, left_s, quiet))
    except _Late:
        return []


def _drive(
    session: Session, scope: Scope, gen: Steps, timeout_s: float | None, quiet: bool
) -> Script[Any]:
    """Drive a generator of psycopg's to its end."""
    timeout_ms = None if timeout_s is None else round(timeout_s * 1000)
    answer: Any = None
    failure: BaseException | None = None
    while True:
        try:
            asked = gen.send(answer) if failure is None else gen.throw(failure)
        except StopIteration as stop:
            return stop.value
        answer = failure = None
        try:
            answer = yield from _do(session, scope, asked, timeout_ms, quiet)
        except ServerError as error:
            failure = told(error)
        except _WaitTimeout as error:
            failure = error
        if session.heard and not isinstance(asked, Sent | Answered):
            heard, session.heard = session.heard, []
            return heard


def _do(
    session: Session, scope: Scope, asked: Any, timeout_ms: int | None, quiet: bool
) -> Script[Any]:
    """Do what a generator asks for, and return what it is told."""
    match asked:
        case Sent():
            return (yield from session.arrive(scope, asked.statement, asked.parameters, quiet))
        case Answered(error=None):
            yield from session.succeed(asked.visit, asked.rows)
            return None
        case Answered(error=BaseException() as raised):
            instead = session.fail(asked.visit, raised)
            return None if instead is None else told(instead)
    if asked & Wait.W:
        return asked
    answered = yield from session.wait(scope, timeout_ms)
    if not answered:
        raise _WaitTimeout("wait timeout expired")
    return asked


def told(error: ServerError) -> psycopg.Error:
    """Return an error of a server as psycopg raises it."""
    if not error.code:
        lost = str(error)
        return psycopg.OperationalError(_LOST.format(lost) if "server" in lost else lost)
    return lookup(error.code)(str(error))


# ---- the end


def _close(real: Any, self: Any) -> None:
    session = getattr(self, _SESSION, None)
    if session is not None:
        self._closed = True
        session.close()
    return real(self)  # type: ignore[no-any-return]


async def _close_async(real: Any, self: Any) -> None:
    session = getattr(self, _SESSION, None)
    if session is not None:
        self._closed = True
        session.close()
    await real(self)


def _unresolved(real: Any, params: Any) -> Any:
    """Look no name up: who it belongs to, the store says."""
    return [params]


async def _unresolved_async(real: Any, params: Any) -> Any:
    return [params]


def _absent(kind: str, name: str) -> Callable[..., Any]:
    def refuse(real: Any, self: Any, *arguments: Any, **options: Any) -> Any:
        connection = getattr(self, "_conn", self)
        if getattr(connection, _SESSION, None) is None:
            return real(self, *arguments, **options)
        not_modelled("psycopg", kind, name)

    return refuse


_STREAM: Final = ("self", "query", "params", "binary", "size")
_MANY: Final = ("self", "query", "params_seq", "returning")
_DECLARES: Final = ("self", "query", "params", "binary")
_WAITS: Final = ("self", "gen", "interval", "timeout")
_LATELY: Final = ("timeout",)
LIBRARY: Final = Library(
    "psycopg",
    tested=">=3.2.1,<4",
    seams=(
        Seam(
            "psycopg._connection_base:BaseConnection._connect_gen",
            ("cls", "conninfo"),
            _connect_gen,
            once=("timeout",),
        ),
        Seam(
            "psycopg._connection_base:BaseConnection._exec_command",
            ("self", "command", "result_format"),
            _command,
        ),
        Seam(
            "psycopg._cursor_base:BaseCursor._maybe_prepare_gen",
            ("self", "pgq", "prepare", "binary"),
            _execute,
        ),
        Seam(
            "psycopg._cursor_base:BaseCursor._convert_query",
            ("self", "query", "params"),
            _convert,
        ),
        Seam("psycopg:ServerCursor._declare_gen", _DECLARES, _declare),
        Seam("psycopg:AsyncServerCursor._declare_gen", _DECLARES, _declare),
        Seam(
            "psycopg._cursor_base:BaseCursor._start_copy_gen",
            ("self", "statement", "params"),
            _copy,
        ),
        Seam("psycopg._conninfo_attempts:_resolve_hostnames", ("params",), _unresolved),
        Seam("psycopg._conninfo_attempts_async:_resolve_hostnames", ("params",), _unresolved_async),
        Seam("psycopg:Connection.wait", _WAITS, _wait, _LATELY),
        Seam("psycopg:AsyncConnection.wait", _WAITS, _wait_async, _LATELY),
        Seam("psycopg:Connection.close", ("self",), _close),
        Seam("psycopg:AsyncConnection.close", ("self",), _close_async),
        Seam("psycopg:Cursor.executemany", _MANY, _many),
        Seam("psycopg:AsyncCursor.executemany", _MANY, _many_async),
        Seam("psycopg:Cursor.stream", _STREAM, _absent("Cursor", "stream")),
        Seam("psycopg:AsyncCursor.stream", _STREAM, _absent("AsyncCursor", "stream")),
        Seam("psycopg:Connection.pipeline", ("self",), _absent("Connection", "pipeline")),
        Seam("psycopg:AsyncConnection.pipeline", ("self",), _absent("AsyncConnection", "pipeline")),
    ),
)
