"""A process can die or stall at any time: no operation of the user's code refuses that."""

import pytest

from chaosharness import (
    Crash,
    External,
    Kafka,
    KeyValue,
    Pause,
    RabbitMQ,
    Schedule,
    Site,
    SQLite,
    StoreOutage,
    System,
)
from chaosharness.errors import IllegalFault


class Out:
    def store(self, order): ...


def everything(bus):
    """A system whose one handler passes every kind of port, and another of its own loop."""
    system = System("everything", arrival_ms=1)
    bus, out = system.add(bus), system.add(External("out", Out))
    db, kv = system.add(SQLite("db", "CREATE TABLE seen (id TEXT);")), system.add(KeyValue("kv"))

    @system.service("worker")
    def worker(env):
        publish, client = env.publisher(bus), env.client(out)
        rows, values = env.connect(db), env.connect(kv)

        def on_order(order: dict):
            env.sleep(0.001)
            rows.execute("SELECT * FROM seen").fetchall()
            with rows:
                rows.execute("BEGIN IMMEDIATE")
                rows.execute("INSERT INTO seen VALUES (?)", (order["id"],))
            values.put("last", values.get("last", ""))
            client.store(order["id"])
            env.call("desk", "ask", order["id"])
            publish("done", order)

        env.consume(bus, "orders", on_order)

    @system.service("desk")
    def desk(env):
        def answer(order: str):
            env.sleep(0.001)

        env.serve("ask", answer)
        consumer = env.consumer(bus, "done")

        def loop():
            while True:
                if isinstance(bus, Kafka):
                    [*_] = consumer.poll()
                    consumer.commit()
                else:
                    consumer.ack(consumer.receive())

        env.main(loop)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


MAKE = {
    "kafka": lambda: Kafka("bus", topics={"orders": 1, "done": 1}),
    "rabbitmq": lambda: RabbitMQ("bus", queues=["orders", "done"]),
    "rabbitmq, without confirms": lambda: RabbitMQ(
        "bus", queues=["orders", "done"], confirms=False
    ),
}
WORDS = {"start", "sleep", "handle"}


def of_the_code(run):
    """The operations that code of a service reaches, each with an item and attempt."""
    found = {}
    for operation, entity in run.reached:
        where, _, what = operation.partition("/")
        if where.startswith(("worker.", "desk.")) and what:
            found.setdefault(operation, entity)
    return found


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("kind", [Crash, Pause])
@pytest.mark.parametrize("bus", MAKE)
def test_a_process_may_die_or_stall_around_every_operation(bus, kind, phase):
    system = everything(MAKE[bus]())
    operations = of_the_code(system.run())
    assert len(operations) > 12
    for operation, entity in operations.items():
        run = system.run(None, Schedule([kind(Site(operation, phase, entity))]))
        assert run.ending.verdict == "quiet", (operation, run.ending)
        assert not run.unused, operation
        crashed = any(run.history.of("crash"))
        assert crashed == (kind is Crash), operation


def test_a_store_may_go_out_of_order_at_any_operation():
    system = everything(MAKE["kafka"]())
    operations = [one for one in of_the_code(system.run()) if "/db." in one or "/kv." in one]
    assert len(operations) == 6
    for operation in operations:
        schedule = Schedule([StoreOutage(Site(operation))])
        run = system.run(None, schedule)
        assert run.ending.verdict == "quiet", (operation, run.ending)
        failed = [
            event for event in run.history.of("read", "write", "commit") if "error" in event.data
        ]
        assert failed, operation
        assert failed[0].operation == operation


def test_what_cannot_happen_is_still_refused():
    system = everything(MAKE["kafka"]())
    for operation in ("worker.on_order/out.store", "worker.on_order/bus.publish done"):
        with pytest.raises(IllegalFault, match="can never happen"):
            system.run(None, Schedule([StoreOutage(Site(operation))]))


def test_a_search_does_not_try_what_is_the_same_as_another():
    surfaces = everything(MAKE["kafka"]()).run().surfaces
    for operation in ("worker.on_order/out.store", "worker.on_order/bus.publish done"):
        surface = surfaces[operation]
        assert {Crash, Pause} <= set(surface.before) - set(surface.searched_before)
        assert {Crash, Pause} <= set(surface.searched_after)
