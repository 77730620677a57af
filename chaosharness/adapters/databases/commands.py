"""Commands of Redis Streams, from the words that a client sends to operations of the machine.

Source:
    redis.io, the pages of the commands: their syntax.

Not modelled:
    XSETID; XACKDEL, XDELEX, KEEPREF and DELREF (Redis 8.2); XREADGROUP ... CLAIM (8.4); XREAD
    from `+` (7.4).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

import attrs

from chaosharness.machines.machine import Refusal
from chaosharness.machines.redis import operations as op


class Unknown(Exception):
    """Words that are not modelled: its text says what, and why."""


@attrs.frozen
class Reading:
    """XREAD or XREADGROUP.

    Attributes:
        streams: Which, and from which id each.
        group: The group and the consumer; None for XREAD.
        count: At most so many of each stream.
        block_ms: How long to wait, 0: for ever; None: not at all.
        no_ack: Nothing becomes pending.
    """

    streams: tuple[tuple[str, str], ...]
    group: tuple[str, str] | None
    count: int | None
    block_ms: int | None
    no_ack: bool


@attrs.frozen
class Refused:
    """A command that the server refuses, whatever there is.

    Attributes:
        stream: Its first key.
        why: What it is told: a command of another kind of key than this one is, or too short.
    """

    stream: str
    why: Refusal


FEWEST: Final = {
    **{"xack": 4, "xadd": 5, "xautoclaim": 6, "xclaim": 6, "xdel": 3, "xlen": 2, "xpending": 3},
    **{"xrange": 4, "xread": 4, "xreadgroup": 7, "xrevrange": 4, "xtrim": 4},
}
"""How many words a command has at least, its name among them (COMMAND INFO of 7.0)."""


def too_short(words: tuple[bytes, ...]) -> Command | None:
    """Return a command that is refused because something is missing; None for any other."""
    verb = _text(words[0]).lower()
    if len(words) >= FEWEST.get(verb, 0):
        return None
    stream = _text(words[1]) if len(words) > 1 else ""
    why = Refusal("ERR", f"wrong number of arguments for '{verb}' command")
    return Command(f"{verb} {stream}", "manage", Refused(stream, why))


_OF_OTHER_KEYS: Final = """
append bitcount bitfield bitfield_ro bitpos decr decrby get getbit getdel getex getrange getset
incr incrby incrbyfloat lcs setbit setrange strlen substr hdel hexists hget hgetall hincrby
hincrbyfloat hkeys hlen hmget hmset hrandfield hscan hset hsetnx hstrlen hvals blpop brpop
blmove brpoplpush lindex linsert llen lmove lpop lpos lpush lpushx lrange lrem lset ltrim rpop
rpoplpush rpush rpushx sadd scard sdiff sinter sismember smembers smismember smove spop
srandmember srem sscan sunion bzpopmax bzpopmin zadd zcard zcount zincrby zlexcount zmscore
zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrank zrem zremrangebylex
zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore
geoadd geodist geohash geopos georadius geosearch pfadd pfcount
"""
OF_OTHER_KEYS: Final = frozenset(_OF_OTHER_KEYS.split())
"""Commands that are refused where their first key is a stream. SET and its kin overwrite it."""


@attrs.frozen
class Command:
    """One command.

    Attributes:
        action: The end of its site's name: `publish orders`, `ack`.
        at: The kind of operation, as the rows of the broker name it.
        asked: The operation of the machine, or a `Reading`.
    """

    action: str
    at: str
    asked: Any

    @property
    def streams(self) -> tuple[str, ...]:
        """Which streams it names."""
        if isinstance(self.asked, Reading):
            return tuple(name for name, _ in self.asked.streams)
        if isinstance(self.asked, op.Exists):
            return self.asked.names
        return (self.asked.stream,)


class _Words:
    """What is left of a command."""

    def __init__(self, words: list[str]) -> None:
        self._words = words

    def __len__(self) -> int:
        return len(self._words)

    def next(self) -> str:
        if not self._words:
            raise Unknown("with so few arguments")
        return self._words.pop(0)

    def number(self) -> int:
        word = self.next()
        try:
            return int(word)
        except ValueError:
            raise Unknown(f"with {word!r} for a number") from None

    def rest(self) -> tuple[str, ...]:
        found, self._words = tuple(self._words), []
        return found

    def takes(self, *names: str) -> str:
        """Take one of these options, if one is next."""
        if self._words and self._words[0].upper() in names:
            return self._words.pop(0).upper()
        return ""


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def _cut(words: _Words) -> op.Cut | None:
    strategy = words.takes("MAXLEN", "MINID")
    if not strategy:
        return None
    about = words.takes("=", "~") == "~"
    threshold: Any = words.number() if strategy == "MAXLEN" else words.next()
    limit = words.number() if words.takes("LIMIT") else None
    return op.Cut("MAXLEN" if strategy == "MAXLEN" else "MINID", threshold, about, limit)


def _add(words: _Words) -> Command:
    stream = words.next()
    no_make = bool(words.takes("NOMKSTREAM"))
    if words.takes("KEEPREF", "DELREF", "ACKED"):
        raise Unknown("with references")
    cut = _cut(words)
    name = words.next()
    rest = [one.encode("utf-8", "surrogateescape") for one in words.rest()]
    fields = list(zip(rest[::2], rest[1::2], strict=True))
    add = op.Add(stream, fields, name, cut=cut, no_make=no_make)
    return Command(f"publish {stream}", "publish", add)


def _trim(words: _Words) -> Command:
    stream, cut = words.next(), _cut(words)
    if cut is None or len(words):
        raise Unknown("so")
    return Command("trim", "manage", op.Trim(stream, cut))


def _range(words: _Words, *, backwards: bool = False) -> Command:
    stream, first, second = words.next(), words.next(), words.next()
    count = words.number() if words.takes("COUNT") else None
    start, end = (second, first) if backwards else (first, second)
    return Command("range", "look", op.Range(stream, start, end, count, backwards))


def _group(words: _Words) -> Command:
    verb, stream, group = words.next().upper(), words.next(), words.next()
    if verb == "CREATE":
        start, make = words.next(), bool(words.takes("MKSTREAM"))
        read = words.number() if words.takes("ENTRIESREAD") else None
        return Command("create_group", "manage", op.CreateGroup(stream, group, start, make, read))
    if verb == "SETID":
        start = words.next()
        read = words.number() if words.takes("ENTRIESREAD") else None
        return Command("set_id", "manage", op.SetId(stream, group, start, read))
    if verb == "DESTROY":
        return Command("destroy_group", "manage", op.DestroyGroup(stream, group))
    if verb == "CREATECONSUMER":
        asked = op.CreateConsumer(stream, group, words.next())
        return Command("create_consumer", "manage", asked)
    if verb == "DELCONSUMER":
        return Command("delete_consumer", "claim", op.DeleteConsumer(stream, group, words.next()))
    raise Unknown(f"with {verb}")


def _claim(words: _Words) -> Command:
    stream, group, consumer, idle_ms = words.next(), words.next(), words.next(), words.number()
    ids: list[str] = []
    found: dict[str, Any] = {}
    while len(words):
        if words.takes("IDLE"):  # or TIME: the last of them counts
            found |= {"idle_ms": words.number(), "time_ms": None}
        elif words.takes("TIME"):
            found |= {"time_ms": words.number(), "idle_ms": None}
        elif words.takes("LASTID"):
            found["last"] = words.next()
        elif words.takes("RETRYCOUNT"):
            found["times"] = words.number()
        elif words.takes("FORCE"):
            found["force"] = True
        elif words.takes("JUSTID"):
            found["just_id"] = True
        else:
            ids.append(words.next())
    claim = op.Claim(stream, group, consumer, idle_ms, tuple(ids), **found)
    return Command("claim", "claim", claim)


def _auto_claim(words: _Words) -> Command:
    stream, group, consumer, idle_ms = words.next(), words.next(), words.next(), words.number()
    start = words.next()
    count = words.number() if words.takes("COUNT") else 100
    claim = op.AutoClaim(
        stream, group, consumer, idle_ms, start, count, just_id=bool(words.takes("JUSTID"))
    )
    return Command("autoclaim", "claim", claim)


def _pending(words: _Words) -> Command:
    stream, group = words.next(), words.next()
    if not len(words):
        return Command("pending", "look", op.PendingSummary(stream, group))
    idle_ms = words.number() if words.takes("IDLE") else 0
    start, end, count = words.next(), words.next(), words.number()
    consumer = words.next() if len(words) else None
    asked = op.PendingRange(stream, group, count, consumer, idle_ms, start, end)
    return Command("pending", "look", asked)


def _info(words: _Words) -> Command:
    verb, stream = words.next().upper(), words.next()
    if verb == "STREAM":
        full = bool(words.takes("FULL"))
        count = words.number() if full and words.takes("COUNT") else 10
        return Command("info", "look", op.Streams(stream, full, count))
    if verb == "GROUPS":
        return Command("info", "look", op.Groups(stream))
    if verb == "CONSUMERS":
        return Command("info", "look", op.Consumers(stream, words.next()))
    raise Unknown(f"with {verb}")


def _read(words: _Words, *, grouped: bool = False) -> Command:
    group = None
    if grouped:
        words.takes("GROUP")
        group = words.next(), words.next()
    count = block_ms = None
    no_ack = False
    while not words.takes("STREAMS"):
        if words.takes("COUNT"):
            count = words.number()
        elif words.takes("BLOCK"):
            block_ms = words.number()
        elif words.takes("NOACK"):
            no_ack = True
        else:
            raise Unknown(f"with {words.next()}")
    rest = words.rest()
    half = len(rest) // 2
    streams = tuple(zip(rest[:half], rest[half:], strict=True))
    if any(start == "+" for _, start in streams):
        raise Unknown("from +")
    return Command("read", "look", Reading(streams, group, count, block_ms, no_ack))


_READ: Final[dict[str, Callable[[_Words], Command]]] = {
    "exists": lambda it: Command("exists", "look", op.Exists(it.rest())),
    "type": lambda it: Command("type", "look", op.Type(it.next())),
    "xadd": _add,
    "xtrim": _trim,
    "xdel": lambda it: Command("delete", "manage", op.Delete(it.next(), it.rest())),
    "xlen": lambda it: Command("length", "look", op.Length(it.next())),
    "xrange": _range,
    "xrevrange": lambda it: _range(it, backwards=True),
    "xgroup": _group,
    "xack": lambda it: Command("ack", "loop acknowledge", op.Ack(it.next(), it.next(), it.rest())),
    "xclaim": _claim,
    "xautoclaim": _auto_claim,
    "xpending": _pending,
    "xinfo": _info,
    "xread": _read,
    "xreadgroup": lambda it: _read(it, grouped=True),
}


def is_of_streams(words: tuple[bytes, ...], streams: Collection[str] = ()) -> bool:
    """Say whether a command is one of Redis Streams.

    Args:
        words: The command.
        streams: Which streams there are: some commands of keys are theirs too.
    """
    if words[0].lower() in (b"exists", b"type"):
        return any(_text(one) in streams for one in words[1:])
    return words[0][:1].lower() == b"x"


def understood(words: tuple[bytes, ...]) -> Command:
    """Return a command that a client sends.

    Raises:
        Unknown: It is not modelled.
    """
    read = _READ.get(_text(words[0]).lower())
    if read is None:
        raise Unknown("")
    left = _Words([_text(one) for one in words[1:]])
    command = read(left)
    if len(left):
        raise Unknown(f"with {left.next()}")
    return command
