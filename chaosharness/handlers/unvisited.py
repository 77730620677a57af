"""What a service opens for others than the system's parts: metrics, health checks, statistics.

A server listens, and nobody of the system knows its address: who calls it would be Prometheus or a
kubelet. So it waits for calls that never come, in virtual time. A datagram that is sent to an
address outside is lost, as any may be. A run remembers both (`World.past`): reports name what went
past it.

Source:
    POSIX, `bind`, `listen`, `accept`, `sendto`; Python documentation, "socket" (`settimeout`),
    "selectors" and "asyncio" (`loop.create_server`, "Server Objects"); RFC 768 (UDP: delivery is
    not guaranteed).

Not modelled:
    Callers: the code that answers them is never run. An address that is taken already. Datagrams
    whose sender waits for an answer are refused, by `recv` and its like, and so are connections of
    datagrams to a name that only a resolver knows, where the code asks for its numbers.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from chaosharness.handlers.exchange import by_scope, exchange
from chaosharness.handlers.port import current_scope

__all__ = ["REFUSES", "datagrams_to", "install", "is_unvisited", "listens_at", "port_of"]

OWN: Final = frozenset(("", "0.0.0.0", "127.0.0.1", "::", "::1", "localhost"))
"""Names of the machine itself, which need no resolver."""

_PORTS_FROM: Final = 49_152
"""What a system gives to who asks for any port (RFC 6335)."""


REFUSES: Final[list[Callable[[str], object]]] = []
"""Asked with the call as text, where it would leave the simulated world: raises."""


class Unvisited:
    """A socket that waits for calls, or sends datagrams.

    Attributes:
        at: Its own address, where it has been given one.
        to: Where it sends datagrams, unless it says so with each.
        asked: Where the last one went: its sender may wait for an answer.
    """

    __slots__ = ("asked", "at", "to")

    def __init__(self) -> None:
        self.at: Any = None
        self.to: Any = None
        self.asked: Any = None


_OURS: Final[WeakKeyDictionary[socket.socket, Unvisited]] = WeakKeyDictionary()


def listens_at(address: Any) -> None:
    """Remember that a service waits for calls at an address."""
    current_scope("listen").world.past.add(f"callers of {_shown(address)}")


def datagrams_to(address: Any) -> None:
    """Remember that a service sends datagrams to an address."""
    current_scope("sendto").world.past.add(f"datagrams to {_shown(address)}")


def port_of(port: Any) -> int:
    """Return the port that a socket gets which has asked for this one."""
    return int(port or _PORTS_FROM)


def _shown(address: Any) -> str:
    if isinstance(address, tuple) and len(address) > 1:
        return f"{address[0] or '0.0.0.0'}:{address[1]}"
    return str(address)


def is_unvisited(sock: Any) -> bool:
    """Say whether a socket waits for calls that never come."""
    return isinstance(sock, socket.socket) and sock in _OURS


def _wait_for_nobody(timeout_s: float | None) -> None:
    """Wait as long as somebody may come: for ever, or so many seconds."""
    threading.Event().wait(timeout_s)


def _is_datagram(sock: socket.socket) -> bool:
    return sock.type == socket.SOCK_DGRAM and sock.family != getattr(socket, "AF_UNIX", None)


def _bind(real: Any, self: Any, address: Any) -> None:
    ours = _OURS.setdefault(self, Unvisited())
    named = isinstance(address, tuple) and len(address) > 1
    ours.at = (address[0], port_of(address[1]), *address[2:]) if named else address


def _listen(real: Any, self: Any, *backlog: Any) -> None:
    ours = _OURS.get(self)
    if ours is None:
        real(self, *backlog)
    else:
        listens_at(ours.at)


def _accept(real: Any, self: Any) -> Any:
    if self not in _OURS:
        return real(self)
    timeout_s = self.gettimeout()
    if timeout_s == 0:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    _wait_for_nobody(timeout_s)
    raise TimeoutError("timed out")


def _connect(real: Any, self: Any, address: Any) -> Any:
    if not _is_datagram(self):
        return real(self, address)
    ours = _OURS.setdefault(self, Unvisited())
    ours.to = address
    ours.at = ours.at or ("127.0.0.1", _PORTS_FROM)
    return None


def _sent(sock: Any, data: Any, address: Any) -> int:
    _OURS.setdefault(sock, Unvisited()).asked = address
    datagrams_to(address)
    return memoryview(data).nbytes


def _receiving(name: str) -> Callable[..., Any]:
    def receive(real: Any, self: Any, *rest: Any, **options: Any) -> Any:
        """Wait for datagrams, which never come; refuse where one has asked for an answer."""
        ours = _OURS.get(self)
        if ours is None:
            return real(self, *rest, **options)
        if ours.asked is not None:
            for refuse in REFUSES:
                refuse(f"socket.{name}({ours.asked!r})")
        return _accept(real, self)

    return receive


def _sendto(real: Any, self: Any, data: Any, *rest: Any) -> Any:
    if not _is_datagram(self):
        return real(self, data, *rest)
    return _sent(self, data, rest[-1])


def _send(real: Any, self: Any, data: Any, *flags: Any) -> Any:
    ours = _OURS.get(self)
    if ours is None or ours.to is None:
        return real(self, data, *flags)
    return _sent(self, data, ours.to)


def _sendall(real: Any, self: Any, data: Any, *flags: Any) -> Any:
    ours = _OURS.get(self)
    if ours is None or ours.to is None:
        return real(self, data, *flags)
    _sent(self, data, ours.to)
    return None


def _getsockname(real: Any, self: Any) -> Any:
    ours = _OURS.get(self)
    return real(self) if ours is None or ours.at is None else ours.at


_METHODS: Final[dict[str, Callable[..., Any]]] = {
    "accept": _accept,
    "bind": _bind,
    "connect": _connect,
    "getsockname": _getsockname,
    "listen": _listen,
    "send": _send,
    "sendall": _sendall,
    "sendto": _sendto,
    **{name: _receiving(name) for name in ("recv", "recv_into", "recvfrom", "recvfrom_into")},
}


def _getaddrinfo(real: Any, host: Any, port: Any, *rest: Any, **more: Any) -> Any:
    """Look up a name of the machine itself, or where a datagram goes: without any resolver."""
    kind = more.get("type", rest[1] if len(rest) > 1 else 0)
    name = host.decode("latin-1") if isinstance(host, bytes) else host
    if name not in OWN and name is not None and kind != socket.SOCK_DGRAM:
        return real(host, port, *rest, **more)
    family = socket.AF_INET6 if ":" in (name or "") else socket.AF_INET
    number = "127.0.0.1" if name in ("localhost", None) else name or "0.0.0.0"
    at: tuple[Any, ...] = (number, _number_of(port))
    kind = kind or socket.SOCK_STREAM
    protocol = socket.IPPROTO_UDP if kind == socket.SOCK_DGRAM else socket.IPPROTO_TCP
    return [(family, kind, protocol, "", at if family == socket.AF_INET else (*at, 0, 0))]


def _number_of(port: Any) -> int:
    text = port.decode() if isinstance(port, bytes) else port
    named = isinstance(text, str) and not text.isdecimal()
    return socket.getservbyname(text) if named else int(text or 0)


def _gethostbyname(real: Any, hostname: Any) -> Any:
    return "127.0.0.1" if hostname == "localhost" else real(hostname)


def _getfqdn(real: Any, name: str = "") -> Any:
    return "localhost" if name in OWN else real(name)


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "getaddrinfo": _getaddrinfo,
    "getfqdn": _getfqdn,
    "gethostbyname": _gethostbyname,
}


def _select(real: Any, self: Any, timeout: float | None = None) -> Any:
    """Wait at sockets that nobody calls, as a server of `socketserver` does, again and again."""
    waiting = self.get_map() or {}
    ours = {one.fileno() for one in _OURS} if waiting else set()
    if not waiting or not ours.issuperset(waiting):
        return real(self, timeout)
    if timeout is None or timeout > 0:
        _wait_for_nobody(timeout)
    return []


def install() -> None:
    """Put them there, once and for good; outside of runs they are the real ones."""
    for name, ours in _METHODS.items():
        setattr(socket.socket, name, by_scope(getattr(socket.socket, name), ours))
    for name, ours in _FUNCTIONS.items():
        real = getattr(socket, name)
        exchange(real, by_scope(real, ours))
    for name in ("SelectSelector", "PollSelector", "EpollSelector", "KqueueSelector"):
        kind = getattr(selectors, name, None)
        if kind is not None:
            kind.select = by_scope(kind.select, _select)
