"""redis-py, sync and asyncio, on a `RedisStore`, and for its streams on the broker `Redis`.

A pool makes connections to fakeredis, and has some of its own for each incarnation. What is sent on
one passes a port; time-outs, retries and errors are redis-py's own. It sends a command again whose
answer was lost, three times by default from redis-py 6 on, and so counts twice with `INCR`.

One address may serve both: commands of streams go to the broker that stands for it (`streams.py`),
all others to the store.

Source:
    redis-py 5 to 8, `connection.py`, `asyncio/connection.py`, `retry.py`, `backoff.py`; fakeredis
    2.39 to 2.41.

Not modelled:
    What the store leaves out; `max_connections`; client-side caching; hiredis.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from queue import Empty, Queue
from threading import Event
from typing import Any, Final

import redis
from fakeredis import FakeAsyncRedis, FakeRedis

from chaosharness.adapters.databases.channels import LATENCY_MS, Ear, channels_of, is_cut
from chaosharness.adapters.databases.entries import told_whose
from chaosharness.adapters.databases.streams import mentions_streams
from chaosharness.adapters.databases.streams import script as streams_script
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.frames import users_frame
from chaosharness.adapters.spoken import note_spoken
from chaosharness.brokers.redis.desk import Held
from chaosharness.brokers.redis.redis import OpenRedis as OpenStreams
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.clocks import SECONDS, clock_read
from chaosharness.handlers.places import asked_at, asked_or_awaited_at
from chaosharness.handlers.port import after, before, call_off, current_scope, have, lost
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.stores.address import one_of
from chaosharness.stores.address import read as read_address
from chaosharness.stores.redis.commands import (
    NOT_MODELLED,
    SUBSCRIBES,
    TOGETHER,
    Request,
    packed_words,
    read,
    with_info,
)
from chaosharness.stores.redis.redis import READING, OpenRedis, RedisStore

GIVEN_UP_MS: Final = 924_600
"""When TCP gives up, where a client sets no time-out."""

_SYNC: Final[Any] = FakeRedis().connection_pool.connection_class
_ASYNC: Final[Any] = FakeAsyncRedis().connection_pool.connection_class


class _Line:
    """A server as one connection sees it: with that client's own time-out."""

    def __init__(self, store: OpenRedis, connection: Any) -> None:
        self._store = store
        self._connection = connection
        self.name = store.name

    @property
    def timeout_ms(self) -> int:
        """How long the client waits for an answer."""
        seconds = self._connection.socket_timeout
        return GIVEN_UP_MS if seconds is None else max(round(seconds * 1000), 1)

    def lost(self, operation: str) -> BaseException:
        """Return that no answer came."""
        return redis.TimeoutError(f"Timeout reading from {self.name}")

    def refused(self, operation: str) -> BaseException:
        """Return that nobody listens."""
        return redis.ConnectionError(f"Error 111 connecting to {self.name}. Connection refused.")

    def lose_writes(self, scope: Scope) -> bool:
        """Have the server die, and come back with what was on the disk."""
        return self._store.lose_writes(scope)


def line_to(connection: Any) -> Any:
    """Return the server as a connection sees it."""
    return _Line(connection.store, connection)


class _StreamLine(_Line):
    """The broker as one connection sees it."""

    def __init__(self, desk: OpenStreams, connection: Any) -> None:
        super().__init__(connection.store, connection)
        self._desk = desk
        self.name = desk.name

    def refused(self, operation: str) -> BaseException:
        """Return that it is not ready: redis-py tries again by itself."""
        return redis.BusyLoadingError(f"{self.name} is loading the dataset in memory")

    def lose_writes(self, scope: Scope) -> bool:
        """Fail over, and lose the last writes."""
        return self._desk.lose_writes(scope)


class _Ours:
    """What both kinds of connection have in common."""

    store: OpenRedis
    streams: OpenStreams | None = None
    handed: dict[str, Held] | None = None
    ear: Ear | None = None
    listened = False
    life: int
    _sock: Any

    def script(self, scope: Scope, request: Request, packed: list[bytes]) -> Script[None]:
        """Send commands, at a site where faults may strike."""
        store, world = self.store, scope.world
        desk = self.streams
        if desk is not None and not request.silent and mentions_streams(self, scope, request):
            yield from streams_script(self, scope, request, _StreamLine(desk, self))
            return
        if store.name not in world.states and not request.silent:
            verb = request.words[0][0].decode().upper()
            call_off(
                InvalidDefinition(
                    f"redis: {verb}{asked_at()} is no command of streams, and no store of this "
                    f'system stands for this server: add RedisStore("cache")'
                )
            )
        for words in request.words:
            why = NOT_MODELLED.get(words[0].decode().lower())
            if why is not None:
                call_off(
                    InvalidDefinition(
                        f"redis: {words[0].decode().upper()} is not modelled"
                        f"{asked_or_awaited_at()}: {why}"
                    )
                )
        if request.silent:
            self.usable()
            self._feed(packed)
            return
        action = f"{store.name}.{request.verb}"
        operation = f"{scope.place}/{action}"
        note_spoken(scope, "redis", action)
        attempt = world.reach(operation, scope.entity, scope.message)
        if operation not in world.surfaces:
            only_reads = request.reads and request.verb not in TOGETHER
            world.meet(operation, READING if only_reads else store.writing)
        line = _Line(store, self)
        armed = operation in world.armed or bool(world.unreachable)
        arrives = True
        if armed:
            arrives = yield from before(scope, operation, attempt, line)
            store.verdict(scope)
        if not arrives:
            raise (yield from lost(scope, operation, attempt, line, happened=False))
        if request.verb == "publish" and self._tells(request):
            yield LATENCY_MS  # who listens when it has arrived hears it
        have(scope, operation, attempt, self._effect, (request, packed))
        if armed:
            yield from after(scope, operation, attempt, line)

    # ---- for streams

    @property
    def protocol_version(self) -> int:
        """Of the answers that the client reads: 2 or 3."""
        return int(self._sock._client_info.protocol_version)

    def answer(self, reply: Any) -> None:
        """Have the client read an answer next."""
        self._sock.put_response(reply)

    def feed(self, words: tuple[bytes, ...]) -> None:
        """Have the store do one command."""
        self._feed([packed_words(words)])

    def asked(self, commands: list[tuple[bytes, ...]]) -> list[Any]:
        """Have the store do commands, and return its answers: the client does not read them."""
        for words in commands:
            self.feed(words)
        return [self._sock.responses.get_nowait() for _ in commands]

    def usable(self) -> None:
        """Refuse, if the server has been away."""
        if self.store.down or self.life != self.store.lives or self._sock is None:
            raise redis.ConnectionError("Connection closed by server.")

    def _effect(self, scope: Scope, operation: str, attempt: int, argument: Any) -> None:
        request, packed = argument
        store = self.store
        data = {"store": store.name, "verb": request.verb, "key": request.key}
        try:
            self.usable()
        except redis.ConnectionError as error:
            kind = "read" if request.reads else "commit"
            scope.record(kind, operation, attempt, {**data, "error": f"ConnectionError: {error}"})
            raise
        for duration_ms in request.durations_ms():
            scope.world.know_duration(duration_ms)
        if request.verb in SUBSCRIBES:
            self._listen(scope, request)
            scope.record("read", operation, attempt, data)
            return
        said = [one for one in request.published() if channels_of(store).knows(one[0])]
        if said and request.verb == "publish":
            self.answer(channels_of(store).publish(scope, operation, attempt, *said[0]))
            return
        for channel in () if said else self._tells(request):
            scope.world.past.add(f"subscribers of {channel} at {store.name}")
        if store.expires:
            clock_read(None, SECONDS)  # an answer may be another when something has expired
        if request.reads:
            self._feed(packed)
            store.reckon(scope)
            scope.record("read", operation, attempt, data)
            return
        was = store.contents()
        store.saved()
        self._feed(packed)
        store.see_lives()
        store.see_times(scope, request.words)
        store.reckon(scope)
        changed = store.contents() != was
        if changed and not store.repeats.unchanged(scope, store.with_numbers):
            scope.world.effects += 1
        scope.record("commit" if changed else "read", operation, attempt, data)
        if changed:
            for hear in store.heard:
                hear(scope, operation, attempt, request)
        for one in said:
            channels_of(store).publish(scope, operation, attempt, *one)

    # ---- for Pub/Sub

    def _tells(self, request: Request) -> list[str]:
        """Return the channels that it publishes to, but for those of a library's own."""
        aside = tuple(self.store.aside)
        names = (_text(name) for name, _ in request.published())
        return [name for name in names if not name.startswith(aside)]

    def _listen(self, scope: Scope, request: Request) -> None:
        channels = channels_of(self.store)
        if self.ear is None:
            self.ear = Ear(scope.incarnation)
            channels.join(self.ear)
        channels.said(self.ear, request.words[0])

    def _listens_no_more(self) -> None:
        """Leave, where the connection ends."""
        if self.ear is not None:
            channels_of(self.store).leave(self.ear)
            self.ear, self.listened = None, True

    def _reach(self, scope: Scope) -> Script[None]:
        """Find the server, for one that has listened: in vain, where the network is cut.

        Others find out when they send something. This one would subscribe within each attempt to
        subscribe, as often as it can connect.
        """
        if is_cut(scope.incarnation, self.store):
            yield _Line(self.store, self).timeout_ms
            raise redis.TimeoutError("Timeout connecting to server")

    def _hears(self) -> Ear | None:
        """Return what listens, where nothing else is to be read first."""
        return self.ear if self._sock is None or self._sock.responses.empty() else None

    def _heard(self, ear: Ear, scope: Scope, options: dict[str, Any]) -> Any:
        """Return what has come; None for nothing.

        Raises:
            ConnectionError: The connection has ended.
        """
        if ear.broken:
            raise redis.ConnectionError("Connection closed by server.")
        found = ear.take(scope)
        return found if options.get("disable_decoding", False) else self._decode(found)

    _decode: Any

    def _feed(self, packed: list[bytes]) -> None:
        self.store.see_ends()
        for part in with_info(packed):
            self._sock.sendall(part)


def _parts(command: Any) -> list[bytes]:
    if isinstance(command, str):
        return [command.encode()]
    return [command] if isinstance(command, bytes) else [bytes(part) for part in command]


class Connection(_Ours, _SYNC):  # type: ignore[misc]
    """A connection of `redis.Redis`."""

    def _connect(self) -> Any:
        if self.listened:
            scope = current_scope("redis")
            scope.colour.block(self._reach(scope), scope)
        _see(self.store)
        self.life = self.store.lives
        made = super()._connect()
        if type(made.responses) is Queue:
            made.responses, made.response_ready = Replies(), Ready()
        return made

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send commands, through a port."""
        if not self._sock:
            self.connect()
        scope, packed = current_scope("redis"), _parts(command)
        try:
            scope.colour.block(self.script(scope, read(packed), packed), scope)
        except redis.RedisError:
            self.disconnect()
            raise

    def can_read(self, timeout: float | None = 0) -> bool:
        """Say whether anything can be read, within this time."""
        ear = self._hears()
        if ear is None:
            return bool(super().can_read(timeout))
        if ear.is_empty() and timeout != 0:
            scope = current_scope("redis")
            scope.colour.block(ear.wait(scope, timeout, users_frame()), scope)
        return not ear.is_empty()

    def read_response(self, **options: Any) -> Any:
        """Return the next answer, or what is heard."""
        ear = self._hears()
        if ear is None:
            return super().read_response(**options)
        scope = current_scope("redis")
        if ear.is_empty():
            wait = ear.wait(scope, options.get("timeout"), users_frame())
            scope.colour.block(wait, scope)
        return self._heard(ear, scope, options)

    def disconnect(self, *arguments: Any, **options: Any) -> None:
        """End the connection."""
        self._listens_no_more()
        super().disconnect(*arguments, **options)


class AsyncConnection(_Ours, _ASYNC):  # type: ignore[misc]
    """A connection of `redis.asyncio.Redis`."""

    async def _connect(self) -> Any:
        if self.listened:
            scope = current_scope("redis")
            await scope.colour.drive(self._reach(scope), scope)
        _see(self.store)
        self.life = self.store.lives
        return await super()._connect()

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send commands, through a port."""
        if not self.is_connected:
            await self.connect()
        scope, packed = current_scope("redis"), _parts(command)
        try:
            await scope.colour.drive(self.script(scope, read(packed), packed), scope)
        except redis.RedisError:
            await self.disconnect(nowait=True)
            raise

    async def can_read(self, timeout: float | None = 0) -> bool:
        """Say whether anything can be read, within this time."""
        ear = self._hears()
        if ear is None:
            return bool(await super().can_read(timeout))
        if ear.is_empty() and timeout != 0:
            scope = current_scope("redis")
            await scope.colour.drive(ear.wait(scope, timeout, users_frame()), scope)
        return not ear.is_empty()

    async def read_response(self, **options: Any) -> Any:
        """Return the next answer, or what is heard; None if that is nothing."""
        ear = self._hears()
        if ear is None:
            return await super().read_response(**options)
        scope, timeout = current_scope("redis"), options.get("timeout")
        if ear.is_empty() and timeout != 0:
            await scope.colour.drive(ear.wait(scope, timeout, users_frame()), scope)
        return self._heard(ear, scope, options)

    async def disconnect(self, *arguments: Any, **options: Any) -> None:
        """End the connection."""
        self._listens_no_more()
        await super().disconnect(*arguments, **options)


class Replies:
    """What stands for the queue of answers: nobody else reads them, and nobody waits for them."""

    def __init__(self) -> None:
        self._kept: deque[Any] = deque()
        self.put = self._kept.append
        self.qsize = self._kept.__len__

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next answer.

        Raises:
            Empty: There is none.
        """
        if not self._kept:
            raise Empty
        return self._kept.popleft()

    get_nowait = get

    def empty(self) -> bool:
        """Say whether there is no answer."""
        return not self._kept


class Ready(Event):
    """Whether an answer is there: said once, as long as nobody takes it back."""

    def set(self) -> None:
        """Say so."""
        if not self.is_set():
            super().set()


def _see(store: OpenRedis) -> None:
    if store.down:
        raise redis.ConnectionError(f"Error 111 connecting to {store.name}. Connection refused.")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


# ---- pools


def _server_at(scope: Scope, pool: Any) -> tuple[OpenRedis, OpenStreams | None]:
    """Return the store and the broker that stand for the server of a pool."""
    host = str(pool.connection_kwargs.get("host") or "localhost")
    parts = list(scope.world.states.values())

    def what() -> str:
        return f"redis's connection to {host}"

    stores = (one for one in parts if isinstance(one, OpenRedis) and one.stands_for(host))
    desks = (one for one in parts if isinstance(one, OpenStreams) and _stands_for(one, host))
    store: OpenRedis | None = one_of(stores, what)
    desk: OpenStreams | None = one_of(desks, what)
    if store is None and desk is not None:
        store = desk.clients.get("beside")
        if store is None:  # for what a client says before it sends its first command
            beside = RedisStore(desk.name, persistence="always")
            store = desk.clients["beside"] = beside.open(scope.world)
            store.name = f"{desk.name} beside its streams"
    if store is None:
        call_off(
            InvalidDefinition(
                f"{scope.place} connects to {host} by redis{asked_at()}, and no store of this "
                f'system stands for it: add RedisStore("cache", url="redis://{host}"), or for '
                f'streams Redis("bus", ["orders"], url="redis://{host}")'
            )
        )
    return store, desk


def _stands_for(desk: OpenStreams, host: str) -> bool:
    address = read_address(desk.url)
    return address is None or address.is_server(host, "")


def taken(pool: Any, kind: Any) -> Any:
    """Return a connection of a pool, of those that this incarnation has, or a new one."""
    scope = current_scope("redis")
    store, desk = _server_at(scope, pool)
    store.own(scope.incarnation)
    idle = store.kept.setdefault((scope.incarnation, pool), [])
    if idle:
        return idle.pop()
    options = dict(pool.connection_kwargs)
    for name in ("maint_notifications_config", "maint_notifications_pool_handler"):
        options.pop(name, None)
    made = kind(server=store.server, **options)
    made.store, made.life = store, store.lives
    made.streams = desk
    return made


def _get(real: Any, self: Any, command_name: Any = None, *keys: Any, **options: Any) -> Any:
    made = taken(self, Connection)
    made.connect()
    return made


async def _get_async(
    real: Any, self: Any, command_name: Any = None, *keys: Any, **options: Any
) -> Any:
    made = taken(self, AsyncConnection)
    await made.connect()
    return made


def _put(pool: Any, connection: Any) -> bool:
    scope = SCOPE.get()
    store = getattr(connection, "store", None)
    if scope is None or store is None:
        return False
    store.kept.setdefault((scope.incarnation, pool), []).append(connection)
    return True


def _release(real: Any, self: Any, connection: Any) -> None:
    if not _put(self, connection):
        real(self, connection)


async def _release_async(real: Any, self: Any, connection: Any) -> None:
    if not _put(self, connection):
        await real(self, connection)


def _told(real: Any, self: Any, connection: Any, command_name: Any, **options: Any) -> Any:
    answer = real(self, connection, command_name, **options)
    return _whose(connection, answer)


async def _told_async(
    real: Any, self: Any, connection: Any, command_name: Any, **options: Any
) -> Any:
    answer = await real(self, connection, command_name, **options)
    return _whose(connection, answer)


def _whose(connection: Any, answer: Any) -> Any:
    held = getattr(connection, "handed", None)
    if not held:
        return answer
    connection.handed = None
    return told_whose(current_scope("redis"), answer, held)


def _callbacks(real: Any, self: Any, data: Any) -> None:
    """Fill redis-py's own table of answers at once: each client has one of two hundred rows."""
    dict.update(self, {key.upper(): value for key, value in data.items()})


def _know_the_version() -> None:
    """Look for redis-py's own version once: each client reads it from the disk."""
    look = getattr(redis.utils, "get_lib_version", None)
    if look is not None:
        redis.utils.get_lib_version = cache(look)


_READS: Final = ("self", "connection", "command_name", "options")
_GETS: Final = ("self", "command_name", "keys", "options")
_PUTS: Final = ("self", "connection")
LIBRARY: Final = Library(
    "redis",
    tested=">=5,<9",
    seams=(
        Seam("redis.client:CaseInsensitiveDict.__init__", ("self", "data"), _callbacks),
        Seam("redis.connection:ConnectionPool.get_connection", _GETS, _get),
        Seam("redis.connection:ConnectionPool.release", _PUTS, _release),
        Seam("redis.connection:BlockingConnectionPool.get_connection", _GETS, _get),
        Seam("redis.connection:BlockingConnectionPool.release", _PUTS, _release),
        Seam("redis.client:Redis.parse_response", _READS, _told),
        Seam("redis.asyncio.client:Redis.parse_response", _READS, _told_async),
        Seam("redis.asyncio.connection:ConnectionPool.get_connection", _GETS, _get_async),
        Seam("redis.asyncio.connection:ConnectionPool.release", _PUTS, _release_async),
    ),
    warm=_know_the_version,
)
