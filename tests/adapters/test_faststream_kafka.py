"""FastStream on Kafka: an application as it is, through aiokafka."""

import sys
from importlib import import_module

import pytest
from fast_depends import dependency_provider

from chaosharness import Gateway, Kafka, KafkaServers, System, Web, check, smallest
from chaosharness.errors import InvalidDefinition
from tests.adapters import faststream_kafka_app as module
from tests.adapters import faststream_parcels as parcels
from tests.adapters.digests import printed_everywhere

TOPICS = {"orders": 2, "paid": 2, "returns": 1}


def shop(app, *, topics=None, also=None, replicas=2):
    system = System("shop")
    cluster = Kafka("bus", topics or TOPICS, assignment="round-robin", session_timeout_ms=10_000)
    bus = system.add(cluster)
    system.add(KafkaServers("kafka:9092", bus))
    bank = system.add(Gateway("bank"))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    system.service("billing", replicas=replicas)(lambda env: env.main(app.run))

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        publish = env.publisher(bus)
        publish("orders", order, key=order["id"])
        if also:
            publish(also, order, key=order["id"])

    return system


def test_each_subscriber_works_on_behalf_of_its_own_record():
    run = shop(module.app, also="returns").run()
    assert run.ending.verdict == "quiet"
    paid = [one for one in run.history.of("publish") if one.data["topic"] == "paid"]
    assert sorted((one.entity, one.data["value"]) for one in paid) == [
        *[(1, b'{"id":"o1"}')] * 2,
        *[(2, b'{"id":"o2"}')] * 2,
    ]
    spoken = {one.partition("/")[2] for ones in run.spoken.values() for one in ones}
    assert spoken >= {"bus.create_topics", "bus.poll", "bus.commit", "bus.publish paid"}


def test_what_was_imported_anew_for_a_process_is_nobody_elses():
    """`from shop import orders` after a run means the module that was there before."""
    shop(module.app).run()
    assert import_module("tests.adapters") is sys.modules["tests.adapters"]
    assert import_module("tests").adapters.faststream_kafka_app is module
    system = shop(import_module("tests.adapters").faststream_kafka_app.careless_app)
    assert system.run().digest() == system.run().digest()


def test_the_default_commits_an_order_that_failed():
    found = smallest(shop(module.careless_app), faults_max=1)
    assert [str(one) for one in found.schedule] == [
        "error reply before billing.run/bank.charge for item 1"
    ]
    assert "nothing came of item 1" in found.findings[0].summary


def test_what_it_cannot_read_it_gives_back_for_ever():
    found = smallest(shop(module.strict_app), faults_max=1)
    assert [type(one).__name__ for one in found.schedule] == ["Poison"]
    assert "is in the way for ever" in found.findings[0].summary


@pytest.mark.slow
def test_one_that_gives_back_what_failed_is_silent_over_all_single_faults():
    system = shop(module.app)
    check(system, items=system.examples[:1], faults_max=1)


def test_dependencies_of_processes_that_are_over_are_forgotten():
    """Each process imports the application anew, and all share one provider of dependencies."""
    depot = System("depot")
    options = {"assignment": "round-robin", "session_timeout_ms": 10_000}
    bus = depot.add(Kafka("bus", {"packed": 2, "sent": 2}, **options))
    depot.add(KafkaServers("kafka:9092", bus))
    depot.service("parcels", replicas=2)(lambda env: env.main(parcels.app.run))
    depot.entry(examples=[{"id": "p1"}])(
        lambda env, parcel: env.publisher(bus)("packed", parcel, key=parcel["id"])
    )
    once = depot.run()
    known = len(dependency_provider.dependencies)
    assert [one.data["topic"] for one in once.history.of("publish")] == ["packed", "sent"]
    for _ in range(3):
        assert depot.run().digest() == once.digest()
    assert len(dependency_provider.dependencies) == known


def test_a_topic_that_nobody_declares_is_named():
    with pytest.raises(InvalidDefinition, match="to make a topic 'returns' that bus has not"):
        shop(module.app, topics={"orders": 1, "paid": 1}).run()


DIGESTS = """
from chaosharness import Crash, LostReply, Schedule, Site
from tests.adapters.test_faststream_kafka import *
faults = [
    Crash(Site("billing.run/bank.charge", "after")),
    LostReply(Site("billing.run/bus.publish paid", "after", 2)),
]
for number in range(3):
    for _ in range(2):
        print(number, shop(module.app).run(None, Schedule(faults[:number])).digest())
"""


def test_a_history_is_the_same_everywhere():
    assert len(set(printed_everywhere(DIGESTS))) == 3
