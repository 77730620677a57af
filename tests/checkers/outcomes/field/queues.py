"""Consumers of queues: inboxes, stock, functions, words in advance."""

import asyncio
import json

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from chaosharness import (
    NATS,
    SQS,
    External,
    Kafka,
    KeyValue,
    Lambda,
    NATSConsumer,
    NATSStream,
    Queue,
    RabbitMQ,
    SQLite,
    SQSQueue,
    System,
)
from tests.checkers.outcomes.field.parties import Cards, queues


class Base(DeclarativeBase):
    """Of the tables."""


class Acc(Base):
    __tablename__ = "acc"
    id: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int]


class Mv(Base):
    __tablename__ = "mv"
    id: Mapped[str] = mapped_column(primary_key=True)
    acc: Mapped[str]
    cents: Mapped[int]


def inbox_asyncio(right):
    """Payments are applied once: the inbox is in the same transaction, or in one of its own."""
    system = System("inbox asyncio")
    bus = system.add(
        RabbitMQ("mq", queues={"payments": Queue("quorum", dead_letter="dead"), "dead": Queue()})
    )
    store = system.add(
        SQLite(
            "db",
            (
                "CREATE TABLE inbox(message_id TEXT PRIMARY KEY); CREATE TABLE "
                "accounts(owner TEXT PRIMARY KEY, balance INT); INSERT INTO "
                "accounts VALUES('ann',100),('bob',50);"
            ),
        )
    )

    @system.service("accounts", replicas=2, runtime="asyncio")
    def accounts(env):
        db = env.connect(store)

        async def apply(msg: dict):
            if right:
                with db:
                    if (
                        db.execute("INSERT OR IGNORE INTO inbox VALUES(?)", (msg["id"],)).rowcount
                        == 0
                    ):
                        return
                    db.execute(
                        "UPDATE accounts SET balance=balance+? WHERE owner=?",
                        (msg["amount"], msg["owner"]),
                    )
            else:
                with db:
                    if (
                        db.execute("INSERT OR IGNORE INTO inbox VALUES(?)", (msg["id"],)).rowcount
                        == 0
                    ):
                        return
                await asyncio.sleep(0.01)
                with db:
                    db.execute(
                        "UPDATE accounts SET balance=balance+? WHERE owner=?",
                        (msg["amount"], msg["owner"]),
                    )

        env.consume(bus, "payments", apply, prefetch=5)

    @system.entry(
        examples=[
            {"id": "p-1", "owner": "ann", "amount": 20},
            {"id": "p-2", "owner": "bob", "amount": 5},
            {"id": "p-3", "owner": "ann", "amount": -7},
        ]
    )
    def pay(env, m):
        env.publisher(bus)("payments", m)

    return system


def nats_kv(right):
    """A parcel moves the stock once; or each time it is told of."""
    system = System("nats orders")
    bus = system.add(
        NATS(
            "js",
            {
                "ORDERS": NATSStream(
                    subjects="orders.>",
                    consumers={
                        "ship": NATSConsumer(
                            filters="orders.paid", ack_wait_ms=30_000, dead_subject="orders.dead"
                        )
                    },
                )
            },
        )
    )
    store = system.add(
        SQLite(
            "wh",
            (
                "CREATE TABLE parcels(order_id TEXT PRIMARY KEY, qty INT); "
                "CREATE TABLE stock(sku TEXT PRIMARY KEY, n INT); INSERT INTO "
                "stock VALUES('mug',10);"
            ),
        )
    )

    @system.service("ship", replicas=2, runtime="asyncio")
    def ship(env):
        db = env.connect(store)

        async def on_paid(o: dict):
            await asyncio.sleep(0)
            with db:
                if right:
                    if db.execute(
                        "INSERT OR IGNORE INTO parcels VALUES(?,?)", (o["id"], o["qty"])
                    ).rowcount:
                        db.execute("UPDATE stock SET n=n-? WHERE sku=?", (o["qty"], o["sku"]))
                else:
                    db.execute("INSERT OR REPLACE INTO parcels VALUES(?,?)", (o["id"], o["qty"]))
                    db.execute("UPDATE stock SET n=n-? WHERE sku=?", (o["qty"], o["sku"]))

        env.consume(
            bus, "ship", on_paid, on_error="dead-letter", retries_max=60, on_unreadable="term"
        )

    @system.entry(
        examples=[{"id": "o1", "sku": "mug", "qty": 2}, {"id": "o2", "sku": "mug", "qty": 1}]
    )
    def place(env, o):
        env.publisher(bus)("orders.paid", o, key=o["id"], message_id=o["id"])

    return system


def ledger(right):
    """Both entries of a transfer are one transaction, or two."""
    system = System("ledger")
    bus = system.add(Kafka("bus", topics={"transfers": 2}))
    store = system.add(
        SQLite(
            "bank",
            (
                "CREATE TABLE entries(transfer TEXT, account TEXT, cents INT, "
                "PRIMARY KEY(transfer,account));"
            ),
        )
    )

    @system.service("ledger", replicas=2)
    def led(env):
        db = env.connect(store)

        def on_transfer(t: dict):
            if right:
                with db:
                    db.execute(
                        "INSERT OR IGNORE INTO entries VALUES(?,?,?)",
                        (t["id"], t["from"], -t["cents"]),
                    )
                    db.execute(
                        "INSERT OR IGNORE INTO entries VALUES(?,?,?)",
                        (t["id"], t["to"], t["cents"]),
                    )
            else:
                if db.execute("SELECT 1 FROM entries WHERE transfer=?", (t["id"],)).fetchone():
                    return
                with db:
                    db.execute(
                        "INSERT INTO entries VALUES(?,?,?)", (t["id"], t["from"], -t["cents"])
                    )
                with db:
                    db.execute("INSERT INTO entries VALUES(?,?,?)", (t["id"], t["to"], t["cents"]))

        env.consume(
            bus,
            "transfers",
            on_transfer,
            on_unreadable="dead-letter",
            on_error="dead-letter",
            retries_max=60,
        )

    @system.entry(
        examples=[
            {"id": "t1", "from": "a", "to": "b", "cents": 5},
            {"id": "t2", "from": "b", "to": "a", "cents": 3},
        ]
    )
    def tr(env, t):
        env.publisher(bus)("transfers", t, key=t["id"])

    return system


def csv_import(right):
    """A line and the progress are one transaction, or two."""
    system = System("import")
    store = system.add(
        SQLite(
            "db",
            (
                "CREATE TABLE rows_(file TEXT, line INT, body TEXT); CREATE "
                "TABLE progress(file TEXT PRIMARY KEY, line INT);"
            ),
        )
    )
    bus = system.add(
        SQS(
            "q",
            {
                "files": SQSQueue(visibility_ms=120_000, dead_letter="bad", receives_max=60),
                "bad": SQSQueue(),
            },
        )
    )

    @system.service("importer", replicas=1)
    def importer(env):
        db = env.connect(store)

        def on_file(f: dict):
            row = db.execute("SELECT line FROM progress WHERE file=?", (f["file"],)).fetchone()
            start = row[0] if row else 0
            for n in range(start, len(f["lines"])):
                if right:
                    with db:
                        db.execute("INSERT INTO rows_ VALUES(?,?,?)", (f["file"], n, f["lines"][n]))
                        db.execute(
                            (
                                "INSERT INTO progress VALUES(?,?) ON CONFLICT(file) DO UPDATE "
                                "SET line=excluded.line"
                            ),
                            (f["file"], n + 1),
                        )
                else:
                    with db:
                        db.execute("INSERT INTO rows_ VALUES(?,?,?)", (f["file"], n, f["lines"][n]))
                    with db:
                        db.execute(
                            (
                                "INSERT INTO progress VALUES(?,?) ON CONFLICT(file) DO UPDATE "
                                "SET line=excluded.line"
                            ),
                            (f["file"], n + 1),
                        )

        env.consume(bus, "files", on_file)

    @system.entry(
        examples=[{"file": "f1.csv", "lines": ["a", "b"]}, {"file": "f2.csv", "lines": ["c"]}]
    )
    def up(env, f):
        env.publisher(bus)("files", f, key=f["file"])

    return system


def lambda_batch(right):
    """A function says which records failed, or says that none did."""
    system = System("lambda")
    q = system.add(
        SQS(
            "q",
            {
                "events": SQSQueue(visibility_ms=60_000, dead_letter="dead", receives_max=40),
                "dead": SQSQueue(),
            },
        )
    )
    store = system.add(KeyValue("table"))

    @system.service("fn", replicas=2)
    def fn(env):
        kv = env.connect(store)

        def handler(event, context):
            bad = []
            for r in event["Records"]:
                try:
                    b = json.loads(r["body"])
                    kv.put(b["id"], b["v"])
                except Exception:
                    bad.append({"itemIdentifier": r["messageId"]})
            return {"batchItemFailures": bad} if right else {"batchItemFailures": bad[:0]}

        env.consume(q, "events", Lambda(handler, batch=5, window_ms=200, partial=True))

    @system.entry(examples=[{"id": "e1", "v": 1}, {"id": "e2", "v": 2}])
    def put(env, e):
        env.publisher(q)("events", e, key=e["id"])

    return system


def orm_inbox(right):
    """A move is added to an account with an inbox, by SQL; or read, changed and written."""
    system = System("orm inbox")
    bus = system.add(RabbitMQ("mq", queues=queues("moves")))
    store = system.add(
        SQLite(
            "db",
            (
                "CREATE TABLE acc(id TEXT PRIMARY KEY, cents INT NOT NULL); "
                "CREATE TABLE mv(id TEXT PRIMARY KEY, acc TEXT NOT NULL, cents "
                "INT NOT NULL); INSERT INTO acc VALUES('a',0);"
            ),
        )
    )

    @system.service("acc", replicas=2)
    def acc(env):
        eng = sa.create_engine(
            "sqlite://", creator=lambda: env.connect(store), poolclass=sa.pool.NullPool
        )
        Sess = sessionmaker(eng)

        def on(m: dict):
            with Sess.begin() as ss:
                if right:
                    if ss.get(Mv, m["id"]):
                        return
                    ss.add(Mv(id=m["id"], acc=m["acc"], cents=m["cents"]))
                    ss.flush()
                    ss.execute(
                        sa.update(Acc)
                        .where(Acc.id == m["acc"])
                        .values(cents=Acc.cents + m["cents"])
                    )
                else:
                    a = ss.get(Acc, m["acc"])
                    a.cents += m["cents"]
                    ss.merge(Mv(id=m["id"], acc=m["acc"], cents=m["cents"]))

        env.consume(bus, "moves", on)

    @system.entry(
        examples=[{"id": "m1", "acc": "a", "cents": 5}, {"id": "m2", "acc": "a", "cents": 7}]
    )
    def e(env, x):
        env.publisher(bus)("moves", x)

    return system


def async_ports_only(right):
    """A result is stored when it is there; or a word that it will be."""
    system = System("ports only")
    bus = system.add(
        NATS(
            "js",
            {
                "T": NATSStream(
                    subjects="t.*",
                    consumers={"c": NATSConsumer(dead_subject="t.dead", filters="t.in")},
                )
            },
        )
    )
    kv = system.add(KeyValue("kv"))
    cards = system.add(External("cards", Cards))

    @system.service("c", replicas=2)
    def c(env):
        k, cl = env.connect(kv), env.client(cards)

        async def on(m: dict):
            if await k.get(m["id"]):
                return
            if right:
                r = await cl.pay(m["id"], m["cents"], key=m["id"])
                await k.put(m["id"], r)
            else:
                await k.put(m["id"], "paying")
                r = await cl.pay(m["id"], m["cents"], key=m["id"])
                await k.put(m["id"], r)

        env.consume(bus, "c", on, on_error="dead-letter", retries_max=60, on_unreadable="term")

    @system.entry(examples=[{"id": "m1", "cents": 1}, {"id": "m2", "cents": 2}])
    def e(env, x):
        env.publisher(bus)("t.in", x, message_id=x["id"])

    return system
