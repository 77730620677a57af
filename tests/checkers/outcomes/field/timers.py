"""What acts by the clock: reminders, renewals, digests, retries, leases."""

import asyncio
import secrets
import time
import uuid

from chaosharness import External, Kafka, KeyValue, Queue, RabbitMQ, RemoteError, SQLite, System
from tests.checkers.outcomes.field.parties import AGAIN, NO_ANSWER, Cards, Mailer, queues


def reminders(right):
    """A reminder is marked when it was sent, or before."""
    system = System("reminders")
    bus = system.add(
        RabbitMQ(
            "mq", queues={"appointments": Queue("quorum", dead_letter="dead"), "dead": Queue()}
        )
    )
    store = system.add(
        SQLite(
            "cal", "CREATE TABLE appts(id TEXT PRIMARY KEY, remind_at INT, reminded INT DEFAULT 0);"
        )
    )
    sms = system.add(External("sms", Mailer))

    @system.service("calendar", replicas=2)
    def calendar(env):
        db, own, m = env.connect(store), env.connect(store), env.client(sms)

        def on_appt(a: dict):
            with db:
                db.execute(
                    "INSERT OR IGNORE INTO appts(id,remind_at) VALUES(?,?)", (a["id"], a["at"])
                )

        def sweep():
            for (id,) in own.execute(
                "SELECT id FROM appts WHERE reminded=0 AND remind_at<=?", (int(time.time()),)
            ).fetchall():
                if not right:
                    with own:
                        own.execute("UPDATE appts SET reminded=1 WHERE id=?", (id,))
                try:
                    m.send(id, "tomorrow", key=id)
                except NO_ANSWER:
                    continue
                if right:
                    with own:
                        own.execute("UPDATE appts SET reminded=1 WHERE id=?", (id,))

        env.consume(bus, "appointments", on_appt)
        env.every(60, sweep)

    @system.entry(examples=[1, 2])
    def book(env, n):
        env.publisher(bus)("appointments", {"id": f"a{n}", "at": int(time.time()) + n * 1800})

    return system


def subscriptions(right):
    """A renewal has the key of its period, or a new one each time."""
    system = System("subscriptions")
    store = system.add(
        SQLite("db", "CREATE TABLE subs(id TEXT PRIMARY KEY, cents INT, period INT, due_ms INT);")
    )
    cards = system.add(External("cards", Cards))

    @system.service("billing", replicas=2)
    def billing(env):
        db, c = env.connect(store), env.client(cards)

        def tick():
            now = env.now_ms()
            for id, cents, period, due in db.execute(
                "SELECT id,cents,period,due_ms FROM subs WHERE due_ms<=? AND period<=2", (now,)
            ).fetchall():
                key = f"{id}:{period}" if right else str(uuid.uuid4())
                try:
                    c.pay(id, cents, key=key)
                except NO_ANSWER:
                    continue
                with db:
                    db.execute(
                        "UPDATE subs SET period=period+1, due_ms=? WHERE id=? AND period=?",
                        (due + 3_600_000, id, period),
                    )

        env.every(300, tick)

    @system.service("api")
    def api(env):
        db = env.connect(store)

        def subscribe(b: dict):
            with db:
                db.execute(
                    "INSERT OR IGNORE INTO subs VALUES(?,?,1,?)",
                    (b["id"], b["cents"], env.now_ms()),
                )
            return {"ok": True}

        env.serve("subscribe", subscribe)

    @system.entry(examples=[{"id": "sub-a", "cents": 900}, {"id": "sub-b", "cents": 400}])
    def join(env, b):
        for _ in range(20):
            try:
                return env.call("api", "subscribe", b, timeout_s=5)
            except (*NO_ANSWER, RemoteError):
                env.sleep(30)

    return system


def backoff(right):
    """A job is tried again with growing waits, or given up in silence after three."""
    system = System("backoff")
    bus = system.add(RabbitMQ("mq", queues=queues("jobs")))
    store = system.add(
        SQLite("db", "CREATE TABLE jobs(id TEXT PRIMARY KEY, state TEXT, tries INT, next_ms INT);")
    )

    class Api:
        def __init__(self):
            self.d = set()

        def push(self, job, key):
            if key in self.d:
                return External.unchanged("ok")
            self.d.add(key)
            return "ok"

    api = system.add(External("api", Api))

    @system.service("jobs", replicas=2)
    def jobs(env):
        db, own, a = env.connect(store), env.connect(store), env.client(api)

        def on_job(j: dict):
            with db:
                db.execute(
                    "INSERT OR IGNORE INTO jobs VALUES(?,'open',0,?)", (j["id"], env.now_ms())
                )

        def step():
            for id, tries in own.execute(
                "SELECT id,tries FROM jobs WHERE state='open' AND next_ms<=?", (env.now_ms(),)
            ).fetchall():
                try:
                    a.push(id, key=id)
                except NO_ANSWER:
                    with own:
                        if right or tries < 3:
                            own.execute(
                                (
                                    "UPDATE jobs SET tries=tries+1,next_ms=? WHERE id=? AND "
                                    "state='open'"
                                ),
                                (env.now_ms() + min(2**tries, 600) * 1000, id),
                            )
                        else:
                            own.execute(
                                "UPDATE jobs SET state='open',next_ms=? WHERE id=?", (1 << 60, id)
                            )
                else:
                    with own:
                        own.execute("UPDATE jobs SET state='done' WHERE id=?", (id,))

        def loop():
            while True:
                step()
                env.sleep(1)

        env.consume(bus, "jobs", on_job)
        env.main(loop)

    @system.entry(examples=[{"id": "j1"}, {"id": "j2"}])
    def put(env, j):
        env.publisher(bus)("jobs", j)

    return system


def lock_lease(right):
    """Whoever has the lock does a job if it is not done; or writes whatever is there."""
    system = System("lease")
    store = system.add(
        SQLite(
            "db",
            (
                "CREATE TABLE lock(name TEXT PRIMARY KEY, owner TEXT, until_ms "
                "INT); CREATE TABLE jobs(id TEXT PRIMARY KEY, result TEXT);"
            ),
        )
    )

    @system.service("w", replicas=2)
    def w(env):
        db = env.connect(store)
        me = secrets.token_hex(8)

        def got():
            now = env.now_ms()
            with db:
                return db.execute(
                    (
                        "INSERT INTO lock VALUES('main',?,?) ON CONFLICT(name) DO "
                        "UPDATE SET owner=excluded.owner,until_ms=excluded.until_ms "
                        "WHERE lock.until_ms<? OR lock.owner=excluded.owner"
                    ),
                    (me, now + 30_000, now),
                ).rowcount

        def loop():
            while True:
                row = db.execute("SELECT id FROM jobs WHERE result IS NULL LIMIT 1").fetchone()
                if row and got():
                    with db:
                        db.execute(
                            "UPDATE jobs SET result='ok' WHERE id=? AND result IS NULL"
                            if right
                            else "UPDATE jobs SET result=coalesce(result,'')||'ok' WHERE id=?",
                            row,
                        )
                env.sleep(5)

        env.main(loop)

    @system.entry(examples=["job-1", "job-2"])
    def put(env, j):
        db = env.connect(store)
        with db:
            db.execute("INSERT INTO jobs VALUES(?,NULL)", (j,))

    return system


def digest(right):
    """What happened in five minutes is one mail, marked when it was sent, or before."""
    system = System("digest")
    bus = system.add(Kafka("bus", topics={"events": 1}))
    store = system.add(
        SQLite(
            "db",
            (
                "CREATE TABLE events(id TEXT PRIMARY KEY, who TEXT, at INT, "
                "batch TEXT); CREATE TABLE mails(batch TEXT PRIMARY KEY, who "
                "TEXT, sent INT);"
            ),
        )
    )

    class M:
        def __init__(self):
            self.k = set()

        def send(self, who, n, key):
            if key in self.k:
                return External.unchanged(1)
            self.k.add(key)

    m = system.add(External("mailer", M))

    @system.service("digest")
    def dig(env):
        db, own, c = env.connect(store), env.connect(store), env.client(m)

        def on_event(e: dict):
            with db:
                db.execute(
                    "INSERT OR IGNORE INTO events VALUES(?,?,?,NULL)",
                    (e["id"], e["who"], int(time.time())),
                )

        def tick():
            now = int(time.time())
            for (who,) in own.execute(
                "SELECT DISTINCT who FROM events WHERE batch IS NULL AND at<=?", (now - 300,)
            ).fetchall():
                with own:
                    b = str(uuid.uuid4())
                    own.execute("INSERT INTO mails VALUES(?,?,0)", (b, who))
                    own.execute("UPDATE events SET batch=? WHERE who=? AND batch IS NULL", (b, who))
            for b, who in own.execute("SELECT batch,who FROM mails WHERE sent=0").fetchall():
                [n] = own.execute("SELECT count(*) FROM events WHERE batch=?", (b,)).fetchone()
                if not right:
                    with own:
                        own.execute("UPDATE mails SET sent=1 WHERE batch=?", (b,))
                try:
                    c.send(who, n, key=b)
                except NO_ANSWER:
                    continue
                if right:
                    with own:
                        own.execute("UPDATE mails SET sent=1 WHERE batch=?", (b,))

        env.consume(bus, "events", on_event, **AGAIN)
        env.every(30, tick)

    @system.entry(
        examples=[
            {"id": "e1", "who": "ann"},
            {"id": "e2", "who": "bob"},
            {"id": "e3", "who": "ann"},
        ]
    )
    def ev(env, e):
        env.publisher(bus)("events", e, key=e["who"])

    return system


def status_poll(right):
    """A settled payment is told and then marked, or marked and then told."""
    system = System("poll")
    bus = system.add(Kafka("bus", topics={"pay": 1, "settled": 1}))

    class PSP:
        def __init__(self):
            self.p = {}

        def start(self, order, cents, key):
            if key in self.p:
                return External.unchanged(key)
            self.p[key] = 0
            return key

        def status(self, ref):
            return "settled" if ref in self.p else "unknown"

    psp = system.add(External("psp", PSP, reads=["status"]))
    store = system.add(
        SQLite("db", "CREATE TABLE p(id TEXT PRIMARY KEY, cents INT, ref TEXT, state TEXT);")
    )
    got = system.add(KeyValue("books"))

    @system.service("pay", runtime="asyncio")
    def pay(env):
        db, own, c, pub = (
            env.connect(store),
            env.connect(store),
            env.client(psp),
            env.publisher(bus),
        )

        async def on_pay(o: dict):
            with db:
                db.execute("INSERT OR IGNORE INTO p VALUES(?,?,NULL,'new')", (o["id"], o["cents"]))
            ref = await c.start(o["id"], o["cents"], key=o["id"])
            with db:
                db.execute(
                    "UPDATE p SET ref=?,state='started' WHERE id=? AND state='new'", (ref, o["id"])
                )

        async def poll():
            while True:
                for id, ref in own.execute("SELECT id,ref FROM p WHERE state='started'").fetchall():
                    try:
                        status = await c.status(ref)
                    except NO_ANSWER:
                        continue
                    if status != "settled":
                        continue
                    try:
                        if right:
                            await pub("settled", {"id": id}, key=id)
                        with own:
                            own.execute("UPDATE p SET state='settled' WHERE id=?", (id,))
                        if not right:
                            await pub("settled", {"id": id}, key=id)
                    except NO_ANSWER:
                        continue
                await asyncio.sleep(15)

        env.consume(bus, "pay", on_pay, **AGAIN)
        env.main(poll)

    @system.service("books_svc")
    def books(env):
        kv = env.connect(got)

        def on(o: dict):
            kv.put(o["id"], "booked")

        env.consume(bus, "settled", on, **AGAIN)

    @system.entry(examples=[{"id": "o1", "cents": 5}, {"id": "o2", "cents": 9}])
    def e(env, x):
        env.publisher(bus)("pay", x, key=x["id"])

    return system
