"""Cursors of psycopg2, on psycopg 3: what is asked, and what comes back.

Psycopg2's own puts parameters into the text, with whatever adapters were registered, and reads the
values that the server sends as text. What is sent, and when, is that of psycopg 3 on the store.

Source:
    psycopg2 2.9: documentation, "The cursor class"; `psycopg/cursor_type.c`: how a cursor with a
    name declares, fetches and closes, and what `callproc` and `copy_from` send.

Not modelled:
    `copy_from` and `copy_to` with a `size`; `setoutputsize`. `lastrowid` is 0.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from psycopg2 import InterfaceError, ProgrammingError
from psycopg2 import extensions as ext

_BLOCK: Final = 8_192


class Cursor(ext.cursor):  # type: ignore[misc]
    """A cursor of psycopg2's."""

    def __init__(self, connection: Any, name: str | None = None, **_: Any) -> None:
        self._connection = connection
        self._speaks = connection._speaks.cursor()
        self._formats = connection._helper.cursor()
        self._named = name
        self._declared = self._closed = False
        self._result: Any = None
        self._sent: bytes | None = None
        self._at = 0
        self.arraysize, self.itersize = 1, 2_000
        self.scrollable: bool | None = None
        self.withhold = False

    # ---- asking

    def mogrify(self, query: Any, vars: Any = None) -> bytes:
        """Return what would be sent."""
        self._usable()
        found: bytes = self._formats.mogrify(query, vars)
        return found

    def execute(self, query: Any, vars: Any = None) -> None:
        """Send a query."""
        text = self.mogrify(query, vars)
        if not text.strip():
            raise ProgrammingError("can't execute an empty query")
        if self._named is None:
            self._send(text, vars)
            return
        if self._declared:
            raise ProgrammingError("can't call .execute() on named cursors more than once")
        if self._connection.autocommit and not self.withhold:
            raise ProgrammingError("can't use a named cursor outside of transactions")
        scroll = {None: b"", True: b"SCROLL ", False: b"NO SCROLL "}[self.scrollable]
        hold = b"WITH" if self.withhold else b"WITHOUT"
        self._send(b"DECLARE %s %sCURSOR %s HOLD FOR %s" % (self._quoted(), scroll, hold, text))
        self._declared = True

    def executemany(self, query: Any, vars_list: Iterable[Any]) -> None:
        """Send a query once for each of these parameters."""
        for one in vars_list:
            self.execute(query, one)

    def callproc(self, procname: str, parameters: Any = None) -> Any:
        """Call a function of the server's."""
        given = parameters or ()
        if isinstance(given, Mapping):
            names = (f"{ext.quote_ident(name, self._formats)}:=%s" for name in given)
            self.execute(f"SELECT * FROM {procname}({','.join(names)})", list(given.values()))
        else:
            marks = ",".join(["%s"] * len(given))
            self.execute(f"SELECT * FROM {procname}({marks})", given)
        return parameters

    def _send(self, text: bytes, given: Any = None) -> None:
        self._usable()
        self._sent, self._at, self._result = text, 0, None
        with self._connection.telling():
            self._speaks.execute(text)
            while self._speaks.nextset():
                pass
        self._result = self._speaks.pgresult

    def _usable(self) -> None:
        if self._closed:
            raise InterfaceError("cursor already closed")
        self._connection._usable()

    def _quoted(self) -> bytes:
        return str(ext.quote_ident(self._named, self._formats)).encode()

    # ---- what came back

    def _rows(self) -> int:
        if self._result is None or not self._result.nfields:
            raise ProgrammingError("no results to fetch")
        return int(self._result.ntuples)

    def _row(self, number: int) -> Any:
        values = [self._value(number, column) for column in range(self._result.nfields)]
        make = self.row_factory
        if make is None:
            return tuple(values)
        row = make(self)
        for column, value in enumerate(values):
            row[column] = value
        return row

    def _value(self, row: int, column: int) -> Any:
        kind, value = self._result.ftype(column), self._result.get_value(row, column)
        for types in (_types_of(self), _types_of(self._connection)):
            if kind in types:
                return types[kind](value, self._formats)
        return self._formats.cast(kind, value)

    def _fetch(self, size: int | None) -> list[Any]:
        self._usable()
        if self._named is not None:
            how = b"ALL" if size is None else b"%d" % size
            self._send(b"FETCH FORWARD %s FROM %s" % (how, self._quoted()))
            return [self._row(number) for number in range(self._rows())]
        end = self._rows() if size is None else min(self._rows(), self._at + size)
        first, self._at = self._at, end
        return [self._row(number) for number in range(first, end)]

    def fetchone(self) -> Any:
        """Return the next row; None if there is none."""
        found = self._fetch(1)
        return found[0] if found else None

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next rows."""
        return self._fetch(self.arraysize if size is None else size)

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        return self._fetch(None)

    def __iter__(self) -> Iterator[Any]:
        if self._named is None:
            return self
        return self._by_blocks()

    def _by_blocks(self) -> Iterator[Any]:
        while rows := self._fetch(self.itersize):
            yield from rows

    def __next__(self) -> Any:
        found = self._fetch(1)
        if not found:
            raise StopIteration
        return found[0]

    def scroll(self, value: int, mode: str = "relative") -> None:
        """Move among the rows."""
        if mode not in ("relative", "absolute"):
            raise ProgrammingError("scroll mode must be 'relative' or 'absolute'")
        if self._named is not None:
            how = b"MOVE %d FROM %s" if mode == "relative" else b"MOVE ABSOLUTE %d FROM %s"
            self._send(how % (value, self._quoted()))
            return
        to = value if mode == "absolute" else self._at + value
        if not 0 <= to < self._rows():
            raise ProgrammingError("scroll destination out of bounds")
        self._at = to

    def cast(self, oid: int, s: Any) -> Any:
        """Return a value that the server sends as text."""
        return self._formats.cast(oid, s)

    @property
    def description(self) -> Any:
        """What the columns are."""
        if self._result is None or not self._result.nfields:
            return None
        return tuple(self._column(number) for number in range(self._result.nfields))

    def _column(self, number: int) -> Any:
        result = self._result
        size, modifier = result.fsize(number), result.fmod(number)
        numeric = result.ftype(number) == _NUMERIC and modifier > 0
        name, kind = result.fname(number).decode(), result.ftype(number)
        if numeric:
            digits, scale = (modifier - 4) >> 16, (modifier - 4) & 0xFFFF
            return ext.Column(name, kind, None, digits, digits, scale, None)
        inside = modifier - 4 if size < 0 <= modifier else size
        return ext.Column(name, kind, None, inside, None, None, None)

    @property
    def rowcount(self) -> int:
        """How many rows were found, or changed; -1 where that is not known."""
        if self._result is None:
            return -1
        if self._result.nfields:
            return int(self._result.ntuples)
        found = self._result.command_tuples
        return -1 if found is None else int(found)

    @property
    def rownumber(self) -> int:
        """Which row comes next."""
        return self._at

    @property
    def statusmessage(self) -> str | None:
        """What the server said: `INSERT 0 1`."""
        said = None if self._result is None else self._result.command_status
        return None if said is None else str(said.decode())

    @property
    def query(self) -> bytes | None:
        """What was sent last."""
        return self._sent

    lastrowid = 0
    pgresult_ptr = None

    @property
    def name(self) -> str | None:
        """Of a cursor at the server."""
        return self._named

    @property
    def connection(self) -> Any:
        """Whose it is."""
        return self._connection

    @property
    def closed(self) -> bool:
        """Whether it, or its connection, is closed."""
        return self._closed or bool(self._connection.closed)

    def nextset(self) -> None:
        """Refuse, as psycopg2 does it."""
        from psycopg2 import NotSupportedError

        raise NotSupportedError("not supported by PostgreSQL")

    def setinputsizes(self, sizes: Any) -> None:
        """Do nothing, as psycopg2 does it."""

    def close(self) -> None:
        """Close it, and at the server too, if it has a name."""
        if self._closed:
            return
        if self._declared and not self._connection.closed:
            failed = self._connection.get_transaction_status() == ext.TRANSACTION_STATUS_INERROR
            if not failed:
                self._send(b"CLOSE %s" % self._quoted())
        self._closed = True
        self._speaks.close()

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ---- COPY

    def copy_expert(self, sql: Any, file: Any, size: int = _BLOCK) -> None:
        """Copy from a file, or to it."""
        text = self.mogrify(sql)
        self._sent, self._at, self._result = text, 0, None
        with self._connection.telling(), self._speaks.copy(text.decode()) as copy:
            if b"STDIN" in text.upper():
                while data := file.read(size):
                    copy.write(data)
            else:
                texts = isinstance(file, io.TextIOBase)
                for data in copy:
                    file.write(bytes(data).decode() if texts else bytes(data))
        self._result = self._speaks.pgresult

    def copy_from(
        self,
        file: Any,
        table: str,
        sep: str = "\t",
        null: str = r"\N",
        size: int = _BLOCK,
        columns: Sequence[str] | None = None,
    ) -> None:
        """Copy from a file into a table."""
        self.copy_expert(self._copying(table, columns, "FROM stdin", sep, null), file, size)

    def copy_to(
        self,
        file: Any,
        table: str,
        sep: str = "\t",
        null: str = r"\N",
        columns: Sequence[str] | None = None,
    ) -> None:
        """Copy a table into a file."""
        self.copy_expert(self._copying(table, columns, "TO stdout", sep, null), file)

    def _copying(
        self, table: str, columns: Sequence[str] | None, how: str, sep: str, null: str
    ) -> bytes:
        names = [ext.quote_ident(one, self._formats) for one in columns or ()]
        of = f" ({','.join(names)})" if names else ""
        where = f"COPY {ext.quote_ident(table, self._formats)}{of} {how} WITH DELIMITER AS "
        made: bytes = self._formats.mogrify(f"{where}%s NULL AS %s", (sep, null))
        return made


_NUMERIC: Final = 1700


def _types_of(owner: Any) -> dict[int, Any]:
    """Return how values are read by what was registered for a connection or a cursor alone."""
    kind = ext.connection if isinstance(owner, ext.connection) else ext.cursor
    found: dict[int, Any] | None = kind.string_types.__get__(owner)
    return found or {}


_CLASSES: Final[dict[type, type[Cursor]]] = {}


def class_of(factory: Any) -> type[Cursor]:
    """Return the class of cursors that a factory stands for, on ours."""
    if factory is None or factory is ext.cursor:
        return Cursor
    found = _CLASSES.get(factory)
    if found is None:
        if not isinstance(factory, type) or not issubclass(factory, ext.cursor):
            raise TypeError("cursor factory must be subclass of psycopg2.extensions.cursor")
        found = _CLASSES[factory] = type(factory.__name__, (factory, Cursor), {})
    return found
