"""Whoever waits long enough for a message that is late may put its own aside."""

import pytest

from chaosharness import Delay, Gateway, Kafka, Schedule, Site, SQLite, System, idempotent


def returns(tries):
    """What was sold may be returned; a return that comes before its sale is tried again."""
    system = System("returns")
    bus = system.add(Kafka("bus", topics={"sold": 1, "returned": 1}))
    store = system.add(SQLite("db", "CREATE TABLE sales (id TEXT PRIMARY KEY, state TEXT)"))
    bank = system.add(Gateway("bank"))

    @system.service("shop")
    def shop(env):
        db, client = env.connect(store), env.client(bank)
        options = {"on_error": "dead-letter", "retries_max": tries}

        def on_sold(sale):
            client.charge(sale["id"], 500, key=sale["id"])
            with db:
                db.execute("INSERT OR IGNORE INTO sales VALUES (?, 'sold')", (sale["id"],))

        def on_returned(sale):
            known = "SELECT 1 FROM sales WHERE id = ?"
            if db.execute(known, (sale["id"],)).fetchone() is None:
                raise LookupError(f"nobody has sold {sale['id']}")
            client.refund(sale["id"], 500, key=f"back {sale['id']}")
            with db:
                db.execute("UPDATE sales SET state = 'returned' WHERE id = ?", (sale["id"],))

        env.consume(bus, "sold", on_sold, group="sold", **options)
        env.consume(bus, "returned", on_returned, group="returned", **options)

    @system.entry(examples=[{"id": "s1"}])
    def sell(env, sale):
        env.publisher(bus)("sold", sale, key=sale["id"])
        env.publisher(bus)("returned", sale, key=sale["id"])

    return system


@pytest.mark.parametrize(("tries", "kinds"), [(20, []), (4, ["put aside"])])
def test_whoever_waits_for_ten_minutes_may_give_up(tries, kinds):
    late = Delay(Site("bus.sold/deliver to sold"), lasting="long")
    run = returns(tries).run(None, Schedule([late]))
    assert any(run.history.of("dead"))
    assert [one.kind for one in idempotent().findings(run.evidence())] == kinds
