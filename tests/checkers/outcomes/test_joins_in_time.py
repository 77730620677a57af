"""Two halves that must meet within ten minutes: a timer decides, and what comes later is late."""

import pytest

from chaosharness import Delay, Queue, RabbitMQ, Schedule, Site, SQLite, System, idempotent

SCHEMA = """
CREATE TABLE parts (id TEXT PRIMARY KEY, item TEXT, address TEXT, state TEXT, since INT);
CREATE TABLE ends (id TEXT PRIMARY KEY, how TEXT);
"""
TRIED_AGAIN = {"on_error": "dead-letter", "retries_max": 60}


def join(*, guarded):
    """Whoever has both ships; after ten minutes a person does, and then nobody else may."""
    system = System("join")
    names = ("orders", "addresses", "ship", "manual")
    queues = {name: Queue(dead_letter="dead") for name in names} | {"dead": Queue()}
    bus, store = system.add(RabbitMQ("bus", queues=queues)), system.add(SQLite("db", SCHEMA))

    @system.service("join")
    def join(env):
        ordering, writing, sweeping = (env.connect(store) for _ in range(3))
        publish = env.publisher(bus)

        def put(db, one, column):
            more = f"ON CONFLICT (id) DO UPDATE SET {column} = excluded.{column}"
            both = "item IS NOT NULL AND address IS NOT NULL"
            with db:
                db.execute("BEGIN IMMEDIATE")
                new = f"INSERT INTO parts (id, {column}, state, since) VALUES (?, ?, 'waiting', ?)"
                db.execute(f"{new} {more}", (one["id"], one[column], env.now_ms()))
                done = "UPDATE parts SET state = 'complete' WHERE id = ? AND state = 'waiting'"
                db.execute(f"{done} AND {both}", (one["id"],))
                known = "SELECT state = 'complete', item, address FROM parts WHERE id = ?"
                complete, item, address = db.execute(known, (one["id"],)).fetchone()
            if complete or (item and address and not guarded):
                publish("ship", {"id": one["id"], "item": item, "to": address})

        def sweep():
            late = "UPDATE parts SET state = 'late' WHERE state = 'waiting' AND since < ?"
            with sweeping:
                sweeping.execute(late, (env.now_ms() - 600_000,))
            known = "SELECT id FROM parts WHERE state = 'late'"
            for (one,) in sweeping.execute(known).fetchall():
                publish("manual", {"id": one})
                with sweeping:
                    sweeping.execute("UPDATE parts SET state = 'manual' WHERE id = ?", (one,))

        def on_order(one: dict):
            put(ordering, one, "item")

        def on_address(one: dict):
            put(writing, one, "address")

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)
        env.consume(bus, "addresses", on_address, **TRIED_AGAIN)
        env.every(60, sweep)

    @system.service("end")
    def end(env):
        def ends(how):
            db = env.connect(store)

            def on_end(one: dict):
                with db:
                    db.execute("INSERT OR IGNORE INTO ends VALUES (?, ?)", (one["id"], how))

            return on_end

        env.consume(bus, "ship", ends("shipped"), **TRIED_AGAIN)
        env.consume(bus, "manual", ends("manual"), **TRIED_AGAIN)

    @system.entry(examples=[{"id": "o1", "item": "pen", "address": "Rome"}])
    def order(env, one):
        publish = env.publisher(bus)
        publish("orders", {"id": one["id"], "item": one["item"]})
        env.sleep(20)
        publish("addresses", {"id": one["id"], "address": one["address"]})

    return system


@pytest.mark.parametrize("guarded", [True, False])
def test_what_comes_behind_the_timer_is_told_to_nobody_or_asked_about(guarded):
    late = Delay(Site("bus.orders/deliver to join"), lasting=900_000)
    run = join(guarded=guarded).run(None, Schedule([late]))
    found = idempotent().findings(run.evidence())
    assert all(one.question for one in found)
    assert [one.place for one in found] == ([] if guarded else ["bus.ship"])
