"""What a client of nats-py listens to: core subjects, and push consumers of JetStream.

A callback is a handler: it has a scope of its own for each message, and its place is called after
it; one subscription calls it with one message at a time. Code that asks for the next message has
one scope, which follows the message in hand.

Whoever makes a push consumer says where it delivers. The server hands out at once all it may
(`ack_pending_max`) to whoever listens there, and AckWait runs for what waits in the client. Members
of a queue group are handed one message a millisecond, in turns.

Source:
    nats-py 2.16, `aio/subscription.py`, `js/client.py`; NATS documentation, "Consumers": push.

Not modelled:
    Heartbeats, flow control, slow consumers. Where a delivery to an ordered consumer is lost it is
    made anew by the server's side, under its own name.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import Any, Final

import attrs
import nats
from nats.aio.msg import Msg

from chaosharness.adapters.amqp.handling import carried, handling_of
from chaosharness.adapters.bell import Bell
from chaosharness.adapters.frames import users_frame
from chaosharness.adapters.nats import api
from chaosharness.adapters.nats.configs import Config
from chaosharness.adapters.nats.lasting import abandon, leave, leave_with, sweep
from chaosharness.brokers.arrivals import begin_wait
from chaosharness.brokers.message import Message
from chaosharness.brokers.nats.core import Listener
from chaosharness.brokers.nats.desk import Held, Puller
from chaosharness.brokers.nats.nats import OpenNATS
from chaosharness.brokers.nats.rows import ORDERED
from chaosharness.brokers.nats.settling import settled_with
from chaosharness.handlers.attribution import adopt, takes_by_itself
from chaosharness.handlers.port import current_scope, wait_of
from chaosharness.handlers.recall import of_stack
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.machines.nats import operations as op

SECOND_MS: Final = 1_000
ALL_THERE_IS: Final = 1 << 30
CHECKED_MS: Final = 10_000
"""How often an ordered consumer of nats-py looks whether it has heard anything since."""
WATCHERS: Final = ("nats.js.kv", "nats.js.object_store")
"""What of nats-py listens by itself, and hands on to whoever asks."""
SIZE: Final = "Nats-Msg-Size"
IN_ORDER: Final[ContextVar[bool]] = ContextVar("whether an ordered consumer is asked for")


@attrs.define(eq=False)
class Ear:
    """One subscription of a client, and what stands for it at the server."""

    client: Any
    sub: Any
    desk: OpenNATS
    scope: Scope
    listener: Listener | None = None
    puller: Puller | None = None
    is_ordered: bool = False
    last: int = 0
    began: int = 0
    bell: Bell = attrs.field(
        init=False, default=attrs.Factory(lambda self: Bell(self.desk.world), takes_self=True)
    )

    def listens(self) -> bool:
        """Say whether it still does."""
        client, sub = self.client, self.sub
        return (
            self.scope.incarnation.alive
            and not client.is_closed
            and client._subs.get(sub._id) is sub
        )

    def leave(self) -> None:
        """Listen no more."""
        if self.listener is not None:
            self.desk.core.leave(self.listener)
        if self.puller is not None:
            self.desk.lines.leave(self.puller)
            if self.is_ordered:
                abandon(self.desk, self.puller.place)
            else:
                leave(self.desk, self.puller.place)
        self.bell.ring()

    def miss(self, config: Config) -> None:
        """Hear nothing more, since somebody has deleted the consumer. An ordered one is made anew.

        Its client looks every ten seconds whether it has heard anything, a heartbeat say, since it
        looked last; so the second look from now on is the first that finds nothing.
        """
        if self.is_ordered and self.puller is not None:
            self.desk.lines.leave(self.puller)
            since = (self.desk.world.now - self.began) % CHECKED_MS
            self.desk.world.after(2 * CHECKED_MS - since, self._make_anew, config)

    def _make_anew(self, config: Config) -> None:
        puller, desk = self.puller, self.desk
        if puller is None or not self.listens():
            return
        key = api.make_again(desk, self.scope, puller.place, config, self.last + 1)
        if key is not None:
            puller.place = key
            self.sub._jsi._psub._consumer = key[1]
            api.pushes(desk)[self.sub._subject].ears.append(self)
            desk.world.effects += 1
            desk.lines.ask(puller)

    def hear(self, message: Message, reply: str, cause: int) -> None:
        """Take what has arrived."""
        self._keep(_msg(self.client, message, reply, self.sub), (message, cause))

    def pushed(self, held: list[Held]) -> None:
        """Take what a consumer has handed out, and be handed more."""
        known: dict[str, Held] = self.desk.clients.setdefault(self.scope.incarnation, {})
        take_in_hand(self.desk, self.scope, held)
        for one in held:
            msg = msg_of(self.client, one, self.desk, self.sub._id)
            known[msg.reply] = one
            self.last = one.handle.sequence
            self._keep(msg, (one.message, one.cause))
        if self.listens():
            assert self.puller is not None
            if self.puller.place not in self.desk.machine.consumers:
                return  # it was deleted meanwhile
            self.desk.lines.ask(self.puller)

    def _keep(self, msg: Msg, whose: tuple[Message, int]) -> None:
        sub, client = self.sub, self.client
        msg._whose = whose  # type: ignore[attr-defined]
        sub._received += 1
        if sub._max_msgs > 0 and sub._received >= sub._max_msgs:
            client._subs.pop(sub._id, None)
        if sub._future:
            if not sub._future.cancelled():
                sub._future.set_result(msg)
            return
        sub._pending_size += len(msg.data)
        sub._pending_queue.put_nowait(msg)
        self.bell.ring()


def in_hand(desk: OpenNATS, scope: Scope) -> set[op.Handle]:
    """Return what a process was handed and has not settled."""
    found: set[op.Handle] = desk.clients.setdefault((scope.incarnation, "in hand"), set())
    return found


def take_in_hand(desk: OpenNATS, scope: Scope, held: list[Held]) -> None:
    """Know what a process was handed, where that is to be acknowledged."""
    if held and desk.acknowledges((held[0].handle.stream, held[0].handle.consumer)):
        in_hand(desk, scope).update(one.handle for one in held)


def let_go(desk: OpenNATS, scope: Scope, held: Held, action: str) -> None:
    """Know that a process has settled a delivery, and all that is settled with it."""
    hands = in_hand(desk, scope)
    if action == "nak":
        hands.discard(held.handle)
    elif action != "in_progress":
        hands -= settled_with(desk, held.handle, hands)


def msg_of(client: Any, held: Held, desk: OpenNATS, sid: int = 0) -> Msg:
    """Return a message of JetStream as a client has it."""
    message, data = held.message, held.message.body or b""
    headers = {name: str(value) for name, value in message.headers.items()}
    config = api.consumers_of(desk).get((held.handle.stream, held.handle.consumer))
    if config is not None and config["headers_only"]:
        headers[SIZE], data = str(len(data)), b""
    reply = api.reply_to(held)
    return Msg(
        _client=client,
        subject=message.topic,
        reply=reply,
        data=data,
        headers=headers or None,
        _sid=sid,
    )


def _msg(client: Any, message: Message, reply: str, sub: Any) -> Msg:
    return Msg(
        _client=client,
        subject=message.topic,
        reply=reply,
        data=message.body or b"",
        headers={name: str(value) for name, value in message.headers.items()} or None,
        _sid=sub._id,
    )


# ---- beginning and ending


def listen(client: Any, sub: Any, desk: OpenNATS, scope: Scope) -> None:
    """Have a subscription hear what it asks for."""
    ear = Ear(client, sub, desk, scope)
    service, incarnation = scope.incarnation.service, scope.incarnation
    ears: dict[Any, Ear] = desk.clients.setdefault((incarnation, "ears"), {})
    ears[client, sub._id] = ear
    sub._ear = ear
    own = sub._subject.startswith(client._inbox_prefix.decode())
    if sub._cb is not None and not (own and sub._cb == client._request_sub_callback):
        own_code = getattr(sub._cb, "__module__", "") in WATCHERS
        sub._cb = partial(_watched if own_code else _called, sub._cb)
    push = api.pushes(desk).get(sub._subject)
    if push is not None:
        push.ears.append(ear)
        ear.puller = desk.puller_at(incarnation, push.key, service, ear.pushed)
        if IN_ORDER.get(False):
            ear.is_ordered, ear.puller.profile, ear.began = True, ORDERED, desk.world.now
            incarnation.on_death.append(ear.leave)
            sweep(desk)
        else:
            leave_with(desk, push.key, incarnation)
        if not push.group:
            one = desk.machine.consumers[push.key].settings
            limited = one.ack != "none" and one.ack_pending_max > 0
            ear.puller.most = one.ack_pending_max if limited else ALL_THERE_IS
        desk.lines.ask(ear.puller)
        return
    site = "" if own else f"{desk.name}.{sub._subject}/deliver to {service}"
    ear.listener = Listener(
        incarnation, sub._subject, sub._queue or "", site, ear.hear, ear.listens
    )
    desk.core.join(ear.listener)
    incarnation.on_death.append(ear.leave)


def ears_of(desk: OpenNATS, scope: Scope, client: Any) -> list[Ear]:
    """Return the subscriptions of a client."""
    ears: dict[Any, Ear] = desk.clients.get((scope.incarnation, "ears"), {})
    return [one for (whose, _), one in ears.items() if whose is client]


# ---- callbacks


async def _called(callback: Any, msg: Msg) -> None:
    """Have a callback handle a message, in a scope of its own."""
    whose = getattr(msg, "_whose", None)
    own = SCOPE.get()
    if whose is None or own is None:
        await callback(msg)
        return
    try:
        held = handling_of(own, _users(callback), callback, whose)
        await carried(own, held, partial(callback, msg))
    finally:
        SCOPE.set(own)


def _users(callback: Any) -> Any:
    """Return the user's function inside of one that acknowledges by itself."""
    code = getattr(callback, "__code__", None)
    if code is None or code.co_name != "new_callback" or "callback" not in code.co_freevars:
        return callback
    return callback.__closure__[code.co_freevars.index("callback")].cell_contents


async def _watched(callback: Any, msg: Msg) -> None:
    """Have a watcher of nats-py keep a message; know whose the update is that it makes of it."""
    await callback(msg)
    whose = getattr(msg, "_whose", None)
    watcher = callback.__closure__[callback.__code__.co_freevars.index("watcher")].cell_contents
    for update in watcher._updates._queue:
        if update is not None and not hasattr(update, "_whose"):
            update._whose = whose


async def next_update(real: Any, self: Any, *given: Any, **options: Any) -> Any:
    """Stand for the next update of a watcher: whoever takes it acts on behalf of it from now on."""
    scope = current_scope("nats.watch")
    if takes_by_itself(scope):
        begin_wait(scope)
    found = await real(self, *given, **options)
    whose = getattr(found, "_whose", None)
    if whose is not None and takes_by_itself(scope):
        message, cause = whose
        adopt(scope, entity=message.entity, message=message.name, cause=cause, hops=message.hops)
    return found


# ---- the next message


async def next_of(sub: Any, timeout: float | None) -> Msg | None:
    """Return the next message of a subscription; None if none comes, or it has ended."""
    ear: Ear = sub._ear
    scope = current_scope("nats.next_msg")
    if takes_by_itself(scope):
        begin_wait(scope)
    if sub._pending_queue.empty() and ear.listens():
        wait_ms = None if timeout is None else max(round(timeout * SECOND_MS), 1)
        nap: Any = None
        if wait_ms is not None:
            scope.world.know_duration(wait_ms)
            holds = ear.puller is not None and bool(in_hand(ear.desk, scope))
            nap = wait_of(scope, wait_ms, of_stack, users_frame(), holds=holds)
        await scope.colour.drive(ear.bell.wait(wait_ms, nap), scope)
    if sub._pending_queue.empty():
        return None
    msg: Msg = sub._pending_queue.get_nowait()
    sub._pending_size -= len(msg.data)
    sub._pending_queue.task_done()
    whose = getattr(msg, "_whose", None)
    if whose is not None and takes_by_itself(scope):
        message, cause = whose
        adopt(scope, entity=message.entity, message=message.name, cause=cause, hops=message.hops)
    return msg


async def next_msg(real: Any, self: Any, timeout: float | None = 1.0) -> Msg:
    """Stand for `Subscription.next_msg`."""
    if not hasattr(self, "_ear"):
        return await real(self, timeout)  # type: ignore[no-any-return]
    if self._conn.is_closed:
        raise nats.errors.ConnectionClosedError
    if self._cb:
        raise nats.errors.Error("nats: next_msg cannot be used in async subscriptions")
    found = await next_of(self, timeout)
    if found is not None:
        return found
    if self._conn.is_closed:
        raise nats.errors.ConnectionClosedError
    raise nats.errors.TimeoutError


async def next_in_turn(real: Any, self: Any) -> Msg:
    """Stand for one step of `async for message in subscription.messages`."""
    if not hasattr(self._sub, "_ear"):
        return await real(self)  # type: ignore[no-any-return]
    found = await next_of(self._sub, None)
    if found is None:
        raise StopAsyncIteration
    return found
