"""What a polling loop asks of its consumer: listeners, positions, pauses, its own assignment.

Source: javadoc of KafkaConsumer and ConsumerRebalanceListener 3.9; KIP-345, KIP-429.
"""

import pytest

from chaosharness import (
    CommitFailed,
    Crash,
    Kafka,
    LostReply,
    Pause,
    Rebalance,
    Schedule,
    Site,
    System,
)
from chaosharness.errors import InvalidDefinition

DELIVER = "bus.orders/deliver to worker"
A, B, C = ("orders", 0), ("orders", 1), ("orders", 2)


def ran(main, *faults, items=3, replicas=1, log_partitions=1, consumer=None, **options):
    """Run a loop `main(env, consumer, told)` per replica; return the run, and what was told."""
    system = System("shop", arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": log_partitions}, **options))
    told = []

    @system.service("worker", replicas=replicas)
    def worker(env):
        me = env.incarnation.label

        def say(what):
            return lambda places: told.append((me, what, places))

        given = (consumer or (lambda env, say: {}))(env, say)
        made = env.consumer(bus, "orders", **given)
        env.main(lambda: main(env, made, told))

    @system.entry(examples=range(1, items + 1))
    def place(env, order):
        env.publisher(bus)("orders", order)

    run = system.run(None, Schedule(faults))
    assert not run.unused
    assert run.ending.verdict == "quiet"
    return run, told


def reads(env, consumer, told):
    while True:
        for delivery in consumer.poll():
            env.note("got", order=delivery.value)
            env.sleep(0.01)
            consumer.commit(delivery)


def got(run):
    return [event.data["order"] for event in run.history.of("note")]


def listens(env, say):
    return {"on_assign": say("given"), "on_revoke": say("revoked"), "on_lost": say("lost")}


def generations(run):
    return [(one.data["generation"], one.data["why"]) for one in run.history.of("rebalance")]


# ---- listeners


def test_a_listener_hears_what_its_consumer_is_given():
    run, told = ran(reads, consumer=listens, log_partitions=2)
    assert told == [("worker#1", "given", (A, B))]
    assert sorted(got(run)) == [1, 2, 3]


def test_in_an_eager_round_all_is_revoked_before_anything_is_given_again():
    """One replica is expelled: it has lost what it had; the other gives back and gets anew."""
    fault = Rebalance(Site(DELIVER, entity=2))
    run, told = ran(reads, fault, consumer=listens, replicas=2, log_partitions=2)
    first = [one for one in told if one[0] == "worker#1"]
    second = [one for one in told if one[0] == "worker#2"]
    assert {first[1][1], second[1][1]} == {"lost", "revoked"}
    for mine in (first, second):
        assert mine[0][1] == "given" and mine[-1][1] == "given"
    assert sorted(set(got(run))) == [1, 2, 3]
    at = {index for index, one in enumerate(told) if one[1] == "given"}
    back = [index for index, one in enumerate(told) if one[1] in ("lost", "revoked")]
    assert max(back) < max(at)


def test_in_a_cooperative_round_only_what_changes_hands_is_revoked():
    crash = Crash(Site("worker.<lambda>/sleep", "after"), down=60_000)
    run, told = ran(
        reads,
        crash,
        consumer=listens,
        replicas=2,
        log_partitions=3,
        items=6,
        assignment="cooperative-sticky",
    )
    revoked = [one for one in told if one[1] == "revoked"]
    assert all(len(places) < 3 for _, _, places in revoked) and revoked
    assert sorted(set(got(run))) == [1, 2, 3, 4, 5, 6]


def test_who_has_no_listener_for_the_loss_hears_that_it_is_revoked():
    def only(env, say):
        return {"on_revoke": say("revoked")}

    _, told = ran(reads, Rebalance(Site(DELIVER)), consumer=only)
    assert told == [("worker#1", "revoked", (A,))]


def test_a_commit_while_it_is_revoked_is_taken_and_nothing_comes_twice():
    """The usual listener: commit what is done before another has the log partition."""

    env_made = {}

    def main(env, made, told):
        env_made[env.incarnation.label] = made
        while True:
            for delivery in made.poll(timeout_s=1):
                env.note("got", order=delivery.value)

    def consumer(commits):
        def make(env, say):
            me = env.incarnation.label
            return {"on_revoke": lambda places: commits and env_made[me].commit()}

        return make

    fault = Rebalance(Site(DELIVER, entity=2))
    again, _ = ran(main, fault, consumer=consumer(False), replicas=2, log_partitions=2, items=4)
    once, _ = ran(main, fault, consumer=consumer(True), replicas=2, log_partitions=2, items=4)
    assert len(got(again)) > len(got(once)) >= 4


@pytest.mark.parametrize("runtime", ["asyncio", "trio", "ports"])
def test_a_listener_may_be_async(runtime):
    system = System("shop", arrival_ms=1)
    bus = system.add(Kafka("bus", {"orders": 1}))
    told = []

    @system.service("worker", runtime=runtime)
    def worker(env):
        async def given(places):
            await env.sleep(0.5)
            told.append(("given", places, env.now_ms()))

        made = env.consumer(bus, "orders", on_assign=given, on_lost=lambda _: told.append("lost"))

        async def main():
            while True:
                for delivery in await made.poll(timeout_s=5):
                    told.append(delivery.value)
                    await made.commit(delivery)

        env.main(main)

    system.entry(examples=[1])(lambda env, order: env.publisher(bus)("orders", order))
    system.run(None, Schedule([Rebalance(Site(DELIVER))]))
    assert told == [("given", (A,), 500), "lost", ("given", (A,), told[2][2]), 1]


def test_a_listener_that_takes_too_long_loses_its_place():
    def slow(env, say):
        return {"on_assign": lambda places: told_once(env), "on_lost": say("lost")}

    times = []

    def told_once(env):
        times.append(env.now_ms())
        if len(times) == 1:
            env.sleep(400)

    _, told = ran(reads, consumer=slow)
    assert ([what for _, what, _ in told], times) == (["lost"], [0, 400_000])


# ---- where it is


def test_positions_commits_and_the_ends_of_a_log_partition():
    seen = []

    def main(env, consumer, told):
        while consumer.position(*A) < 3 if consumer.assignment() else True:
            for delivery in consumer.poll():
                seen.append((consumer.position(*A), consumer.committed(*A)))
                consumer.commit(offsets={A: delivery.offset + 1})
        seen.append((consumer.committed(*A), consumer.watermarks(*A)))

    ran(main)
    assert seen == [(1, None), (2, 1), (3, 2), (3, (0, 3))]


def test_a_seek_reads_again_or_leaves_out_and_a_pause_waits():
    def main(env, consumer, told):
        [first] = consumer.poll()
        consumer.seek(*A, 0)
        [again] = consumer.poll()
        assert first == again
        consumer.pause(A)
        assert consumer.paused() == [A] and not consumer.poll(timeout_s=5)
        consumer.resume(A)
        consumer.seek(*A, 2)
        for delivery in consumer.poll():
            env.note("got", order=delivery.value)
        consumer.commit()
        with pytest.raises(LookupError, match=r"no current assignment for partition orders\[7\]"):
            consumer.seek("orders", 7, 0)

    run, _ = ran(main)
    assert got(run) == [3]


@pytest.mark.parametrize(
    ("reset", "value"), [("earliest", [1]), ("latest", []), ("error", "out of range")]
)
def test_a_seek_beyond_the_end_goes_where_the_reset_policy_says(reset, value):
    found = []

    def main(env, consumer, told):
        consumer.poll(timeout_s=1)
        consumer.seek(*A, 100)
        try:  # only a fetch hears of it, as in each client library
            found.extend(one.value for one in consumer.poll(timeout_s=1))
        except LookupError as error:
            found.append(str(error))

    ran(main, consumer=lambda env, say: {"reset": reset}, items=1)
    assert found == value if isinstance(value, list) else value in found[0]


def test_an_offset_that_is_committed_backwards_stands():
    def main(env, consumer, told):
        consumer.poll(records_max=3)
        consumer.commit()
        consumer.commit(offsets={A: 1})
        env.note("at", order=consumer.committed(*A))

    assert got(ran(main)[0]) == [1]


# ---- new groups: what is there before the first assignment


@pytest.mark.parametrize(("reset", "seen"), [("earliest", [1, 2, 3]), ("latest", [])])
def test_a_new_group_begins_where_the_reset_policy_says(reset, seen):
    def late(env, consumer, told):
        env.sleep(1)
        while True:
            for delivery in consumer.poll():
                env.note("got", order=delivery.value)

    run, _ = ran(late, consumer=lambda env, say: {"reset": reset}, new_groups=True)
    assert got(run) == seen


def test_a_new_group_that_resets_to_the_end_skips_what_comes_while_it_is_down():
    """Nothing was committed before the crash, so the next life begins at the end again."""

    def slow(env, consumer, told):
        while True:
            for delivery in consumer.poll():
                env.sleep(5)
                env.note("got", order=delivery.value)
                consumer.commit(delivery)

    crash = Crash(Site("worker.<lambda>/sleep", "after", entity=2))
    new = {"consumer": lambda env, say: {"reset": "latest"}}
    assert got(ran(slow, crash, **new)[0]) == [1, 2, 3]
    assert got(ran(slow, crash, new_groups=True, **new)[0]) == []


def test_where_nothing_is_committed_a_consumer_may_refuse_to_go_on():
    def main(env, consumer, told):
        with pytest.raises(LookupError, match=r"no offset is committed for orders\[0\]"):
            for _ in range(2):
                consumer.poll(timeout_s=1)
        told.append("refused")

    assert ran(main, consumer=lambda *_: {"reset": "error"}, new_groups=True)[1] == ["refused"]


# ---- its own assignment, and the end


def test_a_consumer_that_assigns_itself_is_in_no_group():
    def main(env, consumer, told):
        consumer.assign(B)
        while True:
            for delivery in consumer.poll():
                env.note("got", order=delivery.value)
                consumer.commit(delivery)

    run, _ = ran(main, log_partitions=2, replicas=2, items=4)
    assert generations(run) == []
    assert len(got(run)) == 4, "each of two replicas reads both records of that log partition"


def test_a_commit_of_who_is_in_no_group_is_refused_while_that_has_members():
    def main(env, consumer, told):
        if env.incarnation.replica == 1:
            return reads(env, consumer, told)
        env.sleep(1)
        consumer.assign(A)
        with pytest.raises(CommitFailed):
            consumer.commit(offsets={A: 0})
        told.append("refused")

    assert ran(main, replicas=2)[1] == ["refused"]


def test_a_consumer_that_is_closed_leaves_at_once():
    def main(env, consumer, told):
        consumer.poll()
        if env.incarnation.replica == 1:
            consumer.close()
            consumer.close()
            with pytest.raises(RuntimeError, match="already been closed"):
                consumer.poll()
            return
        reads(env, consumer, told)

    run, told = ran(main, replicas=2, log_partitions=2, items=6, consumer=listens)
    assert "a member left" in [why for _, why in generations(run)]
    assert ("worker#1", "revoked", (A,)) in told
    assert max(one.at_ms for one in run.history.of("deliver")) < 1_000


def static(env, say):
    return {"instance": f"worker-{env.incarnation.replica}", **listens(env, say)}


@pytest.mark.parametrize(("consumer", "rounds"), [(static, 2), (listens, 3)])
def test_who_comes_back_by_its_name_has_what_it_had_and_nobody_else_notices(consumer, rounds):
    crash = Crash(Site("worker.<lambda>/sleep", "after"), down=100)
    run, told = ran(reads, crash, replicas=2, log_partitions=2, consumer=consumer)
    assert len(generations(run)) == rounds, generations(run)
    assert sorted(set(got(run))) == [1, 2, 3]
    if consumer is static:
        [again] = [one for one in told if one[0].endswith("/2")]
        assert again[1] == "given"
        assert max(one.at_ms for one in run.history.of("deliver")) < 1_000


def test_two_consumers_of_one_name_fence_each_other():
    refused = []

    def main(env, consumer, told):
        if env.incarnation.replica == 2:
            env.sleep(1)
        try:
            while True:
                for delivery in consumer.poll():
                    consumer.commit(delivery)
        except CommitFailed as error:
            refused.append((env.incarnation.label, str(error)))

    ran(main, replicas=2, consumer=lambda env, say: {"instance": "same"})
    assert refused == [
        ("worker#1", "fenced: another consumer has come with the same instance"),
    ]


def test_a_static_member_that_stands_still_is_missed_too():
    pause = Pause(Site("worker.<lambda>/sleep", "after"), lasting=60_000)
    run, _ = ran(reads, pause, replicas=2, log_partitions=2, consumer=static)
    assert "session timeout" in [why for _, why in generations(run)]


# ---- what cannot be


def test_what_makes_no_sense_is_refused_with_its_place():
    def both(env, consumer, told):
        [one] = consumer.poll()
        consumer.commit(one, offsets={A: 1})

    def nowhere(env, consumer, told):
        consumer.assign(("orders", 5))

    for main, words in ((both, "upto or offsets"), (nowhere, r"no log partition orders\[5\]")):
        with pytest.raises(InvalidDefinition, match=rf"{words}.*\(at tests/brokers/kafka"):
            ran(main)
    with pytest.raises(InvalidDefinition, match="earliest"):
        ran(reads, consumer=lambda *_: {"reset": "beginning"})


def test_a_lost_answer_to_a_commit_by_offset_has_taken_effect():
    def main(env, consumer, told):
        consumer.poll()
        with pytest.raises(TimeoutError):
            consumer.commit(offsets={A: 1})
        env.note("at", order=consumer.committed(*A))

    lost = LostReply(Site("worker.<lambda>/bus.commit", "after", entity=0))
    assert got(ran(main, lost)[0]) == [1]


def test_a_commit_before_anything_is_assigned_asks_for_nothing():
    """After a crash a loop that commits each time round waits for the session of its last life.

    Source: `ConsumerCoordinator.commitOffsetsSync` of Java's client: without offsets nothing is
    asked, so nothing is refused.
    """

    def each_time_round(env, consumer, told):
        while True:
            for delivery in consumer.poll(10, timeout_s=1):
                env.note("got", order=delivery.value)
            consumer.commit()

    crash = Crash(Site("worker.<lambda>/bus.commit", "after", entity=3))
    run, _ = ran(each_time_round, crash)
    assert len(list(run.history.of("crash"))) == 1, "and not once more for each commit of nothing"
    assert not list(run.history.of("nack"))
