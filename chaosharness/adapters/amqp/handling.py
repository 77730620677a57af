"""On whose behalf a client's code works: a callback for each message, or a loop that takes them.

A callback is a handler: it has a scope of its own for each message, and its place is called after
it. Code that takes messages by itself has one scope, which follows the message in hand.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

import attrs

from chaosharness.adapters.amqp.channel import Line
from chaosharness.brokers.message import Message
from chaosharness.handlers.attribution import adopt, rest, takes_by_itself
from chaosharness.handlers.colours import innermost
from chaosharness.handlers.places import told
from chaosharness.handlers.port import HANDLE, NOBODY, strikes, trouble
from chaosharness.handlers.script import Script
from chaosharness.handlers.threads import ThreadScope
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.kernel.site import Phase


def name_of(callback: Callable[..., Any]) -> str:
    """Return what sites call a callback: the user's function, not what a library put around it."""
    inner = innermost(callback)
    while isinstance(callback, partial) or hasattr(callback, "__wrapped__"):  # aio-pika wraps
        callback = callback.func if isinstance(callback, partial) else callback.__wrapped__
    if inner is not None and getattr(inner, "__name__", "") == "__call__":
        return type(callback).__name__
    return getattr(inner, "__name__", type(callback).__name__)


HELD_BACK: Final[list[Callable[[Any], bool]]] = []
"""Say of a callback that it only keeps messages for whoever asks for them."""

BEHIND: Final[list[Callable[[Any], Any]]] = []
"""Return the user's own function behind a library's callback, or None."""


def callback_of(consumer: Any) -> Any:
    """Return the user's function inside what a library has called with each message."""
    while isinstance(consumer, partial):
        first = consumer.args[0] if consumer.args else None
        consumer = first if callable(first) else consumer.func
    return consumer


def line_of(channel: Any) -> Line | None:
    """Return what stands at the broker for a channel of aiormq, if it is one of a run."""
    session = getattr(getattr(channel, "write_queue", None), "session", None)
    return None if session is None else session.lines.get(channel.number)


@attrs.define(eq=False)
class Handling:
    """One message in the hands of a callback."""

    scope: Scope
    operation: str
    attempt: int

    def strike(self, phase: Phase) -> Script[None]:
        """Suffer what strikes before the callback, or after it."""
        for fault in strikes(self.scope, self.operation, phase, self.attempt):
            yield from trouble(self.scope, fault, NOBODY)

    def ended(self, error: BaseException | None) -> None:
        """Take note of how the callback ended."""
        scope = self.scope
        scope.world.in_flight.pop(scope, None)
        if not scope.incarnation.alive or scope.world.ending is not None:
            return
        if error is None:
            scope.record("handled", self.operation, self.attempt, None)
            return
        scope.record("raised", self.operation, self.attempt, told(error))
        if scope.world.is_mistake(error):
            scope.world.refuse(error)


async def carried(own: Scope, held: Handling, work: Callable[[], Awaitable[Any]]) -> Any:
    """Have async code handle a message, with what strikes before it and after it.

    Args:
        own: The scope of who calls it; its task is the message's from now on.
        held: The message.
        work: Handles it.
    """
    armed = held.operation in own.world.armed
    SCOPE.set(held.scope)
    if armed:
        await own.colour.drive(held.strike("before"), held.scope)
    try:
        result = await work()
    except BaseException as error:
        held.ended(error)
        raise
    held.ended(None)
    if armed:
        await own.colour.drive(held.strike("after"), held.scope)
    return result


def handling(own: Scope, callback: Callable[..., Any], line: Line, tag: int) -> Handling | None:
    """Return the scope of a callback for a message that it begins with now."""
    taken = line.take_up(tag)
    return None if taken is None else handling_of(own, callback, line, taken)


def handling_of(
    own: Scope, callback: Callable[..., Any], run: object, taken: tuple[Message, int]
) -> Handling:
    """Return the scope of a callback for a message that was taken up before.

    Args:
        own: The scope of who calls it.
        callback: The user's function.
        run: What the scope is for.
        taken: The message, and the event by which it was handed out.
    """
    copy, cause = taken
    world, incarnation = own.world, own.incarnation
    place = f"{incarnation.service}.{name_of(callback)}"
    if own.thread is None:
        scope = Scope(
            world, incarnation, place, copy.entity, cause, own.colour, copy.hops, copy.name
        )
    else:  # a callback runs in the thread that consumes, and holds what that holds
        scope = ThreadScope(own, place, own.thread)
        scope.entity, scope.cause = copy.entity, cause
        scope.hops, scope.message = copy.hops, copy.name
    scope.run = run
    world.in_flight[scope] = place
    operation = f"{place}/handle"
    key = (operation, copy.entity, copy.name)
    world.counts[key] = attempt = world.counts.get(key, 0) + 1
    if operation not in world.surfaces:
        world.meet(operation, HANDLE)
    return Handling(scope, operation, attempt)


def take_in_hand(scope: Scope, line: Line, tag: int) -> None:
    """Act on behalf of a message from now on, in code that takes messages by itself."""
    taken = line.take_up(tag)
    if taken is None or not takes_by_itself(scope):
        return
    copy, cause = taken
    adopt(scope, entity=copy.entity, message=copy.name, cause=cause, hops=copy.hops)


def put_down(scope: Scope) -> None:
    """Have nothing in hand: what is done next is done on nobody's behalf."""
    if takes_by_itself(scope):
        rest(scope)
