"""Orders are created and cancelled, and a screen shows those that are open.

chaosharness run models.kafka.statuses:statuses
"""

from __future__ import annotations

from chaosharness import Books, Env, History, Kafka, SQLite, System, eventually, idempotent

SCHEMA = "CREATE TABLE screen (id TEXT PRIMARY KEY)"
DOES = {
    "created": "INSERT OR IGNORE INTO screen VALUES (?)",
    "cancelled": "DELETE FROM screen WHERE id = ?",
}


def statuses() -> System:
    """The right one: all about an order is in one log partition, in its order."""
    return _system("statuses", keyed=True)


def forgotten_key() -> System:
    """Without a key the two events of an order are in two log partitions, in no order."""
    return _system("statuses-keyless", keyed=False)


def _system(name: str, *, keyed: bool) -> System:
    system = System(name, arrival_ms=1)
    bus = system.add(Kafka("bus", {"events": 2}, idempotent_producer=True))
    db = system.add(SQLite("screen-db", schema=SCHEMA))

    @system.service("screen", replicas=2)
    def screen(env: Env) -> None:
        connection = env.connect(db)

        def on_event(event: dict[str, str]) -> None:
            connection.execute(DOES[event["status"]], (event["id"],))
            connection.commit()

        env.consume(bus, "events", on_event, on_unreadable="skip")

    @system.entry(examples=["o1"])
    def order(env: Env, id: str) -> None:
        publish = env.publisher(bus)
        for status in ("created", "cancelled"):
            publish("events", {"id": id, "status": status}, key=id if keyed else None)
            env.sleep(1)

    def shows(history: History) -> bool:
        return not Books(history).rows("screen-db", "screen")

    system.claim(eventually("no cancelled order is shown", shows), idempotent())
    return system
