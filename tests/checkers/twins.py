"""Small systems, each in a right version and with one bug planted: for the properties.

`TWINS` names each property, the function that builds its twin (`broken=True`, or right), and
the claims that a team would make about it besides the ones that fit every system.
"""

import json
from collections.abc import Callable
from contextlib import suppress

import attrs

from chaosharness import External, Gateway, Kafka, KeyValue, Queue, RabbitMQ, SQLite, System
from chaosharness.checkers import (
    Property,
    announced,
    compensation_complete,
    compensation_in_reverse,
    conserved,
    every_saga_settles,
    idempotent,
    joins_complete,
    never_charged_twice,
    never_compensates_what_did_not_happen,
    never_stuck,
    never_twice,
    no_event_cycle,
    no_ghost_event,
    nothing_acknowledged_lost,
    order_per_key,
    poison_blocks_nobody,
    side_effects_never_touch_critical_path,
    unhandled_exceptions_block_nobody,
)

GENERIC: tuple[Property, ...] = (
    never_charged_twice(),
    idempotent(),
    nothing_acknowledged_lost(),
    no_ghost_event(),
    never_stuck(),
    poison_blocks_nobody(),
    unhandled_exceptions_block_nobody(),
    order_per_key(),
    no_event_cycle(),
    every_saga_settles(),
    compensation_complete({"charge": "refund", "reserve": "release"}),
    compensation_in_reverse({"reserve": "release", "charge": "refund"}),
    never_compensates_what_did_not_happen({"charge": "refund", "reserve": "release"}),
)
"""Claims that fit every system here: silent where their words do not occur."""

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


# ---- messages


def skips(*, broken: bool) -> System:
    """A handler that raises, and a consumer that goes on as if it had not."""
    system, bus = start("skips")
    bank = system.add(Gateway("bank"))

    @system.service("payments")
    def payments(env):
        client = env.client(bank)

        def on_order(order: Order):
            client.charge(order.id, order.cents, key=order.id)

        env.consume(bus, "orders", on_order, on_error="skip" if broken else "dead-letter")

    return system


def rejects(*, broken: bool) -> System:
    """A queue whose rejected messages go nowhere."""
    system = System("rejects")
    kind = Queue("quorum", dead_letter=None if broken else "parked")
    bus = system.add(RabbitMQ("bus", queues={"orders": kind, "parked": Queue()}))
    bank = system.add(Gateway("bank"))

    @system.service("payments")
    def payments(env):
        client = env.client(bank)

        def on_order(order: Order):
            client.charge(order.id, order.cents, key=order.id)

        env.consume(bus, "orders", on_order, on_error="reject", prefetch=1)

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order.id)

    return system


def competes(*, broken: bool) -> System:
    """Two consumers of one queue: what was sent second may be done first."""
    system = System("competes")
    queue = Queue(single_active_consumer=not broken, dead_letter="parked")
    bus = system.add(RabbitMQ("bus", queues={"orders": queue, "parked": Queue()}))
    store = system.add(KeyValue("told"))

    @system.service("mail", replicas=2)
    def mail(env):
        kv = env.connect(store)

        def on_order(order):
            kv.put(f"{order['id']} {order['what']}", True)

        env.consume(bus, "orders", on_order, prefetch=1, on_error="reject")

    @system.entry(examples=ORDERS[:1])
    def place(env, order):
        publish = env.publisher(bus)
        publish("orders", {"id": order.id, "what": "placed"}, key=order.id)
        publish("orders", {"id": order.id, "what": "changed"}, key=order.id)

    return system


def poisoned(*, broken: bool) -> System:
    """A loop that ends at the first message it cannot read."""
    system, bus = start("poisoned")
    bank = system.add(Gateway("bank"))

    @system.service("payments")
    def payments(env):
        client = env.client(bank)
        consumer = env.consumer(bus, "orders", read_as=bytes)

        def main():
            while True:
                for delivery in consumer.poll():
                    try:
                        order = json.loads(delivery.value)
                        client.charge(order["id"], order["cents"], key=order["id"])
                    except (ValueError, KeyError):
                        if broken:
                            return
                    consumer.commit(delivery)

        env.main(main)

    return system


def insists(*, broken: bool) -> System:
    """A message that can never be handled is tried fifty times while others wait."""
    system, bus = start("insists", orders=[Order("o1", 0), Order("o2", 700)])
    store = system.add(KeyValue("shares"))

    @system.service("payments")
    def payments(env):
        kv = env.connect(store)

        def on_order(order: Order):
            kv.put(order.id, 100 // order.cents)

        env.consume(
            bus, "orders", on_order, on_error="dead-letter", retries_max=50 if broken else 3
        )

    return system


class Check:
    def check(self, order):
        return "fine"


def waits(*, broken: bool) -> System:
    """Payment waits for a word of the fraud check, which may never come."""
    system, bus = start("waits")
    fraud = system.add(External("fraud", Check, reads=["check"]))
    words = system.add(KeyValue("words"))
    bank = system.add(Gateway("bank"))

    @system.service("checks")
    def checks(env):
        kv, client = env.connect(words), env.client(fraud)

        def on_order(order: Order):
            try:
                word = client.check(order.id)
            except ConnectionError:
                if broken:
                    return
                word = "unknown"
            kv.put(order.id, word)

        env.consume(bus, "orders", on_order, **DEAD)

    @system.service("payments")
    def payments(env):
        kv, client = env.connect(words), env.client(bank)

        def on_order(order: Order):
            while order.id not in kv:
                env.sleep(3_600)
            client.charge(order.id, order.cents, key=order.id)

        env.consume(bus, "orders", on_order, **DEAD)

    return system


def haggles(*, broken: bool) -> System:
    """Two services answer each other's offers, and one of them is stubborn."""
    system, bus = start("haggles", "offers", "answers", orders=[Order("o1")])

    @system.service("seller")
    def seller(env):
        publish = env.publisher(bus)

        def on_order(order: Order):
            publish("offers", {"order": order.id, "cents": order.cents}, key=order.id)

        def on_answer(answer):
            if answer["cents"] > (300 if broken else 450):
                offer = {"order": answer["order"], "cents": answer["cents"] - 50}
                publish("offers", offer, key=answer["order"])

        env.consume(bus, "orders", on_order, **DEAD)
        env.consume(bus, "answers", on_answer, **DEAD)

    @system.service("buyer")
    def buyer(env):
        publish = env.publisher(bus)

        def on_offer(offer):
            publish("answers", offer, key=offer["order"])

        env.consume(bus, "offers", on_offer, **DEAD)

    return system


# ---- announcements

SCHEMA = """
CREATE TABLE orders (id TEXT PRIMARY KEY, cents INTEGER);
CREATE TABLE outbox (seq INTEGER PRIMARY KEY, id TEXT, sent INTEGER DEFAULT 0);
"""


def ghost(*, broken: bool) -> System:
    """An event is published inside a transaction that is rolled back when a call is refused."""
    system, bus = start("ghost", "created", orders=[Order("o1")])
    store = system.add(SQLite("db", schema=SCHEMA))
    bank = system.add(Gateway("bank"))

    @system.service("orders")
    def orders(env):
        db, publish, client = env.connect(store), env.publisher(bus), env.client(bank)

        def on_order(order: Order):
            with db:
                db.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", (order.id, order.cents))
                if broken:
                    publish("created", {"order": order.id}, key=order.id)
                try:
                    client.charge(order.id, order.cents, key=order.id)
                except ConnectionError:
                    db.rollback()
                    return
            if not broken:
                publish("created", {"order": order.id}, key=order.id)

        env.consume(bus, "orders", on_order, **DEAD)

    return system


def silent(*, broken: bool) -> System:
    """The row is committed, and then the event is published: unless a crash comes between."""
    system, bus = start("silent", "created", orders=[Order("o1")])
    store = system.add(SQLite("db", schema=SCHEMA))

    @system.service("orders")
    def orders(env):
        db, publish = env.connect(store), env.publisher(bus)

        def on_order(order: Order):
            known = db.execute("SELECT 1 FROM orders WHERE id = ?", (order.id,)).fetchone()
            if known and broken:
                return
            if not known:
                db.execute("INSERT INTO orders VALUES (?, ?)", (order.id, order.cents))
                db.commit()
            publish("created", {"order": order.id}, key=order.id)

        env.consume(bus, "orders", on_order, **DEAD)

    return system


def join(*, broken: bool) -> System:
    """Two halves of an order are counted; a half that comes twice makes a whole."""
    system, bus = start("join", "paid", "reserved", "confirmed", orders=[Order("o1")])

    def half(name, topic):
        @system.service(name)
        def service(env):
            publish = env.publisher(bus)

            def on_order(order: Order):
                publish(topic, {"order": order.id}, key=order.id)

            env.consume(bus, "orders", on_order, **DEAD)

    half("payments", "paid")
    half("stock", "reserved")

    store = system.add(KeyValue("halves"))

    @system.service("orders")
    def orders(env):
        publish, kv = env.publisher(bus), env.connect(store)
        seen: dict[str, int] = {}

        def have(order, topic):
            if broken:
                seen[order] = seen.get(order, 0) + 1
                whole = seen[order] == 2
            else:
                kv.put(f"{topic}:{order}", True)
                whole = f"paid:{order}" in kv and f"reserved:{order}" in kv
            if whole:
                publish("confirmed", {"order": order}, key=order)

        def on_paid(event):
            have(event["order"], "paid")

        def on_reserved(event):
            have(event["order"], "reserved")

        env.consume(bus, "paid", on_paid, **DEAD)
        env.consume(bus, "reserved", on_reserved, **DEAD)

    return system


# ---- the critical path


def mails_first(*, broken: bool) -> System:
    """Payment asks for the mail to be sent, and takes its failure for its own."""
    system, bus = start("mails-first", "paid", "failed", orders=[Order("o1")])
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
            client.charge(order.id, order.cents, key=order.id)
            try:
                if broken:
                    env.call("mail", "send", {"order": order.id})
            except (TimeoutError, ConnectionError):
                publish("failed", {"order": order.id}, key=order.id)
            else:
                publish("paid", {"order": order.id}, key=order.id)

        env.consume(bus, "orders", on_order, **DEAD)

    return system


# ---- all of them


@attrs.frozen
class Twin:
    """A property, and the system that only it catches when broken.

    Attributes:
        claim: The property.
        build: Builds the system.
    """

    claim: Property
    build: Callable[..., System]

    def claims(self) -> list[Property]:
        """Return all that is claimed of the system: what fits every system, and its own."""
        kind = self.claim.name.partition(" on ")[0]
        others = [one for one in GENERIC if one.name != kind]
        return [*others, self.claim]


TWINS = (
    Twin(never_charged_twice(["stripe", "adyen"]), fallback),
    Twin(never_twice("mailer", "send", key="to"), two_mails),
    Twin(idempotent(), counter),
    Twin(every_saga_settles(), gives_up),
    Twin(
        every_saga_settles(states=statuses, settled=("paid", "parked")),
        gives_up,
    ),
    Twin(never_compensates_what_did_not_happen({"charge": "refund"}), refunds_blindly),
    Twin(compensation_complete({"charge": "refund", "reserve": "release"}), undoes_half),
    Twin(compensation_in_reverse({"reserve": "release", "charge": "refund"}), undoes_forwards),
    Twin(conserved("stock", aside=of("aside:"), sold=of("sold:")), keeps_the_goods),
    Twin(nothing_acknowledged_lost(), skips),
    Twin(nothing_acknowledged_lost(), rejects),
    Twin(order_per_key("orders"), competes),
    Twin(poison_blocks_nobody(), poisoned),
    Twin(unhandled_exceptions_block_nobody(tries_max=10), insists),
    Twin(never_stuck(), waits),
    Twin(no_event_cycle(turns_max=2), haggles),
    Twin(no_ghost_event(), ghost),
    Twin(announced("db", "orders", "created"), silent),
    Twin(joins_complete(["paid", "reserved"], "confirmed"), join),
    Twin(
        side_effects_never_touch_critical_path(critical=["payments", "bank"], side=["mail"]),
        mails_first,
    ),
)
