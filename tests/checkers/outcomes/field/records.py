"""Rows that stand for something: events, states, views, reports."""

import hashlib
import json
import sqlite3
import time
import uuid
from contextlib import suppress

import attrs

from chaosharness import SQS, External, Kafka, KeyValue, RabbitMQ, SQLite, SQSQueue, System
from tests.checkers.outcomes.field.parties import AGAIN, NO_ANSWER, queues


@attrs.frozen
class Tick:
    symbol: str
    price: int
    seq: int


def rate_window(right):
    """Logins are counted by their ids, or by new ones."""
    system = System("rate")
    bus = system.add(Kafka("bus", topics={"logins": 1}))
    store = system.add(
        SQLite(
            "db",
            (
                "CREATE TABLE seen(id TEXT PRIMARY KEY, who TEXT, minute INT); "
                "CREATE TABLE blocked(who TEXT PRIMARY KEY);"
            ),
        )
    )

    @system.service("rate")
    def rate(env):
        db = env.connect(store)

        def on(login: dict):
            with db:
                if right:
                    db.execute(
                        "INSERT OR IGNORE INTO seen VALUES(?,?,?)",
                        (login["id"], login["who"], login["t"] // 60),
                    )
                else:
                    db.execute(
                        "INSERT INTO seen VALUES(?,?,?)",
                        (str(uuid.uuid4()), login["who"], login["t"] // 60),
                    )
                [n] = db.execute(
                    "SELECT count(*) FROM seen WHERE who=? AND minute=?",
                    (login["who"], login["t"] // 60),
                ).fetchone()
                if n >= 3:
                    db.execute("INSERT OR IGNORE INTO blocked VALUES(?)", (login["who"],))

        env.consume(bus, "logins", on, **AGAIN)

    @system.entry(
        examples=[
            {"id": "l1", "who": "ann", "t": 1},
            {"id": "l2", "who": "ann", "t": 5},
            {"id": "l3", "who": "bob", "t": 7},
        ]
    )
    def e(env, x):
        env.publisher(bus)("logins", x, key=x["who"])

    return system


def event_sourced(right):
    """A command is one event of its stream, and a view follows; or one each time it comes."""
    system = System("event sourced")
    bus = system.add(RabbitMQ("mq", queues=queues("cmds")))
    store = system.add(
        SQLite(
            "es",
            (
                "CREATE TABLE ev(stream TEXT, version INT, type TEXT, data "
                "TEXT, cmd TEXT, PRIMARY KEY(stream,version)); CREATE UNIQUE "
                "INDEX u ON ev(stream,cmd);"
            )
            if right
            else (
                "CREATE TABLE ev(stream TEXT, version INT, type TEXT, data "
                "TEXT, cmd TEXT, PRIMARY KEY(stream,version));"
            ),
        )
    )
    view = system.add(
        SQLite("view", "CREATE TABLE bal(acc TEXT PRIMARY KEY, cents INT, version INT);")
    )

    @system.service("acc", replicas=2)
    def acc(env):
        db = env.connect(store)

        def on(c: dict):
            rows = db.execute(
                "SELECT version,cmd FROM ev WHERE stream=? ORDER BY version", (c["acc"],)
            ).fetchall()
            if any(r[1] == c["id"] for r in rows) and right:
                return
            v = rows[-1][0] if rows else 0
            try:
                with db:
                    db.execute(
                        "INSERT INTO ev VALUES(?,?,?,?,?)",
                        (c["acc"], v + 1, "deposited", json.dumps({"cents": c["cents"]}), c["id"]),
                    )
            except sqlite3.IntegrityError as error:
                raise RuntimeError("conflict, again please") from error

        env.consume(bus, "cmds", on)

    @system.service("project")
    def project(env):
        db, own = env.connect(store), env.connect(view)

        def loop():
            while True:
                for stream, version, data in db.execute(
                    "SELECT stream,version,data FROM ev ORDER BY stream,version"
                ).fetchall():
                    with own:
                        row = own.execute(
                            "SELECT version FROM bal WHERE acc=?", (stream,)
                        ).fetchone()
                        if row and row[0] >= version:
                            continue
                        own.execute(
                            (
                                "INSERT INTO bal VALUES(?,?,?) ON CONFLICT(acc) DO UPDATE SET "
                                "cents=cents+excluded.cents, version=excluded.version"
                            ),
                            (stream, json.loads(data)["cents"], version),
                        )
                env.sleep(2)

        env.main(loop)

    @system.entry(
        examples=[
            {"id": "c1", "acc": "A", "cents": 5},
            {"id": "c2", "acc": "A", "cents": 7},
            {"id": "c3", "acc": "B", "cents": 1},
        ]
    )
    def e(env, x):
        env.publisher(bus)("cmds", x)

    return system


def state_machine(right):
    """A state only goes forward; or to whatever was told last."""
    system = System("states")
    bus = system.add(Kafka("bus", topics={"paid": 1, "shipped": 1, "delivered": 1}))
    store = system.add(SQLite("db", "CREATE TABLE o(id TEXT PRIMARY KEY, rank INT, state TEXT);"))
    RANK = {"paid": 1, "shipped": 2, "delivered": 3}

    @system.service("o", replicas=1)
    def o(env):
        db = env.connect(store)

        def handler(topic):
            def on(ev: dict):
                with db:
                    if right:
                        db.execute(
                            (
                                "INSERT INTO o VALUES(?,?,?) ON CONFLICT(id) DO UPDATE SET "
                                "rank=excluded.rank,state=excluded.state WHERE "
                                "excluded.rank>o.rank"
                            ),
                            (ev["id"], RANK[topic], topic),
                        )
                    else:
                        db.execute(
                            (
                                "INSERT INTO o VALUES(?,?,?) ON CONFLICT(id) DO UPDATE SET "
                                "rank=excluded.rank,state=excluded.state"
                            ),
                            (ev["id"], RANK[topic], topic),
                        )

            on.__name__ = "on_" + topic
            return on

        for t in RANK:
            env.consume(bus, t, handler(t), **AGAIN)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def e(env, x):
        p = env.publisher(bus)
        for t in RANK:
            p(t, x, key=x["id"])

    return system


def two_stores(right):
    """What is uploaded has the name of its contents, or a new one each time."""
    system = System("blobs")
    bus = system.add(
        SQS(
            "q",
            {
                "up": SQSQueue(visibility_ms=60_000, dead_letter="dead", receives_max=80),
                "dead": SQSQueue(),
            },
        )
    )
    kv = system.add(KeyValue("blobs"))
    store = system.add(SQLite("db", "CREATE TABLE files(name TEXT PRIMARY KEY, blob TEXT);"))

    @system.service("up", replicas=2, runtime="asyncio")
    def up(env):
        k, db = env.connect(kv), env.connect(store)

        async def on(f: dict):
            key = (
                hashlib.sha256(f["body"].encode()).hexdigest()[:12] if right else str(uuid.uuid4())
            )
            await k.put(key, f["body"])
            with db:
                db.execute("INSERT OR REPLACE INTO files VALUES(?,?)", (f["name"], key))

        env.consume(bus, "up", on)

    @system.entry(examples=[{"name": "a.txt", "body": "hello"}, {"name": "b.txt", "body": "world"}])
    def e(env, x):
        env.publisher(bus)("up", x, key=x["name"])

    return system


def attrs_latest(right):
    """The latest price is the one of the highest number, or the one that came last."""
    system = System("ticks")
    bus = system.add(Kafka("bus", topics={"ticks": 2}))
    kv = system.add(SQLite("db", "CREATE TABLE last(symbol TEXT PRIMARY KEY, body TEXT, seq INT);"))

    @system.service("q", replicas=2)
    def q(env):
        db = env.connect(kv)

        def on(t: Tick):
            guard = " WHERE excluded.seq>last.seq" if right else ""
            with db:
                db.execute(
                    (
                        "INSERT INTO last VALUES(?,?,?) ON CONFLICT(symbol) DO UPDATE "
                        "SET body=excluded.body,seq=excluded.seq"
                    )
                    + guard,
                    (t.symbol, json.dumps({"price": t.price, "seq": t.seq}), t.seq),
                )

        env.consume(bus, "ticks", on, on_unreadable="skip")

    @system.entry(examples=[Tick("X", 10, 1), Tick("X", 11, 2), Tick("Y", 5, 1)])
    def e(env, x):
        env.publisher(bus)("ticks", x, key=x.symbol)

    return system


def cron_report(right):
    """A report and what it covers are one transaction, or two."""
    system = System("cron")
    bus = system.add(Kafka("bus", topics={"sales": 1}))
    store = system.add(
        SQLite(
            "db",
            (
                "CREATE TABLE sales(id TEXT PRIMARY KEY, cents INT, report "
                "INT); CREATE TABLE reports(no INTEGER PRIMARY KEY "
                "AUTOINCREMENT, cents INT, sent INT DEFAULT 0);"
            ),
        )
    )

    class M:
        def __init__(self):
            self.k = set()

        def send(self, no, cents, key):
            if key in self.k:
                return External.unchanged()
            self.k.add(key)

    mail = system.add(External("mail", M))

    @system.service("sales")
    def sales(env):
        db, own, m = env.connect(store), env.connect(store), env.client(mail)

        def on(x: dict):
            with db:
                db.execute("INSERT OR IGNORE INTO sales VALUES(?,?,NULL)", (x["id"], x["cents"]))

        def hourly():
            with own:
                [cents] = own.execute(
                    "SELECT sum(cents) FROM sales WHERE report IS NULL"
                ).fetchone()
                if cents is not None:
                    no = own.execute("INSERT INTO reports(cents) VALUES(?)", (cents,)).lastrowid
                    if right:
                        own.execute("UPDATE sales SET report=? WHERE report IS NULL", (no,))
            if not right:
                with own:
                    own.execute("UPDATE sales SET report=0 WHERE report IS NULL")
            for no, cents in own.execute("SELECT no,cents FROM reports WHERE sent=0").fetchall():
                with suppress(*NO_ANSWER):
                    m.send(no, cents, key=f"report-{no}")
                    with own:
                        own.execute("UPDATE reports SET sent=1 WHERE no=?", (no,))

        env.consume(bus, "sales", on, **AGAIN)
        env.every(3600, hourly)

    @system.entry(examples=[{"id": "s1", "cents": 5}, {"id": "s2", "cents": 7}])
    def e(env, x):
        env.publisher(bus)("sales", x, key=x["id"])

    return system


def sessions(right):
    """Clicks are known by their ids, or each is a new one."""
    system = System("sessions")
    bus = system.add(Kafka("bus", topics={"clicks": 1}))
    store = system.add(
        SQLite(
            "db",
            (
                "CREATE TABLE clicks(id TEXT PRIMARY KEY, who TEXT, at INT); "
                "CREATE TABLE sessions(who TEXT PRIMARY KEY, n INT);"
            ),
        )
    )

    @system.service("s")
    def sv(env):
        db, own = env.connect(store), env.connect(store)

        def on(c: dict):
            with db:
                db.execute(
                    "INSERT OR IGNORE INTO clicks VALUES(?,?,?)"
                    if right
                    else "INSERT OR REPLACE INTO clicks VALUES(?||abs(random()),?,?)",
                    (c["id"], c["who"], int(time.time())),
                )

        def sweep():
            for who, n, last in own.execute(
                "SELECT who,count(*),max(at) FROM clicks GROUP BY who"
            ).fetchall():
                if last + 600 <= int(time.time()):
                    with own:
                        own.execute("INSERT OR REPLACE INTO sessions VALUES(?,?)", (who, n))

        env.consume(bus, "clicks", on, **AGAIN)
        env.every(60, sweep)

    @system.entry(
        examples=[
            {"id": "c1", "who": "ann"},
            {"id": "c2", "who": "ann"},
            {"id": "c3", "who": "bob"},
        ]
    )
    def e(env, x):
        env.publisher(bus)("clicks", x, key=x["who"])

    return system
