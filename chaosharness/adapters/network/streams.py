"""asyncio: the transport of a connection to an address of the system.

Source:
    Python documentation, "Transports and Protocols"; CPython, `asyncio/selector_events.py` (what is
    called when, and `connection_lost` once).
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import Any

from chaosharness.adapters.network.asking import Broken, Listener, Told, ask


class Stream(asyncio.Transport):
    """One connection of asyncio code. What is written is asked for at once, in order."""

    def __init__(self, host: Listener, protocol: Any, loop: Any) -> None:
        super().__init__({"peername": host.at, "sockname": ("127.0.0.1", 49_152)})
        self._host = host
        self._wire = host.wire()
        self._loop = loop
        self._protocol = protocol
        self._last: asyncio.Task[None] | None = None
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._closing = False
        self._silent = False
        loop.call_soon(protocol.connection_made, self)
        greeting: bytes = getattr(self._wire, "greeting", b"")
        if greeting:
            loop.call_soon(self._receive, greeting)

    # ---- what a client calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, on behalf of the task that writes."""
        if self._closing or self._silent:
            return
        task = self._loop.create_task(self._serve(bytes(data), self._last))
        self._last = task
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def get_protocol(self) -> Any:
        """Return who is told of what arrives."""
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        """Have another one told of what arrives."""
        self._protocol = protocol

    def is_closing(self) -> bool:
        """Say whether it is closed, or about to be."""
        return self._closing

    def close(self) -> None:
        """Close it: what is under way is not waited for."""
        self._end(None)

    def abort(self) -> None:
        """Close it at once."""
        self._end(None)

    def can_write_eof(self) -> bool:
        """Say whether one direction can be closed: it can."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more is sent; what is under way is still answered."""

    def is_reading(self) -> bool:
        """Say whether it is open."""
        return not self._closing

    def pause_reading(self) -> None:
        """Go on: what arrives is small."""

    def resume_reading(self) -> None:
        """Go on."""

    def get_write_buffer_size(self) -> int:
        """Return how much has not been sent: nothing."""
        return 0

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the limits, which are never reached."""
        return 0, 65_536

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Accept them."""

    # ---- what the server does

    async def _serve(self, data: bytes, before: asyncio.Task[None] | None) -> None:
        if before is not None and not before.done():
            await asyncio.wait([before])
        if self._closing or self._silent:
            return
        for method, fields in self._wire.asked(data):
            try:
                value: Any = ask(self._host, self._wire, method, fields, None)
                if hasattr(value, "__await__"):
                    value = await value
            except Told as told:
                self._receive(told.data)
            except Broken:
                self._end(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
                return
            else:
                self._receive(self._wire.answer(method, value))

    def _receive(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    def _end(self, error: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        own = asyncio.current_task(self._loop) if self._tasks else None
        for task in [*self._tasks]:
            if task is not own:
                task.cancel()
        self._loop.call_soon(self._protocol.connection_lost, error)
