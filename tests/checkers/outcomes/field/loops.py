"""Main loops of their own: batches, workers, offsets."""

import json
import time
from contextlib import suppress

import trio

from chaosharness import (
    SQS,
    AWSError,
    CommitFailed,
    External,
    Kafka,
    KeyValue,
    RabbitMQ,
    Redis,
    RedisError,
    SQLite,
    SQSQueue,
    System,
)
from tests.checkers.outcomes.field.parties import NO_ANSWER, Cards, queues


def batch_writer(right):
    """Readings are written by the batch; offsets are committed after that, or before."""
    system = System("batch writer")
    bus = system.add(Kafka("bus", topics={"readings": 2}))
    store = system.add(
        SQLite(
            "dw",
            "CREATE TABLE readings(sensor TEXT, seq INT, value REAL, PRIMARY KEY(sensor,seq));",
        )
    )

    @system.service("writer", replicas=2)
    def writer(env):
        db = env.connect(store)
        c = env.consumer(bus, "readings", read_as=dict, on_unreadable="skip")

        def flush(buf):
            if right:
                with db:
                    db.executemany(
                        "INSERT OR IGNORE INTO readings VALUES(?,?,?)",
                        [(d.value["sensor"], d.value["seq"], d.value["v"]) for d in buf],
                    )
                with suppress(CommitFailed, *NO_ANSWER):
                    c.commit()
            else:
                with suppress(CommitFailed, *NO_ANSWER):
                    c.commit()
                with db:
                    db.executemany(
                        "INSERT OR IGNORE INTO readings VALUES(?,?,?)",
                        [(d.value["sensor"], d.value["seq"], d.value["v"]) for d in buf],
                    )

        def loop():
            buf = []
            first = 0.0
            while True:
                got = [d for d in c.poll(records_max=10, timeout_s=1) if "sensor" in d.value]
                if got and not buf:
                    first = time.monotonic()
                buf += got
                if buf and (len(buf) >= 10 or time.monotonic() - first > 5):
                    flush(buf)
                    buf = []
                if not got:
                    env.sleep(0.5)

        env.main(loop)

    @system.entry(
        examples=[
            {"sensor": "s1", "seq": 1, "v": 20.5},
            {"sensor": "s2", "seq": 1, "v": 11.0},
            {"sensor": "s1", "seq": 2, "v": 20.7},
        ]
    )
    def read(env, r):
        env.publisher(bus)("readings", r, key=r["sensor"])

    return system


def sqs_worker(right):
    """Messages are deleted when their work is done, or before it."""
    system = System("sqs worker")
    q = system.add(
        SQS(
            "q",
            {
                "thumbs": SQSQueue(visibility_ms=60_000, dead_letter="dead", receives_max=50),
                "dead": SQSQueue(),
            },
        )
    )
    store = system.add(KeyValue("s3"))

    @system.service("thumbs", replicas=2)
    def thumbs(env):
        kv = env.connect(store)
        c = env.consumer(q, "thumbs", read_as=dict, on_unreadable="skip")

        def loop():
            while True:
                try:
                    got = c.receive(5, wait_s=20)
                except (OSError, AWSError):
                    env.sleep(1)
                    continue
                for d in got:
                    try:
                        if not right:
                            c.delete(d)
                        kv.put("thumb/" + d.value["image"], {"w": 64})
                        if right:
                            c.delete(d)
                    except (OSError, AWSError):
                        pass

        env.main(loop)

    @system.entry(examples=[{"image": "cat.png"}, {"image": "dog.png"}])
    def up(env, m):
        env.publisher(q)("thumbs", m, key=m["image"])

    return system


def redis_counter(right):
    """Hits are counted with an inbox, or without one."""
    system = System("redis counter", arrival_ms=1)
    bus = system.add(Redis("bus", ["hits"]))
    store = system.add(
        SQLite(
            "statsdb",
            (
                "CREATE TABLE seen(id TEXT PRIMARY KEY); CREATE TABLE hits(page "
                "TEXT PRIMARY KEY, n INT);"
            ),
        )
    )

    @system.service("stats", replicas=2)
    def stats(env):
        db = env.connect(store)
        c = env.consumer(bus, "hits", group="stats", read_as=dict, on_unreadable="skip")

        def work(batch):
            for d in batch:
                h = d.value
                if "id" not in h:
                    c.ack(d)
                    continue
                with db:
                    new = db.execute("INSERT OR IGNORE INTO seen VALUES(?)", (h["id"],)).rowcount
                    if new or not right:
                        db.execute(
                            "INSERT INTO hits VALUES(?,1) ON CONFLICT(page) DO UPDATE SET n=n+1",
                            (h["page"],),
                        )
                c.ack(d)

        def main():
            while True:
                try:
                    work(c.autoclaim(30))
                    work(c.read(10, block_s=2))
                except (OSError, RedisError):
                    env.sleep(1)

        env.main(main)

    @system.entry(
        examples=[
            {"id": "h1", "page": "/a"},
            {"id": "h2", "page": "/b"},
            {"id": "h3", "page": "/a"},
        ]
    )
    def hit(env, h):
        env.publisher(bus)("hits", h, key=h["id"])

    return system


def offsets_in_db(right):
    """Offsets are stored with the counts and asked before they are raised, or not asked."""
    system = System("offsets")
    # a copy that the producer made is another offset, and no offset tells it from a click
    bus = system.add(Kafka("bus", topics={"clicks": 2}, idempotent_producer=True))
    store = system.add(
        SQLite(
            "db",
            (
                "CREATE TABLE offs(part INT PRIMARY KEY, next INT); CREATE "
                "TABLE clicks(page TEXT PRIMARY KEY, n INT);"
            ),
        )
    )

    @system.service("agg")
    def agg(env):
        db = env.connect(store)
        c = env.consumer(bus, "clicks", read_as=bytes)

        def loop():
            while True:
                for d in c.poll(records_max=20, timeout_s=5):
                    try:
                        page = json.loads(d.value)["page"]
                    except (ValueError, KeyError, TypeError):
                        continue
                    with db:
                        row = db.execute(
                            "SELECT next FROM offs WHERE part=?", (d.partition,)
                        ).fetchone()
                        if right and row and d.offset < row[0]:
                            continue
                        db.execute(
                            "INSERT INTO clicks VALUES(?,1) ON CONFLICT(page) DO UPDATE SET n=n+1",
                            (page,),
                        )
                        db.execute(
                            (
                                "INSERT INTO offs VALUES(?,?) ON CONFLICT(part) DO UPDATE SET "
                                "next=excluded.next"
                            ),
                            (d.partition, d.offset + 1),
                        )
                with suppress(CommitFailed, *NO_ANSWER):
                    c.commit()

        env.main(loop)

    @system.entry(
        examples=[{"u": "u1", "page": "/a"}, {"u": "u2", "page": "/b"}, {"u": "u3", "page": "/a"}]
    )
    def click(env, e):
        env.publisher(bus)("clicks", e, key=e["u"])

    return system


def trio_batcher(right):
    """Lines are written by the batch in trio, then acknowledged, or acknowledged first."""
    system = System("trio batcher")
    bus = system.add(RabbitMQ("mq", queues=queues("lines")))
    store = system.add(SQLite("db", "CREATE TABLE lines(id TEXT PRIMARY KEY, text TEXT);"))

    @system.service("b", runtime="trio")
    def b(env):
        db = env.connect(store)
        c = env.consumer(bus, "lines", read_as=dict, on_unreadable="dead-letter", prefetch=50)

        async def main():
            buf = []
            since = trio.current_time()
            while True:
                with trio.move_on_after(1):
                    d = await c.receive()
                    if "id" not in d.value:
                        await c.reject(d)
                        continue
                    if not buf:
                        since = trio.current_time()
                    buf.append(d)
                if buf and (len(buf) >= 10 or trio.current_time() - since >= 4):
                    if not right:
                        for d in buf:
                            await c.ack(d)
                    with db:
                        for d in buf:
                            db.execute(
                                "INSERT OR IGNORE INTO lines VALUES(?,?)",
                                (d.value["id"], d.value["t"]),
                            )
                    if right:
                        for d in buf:
                            await c.ack(d)
                    buf = []

        env.main(main)

    @system.entry(examples=[{"id": "l1", "t": "x"}, {"id": "l2", "t": "y"}])
    def go(env, r):
        env.publisher(bus)("lines", r)

    return system


def dedupe_window(right):
    """A job is remembered when it is done, or when it comes."""
    system = System("dedupe")
    bus = system.add(Redis("bus", ["jobs"]))
    kv = system.add(KeyValue("seen"))
    cards = system.add(External("cards", Cards))

    @system.service("w", replicas=2)
    def w(env):
        k, c = env.connect(kv), env.client(cards)

        def on(j: dict):
            if right:
                c.pay(j["id"], j["cents"], key=j["id"])
                k.put(j["id"], "done")
            else:
                if not k.put_if_absent(j["id"], "seen"):
                    return
                c.pay(j["id"], j["cents"], key=j["id"])

        env.consume(
            bus,
            "jobs",
            lambda j: on(j) if "id" in j else None,
            read_as=dict,
            claim_ms=30_000,
            on_unreadable="skip",
        )

    @system.entry(examples=[{"id": "j1", "cents": 3}, {"id": "j2", "cents": 4}])
    def e(env, x):
        env.publisher(bus)("jobs", x, key=x["id"])

    return system
