"""Settling a message: by a request that may be lost on its way, or ahead of its handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaosharness.brokers.arrivals import Holding
from chaosharness.brokers.events import not_settled
from chaosharness.brokers.intake import Intake, Settle
from chaosharness.brokers.message import Message
from chaosharness.faults import LostRequest
from chaosharness.handlers.port import Peer, cut, strikes, trouble
from chaosharness.handlers.script import Script
from chaosharness.kernel.scope import Scope


def carefully(
    peer: Peer,
    scope: Scope,
    site: str,
    attempt: int,
    message: Message,
    unheard: str,
    do: Callable[[], Any],
) -> Script[bool]:
    """Settle a message where faults may strike; say whether the broker did it.

    Args:
        peer: The broker.
        scope: Whose code settles.
        site: The operation.
        attempt: Which time it is.
        message: What is settled.
        unheard: What is written down where the request is lost.
        do: Settles, and returns whether it was done.
    """
    lost = cut(scope, peer, "out")
    for fault in strikes(scope, site, "before", attempt):
        if isinstance(fault, LostRequest):
            lost = True
        else:
            yield from trouble(scope, fault, peer)
    if lost:
        not_settled(scope, site, attempt, unheard, message.published)
        return False
    done = bool(do())
    for fault in strikes(scope, site, "after", attempt):
        yield from trouble(scope, fault, peer)
    return done


def ahead(intake: Intake, held: Holding, settle: Settle) -> tuple[Scope, Callable[[Any], None]]:
    """Return the scope in which a message is settled before its handler, and what begins that.

    Args:
        intake: The handler.
        held: The message.
        settle: Called when the handler has ended: see `Intake.take`.
    """
    message, incarnation = held.message, intake.incarnation
    scope = Scope(
        incarnation.world, incarnation, intake.place, message.entity, held.cause, intake.colour
    )
    scope.message = message.name

    def begin(_: Any) -> None:
        if incarnation.alive:
            intake.take(message, scope.cause, settle)

    return scope, begin
