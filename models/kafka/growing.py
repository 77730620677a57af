"""Orders are created and cancelled while their topic gets more log partitions.

chaosharness run models.kafka.growing:numbered
"""

from __future__ import annotations

from contextlib import suppress

from msgspec import Struct

from chaosharness import Books, Env, History, Kafka, SQLite, System, eventually
from chaosharness.brokers.kafka import InvalidPartitions

SCHEMA = "CREATE TABLE screen (id TEXT PRIMARY KEY, status TEXT, number INTEGER)"
LATEST = "INSERT INTO screen VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
SETS = f"{LATEST} status = excluded.status, number = excluded.number"


class Event(Struct, frozen=True):
    """What happened to an order, and which of its events that is."""

    id: str
    status: str
    number: int


def numbered() -> System:
    """The right one: an event says which of its order it is, and an older one changes nothing."""
    return _system("growing", numbered=True)


def key_moved_to_a_new_log_partition() -> System:
    """Whatever comes last stands: before the change and behind it a key has two log partitions."""
    return _system("growing-plain", numbered=False)


def _system(name: str, *, numbered: bool) -> System:
    system = System(name, arrival_ms=1)
    bus = system.add(Kafka("bus", {"events": 1}, idempotent_producer=True))
    db = system.add(SQLite("screen-db", schema=SCHEMA))
    change = f"{SETS} WHERE excluded.number > number" if numbered else SETS

    @system.service("screen", replicas=2)
    def screen(env: Env) -> None:
        connection = env.connect(db)

        def on_event(event: Event) -> None:
            connection.execute(change, (event.id, event.status, event.number))
            connection.commit()

        env.consume(bus, "events", on_event, on_unreadable="skip", reset="earliest")

    @system.service("operations")
    def operations(env: Env) -> None:
        admin = env.client(bus)

        def grow() -> None:
            env.sleep(0.5)
            with suppress(InvalidPartitions):  # it was done before
                admin.create_partitions("events", 4)

        env.main(grow)

    @system.entry(examples=["o2"])
    def order(env: Env, id: str) -> None:
        publish = env.publisher(bus)
        publish("events", {"id": id, "status": "created", "number": 1}, key=id)
        env.sleep(1)
        publish("events", {"id": id, "status": "cancelled", "number": 2}, key=id)

    def shows(history: History) -> bool:
        rows = Books(history).rows("screen-db", "screen")
        return all(row["status"] == "cancelled" for row in rows)

    system.claim(eventually("no cancelled order is shown as created", shows))
    return system
