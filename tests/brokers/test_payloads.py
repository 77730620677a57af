"""What becomes of keys and payloads on their way: bytes, texts, nothing at all."""

import json
from enum import Enum
from uuid import UUID

import msgspec
import pytest

from chaosharness import NATS, SQS, Delivery, Kafka, RabbitMQ, Redis, System
from chaosharness.brokers import BROKERS
from chaosharness.errors import InvalidDefinition

MAKE = {
    Kafka: lambda: Kafka("bus", topics={"orders": 4}),
    RabbitMQ: lambda: RabbitMQ("bus", queues=["orders"]),
    SQS: lambda: SQS("bus", queues=["orders"]),
    NATS: lambda: NATS("bus", streams=["orders"]),
    Redis: lambda: Redis("bus", streams=["orders"]),
}
brokers = pytest.mark.parametrize("broker", BROKERS, ids=lambda broker: broker.__name__)


class Colour(Enum):
    RED = "red"


class Order(msgspec.Struct):
    id: str


def given(broker, *values, read_as=None, hint=None, key="k", **options):
    """What the handler gets of what was published: values, and the keys of the deliveries."""
    found = []
    system = System("payloads")
    bus = system.add(MAKE[broker]())

    @system.service("worker")
    def worker(env):
        def on_order(value, delivery: Delivery):
            found.append((value, delivery.key))

        if hint is not None:
            on_order.__annotations__["value"] = hint
        env.consume(bus, "orders", on_order, read_as=read_as, **options)

    @system.entry(examples=[0])
    def place(env, item):
        for value in values:
            env.publisher(bus)("orders", value, key=key)

    run = system.run()
    assert run.ending.verdict == "quiet"
    return found, run


def values(*arguments, **options):
    found, _ = given(*arguments, **options)
    return [value for value, _ in found]


UUID_1 = "12345678-1234-5678-1234-567812345678"


@brokers
@pytest.mark.parametrize(
    ("published", "wanted", "got"),
    [
        ('{"id": "o1"}', bytes, b'{"id": "o1"}'),
        ('{"id": "o1"}', None, {"id": "o1"}),
        ('{"id": "o1"}', dict, {"id": "o1"}),
        ('{"id": "o1"}', str, '{"id": "o1"}'),
        ('{"id": "o1"}', Order, Order("o1")),
        ('{"id": "o1"}', json.loads, {"id": "o1"}),
        ("o1", None, "o1"),
        ("o1", str, "o1"),
        ("o1", str | None, "o1"),
        ("o1", bytes, b"o1"),
        ("5", None, "5"),
        ("5", int, 5),
        ("red", Colour, Colour.RED),
        (UUID_1, UUID, UUID(UUID_1)),
        ("{no JSON", None, "{no JSON"),
        ("é", str, "é"),
        ("", str, ""),
        (b'"o1"', str, "o1"),
        (b'"o1"', None, "o1"),
        ({"id": "o1"}, bytes, b'{"id":"o1"}'),
        ({"id": "o1"}, dict, {"id": "o1"}),
    ],
)
def test_a_text_is_written_as_it_is_and_read_as_it_is_wanted(broker, published, wanted, got):
    assert values(broker, published, read_as=wanted) == [got]
    if wanted is not json.loads:
        assert values(broker, published, hint=wanted) == [got]


@brokers
def test_bytes_that_are_no_json_stay_unreadable(broker):
    for wanted in (None, str, dict, int):
        assert values(broker, b"not JSON", read_as=wanted, on_error="skip") == []


@pytest.mark.parametrize("wanted", [None, bytes, str, dict, Order, json.loads])
def test_a_record_without_a_value_is_none_to_everybody(wanted):
    assert values(Kafka, None, read_as=wanted) == [None]


@pytest.mark.parametrize("broker", [RabbitMQ, SQS])
def test_a_queue_has_no_such_thing(broker):
    assert values(broker, None, read_as=bytes) == [b"null"]


@brokers
def test_bytes_are_a_key_and_go_where_the_same_text_goes(broker):
    runs = [given(broker, 1, key=key) for key in ("o1", b"o1")]
    places = [
        [event.data.get("partition") for event in run.history.of("publish")] for _, run in runs
    ]
    assert places[0] == places[1]
    keys = [key for found, _ in runs for _, key in found]
    assert keys == (["o1", b"o1"] if broker is Kafka else ["o1", "o1"])
    for _, run in runs:
        [event] = run.history.of("publish")
        assert event.data["key"] == "o1"


def test_bytes_that_are_no_text_are_a_key_too():
    [(_, key)], run = given(Kafka, 1, key=b"\xff\x00")
    assert key == b"\xff\x00"
    assert len(run.digest()) == 16


@brokers
@pytest.mark.parametrize("key", [7, 1.5, ("a",), True])
def test_what_cannot_be_a_key_is_refused_by_name(broker, key):
    words = (
        rf"'orders' cannot have the key .*, of type {type(key).__name__}: a key is text or bytes"
    )
    with pytest.raises(InvalidDefinition, match=words):
        given(broker, 1, key=key)


# ---- batches


def polled(act, count=3):
    """Have a loop poll several records and act on what it got; return the run."""
    system = System("batch", arrival_ms=1)
    bus = system.add(Kafka("bus", topics={"orders": 1}))

    @system.service("worker")
    def worker(env):
        consumer = env.consumer(bus, "orders", read_as=dict)

        def loop():
            env.sleep(1)
            while True:
                records = consumer.poll(10)
                act(env, records)
                consumer.commit()

        env.main(loop)

    @system.entry(examples=[{"id": n} for n in range(1, count + 1)])
    def place(env, order):
        env.publisher(bus)("orders", order)

    run = system.run()
    assert not any(run.history.of("raised"))
    return run


@pytest.mark.parametrize(
    ("take", "ids"),
    [
        (lambda records: [records[0]], [1]),
        (lambda records: [records[-1]], [3]),
        (lambda records: records[1:], [2, 3]),
        (reversed, [3, 2, 1]),
        (lambda records: [records[n] for n in range(len(records))], [1, 2, 3]),
        (lambda records: sorted(records, key=lambda one: -one.offset)[:1], [3]),
        (list, [1, 2, 3]),
    ],
)
def test_a_batch_is_a_list_of_records(take, ids):
    seen = []
    run = polled(lambda env, records: seen.extend(one.value["id"] for one in take(records)))
    assert seen == ids
    assert run.ending.verdict == "quiet"


def test_whoever_takes_a_record_by_its_index_acts_on_its_behalf():
    def act(env, records):
        if records:
            for index in (1, 0):
                env.note("at", order=records[index].value["id"])

    run = polled(act)
    assert [(one.entity, one.data["order"]) for one in run.history.of("note")] == [(2, 2), (1, 1)]


def test_a_batch_equals_the_list_of_its_records_and_says_so():
    def act(env, records):
        assert records == [*records]
        assert records != []
        assert records[:0] == []
        assert repr(records).startswith("[Delivery(")
        with pytest.raises(IndexError):
            records[9]

    polled(act)
