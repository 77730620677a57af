"""What a deployment stops: a loop that has a batch in hand.

Crashes, stalls and lost replies do no harm: what goes wrong is in the code for the end.

explore(books(), kinds=[GracefulStop])
"""

from __future__ import annotations

import signal
from typing import Any

from msgspec import Struct

from chaosharness import Env, Kafka, SQLite, System, nothing_acknowledged_lost

SALES = [{"id": f"s{number}", "cents": 100 * number} for number in (1, 2, 3)]


class Sale(Struct, frozen=True):
    """What was sold."""

    id: str
    cents: int


class Stopped(Exception):
    """The process was told to stop."""


def books() -> System:
    """The right one: what was polled and is not in the books is left to the next process."""
    return _books("books", commits=False)


def commits_what_it_has_not_done() -> System:
    """At its end it commits how far it has polled, and no one ever sees the rest of the batch."""
    return _books("books-committed", commits=True)


def _books(name: str, *, commits: bool) -> System:
    system = System(name, arrival_ms=1)
    bus = system.add(Kafka("bus", {"sales": 1}))
    store = system.add(SQLite("books-db", schema="CREATE TABLE sale (id TEXT PRIMARY KEY)"))

    @system.service("books")
    def keeper(env: Env) -> None:
        database = env.connect(store)
        consumer = env.consumer(bus, "sales", read_as=Sale, on_unreadable="skip")

        def stop(*_: Any) -> None:
            raise Stopped

        def run() -> None:
            signal.signal(signal.SIGTERM, stop)
            try:
                while True:
                    batch = consumer.poll(records_max=10, timeout_s=5)
                    for one in batch:
                        with database:
                            sale = (one.value.id,)
                            database.execute("INSERT OR IGNORE INTO sale VALUES (?)", sale)
                    if batch:
                        consumer.commit()
            except Stopped:
                if commits:
                    consumer.commit()
                consumer.close()

        env.main(run)

    @system.entry(examples=SALES)
    def sell(env: Env, sale: dict[str, Any]) -> None:
        env.publisher(bus)("sales", sale, key="shop")

    system.claim(nothing_acknowledged_lost())
    return system
