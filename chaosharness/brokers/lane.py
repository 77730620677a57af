"""A lane: what one producer sends stays in its order.

A client hands what it sends to one connection, in the order of its calls, and the broker
takes it in that order. So what delays one message holds back all that the same producer
sends after it, whichever task or handler sends it. Another producer has a lane of its own.

Source:
    KafkaProducer javadoc and KIP-98 (an idempotent producer keeps the order of its records
    of one log partition, retries included); AMQP 0-9-1, 4.7 (what is sent on one channel is
    processed in the order in which it was sent).

Not modelled:
    By ports, a Kafka producer that is not idempotent, retries by itself and has several requests
    under way (`max.in.flight.requests.per.connection` above 1) may change the order of two records:
    here such a retry is a `Duplicate`, right behind the first copy. The clients themselves do it as
    they are configured (`adapters/kafka/sending.py`). Several connections of
    one producer to several brokers, each with an order of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from chaosharness.faults import LostRequest
from chaosharness.handlers.port import (
    Peer,
    after,
    before,
    cut,
    have,
    lost,
    strikes,
    trouble,
)
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.history import UNASKED
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World


class Lane(msgspec.Struct, eq=False, kw_only=True):
    """The order of one producer, or one channel: its turns, first come first served.

    Args:
        asks: Whether its producer asks for an answer to what it sends.
        since_ms: When its producer was made.
    """

    asks: bool = True
    since_ms: int = 0
    _turns: deque[Turn] | None = None

    def join(self, scope: Scope) -> Turn:
        """Queue up behind all that was sent before."""
        turn = Turn(self, scope)
        if self._turns is None:
            self._turns = deque()
        self._turns.append(turn)
        return turn

    def first(self) -> Turn | None:
        """Return whose turn it is."""
        return self._turns[0] if self._turns else None

    def leave(self, turn: Turn) -> None:
        """Let a turn be over: it was taken, given up or refused."""
        if self._turns and turn in self._turns:
            self._turns.remove(turn)


class Publish(partial[Any]):
    """A method that publishes, bound to what is one producer's: a port, and no state of who has it.

    Code that sleeps is looked at by what it holds. A plain `partial` would be looked through each
    time, and all that is bound here is the harness's own.
    """

    __slots__ = ()


class Turn:
    """One message on its way through a lane."""

    __slots__ = ("_lane", "_resume", "_scope")

    def __init__(self, lane: Lane, scope: Scope) -> None:
        self._lane = lane
        self._resume: Resume | None = None
        self._scope = scope

    def come(self) -> Script[None]:
        """Wait until all that was sent before is through."""
        if self._lane.first() is not self:
            yield self._keep

    def _keep(self, resume: Resume) -> None:
        self._resume = resume

    def leave(self) -> None:
        """Be through, or give up; whoever is next goes on in a moment. Twice is as once."""
        lane, scope = self._lane, self._scope
        lane.leave(self)
        then = lane.first()
        if then is None or then._resume is None or not scope.incarnation.alive:
            return
        resume, then._resume = then._resume, None
        scope.world.after(0, resume)


def in_turn(
    lane: Lane,
    scope: Scope,
    operation: str,
    attempt: int,
    effect: Callable[[Scope, str, int, Any], Any],
    argument: Any,
    peer: Peer,
) -> Script[Any]:
    """Send through a lane, at a site where faults may strike: `handlers.port.careful` in turn.

    What is lost on its way holds nobody back: it never arrives. Nor does what follows wait
    for the answer to what went before.
    """
    turn = lane.join(scope)
    try:
        yield from turn.come()
        arrives = yield from before(scope, operation, attempt, peer)
        if arrives:
            result = have(scope, operation, attempt, effect, argument)
    finally:
        turn.leave()
    if not arrives:
        raise (yield from lost(scope, operation, attempt, peer, happened=False))
    yield from after(scope, operation, attempt, peer)
    return result


def blindly(
    lane: Lane,
    scope: Scope,
    operation: str,
    attempt: int,
    effect: Callable[[Scope, str, int, Any], Any],
    argument: Any,
    peer: Peer,
) -> Script[Any]:
    """Send through a lane, at a site where faults may strike, and ask for no answer.

    What is lost is lost: whoever sent it goes on at once, and nobody is told. Return what the
    effect returns.
    """
    turn = lane.join(scope)
    lost_on_its_way = False
    result = None
    try:
        yield from turn.come()
        for fault in strikes(scope, operation, "before", attempt):
            if isinstance(fault, LostRequest):
                lost_on_its_way = True
            else:
                yield from trouble(scope, fault, peer)
        if lost_on_its_way or cut(scope, peer, "out"):
            never_arrives(scope, operation, attempt)
        else:
            result = have(scope, operation, attempt, effect, argument)
    finally:
        scope.struck = ()
        turn.leave()
    for fault in strikes(scope, operation, "after", attempt):
        yield from trouble(scope, fault, peer)
    return result


def never_arrives(scope: Scope, operation: str, attempt: int, _: Any = None) -> None:
    """Write down that a message was not stored, and that nobody asked."""
    scope.record("reply", operation, attempt, {"outcome": UNASKED, "happened": False})


def is_disturbed(world: World, broker: str) -> bool:
    """Say whether a fault of this run may delay what is published to a broker."""
    return any(f"/{broker}.publish " in operation for operation in world.armed)
