"""What passes messages on: outboxes, bridges, retries, dead letters."""

import asyncio
import json

from chaosharness import External, Kafka, KeyValue, Queue, RabbitMQ, SQLite, System
from tests.checkers.outcomes.field.parties import AGAIN, NO_ANSWER, Mailer, queues


def outbox_lease(right):
    """A relay claims rows by a lease and marks them when they are sent; or it marks them first."""
    system = System("outbox lease")
    bus = system.add(Kafka("bus", topics={"signups": 2, "welcome": 2}))
    store = system.add(
        SQLite(
            "userdb",
            (
                "CREATE TABLE users(email TEXT PRIMARY KEY, name TEXT); CREATE "
                "TABLE outbox(id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT, "
                "key TEXT, body TEXT, claimed_until INT DEFAULT 0, done INT "
                "DEFAULT 0);"
            ),
        )
    )
    mail = system.add(External("mail", Mailer))

    @system.service("users", replicas=2)
    def users(env):
        db = env.connect(store)
        own = env.connect(store)
        pub = env.publisher(bus)

        def on_signup(u: dict):
            with db:
                if db.execute(
                    "INSERT OR IGNORE INTO users VALUES(?,?)", (u["email"], u["name"])
                ).rowcount:
                    db.execute(
                        "INSERT INTO outbox(topic,key,body) VALUES('welcome',?,?)",
                        (u["email"], json.dumps(u)),
                    )

        def step():
            now = env.now_ms()
            with own:
                own.execute("BEGIN IMMEDIATE")
                row = own.execute(
                    (
                        "SELECT id,topic,key,body FROM outbox WHERE done=0 AND "
                        "claimed_until<=? ORDER BY id LIMIT 1"
                    ),
                    (now,),
                ).fetchone()
                if row is None:
                    return False
                if right:
                    own.execute(
                        "UPDATE outbox SET claimed_until=? WHERE id=?", (now + 30_000, row[0])
                    )
                else:
                    own.execute("UPDATE outbox SET done=1 WHERE id=?", (row[0],))
            try:
                pub(row[1], json.loads(row[3]), key=row[2])
            except NO_ANSWER:
                return True
            if right:
                with own:
                    own.execute("UPDATE outbox SET done=1 WHERE id=?", (row[0],))
            return True

        def relay():
            while True:
                if not step():
                    env.sleep(2)

        env.consume(
            bus,
            "signups",
            on_signup,
            on_unreadable="dead-letter",
            on_error="dead-letter",
            retries_max=60,
        )
        env.main(relay)

    @system.service("welcome")
    def welcome(env):
        m = env.client(mail)

        def on_welcome(u: dict):
            m.send(u["email"], f"Hello {u['name']}", key="welcome:" + u["email"])

        env.consume(
            bus,
            "welcome",
            on_welcome,
            on_unreadable="dead-letter",
            on_error="dead-letter",
            retries_max=60,
        )

    @system.entry(examples=[{"email": "a@x", "name": "Ann"}, {"email": "b@x", "name": "Bob"}])
    def sign(env, u):
        env.publisher(bus)("signups", u, key=u["email"])

    return system


def redrive(right):
    """Dead letters go round before they are acknowledged, or after: it takes two faults."""
    system = System("redrive")
    bus = system.add(
        RabbitMQ(
            "mq",
            queues={
                "work": Queue("quorum", dead_letter="parked"),
                "parked": Queue("quorum"),
                "trash": Queue(),
            },
        )
    )
    store = system.add(KeyValue("done"))

    @system.service("work")
    def work(env):
        kv = env.connect(store)

        def on_work(w: dict):
            kv.put(w["id"], "done")

        env.consume(bus, "work", on_work)

    @system.service("redrive")
    def rd(env):
        pub = env.publisher(bus)
        c = env.consumer(bus, "parked", read_as=bytes)

        def loop():
            while True:
                d = c.get()
                if d is None:
                    env.sleep(600)
                    continue
                try:
                    w = json.loads(d.value)
                except ValueError:
                    pub("trash", {"raw": "?"})
                    c.ack(d)
                    continue
                if not isinstance(w, dict) or "id" not in w:
                    pub("trash", {"raw": "?"})
                    c.ack(d)
                    continue
                if right:
                    pub("work", w)
                    c.ack(d)
                else:
                    c.ack(d)
                    pub("work", w)

        env.main(loop)

    @system.entry(examples=[{"id": "w1"}, {"id": "w2"}])
    def put(env, w):
        env.publisher(bus)("work", w)

    return system


def delayed_retry_ttl(right):
    """A failure waits in a queue of its own; which is awaited, or begun and forgotten."""
    system = System("ttl retry")
    bus = system.add(
        RabbitMQ(
            "mq",
            queues={
                "in": Queue("quorum", dead_letter="dead"),
                "wait": Queue("classic", ttl_ms=60_000, dead_letter="in"),
                "dead": Queue(),
            },
        )
    )

    class P:
        def __init__(self):
            self.k = {}

        def provision(self, vm, key):
            if key in self.k:
                return External.unchanged(self.k[key])
            self.k[key] = "i-" + vm
            return self.k[key]

    cloud = system.add(External("cloud", P))
    store = system.add(KeyValue("vms"))

    @system.service("prov", runtime="asyncio")
    def prov(env):
        c, kv, pub = env.client(cloud), env.connect(store), env.publisher(bus)

        async def on_vm(v: dict):
            try:
                i = await c.provision(v["vm"], key=v["vm"])
            except NO_ANSWER:
                if right:
                    await pub("wait", v)
                else:
                    asyncio.create_task(pub("wait", v))  # noqa: RUF006
                return
            await kv.put(v["vm"], i)

        env.consume(bus, "in", on_vm)

    @system.entry(examples=[{"vm": "web"}, {"vm": "db"}])
    def put(env, v):
        env.publisher(bus)("in", v)

    return system


def relay_two_brokers(right):
    """A bridge acknowledges what it has passed on, or what it is about to."""
    system = System("bridge")
    mq = system.add(RabbitMQ("mq", queues=queues("in")))
    bus = system.add(Kafka("bus", topics={"out": 2}))
    kv = system.add(KeyValue("kv"))

    @system.service("bridge", runtime="trio")
    def bridge(env):
        pub = env.publisher(bus)
        c = env.consumer(mq, "in", read_as=dict, on_unreadable="dead-letter", prefetch=1)

        async def main():
            while True:
                try:
                    d = await c.receive()
                    if right:
                        await pub("out", d.value, key=d.value.get("id", "?"))
                        await c.ack(d)
                    else:
                        await c.ack(d)
                        await pub("out", d.value, key=d.value.get("id", "?"))
                except (ConnectionError, TimeoutError):
                    raise

        env.main(main)

    @system.service("sink", runtime="asyncio")
    def sink(env):
        k = env.connect(kv)

        async def on(m: dict):
            await k.put(m["id"], m["v"])

        env.consume(bus, "out", on, **AGAIN)

    @system.entry(examples=[{"id": "m1", "v": 1}, {"id": "m2", "v": 2}])
    def e(env, x):
        env.publisher(mq)("in", x)

    return system
