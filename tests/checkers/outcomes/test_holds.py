"""What is held for a while, until a row says: trouble is tried that lasts for longer than that."""

import pytest

from chaosharness import Delay, Kafka, SQLite, System, explore

SCHEMA = """
CREATE TABLE stock (sku TEXT PRIMARY KEY, free INT); INSERT INTO stock VALUES ('pen', 5);
CREATE TABLE holds (id TEXT PRIMARY KEY, n INT, state TEXT, until INT);
CREATE TABLE refunds (id TEXT PRIMARY KEY);
"""


def holding(*, guarded, minutes=30):
    """Pens are held for half an hour; who pays later is to get the money back."""
    system = System("holding")
    bus = system.add(Kafka("bus", topics={"carts": 1, "paid": 1}))
    store = system.add(SQLite("db", SCHEMA))

    @system.service("stock")
    def stock(env):
        holding, paying, sweeping = (env.connect(store) for _ in range(3))

        def on_cart(cart: dict):
            with holding:
                holding.execute("BEGIN IMMEDIATE")
                row = (cart["id"], cart["n"], env.now_ms() + minutes * 60_000)
                new = "INSERT OR IGNORE INTO holds VALUES (?, ?, 'held', ?)"
                if holding.execute(new, row).rowcount:
                    holding.execute("UPDATE stock SET free = free - ?", (cart["n"],))

        def on_paid(cart: dict):
            guard = "AND state = 'held'" if guarded else ""
            with paying:
                paying.execute("BEGIN IMMEDIATE")
                state = "SELECT state FROM holds WHERE id = ?"
                row = paying.execute(state, (cart["id"],)).fetchone()
                if row is None:
                    raise LookupError("not held yet")
                sold = f"UPDATE holds SET state = 'sold' WHERE id = ? {guard}"
                paying.execute(sold, (cart["id"],))
                if guarded and row[0] == "expired":
                    paying.execute("INSERT OR IGNORE INTO refunds VALUES (?)", (cart["id"],))

        def sweep():
            with sweeping:
                sweeping.execute("BEGIN IMMEDIATE")
                due = "SELECT id, n FROM holds WHERE state = 'held' AND until < ?"
                for one, n in sweeping.execute(due, (env.now_ms(),)).fetchall():
                    sweeping.execute("UPDATE holds SET state = 'expired' WHERE id = ?", (one,))
                    sweeping.execute("UPDATE stock SET free = free + ?", (n,))

        env.consume(bus, "carts", on_cart, on_error="dead-letter", retries_max=60)
        env.consume(bus, "paid", on_paid, on_error="dead-letter", retries_max=60)
        env.every(600, sweep)

    @system.entry(examples=[{"id": "c1", "n": 2}, {"id": "c2", "n": 1}])
    def shop(env, cart):
        publish = env.publisher(bus)
        publish("carts", cart, key=cart["id"])
        env.sleep(60)
        publish("paid", cart, key=cart["id"])

    return system


@pytest.mark.parametrize("minutes", [30, 45])
def test_a_payment_that_comes_once_the_hold_is_over_is_tried(minutes):
    system = holding(guarded=False, minutes=minutes)
    assert minutes * 60_000 in system.run().durations
    campaign = explore(system, faults_max=1, kinds=[Delay])
    [found] = campaign.counterexamples
    assert "db.stock has free=5" in found.findings[0].summary


def test_money_that_comes_too_late_goes_back():
    campaign = explore(holding(guarded=True), faults_max=1, kinds=[Delay])
    assert not campaign.counterexamples
