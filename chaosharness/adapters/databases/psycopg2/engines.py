"""Engines of SQLAlchemy on psycopg2: inside a run they have psycopg 3 for their driver.

For those whose address a `PostgreSQL` store stands for: `engine_on_psycopg`. Both ask the same
server; parameters are put into the text by the client, as psycopg2 does it, and errors are its own.

Source:
    psycopg2 2.9, `lib/__init__.py` (`connect`), `psycopg/error_type.c` (`__setstate__`);
    documentation, "psycopg2.errors". SQLAlchemy 2.0.31 to 2.1: `engine/create.py`, "PostgreSQL:
    psycopg, Using a different Cursor class"; `ConnectionEvents`, "DialectEvents.handle_error".

Not modelled:
    `creator=` of an engine. Events of the engine itself, and of the connections of the driver:
    `execute_values`, adapters, what `raw_connection()` returns.
"""

from __future__ import annotations

from typing import Any, Final

DRIVER: Final = "psycopg2"
_ON_PSYCOPG: Final = "_chaosharness_on_psycopg"
_OF_A_CONNECTION: Final = ("options", "connect_timeout", "application_name")


def engine_on_psycopg(engine: Any) -> Any:
    """Return the engine on psycopg 3 that stands for one on psycopg2; made once."""
    found = vars(engine).get(_ON_PSYCOPG)
    if found is None:
        found = vars(engine)[_ON_PSYCOPG] = _made(engine)
    return found


def _made(engine: Any) -> Any:
    from psycopg import ClientCursor
    from sqlalchemy import create_engine, event

    options: dict[str, Any] = {"echo": engine.echo, **_of_its_pool(engine.pool)}
    level = getattr(engine.dialect, "_on_connect_isolation_level", None)
    if level is not None:
        options["isolation_level"] = level
    for name in ("json_serializer", "json_deserializer"):
        if (function := getattr(engine.dialect, f"_{name}", None)) is not None:
            options[name] = function
    made = create_engine(
        engine.url.set(drivername="postgresql+psycopg"),
        connect_args={**_given_to(engine), "cursor_factory": ClientCursor},
        **options,
    )
    made.update_execution_options(**engine.get_execution_options())
    event.listen(made, "handle_error", _as_psycopg2)
    return made


def _of_its_pool(pool: Any) -> dict[str, Any]:
    """Return the options of a pool, as `create_engine` takes them."""
    found = {"pool_recycle": pool._recycle, "pool_pre_ping": pool._pre_ping}
    if hasattr(pool, "_max_overflow"):
        size = {"pool_size": pool.size(), "max_overflow": pool._max_overflow}
        return {**found, **size, "pool_timeout": pool._timeout}
    return {**found, "poolclass": type(pool)}


def _given_to(engine: Any) -> dict[str, Any]:
    """Return what `connect_args` says that concerns the server."""
    creator = engine.pool._creator
    names = getattr(getattr(creator, "__code__", None), "co_freevars", ())
    cells = dict(zip(names, getattr(creator, "__closure__", None) or (), strict=False))
    given = cells["cparams"].cell_contents if "cparams" in cells else {}
    return {name: given[name] for name in _OF_A_CONNECTION if name in given}


def _as_psycopg2(context: Any) -> None:
    """Have code that catches an error find psycopg2's own in it, with its code."""
    told = context.sqlalchemy_exception
    if told is None or not hasattr(told, "orig"):
        return
    error = context.original_exception
    orig = translated(error)
    if orig is not None:
        told.orig = orig
        told.args = tuple(str(one).replace("(psycopg.", "(psycopg2.", 1) for one in told.args)


def translated(error: BaseException) -> BaseException | None:
    """Return an error of psycopg's as psycopg2 raises it; None where it has none like it."""
    import psycopg2
    from psycopg2 import errors

    code = getattr(error, "sqlstate", None)
    kind = getattr(psycopg2, type(error).__name__, None)
    if code:
        try:
            kind = errors.lookup(code)
        except KeyError:
            kind = psycopg2.DatabaseError
    if kind is None:
        return None
    made: BaseException = kind(str(error))
    state = {"pgcode": code, "pgerror": f"ERROR:  {error}\n" if code else None}
    made.__setstate__(state)  # it has no other way in
    return made
