"""What aio-pika keeps in sets comes back in order; what comes before its queue is no finding."""

import json
import time
from copy import copy

import aio_pika
import fastapi
import httpx
import pytest

from chaosharness import (
    AMQP,
    Crash,
    LostRequest,
    RabbitMQ,
    Schedule,
    Site,
    SQLite,
    System,
    Web,
    explore,
    idempotent,
)
from chaosharness.adapters.in_order import FrozenInOrder, InOrder, WeakInOrder

URL = "amqp://guest:guest@rabbit/"
QUEUES = [f"q{nth:02}" for nth in range(24)]


class Thing:
    """A thing that a set knows by its address."""


def things():
    return [Thing() for _ in range(50)]


@pytest.mark.parametrize("kind", [InOrder, FrozenInOrder, WeakInOrder])
def test_a_set_is_gone_through_as_it_was_filled(kind):
    made = things()
    found = kind(made)
    assert list(found) == made
    assert (made[7] in found, Thing() in found, len(found)) == (True, False, 50)
    assert [*kind(found)] == made  # one that is made from another


@pytest.mark.parametrize("kind", [InOrder, WeakInOrder])
def test_what_leaves_and_comes_again_is_last(kind):
    made = things()
    found = kind(made)
    found.discard(made[0])
    found.discard(Thing())
    found.remove(made[1])
    with pytest.raises(KeyError):
        found.remove(made[1])
    found.add(made[0])
    assert set(found) == {*made} - {made[1]}
    found.clear()
    assert (list(found), len(found)) == ([], 0)


def test_a_weak_one_lets_go():
    made = things()
    found = WeakInOrder(made)
    del made[10:]
    assert list(found) == made


def test_sets_outside_of_a_run_are_sets():
    assert isinstance(copy(InOrder([1, 2])), set)
    assert isinstance(FrozenInOrder([2, 1]), frozenset)
    assert InOrder([1, 2]) == {2, 1} == FrozenInOrder([1, 2])


def connects_again():
    """One service has a channel for each of its queues, and one queue is declared many times."""
    system = System("again")
    bus = system.add(RabbitMQ("bus"))
    system.add(AMQP("rabbit", bus))

    @system.service("reader")
    def reader(env):
        async def main():
            connection = await aio_pika.connect_robust(URL)
            kept = []
            for name in QUEUES:
                channel = await connection.channel()
                kept.append((channel, await channel.declare_queue(name)))
            for name in QUEUES:  # on one channel, and under one name
                queue = await channel.declare_queue("all")
                await queue.bind("amq.topic", name)
                kept.append(queue)
            async with queue.iterator() as messages:
                async for message in messages:
                    await message.ack()

        env.main(main)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        time.sleep(1)  # the queue is there by then
        env.publisher(bus)("all", order)

    return system


def test_a_connection_that_is_made_again_declares_in_the_same_order():
    cut = Schedule([LostRequest(Site("reader.main/bus.ack"))])
    history = connects_again().run(schedule=cut).history
    declared = [
        event.operation.rpartition(" ")[2] for event in history if ".declare q" in event.operation
    ]
    assert declared == QUEUES + QUEUES  # when it began, and when it came again


def campus(*, marks_first):
    """Orders come by HTTP, and the queue of those that reserve is declared by their own code."""
    system = System("campus")
    bus = system.add(RabbitMQ("bus"))
    system.add(AMQP("rabbit", bus))
    site = system.add(Web("orders.example"))
    schema = "CREATE TABLE seen (id TEXT PRIMARY KEY); CREATE TABLE held (id TEXT PRIMARY KEY)"
    db = system.add(SQLite("db", schema))

    @system.service("orders")
    def orders(env):
        app = fastapi.FastAPI()

        @app.post("/orders")
        async def create(order: dict):
            connection = await aio_pika.connect_robust(URL)
            async with connection:
                channel = await connection.channel()
                exchange = await channel.declare_exchange("orders", "topic", durable=True)
                body = json.dumps(order).encode()
                await exchange.publish(aio_pika.Message(body), routing_key="placed")

        env.app(site, app)

    @system.service("stock")
    def stock(env):
        async def main():
            connection = await aio_pika.connect_robust(URL)
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1)
            exchange = await channel.declare_exchange("orders", "topic", durable=True)
            queue = await channel.declare_queue("stock", durable=True)
            await queue.bind(exchange, "placed")
            queue = await channel.declare_queue("stock", durable=True)
            async with queue.iterator() as messages:
                async for message in messages:
                    async with message.process(requeue=True):
                        hold(json.loads(message.body))

        def hold(order):
            connection = env.connect(db)
            new = connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", [order["id"]])
            if marks_first:
                connection.commit()
            if new.rowcount:
                connection.execute("INSERT INTO held VALUES (?)", [order["id"]])
            connection.commit()

        env.main(main)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        httpx.post("https://orders.example/orders", json=order, timeout=5)

    return system


def test_a_first_minute_in_which_a_queue_is_not_bound_yet_is_no_finding():
    """Where third parties answer at once, the order is there before the queue."""
    found = explore(campus(marks_first=False), faults_max=0, runs_max=5)
    assert not found.counterexamples


def test_what_is_marked_before_it_is_done_is_still_found():
    system = campus(marks_first=True)
    found = explore(system, properties=[idempotent()], kinds=[Crash], faults_max=1, runs_max=60)
    said = [one.findings[0].summary for one in found.counterexamples]
    assert any("held" in one for one in said)
