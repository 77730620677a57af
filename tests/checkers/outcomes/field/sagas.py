"""What takes several services: choreography, joins, sagas."""

import secrets

from chaosharness import (
    External,
    Kafka,
    KeyValue,
    Orchestrator,
    RabbitMQ,
    Retry,
    Saga,
    SagaStore,
    SQLite,
    Step,
    System,
)
from tests.checkers.outcomes.field.parties import AGAIN, Bank, Cards, queues


def choreography(right):
    """Orders, payments and stock hear of each other; a refund has a key, or none."""
    system = System("choreography")
    bus = system.add(Kafka("bus", topics={"placed": 1, "paid": 1, "unavailable": 1, "reserved": 1}))
    od = system.add(SQLite("orderdb", "CREATE TABLE orders(id TEXT PRIMARY KEY, state TEXT);"))
    wh = system.add(
        SQLite(
            "stockdb",
            (
                "CREATE TABLE reserved(order_id TEXT PRIMARY KEY, ok INT); "
                "CREATE TABLE stock(sku TEXT PRIMARY KEY, n INT CHECK(n>=0)); "
                "INSERT INTO stock VALUES('lamp',1),('rug',0);"
            ),
        )
    )
    bank = system.add(External("bank", Bank))

    @system.service("orders")
    def orders(env):
        db = env.connect(od)

        def set_(id, state):
            with db:
                db.execute(
                    (
                        "INSERT INTO orders VALUES(?,?) ON CONFLICT(id) DO UPDATE SET "
                        "state=excluded.state WHERE orders.state='new'"
                    ),
                    (id, state),
                )

        def on_placed(o: dict):
            set_(o["id"], "new")

        def on_reserved(o: dict):
            set_(o["id"], "new")
            set_(o["id"], "confirmed")

        def on_unavailable(o: dict):
            set_(o["id"], "new")
            set_(o["id"], "cancelled")

        env.consume(
            bus,
            "placed",
            on_placed,
            on_unreadable="dead-letter",
            on_error="dead-letter",
            retries_max=60,
        )
        env.consume(
            bus,
            "reserved",
            on_reserved,
            on_unreadable="dead-letter",
            on_error="dead-letter",
            retries_max=60,
        )
        env.consume(
            bus,
            "unavailable",
            on_unavailable,
            on_unreadable="dead-letter",
            on_error="dead-letter",
            retries_max=60,
        )

    @system.service("payments")
    def payments(env):
        b, pub = env.client(bank), env.publisher(bus)

        def on_placed(o: dict):
            b.charge(o["id"], o["cents"], key="c" + o["id"])
            pub("paid", o, key=o["id"])

        def on_unavailable(o: dict):
            b.refund(o["id"], o["cents"], key=("r" + o["id"]) if right else None)

        env.consume(
            bus,
            "placed",
            on_placed,
            on_unreadable="dead-letter",
            on_error="dead-letter",
            retries_max=60,
        )
        env.consume(
            bus,
            "unavailable",
            on_unavailable,
            on_unreadable="dead-letter",
            on_error="dead-letter",
            retries_max=60,
        )

    @system.service("stock", replicas=2)
    def stock(env):
        db, pub = env.connect(wh), env.publisher(bus)

        def on_paid(o: dict):
            with db:
                db.execute("BEGIN IMMEDIATE")
                row = db.execute("SELECT ok FROM reserved WHERE order_id=?", (o["id"],)).fetchone()
                if row is None:
                    ok = db.execute(
                        "UPDATE stock SET n=n-1 WHERE sku=? AND n>0", (o["sku"],)
                    ).rowcount
                    db.execute("INSERT INTO reserved VALUES(?,?)", (o["id"], ok))
                else:
                    ok = row[0]
            pub("reserved" if ok else "unavailable", o, key=o["id"])

        env.consume(
            bus,
            "paid",
            on_paid,
            on_unreadable="dead-letter",
            on_error="dead-letter",
            retries_max=60,
        )

    @system.entry(
        examples=[
            {"id": "o1", "sku": "lamp", "cents": 900},
            {"id": "o2", "sku": "rug", "cents": 400},
        ]
    )
    def place(env, o):
        env.publisher(bus)("placed", o, key=o["id"])

    return system


def auth_capture(right):
    """A payment is taken back before the order says so, or after."""
    system = System("auth capture")
    bus = system.add(RabbitMQ("mq", queues=queues("orders")))
    store = system.add(
        SQLite("db", "CREATE TABLE orders(id TEXT PRIMARY KEY, state TEXT, ref TEXT);")
    )
    cards = system.add(External("cards", Cards))

    class Ship:
        def __init__(self):
            self.b = {}

        def book(self, order, zone):
            if zone == "moon":
                raise ValueError("no such zone")
            if order in self.b:
                return External.unchanged(self.b[order])
            self.b[order] = "trk-" + order
            return self.b[order]

    ship = system.add(External("ship", Ship))

    @system.service("orders")
    def orders(env):
        db, c, sh = env.connect(store), env.client(cards), env.client(ship)

        def on_order(o: dict):
            row = db.execute("SELECT state FROM orders WHERE id=?", (o["id"],)).fetchone()
            if row and row[0] in ("done", "cancelled"):
                return
            ref = c.pay(o["id"], o["cents"], key="auth-" + o["id"])
            try:
                sh.book(o["id"], o["zone"])
            except ValueError:
                if right:
                    c.void(ref)
                with db:
                    db.execute("INSERT INTO orders VALUES(?,'cancelled',?)", (o["id"], ref))
                if not right:
                    c.void(ref)
                return
            with db:
                db.execute("INSERT INTO orders VALUES(?,'done',?)", (o["id"], ref))

        env.consume(bus, "orders", on_order)

    @system.entry(
        examples=[
            {"id": "A1", "cents": 10, "zone": "eu"},
            {"id": "B2", "cents": 20, "zone": "moon"},
        ]
    )
    def p(env, o):
        env.publisher(bus)("orders", o)

    return system


def scatter(right):
    """The best quote is told each time that all are in, or only by whoever wrote it first."""
    system = System("scatter")
    bus = system.add(Kafka("bus", topics={"rfq": 1, "quotes": 1, "best": 1}))
    store = system.add(
        SQLite(
            "db",
            (
                "CREATE TABLE quotes(rfq TEXT, vendor TEXT, cents INT, PRIMARY "
                "KEY(rfq,vendor)); CREATE TABLE best(rfq TEXT PRIMARY KEY, "
                "cents INT);"
            ),
        )
    )
    for vendor, price in (("acme", 100), ("bolt", 90)):

        @system.service(vendor)
        def v(env, vendor=vendor, price=price):
            pub = env.publisher(bus)

            def on_rfq(r: dict):
                pub(
                    "quotes",
                    {"rfq": r["rfq"], "vendor": vendor, "cents": price * r["n"]},
                    key=r["rfq"],
                )

            env.consume(bus, "rfq", on_rfq, **AGAIN)

    @system.service("broker")
    def broker(env):
        db, pub = env.connect(store), env.publisher(bus)

        def on_quote(q: dict):
            with db:
                db.execute(
                    "INSERT OR IGNORE INTO quotes VALUES(?,?,?)",
                    (q["rfq"], q["vendor"], q["cents"]),
                )
                n, c = db.execute(
                    "SELECT count(*),min(cents) FROM quotes WHERE rfq=?", (q["rfq"],)
                ).fetchone()
                if n < 2:
                    return
                new = db.execute("INSERT OR IGNORE INTO best VALUES(?,?)", (q["rfq"], c)).rowcount
            if right or new:
                pub("best", {"rfq": q["rfq"], "cents": c}, key=q["rfq"])

        env.consume(bus, "quotes", on_quote, **AGAIN)

    @system.service("buyer")
    def buyer(env):
        cards_ = env.client(cards)

        def on_best(b: dict):
            cards_.pay(b["rfq"], b["cents"], key=b["rfq"])

        env.consume(bus, "best", on_best, **AGAIN)

    cards = system.add(External("cards", Cards))

    @system.entry(examples=[{"rfq": "r1", "n": 2}, {"rfq": "r2", "n": 1}])
    def ask(env, r):
        env.publisher(bus)("rfq", r, key=r["rfq"])

    return system


def saga_of_own(right):
    """A saga asks under the key of its step, or under a new one each time."""
    system = System("trip saga")
    bus = system.add(RabbitMQ("mq", queues=queues("trips")))

    class H:
        def __init__(self):
            self.b = {}
            self.c = set()

        def book(self, trip, key):
            if key in self.c:
                raise ValueError("cancelled")
            if key in self.b:
                return External.unchanged(self.b[key])
            self.b[key] = "h-" + trip
            return self.b[key]

        def cancel(self, trip, key):
            if key in self.c:
                return External.unchanged("gone")
            self.c.add(key)
            if "h-" + trip not in self.b.values():  # the key of a cancellation is another one
                return External.unchanged("never was")

    class F:
        def __init__(self):
            self.b = {}

        def book(self, trip, to, key):
            if to == "mars":
                raise ValueError("no flights")
            if key in self.b:
                return External.unchanged(self.b[key])
            self.b[key] = "f-" + trip
            return self.b[key]

    hotel, flight = system.add(External("hotel", H)), system.add(External("flight", F))
    store = system.add(SagaStore("sagas"))
    T = Saga(
        "trip",
        Step("hotel", undo="cancel", retry=Retry(times=100)),
        Step("flight", retry=Retry(times=100)),
    )

    @system.service("trips", replicas=2)
    def trips(env):
        h, f = env.client(hotel), env.client(flight)

        def mk():
            return Orchestrator(
                T,
                env.connect(store),
                now_ms=env.now_ms,
                sleep=env.sleep,
                calls={
                    "hotel": lambda c: h.book(c.saga, c.key if right else secrets.token_hex(8)),
                    "cancel": lambda c: h.cancel(c.saga, c.key),
                    "flight": lambda c: f.book(c.saga, c.input["to"], c.key),
                },
                refusals=(ValueError,),
                not_happened=(ConnectionError,),
            )

        o = mk()
        env.consume(bus, "trips", lambda t: o.start(t["id"], t))
        env.main(mk().run)

    @system.entry(examples=[{"id": "t1", "to": "rome"}, {"id": "t2", "to": "mars"}])
    def go(env, t):
        env.publisher(bus)("trips", t, key=t["id"])

    return system


def stream_join(right):
    """Two streams meet in a table; what is ready is told each time, or once."""
    system = System("join")
    bus = system.add(Kafka("bus", topics={"orders": 1, "payments": 1, "ready": 1}))
    store = system.add(
        SQLite(
            "db", "CREATE TABLE j(id TEXT PRIMARY KEY, item TEXT, paid INT, told INT DEFAULT 0);"
        )
    )

    @system.service("join")
    def join(env):
        db, pub = env.connect(store), env.publisher(bus)

        def done(id):
            row = db.execute(
                "SELECT item,paid FROM j WHERE id=? AND item IS NOT NULL AND paid IS NOT NULL",
                (id,),
            ).fetchone()
            if row:
                pub("ready", {"id": id, "item": row[0], "paid": row[1]}, key=id)

        def on_order(o: dict):
            with db:
                new = db.execute(
                    (
                        "INSERT INTO j(id,item) VALUES(?,?) ON CONFLICT(id) DO UPDATE "
                        "SET item=excluded.item WHERE item IS NULL"
                    ),
                    (o["id"], o["item"]),
                ).rowcount
            if right or new:
                done(o["id"])

        def on_pay(p: dict):
            with db:
                new = db.execute(
                    (
                        "INSERT INTO j(id,paid) VALUES(?,?) ON CONFLICT(id) DO UPDATE "
                        "SET paid=excluded.paid WHERE paid IS NULL"
                    ),
                    (p["id"], p["cents"]),
                ).rowcount
            if right or new:
                done(p["id"])

        env.consume(bus, "orders", on_order, **AGAIN)
        env.consume(bus, "payments", on_pay, **AGAIN)

    @system.service("ship")
    def ship(env):
        kv = env.connect(sh)

        def on_ready(r: dict):
            kv.put(r["id"], r["item"])

        env.consume(bus, "ready", on_ready, **AGAIN)

    sh = system.add(KeyValue("shipments"))

    @system.entry(
        examples=[{"id": "o1", "item": "pen", "cents": 5}, {"id": "o2", "item": "ink", "cents": 6}]
    )
    def go(env, o):
        p = env.publisher(bus)
        p("orders", {"id": o["id"], "item": o["item"]}, key=o["id"])
        p("payments", {"id": o["id"], "cents": o["cents"]}, key=o["id"])

    return system
