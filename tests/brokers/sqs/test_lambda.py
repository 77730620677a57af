"""Lambda functions called with batches of a queue.

Recorded from AWS: after an error the whole batch comes again; of a partial response only what was
reported; an invalid entry fails all; an empty object is success; the time between is the
visibility timeout.
"""

import json
from types import SimpleNamespace
from uuid import UUID

import pytest

from chaosharness import (
    SQS,
    Crash,
    KeyValue,
    Lambda,
    Pause,
    Schedule,
    Site,
    SQSQueue,
    System,
    check,
)
from chaosharness.brokers.sqs.event import failures
from chaosharness.errors import InvalidDefinition


def shop(answer, *, queue="orders", items=4, work=None, replicas=1, settings=None, **options):
    """A function that notes what it gets, and answers with what it is told to."""
    system = System("shop", arrival_ms=1)
    letters = f"dead{'.fifo' if queue.endswith('.fifo') else ''}"
    given = {"dead_letter": letters, "receives_max": 2, "delay_ms": 10, **(settings or {})}
    bus = system.add(SQS("bus", {queue: SQSQueue(by_content=True, **given), letters: SQSQueue()}))

    @system.service("worker", replicas=replicas)
    def worker(env):
        calls = []

        def handler(event, context):
            ids = [json.loads(record["body"])["id"] for record in event["Records"]]
            calls.append(ids)
            env.note("called", ids=ids, left=context.get_remaining_time_in_millis())
            if work is not None:
                work(env, event)
            return answer(event, len(calls))

        window = {} if queue.endswith(".fifo") else {"window_ms": 100}
        env.consume(bus, queue, Lambda(handler, **{**window, **options}))

    @system.entry(examples=[{"id": number} for number in range(items)])
    def place(env, order):
        env.publisher(bus)(queue, order, key="k")

    return system


def calls(run):
    return [event.data["ids"] for event in run.history.of("note")]


def dead(run):
    return [event.entity - 1 for event in run.history.of("dead")]


def fail(event, nth):
    raise ValueError("no")


def report(*ids):
    def answer(event, nth):
        return {
            "batchItemFailures": [
                {"itemIdentifier": record["messageId"]}
                for record in event["Records"]
                if json.loads(record["body"])["id"] in ids
            ]
        }

    return answer


def test_a_batch_that_went_well_is_deleted():
    run = shop(lambda event, nth: None).run()
    assert calls(run) == [[0, 1, 2, 3]]
    assert len([*run.history.of("ack")]) == len([*run.history.of("handled")]) == 4


def test_after_an_error_all_of_it_comes_again():
    run = shop(fail).run()
    assert calls(run) == [[0, 1, 2, 3]] * 2
    assert sorted(dead(run)) == [0, 1, 2, 3]
    first, second = (event.at_ms for event in run.history.of("note"))
    assert second - first == pytest.approx(30_000, abs=10)


def test_of_a_partial_response_only_what_was_reported():
    run = shop(report(1, 2, 3), partial=True).run()
    assert calls(run) == [[0, 1, 2, 3], [1, 2, 3]]
    assert sorted(dead(run)) == [1, 2, 3]


def test_without_the_option_nobody_reads_the_answer():
    run = shop(report(1, 2, 3)).run()
    assert (calls(run), dead(run)) == ([[0, 1, 2, 3]], [])


HELD = [SimpleNamespace(received=SimpleNamespace(id=name)) for name in ("a", "b")]


@pytest.mark.parametrize(
    ("answer", "failed"),
    [
        (None, []),
        ({}, []),
        ({"batchItemFailures": None}, []),
        ({"batchItemFailures": []}, []),
        ({"batchItemFailures": [{"itemIdentifier": "b"}]}, [1]),
        ({"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "a"}]}, [0, 1]),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, [0, 1]),
        ({"batchItemFailures": [{"itemIdentifier": None}]}, [0, 1]),
        ({"batchItemFailures": [{"identifier": "b"}]}, [0, 1]),
        ({"batchItemFailures": [{"itemIdentifier": "other"}]}, [0, 1]),
        ({"batchItemFailures": ["b"]}, [0, 1]),
        ({"batchItemFailures": "b"}, [0, 1]),
        ("failed", [0, 1]),
    ],
)
def test_what_an_answer_says(answer, failed):
    assert sorted(failures(HELD, answer, partial=True)) == failed
    assert sorted(failures(HELD, answer, partial=False)) == []


def test_an_environment_that_takes_too_long_is_killed():
    def slow(env, event):
        env.sleep(2 if len(event["Records"]) == 1 else 5)

    run = shop(lambda event, nth: None, items=1, work=slow).run()
    assert (calls(run), len([*run.history.of("crash")])) == ([[0]], 0)
    run = shop(lambda event, nth: None, items=2, work=slow).run()
    assert len([*run.history.of("crash")]) == 2
    assert {event.data["error"] for event in run.history.of("raised")} == {
        "Sandbox.Timedout: Task timed out after 3.00 seconds"
    }
    assert sorted(dead(run)) == [0, 1]


def test_a_window_fills_a_batch():
    run = shop(lambda event, nth: None, batch=4, window_ms=0, settings={"delay_ms": 0}).run()
    assert len(calls(run)) > 1
    run = shop(lambda event, nth: None, batch=4, window_ms=1_000, settings={"delay_ms": 0}).run()
    assert calls(run) == [[0, 1, 2, 3]]


@pytest.mark.parametrize("replicas", [2, 3])
def test_a_batch_that_is_begun_is_filled_before_another(replicas):
    run = shop(lambda event, nth: None, batch=4, window_ms=1_000, replicas=replicas).run()
    assert calls(run) == [[0, 1, 2, 3]]


def test_replicas_are_environments():
    def slow(env, event):
        env.sleep(2)

    def most(replicas):
        run = shop(lambda event, nth: None, work=slow, batch=1, replicas=replicas).run()
        return run.history[len(run.history) - 1].at_ms

    assert most(4) < most(1)


def test_going_to_a_record_says_on_whose_behalf():
    def note(env, event):
        for record in event["Records"]:
            env.note("one", ids=json.loads(record["body"])["id"])

    run = shop(lambda event, nth: None, work=note).run()
    notes = [event for event in run.history.of("note") if event.data["what"] == "one"]
    assert [event.entity for event in notes] == [1, 2, 3, 4]


def test_an_idempotent_function_holds_under_every_single_fault():
    system = System("till", arrival_ms=1)
    bus = system.add(
        SQS("bus", {"orders": SQSQueue(dead_letter="dead", receives_max=5), "dead": SQSQueue()})
    )
    store = system.add(KeyValue("store"))

    @system.service("till")
    def till(env):
        db = env.connect(store)

        def handler(event, context):
            failed = []
            for record in event["Records"]:
                try:
                    order = json.loads(record["body"])
                    db.put(order["id"], "paid")
                except (ValueError, TypeError, KeyError, ConnectionError, TimeoutError):
                    failed.append({"itemIdentifier": record["messageId"]})
            return {"batchItemFailures": failed}

        env.consume(bus, "orders", Lambda(handler, batch=2, window_ms=100, partial=True))

    @system.entry(examples=[{"id": "a"}, {"id": "b"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    check(system, faults_max=1)


def test_faults_strike_each_record_of_a_batch():
    system = shop(lambda event, nth: None)
    for fault in (
        Crash(Site("worker.handler/handle", entity=3)),
        Crash(Site("worker.handler/bus.delete", "after", entity=2)),
        Pause(Site("worker.handler/handle", entity=4), lasting=50),
    ):
        run = system.run(None, Schedule([fault]))
        assert run.unused == ()
        assert run.ending.verdict == "quiet"


async def later(event, context):
    """What Lambda does not call."""


@pytest.mark.parametrize("handler", [later, "handler"])
def test_a_function_is_a_plain_one(handler):
    with pytest.raises(InvalidDefinition, match="plain function"):
        Lambda(handler)


@pytest.mark.parametrize(
    ("queue", "options", "message"),
    [
        ("orders", {"timeout_ms": 31_000}, "Queue visibility timeout: 30 seconds is less than"),
        ("orders", {"batch": 11, "window_ms": 0}, "needs a window"),
        ("orders.fifo", {"window_ms": 1_000}, "no window"),
        ("orders.fifo", {"batch": 11, "window_ms": 1_000}, "batches of 10"),
    ],
)
def test_mappings_that_aws_refuses(queue, options, message):
    with pytest.raises(InvalidDefinition, match=message):
        shop(lambda event, nth: None, queue=queue, **options).run()


def test_options_belong_to_the_function():
    def handler(event, context):
        """What is deployed."""

    for wrong, options, message in (
        (Lambda(handler), {"batch": 3}, r"give batch to Lambda\(\.\.\.\), not to consume"),
        (handler, {}, r"is given as Lambda\(handler\)"),
    ):
        system = System("shop")
        bus = system.add(SQS("bus", ["orders"]))
        system.service("worker")(
            lambda env, bus=bus, wrong=wrong, options=options: env.consume(
                bus, "orders", wrong, **options
            )
        )
        system.entry(examples=[1])(lambda env, item: None)
        with pytest.raises(InvalidDefinition, match=message):
            system.run()


def test_it_can_be_called_without_aws():
    assert Lambda(lambda event, context: (event, context))({"Records": []}) == (
        {"Records": []},
        None,
    )


# ---- how many calls at a time


def overlap(run):
    """Return how many calls went on at a time, at most."""
    now, most = 0, 0
    for event in run.history:
        if event.kind == "note":
            now += event.data["what"] == "called"
            now -= event.data["what"] == "done"
            most = max(most, now)
    return most


def slow(seconds):
    def work(env, event):
        env.sleep(seconds)
        env.note("done", ids=[], left=0)

    return work


def handed_out(run):
    return len([*run.history.of("deliver")])


ONE_EACH = {"batch": 1, "window_ms": 0}


def test_as_many_calls_at_a_time_as_there_are_environments():
    run = shop(lambda event, nth: None, work=slow(2), replicas=4, **ONE_EACH).run()
    assert overlap(run) == 4


def test_a_mapping_with_a_maximum_asks_for_no_more_and_nothing_is_received_in_vain():
    options = {**ONE_EACH, "concurrency_max": 2}
    run = shop(lambda event, nth: None, work=slow(2), replicas=4, **options).run()
    assert (overlap(run), handed_out(run), dead(run)) == (2, 4, [])


def test_the_place_of_an_environment_that_died_is_taken_by_another():
    options = {**ONE_EACH, "concurrency_max": 2}
    system = shop(lambda event, nth: None, work=slow(2), replicas=3, **options)
    dies = Crash(Site("worker.handler/bus.delete", "after"), down="next")
    run = system.run(None, Schedule([dies]))
    assert not run.unused
    assert (run.ending.verdict, overlap(run)) == ("quiet", 2)


def test_with_reserved_concurrency_messages_are_received_and_handled_by_nobody():
    options = {**ONE_EACH, "reserved": 1, "timeout_ms": 30_000}
    system = shop(lambda event, nth: None, items=3, work=slow(25), replicas=3, **options)
    run = system.run()
    assert overlap(run) == 1
    called = {one for ids in calls(run) for one in ids}
    assert handed_out(run) > len(calls(run))
    assert {*dead(run)} == {0, 1, 2} - called
    assert dead(run)  # received twice, handled never


def test_what_is_throttled_is_tried_again_as_long_as_it_is_hidden():
    options = {**ONE_EACH, "reserved": 1}
    run = shop(lambda event, nth: None, items=3, work=slow(2), replicas=3, **options).run()
    assert (overlap(run), handed_out(run), dead(run)) == (1, 3, [])


def test_a_cold_start_runs_on_the_visibility_of_what_was_received():
    run = shop(lambda event, nth: None, items=1, cold_start_ms=4_000, window_ms=0).run()
    [delivered] = run.history.of("deliver")
    [called] = run.history.of("note")
    assert called.at_ms - delivered.at_ms == 4_000
    twice = shop(lambda event, nth: None, items=2, cold_start_ms=4_000, **ONE_EACH).run()
    assert [event.at_ms for event in twice.history.of("note")][1] < 4_100


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("concurrency_max", 1),
        ("concurrency_max", 1_001),
        ("reserved", 0),
        ("cold_start_ms", 10_001),
    ],
)
def test_what_aws_would_not_take_is_refused(option, value):
    with pytest.raises(ValueError, match=option):
        Lambda(lambda event, context: None, **{option: value})


def test_no_two_invocations_have_one_id():
    system = System("shop")
    queues = {"orders": SQSQueue(dead_letter="dead", receives_max=6), "dead": SQSQueue()}
    bus = system.add(SQS("bus", queues))

    @system.service("worker", replicas=2)
    def worker(env):
        def handler(event, context):
            env.note("called", id=context.aws_request_id)
            if env.now_ms() < 100_000:
                raise ValueError("again")

        env.consume(bus, "orders", Lambda(handler, batch=1))

    @system.entry(examples=["o1", "o2"])
    def place(env, order):
        env.publisher(bus)("orders", {"id": order})

    crash = Crash(Site("worker.handler/handle", "before", 1, 3), down="next")
    run = system.run(None, Schedule([crash]))
    ids = [UUID(event.data["id"]) for event in run.history.of("note")]
    environments = {event.actor for event in run.history.of("note")}
    assert len(environments) > 2  # two, and the one after the crash
    assert len({*ids}) == len(ids) > 6
    again = system.run(None, Schedule([crash]))
    assert again.digest() == run.digest()
