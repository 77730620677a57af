"""Who gets which log partition: members of a group, and records without a key."""

import pytest

from chaosharness import Crash, Kafka, KeyValue, LostReply, Rebalance, Schedule, Site, System
from chaosharness.machines.kafka.assignors import ASSIGNMENTS, shares


def given(assignment, topics, members, owned=()):
    owned = dict(enumerate(owned))
    crew = tuple((tuple(topics), owned.get(n, ())) for n in range(members))
    return shares(assignment, tuple(topics.items()), crew)


def owners(assignment, topics, members):
    found = given(assignment, dict(sorted(topics.items())), members)
    return [[f"{topic}{index}" for topic, index in places] for places in found]


@pytest.mark.parametrize(
    ("assignment", "topics", "shares"),
    [
        ("range", {"a": 3, "b": 3}, [["a0", "a1", "b0", "b1"], ["a2", "b2"]]),
        ("range", {"b": 3, "a": 3}, [["a0", "a1", "b0", "b1"], ["a2", "b2"]]),
        ("range", {"a": 5}, [["a0", "a1"], ["a2", "a3"], ["a4"]]),
        ("range", {"a": 7}, [["a0", "a1", "a2"], ["a3", "a4"], ["a5", "a6"]]),
        ("range", {"a": 1, "b": 1}, [["a0", "b0"], [], []]),
        ("round-robin", {"a": 3, "b": 3}, [["a0", "a2", "b1"], ["a1", "b0", "b2"]]),
        ("round-robin", {"a": 1, "b": 1}, [["a0"], ["b0"], []]),
    ],
)
def test_a_group_shares_its_log_partitions_out(assignment, topics, shares):
    assert owners(assignment, topics, len(shares)) == shares


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_each_log_partition_has_one_owner(assignment):
    for count in range(1, 9):
        for members in range(1, 9):
            found = given(assignment, {"a": count, "b": 3}, members)
            places = [place for one in found for place in one]
            assert len(places) == len(set(places)) == count + 3
            sizes = [len(one) for one in found]
            assert max(sizes) - min(sizes) <= (2 if assignment == "range" else 1)


def members_of_keys(assignment):
    system = System("join", arrival_ms=1)
    bus = Kafka("bus", topics={"orders": 3, "payments": 3}, assignment=assignment)
    system.add(bus)

    @system.service("worker", replicas=2)
    def worker(env):
        consumer = env.consumer(bus, "orders", "payments")

        def loop():
            while True:
                for record in consumer.poll():
                    env.note("got", key=record.key)
                    consumer.commit(record)

        env.main(loop)

    @system.entry(examples=["a", "b", "c", "d"])
    def send(env, key):
        for topic in ("orders", "payments"):
            env.publisher(bus)(topic, key, key=key)

    found = {}
    for event in system.run().history.of("note"):
        found.setdefault(event.data["key"], set()).add(event.actor)
    return found


def test_one_key_of_two_topics_is_at_one_member_by_range_alone():
    assert {len(who) for who in members_of_keys("range").values()} == {1}
    assert 2 in {len(who) for who in members_of_keys("round-robin").values()}


def test_another_way_is_refused():
    with pytest.raises(
        ValueError,
        match="assignment must be one of 'range', 'round-robin', 'sticky', 'cooperative-sticky'",
    ):
        Kafka("bus", topics={}, assignment="random")


# ---- records without a key


def places(count, items, *faults, key=None):
    """Where the records of each workload item go: three each, by way of a service."""
    system = System("unkeyed", arrival_ms=1)
    bus = system.add(Kafka("bus", topics={"in": 1, "out": count}))

    @system.service("relay")
    def relay(env):
        publish = env.publisher(bus)

        def on_item(number):
            for n in range(3):
                publish("out", n, key=key)

        env.consume(bus, "in", on_item)

    @system.entry(examples=list(range(items)))
    def place(env, number):
        env.publisher(bus)("in", number)

    found = {}
    for event in system.run(None, Schedule(faults)).history.of("publish"):
        if event.data["topic"] == "out":
            found.setdefault(event.entity, []).append(event.data["partition"])
    return found


def test_records_without_a_key_are_spread():
    found = places(4, 3)
    assert all(len(set(where)) == 3 for where in found.values())


def test_those_of_one_item_do_not_depend_on_other_items():
    assert places(4, 3)[1] == places(4, 1)[1]
    crash = Crash(Site("relay.on_item/bus.publish out", "after", entity=1))
    struck = places(4, 3, crash)
    assert struck[1] != places(4, 3)[1]
    assert [struck[item] for item in (2, 3)] == [places(4, 3)[item] for item in (2, 3)]


def test_one_log_partition_takes_all():
    assert places(1, 2) == {1: [0, 0, 0], 2: [0, 0, 0]}


def test_a_key_keeps_them_together():
    assert {len(set(where)) for where in places(4, 3, key="k").values()} == {1}


# ---- the answer to a commit


def test_a_loop_learns_that_the_answer_to_its_commit_was_lost():
    system = System("commits")
    bus = system.add(Kafka("bus", topics={"in": 1}))

    @system.service("worker")
    def worker(env):
        consumer = env.consumer(bus, "in")

        def loop():
            while True:
                for record in consumer.poll():
                    try:
                        consumer.commit(record)
                    except TimeoutError:
                        env.note("no answer")

        env.main(loop)

    @system.entry(examples=[1])
    def place(env, number):
        env.publisher(bus)("in", number)

    site = Site("worker.loop/bus.commit", "after")
    run = system.run(None, Schedule([LostReply(site)]))
    assert not run.unused
    assert len([*run.history.of("note")]) == 1
    assert len([*run.history.of("deliver")]) == 1  # it was committed
    assert LostReply in run.surfaces["worker.loop/bus.commit"].searched_after


KEYS = {"a": 0, "d": 1}
"""Keys, and the log partitions that they go to."""


def turnovers(key, replicas=2):
    """A service that remembers what it has added up for a key."""
    system = System("turnovers", arrival_ms=10)
    bus = system.add(Kafka("bus", {"moves": 2}))
    totals = system.add(KeyValue("totals"))

    @system.service("adder", replicas=replicas)
    def add_up(env):
        store, known = env.connect(totals), {}

        def on_move(move: dict):
            known[move["to"]] = known.get(move["to"]) or int(store.get(move["to"]) or 0)
            known[move["to"]] += move["cents"]
            store.put(move["to"], str(known[move["to"]]))

        env.consume(bus, "moves", on_move, on_unreadable="skip")

    @system.entry(examples=[{"to": key, "cents": cents} for cents in (1, 2, 3)])
    def move(env, one):
        env.publisher(bus)("moves", one, key=one["to"])

    return system


def rebalances(*items):
    return Schedule([Rebalance(Site("bus.moves/deliver to adder", entity=one)) for one in items])


def total_of(run):
    (state,) = run.history.of("state")
    (total,) = state.data["items"].values()
    return total


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("of", [1, 2, 3])
def test_what_a_member_had_changes_hands_where_it_comes_back(key, of):
    """Whichever member stands last: its new id may stand anywhere."""
    run = turnovers(key).run(None, rebalances(of))
    assert not run.unused
    assert {one.data["partition"] for one in run.history.of("publish")} == {KEYS[key]}
    before, after = [one.data["members"] for one in run.history.of("rebalance")][-2:]
    assert before.keys() == after.keys()
    assert all(before[member] != after[member] for member in before)


@pytest.mark.parametrize("key", KEYS)
def test_memory_that_is_kept_across_a_rebalance_is_found_whichever_log_partition_it_is_of(key):
    assert total_of(turnovers(key).run()) == "6"
    assert total_of(turnovers(key).run(None, rebalances(2, 3))) == "4"
    assert total_of(turnovers(key, replicas=1).run(None, rebalances(2, 3))) == "6"
