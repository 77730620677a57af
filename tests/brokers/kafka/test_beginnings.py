"""Log partitions that are added at run time, and offsets of groups that expire."""

from __future__ import annotations

import pytest

from chaosharness import Crash, GracefulStop, Kafka, Schedule, Site, System
from chaosharness.brokers.kafka import InvalidPartitions, TopicExists
from chaosharness.errors import InvalidDefinition, InvalidValue

KEY = "o2"  # log partition 0 of 1, and 2 of 4


def growing(
    total=4,
    *,
    reset="earliest",
    metadata_max_age_ms=10_000,
    grow=None,
    times=(0, 1, 20),
    learn="at once",
    made_anew=False,
):
    """Records of one key at these seconds, and a topic that grows after half a second."""
    system = System("growing", arrival_ms=1)
    ages = {"metadata_max_age_ms": metadata_max_age_ms, "producers_learn": learn}
    bus = system.add(Kafka("bus", {"orders": 1}, **ages))

    @system.service("worker")
    def worker(env):
        env.consume(bus, "orders", lambda order: env.note("seen", order=order), reset=reset)

    @system.service("operations")
    def operations(env):
        admin = env.client(bus)

        def run():
            env.sleep(0.5)
            (grow or (lambda one: one.create_partitions("orders", total)))(admin)

        env.main(run)

    @system.entry(examples=["all"])
    def send(env, item: str):
        publish, now = env.publisher(bus), 0
        for at in times:
            env.sleep(at - now)
            now = at
            if made_anew:
                publish = env.publisher(bus)
            publish("orders", f"at {at} s", key=KEY)

    return system


def placed(run):
    return [event.data["partition"] for event in run.history.of("publish")]


def seen(run):
    notes = [event.data for event in run.history.of("note")]
    return [data["order"] for data in notes if data["what"] == "seen"]


def test_a_key_is_in_another_log_partition_from_then_on():
    run = growing().run()
    assert placed(run) == [0, 2, 2]
    assert seen(run) == ["at 0 s", "at 1 s", "at 20 s"]
    again = list(run.history.of("rebalance"))[-1]
    assert (again.at_ms, again.data["why"]) == (10_500, "orders has more log partitions")


def test_a_producer_may_learn_of_it_when_it_asks_again():
    """It asks when it is made, and every 10 s from then on; the topic grows after half a second."""
    times = (0, 1, 9, 10, 20)
    assert placed(growing(learn="by age", times=times).run()) == [0, 0, 0, 2, 2]
    assert placed(growing(learn="at once", times=times).run()) == [0, 2, 2, 2, 2]


def test_one_that_is_made_since_knows_and_an_older_one_does_not():
    """Of two producers one key goes to two log partitions."""
    assert placed(growing(learn="by age", times=(0, 1), made_anew=True).run()) == [0, 2]
    assert placed(growing(learn="by age", times=(0, 1)).run()) == [0, 0]


def test_each_growth_is_learned_of_by_itself():
    def twice(admin):
        admin.create_partitions("orders", 2)
        admin.create_partitions("orders", 4)

    run = growing(learn="by age", grow=twice, times=(0, 1, 11)).run()
    assert placed(run) == [0, 0, 2]


def test_a_topic_that_is_made_while_it_runs_is_read_from_where_the_reset_says():
    def make(admin):
        admin.create_topic("late", 2)
        with pytest.raises(TopicExists, match="there is a topic late"):
            admin.create_topic("late", 2)

    run = growing(grow=make, times=(0,)).run()
    assert [one.data["what"] for one in run.history.of("note")][-1] == "there is a topic late"


def test_who_resets_to_the_end_skips_what_came_before_he_learned_of_it():
    assert seen(growing(reset="latest").run()) == ["at 0 s", "at 20 s"]


def test_the_rest_goes_on_where_it_was_committed():
    """Only what is new is subject to `reset`."""
    run = growing(total=2, reset="latest", times=(0, 20)).run()
    assert placed(run) == [0, 0]
    assert seen(run) == ["at 0 s", "at 20 s"]


@pytest.mark.parametrize(
    ("grow", "error", "words"),
    [
        (lambda admin: admin.create_partitions("orders", 1), InvalidPartitions, "has 1 log part"),
        (lambda admin: admin.create_partitions("orders", 0), InvalidValue, "a whole number from 1"),
        (lambda admin: admin.create_partitions("ordres", 4), InvalidDefinition, "no topic 'ord"),
        (lambda admin: admin.create_topic("late", 0), InvalidValue, "a whole number from 1"),
    ],
)
def test_what_cannot_be(grow, error, words):
    def attempt(admin):
        with pytest.raises(error, match=words):
            grow(admin)
        admin.create_partitions("orders", 4)

    assert placed(growing(grow=attempt).run()) == [0, 2, 2]


# ---- offsets that expire


def resting(reset, *, retention_ms=60_000):
    system = System("resting", arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": 1}, offsets_retention_ms=retention_ms))

    @system.service("worker")
    def worker(env):
        env.consume(bus, "orders", lambda order: env.note("seen", order=order), reset=reset)

    @system.entry(examples=["all"])
    def send(env, item: str):
        publish = env.publisher(bus)
        publish("orders", "first")
        env.sleep(100)
        publish("orders", "second")
        env.sleep(100)
        publish("orders", "third")

    return system


SITE = Site("worker.<lambda>/bus.commit", "after")


@pytest.mark.parametrize("kind", [Crash, GracefulStop])
@pytest.mark.parametrize(
    ("reset", "then"),
    [("latest", ["first", "third"]), ("earliest", ["first", "first", "second", "third"])],
)
def test_a_group_that_nobody_is_in_for_too_long_begins_where_reset_says(kind, reset, then):
    run = resting(reset).run(None, Schedule([kind(SITE, down=150_000)]))
    assert seen(run) == then
    [expired] = [e for e in run.history.of("rebalance") if "expired" in e.data["why"]]
    assert expired.at_ms == (60_001 if kind is GracefulStop else 105_001), "as from its last member"


def test_who_is_back_in_time_goes_on():
    run = resting("latest").run(None, Schedule([Crash(SITE, down=50_000)]))
    assert seen(run) == ["first", "second", "third"]


def test_without_a_limit_nothing_expires():
    run = resting("latest", retention_ms=None).run(None, Schedule([Crash(SITE, down=150_000)]))
    assert seen(run) == ["first", "second", "third"]
