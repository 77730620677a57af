"""An outbox that is read by change capture: a connector publishes what a database has committed.

chaosharness run models.kafka.capture:outbox
"""

from __future__ import annotations

from typing import Any

from chaosharness import (
    Delivery,
    Env,
    Gateway,
    Kafka,
    KeyValue,
    SQLite,
    System,
    eventually,
    idempotent,
    never_charged_twice,
)
from chaosharness.kernel.history import History

ORDERS = [{"order": "o1", "cents": 500}, {"order": "o2", "cents": 700}]
ASIDE: dict[str, Any] = {
    "on_error": "dead-letter",
    "retries_max": 30,
    "on_unreadable": "dead-letter",
}
SHOP = """
CREATE TABLE orders (n INTEGER PRIMARY KEY, id TEXT UNIQUE, cents INTEGER);
CREATE TABLE payments (n INTEGER PRIMARY KEY, id TEXT UNIQUE);
CREATE TABLE outbox (n INTEGER PRIMARY KEY, id TEXT UNIQUE, cents INTEGER);
"""
DEPOT = "CREATE TABLE parcels (id TEXT PRIMARY KEY, cents INTEGER, paid INTEGER)"


def outbox() -> System:
    """The right one: what the connector publishes again is known by the id of its row."""
    return _charged("capture", by_row=True)


def repeats_after_a_restart() -> System:
    """Each record is taken for a new one: the connector begins again where it last kept its place.

    It keeps it now and then, as connectors do: what it had published since comes twice.
    """
    return _charged("capture-twice", by_row=False)


def _charged(name: str, *, by_row: bool) -> System:
    system = System(name)
    bus = system.add(Kafka("bus", {"outbox": 1}, idempotent_producer=True))
    bank = system.add(Gateway("bank"))
    _captured(system, bus, ["outbox"])

    @system.service("till")
    def till(env: Env) -> None:
        client = env.client(bank)

        def on_row(row: dict[str, Any], delivery: Delivery) -> None:
            key = row["id"] if by_row else f"{delivery.partition}-{delivery.offset}"
            client.charge(row["id"], row["cents"], key=key)

        env.consume(bus, "outbox", on_row, **ASIDE)

    system.claim(never_charged_twice(bank), idempotent())
    return system


def tables() -> System:
    """The right one: orders and payments are two streams, and either half may come first."""
    return _joined("tables", waits=True)


def tables_out_of_step() -> System:
    """The payment is taken to come after its order, as it was written: one table may lag."""
    return _joined("tables-in-step", waits=False)


def _joined(name: str, *, waits: bool) -> System:
    system = System(name)
    bus = system.add(Kafka("bus", {"orders": 1, "payments": 1}, idempotent_producer=True))
    depot = system.add(SQLite("depot", DEPOT))
    _captured(system, bus, ["orders", "payments"])

    @system.service("parcels")
    def parcels(env: Env) -> None:
        db = env.connect(depot)
        order = (
            "INSERT INTO parcels VALUES (?, ?, 0) ON CONFLICT (id) DO UPDATE SET cents ="
            " excluded.cents"
        )
        payment = (
            "INSERT INTO parcels VALUES (?, NULL, 1) ON CONFLICT (id) DO UPDATE SET paid = 1"
            if waits
            else "UPDATE parcels SET paid = 1 WHERE id = ?"
        )

        def on_order(row: dict[str, Any]) -> None:
            with db:
                db.execute(order, (row["id"], row["cents"]))

        def on_payment(row: dict[str, Any]) -> None:
            with db:
                db.execute(payment, (row["id"],))

        env.consume(bus, "orders", on_order, group="orders", **ASIDE)
        env.consume(bus, "payments", on_payment, group="payments", **ASIDE)

    def unpaid(history: History) -> list[str]:
        left = {one.actor: one.data.get("tables", {}) for one in history.of("state")}
        paid = {row["id"] for row in left["depot"]["parcels"] if row["paid"]}
        orders = [row["id"] for row in left["shop-db"]["payments"]]
        return [f"the parcel of {one} waits for ever" for one in orders if one not in paid]

    claim = eventually("each paid parcel goes", unpaid, or_put_aside=True)
    system.claim(claim, idempotent())
    return system


def _captured(system: System, bus: Kafka, names: list[str]) -> None:
    """Add a desk that writes orders, and a connector that publishes rows, a topic for each table.

    The connector reads in the order of commits, keeps its place after a batch of rows, and begins
    there when it is started again.
    """
    store = system.add(SQLite("shop-db", SHOP))
    places = system.add(KeyValue("places"))

    @system.service("desk")
    def desk(env: Env) -> None:
        db = env.connect(store)

        def order(row: dict[str, Any]) -> None:
            with db:
                words = (row["order"], row["cents"])
                db.execute("INSERT OR IGNORE INTO orders (id, cents) VALUES (?, ?)", words)
                db.execute("INSERT OR IGNORE INTO payments (id) VALUES (?)", words[:1])
                db.execute("INSERT OR IGNORE INTO outbox (id, cents) VALUES (?, ?)", words)

        env.serve("order", order)

    @system.service("connector")
    def connector(env: Env) -> None:
        db, kept, publish = env.connect(store), env.connect(places), env.publisher(bus)

        def capture() -> None:
            at = {name: kept.get(name) or 0 for name in names}
            while True:
                for name in names:
                    query = f"SELECT * FROM {name} WHERE n > ? ORDER BY n LIMIT 10"
                    cursor = db.execute(query, (at[name],))
                    columns = [one[0] for one in cursor.description]
                    rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
                    for row in rows:
                        publish(name, row, key=row["id"])
                    if rows:
                        at[name] = rows[-1]["n"]
                        kept.put(name, at[name])
                env.sleep(1)

        env.main(capture)

    @system.entry(examples=ORDERS)
    def place(env: Env, order: dict[str, Any]) -> None:
        env.call("desk", "order", order)
