"""Twins that charge, reserve and undo: each right, and with one bug planted."""

from collections.abc import Callable
from contextlib import suppress

import attrs

from chaosharness import External, Gateway, Kafka, KeyValue, System

DEAD = {"on_error": "dead-letter", "retries_max": 100}
"""Tried for longer than any fault lasts, and then put aside."""


@attrs.frozen
class Order:
    id: str
    cents: int = 500


ORDERS = [Order("o1"), Order("o2", 700)]


def start(name: str, *topics: str, orders=ORDERS) -> tuple[System, Kafka]:
    """Begin a system whose orders arrive on a topic of that name."""
    system = System(name)
    bus = system.add(Kafka("bus", {topic: 1 for topic in ("orders", *topics)}))

    @system.entry(examples=orders)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order.id)

    return system, bus


# ---- charges


def fallback(*, broken: bool) -> System:
    """A second gateway is asked where the first did not answer: was it charged or not?"""
    system, bus = start("fallback")
    stripe = system.add(Gateway("stripe"))
    adyen = system.add(Gateway("adyen"))

    @system.service("payments")
    def payments(env):
        first, second = env.client(stripe), env.client(adyen)

        def on_order(order: Order):
            try:
                first.charge(order.id, order.cents, key=order.id)
            except ConnectionError:
                second.charge(order.id, order.cents, key=order.id)
            except TimeoutError:
                if not broken:
                    raise
                second.charge(order.id, order.cents, key=order.id)

        env.consume(bus, "orders", on_order, **DEAD)

    return system


class Already(Exception):
    """The third party has done this before, and says so: it keeps idempotency keys."""


class Mailer:
    """Sends each mail once."""

    def __init__(self):
        self.sent = set()

    def send(self, to, text):
        if (to, text) in self.sent:
            raise Already(to)
        self.sent.add((to, text))


def two_mails(*, broken: bool) -> System:
    """Two services thank the customer for the same order."""
    system, bus = start("two-mails")
    mailer = system.add(External("mailer", Mailer))

    def thanks(name, text):
        @system.service(name)
        def service(env):
            client = env.client(mailer)

            def on_order(order: Order):
                with suppress(Already):
                    client.send(order.id, text)

            env.consume(bus, "orders", on_order, **DEAD)

    thanks("orders", "thanks")
    thanks("shipping", "thanks again" if broken else "thanks")
    return system


def counter(*, broken: bool) -> System:
    """What was sold is counted; a message that comes again is counted again."""
    system, bus = start("counter")
    store = system.add(KeyValue("totals"))

    @system.service("sales")
    def sales(env):
        kv = env.connect(store)

        def on_order(order: Order):
            if broken:
                kv.put("cents", kv.get("cents", 0) + order.cents)
            else:
                kv.put("orders", {**kv.get("orders", {}), order.id: order.cents})

        env.consume(bus, "orders", on_order, **DEAD)

    return system


# ---- sagas


def gives_up(*, broken: bool) -> System:
    """A charge that is refused for now: the saga ends nowhere, or somebody is told."""
    system, bus = start("gives-up")
    bank = system.add(Gateway("bank"))
    store = system.add(KeyValue("sagas"))

    @system.service("orders")
    def orders(env):
        client, kv = env.client(bank), env.connect(store)

        def on_order(order: Order):
            if kv.put_if_absent(order.id, "pending"):
                env.note("saga started", saga=order.id)
            try:
                client.charge(order.id, order.cents, key=order.id)
            except ConnectionError:
                if not broken:
                    kv.put(order.id, "parked")
                    env.note("saga parked", saga=order.id)
                return
            kv.put(order.id, "paid")
            env.note("saga completed", saga=order.id)

        env.consume(bus, "orders", on_order, **DEAD)

    return system


def statuses(books):
    return books.values("sagas")


def refunds_blindly(*, broken: bool) -> System:
    """A charge without an answer is given back, whether it happened or not."""
    system, bus = start("refunds-blindly")
    bank = system.add(Gateway("bank"))

    @system.service("payments")
    def payments(env):
        client = env.client(bank)

        def undo(order):
            if broken or any(one.method == "charge" for one in client.find(order.id)):
                client.refund(order.id, order.cents, key=f"refund-{order.id}")

        def on_order(order: Order):
            try:
                client.charge(order.id, order.cents, key=order.id)
            except TimeoutError:
                undo(order)
                env.note("given up", order=order.id)

        env.consume(bus, "orders", on_order, **DEAD)

    return system


class Warehouse:
    """Reserves, releases and ships, each order once, and never what was released."""

    def __init__(self):
        self.done = set()

    def _once(self, what, order):
        if (what, order) in self.done or ("release", order) in self.done:
            raise Already(order)
        self.done.add((what, order))

    def reserve(self, order):
        self._once("reserve", order)

    def release(self, order):
        self._once("release", order)

    def ship(self, order):
        self._once("ship", order)


def trip(name: str, undo: Callable[..., None]) -> System:
    """Reserve, charge, ship; if the ship is refused, undo. `undo(order, warehouse, bank)`."""
    system, bus = start(name)
    bank = system.add(Gateway("bank"))
    warehouse = system.add(External("warehouse", Warehouse))
    store = system.add(KeyValue("refused"))

    @system.service("orders")
    def orders(env):
        money, goods, kv = env.client(bank), env.client(warehouse), env.connect(store)

        def on_order(order: Order):
            if order.id not in kv:
                with suppress(Already):
                    goods.reserve(order.id)
                money.charge(order.id, order.cents, key=order.id)
                try:
                    with suppress(Already):
                        goods.ship(order.id)
                    return
                except ConnectionError:
                    kv.put(order.id, "refused")
            undo(order, goods, money)

        env.consume(bus, "orders", on_order, **DEAD)

    return system


def release(order, goods):
    with suppress(Already):
        goods.release(order.id)


def refund(order, money):
    money.refund(order.id, order.cents, key=f"refund-{order.id}")


def undoes_half(*, broken: bool) -> System:
    """The goods go back and the money does not."""

    def undo(order, goods, money):
        if not broken:
            refund(order, money)
        release(order, goods)

    return trip("undoes-half", undo)


def undoes_forwards(*, broken: bool) -> System:
    """What was done first is undone first."""

    def undo(order, goods, money):
        if broken:
            release(order, goods)
        refund(order, money)
        release(order, goods)

    return trip("undoes-forwards", undo)


# ---- books


def keeps_the_goods(*, broken: bool) -> System:
    """Goods are set aside for an order whose charge is refused, and never put back."""
    system, bus = start("keeps-the-goods")
    bank = system.add(Gateway("bank"))
    store = system.add(KeyValue("stock"))

    @system.service("orders")
    def orders(env):
        client, kv = env.client(bank), env.connect(store)

        def on_order(order: Order):
            kv.put(f"aside:{order.id}", 1)
            try:
                client.charge(order.id, order.cents, key=order.id)
            except ConnectionError:
                if not broken:
                    kv.delete(f"aside:{order.id}")
                env.note("given up", order=order.id)
                return
            kv.put(f"sold:{order.id}", 1)

        env.consume(bus, "orders", on_order, **DEAD)

    return system


def of(prefix):
    return lambda books: {
        key.partition(":")[2]: value
        for key, value in books.values("stock").items()
        if key.startswith(prefix)
    }
