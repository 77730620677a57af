"""Totals of an account: each replica remembers what it has read of the store.

chaosharness run models.kafka.totals:totals
"""

from __future__ import annotations

import sqlite3
from typing import Any

from chaosharness import (
    Books,
    Delivery,
    Env,
    History,
    Kafka,
    SQLite,
    System,
    eventually,
    idempotent,
)

SCHEMA = "CREATE TABLE totals (account TEXT PRIMARY KEY, cents INTEGER, upto INTEGER)"
WRITE = """
INSERT INTO totals VALUES (?, ?, ?)
ON CONFLICT (account) DO UPDATE SET cents = excluded.cents, upto = excluded.upto
"""
NEWER = WRITE + "WHERE excluded.upto = totals.upto + 1"
PAYMENTS = [100, 20, 3]


def totals() -> System:
    """The right one: a replica forgets what was taken from it; the store refuses what is stale."""
    return _system("totals", statement=NEWER)


def zombie_writes_after_its_successor() -> System:
    """Whoever stood still writes what it had worked out, over what another has written since."""
    return _system("totals-zombie", statement=WRITE)


class Stale(Exception):
    """The store is further than this replica knew."""


def _system(name: str, *, statement: str) -> System:
    system = System(name, arrival_ms=1)
    bus = system.add(Kafka("bus", {"payments": 1}, idempotent_producer=True))
    db = system.add(SQLite("totals-db", schema=SCHEMA))

    @system.service("book", replicas=2)
    def book(env: Env) -> None:
        connection = env.connect(db)
        known: dict[str, tuple[int, int]] = {}

        def forget(places: Any) -> None:
            known.clear()

        consumer = env.consumer(
            bus, "payments", read_as=int, on_revoke=forget, on_unreadable="skip"
        )

        def run() -> None:
            while True:
                for delivery in consumer.poll(timeout_s=5):
                    try:
                        take(connection, known, delivery)
                    except Stale:
                        known.clear()
                        take(connection, known, delivery)
                    consumer.commit(delivery)

        def take(
            connection: sqlite3.Connection, known: dict[str, tuple[int, int]], one: Delivery
        ) -> None:
            account = str(one.key)
            if account not in known:
                query = "SELECT cents, upto FROM totals WHERE account = ?"
                known[account] = connection.execute(query, (account,)).fetchone() or (0, -1)
            cents, upto = known[account]
            if one.offset <= upto:
                return
            total = (account, cents + one.value, upto + 1)
            changed = connection.execute(statement, total).rowcount
            connection.commit()
            if not changed:
                raise Stale
            known[account] = total[1:]

        env.main(run)

    @system.entry(examples=PAYMENTS)
    def pay(env: Env, cents: int) -> None:
        env.publisher(bus)("payments", cents, key="ann")

    def adds_up(history: History) -> bool:
        rows = Books(history).rows("totals-db", "totals")
        return [row["cents"] for row in rows] == [sum(PAYMENTS)]

    system.claim(eventually("the total is what was paid", adds_up), idempotent())
    return system
