"""A view that shows the last status of each order, from a stream of what happened to it.

chaosharness run models.nats.view:one_at_a_time
"""

from __future__ import annotations

from msgspec import Struct

from chaosharness import (
    NATS,
    Env,
    KeyValue,
    NATSConsumer,
    NATSStream,
    System,
    idempotent,
    never_stuck,
)

STATUSES = ("placed", "paid", "shipped")


class Changed(Struct, frozen=True):
    """An order has another status."""

    order: str
    status: str


def ordered() -> System:
    """A right one: an ordered consumer, made anew with each process, reads all from the start."""
    return _system("view-ordered", is_ordered=True)


def one_at_a_time() -> System:
    """A right one: nothing newer is handed out before a message is acknowledged."""
    return _system("view-single", ack_pending_max=1)


def assumes_the_order_of_the_stream() -> System:
    """A stream is in order, so the view believes what came last: until something comes back."""
    return _system("view-hopeful")


def _system(name: str, *, ack_pending_max: int = 1_000, is_ordered: bool = False) -> System:
    system = System(name, arrival_ms=1)
    view_of = NATSConsumer(ack_pending_max=ack_pending_max)
    stream = NATSStream(subjects="orders.*", consumers={} if is_ordered else {"view": view_of})
    bus = system.add(NATS("bus", {"ORDERS": stream}))
    shown = system.add(KeyValue("shown"))

    @system.service("view")
    def view(env: Env) -> None:
        store = env.connect(shown)

        def on_changed(changed: Changed) -> None:
            store.put(changed.order, changed.status)

        if is_ordered:
            env.consume(
                bus, "ORDERS", on_changed, ordered=True, on_error="crash", on_unreadable="skip"
            )
        else:
            env.consume(bus, "view", on_changed, on_unreadable="term")

    @system.entry(examples=["o1"])
    def change(env: Env, order: str) -> None:
        publish = env.publisher(bus)
        for status in STATUSES:
            publish(f"orders.{order}", Changed(order, status), key=order, message_id=order + status)

    system.claim(idempotent(), never_stuck())
    return system
