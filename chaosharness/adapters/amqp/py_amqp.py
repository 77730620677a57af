"""py-amqp, which kombu and Celery speak by: as it is, on a connection that has no socket.

All of it above its frames runs: connections, channels, promises, consumers, its exceptions. What it
would write is done at once, in the code that asks for it; what it would read waits here until
`drain_events` asks. Nobody answers heartbeats but who reads.

Source:
    py-amqp 5.4.2, `connection.py` (`connect`, `blocking_read`, `_on_start`, `_on_tune`),
    `abstract_channel.py` (`send_method`, `dispatch_method`), `spec.py`; AMQP 0-9-1 Reference.

Not modelled:
    Frames, and so `frame_max`; TLS and logins; blocked connections; transactions. The time-outs
    `connect_timeout`, `read_timeout` and `write_timeout` (10 s for a connection that nobody
    answers). A server that stops answering is noticed once the broker's `timeout_ms` is over, or by
    heartbeats.
"""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, Final

import amqp
from amqp import spec
from amqp.exceptions import ConnectionForced
from amqp.serialization import dumps
from vine import promise

from chaosharness.adapters.amqp.amqp import OpenAMQP, listening_at
from chaosharness.adapters.amqp.logs import quiet_in_runs
from chaosharness.adapters.amqp.market import TOLD, Lost
from chaosharness.adapters.amqp.reading import Inbox
from chaosharness.adapters.amqp.session import Cause, Session, connect
from chaosharness.adapters.amqp.wire import CHANNELS_MAX, FRAME_MAX, SERVER, carried_by
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.unmodelled import not_modelled
from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.port import current_scope
from chaosharness.kernel.scope import Scope

_CALLED: Final = {
    signature: f"{group.__name__}.{name}"
    for group in (spec.Connection, spec.Channel, spec.Exchange, spec.Queue, spec.Basic)
    for name, signature in vars(group).items()
    if isinstance(signature, tuple)
}
_CALLED.update({spec.Confirm.Select: "Confirm.Select", spec.Confirm.SelectOk: "Confirm.SelectOk"})
_SIGNATURE: Final = {name: signature for signature, name in _CALLED.items()}

_ASKS: Final[dict[str, tuple[str, ...]]] = {
    "Channel.Open": ("",),
    "Channel.Close": ("reply_code", "reply_text", "class_id", "method_id"),
    "Channel.CloseOk": (),
    "Exchange.Declare": (
        *("", "exchange", "type", "passive", "durable", "auto_delete", "internal", "nowait"),
        "arguments",
    ),
    "Exchange.Delete": ("", "exchange", "if_unused", "nowait"),
    "Exchange.Bind": ("", "destination", "source", "routing_key", "nowait", "arguments"),
    "Exchange.Unbind": ("", "destination", "source", "routing_key", "nowait", "arguments"),
    "Queue.Declare": (
        *("", "queue", "passive", "durable", "exclusive", "auto_delete", "nowait", "arguments"),
    ),
    "Queue.Bind": ("", "queue", "exchange", "routing_key", "nowait", "arguments"),
    "Queue.Unbind": ("", "queue", "exchange", "routing_key", "arguments"),
    "Queue.Delete": ("", "queue", "if_unused", "if_empty", "nowait"),
    "Queue.Purge": ("", "queue", "nowait"),
    "Basic.Qos": ("", "prefetch_count", "global_qos"),
    "Basic.Consume": (
        *("", "queue", "consumer_tag", "no_local", "no_ack", "exclusive", "nowait", "arguments"),
    ),
    "Basic.Cancel": ("consumer_tag", "nowait"),
    "Basic.Publish": ("", "exchange", "routing_key", "mandatory", "immediate"),
    "Basic.Get": ("", "queue", "no_ack"),
    "Basic.Ack": ("delivery_tag", "multiple"),
    "Basic.Nack": ("delivery_tag", "multiple", "requeue"),
    "Basic.Reject": ("delivery_tag", "requeue"),
    "Confirm.Select": ("nowait",),
}
"""What a client asks for, and what its arguments are called, in their order."""

_TELLS: Final[dict[str, tuple[str, ...]]] = {
    "Connection.Close": ("reply_code", "reply_text", "class_id", "method_id"),
    "Channel.Close": ("reply_code", "reply_text", "class_id", "method_id"),
    "Queue.DeclareOk": ("queue", "message_count", "consumer_count"),
    "Queue.DeleteOk": ("message_count",),
    "Queue.PurgeOk": ("message_count",),
    "Basic.ConsumeOk": ("consumer_tag",),
    "Basic.Cancel": ("consumer_tag",),
    "Basic.CancelOk": ("consumer_tag",),
    "Basic.Deliver": ("consumer_tag", "delivery_tag", "redelivered", "exchange", "routing_key"),
    "Basic.GetOk": ("delivery_tag", "redelivered", "exchange", "routing_key", "message_count"),
    "Basic.GetEmpty": ("cluster_id",),
    "Basic.Return": ("reply_code", "reply_text", "exchange", "routing_key"),
    "Basic.Ack": ("delivery_tag", "multiple"),
    "Basic.Nack": ("delivery_tag", "multiple"),
}
"""What a client is told, and the order of its arguments."""


class Wire:
    """What stands for the transport of a connection: its socket, and the frames on it.

    Attributes:
        is_attended: Somebody reads all the time, so that heartbeats are answered.
        holds: Whoever waits here has something in hand meanwhile.
    """

    def __init__(self, connection: Any) -> None:
        self.connected = True
        self.is_attended = False
        self.holds = False
        self._connection = connection
        self._inbox = Inbox()
        scope = current_scope("amqp.connect")
        host, port = _address(scope, connection.host)
        broker = listening_at(scope, "amqp", host, port)
        self._world = broker.world
        try:
            self.session: Session = blocking(connect)(broker, "amqp", self._sent, self._ended)
        except Lost:
            raise TimeoutError("timed out") from None

    def shake_hands(self) -> None:
        """Agree with the client on what both can do."""
        connection = self._connection
        connection._on_start(0, 9, dict(SERVER), b"PLAIN AMQPLAIN", "en_US")
        seconds = self.session.broker.definition.heartbeat_ms // 1000
        connection._on_tune(CHANNELS_MAX, FRAME_MAX, seconds)
        connection._on_open_ok()
        self.session.agree(connection.heartbeat or 0)
        ways = connection.authentication
        self.session.user = next((one.username for one in ways if hasattr(one, "username")), "")
        self.session.turn_away()

    def attend(self) -> None:
        """Have somebody read all the time from now on."""
        self.is_attended = True
        self.session.listen()

    def rouse(self) -> None:
        """Have whoever waits here look up, as if the wait were over."""
        self._inbox.rouse()

    def close(self) -> None:
        """Close the socket."""
        if self.connected:
            self.connected = False
            self.session.close()

    @staticmethod
    def having_timeout(timeout: float | None) -> Any:
        """Stand for a time-out of the socket's next operations."""
        return nullcontext()

    # ---- what it would write

    def write(self, channel: Any, signature: Any, arguments: Any, content: Any) -> None:
        """Do what a method asks for."""
        if not self.connected:
            raise ConnectionResetError(104, "Connection reset by peer")
        name = _CALLED.get(signature, str(signature))
        if channel.channel_id == 0:
            if name == "Connection.Close":
                self.connected = False
                self.session.close()
                self._inbox.put((0, "Connection.CloseOk", {}, None))
            return
        if name not in _ASKS:
            not_modelled("amqp", "Channel", name)
        names = zip(_ASKS[name], arguments or (), strict=False)
        method = SimpleNamespace(**{one: value for one, value in names if one})
        if name == "Basic.Consume" and not method.consumer_tag:
            method.consumer_tag = self.session.broker.new_name()
        given = None if content is None else _read(content)
        number = channel.channel_id
        error: BaseException | None = None
        try:
            blocking(self.session.perform)(number, name, method, given)
        except (Lost, *TOLD) as found:
            error = found
        line = self.session.lines.get(number)
        channel.line = line or getattr(channel, "line", None)
        if name == "Basic.Publish" and line is not None:
            line.published(method, given, error)
        elif error is not None:
            self.session.lose("connection lost")

    # ---- what it reads

    def _sent(self, number: int, name: str, fields: dict[str, Any], copy: Any = None) -> None:
        content = None
        if isinstance(copy, tuple):
            given = copy[0]
            content = amqp.Message(copy[1], application_headers=given.headers, **given.carried)
        elif copy is not None:
            carried = carried_by(copy)
            headers = carried.pop("headers", {})
            content = amqp.Message(bytes(copy.body or b""), application_headers=headers, **carried)
        self._inbox.put((number, name, fields, content))

    def _ended(self, cause: Cause, why: str) -> None:
        if cause == "closed":
            code, _, text = why.partition(" ")
            fields = {"reply_code": int(code), "reply_text": text, "class_id": 0, "method_id": 0}
            self._inbox.put((0, "Connection.Close", fields, None))
            return
        self.connected = False
        if cause == "silent":
            self._inbox.put(ConnectionForced("Too many heartbeats missed"))
        else:
            self._inbox.put(ConnectionResetError(104, "Connection reset by peer"))

    def read(self, timeout: float | None) -> None:
        """Hand one method to its channel, or wait for one.

        Raises:
            TimeoutError: None has come in time.
        """
        scope = current_scope("amqp.read", self._world)
        self.session.listen()
        try:
            if not self._inbox and timeout != 0:
                due_ms = None if timeout is None else self._world.now + max(round(timeout * 1e3), 1)
                scope.colour.block(self._inbox.waiting(scope, due_ms, holds=self.holds), scope)
            found = next(self._inbox.take(), None)
        finally:
            if not self.is_attended:
                self.session.turn_away()
        if found is None:
            raise TimeoutError("timed out")
        if isinstance(found, BaseException):
            raise found
        number, name, fields, content = found
        connection = self._connection
        signature = _SIGNATURE[name]
        channel = (connection.channels or {}).get(number)
        if channel is None:
            return
        channel.dispatch_method(signature, _payload(channel, signature, name, fields), content)


def _payload(channel: Any, signature: Any, name: str, fields: dict[str, Any]) -> bytes:
    """Return what stands in a frame after the name of its method."""
    form = channel._METHODS[signature].args
    if not form:
        return b"\0\0\0\0"
    values = [fields.get(one, "" if one == "cluster_id" else 0) for one in _TELLS[name]]
    packed: bytes = dumps(form, values)
    return b"\0\0\0\0" + packed


def _read(content: Any) -> tuple[Any, bytes, str]:
    """Return the properties of a client's message, its body, and what it calls its type."""
    carried = dict(content.properties)
    headers = carried.pop("application_headers", None) or {}
    body = content.body
    if isinstance(body, str):
        body = body.encode(carried.setdefault("content_encoding", "utf-8"))
    given = SimpleNamespace(**{**carried, "headers": dict(headers)}, carried=carried)
    return given, bytes(body or b""), "type"


def _address(scope: Scope, host: str) -> tuple[str, int | None]:
    name, _, port = host.partition(":")
    known = {one.name for one in scope.world.states.values() if isinstance(one, OpenAMQP)}
    if name == "127.0.0.1" and name not in known:
        name = "localhost"  # kombu writes the one for the other
    return name, int(port) if port else None


# ---- what is met


def _connect(real: Any, self: Any, callback: Any = None) -> Any:
    if self.connected:
        return callback() if callback else None
    try:
        self._transport = Wire(self)
        self._transport.shake_hands()
    except OSError:
        self.collect()
        raise
    return None


def _send_method(
    real: Any,
    self: Any,
    sig: Any,
    format: Any = None,
    args: Any = None,
    content: Any = None,
    wait: Any = None,
    callback: Any = None,
    returns_tuple: bool = False,
) -> Any:
    wire = None if self.connection is None else self.connection._transport
    if not isinstance(wire, Wire):
        return real(self, sig, format, args, content, wait, callback, returns_tuple)
    done = promise()
    if format:
        dumps(format, args)  # the library raises what cannot be written
    if content is not None:
        content._serialize_properties()
    wire.write(self, sig, args, content)
    if callback:
        done.then(callback)
    done()
    return self.wait(wait, returns_tuple=returns_tuple) if wait else done


def _blocking_read(real: Any, self: Any, timeout: float | None = None) -> Any:
    wire = self._transport
    if not isinstance(wire, Wire):
        return real(self, timeout)
    wire.read(timeout)
    return True


LIBRARY: Final = Library(
    "amqp",
    tested=">=5.2,<6",
    seams=(
        Seam("amqp.connection:Connection.connect", ("self", "callback"), _connect),
        Seam("amqp.connection:Connection.blocking_read", ("self", "timeout"), _blocking_read),
        Seam(
            "amqp.abstract_channel:AbstractChannel.send_method",
            (
                *("self", "sig", "format", "args", "content", "wait", "callback"),
                "returns_tuple",
            ),
            _send_method,
        ),
    ),
    warm=lambda: quiet_in_runs("amqp", "kombu"),
)
