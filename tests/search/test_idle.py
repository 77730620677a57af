"""Replicas that had nothing to do without faults are told of: nothing they did met."""

from chaosharness import Crash, Kafka, KeyValue, RabbitMQ, System, explore
from chaosharness.reporting.formats.coverage import summary


def counting(keys, *, replicas=2):
    """A service that counts in a store, and events with these keys."""
    system = System("counting")
    bus = system.add(Kafka("bus", topics={"events": 2}))
    store = system.add(KeyValue("store"))

    @system.service("counter", replicas=replicas)
    def build(env):
        held = env.connect(store)
        env.consume(bus, "events", lambda one: held.put(one["id"], 1))

    @system.entry(examples=[{"id": f"e{at}", "key": key} for at, key in enumerate(keys)])
    def tell(env, one):
        env.publisher(bus)("events", one, key=one["key"])

    return system


def told(system):
    coverage = explore(system, faults_max=1, runs_max=5).coverage
    assert set(coverage.idle) <= set(coverage.sentences())
    return coverage.idle


def test_of_keys_that_lie_in_one_log_partition_one_replica_gets_all():
    [sentence] = told(counting(["a", "a"]))
    assert sentence.startswith(("counter#1 was handed all that came", "counter#2 was handed all"))
    assert "the other replica nothing" in sentence
    [sentence] = told(counting(["a", "a"], replicas=3))
    assert "the other 2 replicas nothing" in sentence


def test_it_is_told_beside_the_verdict_that_it_weakens_and_once():
    campaign = explore(counting(["a", "a"]), faults_max=1, kinds=[Crash])
    text = " ".join(summary(campaign).split())
    assert campaign.result == "holds"
    assert text.count("was handed all that came") == 1
    assert text.index("but: counter#") < text.index("Claims")
    alone = explore(counting(["a", "a"], replicas=1), faults_max=1, kinds=[Crash])
    assert "but:" not in summary(alone)


def test_nothing_is_told_where_both_work_or_where_there_is_one():
    spread = next(
        [one, other]
        for one, other in [("a", "b"), ("a", "c"), ("a", "d"), ("a", "e")]
        if len(_partitions([one, other])) == 2
    )
    assert told(counting(spread)) == ()
    assert told(counting(["a", "a"], replicas=1)) == ()
    assert told(counting(["a"])) == ()


def _partitions(keys):
    run = counting(keys).run()
    return {event.data["partition"] for event in run.history.of("publish")}


def test_a_queue_is_shared():
    system = System("queued")
    bus = system.add(RabbitMQ("bus", queues={"events": "quorum"}))
    store = system.add(KeyValue("store"))

    @system.service("counter", replicas=2)
    def build(env):
        held = env.connect(store)
        env.consume(bus, "events", lambda one: held.put(one["id"], 1))

    @system.entry(examples=[{"id": "e1"}, {"id": "e2"}])
    def tell(env, one):
        env.publisher(bus)("events", one)

    assert told(system) == ()
