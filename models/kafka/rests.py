"""A ledger that may be down for longer than the cluster remembers how far it had read.

chaosharness run models.kafka.rests:reads_again
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from chaosharness import Books, Env, History, Kafka, SQLite, System, eventually

SCHEMA = "CREATE TABLE ledger (id TEXT PRIMARY KEY)"


class Sale(Struct, frozen=True):
    """What was sold."""

    id: str


def reads_again() -> System:
    """The right one: it begins at the beginning, and what it has already changes nothing."""
    return _system("rests", reset="earliest")


def skips_what_came_while_it_was_down() -> System:
    """By the default of every client it begins at the end, and what came before is not read."""
    return _system("rests-latest", reset="latest")


def _system(name: str, *, reset: str) -> System:
    system = System(name, arrival_ms=100_000)
    bus = system.add(Kafka("bus", {"sales": 1}, offsets_retention_ms=60_000))
    db = system.add(SQLite("ledger-db", schema=SCHEMA))

    @system.service("ledger")
    def ledger(env: Env) -> None:
        connection = env.connect(db)

        def on_sale(sale: Sale) -> None:
            connection.execute("INSERT OR IGNORE INTO ledger VALUES (?)", (sale.id,))
            connection.commit()

        env.consume(bus, "sales", on_sale, on_unreadable="skip", reset=reset)

    @system.entry(examples=[{"id": f"s{number}"} for number in (1, 2, 3)])
    def sell(env: Env, sale: dict[str, Any]) -> None:
        env.publisher(bus)("sales", sale, key="till")

    def has_all(history: History) -> bool:
        has = {row["id"] for row in Books(history).rows("ledger-db", "ledger")}
        sold = {event.data["item"]["id"] for event in history.of("arrive")}
        return sold <= has

    system.claim(eventually("every sale is in the ledger", has_all))
    return system
