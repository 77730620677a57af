"""A push that comes late leaves its consumer all its time."""

from chaosharness import ChannelClosed, Delay, KeyValue, RabbitMQ, Schedule, Site, System


def batches():
    """Return a system that writes what it has collected 2 s after the last message."""
    system = System("batches")
    bus = system.add(RabbitMQ("bus", queues=["metrics"]))
    store = system.add(KeyValue("written"))

    @system.service("writer")
    def writer(env):
        consumer = env.consumer(bus, "metrics", prefetch=10)
        written = env.connect(store)

        def loop():
            batch = []
            while True:
                try:
                    message = consumer.receive(timeout_s=2)
                except ChannelClosed:
                    batch = []
                    continue
                if message is not None:
                    batch.append(message)
                elif batch:
                    written.put(f"m{len(batch)}", True)
                    for one in batch:
                        consumer.ack(one)
                    batch = []

        env.main(loop)

    @system.entry(examples=[{"id": "m1"}])
    def measure(env, metric):
        env.publisher(bus)("metrics", metric)

    return system


def test_a_loop_that_waited_long_for_a_message_gets_to_act_on_it():
    late = Delay(Site("bus.metrics/deliver to writer"), lasting=54_000)
    run = batches().run(None, Schedule([late]))
    assert run.ending.verdict == "quiet"
    [put] = [event for event in run.history.of("commit") if event.operation.endswith("written.put")]
    assert put.at_ms == 56_000
    assert any(run.history.of("ack"))
