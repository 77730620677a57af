"""What errors lead to is said in the same words to every broker, and means the same."""

import pytest

from chaosharness import (
    NATS,
    SQS,
    Kafka,
    NATSConsumer,
    NATSStream,
    Queue,
    RabbitMQ,
    Redis,
    SQSQueue,
    System,
)
from chaosharness.brokers import BROKERS
from chaosharness.errors import InvalidDefinition

MAKE = {
    Kafka: lambda: Kafka("bus", topics={"orders": 1}),
    RabbitMQ: lambda: RabbitMQ(
        "bus", queues={"orders": Queue("quorum", dead_letter="aside"), "aside": "classic"}
    ),
    SQS: lambda: SQS("bus", queues={"orders": SQSQueue(dead_letter="aside"), "aside": SQSQueue()}),
    NATS: lambda: NATS(
        "bus",
        {
            "orders": NATSStream(consumers={"orders": NATSConsumer(dead_subject="aside")}),
            "aside": NATSStream(),
        },
    ),
    Redis: lambda: Redis("bus", streams=["orders", "aside"]),
}
UNREADABLE = b"not JSON"


def shop(broker, examples, fails=(), *, bus=None, loop=False, **options):
    """A service that takes orders; those in `fails` raise as often as said."""
    system = System("shop", arrival_ms=1)
    bus = system.add(bus or MAKE[broker]())
    left = dict(fails)
    if broker is Redis and not loop:  # nothing comes back before it is claimed
        options = {"claim_ms": 1_000} | options
        if "dead-letter" in options.values():
            options["dead_letter"] = "aside"

    @system.service("worker")
    def worker(env):
        def on_order(order: dict):
            number = order["id"]
            env.note("tried", order=number)
            if left.get(number, 0) > 0:
                left[number] -= 1
                raise OSError("not now")
            env.note("done", order=number)

        def main():
            while True:
                if isinstance(bus, Kafka):
                    for delivery in consumer.poll():
                        env.note("done", order=delivery.value["id"])
                        consumer.commit(delivery)
                elif isinstance(bus, SQS):
                    for delivery in consumer.receive():
                        env.note("done", order=delivery.value["id"])
                        consumer.delete(delivery)
                elif isinstance(bus, Redis):
                    for delivery in consumer.read():
                        env.note("done", order=delivery.value["id"])
                        consumer.ack(delivery)
                elif isinstance(bus, NATS):
                    for delivery in consumer.fetch():
                        env.note("done", order=delivery.value["id"])
                        consumer.ack(delivery)
                else:
                    delivery = consumer.receive()
                    env.note("done", order=delivery.value["id"])
                    consumer.ack(delivery)

        if loop:
            consumer = env.consumer(bus, "orders", read_as=dict, **options)
            env.main(main)
        else:
            env.consume(bus, "orders", on_order, **options)

    @system.entry(examples=examples)
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def notes(run, what):
    return [event.data["order"] for event in run.history.of("note") if event.data["what"] == what]


def dead(run):
    return [event.entity for event in run.history.of("dead")]


brokers = pytest.mark.parametrize("broker", BROKERS, ids=lambda broker: broker.__name__)
ORDERS = [{"id": 1}, {"id": 2}]


@brokers
def test_retry_tries_again_for_ever(broker):
    run = shop(broker, ORDERS, {1: 6}, on_error="retry").run()
    assert notes(run, "tried").count(1) == 7
    assert sorted(notes(run, "done")) == [1, 2]
    assert dead(run) == []


@brokers
def test_skip_goes_on(broker):
    run = shop(broker, ORDERS, {1: 99}, on_error="skip").run()
    assert notes(run, "tried") == [1, 2]
    assert (notes(run, "done"), dead(run)) == ([2], [])
    assert len([*run.history.of("ack")]) == 2


@brokers
@pytest.mark.parametrize("tries", [1, 4])
def test_dead_letter_puts_it_aside_after_some_tries(broker, tries):
    run = shop(broker, ORDERS, {1: 99}, on_error="dead-letter", retries_max=tries).run()
    assert notes(run, "tried").count(1) == tries
    assert (notes(run, "done"), dead(run)) == ([2], [1])
    assert run.ending.verdict == "quiet"


@brokers
def test_dead_letter_does_not_put_aside_what_goes_well_in_time(broker):
    run = shop(broker, ORDERS, {1: 2}, on_error="dead-letter").run()
    assert (sorted(notes(run, "done")), dead(run)) == ([1, 2], [])


@brokers
def test_crash_ends_the_process(broker):
    run = shop(broker, ORDERS, {1: 1}, on_error="crash").run()
    assert len([*run.history.of("crash")]) == 1
    assert sorted(notes(run, "done")) == [1, 2]


@brokers
@pytest.mark.parametrize("word", ["dead-letter", "skip"])
def test_what_cannot_be_read_has_a_rule_of_its_own(broker, word):
    options = {"on_error": "retry", "on_unreadable": word}
    run = shop(broker, [UNREADABLE, *ORDERS], {1: 5}, **options).run()
    assert notes(run, "tried").count(1) == 6
    assert sorted(notes(run, "done")) == [1, 2]
    assert dead(run) == ([1] if word == "dead-letter" else [])
    given = [event.data["times"] for event in run.history.of("deliver") if event.entity == 1]
    assert given[0] == 1
    assert len([one for one in run.history.of("raised") if one.entity == 1]) == 1


@brokers
def test_without_a_rule_it_is_an_error_like_any_other(broker):
    run = shop(broker, [UNREADABLE], on_error="dead-letter", retries_max=4).run()
    assert len([*run.history.of("raised")]) == 4
    assert dead(run) == [1]


@brokers
@pytest.mark.parametrize("word", ["dead-letter", "skip"])
def test_a_loop_may_leave_it_out(broker, word):
    system = shop(broker, [UNREADABLE, *ORDERS], loop=True, on_unreadable=word)
    if (broker, word) == (Redis, "dead-letter"):  # where to is for the loop to say
        with pytest.raises(InvalidDefinition, match="must be one of 'raise', 'skip'"):
            system.run()
        return
    run = system.run()
    assert run.ending.verdict == "quiet"
    assert notes(run, "done") == [1, 2]
    assert dead(run) == ([1] if word == "dead-letter" else [])


def test_a_queue_rejects_at_once():
    run = shop(RabbitMQ, ORDERS, {1: 99}, on_error="reject").run()
    assert (notes(run, "tried"), dead(run)) == ([1, 2], [1])


def test_a_queue_without_dead_letters_drops_what_is_rejected():
    bus = RabbitMQ("bus", queues=["orders"])
    run = shop(RabbitMQ, [UNREADABLE, *ORDERS], bus=bus, on_unreadable="reject").run()
    assert [event.data["to"] for event in run.history.of("dead")] == [[]]
    assert notes(run, "done") == [1, 2]


@pytest.mark.parametrize("broker", [RabbitMQ, SQS])
@pytest.mark.parametrize("loop", [False, True])
def test_dead_letters_need_somewhere_to_go(broker, loop):
    bus = broker("bus", queues=["orders"])
    system = shop(broker, ORDERS, bus=bus, loop=loop, on_unreadable="dead-letter")
    with pytest.raises(InvalidDefinition, match=r"needs a queue that has dead letters: declare"):
        system.run()


@brokers
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "later"}, "on_error must be one of 'retry'"),
        ({"on_unreadable": "later"}, "on_unreadable must be one of None, 'retry'"),
        ({"retries_max": 0}, "retries_max must be at least 1, not 0"),
    ],
)
def test_a_word_that_there_is_not_is_refused(broker, options, message):
    with pytest.raises(InvalidDefinition, match=message):
        shop(broker, ORDERS, **options).run()
