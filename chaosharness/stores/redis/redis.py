"""Redis as a store, on fakeredis: its commands, in virtual time, with the faults of a server.

Source:
    Redis documentation: "Persistence" (`appendonly`, `appendfsync`), "Transactions", "SET", "Lua
    scripting". What commands do is fakeredis's.

Modelled:
    Pub/Sub, as a broadcast that is lossy: who does not listen just then, or loses the connection,
    hears nothing of it (`adapters/databases/channels.py`).
    Each command, transaction or pipeline is one site. Expiry is in virtual time. A request or its
    answer may be lost, and what the client does then is its own: redis-py sends it again. A crash
    of a service leaves everything as it is; a crash of Redis (`LostWrites`) takes what was not on
    the disk.

Not modelled:
    Commands that wait at the server, streams (the broker `Redis` has those), Cluster,
    Sentinel, replicas and failover, evictions, `MAXMEMORY`. Limits of a pool of connections.
    Whatever fakeredis does otherwise than Redis. That single fields of a hash are gone by their own
    time is seen by code, and not told apart in the end from fields that were deleted.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.faults import (
    Crash,
    Delay,
    LostReply,
    LostRequest,
    LostWrites,
    NetworkPartition,
    Pause,
    StoreOutage,
)
from chaosharness.handlers.clocks import guess_from_text
from chaosharness.handlers.port import Surface, surface
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.spans import DAY_MS, EPOCH_MS
from chaosharness.kernel.world import Lasting, World
from chaosharness.stores.address import is_address, read
from chaosharness.stores.durable import OpenStore
from chaosharness.stores.repeats import Repeats

Persistence = Literal["always", "everysec", "none"]
_PERSISTENCE: Final = ("always", "everysec", "none")

_CUTS: Final = (NetworkPartition,)
WAITED_FOR_MS: Final = 7_200_000
"""How long a key may live for code to be run on until it is gone; longer ones are not waited for
that long, such as those that remember messages for a day."""

_SCRIPTS: Final = frozenset({b"eval", b"evalsha", b"eval_ro", b"evalsha_ro"})

READING: Final = surface(
    before=(LostRequest, StoreOutage), after=(Pause,), also=(Crash,), also_before=(Pause, *_CUTS)
)
CHANGING: Final = surface(
    before=(LostRequest, StoreOutage),
    after=(LostReply, Pause, Crash),
    also_before=(Pause, Crash, *_CUTS),
)
UNSAVED: Final = surface(
    before=(LostRequest, StoreOutage),
    after=(LostReply, Pause, Crash, LostWrites),
    also_before=(Pause, Crash, *_CUTS),
)


HEARING: Final = surface(before=(NetworkPartition, Delay), after=(LostReply,))
"""What may strike where a message of Pub/Sub is handed to one who listens.

Redis documentation, "Pub/Sub", "Delivery semantics": at most once. It is lost with its connection
(`LostReply`); who is cut off misses what is said meanwhile; and it may be under way for a while.
"""


@attrs.frozen(eq=False)
class RedisStore:
    """A Redis server that services keep values in: caches, counters, locks, idempotency keys.

    Code connects by itself, with redis-py: `redis.Redis(...)`, `redis.asyncio.from_url(...)`.
    Every command is a site: `payments.on_order/cache.incr`.

    Args:
        name: What sites and reports call it.
        persistence: What is on the disk when Redis dies: all of it (`always`: `appendfsync
            always`), all but the last second (`everysec`, its default with `appendonly yes`), or
            nothing (`none`).
        url: What the code under test connects to, where a system has several servers:
            `redis://cache.internal`. By default it stands for any.

    Source:
        Redis documentation, "Persistence".
    """

    name: str = attrs.field(validator=allowed.text())
    persistence: Persistence = attrs.field(default="everysec", kw_only=True)
    url: str | None = attrs.field(default=None, validator=is_address, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.persistence not in _PERSISTENCE:
            right = "'always', 'everysec' or 'none'"
            raise allowed.refused("RedisStore", "persistence", right, self.persistence)

    @property
    def speaks(self) -> tuple[str, ...]:
        """The libraries whose calls it is met by."""
        return ("redis", "kombu.transport.redis", "celery", "celery.backends.redis")

    def prepare(self) -> None:
        """See that fakeredis is there, before a run begins."""
        try:
            import redis  # noqa: F401  # before the other: its adapter builds on both
            import fakeredis  # noqa: F401  # isort: skip
        except ImportError:
            raise InvalidDefinition(
                f"RedisStore({self.name!r}) needs fakeredis: pip install 'chaosharness[redis]'"
            ) from None

    def open(self, world: World) -> OpenRedis:
        """Return it, empty, for one run."""
        return OpenRedis(self, world)


class _Unheld:
    """The lock of a server that nobody else is at: one command of it goes on at a time."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Have it."""
        return True

    def release(self) -> None:
        """Give it back."""

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *error: object) -> None: ...

    def _is_owned(self) -> bool:
        return True


class OpenRedis(OpenStore):
    """A Redis server during one run."""

    def __init__(self, definition: RedisStore, world: World) -> None:
        from fakeredis import FakeServer

        super().__init__(
            definition.name,
            world,
            timeout_ms=1,
            synced=definition.persistence == "always",
            unsynced_ms=1_000 if definition.persistence == "everysec" else 1 << 40,
        )
        self.address = read(definition.url)
        self.writing: Surface = CHANGING if definition.persistence == "always" else UNSAVED
        self.server = FakeServer(version=(7, 4))
        self.server.lock = _Unheld()  # type: ignore[assignment]
        self.lives = 1
        self.aside: set[str] = set()
        self.lasting_ms = 0  # the longest time that a key was given to live
        self.channels: Any = None
        self.on_restart: list[Callable[[], object]] = []
        self.heard: list[Callable[[Scope, str, int, Any], None]] = []
        self.repeats = Repeats()
        self._images: list[tuple[int, dict[int, Any]]] = []
        self._ran_out: dict[str, Any] = {}
        self._seen_at = 0.0  # when it was looked for keys whose time is over

    def stands_for(self, host: str) -> bool:
        """Say whether this is the server that a client connects to."""
        return self.address is None or self.address.is_server(host, "")

    def own(self, incarnation: Incarnation) -> None:
        """Take note of a client."""
        self.owners[incarnation] = None

    def saved(self) -> None:
        """Keep what was there before a change, for a crash of Redis to come."""
        if self.keeps:
            data = {number: copy.deepcopy(db._dict) for number, db in self.server.dbs.items()}
            self._images.append((self.world.now, data))

    # ---- trouble

    def lose_writes(self, scope: Scope) -> bool:  # type: ignore[override]
        """Have Redis die and come back with what was on the disk: its clients live on."""
        since_ms = max(0, self.world.now - self.unsynced_ms)
        lost = self.forget(since_ms)
        self.lives += 1
        self._restarts()
        self.world.effects += 1
        data = {"store": self.name, "why": "crash of Redis", "since_ms": since_ms, "commits": lost}
        scope.record("rollback", "", 0, data)
        return True

    def _begin_outage(self, lasting: Lasting) -> None:
        super()._begin_outage(lasting)
        self._restarts()

    def _restarts(self) -> None:
        """End the connections of those who wait for something: they are told at once."""
        for tell in self.on_restart:
            tell()

    def forget(self, since_ms: int) -> int:
        """Go back to the state before the first change at or after a moment."""
        lost = [image for image in self._images if image[0] >= since_ms]
        if lost:
            for db in self.server.dbs.values():
                db._dict.clear()
            for number, data in lost[0][1].items():
                self.server.dbs[number]._dict.update(data)
            del self._images[len(self._images) - len(lost) :]
        return len(lost)

    # ---- the end

    def contents(self) -> dict[str, Any]:
        """Return what is stored, by key; what has expired is not."""
        now = self.world_time()
        found = {}
        for number, db in sorted(self.server.dbs.items()):
            for key, item in sorted(db._dict.items()):
                if item.expireat is None or item.expireat > now:
                    found[_named(number, key)] = _plain(item.value)
        return found

    def with_numbers(self) -> Any:
        """Return what is stored, with numbers for the texts that Redis keeps of them."""
        return _numbers_in(self.contents())

    @property
    def expires(self) -> bool:
        """Whether there is something that will be gone by itself."""
        now = self.world_time()
        return any(end >= now for end in self._ends())

    def see_ends(self) -> None:
        """Take note of what was there until its own time was over: before each command.

        It is removed with the next command. A time that was over when it was given (`EXPIRE` of 0)
        is code that deletes; and what is set again has a new life.
        """
        now, gone = self.world_time(), self._ran_out
        for number, db in self.server.dbs.items():
            for key, item in db._dict.items():
                end = item.expireat
                if end is None or end > now:
                    if gone:
                        gone.pop(_named(number, key), None)
                elif end > self._seen_at:
                    gone[_named(number, key)] = _plain(item.value)
        self._seen_at = now

    def see_lives(self) -> None:
        """Take note for how long keys will be there: who asks for them may wait for their end."""
        now = self.world_time()
        for end in self._ends():
            left_ms = round((end - now) * 1_000)
            self.lasting_ms = max(self.lasting_ms, left_ms)
            if left_ms <= WAITED_FOR_MS:
                self.world.rest.show(left_ms)

    def _ends(self) -> Iterator[float]:
        """Yield when keys will be gone, and fields of hashes, in seconds since 1970."""
        for db in self.server.dbs.values():
            for item in db._dict.values():
                if item.expireat is not None:
                    yield item.expireat
                for end_ms in getattr(item.value, "_expirations", {}).values():
                    yield end_ms / 1_000

    def see_times(self, scope: Scope, commands: Iterable[tuple[bytes, ...]]) -> None:
        """Take note of times ahead in what is stored, and of numbers in scripts that ask for it."""
        for words in commands:
            self.world.rest.store(words, self.world.now)
            if words[0].lower() in _SCRIPTS and len(words) > 1:
                text = self.server.script_cache.get(words[1].lower(), words[1]).decode()
                if "TIME" in text.upper():
                    given = tuple(int(one) for one in words[2:] if one.isdigit())
                    guess_from_text(scope, text, given)

    def reckon(self, scope: Scope) -> None:
        """Take note that somebody looks at what may be gone in time."""
        scope.reckons_ms = max(scope.reckons_ms, min(self.lasting_ms, DAY_MS))

    def world_time(self) -> float:
        """Return the time of the run in seconds since 1970."""
        return (EPOCH_MS + self.world.now) / 1000

    def final(self) -> dict[str, Any]:
        """Return what is stored: `{"items": {key: value}}`, by key; no books of a library's.

        And, under `"ran_out"`, what was there until its own time was over, as it last was.
        """
        self.see_ends()
        found = {"items": self._without_books(self.contents())}
        if gone := self._without_books(self._ran_out):
            found["ran_out"] = dict(sorted(gone.items()))
        return found

    def _without_books(self, found: dict[str, Any]) -> dict[str, Any]:
        if not self.aside:
            return found
        aside = tuple(self.aside)
        return {
            key: value
            for key, value in found.items()
            if not key.partition("/")[2 if key[:1].isdigit() else 0].startswith(aside)
        }


def _named(number: int, key: bytes) -> str:
    """Return what a key of a database is called."""
    name = key.decode("utf-8", "backslashreplace")
    return f"{number}/{name}" if number else name


def _plain(value: Any) -> Any:
    """Return a value of fakeredis's as plain data."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, str | int | float) or value is None:
        return value
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    items = getattr(value, "items", None)
    if callable(items):
        return {str(_plain(key)): _plain(one) for key, one in sorted(items())}
    try:
        return sorted(map(_plain, value))
    except TypeError:
        return type(value).__name__


def _numbers_in(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _numbers_in(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_numbers_in(one) for one in value]
    if isinstance(value, str) and value[:1].isdigit():
        try:
            return int(value) if value.isdecimal() else float(value)
        except ValueError:
            return value
    return value
