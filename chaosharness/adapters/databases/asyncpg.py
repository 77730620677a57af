"""asyncpg on a real server: a `PostgreSQL` store.

asyncpg writes the bytes of PostgreSQL's protocol to a transport of the event loop. Here that
transport passes them on to the server, a message at a time, in virtual time: what is executed is a
site, and its answer is handed out when it is complete.

Source:
    PostgreSQL 15 documentation, "Frontend/Backend Protocol", "Message Formats". asyncpg 0.30 to
    0.32, `connect_utils.py`, `protocol/coreproto.pyx`.

Not modelled:
    `copy_*` methods, TLS, passwords. The request to cancel, which asyncpg sends when `timeout=` or
    `command_timeout=` is over, comes too late each time, as it may: what was executed stays so,
    and a statement that waits for a lock goes on waiting (`SET statement_timeout` ends it).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any, Final

from asyncpg import protocol

from chaosharness.adapters.databases.psycopg import store_at
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.spoken import note_spoken
from chaosharness.handlers.port import current_scope
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Scope
from chaosharness.stores.durable import QUIET
from chaosharness.stores.postgresql.server import READY, READY_BYTES
from chaosharness.stores.postgresql.session import ServerError, Session, Visit
from chaosharness.stores.postgresql.statement import Statement

_STARTUP: Final = 196_608
_OWN: Final = frozenset({"user", "database", "client_encoding"})
_TOLD: Final = (
    *("server_version", "server_encoding", "client_encoding", "DateStyle", "IntervalStyle"),
    *("integer_datetimes", "standard_conforming_strings", "TimeZone", "is_superuser"),
)
_UNSEEN: Final = ("typeinfo_tree", "SELECT pg_advisory_unlock_all()")
"""In what asyncpg asks by itself: about types, and when a connection goes back to its pool."""

_STATUS: Final = {b"I": 0, b"T": 2}


async def _connect(
    real: Any,
    params: Any,
    retry: Any,
    addr: Any,
    loop: Any,
    config: Any,
    connection_class: Any,
    record_class: Any,
    params_input: Any,
) -> Any:
    scope = current_scope("asyncpg.connect")
    host = addr[0] if isinstance(addr, tuple) else ""
    store = store_at(scope, host, params.database or "", "asyncpg")
    if store.down:
        raise ConnectionRefusedError(111, f"Connect call failed ({host!r})")
    session = store.session(scope.incarnation)
    note_spoken(scope, "asyncpg", f"{store.name}.connect")
    connected = loop.create_future()
    made = protocol.Protocol(addr, connected, params, record_class, loop)
    transport = Transport(session, made, loop)
    made.connection_made(transport)
    await connected
    connection = connection_class(made, transport, loop, addr, config, params_input)
    made.set_connection(connection)
    return connection


class Transport:
    """What asyncpg writes to, and hears from."""

    def __init__(self, session: Session, client: Any, loop: Any) -> None:
        self._session = session
        self._client = client
        self._loop = loop
        self._context = copy_context()
        self._names: dict[bytes, str] = {}
        self._portals: dict[bytes, bytes] = {}
        self._started = False
        self._batch: list[tuple[bytes, bytes]] = []
        self._closed = False
        session.backend.raw = 0
        session.on_break = self._lost
        session.on_heard = self._notify

    # ---- as asyncio has it

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return nothing: there is no socket to be looked at."""
        return default

    def is_closing(self) -> bool:
        """Say whether it is closed."""
        return self._closed

    def pause_reading(self) -> None:
        """Nothing comes in pieces."""

    resume_reading = pause_reading

    def writelines(self, parts: Any) -> None:
        """Send several pieces."""
        self.write(b"".join(parts))

    def write(self, data: Any) -> None:
        """Take what is written, and send it on as soon as it asks for an answer."""
        data = bytes(data)
        if not self._started:
            self._started = True
            self._start(data)
            return
        for kind, body in _messages(data):
            if kind == b"X":
                self.close()  # it says good-bye, and waits for the server to hang up
                return
            self._batch.append((kind, body))
            if kind in (b"S", b"Q", b"H"):
                batch, self._batch = self._batch, []
                scope = current_scope("a connection of asyncpg's")
                drive_in_kernel(self._pass(scope, batch, QUIET.get()), scope.world)

    def close(self) -> None:
        """Close the connection."""
        if not self._closed:
            self._session.close()
            self._lost()

    abort = close

    def _lost(self) -> None:
        """Tell asyncpg that the connection is gone, if its process is still there to hear it."""
        if self._closed:
            return
        self._closed = True
        if not self._loop.dead:
            self._loop.call_soon(self._client.connection_lost, None, context=self._context.copy())

    def _hand_out(self, answer: bytes) -> None:
        if not self._closed and not self._loop.dead:
            self._loop.call_soon(self._hear, answer, context=self._context.copy())

    def _hear(self, answer: bytes) -> None:
        if not self._closed:
            self._client.data_received(answer)

    # ---- the protocol

    def _start(self, data: bytes) -> None:
        """Answer as the server did when the connection was made."""
        assert struct.unpack_from("!i", data, 4)[0] == _STARTUP
        words = data[8:].split(b"\0")
        asked = dict(zip(words[::2], words[1::2], strict=False))
        session = self._session
        for name, value in asked.items():
            if name and name.decode() not in _OWN:
                session.configure(f"-c {name.decode()}={value.decode()}")
        pgconn = session.backend.pgconn
        answer = [_message(b"R", struct.pack("!i", 0))]
        for setting in _TOLD:
            known = pgconn.parameter_status(setting.encode())
            if known is not None:
                answer.append(_message(b"S", setting.encode() + b"\0" + known + b"\0"))
        answer.append(_message(b"K", struct.pack("!ii", session.backend.pid, 0)))
        answer.append(_message(b"Z", b"I"))
        self._hand_out(b"".join(answer))

    def _pass(self, scope: Scope, batch: list[tuple[bytes, bytes]], quiet: bool) -> Script[None]:
        """Pass a batch of messages on to the server, and its answer back."""
        session = self._session
        statement = self._read(batch)
        visit: Visit | None = None
        try:
            if statement is not None:
                quiet = quiet or any(one in statement.sql for one in _UNSEEN)
                visit = yield from session.arrive(scope, statement, None, quiet)
            elif session.broken:
                raise ServerError("", session.broken)
            before = session.backend.status
            self._send(batch)
            answer = yield from self._await(scope, batch[-1][0], before)
            if visit is not None:
                error = _error_in(answer)
                if error is None:
                    yield from session.succeed(visit, _rows_in(answer))
                else:
                    instead = session.fail(visit, error)
                    answer = answer if instead is None else _replaced(answer, instead)
        except ServerError as error:
            if error.code:
                self._hand_out(_replaced(b"", error) + _message(b"Z", b"I"))
            else:
                self._lost()
            return
        self._hand_out(answer)

    def _read(self, batch: list[tuple[bytes, bytes]]) -> Statement | None:
        """Return the statement that a batch executes; have its texts ask the run."""
        executed: str | None = None
        learn = self._session.store.learn
        for number, (kind, body) in enumerate(batch):
            if kind == b"Q":
                executed = body[:-1].decode()
                batch[number] = (kind, learn(executed).sql.encode() + b"\0")
            elif kind == b"P":
                name, text, rest = body.split(b"\0", 2)
                self._names[name] = text.decode()
                sql = learn(text.decode()).sql.encode()
                batch[number] = (kind, b"\0".join((name, sql, rest)))
            elif kind == b"B":
                portal, name, _ = body.split(b"\0", 2)
                self._portals[portal] = name
            elif kind == b"E":
                portal = body.partition(b"\0")[0]
                executed = self._names.get(self._portals.get(portal, b""), "")
        return None if executed is None else learn(executed)

    def _send(self, batch: list[tuple[bytes, bytes]]) -> None:
        backend = self._session.backend
        data = b"".join(_message(kind, body) for kind, body in batch)
        backend.raw = 1
        while data:
            try:
                data = data[os.write(backend.pgconn.socket, data) :]
            except BlockingIOError:
                backend.readable(0.001)

    def _await(self, scope: Scope, last: bytes, before: int) -> Script[bytes]:
        """Wait for the whole of an answer."""
        session = self._session
        answer = b""
        while not _is_whole(answer, last):
            yield from session.wait(scope, None)
            answer += os.read(session.backend.pgconn.socket, 65_536)
        ready = answer[-READY_BYTES:-1] == READY
        session.backend.raw = _STATUS.get(answer[-1:], 3) if ready else before
        return answer

    def _notify(self) -> None:
        """Hand out what others have notified."""
        heard, self._session.heard = self._session.heard, []
        for one in heard:
            body = struct.pack("!i", one.be_pid) + one.relname + b"\0" + one.extra + b"\0"
            self._hand_out(_message(b"A", body))


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _messages(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place + 5 <= len(data):
        (length,) = struct.unpack_from("!i", data, place + 1)
        if place + 1 + length > len(data):
            return
        yield data[place : place + 1], data[place + 5 : place + 1 + length]
        place += 1 + length


def _is_whole(answer: bytes, last: bytes) -> bool:
    """Say whether an answer is complete: to what was sent last, Sync and Query, or Flush."""
    if last != b"H":
        return len(answer) >= READY_BYTES and answer[-READY_BYTES:-1] == READY
    kinds = [kind for kind, _ in _messages(answer)]
    return any(kind in (b"T", b"n", b"E") for kind in kinds)


def _error_in(answer: bytes) -> ServerError | None:
    for kind, body in _messages(answer):
        if kind == b"E":
            fields = {part[:1]: part[1:].decode() for part in body.split(b"\0") if part}
            return ServerError(fields.get(b"C", ""), fields.get(b"M", ""))
    return None


def _rows_in(answer: bytes) -> int:
    """Return how many rows a statement has touched, as its tag says."""
    for kind, body in _messages(answer):
        if kind == b"C":
            word = body[:-1].rpartition(b" ")[2]
            return int(word) if word.isdigit() else 0
    return 0


def _replaced(answer: bytes, error: ServerError) -> bytes:
    """Return an answer with another error in it."""
    fields = (b"SERROR", b"VERROR", b"C" + error.code.encode(), b"M" + str(error).encode())
    told = _message(b"E", b"\0".join(fields) + b"\0\0")
    kept = [_message(kind, body) for kind, body in _messages(answer) if kind != b"E"]
    return told + b"".join(kept)


_TAKES: Final = (
    *("params", "retry", "addr", "loop", "config"),
    *("connection_class", "record_class", "params_input"),
)


async def _cancel(real: Any, **given: Any) -> None:
    """Ask the server to cancel a statement: it comes too late."""
    note_spoken(current_scope("asyncpg.cancel"), "asyncpg", "cancel")


_CANCELS: Final = ("loop", "addr", "params", "backend_pid", "backend_secret")

LIBRARY: Final = Library(
    "asyncpg",
    tested=">=0.30,<0.33",
    seams=(
        Seam("asyncpg.connect_utils:__connect_addr", _TAKES, _connect),
        Seam("asyncpg.connect_utils:_cancel", _CANCELS, _cancel),
    ),
)
