"""aiormq, and with it aio-pika and FastStream: their channels, tasks and reconnects as they are.

What a channel would write is done at once, in the task that asks for it; what it would read comes
through its own reader. Only the connection has no socket.

Source:
    aiormq 7.2, `connection.py` (`connect`, `__reader`, `__writer`, `_on_close`) and `channel.py`;
    aio-pika 10.2, `robust_connection.py`; their documentation.

Not modelled:
    An event loop that is blocked for so long that heartbeats are missed; that `ready()` waits while
    the broker reads nothing; `update_secret`. A connection that nobody answers fails after 10 s.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import pamqp.frame
from aiormq import exceptions
from aiormq.channel import Channel
from aiormq.connection import Connection
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from chaosharness.adapters.amqp.amqp import listening_at
from chaosharness.adapters.amqp.handling import (
    BEHIND,
    HELD_BACK,
    callback_of,
    carried,
    handling,
    line_of,
    put_down,
    take_in_hand,
)
from chaosharness.adapters.amqp.logs import quiet_in_runs
from chaosharness.adapters.amqp.market import TOLD, Lost
from chaosharness.adapters.amqp.session import Cause, Session, connect
from chaosharness.adapters.amqp.wire import (
    CHANNELS_MAX,
    FRAME_MAX,
    SERVER,
    as_time,
    carried_by,
)
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.handlers.port import current_scope

_FREED: Final = ("Channel.CloseOk", "Channel.Close")
"""After these the number of a channel is free."""

AROUND: Final = 8
"""Bytes of a frame around what it carries: type, channel and length ahead, an end mark behind."""


class Wire:
    """What stands for the queue of frames to write, and for the socket that they come from."""

    def __init__(self) -> None:
        self.session: Any = None
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()

    # ---- what the client writes

    async def put(self, channel_frame: Any) -> None:
        """Do what the frames ask for."""
        try:
            number, frames = _read(channel_frame.payload)
            await self._perform(number, frames)
        finally:
            channel_frame.drain()

    def put_nowait(self, channel_frame: Any) -> None:
        """Take note of an answer that nobody waits for."""
        number, frames = _read(channel_frame.payload)
        if number:
            self.session.perform(number, frames[0].name, frames[0])

    async def _perform(self, number: int, frames: list[Any]) -> None:
        session: Session = self.session
        method, content = frames[0], _content(frames)
        line = session.lines.get(number)
        error: BaseException | None = None
        try:
            done = session.perform(number, method.name, method, content)
            if hasattr(done, "__await__"):
                await done
        except (Lost, *TOLD) as found:
            error = found
        if method.name == "Basic.Publish" and line is not None:
            line.published(method, content, error)
        elif error is not None:
            session.lose("connection lost")

    # ---- what it reads

    def sent(self, number: int, name: str, fields: dict[str, Any], copy: Any = None) -> None:
        """Take what the broker sends."""
        group, _, method = name.partition(".")
        frames = [getattr(getattr(commands, group), method)(**fields)]
        if copy is not None:
            properties, body = copy[:2] if isinstance(copy, tuple) else _properties(copy)
            frames.append(ContentHeader(body_size=len(body), properties=properties))
            if body:
                frames.append(ContentBody(body))
        self._arrived.put_nowait((number, name, frames))

    def ended(self, cause: Cause, why: str) -> None:
        """Take note that the connection is gone."""
        if cause == "closed":
            code, _, text = why.partition(" ")
            self._arrived.put_nowait(exceptions.ConnectionClosed(int(code), text))
        elif cause == "silent":
            self._arrived.put_nowait(asyncio.CancelledError())
        else:
            words = "Server connection unexpectedly closed"
            self._arrived.put_nowait(exceptions.AMQPConnectionError(words))

    async def reader(self, connection: Connection) -> None:
        """Hand what arrives to the channels, as the client's own reader does."""
        while True:
            arrived = await self._arrived.get()
            if isinstance(arrived, BaseException):
                raise arrived
            number, name, frames = arrived
            channel = connection.channels.get(number)
            if channel is None:
                continue
            if name in _FREED:
                connection.channels.pop(number, None)
            for one in frames:
                await channel.frames.put((0, one))

    async def writer(self) -> None:
        """Do nothing, until the client closes the connection."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.session.close()


def _read(payload: bytes) -> tuple[int, list[Any]]:
    """Return the channel of some frames, and the frames."""
    frames, number, at = [], 0, 0
    while at < len(payload):
        size = int.from_bytes(payload[at + 3 : at + 7]) + AROUND
        _, number, frame = pamqp.frame.unmarshal(payload[at : at + size])
        frames.append(frame)
        at += size
    return number, frames


def _content(frames: list[Any]) -> Any:
    if len(frames) < 2:
        return None
    body = b"".join(one.value for one in frames[2:])
    return frames[1].properties, body, "message_type"


def _properties(copy: Any) -> tuple[Any, bytes]:
    carried = carried_by(copy)
    if "type" in carried:
        carried["message_type"] = carried.pop("type")
    if "timestamp" in carried:
        carried["timestamp"] = as_time(carried["timestamp"])
    return commands.Basic.Properties(**carried), bytes(copy.body or b"")


# ---- what is met


async def _connect(real: Any, self: Any, client_properties: Any = None) -> bool:
    if self.is_opened:
        raise RuntimeError("Connection already opened")
    scope = current_scope("aiormq.connect")
    broker = listening_at(scope, "aiormq", self.url.host, self.url.port)
    wire = Wire()
    try:
        session = await connect(broker, "aiormq", wire.sent, wire.ended)
    except Lost:
        raise exceptions.AMQPConnectionError("connection timed out") from None
    except ConnectionRefusedError as error:
        raise exceptions.AMQPConnectionError(*error.args) from error
    wire.session = session
    session.agree(self.heartbeat_timeout)
    session.user = self.url.user or "guest"
    self.write_queue = wire
    self.connection_tune = commands.Connection.Tune(CHANNELS_MAX, FRAME_MAX, self.heartbeat_timeout)
    self.server_properties = {**SERVER, "version": "4.0"}
    self._reader_task = self.create_task(wire.reader(self))
    self._reader_task.add_done_callback(self._on_reader_done)
    self._writer_task = self.create_task(wire.writer())
    self._Connection__connection_unblocked.set()
    self.connected.set()
    return True


class InOrder(dict[Any, None]):
    """A set that gives the oldest first: the library's own goes by the addresses of its tasks.

    What waits when a connection is lost is told in this order, the same in each run.
    """

    def add(self, one: Any) -> None:
        """Add one, at the end."""
        self[one] = None

    def remove(self, one: Any) -> None:
        """Take one away."""
        del self[one]

    def pop(self) -> Any:  # type: ignore[override]
        """Take the oldest away and return it."""
        one = next(iter(self))
        del self[one]
        return one


def _store(real: Any, self: Any, loop: Any) -> None:
    real(self, loop)
    self.futures = InOrder.fromkeys(self.futures)


async def _basic_consume(
    real: Any,
    self: Channel,
    queue: str,
    consumer_callback: Any,
    *,
    no_ack: bool = False,
    exclusive: bool = False,
    arguments: Any = None,
    consumer_tag: Any = None,
    timeout: Any = None,
) -> Any:
    callback = callback_of(consumer_callback)
    called = consumer_callback
    if not any(held_back(callback) for held_back in HELD_BACK):
        named = next((one for find in BEHIND if (one := find(callback)) is not None), callback)

        async def called(message: Any) -> Any:
            return await _handle(consumer_callback, named, message)

    options = {"no_ack": no_ack, "exclusive": exclusive, "arguments": arguments}
    return await real(self, queue, called, **options, consumer_tag=consumer_tag, timeout=timeout)


async def _handle(consumer: Any, named: Any, message: Any) -> Any:
    """Call a callback, on behalf of the message that it gets."""
    own = current_scope("aiormq.consume")
    line = line_of(message.channel)
    held = None if line is None else handling(own, named, line, message.delivery_tag)
    if held is None:
        return await _awaited(consumer(message))
    return await carried(own, held, lambda: _awaited(consumer(message)))


async def _awaited(result: Any) -> Any:
    return await result if hasattr(result, "__await__") else result


async def _basic_get(
    real: Any, self: Channel, queue: str = "", no_ack: bool = False, timeout: Any = None
) -> Any:
    scope = current_scope("aiormq.basic_get")
    put_down(scope)
    message = await real(self, queue, no_ack, timeout)
    line = line_of(self)
    if line is not None and getattr(message, "delivery_tag", None):
        take_in_hand(scope, line, message.delivery_tag)
    return message


LIBRARY: Final = Library(
    "aiormq",
    tested=">=6.8,<8",
    seams=(
        Seam("aiormq.connection:Connection.connect", ("self", "client_properties"), _connect),
        Seam("aiormq.base:FutureStore.__init__", ("self", "loop"), _store),
        Seam(
            "aiormq.channel:Channel.basic_consume",
            (
                *("self", "queue", "consumer_callback", "no_ack", "exclusive", "arguments"),
                *("consumer_tag", "timeout"),
            ),
            _basic_consume,
        ),
        Seam(
            "aiormq.channel:Channel.basic_get",
            ("self", "queue", "no_ack", "timeout"),
            _basic_get,
        ),
    ),
    warm=partial(quiet_in_runs, "aiormq"),
)
