"""Transactions in runs: what is decided together, who is fenced, who sees what.

Source: KIP-98, KIP-447; javadoc of KafkaProducer 3.9.
"""

import pytest

from chaosharness import (
    CommitFailed,
    Crash,
    Duplicate,
    Gateway,
    Kafka,
    LostReply,
    LostRequest,
    Pause,
    ProducerFenced,
    Rebalance,
    Schedule,
    Site,
    System,
    explore,
    idempotent,
    never_charged_twice,
    nothing_acknowledged_lost,
    smallest,
)
from chaosharness.errors import IllegalFault, InvalidDefinition, PropertyViolated

COMMIT = "relay.run/bus.commit_transaction"
PAID = "relay.run/bus.publish paid"


def shop(*, replicas=1, isolation="read_committed", outside=False, work_s=0.01, ends=True):
    """A relay copies orders to `paid`, offsets and records in one transaction."""
    system = System("shop", arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": 1, "paid": 1}, idempotent_producer=True))
    bank = system.add(Gateway("bank", timeout_ms=1_000))

    @system.service("relay", replicas=replicas)
    def relay(env):
        consumer = env.consumer(bus, "orders", on_unreadable="skip")
        name = f"relay-{env.incarnation.replica}"
        produce = env.publisher(bus, transactional_id=name)
        client = env.client(bank)

        def run():
            while True:
                batch = consumer.poll(records_max=2, timeout_s=5)
                if not batch:
                    continue
                produce.begin()
                try:
                    for delivery in batch:
                        if outside:
                            client.charge(delivery.value["id"], 500)
                        env.sleep(work_s)
                        produce("paid", delivery.value, key="paid")
                    produce.send_offsets(consumer)
                    if ends:
                        produce.commit()
                    else:
                        produce.abort()
                        return
                except (CommitFailed, ProducerFenced) as error:
                    env.note("fenced", why=type(error).__name__)
                    raise

        env.main(run)

    @system.service("reader")
    def reader(env):
        made = env.consumer(bus, "paid", isolation=isolation, on_unreadable="skip")

        def read():
            while True:
                for delivery in made.poll(timeout_s=5):
                    env.note("read", id=delivery.value["id"])
                    made.commit(delivery)

        env.main(read)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}, {"id": "o3"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key="orders")

    return system, bank


def ran(*faults, **options):
    run = shop(**options)[0].run(None, Schedule(faults))
    assert not run.unused and not run.ending.ran_on
    return run


def read(run):
    return [one.data["id"] for one in run.history.of("note") if one.data["what"] == "read"]


def at(run):
    return [one.at_ms for one in run.history.of("note") if one.data["what"] == "read"]


def fenced(run):
    return [one.data["why"] for one in run.history.of("note") if one.data["what"] == "fenced"]


ALL = ["o1", "o2", "o3"]


def test_readers_of_what_is_committed_see_it_when_it_is_decided():
    run = ran(work_s=1)
    assert read(run) == ALL
    [first, *_] = [one.at_ms for one in run.history.of("ack") if one.actor == "relay#1"]
    assert min(at(run)) >= first
    early = ran(work_s=1, isolation="read_uncommitted")
    assert min(at(early)) < min(at(run)) and read(early) == ALL


@pytest.mark.parametrize(
    ("isolation", "seen"), [("read_committed", []), ("read_uncommitted", ["o1"])]
)
def test_what_is_aborted_is_seen_by_those_who_do_not_wait(isolation, seen):
    assert read(ran(isolation=isolation, ends=False))[:1] == seen


@pytest.mark.parametrize(
    "fault",
    [
        Crash(Site("relay.run/sleep", "after")),
        Crash(Site(PAID, "after")),
        Crash(Site(COMMIT, entity=2), down=100),
        LostReply(Site(COMMIT, "after", entity=2)),
        LostRequest(Site("relay.run/bus.send_offsets", entity=2)),
        Rebalance(Site("bus.orders/deliver to relay")),
        Pause(Site("relay.run/sleep", "after"), lasting=50_000),
        Pause(Site(PAID, "after"), lasting=100_000),
        Pause(Site(COMMIT, entity=2), lasting=50_000),
    ],
)
@pytest.mark.parametrize("replicas", [1, 2])
def test_each_record_is_seen_once_whatever_happens(fault, replicas):
    assert sorted(read(ran(fault, replicas=replicas))) == ALL


def test_a_zombie_whose_group_has_moved_on_cannot_send_its_offsets():
    stall = Pause(Site("relay.run/sleep", "after"), lasting=50_000)
    run = ran(stall, replicas=2)
    assert fenced(run) == ["CommitFailed"]
    assert sorted(read(run)) == ALL


def test_who_comes_back_by_its_transactional_id_aborts_what_was_open():
    crash = Crash(Site(PAID, "after"), down=100)
    run = ran(crash)
    assert sorted(read(run)) == ALL
    sent = [one for one in run.history.of("publish") if one.data["topic"] == "paid"]
    assert len(sent) > len(ALL), "one of them was aborted"


def test_a_transaction_that_is_left_open_hides_what_follows_until_its_time_is_over():
    """`transaction.timeout.ms` is 60 s: the other replica has to wait for offsets, readers too."""
    stall = Pause(Site("relay.run/bus.send_offsets", "after", entity=2), lasting=200_000)
    run = ran(stall, replicas=2)
    assert sorted(read(run)) == ALL
    assert min(at(run)) >= 60_000
    assert fenced(run) == ["ProducerFenced"]


def test_an_end_that_was_not_answered_may_be_asked_for_again():
    system = System("again")
    bus = system.add(Kafka("bus", ["paid"]))
    ends = []

    @system.service("relay")
    def relay(env):
        produce = env.publisher(bus, transactional_id="t")

        def run():
            produce.begin()
            produce("paid", 1)
            for _ in range(2):
                try:
                    produce.commit()
                    ends.append("committed")
                except TimeoutError:
                    ends.append("unknown")
            with pytest.raises(RuntimeError, match="publish outside of a transaction"):
                produce("paid", 2)
            with pytest.raises(RuntimeError, match="abort outside of a transaction"):
                produce.abort()

        env.main(run)

    system.entry(examples=[1])(lambda env, item: None)
    system.run(None, Schedule([LostReply(Site(COMMIT, "after", entity=0))]))
    assert ends == ["unknown", "committed"]


@pytest.mark.parametrize("runtime", ["asyncio", "trio", "ports"])
def test_in_async_code_they_are_awaited(runtime):
    system = System("async")
    bus = system.add(Kafka("bus", ["paid"]))
    seen = []

    @system.service("relay", runtime=runtime)
    def relay(env):
        produce = env.publisher(bus, transactional_id="t")
        made = env.consumer(bus, "paid", isolation="read_committed")

        async def run():
            for end in (produce.abort, produce.commit):
                produce.begin()
                await produce("paid", end.__name__)
                await end()
            for delivery in await made.poll(timeout_s=1):
                seen.append(delivery.value)

        env.main(run)

    system.entry(examples=[1])(lambda env, item: None)
    system.run(None)
    assert seen == ["commit"]


def test_what_was_aborted_is_nobodys_loss_and_what_was_committed_is_somebodys():
    """Each time the same record is stored and never read by a reader of what is committed."""
    lost = nothing_acknowledged_lost()
    aborted = ran(Crash(Site(PAID, "after"), down=100))
    assert [*aborted.history.of("rollback")] != []
    aborted.check(lost)
    system, _ = shop()
    del system.services["reader"]

    @system.service("reader")
    def reader(env):
        made = env.consumer(env_bus(system), "paid", isolation="read_committed")

        def read():
            for _ in made.poll(timeout_s=5):
                pass
            made.commit()

        env.main(read)

    with pytest.raises(PropertyViolated):
        system.run(None, Schedule([LostReply(Site(PAID, "after"))])).check(lost)


def env_bus(system):
    return system.resources["bus"]


def test_the_cluster_recognises_its_retries():
    with pytest.raises(IllegalFault):
        ran(Duplicate(Site(PAID, "before")))


def test_an_isolation_that_there_is_not_is_refused():
    with pytest.raises(InvalidDefinition, match="read_committed"):
        ran(isolation="serializable")


def test_what_happens_outside_the_transaction_is_not_undone_with_it():
    """The right one holds under every single fault; its twin charges again for what was aborted."""
    right, _ = shop(replicas=2)
    assert (
        explore(right, properties=[idempotent()], faults_max=1, runs_max=10_000).result == "holds"
    )
    twin, bank = shop(replicas=2, outside=True)
    found = smallest(twin, never_charged_twice(bank), faults_max=1)
    assert found is not None and len(found.schedule) == 1


# ---- handlers that are called per message, and consumers in no group


def called(isolation):
    """A handler that is called with what a transaction wrote which is aborted after a second."""
    system = System("called", arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": 1, "paid": 1}, idempotent_producer=True))

    @system.service("relay")
    def relay(env):
        produce = env.publisher(bus, transactional_id="relay")

        def on_order(order: dict):
            produce.begin()
            produce("paid", order)
            env.sleep(1)
            produce.abort()

        env.consume(bus, "orders", on_order)

    @system.service("reader")
    def reader(env):
        env.consume(bus, "paid", lambda order: env.note("read"), isolation=isolation)

    system.entry(examples=[{}])(lambda env, order: env.publisher(bus)("orders", order))
    return system.run()


def test_a_handler_sees_aborted_records_unless_it_says_otherwise():
    assert len([*called("read_uncommitted").history.of("note")]) == 1
    assert not [*called("read_committed").history.of("note")]
    with pytest.raises(InvalidDefinition, match="isolation"):
        called("serializable")


def test_a_consumer_in_no_group_commits_its_offsets_with_a_transaction():
    system = System("assigned", arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": 1, "paid": 1}, idempotent_producer=True))

    @system.service("relay")
    def relay(env):
        consumer = env.consumer(bus, "orders")
        produce = env.publisher(bus, transactional_id="relay")

        def run():
            consumer.assign(("orders", 0))
            for order in consumer.poll(timeout_s=5):
                produce.begin()
                produce("paid", order.value)
                produce.send_offsets(consumer)
                assert consumer.committed("orders", 0) is None
                produce.commit()
                env.note("committed", at=consumer.committed("orders", 0))

        env.main(run)

    system.entry(examples=[{}])(lambda env, order: env.publisher(bus)("orders", order))
    assert [one.data["at"] for one in system.run().history.of("note")] == [1]
