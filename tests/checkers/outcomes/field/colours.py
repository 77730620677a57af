"""Handlers in asyncio and trio, and services that answer calls."""

import asyncio
import json
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
    RemoteError,
    SNSSubscription,
    SQLite,
    SQSQueue,
    System,
)
from tests.checkers.outcomes.field.common import AGAIN, NO_ANSWER, Mailer, queues


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


def optimistic(right):
    """A cart is written if it is as it was read, or whatever it is by now."""
    system = System("optimistic")
    bus = system.add(RabbitMQ("mq", queues=queues("adds")))
    store = system.add(
        SQLite(
            "carts",
            (
                "CREATE TABLE carts(id TEXT PRIMARY KEY, v INT, items TEXT); "
                "INSERT INTO carts VALUES('c1',0,'[]');"
            ),
        )
    )

    @system.service("cart", replicas=2, runtime="asyncio")
    def cart(env):
        db = env.connect(store)

        async def add(m: dict):
            for _ in range(10):
                v, items = db.execute(
                    "SELECT v,items FROM carts WHERE id=?", (m["cart"],)
                ).fetchone()
                lines = json.loads(items)
                if any(x["line"] == m["line"] for x in lines):
                    return
                await asyncio.sleep(0.02)
                lines.append({"line": m["line"], "sku": m["sku"]})
                with db:
                    if right:
                        n = db.execute(
                            "UPDATE carts SET items=?, v=? WHERE id=? AND v=?",
                            (
                                json.dumps(sorted(lines, key=lambda x: x["line"])),
                                v + 1,
                                m["cart"],
                                v,
                            ),
                        ).rowcount
                    else:
                        n = db.execute(
                            "UPDATE carts SET items=?, v=? WHERE id=?",
                            (json.dumps(sorted(lines, key=lambda x: x["line"])), v + 1, m["cart"]),
                        ).rowcount
                if n:
                    return
            raise RuntimeError("contention")

        env.consume(bus, "adds", add)

    @system.entry(
        examples=[
            {"cart": "c1", "line": "l1", "sku": "pen"},
            {"cart": "c1", "line": "l2", "sku": "ink"},
        ]
    )
    def a(env, m):
        env.publisher(bus)("adds", m)

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


def api_idem(right):
    """A booking and the answer to its key are one transaction; or keys are not looked at."""
    system = System("api idem")
    store = system.add(
        SQLite(
            "db",
            (
                "CREATE TABLE requests(key TEXT PRIMARY KEY, answer TEXT); "
                "CREATE TABLE bookings(id INTEGER PRIMARY KEY, room TEXT, who "
                "TEXT);"
            ),
        )
    )

    @system.service("rooms", replicas=2, runtime="asyncio")
    def rooms(env):
        db = env.connect(store)

        async def book(r: dict):
            with db:
                if right:
                    db.execute("BEGIN IMMEDIATE")
                    row = db.execute(
                        "SELECT answer FROM requests WHERE key=?", (r["key"],)
                    ).fetchone()
                    if row:
                        return json.loads(row[0])
                cur = db.execute(
                    "INSERT INTO bookings(room,who) VALUES(?,?)", (r["room"], r["who"])
                )
                ans = {"booking": cur.lastrowid}
                if right:
                    db.execute("INSERT INTO requests VALUES(?,?)", (r["key"], json.dumps(ans)))
            return ans

        env.serve("book", book)

    @system.entry(
        examples=[
            {"room": "101", "who": "Ann", "key": "k-1"},
            {"room": "102", "who": "Bob", "key": "k-2"},
        ]
    )
    def go(env, r):
        for _ in range(30):
            try:
                return env.call("rooms", "book", r, timeout_s=5)
            except (*NO_ANSWER, RemoteError):
                env.sleep(30)

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


def webhook_receiver(right):
    """An event is remembered and asked for, or remembered only."""
    system = System("webhooks")
    store = system.add(
        SQLite(
            "db",
            (
                "CREATE TABLE ev(id TEXT PRIMARY KEY); CREATE TABLE paid(o TEXT "
                "PRIMARY KEY, cents INT); CREATE TABLE total(k INT PRIMARY KEY, "
                "cents INT); INSERT INTO total VALUES(1,0);"
            ),
        )
    )

    @system.service("hook", replicas=2, runtime="asyncio")
    def hook(env):
        db = env.connect(store)

        async def on(ev: dict):
            with db:
                new = db.execute("INSERT OR IGNORE INTO ev VALUES(?)", (ev["event"],)).rowcount
                if not new and right:
                    return
                db.execute("INSERT OR IGNORE INTO paid VALUES(?,?)", (ev["order"], ev["cents"]))
                db.execute("UPDATE total SET cents=cents+?", (ev["cents"],))
            return None

        env.serve("hook", on)

    @system.entry(
        examples=[
            {"event": "ev1", "order": "o1", "cents": 5},
            {"event": "ev2", "order": "o2", "cents": 7},
        ]
    )
    def provider(env, ev):
        for n in range(40):
            try:
                return env.call("hook", "hook", ev, timeout_s=10)
            except (*NO_ANSWER, RemoteError):
                env.sleep(min(2**n, 600))

    return system
