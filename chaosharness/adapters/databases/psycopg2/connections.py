"""Connections of psycopg2, on psycopg 3: its methods, its transactions, its errors.

The classes derive from psycopg2's own, so that `isinstance` holds and cursors of `psycopg2.extras`
stand on ours; nothing of theirs in C is ever called. A real connection of psycopg2's, which asks
nothing, puts parameters into texts and reads values (`cursors.py`).

Source:
    psycopg2 2.9: documentation, "The connection class", "Connection status constants"; `psycopg/
    connection_type.c`, `lib/extensions.py`.

Not modelled:
    Notifications, large objects, two-phase commits, cancelling, asynchronous connections; classes
    of users that call `psycopg2.extensions.connection.__init__` or `cursor.execute` by that name.
    Pools that are made when a module is imported and connect at once. `replication`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, NoReturn

import psycopg
from psycopg2 import InterfaceError, ProgrammingError
from psycopg2 import extensions as ext

from chaosharness.adapters.databases.psycopg import library_of, store_at
from chaosharness.adapters.databases.psycopg2.cursors import class_of
from chaosharness.adapters.databases.psycopg2.engines import DRIVER, translated
from chaosharness.adapters.spoken import note_spoken
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.handlers.port import current_scope
from chaosharness.kernel.scope import SCOPE
from chaosharness.stores.postgresql.postgresql import OpenPostgreSQL

_LEVELS: Final = {  # psycopg2 counts them in another order than psycopg 3
    ext.ISOLATION_LEVEL_READ_COMMITTED: psycopg.IsolationLevel.READ_COMMITTED,
    ext.ISOLATION_LEVEL_REPEATABLE_READ: psycopg.IsolationLevel.REPEATABLE_READ,
    ext.ISOLATION_LEVEL_SERIALIZABLE: psycopg.IsolationLevel.SERIALIZABLE,
    ext.ISOLATION_LEVEL_READ_UNCOMMITTED: psycopg.IsolationLevel.READ_UNCOMMITTED,
    None: None,
}
_NAMES: Final = {
    "READ COMMITTED": ext.ISOLATION_LEVEL_READ_COMMITTED,
    "REPEATABLE READ": ext.ISOLATION_LEVEL_REPEATABLE_READ,
    "SERIALIZABLE": ext.ISOLATION_LEVEL_SERIALIZABLE,
    "READ UNCOMMITTED": ext.ISOLATION_LEVEL_READ_UNCOMMITTED,
    "DEFAULT": None,
}
_HELPERS: Final[dict[str, Any]] = {}


def connected(
    real: Any, dsn: Any, connection_factory: Any, cursor_factory: Any, options: dict[str, Any]
) -> Any:
    """Connect, as `psycopg2.connect` does it."""
    if any(options.pop(name, None) for name in ("async", "async_")):
        not_modelled(DRIVER, "connect", "async_")
    if dsn is None and not options:
        raise TypeError("missing dsn and no parameters")
    kind = _class_of(connection_factory)
    text = ext.make_dsn(dsn, **options)
    made = kind(text)
    if getattr(made, "_speaks", None) is None:
        not_modelled(DRIVER, kind.__name__, "of a class that does not call super().__init__")
    made._helper = _helper(real, text)
    note_spoken(current_scope(DRIVER), DRIVER, f"{_store(text).name}.connect")
    if cursor_factory is not None:
        made.cursor_factory = cursor_factory
    return made


def _helper(real: Any, dsn: str) -> Any:
    """Return a real connection to the same database: it formats and reads, and asks nothing."""
    conninfo = _store(dsn).database.conninfo
    found = _HELPERS.get(conninfo)
    if found is None or found.closed:
        found = _HELPERS[conninfo] = real(conninfo)
        found.autocommit = True
    return found


def _store(dsn: str) -> OpenPostgreSQL:
    known = ext.parse_dsn(dsn)
    host, database = str(known.get("host") or ""), str(known.get("dbname") or "")
    return store_at(current_scope(DRIVER), host, database, DRIVER)


def as_psycopg2(error: psycopg.Error, *, gone: bool) -> BaseException:
    """Return an error of psycopg's as psycopg2 raises it.

    Args:
        error: The error.
        gone: Whether the connection was closed already.
    """
    if gone:
        closed: BaseException = InterfaceError("connection already closed")
        return closed
    found = translated(error)
    if found is None:
        return error
    if not error.sqlstate:
        return found
    diag = error.diag
    kind = type(found)
    told = type(kind.__name__, (kind,), {"diag": property(lambda _: diag)})
    told.__module__, told.__qualname__ = kind.__module__, kind.__qualname__
    made: BaseException = told(*found.args)
    state = {"pgcode": found.pgcode, "pgerror": found.pgerror}  # type: ignore[attr-defined]
    made.__setstate__(state)
    return made


class Connection(ext.connection):  # type: ignore[misc]
    """A connection of psycopg2's."""

    cursor_factory: Any = None
    _helper: Any
    _speaks: Any = None

    def __init__(self, dsn: str = "", async_: int = 0, **_: Any) -> None:
        known = library_of.set(DRIVER)
        try:
            with self.telling():
                self._speaks = psycopg.connect(dsn, cursor_factory=psycopg.ClientCursor)
        finally:
            library_of.reset(known)
        self._dsn = dsn
        notices = self._notices = list[str]()  # no circle: it is closed when nobody holds it
        self._speaks.add_notice_handler(
            lambda one: notices.append(f"{one.severity}:  {one.message_primary}\n")
        )

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Have errors be psycopg2's."""
        gone = self._speaks is not None and self._speaks.closed
        try:
            yield
        except psycopg.Error as error:
            raise as_psycopg2(error, gone=gone) from None

    def _usable(self) -> Any:
        if self._speaks.closed:
            raise InterfaceError("connection already closed")
        return self._speaks

    def cursor(
        self,
        name: str | None = None,
        cursor_factory: Any = None,
        scrollable: bool | None = None,
        withhold: bool = False,
    ) -> Any:
        """Return a new cursor; one at the server, if it has a name."""
        self._usable()
        made = class_of(cursor_factory or self.cursor_factory)(self, name)
        if name is not None:
            made.scrollable, made.withhold = scrollable, withhold
        return made

    def commit(self) -> None:
        """Commit."""
        with self.telling():
            self._usable().commit()

    def rollback(self) -> None:
        """Roll back."""
        with self.telling():
            self._usable().rollback()

    def close(self) -> None:
        """Close it: what was not committed is rolled back."""
        self._speaks.close()

    def __del__(self) -> None:
        """Close it where nobody holds it any more, while its run goes on."""
        if SCOPE.get() is not None and self._speaks is not None and not self._speaks.closed:
            self._speaks.close()

    def reset(self) -> None:
        """Roll back, and have all as it was at the beginning."""
        self.rollback()
        self.autocommit = False
        self.isolation_level = self.readonly = self.deferrable = None

    def __enter__(self) -> Connection:
        self._usable()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit, or roll back: it stays open."""
        if kind is None:
            self.commit()
        else:
            self.rollback()

    # ---- settings

    @property
    def autocommit(self) -> bool:
        """Whether each statement is a transaction of its own."""
        return bool(self._speaks.autocommit)

    @autocommit.setter
    def autocommit(self, value: bool) -> None:
        self._set("autocommit", bool(value))

    @property
    def isolation_level(self) -> int | None:
        """The level, as a constant of `psycopg2.extensions`."""
        level = self._speaks.isolation_level
        found: int | None = next(ours for ours, theirs in _LEVELS.items() if theirs == level)
        return found

    @isolation_level.setter
    def isolation_level(self, value: int | str | None) -> None:
        level = _NAMES.get(value.upper(), 0) if isinstance(value, str) else value
        if level not in _LEVELS:
            raise ValueError(f"bad value for isolation_level: {value!r}")
        self._set("isolation_level", _LEVELS[level])

    @property
    def readonly(self) -> bool | None:
        """Whether transactions are read-only."""
        found: bool | None = self._speaks.read_only
        return found

    @readonly.setter
    def readonly(self, value: bool | str | None) -> None:
        self._set("read_only", None if value == "DEFAULT" else value)

    @property
    def deferrable(self) -> bool | None:
        """Whether transactions are deferrable."""
        found: bool | None = self._speaks.deferrable
        return found

    @deferrable.setter
    def deferrable(self, value: bool | str | None) -> None:
        self._set("deferrable", None if value == "DEFAULT" else value)

    def _set(self, name: str, value: Any) -> None:
        speaks = self._usable()
        if self.get_transaction_status() != ext.TRANSACTION_STATUS_IDLE:
            raise ProgrammingError("set_session cannot be used inside a transaction")
        with self.telling():
            setattr(speaks, name, value)

    def set_session(
        self,
        isolation_level: Any = None,
        readonly: Any = None,
        deferrable: Any = None,
        autocommit: Any = None,
    ) -> None:
        """Set what transactions from now on are like; what is None stays."""
        given = {"isolation_level": isolation_level, "readonly": readonly}
        given |= {"deferrable": deferrable, "autocommit": autocommit}
        for name, value in given.items():
            if value is not None:
                setattr(self, name, value)

    def set_isolation_level(self, level: int | None) -> None:
        """Set the level; 0 is `autocommit`."""
        if self.get_transaction_status() != ext.TRANSACTION_STATUS_IDLE:
            self.rollback()
        self.autocommit = level == ext.ISOLATION_LEVEL_AUTOCOMMIT
        if level:
            self.isolation_level = level

    def set_client_encoding(self, encoding: str) -> None:
        """Take note of UTF-8: there is no other."""
        if encoding.upper().replace("-", "") not in ("UTF8", "UNICODE"):
            not_modelled(DRIVER, "connection", f"set_client_encoding({encoding!r})")

    # ---- what it is like

    @property
    def closed(self) -> int:
        """0 while it is open, 1 when it was closed, 2 when the server is gone."""
        return 2 if self._speaks.broken else int(self._speaks.closed)

    @property
    def status(self) -> int:
        """Whether a transaction is under way."""
        idle = self.get_transaction_status() == ext.TRANSACTION_STATUS_IDLE
        return int(ext.STATUS_READY if idle else ext.STATUS_BEGIN)

    def get_transaction_status(self) -> int:
        """Return it as a constant of `psycopg2.extensions`."""
        return int(self._speaks.info.transaction_status)

    @property
    def info(self) -> Any:
        """What libpq knows of it."""
        return self._speaks.info

    @property
    def dsn(self) -> str:
        """What it was made with, without the password."""
        known = {name: one for name, one in ext.parse_dsn(self._dsn).items() if name != "password"}
        return str(ext.make_dsn(**known))

    def get_dsn_parameters(self) -> dict[str, str]:
        """Return what it was made with, without the password."""
        return dict(ext.parse_dsn(self.dsn))

    def get_parameter_status(self, parameter: str) -> str | None:
        """Return a setting that the server has told."""
        found: str | None = self._speaks.info.parameter_status(parameter)
        return found

    @property
    def server_version(self) -> int:
        """Of the server, as a number."""
        return int(self._speaks.info.server_version)

    protocol_version = 3
    async_ = 0
    encoding = "UTF8"
    binary_types: Final[dict[Any, Any]] = {}

    @property
    def notices(self) -> list[str]:
        """What the server has remarked."""
        return self._notices

    def get_backend_pid(self) -> int:
        """Return a number that is the same in each run: there is one process of the server."""
        return 1

    def isexecuting(self) -> bool:
        """Say whether an asynchronous operation is under way: there is none."""
        return False


def _absent(name: str) -> Any:
    def refuse(self: Any, *arguments: Any, **options: Any) -> NoReturn:
        not_modelled(DRIVER, "connection", name)

    return refuse


for _name in ("poll", "fileno", "cancel", "lobject", "xid", "tpc_begin", "tpc_prepare"):
    setattr(Connection, _name, _absent(_name))
for _name in ("tpc_commit", "tpc_rollback", "tpc_recover"):
    setattr(Connection, _name, _absent(_name))
Connection.notifies = property(_absent("notifies"))


def _class_of(factory: Any) -> type[Connection]:
    """Return the class of connections that a factory stands for, on ours."""
    if factory is None or factory is ext.connection:
        return Connection
    if not isinstance(factory, type) or not issubclass(factory, ext.connection):
        not_modelled(DRIVER, "connect", "connection_factory that is no class of connections")
    return type(factory.__name__, (factory, Connection), {})
