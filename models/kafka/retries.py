"""Prices that cannot be written at once are tried again by a retry topic, as Kafka's users do.

chaosharness run models.kafka.retries:retries
"""

from __future__ import annotations

import sqlite3
from typing import Any

from chaosharness import Env, Kafka, SQLite, System, eventually, idempotent
from chaosharness.kernel.history import History

PRICES = [
    [
        {"item": "lamp", "cents": 500, "version": 1},
        {"item": "lamp", "cents": 450, "version": 2},
    ]
]
"""Announced by one producer, one after the other: nothing on their way to the log swaps them."""

TABLE = "CREATE TABLE prices (item TEXT PRIMARY KEY, cents INTEGER, version INTEGER)"
WRITE = (
    "INSERT INTO prices VALUES (:item, :cents, :version) ON CONFLICT (item) DO UPDATE SET"
    " cents = excluded.cents, version = excluded.version"
)
NEWER = " WHERE excluded.version > prices.version"
ASIDE: dict[str, Any] = {
    "on_error": "dead-letter",
    "retries_max": 30,
    "on_unreadable": "dead-letter",
}


def retries() -> System:
    """The right one: a price that comes late is only written over an older one."""
    return _system("retries", by_version=True)


def tried_in_place() -> System:
    """Another right one: a price is tried until it is written, and what comes after it waits."""
    return _system("retries-in-place", by_version=False, in_place=True)


def retry_topic_breaks_order() -> System:
    """A price that waits in the retry topic is written over the one that came after it."""
    return _system("retries-blind", by_version=False)


def _system(name: str, *, by_version: bool, in_place: bool = False) -> System:
    system = System(name, arrival_ms=1_000)
    bus = system.add(Kafka("bus", {"prices": 1, "prices-retry": 1}, idempotent_producer=True))
    store = system.add(SQLite("shop-db", TABLE))
    write = WRITE + (NEWER if by_version else "")

    @system.service("shop")
    def shop(env: Env) -> None:
        db, publish = env.connect(store), env.publisher(bus)

        def put(price: dict[str, Any]) -> None:
            with db:
                db.execute(write, price)

        def on_price(price: dict[str, Any]) -> None:
            try:
                put(price)
            except sqlite3.Error:
                if in_place:
                    raise
                publish("prices-retry", price, key=price["item"])  # the others go on

        def on_retry(price: dict[str, Any]) -> None:
            env.sleep(10)
            put(price)

        env.consume(bus, "prices", on_price, **ASIDE)
        env.consume(bus, "prices-retry", on_retry, group="shop-retry", **ASIDE)

    @system.entry(examples=PRICES)
    def announce(env: Env, prices: list[dict[str, Any]]) -> None:
        publish = env.publisher(bus)
        for price in prices:
            publish("prices", price, key=price["item"])

    system.claim(AT_ITS_LATEST, idempotent())
    return system


def latest(history: History) -> list[str]:
    """Say which items are not at the last price that was announced."""
    rows = next(history.of("state")).data["tables"]["prices"]
    return [f"{row['item']} is at price {row['version']}" for row in rows if row["version"] != 2]


AT_ITS_LATEST = eventually("each item is at its latest price", latest)
