"""pika: `BlockingConnection` as it is, on a connection that has no socket.

All of pika above its input and output runs: channels, consumers, generators, timers, its states and
its exceptions. What it would write is done at once, in the code that asks for it; it reads in its
own loop, which waits in virtual time. So a callback that takes long answers no heartbeats, and
`process_data_events()` does.

Source:
    pika 1.4.4, `adapters/blocking_connection.py` (`_create_connection`, `_flush_output`,
    `process_data_events`) and `connection.py` (what an adapter overrides); its documentation,
    "Heartbeats and blocked connections", "Exceptions", "Using the Blocking Connection".

Not modelled:
    `SelectConnection` and the other asynchronous connections; full buffers of blocked connections;
    `socket_timeout` and `stack_timeout` (10 s for a connection that nobody answers). A server that
    stops answering is noticed once the broker's `timeout_ms` is over, or by heartbeats.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

import pika
from greenlet import GreenletExit
from pika import exceptions, frame, spec
from pika.adapters.utils.connection_workflow import AMQPConnectorSocketConnectError
from pika.connection import Connection, Parameters

from chaosharness.adapters.amqp.amqp import listening_at, refuse_two
from chaosharness.adapters.amqp.channel import Line
from chaosharness.adapters.amqp.handling import handling, put_down, take_in_hand
from chaosharness.adapters.amqp.market import TOLD, Lost
from chaosharness.adapters.amqp.reading import Inbox
from chaosharness.adapters.amqp.session import Cause, Session, connect
from chaosharness.adapters.amqp.wire import CHANNELS_MAX, FRAME_MAX, SERVER, carried_by
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.brokers.rabbitmq.alarms import Held
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.port import current_scope, sleep
from chaosharness.handlers.recall import nth_time
from chaosharness.kernel.scope import SCOPE

_METHODS: Final[dict[str, Any]] = {
    f"{group.__name__}.{name}": method
    for group in (spec.Channel, spec.Queue, spec.Exchange, spec.Basic, spec.Confirm)
    for name, method in vars(group).items()
    if isinstance(method, type)
} | {
    "Connection.Blocked": spec.Connection.Blocked,
    "Connection.Unblocked": spec.Connection.Unblocked,
}


class Impl(Connection):  # type: ignore[misc]
    """What stands for pika's connection over a socket."""

    def __init__(self, parameters: Parameters) -> None:
        self._inbox = Inbox()
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = 0
        self._unflushed = False
        self._transport = self
        self.ioloop = Loop(self)
        super().__init__(parameters)
        scope = current_scope("pika.connect")
        host, port = self.params.host, self.params.port
        broker = listening_at(scope, "pika", host, port)
        self._session: Session = blocking(connect)(broker, "pika", self._sent, self._ended)
        self._world = broker.world
        self._shake_hands()
        self._session.agree(self.params.heartbeat)
        self._session.user = getattr(self.params.credentials, "username", "")
        self._session.turn_away()

    def _shake_hands(self) -> None:
        heartbeat_s = self._session.broker.definition.heartbeat_ms // 1000
        for method in (
            spec.Connection.Start(0, 9, dict(SERVER), b"PLAIN EXTERNAL", b"en_US"),
            spec.Connection.Tune(CHANNELS_MAX, FRAME_MAX, heartbeat_s),
            spec.Connection.OpenOk(""),
        ):
            self._process_frame(frame.Method(0, method))

    # ---- what an adapter overrides

    def _adapter_connect_stream(self) -> None:
        self._on_stream_connected()

    def _adapter_disconnect_stream(self) -> None:
        self._session.close()
        self._on_stream_terminated(None)

    def _adapter_emit_data(self, data: bytes) -> NoReturn:
        raise AssertionError("frames are not marshalled here")

    def _adapter_call_later(self, delay: float, callback: Callable[[], None]) -> object:
        self._numbers += 1
        timer = (self._world.now + round(delay * 1000), self._numbers, callback)
        self._timers.append(timer)
        return timer

    def _adapter_remove_timeout(self, timeout_id: object) -> None:
        self._timers = [one for one in self._timers if one is not timeout_id]

    def _adapter_add_callback_threadsafe(self, callback: Callable[[], None]) -> None:
        self._inbox.put(("call", callback))

    def _create_heartbeat_checker(self) -> None:
        """Heartbeats are the broker's affair here, and that of whoever reads."""

    def _get_write_buffer_size(self) -> int:
        return int(self._unflushed)

    # ---- what it would write

    def _send_frame(self, frame_value: Any) -> None:
        if self.is_closed:
            raise exceptions.ConnectionWrongStateError(
                "Attempted to send a frame on closed connection."
            )
        if isinstance(frame_value, frame.Method):
            frame_value.marshal()  # pika raises what cannot be written
            self._perform(frame_value.channel_number, frame_value.method, None)

    def _send_message(self, channel_number: int, method_frame: Any, content: Any) -> None:
        properties, body = content
        frame.Method(channel_number, method_frame).marshal()
        frame.Header(channel_number, len(body), properties).marshal()
        self._perform(channel_number, method_frame, (properties, body, "type"))

    def _perform(self, number: int, method: Any, content: Any) -> None:
        self._unflushed = True
        name = method.NAME
        if number == 0:
            if name == "Connection.Close":
                self._session.close()
                self._inbox.put(("frame", frame.Method(0, spec.Connection.CloseOk())))
            return
        error: BaseException | None = None
        try:
            blocking(self._session.perform)(number, name, method, content)
        except (Lost, *TOLD) as found:
            error = found
        line = self._session.lines.get(number)
        if name == "Channel.Open" and line is not None:
            line.write()
        if name == "Basic.Publish" and line is not None:
            if (held := line.held()) is not None:
                self._wait_for(held, line, method, content)
                return
            line.published(method, content, error)
        elif error is not None:
            self._session.lose("connection lost")

    def _wait_for(self, held: Held, line: Line, method: Any, content: Any) -> None:
        """Be told that the connection is blocked; and what became of a message, once it is read."""
        number = line.last_number()
        self._sent(0, "Connection.Blocked", {"reason": "low on memory"})

        def read(_: bool) -> None:
            if self.is_closed:
                return
            self._sent(0, "Connection.Unblocked", {})
            line.published(method, content, held.error, number)

        held.then = read

    # ---- what it reads

    def _sent(self, number: int, name: str, fields: dict[str, Any], copy: Any = None) -> None:
        frames = [frame.Method(number, _METHODS[name](**fields))]
        if copy is not None:
            if isinstance(copy, tuple):
                properties, body = copy[:2]
            else:
                properties = pika.BasicProperties(**carried_by(copy))
                body = bytes(copy.body or b"")
            frames.append(frame.Header(number, len(body), properties))
            if body:
                frames.append(frame.Body(number, body))
        self._inbox.put(*(("frame", one) for one in frames))

    def _ended(self, cause: Cause, why: str) -> None:
        if cause == "closed":
            code, _, text = why.partition(" ")
            closed = spec.Connection.Close(int(code), text, 0, 0)
            self._inbox.put(("frame", frame.Method(0, closed)))
        elif cause == "silent":
            words = "No activity or too many missed heartbeats in the last %i seconds"
            error = exceptions.AMQPHeartbeatTimeout(words % (self.params.heartbeat or 0))
            self._inbox.put(("end", error))
        else:
            reset = ConnectionResetError(104, "Connection reset by peer")
            error = exceptions.StreamLostError(f"Stream connection lost: {reset!r}")
            self._inbox.put(("end", error))

    # ---- its loop

    def read(self) -> None:
        """Read what is there; wait for something if there is nothing, until the next timer."""
        scope = current_scope("pika.poll", self._world)
        self._session.listen()
        try:
            if not self._unflushed and not self._inbox:
                due_ms = min((one[0] for one in self._timers), default=None)
                scope.colour.block(self._inbox.waiting(scope, due_ms), scope)
            self._unflushed = False
            for kind, value in self._inbox.take():
                if self.is_closed:
                    break
                if kind == "frame":
                    self._process_frame(value)
                elif kind == "call":
                    value()
                else:
                    self._on_stream_terminated(value)
        finally:
            if not self.is_closed:
                self._session.turn_away()

    def call_what_is_due(self) -> None:
        """Call the timers whose time has come."""
        now = self._world.now
        due = sorted((one for one in self._timers if one[0] <= now), key=lambda one: one[:2])
        self._timers = [one for one in self._timers if one[0] > now]
        for _, _, callback in due:
            callback()

    def line(self, number: int) -> Line | None:
        """Return what stands for a channel at the broker."""
        return self._session.lines.get(number)


class Loop:
    """What stands for the loop of a connection, as `BlockingConnection` drives it."""

    def __init__(self, impl: Impl) -> None:
        self._impl = impl

    def poll(self) -> None:
        """Read, and wait where there is nothing to read."""
        self._impl.read()

    def process_timeouts(self) -> None:
        """Call what is due."""
        self._impl.call_what_is_due()

    def close(self) -> None:
        """There is nothing to close."""


# ---- what is met


def _create_connection(real: Any, self: Any, configs: Any = None, impl_class: Any = None) -> Impl:
    if impl_class is not None:
        not_modelled("pika", "BlockingConnection", "_impl_class")
    if configs is None:
        configs = (pika.ConnectionParameters(),)
    elif isinstance(configs, Parameters):
        configs = (configs,)
    if not configs:
        raise ValueError(f"Expected a non-empty sequence of connection parameters, not {configs!r}")
    addresses = [(one.host, one.port) for one in configs]
    refuse_two(current_scope("pika.connect"), "pika", addresses)
    last: BaseException = TimeoutError("timed out")
    for number in range(configs[-1].connection_attempts):
        if number:
            at = (sys._getframe(1), number)
            sleep(configs[-1].retry_delay, nth_time, at, blocking=True)
        for parameters in configs:
            try:
                return Impl(parameters)
            except ConnectionRefusedError as error:
                last = error
            except Lost:
                last = TimeoutError("TCP connection attempt timed out")
    raise exceptions.AMQPConnectionError(AMQPConnectorSocketConnectError(last))


def _init(
    real: Any,
    self: Any,
    parameters: Any = None,
    on_open_callback: Any = None,
    on_open_error_callback: Any = None,
    on_close_callback: Any = None,
    internal_connection_workflow: bool = True,
) -> None:
    if not isinstance(self, Impl):
        not_modelled("pika", "pika", type(self).__name__)
    real(self, parameters)


def _select(real: Any, self: Any, *arguments: Any, **options: Any) -> NoReturn:
    not_modelled("pika", "pika", type(self).__name__)


def _basic_consume(
    real: Any,
    self: Any,
    queue: str,
    on_message_callback: Any,
    auto_ack: bool = False,
    exclusive: bool = False,
    consumer_tag: str | None = None,
    arguments: Any = None,
) -> Any:
    called = on_message_callback
    if callable(on_message_callback):

        def called(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            _handle(on_message_callback, channel, method, properties, body)

    return real(self, queue, called, auto_ack, exclusive, consumer_tag, arguments)


def _handle(callback: Any, channel: Any, method: Any, properties: Any, body: bytes) -> None:
    """Call a callback, on behalf of the message that it gets."""
    own = current_scope("pika.callback")
    line = channel._impl.connection.line(channel.channel_number)
    held = None if line is None else handling(own, callback, line, method.delivery_tag)
    if held is None:
        callback(channel, method, properties, body)
        return
    armed = held.operation in own.world.armed
    token = SCOPE.set(held.scope)
    try:
        if armed:
            own.colour.block(held.strike("before"), held.scope)
        try:
            callback(channel, method, properties, body)
        except GreenletExit:
            raise
        except BaseException as error:
            held.ended(error)
            raise
        held.ended(None)
        if armed:
            own.colour.block(held.strike("after"), held.scope)
    finally:
        SCOPE.reset(token)


def _basic_get(real: Any, self: Any, queue: str, auto_ack: bool = False) -> Any:
    scope = current_scope("pika.basic_get")
    put_down(scope)
    method, properties, body = real(self, queue, auto_ack)
    line = self._impl.connection.line(self.channel_number)
    if method is not None and line is not None:
        take_in_hand(scope, line, method.delivery_tag)
    return method, properties, body


def _consume(
    real: Any,
    self: Any,
    queue: str,
    *arguments: Any,
    **options: Any,
) -> Iterator[Any]:
    messages = real(self, queue, *arguments, **options)
    while True:
        scope = current_scope("pika.consume")
        put_down(scope)
        found = next(messages, None)
        if found is None:
            return
        line = self._impl.connection.line(self.channel_number)
        if found[0] is not None and line is not None:
            take_in_hand(scope, line, found[0].delivery_tag)
        yield found


_BLOCKING: Final = "pika.adapters.blocking_connection"
_CONSUME: Final = ("queue", "auto_ack", "exclusive")

LIBRARY: Final = Library(
    "pika",
    tested=">=1.3,<2",
    seams=(
        Seam(
            f"{_BLOCKING}:BlockingConnection._create_connection",
            ("self", "configs", "impl_class"),
            _create_connection,
        ),
        Seam(
            "pika.connection:Connection.__init__",
            (
                *("self", "parameters", "on_open_callback", "on_open_error_callback"),
                *("on_close_callback", "internal_connection_workflow"),
            ),
            _init,
        ),
        Seam(
            "pika.adapters.select_connection:SelectConnection.__init__",
            (
                *("self", "parameters", "on_open_callback", "on_open_error_callback"),
                *("on_close_callback", "custom_ioloop", "internal_connection_workflow"),
            ),
            _select,
        ),
        Seam(
            f"{_BLOCKING}:BlockingChannel.basic_consume",
            (
                *("self", "queue", "on_message_callback", "auto_ack", "exclusive"),
                *("consumer_tag", "arguments"),
            ),
            _basic_consume,
        ),
        Seam(f"{_BLOCKING}:BlockingChannel.basic_get", ("self", "queue", "auto_ack"), _basic_get),
        Seam(
            f"{_BLOCKING}:BlockingChannel.consume",
            (
                *("self", "queue", "auto_ack", "exclusive", "arguments"),
                *("inactivity_timeout", "consumer_tag"),
            ),
            _consume,
            lately=("consumer_tag",),
        ),
    ),
)
