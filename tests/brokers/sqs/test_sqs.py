"""SQS in a run: what a consumer meets on standard and on FIFO queues."""

from pathlib import Path
from random import Random

import pytest

from chaosharness import (
    SQS,
    AWSError,
    Delay,
    Delivery,
    LostReply,
    LostRequest,
    Pause,
    Redeliver,
    Schedule,
    Site,
    SQSQueue,
    System,
    always,
    smallest,
)
from chaosharness.brokers.sns.rows import ROWS as SNS_ROWS
from chaosharness.brokers.sqs.rows import ROWS
from chaosharness.errors import IllegalFault, InvalidDefinition
from chaosharness.handlers.legality import table
from chaosharness.search.sites import candidates

DELIVER = "bus.{}/deliver to worker"


def shop(queue="orders", *, handle=None, items=4, replicas=1, consume=None, send=None, **settings):
    """One service that consumes what a client sends."""
    system = System("shop", arrival_ms=1)
    letters = f"dead{'.fifo' if queue.endswith('.fifo') else ''}"
    declared = SQSQueue(**{"dead_letter": letters, "receives_max": 5, **settings})
    bus = system.add(SQS("bus", {queue: declared, letters: SQSQueue()}))

    @system.service("worker", replicas=replicas)
    def worker(env):
        def on_order(order: dict):
            env.note("tried", order=order["id"])
            if handle is not None:
                handle(env, order)
            env.note("done", order=order["id"])

        env.consume(bus, queue, on_order, **(consume or {}))

    @system.entry(examples=[{"id": number, "of": number % 2} for number in range(items)])
    def place(env, order):
        words = {"key": f"k{order['of']}"}
        if queue.endswith(".fifo"):
            words["deduplication"] = f"d{order['id']}"
        env.publisher(bus)(queue, order, **{**words, **(send or {})})

    return system


def notes(run, what="done"):
    return [event.data["order"] for event in run.history.of("note") if event.data["what"] == what]


def words(run, kind):
    found = run.history.of(kind)
    return [event.data.get("why") or event.data.get("error") or "" for event in found]


# ---- leases in a run


@pytest.mark.parametrize("queue", ["orders", "orders.fifo"])
def test_a_handler_slower_than_the_visibility_is_repeated(queue):
    def slow(env, order):
        env.sleep(40)

    system = shop(queue, handle=slow, items=1, replicas=2)
    run = system.run()
    assert notes(run, "tried").count(0) > 1
    assert "visibility timeout" in words(run, "nack")
    expired = any("The receipt handle has expired" in one for one in words(run, "nack"))
    assert expired is queue.endswith(".fifo")


def test_a_stall_past_the_visibility_hands_it_to_somebody_else():
    run = shop(replicas=2, items=1).run(
        None, Schedule([Pause(Site("worker.on_order/handle"), lasting=31_000)])
    )
    assert notes(run, "tried") == [0, 0]


def test_what_is_never_done_ends_among_the_dead_letters():
    def fail(env, order):
        raise OSError("not now")

    run = shop(handle=fail, items=1).run()
    assert run.ending.verdict == "quiet"
    assert len(notes(run, "tried")) == 5
    [dead] = run.history.of("dead")
    assert dead.data["to"] == ["dead"]


def test_a_backoff_changes_the_visibility():
    def fail(env, order):
        if env.now_ms() < 100:
            raise OSError("not now")

    run = shop(handle=fail, items=1, consume={"backoff_ms": 200}).run()
    assert notes(run) == [0]
    assert run.history[len(run.history) - 1].at_ms < 1_000


@pytest.mark.parametrize("batch", [1, 10])
def test_all_of_a_batch_is_hidden_from_the_receive_on(batch):
    def slow(env, order):
        env.sleep(12)

    run = shop(handle=slow, replicas=2, items=9, consume={"batch": batch}).run()
    assert (max(notes(run, "tried").count(one) for one in range(9)) > 1) is (batch == 10)


# ---- order and copies


def orders_of_groups(run):
    return [[one for one in notes(run) if one % 2 == group] for group in (0, 1)]


def test_a_fifo_queue_keeps_the_order_of_a_group_under_any_faults():
    system = shop("orders.fifo", replicas=2, items=6)
    singles = [fault for fault in candidates(system.run()) if fault.site.entity]
    assert len(singles) > 100
    chance = Random(3)
    pairs = [chance.sample(singles, 2) for _ in range(150)]
    for faults in [*([one] for one in singles), *pairs]:
        run = system.run(None, Schedule(faults))
        if any(event.kind == "dead" for event in run.history):
            continue  # a dead letter lets its group go on: that breaks its order
        if any("publish" in fault.site.operation for fault in faults):
            continue  # what a client sends later is later
        for group in orders_of_groups(run):
            first = list(dict.fromkeys(group))
            assert first == sorted(first), faults


def test_a_standard_queue_may_swap_and_repeat():
    deliver = DELIVER.format("orders")
    swapped = shop().run(None, Schedule([Delay(Site(deliver, entity=1), lasting=5)]))
    assert notes(swapped) == [1, 2, 3, 0]
    twice = shop().run(None, Schedule([Redeliver(Site(deliver, "after", entity=1))]))
    assert notes(twice).count(0) == 2
    assert not [event for event in twice.history.of("nack")]


@pytest.mark.parametrize("fault", [Delay(Site("x")), Redeliver(Site("x", "after"))])
def test_a_fifo_queue_does_neither(fault):
    site = Site(DELIVER.format("orders.fifo"), fault.site.phase)
    with pytest.raises(IllegalFault, match="can never happen"):
        shop("orders.fifo").run(None, Schedule([type(fault)(site)]))


def test_a_lost_answer_hides_a_message_until_its_time_is_over():
    deliver = DELIVER.format("orders.fifo")
    run = shop("orders.fifo").run(None, Schedule([LostReply(Site(deliver, "after"))]))
    assert sorted(notes(run)) == [0, 1, 2, 3]
    [lost] = [event for event in run.history.of("deliver") if event.data.get("lost")]
    again = [e for e in run.history.of("deliver") if e.data["message"] == lost.data["message"]]
    assert again[1].at_ms - lost.at_ms >= 30_000


def test_what_is_sent_again_is_recognised_and_said_so():
    run = shop("orders.fifo", items=2, send={"deduplication": "same"}).run()
    assert notes(run) == [0]
    [known] = [event for event in run.history.of("publish") if "same_as" in event.data]
    assert known.data["queues"] == []


# ---- loops


def looping(queue, work, **settings):
    system = System("looping", arrival_ms=1)
    bus = system.add(SQS("bus", {queue: SQSQueue(by_content=True, **settings)}))

    @system.service("worker")
    def worker(env):
        consumer = env.consumer(bus, queue, read_as=dict)

        def main():
            while True:
                work(env, consumer)

        env.main(main)

    @system.entry(examples=[{"id": number} for number in range(3)])
    def place(env, order):
        env.publisher(bus)(queue, order, key="k")

    return system


def test_a_loop_receives_and_deletes():
    def work(env, consumer):
        for delivery in consumer.receive(10, wait_s=20):
            assert isinstance(delivery, Delivery)
            env.note("done", order=delivery.value["id"])
            consumer.delete(delivery)

    run = looping("orders", work).run()
    assert (notes(run), run.ending.verdict) == ([0, 1, 2], "quiet")


def test_a_heartbeat_keeps_a_message_and_a_change_to_zero_gives_it_back():
    def work(env, consumer):
        for delivery in consumer.receive():
            if not delivery.redelivered:
                consumer.change_visibility(delivery, 0)
                continue
            for _ in range(5):
                env.sleep(20)
                consumer.change_visibility(delivery, 30)
            env.note("done", order=delivery.value["id"])
            consumer.delete(delivery)

    run = looping("orders", work).run()
    assert sorted(notes(run)) == [0, 1, 2]


def test_a_late_delete_on_fifo_is_refused_by_its_name():
    def work(env, consumer):
        for delivery in consumer.receive():
            env.sleep(31 if not delivery.redelivered else 1)
            try:
                consumer.delete(delivery)
            except AWSError as error:
                env.note("done", order=error.response["Error"]["Code"])

    run = looping("orders.fifo", work).run()
    assert notes(run) == ["InvalidParameterValue"] * 3


def test_one_of_a_batch_fails_alone():
    def work(env, consumer):
        batch = consumer.receive(10)
        for delivery in batch:
            env.note("done", order=delivery.value["id"])
        env.note("failed", order=len(consumer.delete_batch([*batch])))

    system = looping("orders", work, delay_ms=10)
    site = Site("worker.main/bus.delete_batch", entity=2)
    run = system.run(None, Schedule([LostRequest(site)]))
    assert 1 in notes(run, "failed")
    assert notes(run).count(1) == 2


def test_an_empty_queue_is_quiet():
    def work(env, consumer):
        for wait_s in (0.5, 0):
            for delivery in consumer.receive(3, wait_s=wait_s):
                consumer.delete(delivery)

    assert looping("orders", work).run().ending.verdict == "quiet"


# ---- what is refused


@pytest.mark.parametrize(
    ("queue", "send", "code"),
    [
        ("orders.fifo", {"key": None}, "MissingParameter"),
        ("orders.fifo", {"deduplication": None}, "InvalidParameterValue"),
        ("orders.fifo", {"delay_ms": 2_000}, "InvalidParameterValue"),
        ("orders", {"headers": {"x": "y" * 1_100_000}}, "InvalidParameterValue"),
        ("orders", {"delay_ms": 900_001}, "InvalidParameterValue"),
    ],
)
def test_a_refusal_is_the_one_of_aws(queue, send, code):
    with pytest.raises(InvalidDefinition, match=code):  # the entry does not expect it
        shop(queue, send=send).run()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SQS("bus", {"a": SQSQueue(dead_letter="b")}), "there is no such queue"),
        (
            lambda: SQS("bus", {"a.fifo": SQSQueue(dead_letter="b"), "b": SQSQueue()}),
            "those of a FIFO queue go to a FIFO queue",
        ),
        (lambda: SQS("bus", {"a": {}}), "must be an SQSQueue"),
        (lambda: SQS("bus", 5), "queues must be names, or"),
        (lambda: SQS("bus", ["bad name!"]), "the name of a queue must be letters, digits"),
        (lambda: SQS("bus", ["a" * 81]), "the name of a queue must be letters, digits"),
    ],
)
def test_queues_that_cannot_be(make, message):
    with pytest.raises(InvalidDefinition, match=message):
        make()


@pytest.mark.parametrize(
    "settings",
    [
        {"visibility_ms": 43_200_001},
        {"delay_ms": 900_001},
        {"retention_ms": 59_999},
        {"size_max": 1},
        {"receives_max": 0},
        {"scope": "topic"},
    ],
)
def test_ranges_are_those_of_aws(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        SQSQueue(**settings)


@pytest.mark.parametrize(
    ("consume", "message"),
    [
        ({"batch": 11}, "batch must be a whole number, 1 to 10"),
        ({"prefetch": 1}, "there is no option 'prefetch'"),
        ({"concurrency": 2}, "concurrency must be 1"),
    ],
)
def test_options_that_cannot_be(consume, message):
    with pytest.raises(InvalidDefinition, match=message):
        shop(consume=consume).run()


def test_queues_that_there_are_not():
    with pytest.raises(InvalidDefinition, match="bus has no queue 'x'; it has: dead, orders"):
        system = shop()
        bus = system.resources["bus"]
        system.service("other")(lambda env: env.consume(bus, "x", lambda value: None))
        system.run()


# ---- rows, and a search


def test_each_row_says_where_it_comes_from():
    assert all(row.source for row in ROWS)
    assert all(row.condition for row in ROWS if row.searched)
    assert "| deliver | standard | after: Redeliver |" in table(ROWS)
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "sqs.md").read_text("utf-8")
    assert table(ROWS) in page
    assert table(SNS_ROWS) in page
    on_fifo = {row.fault.__name__ for row in ROWS if (row.profile, row.at) == ("fifo", "deliver")}
    assert on_fifo == {"NetworkPartition", "LostReply"}


def test_a_search_finds_what_only_the_weaker_queue_does():
    def counting(queue):
        system = System("counting", arrival_ms=1)
        bus = system.add(SQS("bus", {queue: SQSQueue(by_content=True)}))

        @system.service("worker")
        def worker(env):
            seen = []

            def on_order(order: dict):
                seen.append(order["id"])
                env.note("in order", held=seen == sorted(seen))

            env.consume(bus, queue, on_order, on_error="skip")

        @system.entry(examples=["k"])
        def place(env, key):
            for number in (1, 2):
                env.publisher(bus)(queue, {"id": number}, key=key)

        return system

    in_order = always("in order", lambda event: event.data["held"], kinds="note")
    found = smallest(counting("orders"), in_order, faults_max=1)
    assert len(found.schedule) == 1
    assert smallest(counting("orders.fifo"), in_order, faults_max=1) is None
