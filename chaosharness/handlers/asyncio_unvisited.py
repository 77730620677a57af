"""Servers of asyncio code that nobody of the system calls, and datagrams that nobody reads.

Source:
    Python documentation, "Event Loop": `create_server`, `create_datagram_endpoint`, "Server
    Objects"; "Transports and Protocols": datagram transports.

Not modelled:
    As in `handlers.unvisited`: callers, and datagrams that come back.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

from chaosharness.handlers.unvisited import datagrams_to, listens_at, port_of

__all__ = ["UnvisitedLoop"]


class Server(asyncio.AbstractServer):
    """A server that waits for calls, which never come."""

    def __init__(self, loop: asyncio.AbstractEventLoop, addresses: Sequence[Any]) -> None:
        self._loop = loop
        self._addresses = addresses
        self._serving = False
        self._closed: asyncio.Future[None] = loop.create_future()

    @property
    def sockets(self) -> tuple[Any, ...]:
        """What it listens by: each says its address."""
        return () if self._closed.done() else tuple(map(_Listening, self._addresses))

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that it belongs to."""
        return self._loop

    def is_serving(self) -> bool:
        """Say whether it takes calls."""
        return self._serving and not self._closed.done()

    async def start_serving(self) -> None:
        """Take calls from here on."""
        if not self._serving:
            self._serving = True
            for address in self._addresses:
                listens_at(address)

    async def serve_forever(self) -> None:
        """Take calls until it is closed, or this is cancelled."""
        await self.start_serving()
        try:
            await asyncio.shield(self._closed)
        finally:
            self.close()
        raise asyncio.CancelledError

    def close(self) -> None:
        """Take no more calls."""
        if not self._closed.done():
            self._closed.set_result(None)

    def close_clients(self) -> None:
        """Close the connections of callers: there are none."""

    def abort_clients(self) -> None:
        """Close the connections of callers at once: there are none."""

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        await asyncio.shield(self._closed)


class _Listening:
    """What stands for a socket that listens."""

    def __init__(self, address: Any) -> None:
        self._address = address
        self.type = socket.SOCK_STREAM
        of_path = isinstance(address, str)
        plain = socket.AF_UNIX if of_path else socket.AF_INET
        self.family = socket.AF_INET6 if not of_path and ":" in address[0] else plain

    def getsockname(self) -> Any:
        """Return its address."""
        return self._address


class Datagrams(asyncio.DatagramTransport):
    """Where datagrams are sent, and lost."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, to: Any, at: Any) -> None:
        super().__init__({"peername": to, "sockname": at})
        self._loop = loop
        self._protocol = protocol
        self._to = to
        self._closed = False
        loop.call_soon(protocol.connection_made, self)

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one: it goes past this world."""
        if not self._closed:
            datagrams_to(addr or self._to)

    def is_closing(self) -> bool:
        """Say whether it is closed."""
        return self._closed

    def close(self) -> None:
        """Send nothing more."""
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close


class UnvisitedLoop(asyncio.AbstractEventLoop):
    """Has servers listen, and datagrams lost."""

    async def create_server(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        """Listen at an address, or at several."""
        sock = options.get("sock")
        if sock is not None:
            addresses = [sock.getsockname()]
        else:
            hosts = [host] if host is None or isinstance(host, str) else host
            addresses = [(one or "0.0.0.0", port_of(port)) for one in hosts]
        return await self._serve(addresses, options)

    async def create_unix_server(
        self, protocol_factory: Any, path: Any = None, **options: Any
    ) -> Any:
        """Listen at a path."""
        return await self._serve([str(path)], options)

    async def _serve(self, addresses: Sequence[Any], options: dict[str, Any]) -> Server:
        server = Server(self, addresses)
        if options.get("start_serving", True):
            await server.start_serving()
        return server

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], Any],
        local_addr: Any = None,
        remote_addr: Any = None,
        **options: Any,
    ) -> Any:
        """Open a socket for datagrams."""
        protocol = protocol_factory()
        at = local_addr or ("0.0.0.0", port_of(0))
        return Datagrams(self, protocol, remote_addr, at), protocol
