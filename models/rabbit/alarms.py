"""Tickets while the broker is short of memory: who publishes is not read, and hears nothing.

What a publisher has written lies in the buffers of TCP. No confirm comes while the alarm lasts, and
once it is over the message is stored all the same.

chaosharness run models.rabbit.alarms:tickets
"""

from __future__ import annotations

from typing import Any

import attrs

from chaosharness import BrokerAlarm, Env, Gateway, KeyValue, RabbitMQ, System
from chaosharness.checkers import Books, Property, eventually
from chaosharness.kernel.history import Event, History

ORDERS = [{"order": "o1", "cents": 500}, {"order": "o2", "cents": 900}]


@attrs.frozen
class Order:
    """What was ordered."""

    order: str
    cents: int


def tickets() -> System:
    """The right one: silence is no answer. It publishes again, and each ticket is printed once."""
    return _system("tickets", silence_is_no=False)


def takes_silence_for_a_no() -> System:
    """Where no confirm comes in time it gives the money back; the ticket is printed later."""
    return _system("tickets-hasty", silence_is_no=True)


def who_is_paid_back_has_no_ticket() -> Property:
    """Claim that nobody has both the money and the ticket."""

    def nobody(history: History) -> bool:
        back = {event.data["order"] for event in history.of("effect") if _is_refund(event)}
        return back.isdisjoint(Books(history).values("printed"))

    return eventually("who is paid back has no ticket", nobody)


def _is_refund(event: Event) -> bool:
    return event.data.get("method") == "refund"


def _system(name: str, *, silence_is_no: bool) -> System:
    system = System(name, arrival_ms=100)
    bus = system.add(RabbitMQ("bus", queues=["orders", "prints"], searched=(BrokerAlarm,)))
    bank = system.add(Gateway("bank"))
    printed = system.add(KeyValue("printed"))

    @system.service("till")
    def till(env: Env) -> None:
        publish, client = env.publisher(bus), env.client(bank)

        def on_order(order: Order) -> None:
            client.charge(order.order, order.cents, key=order.order)
            try:
                publish("prints", order)
            except TimeoutError:
                if not silence_is_no:
                    raise  # the order comes again, and so does this
                client.refund(order.order, order.cents, key=f"{order.order} back")

        env.consume(bus, "orders", on_order, on_unreadable="skip")

    @system.service("printer")
    def printer(env: Env) -> None:
        store = env.connect(printed)

        def on_order(order: Order) -> None:
            if store.get(order.order) is None:
                store.put(order.order, "printed")

        env.consume(bus, "prints", on_order, on_unreadable="skip")

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.publisher(bus)("orders", order, key=order["order"])

    system.claim(who_is_paid_back_has_no_ticket())
    return system
