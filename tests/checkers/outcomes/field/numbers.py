"""Services that store what is measured, drawn or dealt out, and money beside it."""

import asyncio
import json
import random
import re
import time
import uuid
from datetime import UTC, datetime

from chaosharness import External, Kafka, KeyValue, RabbitMQ, SQLite, System
from tests.checkers.outcomes.field.parties import AGAIN, NO_ANSWER, Mailer, queues

LOG = {"on_unreadable": "dead-letter", "on_error": "dead-letter", "retries_max": 60}
BEGIN = "BEGIN IMMEDIATE"


def tips(right):
    """A document says how long its last change took; it knows its tips, or adds each again."""
    system = System("tips")
    bus = system.add(RabbitMQ("mq", queues=queues("tips")))
    store = system.add(SQLite("db", "CREATE TABLE wallet(owner TEXT PRIMARY KEY, doc TEXT);"))

    @system.service("tips", replicas=2, runtime="asyncio")
    def serve(env):
        db = env.connect(store)

        async def on_tip(tip: dict):
            began = time.monotonic()
            with db:
                db.execute(BEGIN)
                words = "SELECT doc FROM wallet WHERE owner = ?"
                row = db.execute(words, (tip["to"],)).fetchone()
                new = {"id": str(uuid.uuid4()), "cents": 0, "tips": []}
                doc = json.loads(row[0]) if row else new
                if right and tip["id"] in doc["tips"]:
                    return
                doc["cents"] += tip["cents"]
                doc["tips"] = sorted({*doc["tips"], tip["id"]})
                doc["updated"] = datetime.now(UTC).isoformat()
                doc["took"] = round(time.monotonic() - began, 3)
                row = (tip["to"], json.dumps(doc))
                db.execute("INSERT OR REPLACE INTO wallet VALUES (?, ?)", row)

        env.consume(bus, "tips", on_tip)

    @system.entry(
        examples=[
            {"id": "tip-1", "to": "ann", "cents": 100},
            {"id": "tip-2", "to": "ann", "cents": 250},
        ]
    )
    def tip(env, one):
        env.publisher(bus)("tips", one)

    return system


def statements(right):
    """A line of text holds a time and a balance, of payments that are known, or of each."""
    system = System("statements")
    bus = system.add(RabbitMQ("mq", queues=queues("payments")))
    store = system.add(
        SQLite(
            "db",
            "CREATE TABLE seen(id TEXT PRIMARY KEY); "
            "CREATE TABLE statement(who TEXT PRIMARY KEY, line TEXT);",
        )
    )

    @system.service("statements", replicas=2)
    def serve(env):
        db = env.connect(store)

        def on_payment(one: dict):
            with db:
                db.execute(BEGIN)
                new = db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (one["id"],)).rowcount
                if right and not new:
                    return
                words = "SELECT line FROM statement WHERE who = ?"
                row = db.execute(words, (one["who"],)).fetchone()
                old = int(re.search(r"balance (\d+)", row[0])[1]) if row else 0
                line = f"{datetime.now():%d.%m.%Y %H:%M:%S} balance {old + one['cents']} cents"
                row = (one["who"], line)
                db.execute("INSERT OR REPLACE INTO statement VALUES (?, ?)", row)

        env.consume(bus, "payments", on_payment, **AGAIN)

    @system.entry(
        examples=[
            {"id": "p-1", "who": "ann", "cents": 100},
            {"id": "p-2", "who": "ann", "cents": 250},
        ]
    )
    def pay(env, one):
        env.publisher(bus)("payments", one)

    return system


def casino(right):
    """What is won is drawn by chance, once; what a player has is the sum of it, or more."""
    system = System("casino")
    bus = system.add(Kafka("bus", topics={"spins": 2}))
    store = system.add(
        SQLite(
            "db",
            "CREATE TABLE spin(id TEXT PRIMARY KEY, won INT); "
            "CREATE TABLE player(name TEXT PRIMARY KEY, chips INT); "
            "INSERT INTO player VALUES ('ann', 1000);",
        )
    )

    @system.service("casino", replicas=2)
    def serve(env):
        db = env.connect(store)

        def on_spin(spin: dict):
            won = random.randrange(10, 90)
            with db:
                row = (spin["id"], won)
                new = db.execute("INSERT OR IGNORE INTO spin VALUES (?, ?)", row).rowcount
                if new or not right:
                    words = "UPDATE player SET chips = chips + ? WHERE name = ?"
                    db.execute(words, (won, spin["who"]))

        env.consume(bus, "spins", on_spin, **LOG)

    @system.entry(examples=[{"id": "sp-1", "who": "ann"}, {"id": "sp-2", "who": "ann"}])
    def spin(env, one):
        env.publisher(bus)("spins", one, key=one["who"])

    return system


def votes(right, *, column="total"):
    """Votes are counted by their ids; or the total is how many messages the log has held."""
    system = System("votes")
    bus = system.add(Kafka("bus", topics={"votes": 1}))
    tables = f"CREATE TABLE tally(what TEXT PRIMARY KEY, {column} INT); "
    tables += "INSERT INTO tally VALUES ('all', 0); CREATE TABLE seen(id TEXT PRIMARY KEY);"
    store = system.add(SQLite("db", tables))

    @system.service("tally")
    def serve(env):
        db = env.connect(store)
        consumer = env.consumer(bus, "votes", read_as=dict, on_unreadable="skip")

        def main():
            while True:
                for delivery in consumer.poll():
                    words = f"UPDATE tally SET {column} = ?"
                    with db:
                        if right:
                            row = (delivery.value.get("id"),)
                            db.execute("INSERT OR IGNORE INTO seen VALUES (?)", row)
                            (count,) = db.execute("SELECT COUNT(*) FROM seen").fetchone()
                            db.execute(words, (count,))
                        else:
                            db.execute(words, (delivery.offset + 1,))
                    consumer.commit()

        env.main(main)

    @system.entry(examples=[{"id": "v-1"}, {"id": "v-2"}, {"id": "v-3"}])
    def vote(env, one):
        env.publisher(bus)("votes", one, key="all")

    return system


def likes(right):
    """A list under one key is read, changed and set, one after another, or all at once."""
    system = System("likes", arrival_ms=1)
    bus = system.add(RabbitMQ("mq", queues=queues("likes")))
    store = system.add(KeyValue("cache"))

    @system.service("likes", runtime="asyncio")
    def serve(env):
        cache, lock = env.connect(store), asyncio.Lock()

        async def add(like):
            known = await cache.get(like["post"]) or []
            await asyncio.sleep(0.01)
            await cache.put(like["post"], sorted({*known, like["id"]}))

        async def on_like(like: dict):
            if right:
                async with lock:
                    await add(like)
            else:
                await add(like)

        env.consume(bus, "likes", on_like, prefetch=10)

    @system.entry(examples=[{"id": f"l-{n}", "post": "p"} for n in (1, 2, 3)])
    def like(env, one):
        env.publisher(bus)("likes", one)

    return system


def uploads(right):
    """A job keeps how often it was tried, its last error and when it is due; or is given up."""
    system = System("uploads")
    bus = system.add(RabbitMQ("mq", queues=queues("jobs")))
    party = system.add(External("party", Mailer))
    tables = "CREATE TABLE job(id TEXT PRIMARY KEY, state TEXT, retry_count INT DEFAULT 0, "
    tables += "last_error TEXT, next_retry_at TEXT, detail TEXT);"
    store = system.add(SQLite("db", tables))

    @system.service("uploads", replicas=2)
    def serve(env):
        db, own, client = env.connect(store), env.connect(store), env.client(party)

        def on_job(job: dict):
            row = (job["id"], json.dumps({"size": job["size"]}))
            with db:
                words = "INSERT OR IGNORE INTO job(id, state, detail) VALUES (?, 'queued', ?)"
                db.execute(words, row)

        def step():
            words = "SELECT id, detail FROM job WHERE state = 'queued'"
            for name, detail in own.execute(words).fetchall():
                try:
                    client.send("cloud", json.loads(detail)["size"], key=name)
                except NO_ANSWER as error:
                    words = "UPDATE job SET retry_count = retry_count + 1, last_error = ?, "
                    words += "next_retry_at = ?, state = ?, detail = ? WHERE id = ?"
                    state = "queued" if right else "failed"
                    said = json.dumps({**json.loads(detail), "error": str(error)})
                    row = (repr(error), datetime.now(UTC).isoformat(), state, said, name)
                else:
                    words, row = "UPDATE job SET state = 'done' WHERE id = ?", (name,)
                with own:
                    own.execute(words, row)

        env.consume(bus, "jobs", on_job)
        env.every(2, step)

    @system.entry(examples=[{"id": "j-1", "size": 5}, {"id": "j-2", "size": 7}])
    def put(env, job):
        env.publisher(bus)("jobs", job)

    return system
