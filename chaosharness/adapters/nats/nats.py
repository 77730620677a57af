"""nats-py on the broker `NATS`: JetStream, as far as it is modelled.

The client and its contexts are nats-py's own. What they send is met where it is published or
requested, in the task of the code that asks: a publish, a fetch, a settlement and each request of
JetStream's API is a site. Nothing is sent again by itself: a publish without an answer raises
`nats.errors.TimeoutError`, and the message may be stored.

Source:
    nats-py 2.16, `aio/client.py`, `aio/msg.py`, `js/client.py`, `js/manager.py`; NATS
    documentation, "JetStream".

Not modelled:
    `publish_async`, reconnecting, slow consumers. Heartbeats and flow control, which a client
    answers by itself: an ordered consumer is made anew where they would show that it has missed
    something.
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any, Final

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import ServiceUnavailableError
from nats.protocol.command import hpub_cmd, pub_cmd

from chaosharness.adapters.aws.received import Received
from chaosharness.adapters.dispatch import Library, Seam
from chaosharness.adapters.frames import users_frame
from chaosharness.adapters.nats import api, configs
from chaosharness.adapters.nats.buckets import called, is_of_bucket
from chaosharness.adapters.nats.lasting import idle, leave_with, see_to
from chaosharness.adapters.nats.listening import (
    IN_ORDER,
    ears_of,
    in_hand,
    let_go,
    listen,
    msg_of,
    next_in_turn,
    next_msg,
    next_update,
    take_in_hand,
)
from chaosharness.adapters.nats.server import desk_of, error_of, left_out, line_to
from chaosharness.adapters.spoken import note_spoken
from chaosharness.brokers.arrivals import Arrivals, begin_wait
from chaosharness.brokers.lane import Lane
from chaosharness.brokers.message import NO_HEADERS, Message
from chaosharness.brokers.nats.asked import asks_by, expected_by, id_by, refused_by
from chaosharness.brokers.nats.desk import Held, Key
from chaosharness.brokers.nats.errors import NATSError, answered
from chaosharness.brokers.nats.nats import OpenNATS
from chaosharness.brokers.nats.rows import ACK_SYNC, GET, PUBLISH, PUT
from chaosharness.brokers.nats.settling import tell
from chaosharness.handlers.attribution import adopt, takes_by_itself
from chaosharness.handlers.port import current_scope, operate, wait_of
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.machines.nats import operations as op

_WHITE_SPACE: Final = re.compile(r"[ \t\r\n]")
LIBRARY_NAME: Final = "nats"
ACKS: Final = "$JS.ACK."
VERSION: Final = "2.15.1"
SECOND_MS: Final = 1_000
NS_A_MS: Final = 1_000_000


# ---- the connection


async def _connect(real: Any, self: Any, s: Any) -> None:
    scope = current_scope("nats.connect")
    others = [one.uri for one in self._server_pool]
    self._desk = desk_of(scope, [s.uri, *others])
    self._lane = Lane()
    s.server_version = VERSION


async def _begin(real: Any, self: Any) -> None:
    self._server_info = {"version": VERSION, "headers": True, "max_payload": 1 << 20}
    self._max_payload = 1 << 20
    self._status = Client.CONNECTED


async def _nothing(real: Any, self: Any, *given: Any, **options: Any) -> None:
    """Send nothing: what is asked for is met above."""


async def _subscribe(real: Any, self: Any, sub: Any) -> None:
    scope = current_scope("nats.subscribe")
    desk = _desk(self, scope)
    note_spoken(scope, LIBRARY_NAME, f"{desk.name}.subscribe")
    listen(self, sub, desk, scope)


async def _unsubscribe(real: Any, self: Any, sid: int, limit: int = 0) -> None:
    scope = current_scope("nats.unsubscribe")
    for ear in ears_of(_desk(self, scope), scope, self):
        if ear.sub._id == sid and not limit:
            ear.leave()


async def _close(real: Any, self: Any, status: int, do_cbs: bool = True) -> None:
    scope = SCOPE.get()
    desk: OpenNATS | None = getattr(self, "_desk", None)
    await real(self, status, do_cbs)
    if scope is not None and desk is not None and desk.world is scope.world:
        for ear in ears_of(desk, scope, self):
            ear.leave()


async def _push_subscribe(real: Any, self: Any, subject: str, *given: Any, **options: Any) -> Any:
    """Have the consumer be made by whoever listens first, as nats-py would."""
    scope = current_scope("nats.subscribe")
    desk = _desk(self._nc, scope)
    asked = dict(zip(_PUSHES[2:], given, strict=False)) | options
    key = desk.consumers.get(asked.get("queue") or asked.get("durable") or "")
    if key is not None and api.is_declared(desk, key):
        desk.clients.setdefault("to be pushed", set()).add(key)
    token = IN_ORDER.set(bool(asked.get("ordered_consumer")))
    try:
        return await real(self, subject, *given, **options)
    finally:
        IN_ORDER.reset(token)


async def _pull_subscribe(real: Any, self: Any, subject: str, *given: Any, **options: Any) -> Any:
    """Hold what the code would make against what is declared: nats-py asks first, and finds it."""
    asked = dict(zip(_PULLS[2:], given, strict=False)) | options
    desk = _desk(self._nc, current_scope("nats.pull_subscribe"))
    key = desk.consumers.get(asked.get("durable") or "")
    if key is not None and asked.get("stream") in (None, key[0]) and api.is_declared(desk, key):
        _take_for_pull(desk, key, asked.get("config"), subject)
    return await real(self, subject, *given, **options)


def _take_for_pull(desk: OpenNATS, key: Key, config: Any, subject: str) -> None:
    """Have a consumer that is declared be one that is pulled from."""
    wanted = configs.consumer_config(key[1], desk.machine.consumers[key].settings)
    if config is not None:
        given = json.loads(json.dumps(config.as_dict()))
        if not given.get("filter_subjects"):
            given["filter_subject"] = subject
        api.check_consumer(desk, key, given)
    api.adopt_consumer(desk, key, wanted)


def _desk(client: Any, scope: Scope) -> OpenNATS:
    desk: OpenNATS | None = getattr(client, "_desk", None)
    if desk is None or desk.world is not scope.world:
        raise nats.errors.ConnectionClosedError
    if client.is_closed:
        raise nats.errors.ConnectionClosedError
    return desk


# ---- what is sent


async def _publish(
    real: Any, self: Any, subject: str, payload: bytes = b"", reply: str = "", headers: Any = None
) -> None:
    scope = current_scope("nats.publish")
    desk = _desk(self, scope)
    if not subject.startswith(ACKS):
        await _say(self, desk, scope, subject, payload, reply, headers)
        return
    held = _held(desk, scope, subject)
    action, operation = _settlement(held, payload)
    let_go(desk, scope, held, action)
    note_spoken(scope, LIBRARY_NAME, f"{desk.name}.{action}")
    if not desk.acknowledges((held.handle.stream, held.handle.consumer)):
        return  # nobody listens
    await tell(desk, scope, action, operation, held)
    idle(desk, (held.handle.stream, held.handle.consumer))


def _check(client: Any, subject: str, payload: bytes, headers: Any) -> None:
    """Raise what nats-py raises by itself: it writes a message before it sends it.

    Raises:
        BadSubjectError: The subject is empty, or has white space.
        MaxPayloadError: The server takes no more than 1 MiB.
        TypeError: The payload is no bytes.
        AttributeError: A header is no text.
    """
    if not subject or (_WHITE_SPACE.search(subject) and not _skips(client)):
        raise nats.errors.BadSubjectError
    if len(payload) > client._max_payload:
        raise nats.errors.MaxPayloadError
    if headers is None:
        pub_cmd(subject, "", payload)
        return
    for name, value in headers.items():
        name.strip()
        value.strip()
    hpub_cmd(subject, "", bytearray(), payload)


def _plain(headers: Any) -> dict[str, Any]:
    """Return headers as they are sent: nats-py names its own by an enumeration."""
    return {str.__str__(name).strip(): value for name, value in (headers or {}).items()}


def _skips(client: Any) -> bool:
    """Whether a client was told not to look at subjects (from 2.12 on)."""
    return bool(getattr(client, "_skip_subject_validation", False))


async def _say(
    client: Any,
    desk: OpenNATS,
    scope: Scope,
    subject: str,
    payload: bytes,
    reply: str,
    headers: Any,
) -> None:
    """Say something to those who listen now, and to the streams that keep it."""
    if client.is_draining_pubs:
        raise nats.errors.ConnectionDrainingError
    _check(client, subject, payload, headers)
    inbox = subject.startswith(client._inbox_prefix.decode())
    said = "respond" if inbox else f"publish_core {subject}"
    note_spoken(scope, LIBRARY_NAME, f"{desk.name}.{said}")
    message = Message(
        subject,
        None,
        NO_HEADERS if headers is None else _plain(headers),
        bytes(payload),
        scope.entity,
        scope.hops + 1,
    )
    await desk.core.publish(
        client._lane, scope, f"{desk.name}.{said}", message, reply, line_to(desk, None)
    )


def _settlement(held: Held, payload: bytes) -> tuple[str, Any]:
    """Return what is done to a delivery, and what sites call it."""
    word, _, rest = payload.partition(b" ")
    handle = held.handle
    if word == Msg.Ack.Nak:
        delay_ms = json.loads(rest)["delay"] // NS_A_MS if rest else None
        return "nak", op.Nak(handle, delay_ms)
    if word == Msg.Ack.Progress:
        return "in_progress", op.InProgress(handle)
    if word == Msg.Ack.Term:
        return "term", op.Term(handle, rest.decode())
    return "ack", op.Ack(handle)


def _held(desk: OpenNATS, scope: Scope, reply: str) -> Held:
    known: dict[str, Held] = desk.clients.setdefault(scope.incarnation, {})
    found = known.get(reply)
    if found is None:
        left_out(f"settling {reply!r}, which this process was not handed")
    return found


async def _request(
    real: Any,
    self: Any,
    subject: str,
    payload: bytes = b"",
    timeout: float = 0.5,
    old_style: bool = False,
    headers: Any = None,
) -> Any:
    scope = current_scope("nats.request")
    desk = _desk(self, scope)
    line = line_to(desk, timeout)
    _check(self, subject, payload, headers)
    try:
        if subject.startswith(api.DIRECT):
            note_spoken(scope, LIBRARY_NAME, f"{desk.name}.api")
            got = await operate(f"{desk.name}.api", _got, (desk, subject, payload), line, GET)
            if got is None:
                raise nats.errors.NoRespondersError
            return Msg(_client=self, subject=subject, data=got[1], headers=got[0])
        if subject.startswith(api.PREFIX):
            note_spoken(scope, LIBRARY_NAME, f"{desk.name}.api")
            said = await operate(f"{desk.name}.api", _asked, (desk, subject, payload), line, GET)
        elif subject.startswith(ACKS):
            note_spoken(scope, LIBRARY_NAME, f"{desk.name}.ack_sync")
            held = _held(desk, scope, subject)
            let_go(desk, scope, held, "ack")
            key = held.handle.stream, held.handle.consumer
            surface = ACK_SYNC if desk.acknowledges(key) else GET
            await operate(f"{desk.name}.ack_sync", _acked, (desk, held), line, surface)
            idle(desk, key)
            said = None
        elif desk.core.keeps(subject):
            said = await _stored(self, desk, scope, subject, payload, headers, line)
        else:
            if not await scope.colour.drive(desk.core.ask(subject), scope):
                raise nats.errors.NoRespondersError
            return await real(self, subject, payload, timeout, old_style, headers)
    except NATSError as error:
        raise error_of(error) from None
    data = b"" if said is None else json.dumps(said).encode()
    return Msg(_client=self, subject=subject, data=data)


def _asked(scope: Scope, operation: str, attempt: int, argument: Any) -> Any:
    desk, subject, payload = argument
    words = subject.split(".")
    if len(words) > 5:
        see_to(desk, (words[4], words[5]))
    asked = api.Asked(desk, scope, operation, attempt)
    said = api.answer(asked, subject, payload)
    if "stream_name" in said and ".INFO." not in subject:
        idle(desk, (said["stream_name"], said["name"]))
    return said


def _got(scope: Scope, operation: str, attempt: int, argument: Any) -> Any:
    desk, subject, payload = argument
    return api.direct(desk, subject, payload)


def _acked(scope: Scope, operation: str, attempt: int, argument: Any) -> None:
    desk, held = argument
    answered(operation, desk.do(op.Ack(held.handle), scope, operation, attempt))


async def _stored(
    client: Any, desk: OpenNATS, scope: Scope, subject: str, payload: bytes, headers: Any, line: Any
) -> dict[str, Any]:
    """Publish a message on a subject that a stream keeps; return the stream's answer."""
    note_spoken(scope, LIBRARY_NAME, f"{desk.name}.publish {called(subject)}")
    given = _plain(headers)
    if (why := refused_by(given)) is not None:
        raise NATSError(f"{scope.place}/{desk.name}.publish {called(subject)}", why)
    message = Message(
        subject,
        None,
        NO_HEADERS if headers is None else given,
        bytes(payload),
        scope.entity,
        scope.hops + 1,
    )
    draft = (message, id_by(given), expected_by(given), scope.message, asks_by(given))
    surface = PUT if is_of_bucket(desk, subject) else PUBLISH
    name = called(subject)
    done = await desk.send(client._lane, scope, scope.entity, draft, line, name, surface)
    said = {"stream": done.stream, "seq": done.sequence}
    return {**said, "duplicate": True} if done.duplicate else said


# ---- fetching


class _Source:
    """What one pull subscription fetches from."""

    def __init__(self, desk: OpenNATS, scope: Scope, stream: str, consumer: str) -> None:
        self.desk = desk
        service = scope.incarnation.service
        self._arrivals: Arrivals[Held] = Arrivals(desk.world, desk.lines)
        key = stream, consumer
        self._puller = desk.puller_at(scope.incarnation, key, service, self._arrivals.take)
        leave_with(desk, key, scope.incarnation)

    def fetch(self, scope: Scope, most: int, wait_ms: int, nap: Any) -> Script[list[Held]]:
        """Wait for up to so many messages, for so long."""
        world, arrivals = self.desk.world, self._arrivals
        world.know_duration(wait_ms)
        self._puller.most = most
        if not arrivals:
            yield from arrivals.wait(self._puller, world.now + wait_ms, nap)
        return arrivals.all()


async def _fetch(
    real: Any, self: Any, batch: int = 1, timeout: float | None = 5, heartbeat: Any = None
) -> list[Msg]:
    if batch < 1:
        raise ValueError("nats: invalid batch size")
    if timeout is None:
        left_out("fetch(timeout=None)", ": give it a time to wait")
    if timeout <= 0:
        raise ValueError("nats: invalid fetch timeout")
    scope = current_scope("nats.fetch")
    desk = _desk(self._nc, scope)
    key = self._stream, self._consumer
    see_to(desk, key)
    if key not in desk.machine.consumers:
        await scope.colour.drive(desk.core.ask(self._nms), scope)
        raise ServiceUnavailableError  # nobody is there who could answer
    _check_pull(desk, key)
    source = getattr(self, "_source", None)
    if source is None or source.desk is not desk:
        source = self._source = _Source(desk, scope, self._stream, self._consumer)
    note_spoken(scope, LIBRARY_NAME, f"{desk.name}.fetch")
    known: dict[str, Held] = desk.clients.setdefault(scope.incarnation, {})
    if takes_by_itself(scope):
        begin_wait(scope)
    hand = in_hand(desk, scope)
    wait_ms = max(round(timeout * SECOND_MS), desk.latency_ms)
    nap = wait_of(scope, wait_ms, of_stack, users_frame(), holds=bool(hand))
    held = await scope.colour.drive(source.fetch(scope, batch, wait_ms, nap), scope)
    idle(desk, key)
    if not held:
        raise nats.errors.TimeoutError
    take_in_hand(desk, scope, held)
    known.update((api.reply_to(one), one) for one in held)
    return Received([msg_of(self._nc, one, desk) for one in held], partial(_go_to, scope, held))


def _check_pull(desk: OpenNATS, key: Key) -> None:
    """Call the run off where a push consumer is fetched from: a server never answers that."""
    if api.is_declared(desk, key):
        _take_for_pull(desk, key, None, "")
    if api.pushed(desk, key) is not None:
        left_out(
            f"fetching from {key[1]!r} of {key[0]!r}, which delivers by itself",
            ": no answer would come. Subscribe to it, or make one without deliver_subject",
        )


def _go_to(scope: Scope, held: list[Held], index: int) -> None:
    """Act on behalf of a message from now on."""
    if takes_by_itself(scope):
        one = held[index]
        message = one.message
        adopt(
            scope, entity=message.entity, message=message.name, cause=one.cause, hops=message.hops
        )


_PUSHES: Final = (
    *("self", "subject", "queue", "cb", "durable", "stream", "config", "manual_ack"),
    *("ordered_consumer", "idle_heartbeat", "flow_control", "pending_msgs_limit"),
    *("pending_bytes_limit", "deliver_policy", "headers_only", "inactive_threshold"),
)
_PULLS: Final = (
    *("self", "subject", "durable", "stream", "config"),
    *("pending_msgs_limit", "pending_bytes_limit", "inbox_prefix"),
)
_CLIENT: Final = "nats.aio.client:Client."
_ITERATOR: Final = "nats.aio.subscription:_SubscriptionMessageIterator."
_JSI: Final = "nats.js.client:JetStreamContext._JSI."
_PULL: Final = "nats.js.client:JetStreamContext.PullSubscription."
LIBRARY: Final = Library(
    "nats-py",
    tested=">=2.16,<3",
    seams=(
        Seam(f"{_CLIENT}_connect_to_server", ("self", "s"), _connect),
        Seam(f"{_CLIENT}_process_connect_init", ("self",), _begin),
        Seam(f"{_CLIENT}_send_subscribe", ("self", "sub"), _subscribe),
        Seam(f"{_CLIENT}_send_unsubscribe", ("self", "sid", "limit"), _unsubscribe),
        Seam(f"{_CLIENT}_close", ("self", "status", "do_cbs"), _close),
        Seam("nats.aio.subscription:Subscription.next_msg", ("self", "timeout"), next_msg),
        Seam(f"{_ITERATOR}__anext__", ("self",), next_in_turn),
        Seam("nats.js.client:JetStreamContext.subscribe", _PUSHES, _push_subscribe),
        Seam("nats.js.client:JetStreamContext.pull_subscribe", _PULLS, _pull_subscribe),
        Seam(f"{_CLIENT}_flush_pending", ("self", "force_flush"), _nothing),
        Seam(f"{_CLIENT}flush", ("self", "timeout"), _nothing),
        Seam(f"{_CLIENT}publish", ("self", "subject", "payload", "reply", "headers"), _publish),
        Seam(
            f"{_CLIENT}request",
            ("self", "subject", "payload", "timeout", "old_style", "headers"),
            _request,
        ),
        Seam(f"{_PULL}fetch", ("self", "batch", "timeout", "heartbeat"), _fetch),
        Seam(f"{_JSI}activity_check", ("self",), _nothing),
        Seam(f"{_JSI}check_flow_control_response", ("self",), _nothing),
        Seam("nats.js.kv:KeyValue.KeyWatcher.updates", ("self", "timeout"), next_update),
        Seam("nats.js.kv:KeyValue.KeyWatcher.__anext__", ("self",), next_update),
        Seam(
            "nats.js.object_store:ObjectStore.ObjectWatcher.updates",
            ("self", "timeout"),
            next_update,
        ),
        Seam("nats.js.object_store:ObjectStore.ObjectWatcher.__anext__", ("self",), next_update),
    ),
)
