"""Right systems that are driven by time: ticks, leases, heartbeats, batches, schedules."""

import asyncio
import datetime
from typing import Any

import trio

from chaosharness import Kafka, KeyValue, RabbitMQ, SQLite, System

SCHEMA = """
CREATE TABLE jobs (id TEXT PRIMARY KEY, state TEXT, at_ms INTEGER, tries INTEGER, owner TEXT);
CREATE TABLE beats (worker TEXT PRIMARY KEY, at_ms INTEGER, state TEXT);
CREATE TABLE outbox (id TEXT PRIMARY KEY, sent INTEGER);
"""
MINUTE_MS = 60_000


def driven(make: Any, *, runtime: Any = None, replicas: int = 1, broker: Any = None) -> System:
    """Return a system of one service, made by `make(env, db, kv, bus)`, and a client."""
    system = System(make.__name__)
    store, keys = system.add(SQLite("db", SCHEMA)), system.add(KeyValue("kv"))
    bus = None if broker is None else system.add(broker)

    @system.service("worker", runtime=runtime, replicas=replicas)
    def worker(env):
        make(env, env.connect(store), env.connect(keys), bus)

    @system.entry(examples=["j1"])
    def submit(env, job):
        if bus is not None:
            env.publisher(bus)("jobs", job)
            return
        db = env.connect(store)
        with db:
            db.execute("INSERT INTO jobs VALUES (?, 'new', ?, 0, NULL)", (job, env.now_ms()))
            db.execute("INSERT INTO outbox VALUES (?, 0)", (job,))

    return system


def deadlines(env, db, kv, bus):
    """Tick over a table of deadlines: what waits for a minute is cancelled."""

    def tick():
        late = env.now_ms() - MINUTE_MS
        sql = "UPDATE jobs SET state = 'cancelled' WHERE state = 'new' AND at_ms <= ?"
        with db:
            db.execute(sql, (late,))

    env.every(7, tick)


def leases(env, db, kv, bus):
    """Two workers that take a job over once the lease of the other is over."""
    me = env.incarnation.label

    def loop():
        while True:
            now = env.now_ms()
            with db:
                db.execute(
                    "UPDATE jobs SET owner = ?, at_ms = ? WHERE state = 'new' AND at_ms <= ?",
                    (me, now + 5 * MINUTE_MS, now),
                )
            sql = "SELECT id FROM jobs WHERE state = 'new' AND owner = ?"
            for (job,) in db.execute(sql, (me,)).fetchall():
                env.sleep(1)
                with db:
                    db.execute(
                        "UPDATE jobs SET state = 'done' WHERE id = ? AND owner = ?", (job, me)
                    )
            env.sleep(20)

    env.main(loop)


def heartbeats(env, db, kv, bus):
    """A heartbeat in the background, and a watcher that looks for those who are silent."""

    def beat():
        while True:
            with db:
                sql = "INSERT OR REPLACE INTO beats VALUES (?, ?, 'up')"
                db.execute(sql, (env.incarnation.service, env.now_ms()))
            env.sleep(10)

    def watch():
        while True:
            silent = env.now_ms() - 30_000
            with db:
                sql = "UPDATE beats SET state = 'down' WHERE state = 'up' AND at_ms < ?"
                db.execute(sql, (silent,))
            env.sleep(15)

    env.main(beat, background=True)
    env.main(watch)


def relay(env, db, kv, bus):
    """An outbox that is looked at each second."""

    def loop():
        while True:
            for (row,) in db.execute("SELECT id FROM outbox WHERE sent = 0").fetchall():
                kv.put(row, "sent")
                with db:
                    db.execute("UPDATE outbox SET sent = 1 WHERE id = ?", (row,))
            env.sleep(1)

    env.main(loop)


def claims(env, db, kv, bus):
    """A queue in a table: claim, commit, work, commit; a claim that is old is taken again."""

    def loop():
        while True:
            now = env.now_ms()
            sql = (
                "UPDATE jobs SET owner = 'me', at_ms = ? WHERE state = 'new' "
                "AND (owner IS NULL OR at_ms < ?) RETURNING id"
            )
            row = db.execute(sql, (now, now - 2 * MINUTE_MS)).fetchone()
            db.commit()
            if row is None:
                env.sleep(5)
                continue
            with db:
                db.execute("UPDATE jobs SET state = 'done' WHERE id = ?", row)

    env.main(loop)


def retries(env, db, kv, bus):
    """Tries again after 1, 2, 4 ... minutes, by a column that says when."""

    def loop():
        while True:
            sql = "SELECT id, tries FROM jobs WHERE state = 'new' AND at_ms <= ?"
            for job, tries in db.execute(sql, (env.now_ms(),)).fetchall():
                with db:
                    if tries == 4:
                        db.execute("UPDATE jobs SET state = 'done' WHERE id = ?", (job,))
                    else:
                        again = env.now_ms() + (MINUTE_MS << tries)
                        sql = "UPDATE jobs SET tries = ?, at_ms = ? WHERE id = ?"
                        db.execute(sql, (tries + 1, again, job))
            env.sleep(10)

    env.main(loop)


def cleaning(env, db, kv, bus):
    """Deletes by SQL's own clock what is older than an hour; marks new rows each minute."""

    def clean():
        with db:
            sql = "UPDATE jobs SET owner = datetime('now'), state = 'old' WHERE state = 'new'"
            db.execute(sql)
            db.execute("DELETE FROM jobs WHERE owner < datetime('now', '-1 hour')")

    env.every(60, clean)


def locks(env, db, kv, bus):
    """A lock with an expiry in the key-value store, renewed by whoever has it."""
    me = env.incarnation.label

    def loop():
        while not kv.get("done"):
            held = kv.get("lock")
            now = datetime.datetime.now(datetime.UTC)
            free = held is None or datetime.datetime.fromisoformat(held["until"]) <= now
            if free or held["by"] == me:
                until = now + datetime.timedelta(seconds=90)
                kv.put("lock", {"by": me, "until": until.isoformat()})
                if held is not None and held["by"] == me:
                    kv.put("done", me)
                    kv.delete("lock")
            env.sleep(30)

    env.main(loop)


def batch_of_kafka(env, db, kv, bus):
    """Collects for ten seconds, writes, commits."""
    consumer = env.consumer(bus, "jobs")

    def loop():
        batch, since = [], env.now_ms()
        while True:
            batch += [one.value for one in consumer.poll(10, timeout_s=1)]
            if batch and env.now_ms() - since >= 10_000:
                for value in batch:
                    kv.put(value, "done")
                consumer.commit()
                batch, since = [], env.now_ms()

    env.main(loop)


def batch_of_rabbitmq(env, db, kv, bus):
    """Collects until three looks were in vain, writes, acknowledges."""
    consumer = env.consumer(bus, "jobs")

    def loop():
        held: list[Any] = []
        idle = 0
        while True:
            one = consumer.receive(timeout_s=2)
            idle = 0 if one is not None else idle + 1
            held += [] if one is None else [one]
            if held and idle >= 3:
                for delivery in held:
                    kv.put(delivery.value, "done")
                    consumer.ack(delivery)
                held = []

    env.main(loop)


def ports_tick(env, db, kv, bus):
    """A tick on harness ports only."""

    async def tick():
        for job, plan in await kv.items():
            if plan["at_ms"] <= env.now_ms() and not plan["done"]:
                await kv.put(job, {**plan, "done": True})
        if not db.execute("SELECT id FROM jobs WHERE state = 'new'").fetchall():
            return
        await kv.put_if_absent("plan", {"at_ms": env.now_ms() + 5 * MINUTE_MS, "done": False})
        with db:
            db.execute("UPDATE jobs SET state = 'planned'")

    env.every(11, tick)


def asyncio_tasks(env, db, kv, bus):
    """Two tasks of one process: one collects, one writes when that is half a minute old."""

    async def loop():
        clock = asyncio.get_running_loop().time
        held: list[Any] = []
        since = clock()

        async def collect():
            nonlocal since
            while True:
                for (job,) in db.execute("SELECT id FROM jobs WHERE state = 'new'").fetchall():
                    if job not in held:
                        held.append(job)
                        since = clock()
                await asyncio.sleep(3)

        async def write():
            while True:
                if held and clock() - since >= 30:
                    with db:
                        for job in held:
                            db.execute("UPDATE jobs SET state = 'done' WHERE id = ?", (job,))
                    held.clear()
                await asyncio.sleep(5)

        async with asyncio.TaskGroup() as group:
            group.create_task(collect())
            group.create_task(write())

    env.main(loop)


def trio_tasks(env, db, kv, bus):
    """The same under trio, with a task that is made anew each time round."""

    async def expire():
        await trio.sleep(1)
        late = int(trio.current_time() * 1000) % 10**9
        await kv.put_if_absent("began", late)
        if late - await kv.get("began") > MINUTE_MS:
            await kv.put("over", "yes")

    async def loop():
        while True:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expire)
            with trio.move_on_after(9):
                await trio.sleep_forever()

    env.main(loop)


def leaders(env, db, kv, bus):
    """A lease in the key-value store that is renewed for ever, by whoever works."""
    me = env.incarnation.label

    async def loop():
        while True:
            await asyncio.sleep(10)
            held, now = await kv.get("leader"), datetime.datetime.now(datetime.UTC).timestamp()
            if held and held["by"] != me and held["until"] > now:
                continue
            await kv.put("leader", {"by": me, "until": now + 30})
            with db:
                db.execute("UPDATE jobs SET state = 'done', owner = ? WHERE state = 'new'", (me,))

    env.main(loop)


def renewed(env, db, kv, bus):
    """The same in a table, and each replica says all the time that it is alive."""
    me = env.incarnation.label

    def loop():
        while True:
            env.sleep(15)
            now = datetime.datetime.now(datetime.UTC)
            late = (now - datetime.timedelta(seconds=60)).isoformat()
            with db:
                row = (me, int(now.timestamp()), now.isoformat())
                db.execute("INSERT OR REPLACE INTO beats VALUES (?, ?, ?)", row)
                got = db.execute(
                    "INSERT INTO outbox VALUES ('lease', ?) ON CONFLICT (id) DO UPDATE SET "
                    "sent = excluded.sent WHERE (SELECT max(state) FROM beats) > ?",
                    (int(now.timestamp()) + 45, late),
                ).rowcount
                if got:
                    db.execute("UPDATE jobs SET state = 'done' WHERE state = 'new'")

    env.main(loop)


def callbacks(env, db, kv, bus):
    """A scheduler of callbacks: each puts the next off to the loop, as from another thread."""

    def work():
        for (job,) in db.execute("SELECT id FROM jobs WHERE state = 'new'").fetchall():
            with db:
                db.execute("UPDATE jobs SET state = 'done' WHERE id = ?", (job,))

    async def main():
        loop = asyncio.get_running_loop()

        def wake():
            loop.call_soon_threadsafe(turn)

        def turn():
            loop.run_in_executor(None, work)
            loop.call_later(30, wake)

        turn()
        await asyncio.Event().wait()

    env.main(main)


def idle(env, db, kv, bus):
    """A pool that closes what nobody has used for five minutes: its timer is set anew each round,
    by a task that has ended when it is cancelled."""

    class Pool:
        timer = None

        async def release(self):
            self.timer = asyncio.get_running_loop().call_later(300, self.close)

        def close(self):
            self.timer = None

        def acquire(self):
            if self.timer is not None:
                self.timer.cancel()

    async def main():
        pool = Pool()
        while True:
            pool.acquire()
            jobs = db.execute("SELECT id FROM jobs WHERE state = 'new'").fetchall()
            for (job,) in jobs:
                with db:
                    db.execute("UPDATE jobs SET state = 'done' WHERE id = ?", (job,))
            await asyncio.shield(pool.release())
            await asyncio.sleep(5)

    env.main(main)


SYSTEMS = [
    driven(deadlines),
    driven(leases, replicas=2),
    driven(heartbeats),
    driven(relay),
    driven(claims),
    driven(retries),
    driven(cleaning),
    driven(locks),
    driven(batch_of_kafka, broker=Kafka("bus", {"jobs": 1})),
    driven(batch_of_rabbitmq, broker=RabbitMQ("bus", queues=["jobs"])),
    driven(ports_tick, runtime="ports"),
    driven(asyncio_tasks, runtime="asyncio"),
    driven(callbacks, runtime="asyncio"),
    driven(idle, runtime="asyncio"),
    driven(trio_tasks, runtime="trio"),
    driven(leaders, runtime="asyncio", replicas=2),
    driven(renewed),
]
