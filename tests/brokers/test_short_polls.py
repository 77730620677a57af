"""Who waits for nothing finds what is there, however long the way is, in every clean run."""

import pytest

from chaosharness import (
    NATS,
    SQS,
    Books,
    Kafka,
    KeyValue,
    NATSConsumer,
    NATSStream,
    Redis,
    SQSQueue,
    System,
)
from chaosharness.checkers.outcomes.plan import Plan


def polling(bus, source: str, topic: str, take) -> System:
    """A loop that takes what is there, and sleeps; `take(consumer)` returns deliveries."""
    system = System("polling")
    system.add(bus)
    done = system.add(KeyValue("done"))

    @system.service("worker")
    def worker(env):
        consumer, store = env.consumer(bus, source, read_as=dict), env.connect(done)

        def loop():
            while True:
                for one in take(consumer):
                    store.put(one.value["id"], "done")
                    (consumer.delete if isinstance(bus, SQS) else consumer.ack)(one)
                env.sleep(5)

        env.main(loop)

    @system.entry(examples=[{"id": "j1"}])
    def submit(env, job):
        env.publisher(bus)(topic, job)

    return system


def redis(latency_ms: int) -> System:
    bus = Redis("bus", ["jobs"], latency_ms=latency_ms)
    return polling(bus, "jobs", "jobs", lambda consumer: consumer.read(10, block_s=0))


def nats(latency_ms: int) -> System:
    streams = {"JOBS": NATSStream(subjects="jobs.*", consumers={"worker": NATSConsumer()})}
    bus = NATS("bus", streams, latency_ms=latency_ms)
    return polling(bus, "worker", "jobs.new", lambda consumer: consumer.fetch(10, wait_s=0))


def sqs(latency_ms: int) -> System:
    bus = SQS("bus", {"jobs": SQSQueue()}, latency_ms=latency_ms)
    return polling(bus, "jobs", "jobs", lambda consumer: consumer.receive(10, wait_s=0))


def kafka(latency_ms: int) -> System:
    system = System("polling")
    bus = system.add(Kafka("bus", topics={"jobs": 1}, latency_ms=latency_ms))
    done = system.add(KeyValue("done"))

    @system.service("worker")
    def worker(env):
        consumer, store = env.consumer(bus, "jobs", read_as=dict), env.connect(done)

        def loop():
            while True:
                for one in consumer.poll(10, timeout_s=0):
                    store.put(one.value["id"], "done")
                consumer.commit()
                env.sleep(5)

        env.main(loop)

    @system.entry(examples=[{"id": "j1"}])
    def submit(env, job):
        env.publisher(bus)("jobs", job, key=job["id"])

    return system


@pytest.mark.parametrize("latency_ms", [0, 1, 3])
@pytest.mark.parametrize("product", [redis, nats, sqs, kafka])
def test_a_short_poll_finds_what_is_there(product, latency_ms):
    system = product(latency_ms)
    assert Books(system.run().history).values("done") == {"j1": "done"}
    for factor in (0, 3):
        run = system.family().run(Plan(latency=factor))
        assert Books(run.history).values("done") == {"j1": "done"}, factor
