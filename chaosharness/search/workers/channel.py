"""Messages between two processes, over pipes: a length, then so many bytes."""

from __future__ import annotations

import os
import select
import struct
from typing import Final

_LENGTH: Final = struct.Struct("<I")


class Closed(Exception):
    """The other side is gone."""


class Late(Exception):
    """The other side said nothing for too long."""


class Channel:
    """One end of a two-way connection: a file descriptor to read, another to write."""

    def __init__(self, reads: int, writes: int) -> None:
        self.reads = reads
        self.writes = writes

    def send(self, message: bytes) -> None:
        """Send a message whole.

        Raises:
            Closed: Nobody reads it.
        """
        left = memoryview(_LENGTH.pack(len(message)) + message)
        try:
            while left:
                left = left[os.write(self.writes, left) :]
        except OSError:
            raise Closed from None

    def receive(self, patience_s: float | None = None) -> bytes:
        """Return the next message.

        Args:
            patience_s: How long to wait for each part of it, where the platform can say; by
                default for ever.

        Raises:
            Closed: There will be none.
            Late: Nothing came.
        """
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size, patience_s))
        return self._exactly(length, patience_s)

    def _exactly(self, count: int, patience_s: float | None) -> bytes:
        parts = []
        while count:
            if patience_s is not None and not self.has_news(patience_s):
                raise Late
            try:
                part = os.read(self.reads, min(count, 1 << 16))
            except OSError:
                raise Closed from None
            if not part:
                raise Closed
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def has_news(self, patience_s: float = 0) -> bool:
        """Say whether there is something to read, or an end; where nobody can say it, yes."""
        if not hasattr(select, "poll"):
            return True
        poll = select.poll()
        poll.register(self.reads, select.POLLIN)
        return bool(poll.poll(patience_s * 1000))

    def close(self) -> None:
        """Close both directions."""
        for one in (self.reads, self.writes):
            if one >= 0:
                os.close(one)
        self.reads = self.writes = -1
