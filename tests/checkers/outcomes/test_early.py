"""Whoever waits long enough for a message that is late may put its own aside."""

import pytest

from chaosharness import Crash, Delay, Gateway, Kafka, Schedule, Site, SQLite, System, idempotent


def returns(tries):
    """What was sold may be returned; a return that comes before its sale is tried again."""
    system = System("returns")
    bus = system.add(Kafka("bus", topics={"sold": 1, "returned": 1}))
    store = system.add(SQLite("db", "CREATE TABLE sales (id TEXT PRIMARY KEY, state TEXT)"))
    bank = system.add(Gateway("bank"))

    options = {"on_error": "dead-letter", "retries_max": tries}

    @system.service("till")
    def till(env):
        db, client = env.connect(store), env.client(bank)

        def on_sold(sale):
            client.charge(sale["id"], 500, key=sale["id"])
            with db:
                db.execute("INSERT OR IGNORE INTO sales VALUES (?, 'sold')", (sale["id"],))

        env.consume(bus, "sold", on_sold, group="sold", **options)

    @system.service("shop")
    def shop(env):
        db, client = env.connect(store), env.client(bank)

        def on_returned(sale):
            known = "SELECT 1 FROM sales WHERE id = ?"
            if db.execute(known, (sale["id"],)).fetchone() is None:
                raise LookupError(f"nobody has sold {sale['id']}")
            client.refund(sale["id"], 500, key=f"back {sale['id']}")
            with db:
                db.execute("UPDATE sales SET state = 'returned' WHERE id = ?", (sale["id"],))

        env.consume(bus, "returned", on_returned, group="returned", **options)

    @system.entry(examples=[{"id": "s1"}])
    def sell(env, sale):
        env.publisher(bus)("sold", sale, key=sale["id"])
        env.publisher(bus)("returned", sale, key=sale["id"])

    return system


LATE = Delay(Site("bus.sold/deliver to sold"), lasting="long")
CUT_OFF = Crash(Site("till.on_sold/bank.charge", "after"), down="long")


@pytest.mark.parametrize("fault", [LATE, CUT_OFF], ids=["late", "cut off"])
@pytest.mark.parametrize(("tries", "kinds"), [(20, []), (4, ["put aside"])])
def test_whoever_waits_for_ten_minutes_may_give_up(fault, tries, kinds):
    run = returns(tries).run(None, Schedule([fault]))
    assert any(run.history.of("dead"))
    assert [one.kind for one in idempotent().findings(run.evidence())] == kinds
