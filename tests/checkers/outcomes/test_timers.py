"""What a timer does where something comes late: besides, or by words, flags and numbers."""

import time

from chaosharness import (
    Delay,
    External,
    Gateway,
    Kafka,
    Schedule,
    Site,
    SQLite,
    System,
    idempotent,
)

ASIDE = {"on_error": "dead-letter", "retries_max": 20}
TABLE = """
CREATE TABLE orders (id TEXT PRIMARY KEY, paid INTEGER DEFAULT 0, reminded INTEGER DEFAULT 0,
                     expired INTEGER DEFAULT 0, fee INTEGER, at REAL);
CREATE TABLE stock (sku TEXT PRIMARY KEY, n INTEGER);
INSERT INTO stock VALUES ('lamp', 5);
"""
LATE = Schedule([Delay(Site("bus.paid/deliver to orders"), lasting=300_000)])


class Mailer:
    """Remembers what it has sent to whom."""

    def __init__(self):
        self.sent = []

    def send(self, to, text):
        self.sent.append((to, text))


def waiting(job, *, on_paid="UPDATE orders SET paid = 1 WHERE id = ? AND expired = 0", stock=True):
    """An order waits for its payment; each half minute a job looks at those that wait."""
    system = System("waiting")
    bus = system.add(Kafka("bus", topics={"orders": 1, "paid": 1}))
    mailer, bank = system.add(External("mailer", Mailer)), system.add(Gateway("bank"))
    db = system.add(SQLite("db", TABLE))

    @system.service("orders")
    def build(env):
        book, mail, gateway = env.connect(db), env.client(mailer), env.client(bank)

        def on_order(order):
            with book:
                insert = "INSERT OR IGNORE INTO orders (id, at) VALUES (?, ?)"
                if book.execute(insert, (order["id"], time.time())).rowcount and stock:
                    book.execute("UPDATE stock SET n = n - 1")

        def paid(order):
            with book:
                values = (order["id"],)
                if on_paid.count("?") == 2:
                    values = (time.time(), order["id"])
                book.execute(on_paid, values)

        def look():
            while True:
                time.sleep(30)
                asked = "SELECT id FROM orders WHERE NOT paid AND NOT expired AND at < ?"
                for (number,) in book.execute(asked, (time.time() - 60,)).fetchall():
                    job(book, mail, gateway, number)

        env.consume(bus, "orders", on_order, **ASIDE)
        env.consume(bus, "paid", paid, **ASIDE)
        env.main(look)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        publish = env.publisher(bus)
        publish("orders", order, key=order["id"])
        publish("paid", order, key=order["id"])

    return system


def nothing(book, mail, gateway, number):
    """Do nothing."""


def reminds(book, mail, gateway, number):
    asked = "SELECT reminded FROM orders WHERE id = ?"
    if not book.execute(asked, (number,)).fetchone()[0]:
        mail.send(number, "please pay")
        with book:
            book.execute("UPDATE orders SET reminded = 1 WHERE id = ?", (number,))


def charges_a_fee(book, mail, gateway, number):
    asked = "SELECT reminded FROM orders WHERE id = ?"
    if not book.execute(asked, (number,)).fetchone()[0]:
        gateway.charge(number, 500, key=number)
        with book:
            book.execute("UPDATE orders SET reminded = 1 WHERE id = ?", (number,))


def gives_up(book, mail, gateway, number):
    with book:
        book.execute("UPDATE orders SET expired = 1 WHERE id = ?", (number,))
        book.execute("UPDATE stock SET n = n + 1")


def gives_up_by_half(book, mail, gateway, number):
    with book:
        book.execute("UPDATE orders SET expired = 1 WHERE id = ?", (number,))


def judged(system, **options):
    run = system.run(None, LATE)
    assert not run.unused
    return idempotent(**options).findings(run.evidence())


def test_of_a_reminder_it_is_asked():
    [found] = judged(waiting(reminds))
    assert found.question
    assert found.group == ("timer", "mailer.send")
    assert "may_end=[('mailer.send', 'please pay')]" in found.summary
    assert judged(waiting(reminds), may_end=[("mailer.send", "please pay")]) == []
    assert judged(waiting(nothing)) == []


def test_money_that_a_timer_takes_is_told():
    found = judged(waiting(charges_a_fee))
    assert not found[0].question
    assert found[0].place == "bank.charge"


def test_goods_that_stay_held_where_only_a_flag_says_that_it_was_given_up_are_told():
    found = judged(waiting(gives_up_by_half))
    assert not found[0].question
    assert found[0].group == ("row differs", "db.orders.expired+,paid-")
    found = judged(waiting(gives_up))  # the payment is taken, and nobody hears of it
    assert {one.kind for one in found} == {"swallowed"}


def test_of_a_number_that_hangs_on_the_time_it_is_asked():
    fee = "UPDATE orders SET paid = 1, fee = CASE WHEN ? - at > 60 THEN 500 ELSE 7 END WHERE id = ?"
    [found] = judged(waiting(nothing, on_paid=fee, stock=False))
    assert found.question
    assert found.summary == (
        "item 1 (o1) has fee=500 in db.orders where it came late, and 7 otherwise: is the time "
        "meant to decide? If so: ignore=['db.orders.fee']"
    )
    assert judged(waiting(nothing, on_paid=fee, stock=False), ignore=["db.orders.fee"]) == []
