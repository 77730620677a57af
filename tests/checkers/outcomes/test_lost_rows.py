"""Two read a row and both write it from their own reading: told of the run without any fault."""

import asyncio
import json

from chaosharness import RabbitMQ, SQLite, System, explore

SCHEMA = "CREATE TABLE carts (v INT, items TEXT, id TEXT PRIMARY KEY);"
BOTH = [{"cart": "c1", "line": "pen"}, {"cart": "c1", "line": "ink"}]
APART = [{"cart": "c1", "line": "pen"}, {"cart": "c2", "line": "ink"}]


def carts(*, guarded, items=BOTH):
    """A line is added to a cart if it is as it was read, or whatever it is by now."""
    system = System("carts")
    bus = system.add(RabbitMQ("bus", queues=["adds"]))
    seeds = "INSERT INTO carts VALUES (0, '[]', 'c1'); INSERT INTO carts VALUES (0, '[]', 'c2');"
    store = system.add(SQLite("db", SCHEMA + seeds))

    @system.service("cart", replicas=2, runtime="asyncio")
    def cart(env):
        db = env.connect(store)

        async def on_add(one: dict):
            for _ in range(10):
                known = "SELECT v, items FROM carts WHERE id = ?"
                version, text = db.execute(known, (one["cart"],)).fetchone()
                if one["line"] in (lines := json.loads(text)):
                    return
                await asyncio.sleep(0.02)
                guard = f"AND v = {version}" if guarded else ""
                write = f"UPDATE carts SET v = ?, items = ? WHERE id = ? {guard}"
                row = (version + 1, json.dumps(sorted([*lines, one["line"]])), one["cart"])
                with db:
                    written = db.execute(write, row).rowcount
                if written:
                    return
            raise RuntimeError("contention")

        env.consume(bus, "adds", on_add)

    @system.entry(examples=items)
    def add(env, one):
        env.publisher(bus)("adds", one)

    return system


def calm_findings(system):
    found = explore(system, faults_max=1, runs_max=100).counterexamples
    return [one.findings[0].summary for one in found if not one.schedule]


def test_a_line_that_is_written_over_is_named():
    [found] = calm_findings(carts(guarded=False))
    assert "two read db.carts, waited, and both wrote 'c1': the second over the first" in found


def test_who_writes_only_what_he_has_read_is_silent():
    assert calm_findings(carts(guarded=True)) == []


def test_two_rows_of_one_table_are_silent():
    assert calm_findings(carts(guarded=False, items=APART)) == []


def tills(*, guarded) -> System:
    """A sale is added to the only till, whose row no parameter names."""
    system = System("tills")
    bus = system.add(RabbitMQ("bus", queues=["sales"]))
    schema = (
        "CREATE TABLE till (id TEXT PRIMARY KEY, sales TEXT); INSERT INTO till VALUES ('t', '[]')"
    )
    store = system.add(SQLite("db", schema))

    @system.service("till", replicas=2)
    def till(env):
        db = env.connect(store)

        def on_sale(sale: dict):
            for _ in range(10):
                text = db.execute("SELECT sales FROM till WHERE id = 't'").fetchone()[0]
                if sale["id"] in (known := json.loads(text)):
                    return
                env.sleep(0.02)
                now = json.dumps(sorted([*known, sale["id"]]))
                guard = "AND sales = ?" if guarded else ""
                with db:
                    write = f"UPDATE till SET sales = ? WHERE id = 't' {guard}"
                    if db.execute(write, (now, text) if guarded else (now,)).rowcount:
                        return
            raise RuntimeError("contention")

        env.consume(bus, "sales", on_sale)

    @system.entry(examples=[{"id": "s1"}, {"id": "s2"}])
    def sell(env, sale):
        env.publisher(bus)("sales", sale)

    return system


def test_the_only_row_of_a_table_needs_no_name():
    [found] = calm_findings(tills(guarded=False))
    assert (
        "two read db.till, waited, and both wrote its only row: the second over the first" in found
    )
    assert calm_findings(tills(guarded=True)) == []
