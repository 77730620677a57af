"""Fifteen services hear of one event: three on the critical path, twelve aside. Who waits for whom?

chaosharness run models.questions.fan_out:one_dispatcher_calls_them_all
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chaosharness import Env, Exchange, External, Gateway, KeyValue, Queue, RabbitMQ, System
from models.questions import Order

CRITICAL: Final = ("payments", "stock", "shipping")
ASIDE: Final = (
    *("mail", "sms", "loyalty", "search", "reviews", "fraud-report"),
    *("analytics", "ads", "newsletter", "taxes", "archive", "dashboard"),
)
AGAIN: Final[dict[str, Any]] = {"on_error": "dead-letter", "retries_max": 30}


class Post:
    """A third party that takes each letter once."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def send(self, letter: str) -> None:
        """Take a letter."""
        self.known.add(letter)


def _parts(name: str) -> tuple[System, Gateway, KeyValue, External]:
    shop = System(name)
    bank = shop.add(Gateway("bank"))
    shelf = shop.add(KeyValue("shelf"))
    post = shop.add(External("post", Post))
    return shop, bank, shelf, post


def _work(service: str, bank: Any, shelf: Any, post: Any) -> Callable[[Order], None]:
    """Return what a service does with an order: each time the same, however often."""

    def on_placed(order: Order) -> None:
        if service == "payments":
            bank.charge(order.id, order.cents, key=order.id)
        elif service in CRITICAL:
            shelf.put(f"{service} {order.id}", order.sku)
        elif service == "mail":
            post.send(order.id)

    return on_placed


def _queues(names: tuple[str, ...]) -> dict[str, Queue]:
    parked = {"parked": Queue()}
    return {name: Queue(dead_letter="parked") for name in names} | parked


def right() -> System:
    """Build the shop: one event, and a queue for each who hears it."""
    shop, bank, shelf, post = _parts("fan out")
    everyone = (*CRITICAL, *ASIDE)
    exchanges = {"placed": Exchange("fanout", list(everyone))}
    bus = shop.add(RabbitMQ("bus", queues=_queues(everyone), exchanges=exchanges))

    def add(name: str) -> None:
        @shop.service(name)
        def listener(env: Env) -> None:
            work = _work(name, env.client(bank), env.connect(shelf), env.client(post))
            env.consume(bus, name, work, **AGAIN)

    for name in everyone:
        add(name)

    @shop.entry(examples=[Order("o1")])
    def place(env: Env, order: Order) -> None:
        env.publisher(bus)("", order, exchange="placed")

    shop.critical_path(*CRITICAL, bank, shelf)
    return shop


def one_dispatcher_calls_them_all() -> System:
    """One service hears the event and calls the others, the mail before the shipping."""
    shop, bank, shelf, post = _parts("dispatcher")
    bus = shop.add(RabbitMQ("bus", queues=_queues(("placed",))))
    order_of_calls = (*CRITICAL[:2], *ASIDE, CRITICAL[2])

    def add(name: str) -> None:
        @shop.service(name)
        def called(env: Env) -> None:
            work = _work(name, env.client(bank), env.connect(shelf), env.client(post))
            env.serve("placed", work)

    for name in order_of_calls:
        add(name)

    @shop.service("dispatcher")
    def dispatcher(env: Env) -> None:
        def on_placed(order: Order) -> None:
            for name in order_of_calls:
                env.call(name, "placed", order)

        env.consume(bus, "placed", on_placed, **AGAIN)

    @shop.entry(examples=[Order("o1")])
    def place(env: Env, order: Order) -> None:
        env.publisher(bus)("placed", order)

    shop.critical_path("dispatcher", *CRITICAL, bank, shelf)
    return shop
