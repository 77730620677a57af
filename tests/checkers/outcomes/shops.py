"""Right systems of common shapes, each with a twin that has one bug. None claims anything."""

import json
import uuid
from contextlib import suppress

from chaosharness import (
    CommitFailed,
    Declined,
    External,
    Gateway,
    Kafka,
    Queue,
    RabbitMQ,
    RemoteError,
    SQLite,
    System,
)

TRIED_AGAIN = {"on_error": "dead-letter", "retries_max": 60}
NO_ANSWER = (ConnectionError, TimeoutError)


def once(store, table: str, columns: str) -> SQLite:
    return SQLite(store, f"CREATE TABLE {table} ({columns});")


def totals(*, inbox: bool) -> System:
    """Count sales per shop; the inbox is in the same transaction, or there is none."""
    system = System("totals")
    bus = system.add(Kafka("bus", topics={"sales": 2}))
    store = system.add(
        SQLite(
            "db",
            "CREATE TABLE seen (id TEXT PRIMARY KEY);"
            "CREATE TABLE totals (shop TEXT PRIMARY KEY, sold INT, cents INT);",
        )
    )

    @system.service("stats", replicas=2)
    def stats(env):
        db = env.connect(store)

        def on_sale(sale: dict):
            with db:
                new = db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (sale["id"],)).rowcount
                if new or not inbox:
                    db.execute(
                        "INSERT INTO totals VALUES (?, 1, ?) ON CONFLICT (shop) DO UPDATE "
                        "SET sold = sold + 1, cents = cents + excluded.cents",
                        (sale["shop"], sale["cents"]),
                    )

        env.consume(bus, "sales", on_sale, **TRIED_AGAIN)

    @system.entry(
        examples=[
            {"id": "a1", "shop": "north", "cents": 5},
            {"id": "a2", "shop": "south", "cents": 7},
            {"id": "a3", "shop": "north", "cents": 9},
        ]
    )
    def sell(env, sale):
        env.publisher(bus)("sales", sale, key=sale["id"])

    return system


INVOICES = """
CREATE TABLE invoices (no INTEGER PRIMARY KEY, uid TEXT, customer TEXT UNIQUE, made REAL, net INT);
CREATE TABLE outbox (n INTEGER PRIMARY KEY, body TEXT, sent INT DEFAULT 0);
"""


def invoices(*, outbox: bool) -> System:
    """Running numbers, generated ids and times, told by an outbox or after the commit."""
    system = System("invoices")
    queues = {
        "orders": Queue("quorum", dead_letter="parked"),
        "parked": "quorum",
        "invoiced": "quorum",
    }
    bus, store = system.add(RabbitMQ("bus", queues=queues)), system.add(SQLite("db", INVOICES))
    box = system.add(once("mailbox", "mails", "customer TEXT PRIMARY KEY, body TEXT"))

    @system.service("billing")
    def billing(env):
        db, own, publish = env.connect(store), env.connect(store), env.publisher(bus)

        def on_order(order: dict):
            with db:
                db.execute("BEGIN IMMEDIATE")
                known = "SELECT 1 FROM invoices WHERE customer = ?"
                if db.execute(known, (order["id"],)).fetchone():
                    return
                [no] = db.execute("SELECT coalesce(max(no), 1000) + 1 FROM invoices").fetchone()
                uid, made = str(uuid.uuid4()), env.now_ms() / 1000
                row = (no, uid, order["id"], made, order["net"])
                db.execute("INSERT INTO invoices VALUES (?, ?, ?, ?, ?)", row)
                body = {"customer": order["id"], "no": no, "uid": uid, "net": order["net"]}
                if outbox:
                    db.execute("INSERT INTO outbox (body) VALUES (?)", (json.dumps(body),))
            if not outbox:
                publish("invoiced", body)

        def relay():
            while True:
                unsent = "SELECT n, body FROM outbox WHERE sent = 0 ORDER BY n"
                for n, body in own.execute(unsent).fetchall():
                    try:
                        publish("invoiced", json.loads(body))
                    except NO_ANSWER:
                        break
                    with own:
                        own.execute("UPDATE outbox SET sent = 1 WHERE n = ?", (n,))
                env.sleep(60)

        env.consume(bus, "orders", on_order)
        env.main(relay)

    @system.service("mails")
    def mails(env):
        db = env.connect(box)

        def on_invoice(invoice: dict):
            text = f"Invoice {invoice['no']} over {invoice['net']}"
            with db:
                row = (invoice["customer"], text)
                db.execute("INSERT OR IGNORE INTO mails VALUES (?, ?)", row)

        env.consume(bus, "invoiced", on_invoice)

    @system.entry(examples=[{"id": "o1", "net": 500}, {"id": "o2", "net": 700}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


class Rates:
    def rate(self, quote):
        return 120


class Mail:
    def __init__(self):
        self.sent = set()

    def send(self, to, reference):
        if reference in self.sent:
            return External.unchanged()
        self.sent.add(reference)


def quotes(*, one_reference: bool) -> System:
    """Fall back to the list price, and mail as well as can be: under one reference, or many."""
    system = System("quotes")
    queues = {"asks": Queue("quorum", dead_letter="parked"), "parked": "quorum"}
    bus = system.add(RabbitMQ("bus", queues=queues))
    store = system.add(once("db", "quotes", "id TEXT PRIMARY KEY, cents INT, source TEXT"))
    rates = system.add(External("rates", Rates, reads=["rate"]))
    mail = system.add(External("mail", Mail))

    @system.service("quote", replicas=2)
    def quote(env):
        db, prices, post = env.connect(store), env.client(rates), env.client(mail)

        def on_ask(ask: dict):
            try:
                cents, source = prices.rate(ask["id"]), "live"
            except NO_ANSWER:
                cents, source = 100, "list"
            with db:
                row = (ask["id"], cents, source)
                db.execute("INSERT OR IGNORE INTO quotes VALUES (?, ?, ?)", row)
            reference = ask["id"] if one_reference else str(uuid.uuid4())
            with suppress(*NO_ANSWER):
                post.send(ask["id"], reference)

        env.consume(bus, "asks", on_ask)

    @system.entry(examples=[{"id": "q1"}, {"id": "q2"}])
    def ask(env, one):
        env.publisher(bus)("asks", one, key=one["id"])

    return system


def points(*, offsets: bool) -> System:
    """Totals and the offset in one transaction, polled by a loop; or the offset is ignored.

    An offset tells two records of one order for two orders: whoever goes by it needs a producer
    that repeats nothing.
    """
    system = System("points")
    bus = system.add(Kafka("bus", topics={"earned": 2}, idempotent_producer=True))
    store = system.add(
        SQLite(
            "db",
            "CREATE TABLE sums (who TEXT PRIMARY KEY, n INT);"
            "CREATE TABLE places (part INT PRIMARY KEY, next INT);",
        )
    )

    @system.service("points", replicas=2)
    def service(env):
        db = env.connect(store)
        consumer = env.consumer(bus, "earned", read_as=dict, on_unreadable="dead-letter")

        def take(record):
            with db:
                db.execute("BEGIN IMMEDIATE")
                known = "SELECT next FROM places WHERE part = ?"
                place = db.execute(known, (record.partition,)).fetchone()
                if offsets and place is not None and record.offset < place[0]:
                    return
                db.execute(
                    "INSERT INTO sums VALUES (?, ?) ON CONFLICT (who) DO UPDATE "
                    "SET n = n + excluded.n",
                    (record.value["who"], record.value["n"]),
                )
                db.execute(
                    "INSERT INTO places VALUES (?, ?) ON CONFLICT (part) DO UPDATE "
                    "SET next = excluded.next",
                    (record.partition, record.offset + 1),
                )

        def loop():
            while True:
                for record in consumer.poll():
                    take(record)
                    try:
                        consumer.commit(record)
                    except (CommitFailed, *NO_ANSWER):
                        pass

        env.main(loop)

    @system.entry(examples=[{"who": "ann", "n": 5}, {"who": "bob", "n": 7}, {"who": "ann", "n": 9}])
    def earn(env, one):
        env.publisher(bus)("earned", one, key=one["who"])

    return system


def running_total(*, inbox: bool) -> System:
    """Tell the balance after each deposit: the number in the message is a total so far."""
    system = System("running total")
    bus = system.add(Kafka("bus", topics={"deposits": 1, "balances": 1}))
    store = system.add(
        SQLite(
            "db",
            "CREATE TABLE seen (id TEXT PRIMARY KEY);"
            "CREATE TABLE balances (account TEXT PRIMARY KEY, amount INTEGER);",
        )
    )

    @system.service("bank", replicas=2)
    def bank(env):
        db, publish = env.connect(store), env.publisher(bus)

        def on_deposit(one: dict):
            with db:
                new = db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (one["id"],)).rowcount
                if new or not inbox:
                    db.execute(
                        "INSERT INTO balances VALUES (?, ?) ON CONFLICT (account) DO UPDATE "
                        "SET amount = amount + excluded.amount",
                        (one["account"], one["amount"]),
                    )
            known = "SELECT amount FROM balances WHERE account = ?"
            [amount] = db.execute(known, (one["account"],)).fetchone()
            told = {"account": one["account"], "amount": amount}
            publish("balances", told, key=one["account"])

        env.consume(bus, "deposits", on_deposit, **TRIED_AGAIN)

    @system.entry(
        examples=[
            {"id": "d1", "account": "ann", "amount": 5},
            {"id": "d2", "account": "ann", "amount": 7},
            {"id": "d3", "account": "bob", "amount": 1},
        ]
    )
    def deposit(env, one):
        env.publisher(bus)("deposits", one, key=one["account"])

    return system


class Hotel:
    def __init__(self):
        self.known = set()

    def book(self, trip):
        return self._once(f"book {trip}")

    def cancel(self, trip):
        return self._once(f"cancel {trip}")

    def _once(self, what):
        if what in self.known:
            return External.unchanged()
        self.known.add(what)


def trips(*, refunds: bool) -> System:
    """Give up after three tries, cancel and refund; or forget to refund."""
    system = System("trips")
    queues = {"orders": Queue("quorum", dead_letter="parked"), "parked": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    store = system.add(once("db", "trips", "id TEXT PRIMARY KEY, state TEXT"))
    bank, hotel = system.add(Gateway("bank")), system.add(External("hotel", Hotel))

    @system.service("trips")
    def service(env):
        db, money, rooms = env.connect(store), env.client(bank), env.client(hotel)

        def say(trip, state):
            with db:
                db.execute("INSERT OR REPLACE INTO trips VALUES (?, ?)", (trip, state))

        def booked(trip):
            for n in range(3):
                try:
                    rooms.book(trip)
                    return True
                except NO_ANSWER:
                    env.sleep(2**n)
            return False

        def on_order(order: dict):
            trip = order["id"]
            known = db.execute("SELECT state FROM trips WHERE id = ?", (trip,)).fetchone()
            state = known[0] if known else "new"
            if state == "new":
                money.charge(trip, 500, key=trip)
                state = "done" if booked(trip) else "undoing"
                say(trip, state)
            if state == "undoing":
                rooms.cancel(trip)
                if refunds:
                    money.refund(trip, 500, key=f"back {trip}")
                say(trip, "failed")

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[{"id": "t1"}, {"id": "t2"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


def api(*, keys: bool) -> System:
    """A synchronous door whose client tries again, with an idempotency key or without."""
    system = System("api")
    store = system.add(
        once("db", "orders", "id TEXT PRIMARY KEY, k TEXT UNIQUE, who TEXT, at REAL")
    )

    @system.service("api", replicas=2)
    def service(env):
        db = env.connect(store)

        def create(order: dict):
            key = order["key"] if keys else str(uuid.uuid4())
            row = (str(uuid.uuid4()), key, order["name"], env.now_ms() / 1000)
            with db:
                db.execute("INSERT OR IGNORE INTO orders VALUES (?, ?, ?, ?)", row)

        env.serve("create", create)

    @system.entry(examples=[{"key": "k1", "name": "ann"}, {"key": "k2", "name": "bob"}])
    def place(env, order):
        for _ in range(4):
            try:
                return env.call("api", "create", order, timeout_s=5)
            except (*NO_ANSWER, RemoteError):
                env.sleep(2)

    return system


DUE = """
CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT, due INTEGER);
CREATE TABLE refunds (id TEXT PRIMARY KEY);
CREATE TABLE stock (sku TEXT PRIMARY KEY, free INTEGER); INSERT INTO stock VALUES ('w', 5);
"""


def late_money(*, refunds: bool) -> System:
    """An order expires by a timer; money that comes later goes back, or is swallowed."""
    system = System("late money")
    bus, store = system.add(Kafka("bus", topics={"paid": 1})), system.add(SQLite("db", DUE))

    @system.service("checkout")
    def checkout(env):
        placing, paying, ticking = (env.connect(store) for _ in range(3))

        def place(order):
            with placing:
                row = (order, env.now_ms() + 60_000)
                new = "INSERT OR IGNORE INTO orders VALUES (?, 'waiting', ?)"
                if placing.execute(new, row).rowcount:
                    placing.execute("UPDATE stock SET free = free - 1")

        def on_paid(money: dict):
            with paying:
                mine = "UPDATE orders SET state = 'paid' WHERE id = ? AND state = 'waiting'"
                if not paying.execute(mine, (money["id"],)).rowcount and refunds:
                    known = "SELECT state FROM orders WHERE id = ?"
                    if paying.execute(known, (money["id"],)).fetchone() == ("cancelled",):
                        back = "INSERT OR IGNORE INTO refunds VALUES (?)"
                        paying.execute(back, (money["id"],))

        def tick():
            while True:
                env.sleep(59)
                with ticking:
                    due = "SELECT id FROM orders WHERE state = 'waiting' AND due < ?"
                    for (order,) in ticking.execute(due, (env.now_ms(),)).fetchall():
                        end = "UPDATE orders SET state = 'cancelled' WHERE id = ?"
                        ticking.execute(end, (order,))
                        ticking.execute("UPDATE stock SET free = free + 1")

        env.serve("place", place)
        env.consume(bus, "paid", on_paid, **TRIED_AGAIN)
        env.main(tick)

    @system.entry(examples=["o1", "o2"])
    def order(env, one):
        env.call("checkout", "place", one)
        env.publisher(bus)("paid", {"id": one}, key=one)

    return system


def contention(*, inbox: bool) -> System:
    """Unequal quantities, and not enough for all; told by an outbox."""
    system = System("contention")
    bus = system.add(Kafka("bus", topics={"orders": 2}))
    store = system.add(
        SQLite(
            "db",
            "CREATE TABLE stock (sku TEXT PRIMARY KEY, free INT);"
            "INSERT INTO stock VALUES ('w', 4);"
            "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT, told TEXT);",
        )
    )

    @system.service("shop", replicas=2)
    def shop(env):
        db = env.connect(store)

        def on_order(order: dict):
            with db:
                db.execute("BEGIN IMMEDIATE")
                known = "SELECT 1 FROM orders WHERE id = ?"
                if inbox and db.execute(known, (order["id"],)).fetchone():
                    return
                take = "UPDATE stock SET free = free - ? WHERE free >= ?"
                got = db.execute(take, (order["n"], order["n"])).rowcount
                told = json.dumps({"order": order["id"], "event": str(uuid.uuid4())})
                row = (order["id"], "ok" if got else "sold out", told)
                db.execute("INSERT OR REPLACE INTO orders VALUES (?, ?, ?)", row)

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    @system.entry(examples=[{"id": "o1", "n": 2}, {"id": "o2", "n": 3}, {"id": "o3", "n": 1}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


SEATS = """
CREATE TABLE seats (id TEXT PRIMARY KEY, state TEXT);
CREATE TABLE left_over (n INT); INSERT INTO left_over VALUES (3);
"""


def desk(*, gives_back: bool) -> System:
    """Hold a seat, charge, sell it or set it free again; the client tries again for an hour."""
    system = System("desk")
    bank = system.add(Gateway("bank", declines=lambda order, cents: cents > 1000))
    store = system.add(SQLite("db", SEATS))

    @system.service("seats")
    def seats(env):
        def hold(one: dict):
            holding = env.connect(store)  # of its own: a client that tries again calls beside it
            with holding:
                holding.execute("BEGIN IMMEDIATE")
                new = "INSERT OR IGNORE INTO seats VALUES (?, 'held')"
                if holding.execute(new, (one["id"],)).rowcount:
                    holding.execute("UPDATE left_over SET n = n - 1")

        def settle(one: dict):
            settling = env.connect(store)
            with settling:
                settling.execute("BEGIN IMMEDIATE")
                end = "UPDATE seats SET state = ? WHERE id = ? AND state = 'held'"
                ended = settling.execute(end, (one["to"], one["id"])).rowcount
                if one["to"] == "free" and (ended or not gives_back):
                    settling.execute("UPDATE left_over SET n = n + 1")

        env.serve("hold", hold)
        env.serve("settle", settle)

    @system.service("desk")
    def front(env):
        client = env.client(bank)

        def book(one: dict):
            env.call("seats", "hold", one)
            try:
                client.charge(one["id"], one["cents"], key=one["id"])
                to = "sold"
            except Declined:
                to = "free"
            env.call("seats", "settle", {"id": one["id"], "to": to})

        env.serve("book", book)

    @system.entry(examples=[{"id": "b1", "cents": 500}, {"id": "b2", "cents": 5000}])
    def ask(env, one):
        for _ in range(100):
            try:
                return env.call("desk", "book", one)
            except (RemoteError, OSError):
                env.sleep(40)

    return system
