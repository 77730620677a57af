"""Prices change; an update that failed is tried again later, by a retry queue or by a person.

chaosharness run models.rabbit.prices:prices
"""

from __future__ import annotations

from typing import Any

import attrs

from chaosharness import Env, Queue, RabbitMQ, SQLite, System, idempotent

RETRY_MS = 30_000
HOUR_S = 3_600
CHANGES = [
    [
        {"item": "book", "cents": 900, "version": 1},
        {"item": "book", "cents": 1_100, "version": 2},
    ],
]
SCHEMA = "CREATE TABLE prices (item TEXT PRIMARY KEY, cents INTEGER, version INTEGER)"
LAST_WINS = """
INSERT INTO prices VALUES (:item, :cents, :version)
ON CONFLICT (item) DO UPDATE SET cents = excluded.cents, version = excluded.version
"""
NEWEST_WINS = LAST_WINS + "WHERE excluded.version > prices.version"


@attrs.frozen
class Price:
    """What an item costs from now on."""

    item: str
    cents: int
    version: int


def prices() -> System:
    """The right one: an older version never overwrites a newer one."""
    return _system("prices", NEWEST_WINS)


def retry_queue_breaks_order() -> System:
    """What failed goes through a retry queue, and is applied after what came later."""
    return _system("prices-last-wins", LAST_WINS)


def replayed_prices() -> System:
    """The right one: a person moves dead letters back, and old versions change nothing."""
    return _system("prices-replayed", NEWEST_WINS, by_hand=True)


def dead_letters_over_newer_state() -> System:
    """Once an hour somebody moves the dead letters back, over what has been stored since."""
    return _system("prices-replayed-over", LAST_WINS, by_hand=True)


def _system(name: str, statement: str, *, by_hand: bool = False) -> System:
    system = System(name, arrival_ms=2_000)
    aside = Queue() if by_hand else Queue(ttl_ms=RETRY_MS, dead_letter="prices")
    queues = {"prices": Queue(dead_letter="aside"), "aside": aside}
    bus = system.add(RabbitMQ("bus", queues=queues))
    db = system.add(SQLite("shop-db", schema=SCHEMA))

    @system.service("shop")
    def shop(env: Env) -> None:
        connection = env.connect(db)

        def on_price(change: Price) -> None:
            with connection:
                connection.execute(statement, attrs.asdict(change))

        env.consume(bus, "prices", on_price, prefetch=1, on_error="reject", on_unreadable="skip")

    if by_hand:
        system.service("operator")(lambda env: _move_back(env, bus))

    @system.entry(examples=CHANGES)
    def announce(env: Env, changes: list[dict[str, Any]]) -> None:
        publish = env.publisher(bus)
        for change in changes:
            publish("prices", change)

    system.claim(idempotent())
    return system


def _move_back(env: Env, bus: RabbitMQ) -> None:
    """Every hour, move what is aside back to where it came from."""
    consumer, publish = env.consumer(bus, "aside"), env.publisher(bus)

    def shovel() -> None:
        while (delivery := consumer.get()) is not None:
            publish("prices", delivery.value)
            consumer.ack(delivery)

    env.every(HOUR_S, shovel)
