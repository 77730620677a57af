"""More right systems, each with a twin that has one bug: what is hard to tell from a bug."""

from chaosharness import Declined, Delivery, Gateway, Kafka, Queue, RabbitMQ, SQLite, System
from tests.checkers.outcomes.shops import NO_ANSWER, TRIED_AGAIN

ORDERS = [{"id": "o1"}, {"id": "o2"}]

HELD = """
CREATE TABLE holds (id TEXT PRIMARY KEY, state TEXT);
CREATE TABLE stock (sku TEXT PRIMARY KEY, free INTEGER); INSERT INTO stock VALUES ('lamp', 1);
"""


def last_items(*, once: bool) -> System:
    """Two want the last one: it is held, and given back where the customer cannot pay."""
    system = System("last items")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    store = system.add(SQLite("db", HELD))
    bank = system.add(Gateway("bank", declines=lambda order, cents: cents > 1000))

    @system.service("shop")
    def shop(env):
        db, client = env.connect(store), env.client(bank)

        def hold(order):
            with db:
                known = "SELECT state FROM holds WHERE id = ?"
                if row := db.execute(known, (order["id"],)).fetchone():
                    return row[0] if once else "held"
                got = db.execute("UPDATE stock SET free = free - 1 WHERE free > 0").rowcount
                state = "held" if got else "sold out"
                db.execute("INSERT INTO holds VALUES (?, ?)", (order["id"], state))
                return state

        def on_order(order: dict):
            if hold(order) != "held":
                return
            try:
                client.charge(order["id"], order["cents"], key=order["id"])
                to = "sold"
            except Declined:
                to = "declined"
            with db:
                mine = "UPDATE holds SET state = ? WHERE id = ? AND state = 'held'"
                ended = db.execute(mine, (to, order["id"])).rowcount
                if to == "declined" and (ended or not once):
                    db.execute("UPDATE stock SET free = free + 1")

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    @system.entry(examples=[{"id": "o1", "cents": 5000}, {"id": "o2", "cents": 500}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


EPOCHS = """
CREATE TABLE owners (part INTEGER PRIMARY KEY, epoch INTEGER);
CREATE TABLE seen (id TEXT PRIMARY KEY); CREATE TABLE sums (part INTEGER PRIMARY KEY, n INTEGER);
"""


def fenced(*, inbox: bool) -> System:
    """Whoever takes a log partition over raises its epoch; the sum beside it is business."""
    system = System("fenced")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    store = system.add(SQLite("db", EPOCHS))

    @system.service("worker", replicas=2)
    def worker(env):
        db, mine = env.connect(store), set()

        def on_order(order: dict, delivery: Delivery):
            part = (delivery.partition,)
            more = "ON CONFLICT (part) DO UPDATE SET"
            with db:
                if delivery.partition not in mine:
                    db.execute(f"INSERT INTO owners VALUES (?, 1) {more} epoch = epoch + 1", part)
                new = db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (order["id"],)).rowcount
                if new or not inbox:
                    db.execute(f"INSERT INTO sums VALUES (?, 1) {more} n = n + 1", part)
            mine.add(delivery.partition)

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


AUDITED = """
CREATE TABLE orders (id TEXT PRIMARY KEY, n INTEGER);
CREATE TABLE audit (no INTEGER PRIMARY KEY, what TEXT);
"""


def audited(*, inbox: bool) -> System:
    """Each handling is written down, a repeat as well."""
    system = System("audited")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    store = system.add(SQLite("db", AUDITED))

    @system.service("worker")
    def worker(env):
        db = env.connect(store)

        def on_order(order: dict):
            with db:
                db.execute("INSERT INTO audit (what) VALUES (?)", (f"handled {order['id']}",))
                how = "NOTHING" if inbox else "UPDATE SET n = n + 1"
                new = f"INSERT INTO orders VALUES (?, 1) ON CONFLICT (id) DO {how}"
                db.execute(new, (order["id"],))

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    @system.entry(examples=ORDERS)
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


LINES = """
CREATE TABLE orders (no INTEGER PRIMARY KEY, id TEXT UNIQUE);
CREATE TABLE lines (line INTEGER PRIMARY KEY, order_no INTEGER, pieces INTEGER);
"""


def numbered(*, whole: bool) -> System:
    """Rows that know their order by a generated number only."""
    system = System("numbered")
    bus = system.add(Kafka("bus", topics={"orders": 2}))
    store = system.add(SQLite("db", LINES))

    @system.service("worker", replicas=2)
    def worker(env):
        db = env.connect(store)

        def on_order(order: dict):
            with db:
                db.execute("BEGIN IMMEDIATE")
                insert = "INSERT OR IGNORE INTO orders (id) VALUES (?)"
                new = db.execute(insert, (order["id"],)).rowcount
                if whole and not new:
                    return
                known = "SELECT no FROM orders WHERE id = ?"
                (number,) = db.execute(known, (order["id"],)).fetchone()
                for pieces in order["lines"]:
                    line = "INSERT INTO lines (order_no, pieces) VALUES (?, ?)"
                    db.execute(line, (number, pieces))

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)

    @system.entry(examples=[{"id": "o1", "lines": [3, 1]}, {"id": "o2", "lines": [2]}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


EXPIRING = """
CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT);
"""


def expiry(*, refunds: bool) -> System:
    """An order expires by a queue that holds it for an hour; money that comes later goes back."""
    system = System("expiry")
    queues = {
        "placed": Queue("quorum", dead_letter="failed"),
        "waiting": Queue("quorum", ttl_ms=3_600_000, dead_letter="due"),
        "due": Queue("quorum", dead_letter="failed"),
        "paid": Queue("quorum", dead_letter="failed"),
        "failed": Queue(),
    }
    bus = system.add(RabbitMQ("bus", queues=queues))
    store, bank = system.add(SQLite("db", EXPIRING)), system.add(Gateway("bank"))

    @system.service("shop")
    def shop(env):
        placing, paying, expiring = (env.connect(store) for _ in range(3))
        client, publish = env.client(bank), env.publisher(bus)

        def on_placed(order: dict):
            publish("waiting", order)
            with placing:
                placing.execute("INSERT OR IGNORE INTO orders VALUES (?, 'open')", (order["id"],))
            client.charge(order["id"], 500, key=order["id"])
            publish("paid", order)

        def end(db, order, word):
            with db:
                db.execute("BEGIN IMMEDIATE")
                mine = "UPDATE orders SET state = ? WHERE id = ? AND state = 'open'"
                db.execute(mine, (word, order["id"]))
                known = "SELECT state FROM orders WHERE id = ?"
                return db.execute(known, (order["id"],)).fetchone()

        def on_paid(order: dict):
            if end(paying, order, "paid") == ("expired",) and refunds:
                client.refund(order["id"], 500, key=f"{order['id']}:back")

        def on_due(order: dict):
            end(expiring, order, "expired")

        env.consume(bus, "placed", on_placed, retries_max=60)
        env.consume(bus, "paid", on_paid, retries_max=60)
        env.consume(bus, "due", on_due, retries_max=60)

    @system.entry(examples=ORDERS)
    def place(env, order):
        for _ in range(200):
            try:
                return env.publisher(bus)("placed", order)
            except NO_ANSWER:
                env.sleep(60_000)

    return system
