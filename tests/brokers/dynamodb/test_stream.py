"""Streams of DynamoDB as Lambda functions get them: in order, at least once, a shard at a time."""

from pathlib import Path

import pytest

from chaosharness import (
    SQS,
    Budget,
    Crash,
    Delay,
    DynamoDB,
    DynamoStream,
    DynamoTable,
    Lambda,
    LostRequest,
    Schedule,
    Site,
    System,
)
from chaosharness.brokers.dynamodb.event import lowest_failed
from chaosharness.brokers.dynamodb.rows import ROWS
from chaosharness.errors import IllegalFault, InvalidDefinition
from chaosharness.faults import Duplicate
from chaosharness.handlers.legality import table

CHECKPOINT = "reader.handler/changes.checkpoint"


def shop(answer, writes, *, replicas=1, shards=1, ttl=None, options=None, **settings):
    """Somebody who writes, and a function that notes what it gets."""
    system = System("shop", budget=Budget(calm_ms=3 * 86_400_000))
    queues = system.add(SQS("queues", ["lost"]))
    db = system.add(DynamoDB("db", {"orders": DynamoTable("id", ttl=ttl), "other": "id"}))
    stream = system.add(DynamoStream("changes", db, "orders", shards=shards, queues=queues))

    @system.service("desk")
    def desk(env):
        tables = env.connect(db)
        env.main(lambda: writes(tables, env))

    @system.service("reader", replicas=replicas)
    def reader(env):
        calls = []

        def handler(event, context):
            found = [
                (one["eventName"], one["dynamodb"]["Keys"]["id"]["S"]) for one in event["Records"]
            ]
            calls.append(found)
            env.note("called", got=found, image=event["Records"][0]["dynamodb"].get("OldImage"))
            return answer(event, len(calls), env)

        env.consume(stream, "orders", Lambda(handler, **settings), **(options or {}))

    system.entry(examples=[1])(lambda env, item: None)
    return system


def three(tables, env):
    for name in ("a", "b", "c"):
        tables.put("orders", {"id": name, "n": 1})


def fine(event, nth, env):
    return None


def calls(run):
    return [[name for _, name in event.data["got"]] for event in run.history.of("note")]


def fails(*which):
    """Fail the calls of these numbers, by an exception."""

    def answer(event, nth, env):
        if not which or nth in which:
            raise OSError("not now")

    return answer


def test_changes_of_a_table_come_in_their_order_with_both_images():
    def writes(tables, env):
        tables.put("orders", {"id": "a", "n": 1})
        tables.put("orders", {"id": "a", "n": 2})
        tables.put("orders", {"id": "a", "n": 2})  # changes nothing: no record
        tables.put("other", {"id": "z"})
        tables.delete("orders", {"id": "a"})

    run = shop(fine, writes).run()
    [note] = run.history.of("note")
    assert note.data["got"] == [["INSERT", "a"], ["MODIFY", "a"], ["REMOVE", "a"]] or note.data[
        "got"
    ] == [("INSERT", "a"), ("MODIFY", "a"), ("REMOVE", "a")]
    assert note.data["image"] is None
    assert len([*run.history.of("ack")]) == 3


def test_a_batch_that_fails_comes_again_as_a_whole_and_the_shard_waits():
    def writes(tables, env):
        three(tables, env)
        env.sleep(0.5)
        tables.put("orders", {"id": "d"})

    run = shop(fails(1), writes).run()
    assert calls(run) == [["a", "b", "c"], ["a", "b", "c", "d"]]
    first, second = run.history.of("note")
    assert second.at_ms - first.at_ms >= 1_000


def test_a_partial_response_goes_on_at_the_lowest_that_failed():
    def answer(event, nth, env):
        if nth > 1:
            return {"batchItemFailures": []}
        names = [one["dynamodb"]["SequenceNumber"] for one in event["Records"]]
        return {"batchItemFailures": [{"itemIdentifier": one} for one in (names[2], names[1])]}

    assert calls(shop(answer, three, partial=True).run()) == [["a", "b", "c"], ["b", "c"]]
    assert calls(shop(answer, three).run()) == [["a", "b", "c"]]  # nobody reads it


class Held:
    def __init__(self, number):
        self.record = type("Record", (), {"number": number})


@pytest.mark.parametrize(
    ("answer", "first"),
    [
        (None, 2),
        ({}, 2),
        ({"batchItemFailures": []}, 2),
        ({"batchItemFailures": [{"itemIdentifier": f"{8:021d}"}]}, 1),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, 0),
        ({"batchItemFailures": [{"itemIdentifier": "9"}]}, 0),
        ({"batchItemFailures": "8"}, 0),
        ("failed", 0),
    ],
)
def test_what_an_answer_says(answer, first):
    held = [Held(7), Held(8)]
    assert lowest_failed(held, answer, partial=True) == first
    assert lowest_failed(held, answer, partial=False) == 2


def test_a_batch_is_cut_in_two_until_what_fails_is_alone():
    def answer(event, nth, env):
        if any(one["dynamodb"]["Keys"]["id"]["S"] == "b" for one in event["Records"]):
            raise ValueError("b")

    options = {"bisect": True, "retries_max": 4}
    run = shop(answer, three, options=options).run()
    assert calls(run)[0] == ["a", "b", "c"]
    assert ["a"] in calls(run) or ["a", "b"] in calls(run)
    handled = {event.cause for event in run.history.of("handled")}
    assert handled
    assert calls(run)[-1][-1] == "c"


def test_after_so_many_retries_it_is_given_up_and_somebody_is_told_where_it_was():
    options = {"retries_max": 2, "on_failure": "lost"}
    run = shop(fails(), three, options=options).run()
    assert calls(run) == [["a", "b", "c"]] * 3
    assert [event.data["to"] for event in run.history.of("dead")] == [["lost"]] * 3
    letter = [*run.history.of("publish")][-1]
    assert letter.data["queues"] == ["lost"]
    assert b'"batchSize": 3' in letter.data["value"]


def test_changes_that_are_too_old_are_given_up():
    def writes(tables, env):
        three(tables, env)
        env.sleep(200)
        tables.put("orders", {"id": "d"})

    def answer(event, nth, env):
        if event["Records"][0]["dynamodb"]["Keys"]["id"]["S"] == "a":
            raise OSError("never")

    run = shop(answer, writes, options={"age_ms_max": 60_000}).run()
    assert calls(run)[-1] == ["d"]
    dead = [*run.history.of("dead")]
    assert [event.data["to"] for event in dead] == [[]] * 3
    assert 60_000 <= dead[0].at_ms < 130_000


def test_each_shard_has_a_batch_of_its_own_and_an_item_stays_in_one():
    def writes(tables, env):
        for name in "abcdefgh":
            tables.put("orders", {"id": name, "n": 1})
            tables.put("orders", {"id": name, "n": 2})

    run = shop(fine, writes, shards=4, replicas=4).run()
    batches = [[tuple(one) for one in event.data["got"]] for event in run.history.of("note")]
    assert 1 < len(batches) <= 4
    for batch in batches:
        names = [name for _, name in batch]
        assert [kind for kind, _ in batch] == ["INSERT", "MODIFY"] * (len(batch) // 2)
        assert names == sorted(names)


def test_one_environment_for_many_shards_takes_one_after_the_other():
    def writes(tables, env):
        for name in "abcdefgh":
            tables.put("orders", {"id": name})

    run = shop(fine, writes, shards=4).run()
    assert sorted(name for batch in calls(run) for name in batch) == [*"abcdefgh"]


def test_a_lost_checkpoint_or_a_crash_has_the_batch_come_again():
    for fault in (
        LostRequest(Site(CHECKPOINT, entity=0)),
        Crash(Site("reader.handler/handle", entity=0)),
    ):
        run = shop(fine, three).run(None, Schedule([fault]))
        assert not run.unused, fault
        assert len([*run.history.of("deliver")]) == 6
        assert run.ending.verdict == "quiet"


def test_a_crash_after_the_checkpoint_repeats_nothing():
    run = shop(fine, three).run(None, Schedule([Crash(Site(CHECKPOINT, "after", entity=0))]))
    assert calls(run) == [["a", "b", "c"]]


def test_a_delay_holds_up_the_shard_and_keeps_its_order():
    late = Delay(Site("changes.orders/deliver to reader", entity=0), lasting=5_000)
    run = shop(fine, three).run(None, Schedule([late]))
    assert not run.unused
    assert calls(run) == [["a", "b", "c"]]
    with pytest.raises(IllegalFault):
        twice = Duplicate(Site("changes.orders/deliver to reader", entity=0))
        shop(fine, three).run(None, Schedule([twice]))


def test_a_window_gathers_a_batch():
    def writes(tables, env):
        for name in ("a", "b"):
            tables.put("orders", {"id": name})
            env.sleep(1)

    assert calls(shop(fine, writes).run()) == [["a"], ["b"]]
    assert calls(shop(fine, writes, window_ms=3_000).run()) == [["a", "b"]]


def test_an_environment_that_takes_too_long_is_killed_and_tries_again():
    def slow(event, nth, env):
        env.sleep(9)

    run = shop(slow, three, options={"retries_max": 1}).run()
    assert len([*run.history.of("crash")]) == 2
    assert len([*run.history.of("dead")]) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retries": 3}, "there is no option 'retries'"),
        ({"retries_max": -1}, "retries_max must be a whole number"),
        ({"on_failure": "nowhere"}, "'nowhere' is no queue"),
    ],
)
def test_options_that_are_none(options, words):
    with pytest.raises(InvalidDefinition, match=words):
        shop(fine, three, options=options).run()


def test_a_stream_of_no_table_and_a_reader_that_is_no_function():
    db = DynamoDB("db", {"orders": "id"})
    with pytest.raises(InvalidDefinition, match="there is no such table; there are: orders"):
        DynamoStream("changes", db, "nowhere")
    system = System("shop")
    system.add(db)
    stream = system.add(DynamoStream("changes", db, "orders"))
    system.service("reader")(lambda env: env.consume(stream, "orders", lambda one: None))
    system.entry(examples=[1])(lambda env, item: None)
    with pytest.raises(InvalidDefinition, match="give Lambda"):
        system.run()


def test_the_page_has_each_row():
    page = Path(__file__).parents[3] / "docs" / "how-to" / "dynamodb.md"
    assert table(ROWS) in page.read_text("utf-8")
    assert all(row.source and row.condition for row in ROWS if row.searched)
