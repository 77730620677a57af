"""What a product can do, a search tries: one small service for a row, which that fault breaks.

Each is calm without faults. A search by default finds it broken; a search of that kind of fault
alone finds it by that row. The right one beside it survives every fault of
that kind or, where there is none, every single fault.
"""

import json
from contextlib import suppress

import boto3
import pytest

from chaosharness import (
    AWS,
    NATS,
    SNS,
    SQS,
    Books,
    DynamoDB,
    DynamoStream,
    EventBridge,
    EventRule,
    Kafka,
    KeyValue,
    Lambda,
    NATSConsumer,
    NATSStream,
    RabbitMQ,
    Redis,
    SNSSubscription,
    SNSTopic,
    SQSQueue,
    System,
    eventually,
    explore,
)
from chaosharness.faults import (
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    LostReply,
    LostRequest,
    LostWrites,
    Rebalance,
    Redeliver,
)

ORDERS = [{"id": "o1"}, {"id": "o2"}]
EVENTS = boto3.client("events", region_name="us-east-1")


def counted_once(history):
    return all(count == 1 for count in Books(history).values("counts").values())


def none_missing(history):
    return len(Books(history).values("counts")) == len(ORDERS)


def counts(system, bus, source, *, by_id=False, **options):
    """Have a service count orders: each delivery, or each order once."""
    options = {"on_unreadable": "skip", **options}
    store = system.add(KeyValue("counts"))

    @system.service("till")
    def till(env):
        known = env.connect(store)

        def on_order(order: dict):
            before = known.get(order["id"]) or 0
            known.put(order["id"], 1 if by_id else before + 1)

        env.consume(bus, source, on_order, **options)


def arrives(system, bus, place="orders"):
    system.entry(examples=ORDERS)(lambda env, one: env.publisher(bus)(place, one, key=one["id"]))
    return system


def counting(make, source="orders", *, by_id=False, **options):
    """Return a system that counts what comes to a broker."""
    system = System("counting")
    bus = system.add(make())
    counts(system, bus, source, by_id=by_id, **options)
    return arrives(system, bus)


def relaying(make, first="orders", second="paid", **options):
    """Return one that publishes what has come to a second place, which is counted by id."""
    options = {"on_unreadable": "skip", **options}
    system = System("relaying", arrival_ms=5_000)
    bus = system.add(make())

    @system.service("relay")
    def relay(env):
        publish = env.publisher(bus)
        taken = {
            one: value for one, value in options.items() if one in ("claim_ms", "on_unreadable")
        }
        env.consume(bus, first, lambda one: publish("paid", one, key=one["id"]), **taken)

    counts(system, bus, second, by_id=True, **options)
    return arrives(system, bus)


def last_word(*, fifo=False):
    """Return one in which the last word of an order is shown."""
    system = System("words", arrival_ms=1)
    words = "words.fifo" if fifo else "words"
    bus = system.add(SQS("bus", ["orders", words]))
    store = system.add(KeyValue("counts"))

    @system.service("desk")
    def desk(env):
        publish = env.publisher(bus)

        def on_order(order: dict):
            for number, word in enumerate(("placed", "cancelled")):
                said = {"id": order["id"], "word": word}
                once = {"deduplication": f"{order['id']}-{number}"} if fifo else {}
                publish(words, said, key=order["id"], **once)

        env.consume(bus, "orders", on_order, on_unreadable="skip")

    @system.service("board")
    def board(env):
        put = env.connect(store).put
        env.consume(bus, words, lambda said: put(said["id"], said["word"]), on_unreadable="skip")

    return arrives(system, bus)


def says_cancelled(history):
    return {*Books(history).values("counts").values()} <= {"cancelled"}


def fanned_out(*, by_id=False):
    system = System("news")
    queues = system.add(SQS("queues", ["orders"]))
    topic = SNSTopic([SNSSubscription("orders", raw=True)])
    bus = system.add(SNS("bus", queues, {"news": topic}))
    counts(system, queues, "orders", by_id=by_id)
    return arrives(system, bus, "news")


def put_events(*, looks=False):
    """Return one that puts events in a batch, and looks at what became of each, or does not."""
    system = System("events")
    queues = system.add(SQS("queues", ["orders", "till"]))
    rules = {"placed": EventRule({"source": ["shop"]}, ["till"])}
    system.add(AWS(queues, system.add(EventBridge("bus", queues, rules, source="shop"))))
    store = system.add(KeyValue("counts"))

    @system.service("shop")
    def shop(env):
        def on_order(order: dict):
            event = {"Source": "shop", "DetailType": "Placed", "Detail": json.dumps(order)}
            answer = EVENTS.put_events(Entries=[event])
            if looks and answer["FailedEntryCount"]:
                raise RuntimeError("not taken")

        env.consume(queues, "orders", on_order, on_unreadable="skip")

    @system.service("till")
    def till(env):
        put = env.connect(store).put
        env.consume(
            queues, "till", lambda event: put(event["detail"]["id"], 1), on_unreadable="skip"
        )

    return arrives(system, queues)


def of_a_stream(*, by_id=False):
    system = System("changes")
    table = system.add(DynamoDB("db", {"orders": "id"}))
    stream = system.add(DynamoStream("changes", table, "orders"))
    store = system.add(KeyValue("counts"))

    @system.service("till")
    def till(env):
        known = env.connect(store)

        def handler(event, context):
            for record in event["Records"]:
                id = record["dynamodb"]["Keys"]["id"]["S"]
                known.put(id, 1 if by_id else (known.get(id) or 0) + 1)

        env.consume(stream, "orders", Lambda(handler))

    system.entry(examples=ORDERS)(lambda env, one: env.connect(table).put("orders", one))
    return system


def moved_back(*, again=False):
    """Return one whose operator moves dead letters back: once, or again and again."""
    system = System("moved back")
    queues = {"orders": SQSQueue(dead_letter="dead", receives_max=1), "dead": SQSQueue()}
    bus = system.add(SQS("bus", queues))
    store = system.add(KeyValue("counts"))

    @system.service("till")
    def till(env):
        put = env.connect(store).put

        def on_order(order: dict):
            if env.now_ms() < 60_000:
                raise ValueError("not open yet")
            put(order["id"], 1)

        env.consume(bus, "orders", on_order, on_unreadable="skip")

    @system.service("operator")
    def operator(env):
        def look():
            for _ in range(3 if again else 1):
                env.sleep(120)
                with suppress(Exception):
                    env.consumer(bus, "dead").redrive()

        env.main(look)

    return arrives(system, bus)


def of_nats(ack="explicit"):
    return NATS(
        "bus",
        {
            "orders": NATSStream(consumers={"till": NATSConsumer(ack=ack)}),
            "paid": NATSStream(consumers={"show": NATSConsumer()}),
        },
    )


def of_redis():
    return Redis("bus", ["orders", "paid"], loses_ms=1_000)


def of_kafka(**how):
    return lambda: Kafka("bus", {"orders": 2, "paid": 1}, **how)


def of_rabbit(**how):
    return lambda: RabbitMQ("bus", ["orders", "paid"], **how)


EARLIEST = {"reset": "earliest"}
REJECTS = {"on_unreadable": "reject"}
ROWS = {
    "a standard queue delivers again": (
        *(Redeliver, "bus.orders/deliver to till", counted_once),
        lambda: counting(lambda: SQS("bus", ["orders"])),
        lambda: counting(lambda: SQS("bus", ["orders"]), by_id=True),
    ),
    "a standard queue delivers late": (
        *(Delay, "bus.words/deliver to board", says_cancelled),
        last_word,
        lambda: last_word(fifo=True),
    ),
    "a topic delivers twice": (
        *(Duplicate, "bus.", counted_once),
        fanned_out,
        lambda: fanned_out(by_id=True),
    ),
    "an event of a batch is not taken": (
        *(ErrorReply, "entry of put_events", none_missing),
        put_events,
        lambda: put_events(looks=True),
    ),
    "a checkpoint of a stream is lost": (
        *(LostRequest, "changes.checkpoint", counted_once),
        of_a_stream,
        lambda: of_a_stream(by_id=True),
    ),
    "a task that moves dead letters is not begun": (
        *(LostRequest, "bus.redrive", none_missing),
        moved_back,
        lambda: moved_back(again=True),
    ),
    "a failover of Redis forgets an acknowledgement": (
        *(LostWrites, "bus.orders/deliver to till", counted_once),
        lambda: counting(of_redis),
        lambda: counting(of_redis, by_id=True),
    ),
    "a failover of Redis forgets an entry": (
        *(LostWrites, "bus.ack", none_missing),
        lambda: relaying(of_redis),
        lambda: relaying(lambda: Redis("bus", ["orders", "paid"]), claim_ms=30_000),
    ),
    "a delivery of NATS is lost that nobody acknowledges": (
        *(LostReply, "bus.till/deliver to till", none_missing),
        lambda: counting(lambda: of_nats("none"), "till"),
        lambda: counting(of_nats, "till"),
    ),
    "an acknowledgement of NATS is lost": (
        *(LostRequest, "bus.ack", counted_once),
        lambda: counting(of_nats, "till"),
        lambda: counting(of_nats, "till", by_id=True),
    ),
    "a leader of Kafka forgets what it alone has": (
        *(LostWrites, "relay.<lambda>/bus.publish paid", none_missing),
        lambda: relaying(of_kafka(acks=1), **EARLIEST),
        lambda: relaying(of_kafka(), **EARLIEST),
    ),
    "a record of Kafka is lost that nobody answers": (
        *(LostRequest, "relay.<lambda>/bus.publish paid", none_missing),
        lambda: relaying(of_kafka(acks=0), **EARLIEST),
        lambda: relaying(of_kafka(), **EARLIEST),
    ),
    "a replica leads that lacks the last records": (
        *(LostWrites, "relay.<lambda>/bus.publish paid", none_missing),
        lambda: relaying(of_kafka(unclean_elections=True), **EARLIEST),
        lambda: relaying(of_kafka(), **EARLIEST),
    ),
    "a round of a group comes before the commit": (
        *(Rebalance, "till.on_order/bus.commit", counted_once),
        lambda: counting(of_kafka()),
        lambda: counting(of_kafka(), by_id=True),
    ),
    "a message of RabbitMQ is lost that nobody confirms": (
        *(LostRequest, "relay.<lambda>/bus.publish paid", none_missing),
        lambda: relaying(of_rabbit(confirms=False), **REJECTS),
        lambda: relaying(of_rabbit(), **REJECTS),
    ),
    "a client of RabbitMQ sends again": (
        *(Duplicate, "bus.publish orders", counted_once),
        lambda: counting(of_rabbit(resends=True), **REJECTS),
        lambda: counting(of_rabbit(resends=True), by_id=True, **REJECTS),
    ),
    "a process dies that has acknowledged already": (
        *(Crash, "till.on_order/handle", none_missing),
        lambda: counting(of_rabbit(), acknowledge="before", **REJECTS),
        lambda: counting(of_rabbit(), **REJECTS),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_search_finds_what_the_row_does(row):
    kind, site, holds, broken, right = ROWS[row]
    claim = eventually("as it should be", holds)
    calm = broken().run()
    assert calm.ending.verdict == "quiet"
    calm.check(claim)
    assert explore(broken(), properties=[claim], stop_at_first=True).counterexamples
    alone = {"properties": [claim], "kinds": [kind], "faults_max": 1}
    found = explore(broken(), **alone, stop_at_first=True)
    [fault] = found.counterexamples[0].schedule
    assert isinstance(fault, kind)
    assert site in str(fault.site)
    survives = explore(right(), **alone)
    if survives.result == "unknown":  # there it cannot happen: so whatever else can
        survives = explore(right(), properties=[claim], faults_max=1)
    assert survives.result == "holds"
