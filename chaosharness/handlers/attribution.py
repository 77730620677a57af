"""On whose behalf a scope works: a message taken up by hand, and put down again.

A handler gets a scope of its own for each message. A loop that takes messages by itself has one
scope, which follows the message in hand.
"""

from __future__ import annotations

from chaosharness.kernel.scope import Scope


def adopt(scope: Scope, *, entity: int, message: str, cause: int, hops: int) -> None:
    """Act on behalf of a message from now on; it is work in hand until `rest`.

    Args:
        scope: Who takes it up.
        entity: The workload item at its root.
        message: Its name in sites.
        cause: The event that handed it out.
        hops: How many messages led to it.
    """
    scope.entity = entity
    scope.message = message
    scope.hops = hops
    scope.cause = cause
    scope.steps = 0
    scope.world.in_flight[scope] = scope.place


def rest(scope: Scope) -> None:
    """Have nothing in hand: what is done next is done on nobody's behalf."""
    scope.world.in_flight.pop(scope, None)
    scope.entity = 0
    scope.message = ""
    scope.hops = 0


def takes_by_itself(scope: Scope) -> bool:
    """Say whether code follows the messages that it takes, and works for nobody else."""
    return scope.run is None and (not scope.entity or bool(scope.message))
