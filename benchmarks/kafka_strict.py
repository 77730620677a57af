"""A broker of Kafka's that makes no topics by itself, as `auto.create.topics.enable=false`.

`noida-db` makes whatever is asked for. Between it and its clients stands a relay here, which takes
the wish to have topics made out of each request for metadata, and names itself as the broker.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from benchmarks.kafka_peers import running

METADATA: Final = 3
HOST: Final = b"127.0.0.1"
FROM_END: Final = {**dict.fromkeys(range(4, 8), 1), 8: 3, 9: 4, 10: 4, 11: 3, 12: 3, 13: 3}
"""By the version of a request: how far from its end `allow_auto_topic_creation` stands."""


@contextmanager
def running_strictly() -> Iterator[int]:
    """Run a broker, as long as this lasts; return the port at which it makes no topics."""
    with running("noida") as port, socket.socket() as listener:
        listener.bind((HOST.decode(), 0))
        listener.listen(64)
        own = listener.getsockname()[1]
        threading.Thread(target=_accept, args=(listener, port, own), daemon=True).start()
        yield own


def _accept(listener: socket.socket, port: int, own: int) -> None:
    def named(answer: bytes) -> bytes:
        there, here = (HOST + struct.pack(">i", one) for one in (port, own))
        return answer.replace(there, here)

    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            broker = socket.create_connection((HOST.decode(), port))
            for way in ((client, broker, _strictly), (broker, client, named)):
                threading.Thread(target=_relay, args=way, daemon=True).start()


def _strictly(request: bytes) -> bytes:
    key, version = struct.unpack(">hh", request[:4])
    if key != METADATA:
        return request
    at = len(request) - FROM_END[version]
    return request[:at] + b"\0" + request[at + 1 :]


def _relay(whence: socket.socket, to: socket.socket, change: Callable[[bytes], bytes]) -> None:
    with suppress(OSError, EOFError), whence, to:
        while True:
            [size] = struct.unpack(">i", _read(whence, 4))
            changed = change(_read(whence, size))
            to.sendall(struct.pack(">i", len(changed)) + changed)


def _read(whence: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        part = whence.recv(size - len(found))
        if not part:
            raise EOFError
        found += part
    return found
