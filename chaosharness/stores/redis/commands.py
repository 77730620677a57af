"""What a Redis command does, as far as its site needs to know.

Source:
    Redis documentation, "Commands": flags `readonly`, `blocking`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

import attrs

SILENT: Final = frozenset(
    {"hello", "client", "auth", "select", "ping", "info", "command", "script", "readonly", "echo"}
)
"""What clients say to set up a connection, or to see whether it stands: no sites."""

READS: Final = frozenset(
    {
        *("get", "mget", "exists", "ttl", "pttl", "type", "strlen", "getrange", "keys", "scan"),
        *("hget", "hmget", "hgetall", "hkeys", "hvals", "hlen", "hexists", "hscan", "hstrlen"),
        *("lrange", "llen", "lindex", "lpos", "smembers", "sismember", "smismember", "scard"),
        *("srandmember", "sinter", "sunion", "sdiff", "sscan", "zrange", "zrangebyscore", "zscore"),
        *("zrevrange", "zrevrangebyscore", "zrank", "zrevrank", "zcard", "zcount", "zscan"),
        *("zmscore", "getbit", "bitcount", "bitpos", "dbsize", "watch", "unwatch", "time"),
        *("expiretime", "pexpiretime", "object", "randomkey", "pfcount", "lastsave"),
    }
)
NOT_MODELLED: Final = {
    **dict.fromkeys(
        ("blpop", "brpop", "blmove", "blmpop", "brpoplpush", "bzpopmin", "bzpopmax", "bzmpop"),
        "it waits at the server: poll with its plain form",
    ),
    **dict.fromkeys(("wait", "waitaof"), "there are no replicas"),
    **dict.fromkeys(
        ("ssubscribe", "sunsubscribe", "monitor"),
        "channels that are sharded, and MONITOR, are those of one server. Subscribe to the channel",
    ),
    **dict.fromkeys(
        (
            *("xadd", "xread", "xreadgroup", "xack", "xgroup", "xclaim", "xautoclaim", "xpending"),
            *("xlen", "xrange", "xrevrange", "xdel", "xtrim", "xinfo"),
        ),
        'for streams add the broker: Redis("bus", ["orders"])',
    ),
}
CALLED: Final = {"incrby": "incr", "decrby": "decr"}
"""What clients call a command that they send by another name."""

SUBSCRIBES: Final = frozenset({"subscribe", "psubscribe", "unsubscribe", "punsubscribe"})
"""What a client says of what it listens to: it changes nothing that is stored."""

_PUBLISHES: Final = frozenset({b"publish", b"spublish"})
_LASTING: Final = {b"EX": 1_000, b"PX": 1}
_EXPIRES: Final = {"expire": 1_000, "pexpire": 1, "setex": 1_000, "psetex": 1}

TOGETHER: Final = ("multi", "pipeline")
"""What the site of several commands is called. One only reads, and the next one writes: what may
strike there cannot hang on which of them a run comes to first."""


@attrs.frozen
class Request:
    """What is sent at once: one command, a transaction, or a pipeline.

    Attributes:
        verb: What its site is called after: `incr`, `multi`, `pipeline`.
        words: The commands, each as words.
        reads: Whether it changes nothing.
        silent: Whether it is no site.
    """

    verb: str
    words: tuple[tuple[bytes, ...], ...]
    reads: bool
    silent: bool

    @property
    def key(self) -> str:
        """The first key that it names."""
        for words in self.words:
            if len(words) > 1:
                place = 3 if words[0].lower().startswith(b"eval") and len(words) > 3 else 1
                return words[place].decode("utf-8", "backslashreplace")
        return ""

    def published(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the channels that it publishes to, and what."""
        for words in self.words:
            if words[0].lower() in _PUBLISHES and len(words) > 2:
                yield words[1], words[2]

    def durations_ms(self) -> Iterator[int]:
        """Yield how long what it sets will last."""
        for words in self.words:
            verb = words[0].decode().lower()
            if verb in _EXPIRES and len(words) > 2 and words[2].isdigit():
                yield int(words[2]) * _EXPIRES[verb]
            for one, value in pairwise(words):
                if one.upper() in _LASTING and value.isdigit():
                    yield int(value) * _LASTING[one.upper()]


def read(packed: Iterable[bytes]) -> Request:
    """Read what a client sends, in Redis's protocol."""
    words = tuple(_commands(b"".join(packed)))
    verbs = [one[0].decode().lower() for one in words]
    verb = CALLED.get(verbs[0], verbs[0]) if verbs else ""
    if len(verbs) > 1 and verb != "multi":
        verb = "pipeline"
    inner = [one for one in verbs if one not in ("multi", "exec")]
    reads = all(one in READS or one in SILENT or one in SUBSCRIBES for one in inner)
    return Request(verb, words, reads, all(one in SILENT for one in verbs))


INFO: Final = {
    "server": "redis_version:7.0.0\r\nredis_mode:standalone\r\nprocess_id:1\r\ntcp_port:6379",
    "clients": "connected_clients:1\r\nblocked_clients:0",
    "memory": (
        "used_memory:1048576\r\nused_memory_human:1.00M\r\nmaxmemory:0\r\n"
        "maxmemory_human:0B\r\nmaxmemory_policy:noeviction"
    ),
    "persistence": "loading:0",
    "replication": "role:master\r\nconnected_slaves:0",
    "cluster": "cluster_enabled:0",
}
"""What a server says of itself, by section: what clients look at before they begin."""


def with_info(packed: Iterable[bytes]) -> list[bytes]:
    """Return what a client sends, where INFO is to be answered: as ECHO of that answer."""
    parts = list(packed)
    if not any(b"INFO" in one for one in parts):
        return parts
    return [packed_words(_told(words)) for words in _commands(b"".join(parts))]


def _told(words: tuple[bytes, ...]) -> tuple[bytes, ...]:
    if words[0].upper() != b"INFO":
        return words
    asked = {one.decode().lower() for one in words[1:]}
    every = not asked or bool(asked & {"all", "default", "everything"})
    told = [
        f"# {name.capitalize()}\r\n{lines}\r\n"
        for name, lines in INFO.items()
        if every or name in asked
    ]
    return b"ECHO", "\r\n".join(told).encode()


def packed_words(words: tuple[bytes, ...]) -> bytes:
    """Return a command in Redis's protocol."""
    lines = [b"*%d\r\n" % len(words)]
    lines += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"".join(lines)


def _commands(data: bytes) -> Iterator[tuple[bytes, ...]]:
    place = 0
    while place < len(data):
        end = data.index(b"\r\n", place)
        count, place = int(data[place + 1 : end]), end + 2
        found = []
        for _ in range(count):
            end = data.index(b"\r\n", place)
            length = int(data[place + 1 : end])
            found.append(data[end + 2 : end + 2 + length])
            place = end + 4 + length
        yield tuple(found)
