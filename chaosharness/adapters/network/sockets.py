"""`socket`: sockets that plain code connects to an address of the system.

A real socket is made as always, and never connected: from `connect` on, what it sends and receives
is ours. Outside of a run, and to addresses that nobody of the system listens at, all is as it was.

Source:
    POSIX, `connect`, `send`, `recv`: errors and their numbers; Python documentation, "socket"
    (`settimeout`: an operation that takes too long raises TimeoutError); the `ssl` module's
    `wrap_socket`.

Not modelled:
    See `Host`: what a server sends unasked, faults of connecting, `select` and `poll`, UDP. Methods
    that are not there end the run and say so.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary

from chaosharness.adapters.dispatch import Library
from chaosharness.adapters.network.asking import Broken, Ended, Told, ask
from chaosharness.adapters.network.host import OpenHost, host_at, is_host
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.exchange import by_scope
from chaosharness.handlers.places import asked_at
from chaosharness.handlers.port import call_off, current_scope, sleep
from chaosharness.handlers.recall import of_stack
from chaosharness.kernel.scope import SCOPE


class Connection:
    """One connection of plain code: what has arrived, and what it has come to."""

    def __init__(self, host: OpenHost) -> None:
        self.host = host
        self.wire = host.wire()
        self.arrived = bytearray(getattr(self.wire, "greeting", b""))
        self.ended: Ended | None = None
        self.closed = False

    def send(self, data: bytes, timeout_s: float | None) -> None:
        """Have the server get bytes, and wait for its answers to what they ask for."""
        if self.ended == "reset" or self.closed:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if self.ended is not None:
            return  # into the void
        for method, fields in self.wire.asked(data):
            try:
                value = blocking(ask)(self.host, self.wire, method, fields, timeout_s)
            except Told as told:
                self.arrived += told.data
            except Broken as broken:
                self.ended = broken.ended
                return
            else:
                self.arrived += self.wire.answer(method, value)

    def receive(self, most: int, timeout_s: float | None, *, peek: bool = False) -> bytes:
        """Take what has arrived, or raise what a socket raises where nothing will."""
        if self.arrived or self.closed:
            found = bytes(self.arrived[:most])
            if not peek:
                del self.arrived[:most]
            return found
        if timeout_s == 0:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        if self.ended == "reset":
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if self.ended is None:  # a silence has lasted as long as the socket waits
            wait_s = self.host.part.timeout_ms / 1000 if timeout_s is None else timeout_s
            sleep(wait_s, of_stack, sys._getframe(2), blocking=True)
        if timeout_s is None:
            self.ended = "reset"
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        raise TimeoutError("timed out")


_OURS: Final[WeakKeyDictionary[socket.socket, Connection]] = WeakKeyDictionary()
_NONE: Final = ("accept", "bind", "listen", "recvmsg", "recvmsg_into", "sendto", "recvfrom_into")


def _mine(sock: Any, *, of_run: bool = True) -> Connection | None:
    connection = _OURS.get(sock)
    if connection is None or not of_run:
        return connection
    scope = SCOPE.get()
    if scope is not None and connection.host.world is not scope.world:
        call_off(
            InvalidDefinition(
                f"{scope.place} uses a socket to {connection.host.name!r} that was connected in an "
                f"earlier run{asked_at()}: connect inside the function that builds the service, "
                "and keep it in no global"
            )
        )
    return connection


def _connect(real: Any, self: Any, address: Any) -> Any:
    scope = current_scope("socket.connect")
    host = host_at(scope.world, address) if isinstance(address, tuple) else None
    if host is None:
        return real(self, address)
    _OURS[self] = Connection(host)
    return None


def _connect_ex(real: Any, self: Any, address: Any) -> Any:
    _connect(real, self, address)
    return 0


def _sendall(real: Any, self: Any, data: Any, flags: int = 0) -> Any:
    connection = _mine(self)
    if connection is None:
        return real(self, data, flags)
    connection.send(bytes(data), self.gettimeout())
    return None


def _send(real: Any, self: Any, data: Any, flags: int = 0) -> Any:
    connection = _mine(self)
    if connection is None:
        return real(self, data, flags)
    connection.send(bytes(data), self.gettimeout())
    return len(data)


def _sendmsg(real: Any, self: Any, buffers: Any, *rest: Any) -> Any:
    connection = _mine(self)
    if connection is None:
        return real(self, buffers, *rest)
    return _send(real, self, b"".join(bytes(one) for one in buffers))


def _recv(real: Any, self: Any, bufsize: int, flags: int = 0) -> Any:
    connection = _mine(self)
    if connection is None:
        return real(self, bufsize, flags)
    return connection.receive(bufsize, self.gettimeout(), peek=bool(flags & socket.MSG_PEEK))


def _recvfrom(real: Any, self: Any, bufsize: int, flags: int = 0) -> Any:
    connection = _mine(self)
    if connection is None:
        return real(self, bufsize, flags)
    return _recv(real, self, bufsize, flags), connection.host.at


def _recv_into(real: Any, self: Any, buffer: Any, nbytes: int = 0, flags: int = 0) -> Any:
    connection = _mine(self)
    if connection is None:
        return real(self, buffer, nbytes, flags)
    view = memoryview(buffer).cast("B")
    found = connection.receive(nbytes or len(view), self.gettimeout())
    view[: len(found)] = found
    return len(found)


def _getpeername(real: Any, self: Any) -> Any:
    connection = _mine(self)
    return real(self) if connection is None else connection.host.at


def _getsockname(real: Any, self: Any) -> Any:
    return real(self) if _mine(self) is None else ("127.0.0.1", 49_152)


def _shutdown(real: Any, self: Any, how: int) -> Any:
    connection = _mine(self)
    if connection is None:
        return real(self, how)
    connection.closed = connection.closed or how != socket.SHUT_RD
    return None


def _getaddrinfo(real: Any, host: Any, port: Any, *rest: Any, **options: Any) -> Any:
    if not is_host(current_scope("socket.getaddrinfo").world, host):
        return real(host, port, *rest, **options)
    name = host.decode("latin-1") if isinstance(host, bytes) else host
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (name, int(port)))]


def _gethostbyname(real: Any, hostname: Any) -> Any:
    scope = current_scope("socket.gethostbyname")
    return hostname if is_host(scope.world, hostname) else real(hostname)


def _wrap_socket(real: Any, self: Any, sock: Any, *rest: Any, **options: Any) -> Any:
    return real(self, sock, *rest, **options) if _mine(sock) is None else sock


def _refusing(name: str) -> Any:
    def refuse(real: Any, self: Any, *rest: Any, **options: Any) -> Any:
        connection = _mine(self)
        return real(self, *rest, **options) if connection is None else _not_there(name, connection)

    return refuse


def _not_there(name: str, connection: Connection) -> NoReturn:
    call_off(
        InvalidDefinition(
            f"socket: {name} of a connection to {connection.host.name!r} is not modelled"
            f"{asked_at()}. Leave it out of the code under test, or put a port in its place"
        )
    )


_METHODS: Final[dict[str, Callable[..., Any]]] = {
    "connect": _connect,
    "connect_ex": _connect_ex,
    "sendall": _sendall,
    "send": _send,
    "sendmsg": _sendmsg,
    "recv": _recv,
    "recvfrom": _recvfrom,
    "recv_into": _recv_into,
    "getpeername": _getpeername,
    "getsockname": _getsockname,
    "shutdown": _shutdown,
    **{name: _refusing(name) for name in _NONE},
}
WRAP: Final = "wrap_socket"
_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "getaddrinfo": _getaddrinfo,
    "gethostbyname": _gethostbyname,
}


def _meet() -> None:
    """Put ours before the methods that a socket has from C, which have no signature to look at."""
    for name, ours in _METHODS.items():
        setattr(socket.socket, name, by_scope(getattr(socket.socket, name), ours))
    for name, ours in _FUNCTIONS.items():
        setattr(socket, name, by_scope(getattr(socket, name), ours))
    setattr(ssl.SSLContext, WRAP, by_scope(getattr(ssl.SSLContext, WRAP), _wrap_socket))


LIBRARY: Final = Library("socket", tested=">=3.11", warm=_meet)
