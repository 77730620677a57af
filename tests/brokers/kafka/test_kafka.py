"""Kafka in runs: what a consumer group sees of it, calm and under each of its faults."""

from itertools import chain, pairwise

import pytest

from chaosharness import (
    Budget,
    CommitFailed,
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    External,
    Kafka,
    LostReply,
    LostRequest,
    NetworkPartition,
    PartitionDelay,
    Pause,
    Poison,
    Rebalance,
    RecordTooLarge,
    Schedule,
    Site,
    System,
)
from chaosharness.errors import IllegalFault, InvalidDefinition
from chaosharness.machines.kafka.partitioners import log_partition_for
from chaosharness.search.sites import candidates

DELIVER = "bus.orders/deliver to worker"
HANDLE = "worker.on_order/handle"
COMMIT = "worker.on_order/bus.commit"
SLEEP = "worker.on_order/sleep"

SESSION_MS = 45_000
MAX_POLL_MS = 300_000

A, B = "order-1", "order-2"  # two keys on different log partitions of two
assert {log_partition_for(A, 2), log_partition_for(B, 2)} == {0, 1}


class Shop:
    """A service that consumes `orders`, and notes what it is given."""

    def __init__(
        self, bus=None, *, log_partitions=1, replicas=1, keys=(A, A, A), work_ms=0, **options
    ):
        self.system = System("shop", arrival_ms=1)
        self.bus = self.system.add(bus or Kafka("bus", topics={"orders": log_partitions}))
        self.fails = lambda order, times: False

        @self.system.service("worker", replicas=replicas)
        def worker(env):
            times = {}

            def on_order(order):
                times[order] = times.get(order, 0) + 1
                env.note("given", order=order)
                if work_ms:
                    env.sleep(work_ms / 1000)
                if self.fails(order, times[order]):
                    raise ValueError(f"order {order} is bad")
                env.note("done", order=order)

            env.consume(self.bus, "orders", on_order, **options)

        @self.system.entry(examples=range(1, len(keys) + 1))
        def place(env, order):
            env.publisher(self.bus)("orders", order, key=keys[order - 1])

    def run(self, *faults, **budget):
        return self.system.run(None, Schedule(faults), budget=Budget(**budget))


def notes(run, what):
    return [event.data["order"] for event in run.history.of("note") if event.data["what"] == what]


def given(run):
    return notes(run, "given")


def at(run, kind, entity):
    return [event.at_ms for event in run.history.of(kind) if event.entity == entity]


def rebalances(run):
    return [(event.at_ms, event.data["why"]) for event in run.history.of("rebalance")]


def errors(run):
    return [event.data["error"] for event in run.history.of("nack")]


# ---- what can happen at all

PUBLISHED = (Delay, ErrorReply, LostRequest, Poison, NetworkPartition, Pause, Crash)


@pytest.mark.parametrize(
    ("idempotent", "operation", "before", "after"),
    [
        (True, DELIVER, {Delay, PartitionDelay, Rebalance, NetworkPartition}, set()),
        (True, COMMIT, {LostRequest, Rebalance, Crash, Pause}, {Crash, Pause, LostReply}),
        (True, "client.place/bus.publish orders", {*PUBLISHED}, {LostReply, Pause, Crash}),
        (
            False,
            "client.place/bus.publish orders",
            {*PUBLISHED, Duplicate},
            {LostReply, Pause, Crash},
        ),
    ],
)
def test_the_legal_faults_are_these(idempotent, operation, before, after):
    bus = Kafka("bus", topics={"orders": 1}, idempotent_producer=idempotent)
    surface = Shop(bus).run().surfaces[operation]
    assert (set(surface.before), set(surface.after)) == (before, after)


# ---- calm


def test_a_group_shares_the_log_partitions_and_another_group_has_its_own_progress():
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 2}))
    for name in ("billing", "audit"):
        replicas = 2 if name == "billing" else 1
        system.service(name, replicas=replicas)(
            lambda env: env.consume(bus, "orders", lambda order: None)
        )
    system.entry(examples=[A, B])(lambda env, key: env.publisher(bus)("orders", 1, key=key))
    run = system.run()
    told = sorted((event.data["group"], event.data["to"]) for event in run.history.of("deliver"))
    assert told == [
        ("audit", "audit#1"),
        ("audit", "audit#1"),
        ("billing", "billing#1"),
        ("billing", "billing#2"),
    ]


def test_one_key_has_one_order():
    assert given(Shop(log_partitions=8).run()) == [1, 2, 3]


def test_every_rebalance_is_eager_and_begins_a_new_generation():
    run = Shop(log_partitions=2, replicas=2, keys=(A, B)).run(Crash(Site(HANDLE)))
    first, second = run.history.of("rebalance")
    [crash] = run.history.of("crash")
    assert (first.data["generation"], second.data["generation"]) == (1, 2)
    assert sorted(first.data["members"]) == ["worker#1", "worker#2"]
    survivor = ({"worker#1", "worker#2"} - {crash.actor}).pop()
    assert set(second.data["members"]) == {survivor, f"{crash.actor}/2"}
    assert sorted(chain(*second.data["members"].values())) == ["orders[0]", "orders[1]"]


# ---- a consumer that dies, or is too slow


def test_a_dead_member_is_noticed_only_after_the_session_timeout():
    run = Shop(replicas=2, log_partitions=2, keys=(A, B)).run(Crash(Site(HANDLE)))
    [crash] = run.history.of("crash")
    assert rebalances(run)[-1] == (crash.at_ms + SESSION_MS, "session timeout")
    assert at(run, "deliver", 1)[-1] == crash.at_ms + SESSION_MS + 1
    assert sorted(given(run)) == [1, 2]


def test_what_was_not_committed_is_read_again_in_order():
    run = Shop(work_ms=10).run(LostRequest(Site(COMMIT)), Crash(Site(SLEEP, "after", entity=2)))
    assert given(run) == [1, 2, 1, 2, 3], "from the committed offset on, which was never moved"


def test_a_commit_stores_where_to_go_on_and_not_what_was_read_last():
    run = Shop(work_ms=10).run(Crash(Site(COMMIT, "after", entity=2)))
    assert given(run) == [1, 2, 3]


class Bank:
    def charge(self, order): ...


def test_a_handler_slower_than_max_poll_interval_is_overlapped_and_fenced():
    """Its heartbeats go on: they are sent in the background (KIP-62)."""
    system = System("shop", arrival_ms=1)
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    bank = system.add(External("bank", Bank, timeout_ms=MAX_POLL_MS * 2))

    @system.service("worker", replicas=2)
    def worker(env):
        client = env.client(bank)

        def on_order(order):
            env.note("given", order=order)
            client.charge(order)

        env.consume(bus, "orders", on_order)

    system.entry(examples=[1])(lambda env, item: env.publisher(bus)("orders", item))
    slow = Delay(Site("worker.on_order/bank.charge"), lasting=MAX_POLL_MS + 60_000)
    run = system.run(None, Schedule([slow]))
    assert given(run) == [1, 1]
    second, first = at(run, "handled", 1)
    assert second < first, "the new owner is done before the zombie"
    assert rebalances(run)[1] == (MAX_POLL_MS + 1, "max.poll.interval.ms exceeded")
    assert errors(run) == ["fenced: not a member any more"]
    assert rebalances(run)[-1][1] == "a member joined again"


def test_a_group_is_one_over_all_its_topics():
    """A rebalance at one topic is one for all of them, in one generation."""
    system = System("shop", arrival_ms=1)
    bus = system.add(Kafka("bus", topics={"a": 2, "b": 2}))

    @system.service("worker", replicas=2)
    def worker(env):
        env.consume(bus, "a", lambda number: None)
        env.consume(bus, "b", lambda number: None)

    @system.entry(examples=[1, 2])
    def send(env, number):
        env.publisher(bus)("a", number, key=str(number))

    run = system.run(None, Schedule([Rebalance(Site("bus.a/deliver to worker"))]))
    first, second = (event.data for event in run.history.of("rebalance"))
    assert (first["generation"], second["generation"]) == (1, 2)
    for data in (first, second):
        assert sorted(chain(*data["members"].values())) == ["a[0]", "a[1]", "b[0]", "b[1]"]


def test_a_zombie_can_still_publish():
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1, "paid": 1}))

    @system.service("worker", replicas=2)
    def worker(env):
        publish = env.publisher(bus)

        def on_order(order):
            env.sleep(0.01)
            publish("paid", order)

        env.consume(bus, "orders", on_order)

    system.entry(examples=[1])(lambda env, item: env.publisher(bus)("orders", item))
    pause = Pause(Site(SLEEP, "after"), lasting=MAX_POLL_MS * 2)
    run = system.run(None, Schedule([pause]))
    assert [event.data["topic"] for event in run.history.of("publish")].count("paid") == 2


def test_a_slow_member_holds_up_the_rebalance_of_all():
    """Eager: nobody has a log partition until all have come back to poll."""
    shop = Shop(replicas=2, log_partitions=2, keys=(A, B), work_ms=100)
    run = shop.run(Rebalance(Site(DELIVER, entity=2)))
    [first] = at(run, "handled", 1)
    assert at(run, "deliver", 2)[-1] > first


def test_a_rebalance_at_a_commit_fences_it():
    run = Shop().run(Rebalance(Site(COMMIT)))
    assert given(run) == [1, 1, 2, 3]
    assert errors(run) == ["fenced: not a member any more"]


@pytest.mark.parametrize(
    ("assignment", "goes_on"), [("range", False), ("sticky", False), ("cooperative-sticky", True)]
)
def test_in_a_cooperative_rebalance_nobody_stops_what_it_keeps(assignment, goes_on):
    """One of two members is gone, and not yet known to be: only its own log partition waits."""
    bus = Kafka("bus", topics={"orders": 2}, assignment=assignment)
    shop = Shop(bus, replicas=2, keys=(A, B, B), work_ms=100)
    run = shop.run(Crash(Site(SLEEP, "after", entity=1), down=1))
    assert run.ending.verdict == "quiet"
    assert sorted(set(given(run))) == [1, 2, 3]
    [crash] = run.history.of("crash")
    assert (at(run, "handled", 3)[0] < crash.at_ms + 1_000) == goes_on
    for event in run.history.of("rebalance"):
        places = [*chain(*event.data["members"].values())]
        assert len(places) == len(set(places)), "nothing is at two members"


# ---- faults on the way


def test_a_log_partition_that_lags_keeps_its_order_and_holds_up_no_other():
    shop = Shop(log_partitions=2, keys=(A, A, B, B))
    run = shop.run(PartitionDelay(Site(DELIVER), lasting=10_000))
    assert given(run) == [3, 4, 1, 2]
    assert at(run, "deliver", 1) == [10_002]


def test_a_delay_is_seen_by_one_group_and_a_lagging_log_partition_by_all():
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1}))
    for name in ("billing", "audit"):
        system.service(name)(lambda env: env.consume(bus, "orders", lambda order: None))
    system.entry(examples=[1])(lambda env, item: env.publisher(bus)("orders", item))
    for fault, late in ((Delay, {"billing"}), (PartitionDelay, {"billing", "audit"})):
        site = Site("bus.orders/deliver to billing")
        run = system.run(None, Schedule([fault(site, lasting=10_000)]))
        found = {e.data["group"] for e in run.history.of("deliver") if e.at_ms >= 10_000}
        assert found == late


def test_a_cut_off_member_loses_its_log_partitions_after_the_session_timeout():
    shop = Shop(work_ms=10)
    short = shop.run(NetworkPartition(Site(DELIVER), lasting=SESSION_MS - 1))
    assert [why for _, why in rebalances(short)] == ["a member joined"]
    long = shop.run(NetworkPartition(Site(DELIVER), lasting=SESSION_MS * 3))
    assert [why for _, why in rebalances(long)] == ["a member joined", "a member joined again"]
    assert given(short) == given(long) == [1, 2, 3]


def order_of(run):
    """The offsets that each group was handed, by log partition."""
    publishes = {e.index: e.data for e in run.history.of("publish")}
    found = {}
    for event in run.history.of("deliver"):
        data = publishes[event.data["message"]]
        place = (event.data["group"], data["topic"], data["partition"])
        found.setdefault(place, []).append(data["offset"])
    return found


@pytest.mark.parametrize("replicas", [1, 2])
def test_offsets_of_a_log_partition_never_skip_ahead_under_any_single_fault(replicas):
    shop = Shop(log_partitions=2, replicas=replicas, keys=(A, B, A, B, A), on_error="skip")
    faults = candidates(shop.run())
    assert len(faults) > 100
    for fault in faults:
        run = shop.run(fault)
        assert run.ending.verdict == "quiet", fault
        for place, offsets in order_of(run).items():
            seen = -1
            for offset in offsets:
                assert offset <= seen + 1, (fault, place, offsets)
                seen = max(seen, offset)


# ---- publishing


def relay(bus, *, tries=1):
    system = System("shop")
    system.add(bus)

    @system.service("relay")
    def relay(env):
        publish = env.publisher(bus)

        def main():
            for _ in range(tries):
                try:
                    publish("orders", "o1")
                except (TimeoutError, ConnectionError) as error:
                    env.note("failed", order=type(error).__name__)
                else:
                    break

        env.main(main)

    @system.service("worker")
    def worker(env):
        env.consume(bus, "orders", lambda order: env.note("given", order=order))

    system.entry(examples=[1])(lambda env, item: None)
    return system


PUBLISH = "relay.main/bus.publish orders"


@pytest.mark.parametrize(
    ("fault", "said", "seen"),
    [
        (ErrorReply(Site(PUBLISH, entity=0)), ["ConnectionError"], []),
        (LostRequest(Site(PUBLISH, entity=0)), ["TimeoutError"], []),
        (LostReply(Site(PUBLISH, "after", entity=0)), ["TimeoutError"], ["o1"]),
        (Delay(Site(PUBLISH, entity=0)), [], ["o1"]),
    ],
)
def test_a_timeout_says_nothing_about_whether_a_record_was_stored(fault, said, seen):
    run = relay(Kafka("bus", topics={"orders": 1})).run(None, Schedule([fault]))
    assert notes(run, "failed") == said
    assert given(run) == seen


def test_a_new_send_after_a_lost_answer_is_a_second_record():
    lost = LostReply(Site(PUBLISH, "after", entity=0))
    run = relay(Kafka("bus", topics={"orders": 1}), tries=2).run(None, Schedule([lost]))
    assert given(run) == ["o1", "o1"]


def test_only_a_producer_that_is_not_idempotent_duplicates_by_itself():
    twice = Schedule([Duplicate(Site(PUBLISH, entity=0))])
    with pytest.raises(IllegalFault, match="never happen"):
        relay(Kafka("bus", topics={"orders": 1}, idempotent_producer=True)).run(None, twice)
    bus = Kafka("bus", topics={"orders": 1})
    assert given(relay(bus).run(None, twice)) == ["o1", "o1"]


# ---- failing handlers


def test_a_retry_blocks_its_log_partition_and_no_other():
    shop = Shop(log_partitions=2, keys=(A, A, B))
    shop.fails = lambda order, times: order == 1 and times < 3
    run = shop.run()
    assert given(run) == [1, 3, 1, 1, 2]
    starts = at(run, "deliver", 1)
    assert [later - earlier for earlier, later in pairwise(starts)] == [1_001, 2_001]


def test_poison_blocks_a_log_partition_for_ever_where_it_is_retried():
    shop = Shop()
    poison = Poison(Site("client.place/bus.publish orders", entity=2))
    stuck = shop.run(poison, deliveries_max=20)
    assert stuck.ending.verdict == "budget"
    assert notes(stuck, "done") == [1]


@pytest.mark.parametrize("on_error", ["skip", "dead-letter"])
def test_and_nobody_where_it_is_not(on_error):
    shop = Shop(on_error=on_error)
    poison = Poison(Site("client.place/bus.publish orders", entity=2))
    assert notes(shop.run(poison), "done") == [1, 2, 3]


@pytest.mark.parametrize(
    ("on_unreadable", "dead", "acks"), [("skip", 0, 4), ("dead-letter", 1, 4), (None, 0, None)]
)
def test_what_cannot_be_read_may_be_treated_otherwise_than_what_fails(on_unreadable, dead, acks):
    shop = Shop(on_unreadable=on_unreadable)
    shop.fails = lambda order, times: order == 3 and times < 5
    poison = Poison(Site("client.place/bus.publish orders", entity=2))
    run = shop.run(poison, deliveries_max=20)
    assert len([*run.history.of("dead")]) == dead
    if acks is None:
        assert run.ending.verdict == "budget"
        return
    assert given(run) == [1, 2, 3, 3, 3, 3, 3], "what fails is retried for ever, as it should be"
    assert len([*run.history.of("ack")]) == acks


def test_what_cannot_be_read_may_be_the_end_of_the_process():
    shop = Shop(on_unreadable="crash", on_error="skip")
    run = shop.run(Poison(Site("client.place/bus.publish orders", entity=2)), deliveries_max=3)
    assert len([*run.history.of("crash")]) == 7  # three, and as many in the calm as end the run


def test_after_its_retries_a_message_goes_to_the_dead_letter_topic():
    shop = Shop(on_error="dead-letter", retries_max=2)
    shop.fails = lambda order, times: order == 2
    run = shop.run()
    assert given(run) == [1, 2, 2, 3]
    [dead] = run.history.of("dead")
    assert (dead.entity, dead.data["to"]) == (2, "orders.DLT")
    aside = [event for event in run.history.of("publish") if event.data["topic"] == "orders.DLT"]
    assert [event.data["value"] for event in aside] == [b"2"]


def test_an_exception_can_be_the_end_of_the_process():
    shop = Shop(on_error="crash", keys=(A,))
    fails = iter([True])
    shop.fails = lambda order, times: next(fails, False)
    run = shop.run()
    assert given(run) == [1, 1]
    assert len(list(run.history.of("crash"))) == 1


def test_who_commits_on_hand_over_loses_what_was_in_hand():
    shop = Shop(acknowledge="before", work_ms=10)
    run = shop.run(Crash(Site(SLEEP, "after", entity=2)))
    assert notes(run, "done") == [1, 3]


# ---- main loops


def loop(main, *, items=3, replicas=1, log_partitions=1, **options):
    system = System("shop", arrival_ms=1)
    bus = system.add(Kafka("bus", topics={"orders": log_partitions}))

    @system.service("worker", replicas=replicas)
    def worker(env):
        consumer = env.consumer(bus, "orders", **options)

        def loop():
            main(env, consumer)

        env.main(loop)

    @system.entry(examples=range(1, items + 1))
    def place(env, order):
        env.publisher(bus)("orders", order, key=A)

    return system


def work(env, delivery):
    env.note("given", order=delivery.value)
    env.sleep(0.01)
    env.note("done", order=delivery.value)


def at_least_once(env, consumer):
    while True:
        for delivery in consumer.poll():
            work(env, delivery)
            consumer.commit(delivery)


def at_most_once(env, consumer):
    while True:
        batch = consumer.poll()
        consumer.commit()
        for delivery in batch:
            work(env, delivery)


def in_batches(env, consumer):
    while True:
        for delivery in consumer.poll(records_max=10):
            work(env, delivery)
        consumer.commit()


def with_patience(env, consumer):
    while True:
        for delivery in consumer.poll(timeout_s=1):
            work(env, delivery)
            consumer.commit(delivery)


@pytest.mark.parametrize("main", [at_least_once, at_most_once, in_batches, with_patience])
def test_a_main_loop_gets_every_message_and_the_run_becomes_quiet(main):
    run = loop(main).run()
    assert notes(run, "done") == [1, 2, 3]
    assert run.ending.verdict == "quiet"
    assert run.history[-1].at_ms < 60_000


@pytest.mark.parametrize(
    ("main", "seen", "done"),
    [
        (at_least_once, [1, 1, 2, 3], [1, 2, 3]),
        (with_patience, [1, 1, 2, 3], [1, 2, 3]),
        (at_most_once, [1, 2, 3], [2, 3]),
    ],
)
def test_what_a_crash_in_the_middle_costs(main, seen, done):
    run = loop(main).run(None, Schedule([Crash(Site("worker.loop/sleep", "after"))]))
    assert given(run) == seen
    assert notes(run, "done") == done


def test_a_batch_is_read_again_as_a_whole():
    system = loop(in_batches)
    first = system.run()
    assert len(list(first.history.of("ack"))) == 2, "1 and 2 together, then 3"
    run = system.run(None, Schedule([Crash(Site("worker.loop/sleep", "after", entity=2))]))
    assert given(run)[:4] == [1, 2, 1, 2]


GARBAGE = Schedule([Poison(Site("client.place/bus.publish orders", entity=2))])


@pytest.mark.parametrize("main", [at_least_once, in_batches, with_patience])
@pytest.mark.parametrize(("on_unreadable", "dead"), [("skip", 0), ("dead-letter", 1)])
def test_a_loop_need_not_see_what_cannot_be_read(main, on_unreadable, dead):
    run = loop(main, on_unreadable=on_unreadable).run(None, GARBAGE)
    assert notes(run, "done") == [1, 2, 3]
    assert run.ending.verdict == "quiet"
    assert len([*run.history.of("raised")]) == 1
    assert len([*run.history.of("dead")]) == dead


def test_a_loop_that_waits_so_long_waits_no_longer_for_what_it_does_not_see():
    empty = []

    def main(env, consumer):
        for _ in range(3):
            began = env.now_ms()
            if not consumer.poll(timeout_s=5):
                empty.append(env.now_ms() - began)
        env.sleep(10**6)

    poisoned = [Poison(Site("client.place/bus.publish orders", entity=one)) for one in (1, 2)]
    loop(main, items=2, on_unreadable="skip").run(None, Schedule(poisoned))
    assert empty == [5_000]


def test_a_poll_raises_once_for_what_cannot_be_read_and_loses_nothing_of_the_batch():
    raised = []

    def main(env, consumer):
        env.sleep(0.1)  # all are there by now
        while True:
            try:
                batch = consumer.poll(records_max=10)
            except ValueError as error:
                raised.append((env.now_ms(), type(error).__name__))
                continue
            for delivery in batch:
                work(env, delivery)
            consumer.commit()

    run = loop(main).run(None, GARBAGE)
    assert notes(run, "done") == [1, 2, 3]
    assert [name for _, name in raised] == ["DecodeError"]
    assert run.ending.verdict == "quiet"


def test_a_commit_does_not_speak_for_what_the_next_poll_will_raise():
    def main(env, consumer):
        env.sleep(0.1)
        for delivery in consumer.poll(records_max=10):
            work(env, delivery)
        consumer.commit()
        consumer.poll(records_max=10)

    run = loop(main, items=3).run(None, GARBAGE, budget=Budget(deliveries_max=5))
    assert notes(run, "done") == [1]
    assert "handed out one message 11 times" in run.ending.reason, "the process dies of it for ever"


def test_a_deserialiser_of_ones_own_reads_the_payload():
    def double(payload):
        return 2 * int(payload)

    run = loop(at_least_once, read_as=double).run()
    assert notes(run, "done") == [2, 4, 6]


def test_a_zombie_in_its_own_loop_is_told_when_it_commits():
    told = []

    def main(env, consumer):
        while True:
            for delivery in consumer.poll():
                work(env, delivery)
                try:
                    consumer.commit(delivery)
                except CommitFailed as error:
                    told.append(str(error))

    pause = Pause(Site("worker.loop/sleep", "after"), lasting=MAX_POLL_MS * 2)
    run = loop(main, items=1, replicas=2).run(None, Schedule([pause]))
    assert given(run) == [1, 1]
    assert told == ["worker.loop/bus.commit: fenced: not a member any more; poll again to rejoin"]


def test_who_does_not_poll_yet_is_no_member_yet():
    def main(env, consumer):
        if env.incarnation.replica == 2:
            env.sleep(600)
        at_least_once(env, consumer)

    run = loop(main, replicas=2).run()
    assert at(run, "deliver", 1)[0] < 1_000


def test_who_never_polled_cannot_commit():
    def main(env, consumer):
        with pytest.raises(CommitFailed, match="poll first"):
            consumer.commit()

    loop(main).run()


# ---- what is put together wrongly


@pytest.mark.parametrize("count", [0, -1, "8"])
def test_a_topic_has_at_least_one_log_partition(count):
    with pytest.raises(InvalidDefinition, match="topic 'orders' must have at least 1"):
        Kafka("bus", topics={"orders": count})


def test_a_topic_nobody_declared_is_refused_at_both_ends():
    bus = Kafka("bus", topics={"orders": 1})
    for use in (
        lambda env: env.consume(bus, "ordres", lambda order: None),
        lambda env: env.consumer(bus, "ordres"),
    ):
        system = System("shop")
        system.add(bus)
        system.service("worker")(use)
        system.entry(examples=[1])(lambda env, item: None)
        with pytest.raises(InvalidDefinition, match="bus has no topic 'ordres'; it has: orders"):
            system.run()
    system = System("shop")
    system.add(bus)
    system.entry(examples=[1])(lambda env, item: env.publisher(bus)("ordres", item))
    with pytest.raises(InvalidDefinition, match="bus has no topic 'ordres'; it has: orders"):
        system.run()


@pytest.mark.parametrize("options", [{"on_error": "requeue"}, {"retries_max": 0}, {"prefetch": 1}])
def test_an_option_that_makes_no_sense_is_refused(options):
    with pytest.raises(InvalidDefinition, match="consumes 'orders'"):
        Shop(**options).run()


def test_a_type_that_nothing_can_be_read_as_is_refused_with_the_handlers_name():
    class Anything:
        def __init__(self, *words): ...

    with pytest.raises(InvalidDefinition, match=r"handler '.*on_order': messages cannot be read"):
        run_with_type(Anything())


def run_with_type(wanted):
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 1}))

    def on_order(order): ...

    system.service("worker")(lambda env: env.consume(bus, "orders", on_order, read_as=wanted))
    system.entry(examples=[1])(lambda env, item: None)
    return system.run()


def test_an_option_that_there_is_not_is_refused_with_those_there_are():
    known = (
        r"there is no option 'on_eror'; there are: group, acknowledge, on_error, .*on_unreadable"
    )
    with pytest.raises(
        InvalidDefinition,
        match=rf"worker.on_order consumes 'orders' \(at .*test_kafka.py:\d+\): {known}",
    ):
        Shop(on_eror="skip").run()
    with pytest.raises(
        InvalidDefinition,
        match=r"worker polls orders \(at .*test_kafka.py:\d+\): there is no option 'prefetch'",
    ):
        loop(at_least_once, prefetch=1).run()
    with pytest.raises(InvalidDefinition, match=r"on_unreadable must be one of 'raise', .*'retry'"):
        loop(at_least_once, on_unreadable="retry").run()


def test_a_record_that_is_too_large_is_refused_with_its_size():
    def place(env, size):
        publish = env.publisher(bus)
        publish("orders", b"x" * size)
        with pytest.raises(RecordTooLarge, match="1,048,589 bytes; it takes 1,048,588"):
            publish("orders", b"x" * (size - 4), key="abc", headers={"d": "e"})

    system = System("large")
    bus = system.add(Kafka("bus", ["orders"]))
    system.entry(examples=[1_048_588 - 36])(place)
    assert len([*system.run().history.of("publish")]) == 1


def test_a_publisher_may_name_a_log_partition():
    def place(env, order):
        publish = env.publisher(bus)
        for partition in (2, 0, 2):
            publish("orders", order, key="k", partition=partition)
        with pytest.raises(LookupError, match=r"bus has no log partition orders\[3\]: 3 are"):
            publish("orders", order, partition=3)

    system = System("named")
    bus = system.add(Kafka("bus", {"orders": 3}))
    system.entry(examples=[1])(place)
    found = system.run().history.of("publish")
    assert [(one.data["partition"], one.data["offset"]) for one in found] == [
        (2, 0),
        (0, 0),
        (2, 1),
    ]
