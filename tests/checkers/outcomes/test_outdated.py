"""What came late: written over what was newer, given up by half, or given up as a whole."""

import time

import pytest

from chaosharness import Kafka, Pause, Schedule, Site, SQLite, System, idempotent
from tests.checkers.outcomes.sweep import groups, sweep

ASIDE = {"on_error": "dead-letter", "retries_max": 20}


def one_order(system, bus, *topics):
    """Have one order come in, on some topics."""

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        publish = env.publisher(bus)
        for topic in topics:
            publish(topic, order, key=order["id"])


def view(paid):
    """A view of orders, from two topics; `paid` writes down that one is paid."""
    system = System("view")
    bus = system.add(Kafka("bus", topics={"paid": 1, "shipped": 1}))
    db = system.add(SQLite("db", "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT);"))

    @system.service("view")
    def build(env):
        book = env.connect(db)

        def on_paid(order):
            with book:
                book.execute(paid, (order["id"],))

        def on_shipped(order):
            with book:
                insert = "INSERT OR REPLACE INTO orders VALUES (?, 'shipped')"
                book.execute(insert, (order["id"],))

        env.consume(bus, "paid", on_paid, **ASIDE)
        env.consume(bus, "shipped", on_shipped, **ASIDE)

    one_order(system, bus, "paid", "shipped")
    return system


def test_an_old_state_that_is_written_over_a_new_one_is_told():
    over = view("INSERT OR REPLACE INTO orders VALUES (?, 'paid')")
    assert groups(sweep(over)) == {("row differs", "db.orders.state")}
    only_the_first = view("INSERT OR IGNORE INTO orders VALUES (?, 'paid')")
    assert sweep(only_the_first) == []


def payments(*, late_answer):
    """A provider tells of a payment by a webhook, which may come before its answer."""
    system = System("payments")
    bus = system.add(Kafka("bus", topics={"orders": 1, "created": 1, "hooks": 1}))
    db = system.add(SQLite("db", "CREATE TABLE payments (id TEXT PRIMARY KEY, state TEXT);"))

    @system.service("provider")
    def provider(env):
        publish = env.publisher(bus)

        def create(order: dict):
            publish("created", order, key=order["id"])

        def on_created(order: dict):
            time.sleep(0.2)
            publish("hooks", order, key=order["id"])

        env.serve("create", create)
        env.consume(bus, "created", on_created, **ASIDE)

    @system.service("shop")
    def shop(env):
        book = env.connect(db)

        def on_order(order: dict):
            env.call("provider", "create", order)
            with book:
                row = (order["id"],)
                book.execute(f"INSERT OR {late_answer} INTO payments VALUES (?, 'pending')", row)

        env.consume(bus, "orders", on_order, **ASIDE)

    @system.service("hooks")
    def hooks(env):
        book = env.connect(db)

        def on_hook(order: dict):
            row = (order["id"],)
            with book:
                paid = "UPDATE payments SET state = 'paid' WHERE id = ?"
                if not book.execute(paid, row).rowcount:
                    book.execute("INSERT INTO payments VALUES (?, 'paid')", row)

        env.consume(bus, "hooks", on_hook, **ASIDE)

    one_order(system, bus, "orders")
    return system


def test_a_late_answer_that_is_written_over_what_came_early_is_told():
    """Who came early made what it changes usually; who comes last does all as usual."""
    late = Schedule([Pause(Site("shop.on_order/provider.create", "after"), lasting=900)])
    run = payments(late_answer="REPLACE").run(None, late)
    [found] = idempotent().findings(run.evidence())
    assert (found.group, found.question) == (("row differs", "db.payments.state"), False)
    run = payments(late_answer="IGNORE").run(None, late)
    assert not run.unused
    assert idempotent().findings(run.evidence()) == []
    assert sweep(payments(late_answer="IGNORE")) == []


@pytest.mark.parametrize("reason", ["declined", "sold out"])
def test_of_two_reasons_the_first_may_be_given(reason):
    """Whoever writes only where nobody has decided yet does nothing the second time."""
    system = System("reasons")
    bus = system.add(Kafka("bus", topics={"declined": 1, "sold-out": 1}))
    table = "CREATE TABLE orders (id TEXT PRIMARY KEY, why TEXT);"
    db = system.add(SQLite("db", table))

    @system.service("orders")
    def build(env):
        book = env.connect(db)

        def gives(why):
            def handle(order):
                with book:
                    book.execute("INSERT OR IGNORE INTO orders VALUES (?, ?)", (order["id"], why))

            return handle

        env.consume(bus, "declined", gives("declined"), **ASIDE)
        env.consume(bus, "sold-out", gives(reason), **ASIDE)

    one_order(system, bus, "declined", "sold-out")
    assert sweep(system) == []


SCHEMA = """
CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT, at REAL);
CREATE TABLE stock (sku TEXT PRIMARY KEY, n INTEGER);
CREATE TABLE held (id TEXT PRIMARY KEY, state TEXT);
INSERT INTO stock VALUES ('lamp', 5);
"""


def reserving(*, frees):
    """An order waits half a minute for stock; what comes later is freed, or not."""
    system = System("reserving")
    topics = {"orders": 1, "reserve": 1, "reserved": 1, "free": 1}
    bus, db = system.add(Kafka("bus", topics=topics)), system.add(SQLite("db", SCHEMA))

    @system.service("orders")
    def orders(env):
        book, publish = env.connect(db), env.publisher(bus)

        def on_order(order):
            with book:
                row = (order["id"], time.time())
                book.execute("INSERT OR IGNORE INTO orders VALUES (?, 'new', ?)", row)
            publish("reserve", order, key=order["id"])

        def on_reserved(order):
            with book:
                ready = "UPDATE orders SET state = 'ready' WHERE id = ? AND state != 'cancelled'"
                changed = book.execute(ready, (order["id"],)).rowcount
            if frees and not changed:
                publish("free", order, key=order["id"])

        def give_up():
            while True:
                time.sleep(5)
                with book:
                    late = "UPDATE orders SET state = 'cancelled' WHERE state = 'new' AND at < ?"
                    book.execute(late, (time.time() - 30,))

        env.consume(bus, "orders", on_order, **ASIDE)
        env.consume(bus, "reserved", on_reserved, **ASIDE)
        env.main(give_up)

    @system.service("stock")
    def stock(env):
        book, publish = env.connect(db), env.publisher(bus)

        def on_reserve(order):
            with book:
                insert = "INSERT OR IGNORE INTO held VALUES (?, 'held')"
                if book.execute(insert, (order["id"],)).rowcount:
                    book.execute("UPDATE stock SET n = n - 1")
            publish("reserved", order, key=order["id"])

        def on_free(order):
            with book:
                free = "UPDATE held SET state = 'freed' WHERE id = ? AND state = 'held'"
                if book.execute(free, (order["id"],)).rowcount:
                    book.execute("UPDATE stock SET n = n + 1")

        env.consume(bus, "reserve", on_reserve, **ASIDE)
        env.consume(bus, "free", on_free, **ASIDE)

    one_order(system, bus, "orders")
    return system


def test_goods_that_are_held_for_what_was_given_up_are_told():
    assert ("row differs", "db.orders.state") in groups(sweep(reserving(frees=False)))


def test_what_is_given_up_since_a_broker_missed_somebody_late_is_whole():
    """A crash that is over at once makes a message late by a session's timeout."""
    assert sweep(reserving(frees=True)) == []


def telling(*, raises):
    """Tells two others of an order; of the second it does not care, or it does."""
    system = System("telling")
    bus = system.add(Kafka("bus", topics={"orders": 1, "billing": 1, "shipping": 1}))
    tables = "CREATE TABLE billed (id TEXT PRIMARY KEY); CREATE TABLE sent (id TEXT PRIMARY KEY);"
    db = system.add(SQLite("db", tables))

    @system.service("orders")
    def orders(env):
        publish = env.publisher(bus)

        def on_order(order):
            publish("billing", order, key=order["id"])
            try:
                publish("shipping", order, key=order["id"])
            except Exception:
                if raises:
                    raise

        env.consume(bus, "orders", on_order, **ASIDE)

    @system.service("others")
    def others(env):
        book = env.connect(db)

        def notes(table):
            def handle(order):
                with book:
                    book.execute(f"INSERT OR IGNORE INTO {table} VALUES (?)", (order["id"],))

            return handle

        env.consume(bus, "billing", notes("billed"), **ASIDE)
        env.consume(bus, "shipping", notes("sent"), **ASIDE)

    one_order(system, bus, "orders")
    return system


def test_of_a_message_that_is_refused_and_left_out_it_is_asked():
    found = sweep(telling(raises=False))
    assert groups(found) == {("optional", "bus.shipping")}
    assert all(one.question for one in found)
    assert sweep(telling(raises=False), optional=["bus.shipping"]) == []
    assert sweep(telling(raises=True)) == []
