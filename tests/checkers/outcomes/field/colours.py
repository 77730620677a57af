"""Handlers in asyncio and trio."""

import asyncio
import random
from contextlib import suppress

import trio

from chaosharness import (
    SNS,
    SQS,
    External,
    Kafka,
    KeyValue,
    Queue,
    RabbitMQ,
    SNSSubscription,
    SQLite,
    SQSQueue,
    System,
)
from tests.checkers.outcomes.field.parties import AGAIN, NO_ANSWER, Mailer, queues


def trio_fan(right):
    """Followers are told in a nursery; or each for two seconds, come what may."""
    system = System("trio fan")
    bus = system.add(
        RabbitMQ("mq", queues={"posts": Queue("quorum", dead_letter="dead"), "dead": Queue()})
    )
    ext = system.add(External("push", Mailer))
    store = system.add(
        SQLite("db", "CREATE TABLE delivered(post TEXT, who TEXT, PRIMARY KEY(post,who));")
    )

    @system.service("fan", runtime="trio")
    def fan(env):
        m, db = env.client(ext), env.connect(store)

        async def one(post, who):
            await m.send(who, post, key=f"{post}/{who}")
            with db:
                db.execute("INSERT OR IGNORE INTO delivered VALUES(?,?)", (post, who))

        async def on_post(p: dict):
            if right:
                async with trio.open_nursery() as n:
                    for w in p["followers"]:
                        n.start_soon(one, p["id"], w)
            else:
                for w in p["followers"]:
                    with trio.move_on_after(2):
                        await one(p["id"], w)

        env.consume(bus, "posts", on_post, prefetch=3)

    @system.entry(
        examples=[{"id": "p1", "followers": ["x", "y"]}, {"id": "p2", "followers": ["z"]}]
    )
    def post(env, p):
        env.publisher(bus)("posts", p)

    return system


def cache(right):
    """A cache is filled from what was stored; or with what came, if it can be."""
    system = System("cache")
    bus = system.add(Kafka("bus", topics={"prices": 1, "orders": 1}))
    kv = system.add(KeyValue("redis"))
    store = system.add(
        SQLite("db", "CREATE TABLE prices(sku TEXT PRIMARY KEY, cents INT, seq INT);")
    )

    @system.service("prices", runtime="asyncio")
    def prices(env):
        db, c = env.connect(store), env.connect(kv)

        async def on_price(p: dict):
            with db:
                db.execute(
                    (
                        "INSERT INTO prices VALUES(?,?,?) ON CONFLICT(sku) DO UPDATE "
                        "SET cents=excluded.cents,seq=excluded.seq WHERE "
                        "excluded.seq>prices.seq"
                    ),
                    (p["sku"], p["cents"], p["seq"]),
                )
            if right:
                [cents] = db.execute("SELECT cents FROM prices WHERE sku=?", (p["sku"],)).fetchone()
                await c.put(p["sku"], cents)
            else:
                with suppress(*NO_ANSWER, OSError):
                    await c.put(p["sku"], p["cents"])

        env.consume(bus, "prices", on_price, **AGAIN)

    @system.entry(
        examples=[
            {"sku": "pen", "cents": 5, "seq": 1},
            {"sku": "pen", "cents": 7, "seq": 2},
            {"sku": "ink", "cents": 9, "seq": 1},
        ]
    )
    def price(env, p):
        env.publisher(bus)("prices", p, key=p["sku"])

    return system


def sns_fan(right):
    """A mail has the key of its order, or none."""
    system = System("sns fan")
    q = system.add(
        SQS(
            "q",
            {
                "mail": SQSQueue(dead_letter="dead", receives_max=100),
                "audit": SQSQueue(dead_letter="dead", receives_max=100),
                "dead": SQSQueue(),
            },
        )
    )
    t = system.add(
        SNS(
            "t",
            q,
            {"orders": [SNSSubscription("mail", raw=True), SNSSubscription("audit", raw=True)]},
        )
    )
    store = system.add(SQLite("db", "CREATE TABLE audit(id TEXT PRIMARY KEY, n INT);"))

    class M:
        def __init__(self):
            self.k = set()

        def send(self, to, key=None):
            if key is not None and key in self.k:
                return External.unchanged(1)
            self.k.add(key)

    m = system.add(External("mailer", M))

    @system.service("mailer_svc", runtime="asyncio")
    def mails(env):
        c = env.client(m)

        async def on_order(o: dict):
            await c.send(o["id"], key=o["id"] if right else None)

        env.consume(q, "mail", on_order)

    @system.service("audit_svc", runtime="asyncio")
    def audits(env):
        db = env.connect(store)

        async def on_order(o: dict):
            with db:
                db.execute("INSERT OR IGNORE INTO audit VALUES(?,?)", (o["id"], o["n"]))

        env.consume(q, "audit", on_order)

    @system.entry(examples=[{"id": "o1", "n": 1}, {"id": "o2", "n": 2}])
    def put(env, o):
        env.publisher(t)("orders", o, key=o["id"])

    return system


def taskgroup(right):
    """A report is there when all its parts are; or whatever became of them."""
    system = System("taskgroup")
    bus = system.add(RabbitMQ("mq", queues=queues("reports")))
    kv = system.add(KeyValue("blobs"))
    store = system.add(SQLite("db", "CREATE TABLE reports(id TEXT PRIMARY KEY, parts INT);"))

    @system.service("rep", runtime="asyncio")
    def rep(env):
        c, db = env.connect(kv), env.connect(store)

        async def part(r, i):
            await asyncio.sleep(random.random())
            await c.put(f"{r}/{i}", i * i)

        async def on_report(r: dict):
            if right:
                async with asyncio.TaskGroup() as g:
                    for i in range(r["n"]):
                        g.create_task(part(r["id"], i))
            else:
                await asyncio.gather(
                    *(part(r["id"], i) for i in range(r["n"])), return_exceptions=True
                )
            with db:
                db.execute("INSERT OR IGNORE INTO reports VALUES(?,?)", (r["id"], r["n"]))

        env.consume(bus, "reports", on_report, prefetch=4)

    @system.entry(examples=[{"id": "r1", "n": 2}, {"id": "r2", "n": 1}])
    def go(env, r):
        env.publisher(bus)("reports", r)

    return system
