"""Settling a delivery: acknowledgements that nobody answers, and the one that is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from chaosharness.brokers.events import set_aside
from chaosharness.brokers.message import copied
from chaosharness.brokers.nats.desk import Desk, Held
from chaosharness.brokers.nats.errors import answered
from chaosharness.brokers.nats.rows import ACK, ACK_SYNC, CHANGE, GET
from chaosharness.brokers.settling import carefully
from chaosharness.handlers.port import on_behalf, operate
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Scope
from chaosharness.machines.nats import operations as op

UNHEARD: Final = "it never arrived"


def settled_with(desk: Desk, handle: op.Handle, hands: Iterable[op.Handle]) -> set[op.Handle]:
    """Return what one acknowledgement settles: a delivery, or all up to it."""
    consumer = desk.machine.consumers.get((handle.stream, handle.consumer))
    if consumer is None or not consumer.acks_all:
        return {handle}
    return {
        one
        for one in hands
        if (one.stream, one.consumer) == (handle.stream, handle.consumer)
        and one.sequence <= handle.sequence
    }


def settle(
    desk: Desk,
    scope: Scope,
    site: str,
    operation: Any,
    held: Held,
    then: Callable[[Any], None],
) -> None:
    """Settle a delivery at a site, for a handler that has ended; then go on."""
    world = desk.world
    key = (site, scope.entity, scope.message)
    world.counts[key] = attempt = world.counts.get(key, 0) + 1
    if site not in world.surfaces:
        world.meet(site, ACK if type(operation) is op.Ack else CHANGE)
    if site in world.armed or world.unreachable:
        drive_in_kernel(send(desk, scope, site, attempt, operation, held), world, then)
    else:
        then(desk.do(operation, scope, site, attempt))


def send(
    desk: Desk, scope: Scope, site: str, attempt: int, operation: Any, held: Held
) -> Script[None]:
    """Send what nobody answers: its sender does not learn whether it arrived."""

    def do() -> bool:
        desk.do(operation, scope, site, attempt)
        return True

    yield from carefully(desk, scope, site, attempt, held.message, UNHEARD, do)


def tell(desk: Desk, scope: Scope, action: str, operation: Any, held: Held) -> Any:
    """Settle a delivery for code that goes on at once, and does not learn whether it arrived."""
    world = desk.world
    site = f"{scope.place}/{desk.name}.{action}"
    key = (site, scope.entity, scope.message)
    world.counts[key] = attempt = world.counts.get(key, 0) + 1
    if site not in world.surfaces:
        world.meet(site, ACK if action == "ack" else CHANGE)
    script = send(desk, scope, site, attempt, operation, held)
    if scope.colour.is_async:
        script = on_behalf(scope, scope.entity, scope.message, script)
    return scope.colour.drive(script, scope)


def acknowledge(desk: Desk, held: Held) -> Any:
    """Acknowledge, and wait until the server says that it knows."""

    def effect(scope: Scope, site: str, attempt: int, one: Held) -> None:
        answered(site, desk.do(op.Ack(one.handle), scope, site, attempt))

    return operate(f"{desk.name}.ack_sync", effect, held, desk, ACK_SYNC)


def get(desk: Desk, stream: str, sequence: int) -> Any:
    """Read a message by its sequence, whoever consumes it; return its record."""

    def effect(scope: Scope, site: str, attempt: int, operation: op.Get) -> Any:
        return answered(site, desk.do(operation, scope, site, attempt))

    return operate(f"{desk.name}.get", effect, op.Get(stream, sequence), desk, GET)


def put_aside(desk: Desk, held: Held, subject: str, scope: Scope, error: BaseException) -> None:
    """Put a message aside as its consumer does: publish it elsewhere, and acknowledge it."""
    message = held.message
    set_aside(scope, message, subject, error)
    letter = copied(message)
    letter.topic = subject
    desk.do(op.Publish(subject, message.body or b"", letter), scope)
    desk.do(op.Ack(held.handle), scope)
