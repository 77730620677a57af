"""One connection to a running broker of Kafka: requests in, answers out, in a known order."""

from __future__ import annotations

import selectors
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

ANSWER_S: Final = 10.0
READ_S: Final = 0.002


class Connection:
    """One connection to a broker; a request may be answered later."""

    def __init__(self, port: int) -> None:
        from kafka.protocol.parser import KafkaProtocol

        self._parser = KafkaProtocol(client_id="chaosharness")
        self.socket = socket.create_connection(("127.0.0.1", port), ANSWER_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, request: Any) -> None:
        """Send a request."""
        self._parser.send_request(request)
        self.socket.sendall(self._parser.send_bytes())

    def receive(self, timeout_s: float = ANSWER_S) -> Any:
        """Return an answer; None if there is none for so long."""
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            while True:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    return None
                data = self.socket.recv(1 << 16)
                if not data:
                    raise ConnectionError("the broker has closed the connection")
                found = self._parser.receive_bytes(data)
                if found:
                    return found[0][1]

    def ask(self, request: Any) -> Any:
        """Send a request, and wait for the answer."""
        self.send(request)
        answer = self.receive()
        assert answer is not None, f"no answer to {request}"
        return answer

    def wait_until_read(self, timeout_s: float = ANSWER_S) -> None:
        """Wait until the broker has read what was sent: what another connection sends is later.

        The kernel says how much of it lies unread at the broker's end; where it says nothing, as
        on a Mac, it is given a moment.
        """
        here, there = self.socket.getsockname()[1], self.socket.getpeername()[1]
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            unread = _unread(local=there, remote=here)
            if not unread:
                break
            time.sleep(READ_S)
        time.sleep(READ_S)  # it is at work on it

    def close(self) -> None:
        """Close it."""
        self.socket.close()


def _unread(*, local: int, remote: int) -> int:
    """Return how many bytes one end of a connection on this machine has not read yet."""
    ends = (f":{local:04X}", f":{remote:04X}")
    with suppress(OSError):
        for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
            words = line.split()
            if (words[1][-5:], words[2][-5:]) == ends:
                return int(words[4].partition(":")[2], 16)
    return 0
