"""Twins that publish and consume: each right, and with one bug planted."""

import json

from chaosharness import External, Gateway, KeyValue, Queue, RabbitMQ, SQLite, System
from tests.checkers.charging_twins import DEAD, ORDERS, Order, start

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
                    env.note("given up", order=order.id)
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
