"""Services that are called, and those that fetch by themselves."""

import asyncio
import json
from contextlib import suppress

import trio

from chaosharness import (
    NATS,
    External,
    KeyValue,
    NATSConsumer,
    NATSError,
    NATSStream,
    RabbitMQ,
    RemoteError,
    SQLite,
    System,
)
from tests.checkers.outcomes.field.parties import NO_ANSWER, Cards, queues


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


def rpc_chain(right):
    """A reservation that is asked for again is known, or made again."""
    system = System("rpc")
    store = system.add(
        SQLite(
            "sdb",
            (
                "CREATE TABLE res(order_id TEXT PRIMARY KEY, qty INT); CREATE "
                "TABLE stock(k INT PRIMARY KEY, n INT); INSERT INTO stock "
                "VALUES(1,10);"
            ),
        )
    )
    od = system.add(SQLite("odb", "CREATE TABLE orders(id TEXT PRIMARY KEY, total INT);"))

    @system.service("stocks", runtime="trio")
    def stocks(env):
        db = env.connect(store)

        async def reserve(r: dict):
            with db:
                if (
                    db.execute(
                        "INSERT OR IGNORE INTO res VALUES(?,?)", (r["id"], r["qty"])
                    ).rowcount
                    or not right
                ):
                    db.execute("UPDATE stock SET n=n-?", (r["qty"],))
            return True

        env.serve("reserve", reserve)

    @system.service("checkout", replicas=2, runtime="asyncio")
    def checkout(env):
        db = env.connect(od)

        async def buy(o: dict):
            await env.call("stocks", "reserve", {"id": o["id"], "qty": o["qty"]}, timeout_s=5)
            with db:
                db.execute("INSERT OR IGNORE INTO orders VALUES(?,?)", (o["id"], o["qty"] * 10))
            return o["id"]

        env.serve("buy", buy)

    @system.entry(examples=[{"id": "o1", "qty": 2}, {"id": "o2", "qty": 3}])
    async def e(env, o):
        for _ in range(40):
            try:
                return await env.call("checkout", "buy", o, timeout_s=20)
            except (*NO_ANSWER, RemoteError):
                await env.sleep(60)

    return system


def jetstream_pull(right):
    """A job is acknowledged when it is done, or when it is fetched."""
    system = System("pull")
    bus = system.add(
        NATS(
            "js",
            {
                "W": NATSStream(
                    subjects="w.*",
                    retention="workqueue",
                    consumers={"w": NATSConsumer(filters="w.jobs", ack_wait_ms=60_000)},
                )
            },
        )
    )
    cards = system.add(External("cards", Cards))
    kv = system.add(KeyValue("done"))

    @system.service("w", replicas=2, runtime="asyncio")
    def w(env):
        c = env.consumer(bus, "w", read_as=dict, on_unreadable="skip")
        cl = env.client(cards)
        k = env.connect(kv)

        async def main():
            while True:
                try:
                    got = await c.fetch(5, wait_s=10)
                except (OSError, NATSError):
                    await asyncio.sleep(1)
                    continue
                for d in got:
                    j = d.value
                    if "id" not in j:
                        with suppress(OSError, NATSError):
                            await c.term(d)
                        continue
                    try:
                        if not right:
                            await c.ack_sync(d)
                        r = await cl.pay(j["id"], j["cents"], key=j["id"])
                        await k.put(j["id"], r)
                        if right:
                            await c.ack_sync(d)
                    except (OSError, NATSError):
                        with suppress(OSError, NATSError):
                            await c.nak(d, delay_s=5)

        env.main(main)

    @system.entry(examples=[{"id": "j1", "cents": 3}, {"id": "j2", "cents": 4}])
    def e(env, x):
        env.publisher(bus)("w.jobs", x, message_id=x["id"])

    return system


def circuit(right):
    """A breaker that is open lets messages wait; what failed comes again, or is forgotten."""
    system = System("circuit")
    bus = system.add(RabbitMQ("mq", queues=queues("in")))
    cards = system.add(External("cards", Cards))
    kv = system.add(KeyValue("done"))

    @system.service("c", runtime="trio")
    def c(env):
        cl, k = env.client(cards), env.connect(kv)
        state = {"fails": 0, "until": 0.0}

        async def on(m: dict):
            if state["until"] > trio.current_time():
                await trio.sleep(state["until"] - trio.current_time())
            try:
                r = await cl.pay(m["id"], m["cents"], key=m["id"])
            except NO_ANSWER:
                state["fails"] += 1
                if state["fails"] >= 3:
                    state["until"] = trio.current_time() + 60
                    state["fails"] = 0
                if right:
                    raise
                return
            state["fails"] = 0
            await k.put(m["id"], r)

        env.consume(bus, "in", on, prefetch=2)

    @system.entry(examples=[{"id": "m1", "cents": 3}, {"id": "m2", "cents": 4}])
    def e(env, x):
        env.publisher(bus)("in", x)

    return system
