"""What is said behind a timer is asked about where it decided otherwise, not where it reminded."""

import time

import pytest

from chaosharness import Delay, Kafka, Schedule, Site, SQLite, System, idempotent

TRIED_AGAIN = {"on_error": "dead-letter", "retries_max": 60}
SCHEMA = "CREATE TABLE orders (id TEXT PRIMARY KEY, status TEXT, note TEXT, at REAL);"
LATE = Schedule([Delay(Site("bus.packed/deliver to orders"), lasting=270_000)])


def shipping(change):
    """An order that waits for a minute is changed, and somebody is told; it is shipped later."""
    system = System("shipping")
    bus = system.add(Kafka("bus", topics={"orders": 1, "packed": 1, "ship": 1, "nudge": 1}))
    store = system.add(SQLite("db", SCHEMA))

    @system.service("orders")
    def orders(env):
        db, own, publish = env.connect(store), env.connect(store), env.publisher(bus)

        def on_order(order: dict):
            with db:
                new = "INSERT OR IGNORE INTO orders VALUES (?, 'waiting', NULL, ?)"
                db.execute(new, (order["id"], time.time()))

        def on_packed(order: dict):
            if not db.execute("SELECT 1 FROM orders WHERE id = ?", (order["id"],)).fetchone():
                raise RuntimeError("not yet")
            publish("ship", {"id": order["id"]}, key=order["id"])
            with db:
                shipped = "UPDATE orders SET status = 'shipped' WHERE id = ? AND status = 'waiting'"
                db.execute(shipped, (order["id"],))

        def look():
            while True:
                env.sleep(10)
                due = "SELECT id FROM orders WHERE status = 'waiting' AND note IS NULL AND at < ?"
                for (one,) in own.execute(due, (time.time() - 60,)).fetchall():
                    publish("nudge", {"order": one}, key=one)
                    with own:
                        own.execute(f"UPDATE orders SET {change} WHERE id = ?", (one,))

        env.consume(bus, "orders", on_order, **TRIED_AGAIN)
        env.consume(bus, "packed", on_packed, **TRIED_AGAIN)
        env.main(look)

    @system.service("others")
    def others(env):
        def on_message(one: dict):
            """Look on."""

        env.consume(bus, "ship", on_message)
        env.consume(bus, "nudge", on_message)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        publish = env.publisher(bus)
        publish("orders", order, key=order["id"])
        publish("packed", order, key=order["id"])

    return system


@pytest.mark.parametrize("decided", ["status = 'manual'", "status = 'manual', note = 'late'"])
def test_a_parcel_behind_another_decision_is_asked_about(decided):
    run = shipping(decided).run(None, LATE)
    [first, *_] = idempotent().findings(run.evidence())
    assert first.question and "and bus.ship(id=o1) stands" in first.summary


def test_a_parcel_behind_a_reminder_is_not():
    run = shipping("note = 'reminded'").run(None, LATE)
    assert not any("stands" in one.summary for one in idempotent().findings(run.evidence()))
