"""Twins of the flow: what events say, who hears them, and who waits for whom."""

from contextlib import suppress
from itertools import pairwise

from chaosharness import Gateway, System
from tests.checkers.charging_twins import DEAD, Order, start


def tells_nobody(*, broken: bool) -> System:
    """An event for which the consumer was forgotten."""
    system, bus = start("tells-nobody", "paid", orders=[Order("o1")])

    @system.service("payments")
    def payments(env):
        publish = env.publisher(bus)

        def on_order(order: Order):
            publish("paid", {"order": order.id}, key=order.id)

        env.consume(bus, "orders", on_order, **DEAD)

    if not broken:

        @system.service("mail")
        def mail(env):
            env.consume(bus, "paid", lambda event: None, **DEAD)

    return system


def forgets_whose(*, broken: bool) -> System:
    """An event that does not say which order it is about."""
    system, bus = start("forgets-whose", "paid", orders=[Order("o1")])

    @system.service("payments")
    def payments(env):
        publish = env.publisher(bus)

        def on_order(order: Order):
            publish("paid", {"done": True} if broken else {"order": order.id})

        env.consume(bus, "orders", on_order, **DEAD)

    @system.service("mail")
    def mail(env):
        env.consume(bus, "paid", lambda event: None, **DEAD)

    return system


def one_after_the_other(*, broken: bool) -> System:
    """Four services in a row, each with one event in and one out."""
    steps = ("orders", "checked", "priced", "packed", "sent")[: 5 if broken else 4]
    system, bus = start("one-after-the-other", *steps[1:], orders=[Order("o1")])

    def add(heard: str, told: str) -> None:
        @system.service(f"{heard}-desk")
        def desk(env):
            publish = env.publisher(bus)

            def handle(event):
                publish(told, event, key=event["id"])

            env.consume(bus, heard, handle, **DEAD)

    for heard, told in pairwise(steps):
        add(heard, told)
    return system


def waits_aside(*, broken: bool) -> System:
    """Payment waits for the mail, and takes no notice of what becomes of it."""
    system, bus = start("waits-aside", "paid", orders=[Order("o1")])
    bank = system.add(Gateway("bank"))

    @system.service("mail")
    def mail(env):
        def send(order):
            return order

        env.serve("send", send)
        if not broken:
            env.consume(bus, "paid", send, **DEAD)

    @system.service("payments")
    def payments(env):
        client, publish = env.client(bank), env.publisher(bus)

        def on_order(order: Order):
            if broken:
                with suppress(TimeoutError, ConnectionError):
                    env.call("mail", "send", {"order": order.id})
            client.charge(order.id, order.cents, key=order.id)
            publish("paid", {"order": order.id}, key=order.id)

        env.consume(bus, "orders", on_order, **DEAD)

    return system


def asks_again_aside(*, broken: bool) -> System:
    """Who cannot send its mail has the whole order come again."""
    system, bus = start("asks-again-aside", "paid", orders=[Order("o1")])
    bank, post = system.add(Gateway("bank")), system.add(Gateway("post"))

    @system.service("mail")
    def mail(env):
        client, publish = env.client(post), env.publisher(bus)
        asked = set()

        def on_paid(event):
            try:
                client.charge(event["id"], 1, key=event["id"])
            except (TimeoutError, ConnectionError):
                if not broken or event["id"] in asked:
                    raise
                asked.add(event["id"])
                publish("orders", {"id": event["id"], "cents": 500}, key=event["id"])

        env.consume(bus, "paid", on_paid, **DEAD)

    @system.service("payments")
    def payments(env):
        client, publish = env.client(bank), env.publisher(bus)

        def on_order(order: Order):
            client.charge(order.id, order.cents, key=order.id)
            publish("paid", {"id": order.id}, key=order.id)

        env.consume(bus, "orders", on_order, **DEAD)

    return system
