"""A stream that keeps messages for so long, in a run."""

import pytest

from chaosharness import NATS, NATSConsumer, NATSStream, System

HOUR_MS = 3_600_000


def shop(age_ms, *, wait_s=0):
    system = System("shop")
    stream = NATSStream(age_ms_max=age_ms, consumers={"worker": NATSConsumer()})
    bus = system.add(NATS("bus", {"orders": stream}))

    @system.service("worker")
    def worker(env):
        consumer = env.consumer(bus, "worker", read_as=dict)

        def main():
            env.sleep(wait_s)
            while True:
                for delivery in consumer.fetch(10, wait_s=5):
                    consumer.ack_sync(delivery)

        env.main(main)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


@pytest.mark.parametrize("age_ms", [HOUR_MS, 7 * 24 * HOUR_MS])
def test_that_a_message_will_be_too_old_keeps_nobody_waiting(age_ms):
    run = shop(age_ms).run()
    assert run.ending.verdict == "quiet"
    assert run.history[-1].at_ms < HOUR_MS and run.history.of("deliver")


def test_what_is_too_old_when_somebody_looks_is_gone():
    run = shop(1_000, wait_s=2).run()
    assert [one.data["reason"] for one in run.history.of("dead")] == ["expired"]
    assert not run.history.of("deliver")
