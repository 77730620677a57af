"""A desk that takes orders, and one that charges them, with a work queue between.

chaosharness run models.nats.desk:desk
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from msgspec import Struct
from msgspec.json import decode

from chaosharness import (
    NATS,
    Env,
    Gateway,
    NATSConsumer,
    NATSStream,
    System,
    idempotent,
    never_charged_twice,
    never_stuck,
    nothing_acknowledged_lost,
)

CHECK_S = 20
"""How long it takes to look at an order before it is charged."""

ACK_WAIT_MS = 60_000
RETRY_S = 10.0
TRIES = 8
"""With ten seconds between them all are within two minutes; then the order is left for later."""

LATE_S = 600.0
"""Later than the two minutes in which a stream recognises a message id."""


class Order(Struct, frozen=True):
    """What is ordered."""

    order: str
    cents: int


class Charge(Struct, frozen=True):
    """What is to be charged, and how often that was asked for."""

    order: str
    cents: int
    attempt: int


def desk() -> System:
    """The right one: a charge is named after its order, whoever asks for it, and when."""
    return _system("desk")


def ack_wait_shorter_than_the_handler() -> System:
    """A message comes again before its handler is done: no fault is needed for two charges.

    Each handler has a name of its own for its charge, and there are two to handle a message.
    """
    return _system("desk-hasty", ack_wait_ms=15_000, named="anew", replicas=2)


def window_longer_than_the_retry() -> System:
    """Another right one: a charge is named after the attempt, and the stream knows it again.

    All attempts are made in less than the two minutes in which it does.
    """
    return _system("desk-in-time", named="by attempt")


def no_message_id() -> System:
    """The same without an id: what is published again is a second message, and charged."""
    return _system("desk-nameless", named="by attempt", message_id=False)


def window_shorter_than_the_retry() -> System:
    """The message has an id, and is published again when the stream has forgotten it."""
    return _system("desk-late", named="by attempt", retry_s=LATE_S)


def acknowledged_before_the_work() -> System:
    """A message is acknowledged, and then handled: what dies in between is lost."""
    return _system("desk-quick", acknowledge="before")


def terminated_at_any_error() -> System:
    """An order that cannot be charged just now is terminated, as if nobody could ever read it."""
    return _system("desk-strict", on_error="term")


def no_dead_letters() -> System:
    """After three deliveries nobody has the order any more, and nobody is told."""
    return _system("desk-forgetful", deliver_max=3)


def deaths_are_taken_up() -> System:
    """Another right one: a clerk hears of what was given up, and asks for it again, later."""
    return _system("desk-clerk", deliver_max=3, has_clerk=True)


def _system(
    name: str,
    *,
    ack_wait_ms: int = ACK_WAIT_MS,
    acknowledge: str = "after",
    deliver_max: int = -1,
    has_clerk: bool = False,
    message_id: bool = True,
    named: str = "by order",
    on_error: str = "nak",
    replicas: int = 1,
    retry_s: float = RETRY_S,
) -> System:
    system = System(name, arrival_ms=1)
    billing_of = NATSConsumer(ack_wait_ms=ack_wait_ms, deliver_max=deliver_max)
    streams = {
        "ORDERS": NATSStream(
            subjects="orders.>",
            retention="workqueue",
            consumers={"front": NATSConsumer(ack_wait_ms=3_600_000)},
        ),
        "CHARGES": NATSStream(
            subjects="charges.>", retention="workqueue", consumers={"billing": billing_of}
        ),
    }
    if has_clerk:
        streams["DEATHS"] = NATSStream(
            subjects="$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",
            consumers={"clerk": NATSConsumer(ack_wait_ms=3_600_000)},
        )
    bus = system.add(NATS("bus", streams))
    bank = system.add(Gateway("bank", timeout_ms=5_000))

    @system.service("front")
    def front(env: Env) -> None:
        publish = env.publisher(bus)

        def on_order(order: Order) -> None:
            for attempt in range(1, TRIES + 1):
                try:
                    publish(
                        "charges.wanted",
                        Charge(order.order, order.cents, attempt),
                        key=order.order,
                        message_id=order.order if message_id else None,
                    )
                    return
                except OSError:
                    if attempt == TRIES:
                        raise
                    env.sleep(retry_s)

        env.consume(bus, "front", on_order, on_error="nak", on_unreadable="term")

    @system.service("billing", replicas=replicas)
    def billing(env: Env) -> None:
        client = env.client(bank)

        def on_charge(charge: Charge) -> None:
            names = {
                "by order": charge.order,
                "by attempt": f"{charge.order}-{charge.attempt}",
                "anew": str(uuid4()),
            }
            env.sleep(CHECK_S)
            client.charge(charge.order, charge.cents, key=names[named])

        env.consume(
            bus,
            "billing",
            on_charge,
            acknowledge=acknowledge,
            on_error=on_error,
            on_unreadable="term",
            backoff_ms=5_000,
        )

    if has_clerk:
        system.service("clerk")(clerk_at(bus))

    @system.entry(examples=[Order("o1", 500)])
    def place(env: Env, order: Order) -> None:
        env.publisher(bus)("orders.placed", order, key=order.order)

    system.claim(
        idempotent(), never_charged_twice(bank), never_stuck(), nothing_acknowledged_lost()
    )
    return system


def clerk_at(bus: NATS) -> Callable[[Env], None]:
    """Return a service that publishes what was given up once more, after a while."""

    def clerk(env: Env) -> None:
        consumer = env.consumer(bus, "clerk", read_as=dict)
        publish = env.publisher(bus)

        def take_up(notice: dict[str, Any]) -> None:
            message = consumer.get(notice["stream"], notice["stream_seq"])
            charge = decode(message.body, type=Charge)
            publish(message.subject, charge, key=charge.order)

        def main() -> None:
            while True:
                for delivery in consumer.fetch():
                    env.sleep(LATE_S)
                    try:
                        take_up(delivery.value)
                    except OSError:
                        consumer.nak(delivery, delay_s=RETRY_S)
                    else:
                        consumer.ack_sync(delivery)

        env.main(main)

    return clerk
