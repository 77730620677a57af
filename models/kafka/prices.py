"""Orders at the price of the day: a replica keeps the prices that it knows in memory.

chaosharness run models.kafka.prices:prices
"""

from __future__ import annotations

from typing import Any

from chaosharness import Books, Env, History, Kafka, SQLite, System, eventually, idempotent

SCHEMA = """
CREATE TABLE prices (item TEXT PRIMARY KEY, cents INTEGER, version INTEGER);
CREATE TABLE orders (id TEXT PRIMARY KEY, cents INTEGER);
"""
CHANGE = """
INSERT INTO prices VALUES (:item, :cents, :version)
ON CONFLICT (item) DO UPDATE SET cents = excluded.cents, version = excluded.version
WHERE excluded.version > prices.version
"""
EVENTS = [
    {"item": "book", "cents": 900, "version": 1},
    {"item": "book", "order": "o1"},
    {"item": "book", "cents": 1_100, "version": 2},
    {"item": "book", "order": "o2"},
]
PAID = {"o1": 900, "o2": 1_100}


def prices() -> System:
    """The right one: with a log partition goes what was known of it."""
    return _system("prices", forgets=True)


def cache_kept_across_a_rebalance() -> System:
    """Who gets a log partition back asks what it knew, and not what has changed meanwhile."""
    return _system("prices-cached", forgets=False)


def _system(name: str, *, forgets: bool) -> System:
    system = System(name, arrival_ms=100)
    bus = system.add(Kafka("bus", {"book": 1}, idempotent_producer=True))
    db = system.add(SQLite("shop-db", schema=SCHEMA))

    @system.service("till", replicas=2)
    def till(env: Env) -> None:
        connection = env.connect(db)
        known: dict[str, int] = {}
        forget = (lambda places: known.clear()) if forgets else None
        consumer = env.consumer(bus, "book", on_revoke=forget, on_unreadable="skip")

        def run() -> None:
            while True:
                for delivery in consumer.poll(timeout_s=5):
                    if isinstance(delivery.value, dict) and "item" in delivery.value:
                        take(delivery.value)
                    consumer.commit(delivery)

        def take(event: dict[str, Any]) -> None:
            item = event["item"]
            if "order" not in event:
                connection.execute(CHANGE, event)
                known.pop(item, None)
            else:
                if item not in known:
                    query = "SELECT cents FROM prices WHERE item = ?"
                    known[item] = connection.execute(query, (item,)).fetchone()[0]
                insert = "INSERT OR IGNORE INTO orders VALUES (?, ?)"
                connection.execute(insert, (event["order"], known[item]))
            connection.commit()

        env.main(run)

    @system.entry(examples=[EVENTS])
    def happen(env: Env, events: list[dict[str, Any]]) -> None:
        publish = env.publisher(bus)
        for event in events:
            publish("book", event, key=event["item"])
            env.sleep(0.1)

    def at_the_price_of_the_day(history: History) -> bool:
        rows = Books(history).rows("shop-db", "orders")
        return all(row["cents"] == PAID[row["id"]] for row in rows)

    system.claim(
        eventually("each order is at the price of its day", at_the_price_of_the_day), idempotent()
    )
    return system
