"""SQLAlchemy, sync and asyncio: engines that modules make when they are imported.

An engine is shared by all replicas, as an object; what it connects to, and the pool that it keeps,
are those of the incarnation whose code runs. Its driver makes the connections, and is met itself.
Where a `SQLite` store stands for the address of another server (`url="postgresql://..."`), an
engine for that address is one for SQLite inside a run; one on psycopg2, for whose address a
`PostgreSQL` store stands, is on psycopg 3 (`psycopg2.py`).

Source:
    SQLAlchemy 2.0.31 to 2.1: `engine/base.py` (`Engine.connect`, `Engine.raw_connection`),
    `engine/create.py` (a dialect asks the first connection of a process what the server can),
    `pool/base.py`. Documentation, "Using Connection Pools with Multiprocessing": a process has a
    pool of its own.

Not modelled:
    Events of an engine whose address a `SQLite` store stands for; what its dialect alone can
    (JSONB, arrays): SQLAlchemy says so. A `SELECT ... FOR UPDATE` locks all of a SQLite store, and
    `SKIP LOCKED` waits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import iscoroutine
from typing import Any, Final

from greenlet import getcurrent, greenlet

from chaosharness.adapters.databases.psycopg2 import DRIVER as PSYCOPG2
from chaosharness.adapters.databases.psycopg2 import engine_on_psycopg
from chaosharness.adapters.databases.quiet import setting_up
from chaosharness.adapters.databases.sqlite import BY_NAME, store_at
from chaosharness.adapters.dispatch import Library, Seam, Swap
from chaosharness.adapters.spoken import note_spoken
from chaosharness.errors import Abandoned
from chaosharness.handlers.port import current_scope
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.stores.address import one_of
from chaosharness.stores.durable import OpenStore
from chaosharness.stores.sqlite.sqlite import OpenSQLite

_TWINS: Final = "_chaosharness_twins"


def _connect(real: Any, self: Any) -> Any:
    scope = current_scope("Engine.connect")
    return real(_standing(scope, self))


def _of_session(real: Any, self: Any, bind: Any, execution_options: Any) -> Any:
    """Have a session keep its connections by the engine that they are of."""
    known = hasattr(bind, "raw_connection")
    engine = _standing(current_scope("Session"), bind) if known else bind
    return real(self, engine, execution_options)


def _raw_connection(real: Any, self: Any) -> Any:
    """Take a connection from the pool of this incarnation."""
    scope = current_scope("Engine.raw_connection")
    engine = _standing(scope, self)
    store = _store_of(scope, engine)
    if store is None:
        return real(engine)
    note_spoken(scope, "sqlalchemy", f"{store.name}.connect")
    key = (scope.incarnation, engine)
    if key not in store.kept:
        pool = store.kept[key] = engine.pool.recreate()
        pool._chaosharness = scope
    return store.kept[key].connect()


def _is_over(scope: Scope | None) -> bool:
    return scope is None or not scope.incarnation.alive or scope.world.ending is not None


def _freed(real: Any) -> Callable[..., Any]:
    """What a pool does with a connection that nobody holds any more: nothing, once all is over."""

    def finalize(
        dbapi_connection: Any, connection_record: Any, pool: Any, *rest: Any, **options: Any
    ) -> Any:
        mine = getattr(pool, "_chaosharness", None)
        if mine is not None and _is_over(mine):
            return None
        return real(dbapi_connection, connection_record, pool, *rest, **options)

    return finalize


def _close(real: Any, self: Any, connection: Any, *, terminate: bool = False) -> None:
    """Close a connection of a pool, unless its process is dead: nothing is left to be closed."""
    mine = getattr(self, "_chaosharness", None)
    if mine is None or not _is_over(mine):
        real(self, connection, terminate=terminate)


def _awaiting(real: Any) -> Callable[[Any], Any]:
    """How a greenlet of SQLAlchemy's waits: code that was abandoned waits for nothing any more."""

    def await_only(awaitable: Any) -> Any:
        scope = SCOPE.get()
        if scope is not None and _is_over(scope):
            if iscoroutine(awaitable):
                awaitable.close()
            raise Abandoned(scope.incarnation.label)
        return real(awaitable)

    return await_only


def _store_of(scope: Scope, engine: Any) -> OpenStore | None:
    """Return the store that an engine's driver connects to; None if that is none of ours."""
    url = engine.url
    if url.get_backend_name() == "sqlite":
        return store_at(scope, url.database or ":memory:")
    for one in scope.world.states.values():
        if isinstance(one, OpenStore) and getattr(one, "is_server", _no)(url):
            return one
    return None


def _no(url: Any) -> bool:
    return False


def _standing(scope: Scope, engine: Any) -> Any:
    """Return the engine that stands for one inside this run: mostly itself."""
    url = engine.url
    if url.get_backend_name() == "sqlite":
        return engine
    stores = (one for one in scope.world.states.values() if isinstance(one, OpenSQLite))
    meant = (
        one
        for one in stores
        if one.address is not None and one.address.is_server(url.host or "", url.database or "")
    )
    store = one_of(meant, lambda: f"the engine of {url.render_as_string()}")
    if store is not None:
        return _twin(engine, store.name)
    if engine.driver == PSYCOPG2 and _store_of(scope, engine) is not None:
        return engine_on_psycopg(engine)
    return engine


def _twin(engine: Any, store: str) -> Any:
    """Return an engine for a SQLite store, which has the options of another one."""
    twins = vars(engine).setdefault(_TWINS, {})
    if store not in twins:
        from sqlalchemy import create_engine, event

        driver = "aiosqlite" if engine.dialect.is_async else "pysqlite"
        made = create_engine(f"sqlite+{driver}:///{BY_NAME}{store}", echo=engine.echo)
        made.update_execution_options(**engine.get_execution_options())
        event.listen(made, "before_cursor_execute", _lock)
        twins[store] = made
    return twins[store]


def _lock(
    connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
) -> None:
    """Lock where another server would: SQLite has no `FOR UPDATE`, and locks the whole database."""
    asked = getattr(getattr(context.compiled, "statement", None), "_for_update_arg", None)
    if asked is not None and not connection.connection.driver_connection.in_transaction:
        cursor.execute("BEGIN IMMEDIATE")


class _Bridge(greenlet):
    """Sync code of SQLAlchemy's that stands inside a coroutine."""

    __sqlalchemy_greenlet_provider__ = True
    dead: bool

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function, getcurrent())
        self.gr_context = getcurrent().gr_context


def _spawning(real: Any) -> Callable[..., Any]:
    """How sync code of SQLAlchemy's is run by a coroutine.

    As its own, but that the event loop of a run may go on in another greenlet each time.
    """

    async def greenlet_spawn(
        fn: Callable[..., Any], *args: Any, _require_await: bool = False, **kwargs: Any
    ) -> Any:
        if SCOPE.get() is None:
            return await real(fn, *args, _require_await=_require_await, **kwargs)
        bridge = _Bridge(fn)
        result = bridge.switch(*args, **kwargs)
        while not bridge.dead:
            try:
                value = await result
            except BaseException:
                bridge.parent = getcurrent()
                result = bridge.throw(*sys.exc_info())
            else:
                bridge.parent = getcurrent()
                result = bridge.switch(value)
        return result

    return greenlet_spawn


LIBRARY: Final = Library(
    "SQLAlchemy",
    tested=">=2.0.31,<2.2",
    seams=(
        Seam("sqlalchemy.engine:Engine.connect", ("self",), _connect),
        Seam("sqlalchemy.engine:Engine.raw_connection", ("self",), _raw_connection),
        Seam(
            "sqlalchemy.orm.session:SessionTransaction._connection_for_bind",
            ("self", "bind", "execution_options"),
            _of_session,
        ),
        Seam(
            "sqlalchemy.pool.base:_ConnectionRecord._ConnectionRecord__connect",
            ("self",),
            setting_up,
        ),
        Seam(
            "sqlalchemy.pool.base:Pool._close_connection",
            ("self", "connection", "terminate"),
            _close,
        ),
    ),
    swaps=(
        Swap("sqlalchemy.pool.base:_finalize_fairy", _freed),
        Swap("sqlalchemy.util:await_only", _awaiting),
        Swap("sqlalchemy.util:greenlet_spawn", _spawning),
    ),
)
