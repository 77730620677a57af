"""What a producer does not hear (acks=0), and where records without a key go."""

import pytest

from chaosharness import (
    Duplicate,
    ErrorReply,
    Kafka,
    KafkaTopic,
    LostReply,
    LostRequest,
    LostWrites,
    NetworkPartition,
    Pause,
    Schedule,
    Site,
    System,
    explore,
    nothing_acknowledged_lost,
)
from chaosharness.errors import IllegalFault, InvalidDefinition

PUBLISH = "desk.send/bus.publish orders"


def sending(*values, topics=None, colour="plain", key="k", options=None, **words):
    """Return a system of one producer and one reader, what was read, and what was told."""
    system = System("sending", arrival_ms=1_000)
    bus = system.add(Kafka("bus", topics or {"orders": 1}, **words))
    seen, told = [], []

    @system.service("reader")
    def reader(env):
        env.consume(bus, "orders", seen.append, reset="earliest")

    @system.service("desk")
    def desk(env):
        publish = env.publisher(bus, **(options or {}))

        def send(value):
            try:
                publish("orders", value, key=key)
            except Exception as error:
                told.append(type(error).__name__)
            else:
                told.append("sent")

        async def send_later(value):
            try:
                await publish("orders", value, key=key)
            except Exception as error:
                told.append(type(error).__name__)
            else:
                told.append("sent")

        send_later.__name__ = "send"
        env.serve("send", send if colour == "plain" else send_later)

    system.entry(examples=list(values))(lambda env, value: env.call("desk", "send", value))
    return system, seen, told


@pytest.mark.parametrize("colour", ["plain", "async"])
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (LostRequest(Site(PUBLISH, entity=2)), [1, 3]),
        (NetworkPartition(Site(PUBLISH, entity=2), lasting=500), [1, 3]),
        (LostWrites(Site(PUBLISH, "after", entity=2)), [1, 3]),
        (Pause(Site(PUBLISH, "after", entity=2)), [1, 2, 3]),
    ],
)
def test_whoever_asks_for_no_answer_goes_on_and_is_not_told(fault, expected, colour):
    system, seen, told = sending(1, 2, 3, acks=0, colour=colour)
    run = system.run(None, Schedule([fault]))
    assert run.unused == ()
    assert (seen, told) == (expected, ["sent"] * 3)


def test_whoever_asks_for_one_is_told():
    system, seen, told = sending(1, 2, 3, acks=1)
    system.run(None, Schedule([LostRequest(Site(PUBLISH, entity=2))]))
    assert (seen, sorted(told)) == ([1, 3], ["TimeoutError", "sent", "sent"])


@pytest.mark.parametrize(
    "fault",
    [ErrorReply(Site(PUBLISH)), Duplicate(Site(PUBLISH)), LostReply(Site(PUBLISH, "after"))],
)
def test_there_is_no_answer_to_lose_and_nothing_is_sent_again(fault):
    system, _, _ = sending(1, acks=0)
    with pytest.raises(IllegalFault, match="can never happen"):
        system.run(None, Schedule([fault]))


@pytest.mark.parametrize("colour", ["plain", "async"])
def test_nobody_is_told_that_a_record_lacks_its_key(colour):
    topics = {"orders": KafkaTopic(compacted=True)}
    system, seen, told = sending(1, topics=topics, key=None, acks=0, colour=colour)
    run = system.run()
    assert (seen, told) == ([], ["sent"])
    assert [one.data["outcome"] for one in run.history.of("reply")][:1] == ["unasked"]
    system, _, told = sending(1, topics=topics, key=None, acks=1, colour=colour)
    system.run()
    assert told == ["InvalidRecord"]


def test_one_publisher_may_ask_for_no_answer_where_the_others_do():
    options = {"acks": 0}
    system, _, told = sending(1, options=options, client="java")
    system.run(None, Schedule([LostRequest(Site(PUBLISH))]))
    assert told == ["sent"]
    system, _, told = sending(1, options={"idempotent": True}, acks=0)
    system.run(None, Schedule([LostRequest(Site(PUBLISH))]))
    assert told == ["TimeoutError"]
    system, _, _ = sending(1, options={"acks": 0, "idempotent": True})
    with pytest.raises(InvalidDefinition, match="acks=0 and an idempotent producer"):
        system.run()
    with pytest.raises(InvalidDefinition, match="acks=0 and an idempotent producer"):
        Kafka("bus", ["orders"], acks=0, idempotent_producer=True)


def test_a_search_loses_it_in_silence():
    system, _, _ = sending(1, acks=0)
    claims = [nothing_acknowledged_lost()]
    [found] = explore(system, properties=claims, faults_max=1, stop_at_first=True).counterexamples
    assert str(found.schedule.faults[0]).startswith("lost writes")


# ---- sticky: KIP-480


def spread(*gaps_ms, senders=1, **words):
    """Return the log partitions of records without a key that are sent so far apart."""
    system = System("spread")
    bus = system.add(Kafka("bus", {"orders": 4}, **words))

    @system.service("desk")
    def desk(env):
        publish = [env.publisher(bus) for _ in range(senders)]

        def send(value):
            for nth, gap_ms in enumerate(gaps_ms):
                env.sleep(gap_ms / 1_000)
                publish[nth % senders]("orders", nth)

        env.serve("send", send)

    system.entry(examples=[1])(lambda env, value: env.call("desk", "send", value))
    run = system.run()
    return [one.data["partition"] for one in run.history.of("publish")]


def test_records_without_a_key_are_spread():
    assert spread(0, 0, 0, 0, 0) == [1, 2, 3, 0, 1]


def test_a_sticky_producer_stays_with_one_log_partition_for_a_batch():
    sticky = {"unkeyed": "sticky", "linger_ms": 10}
    assert spread(0, 4, 5, 1, 9, 1, **sticky) == [0, 0, 0, 1, 1, 2]
    assert spread(0, 0, 0, 0, senders=2, **sticky) == [0, 1, 0, 1]
    assert spread(0, 0, 0, unkeyed="sticky", linger_ms=0) == [0, 1, 2]


def test_how_records_are_spread_is_checked():
    for wrong in ({"unkeyed": "random"}, {"linger_ms": -1}):
        with pytest.raises(InvalidDefinition):
            Kafka("bus", ["orders"], **wrong)


def test_a_stall_between_two_records_of_an_order_may_end_the_batch():
    def reading():
        system = System("batch")
        bus = system.add(Kafka("bus", {"orders": 2}, unkeyed="sticky", linger_ms=10))

        @system.service("desk")
        def desk(env):
            publish = env.publisher(bus)

            def send(value):
                publish("orders", "created")
                publish("orders", "cancelled")

            env.serve("send", send)

        system.entry(examples=[1])(lambda env, value: env.call("desk", "send", value))
        return system

    def places(*faults):
        run = reading().run(None, Schedule(faults))
        return [one.data["partition"] for one in run.history.of("publish")]

    assert places() == [0, 0]
    assert places(Pause(Site(PUBLISH, "after", attempt=1), lasting=50)) == [0, 1]
