"""RabbitMQ in runs: what a service sees of it, calm and under each of its faults."""

from itertools import pairwise
from pathlib import Path

import pytest

from chaosharness import (
    BrokerAlarm,
    BrokerRestart,
    Budget,
    ConsumerCancel,
    Crash,
    Delay,
    Delivery,
    ErrorReply,
    Exchange,
    HostDeath,
    KeyValue,
    LostReply,
    LostRequest,
    NetworkPartition,
    Pause,
    Poison,
    Queue,
    RabbitMQ,
    Redeliver,
    Schedule,
    Site,
    System,
    Unroutable,
)
from chaosharness.brokers.rabbitmq.rows import ROWS, SEARCHABLE
from chaosharness.errors import IllegalFault, InvalidDefinition
from chaosharness.handlers.legality import table
from chaosharness.machines.rabbitmq.exchanges import topic_matches

DELIVER = "bus.orders/deliver to worker"
HANDLE = "worker.on_order/handle"
ACK = "worker.on_order/bus.ack"


class Shop:
    """A service that consumes `orders`, and notes what it is given."""

    def __init__(self, bus=None, *, replicas=1, items=3, arrival_ms=1, work_ms=0, **options):
        self.system = System("shop", arrival_ms=arrival_ms)
        self.bus = self.system.add(bus or RabbitMQ("bus", queues=["orders"]))
        self.work_ms = work_ms
        self.fails = lambda order, times: False
        self.items = tuple(range(1, items + 1))

        @self.system.service("worker", replicas=replicas)
        def worker(env):
            times = {}

            def on_order(order, delivery: Delivery):
                times[order] = times.get(order, 0) + 1
                env.note("given", order=order, redelivered=delivery.redelivered)
                if self.work_ms:
                    env.sleep(self.work_ms / 1000)
                if self.fails(order, times[order]):
                    raise ValueError(f"order {order} is bad")
                env.note("done", order=order)

            env.consume(self.bus, "orders", on_order, **options)

        @self.system.entry(examples=self.items)
        def place(env, order):
            env.publisher(self.bus)("orders", order, key=f"order-{order}")

    def run(self, *faults, **budget):
        return self.system.run(None, Schedule(faults), budget=Budget(**budget))


def notes(run, what):
    return [event.data["order"] for event in run.history.of("note") if event.data["what"] == what]


def given(run):
    """`order`, with an `r` where the broker said redelivered."""
    return [
        f"{event.data['order']}{'r' if event.data['redelivered'] else ''}"
        for event in run.history.of("note")
        if event.data["what"] == "given"
    ]


def times_of(run, kind, entity):
    return [event.at_ms for event in run.history.of(kind) if event.entity == entity]


def dead(run):
    return [(event.entity, event.data["reason"]) for event in run.history.of("dead")]


# ---- what can happen at all

RARE = {BrokerAlarm, BrokerRestart, ConsumerCancel, HostDeath}
PUBLISHED = (Delay, ErrorReply, LostRequest, Poison, NetworkPartition, Pause, Crash)


@pytest.mark.parametrize(
    ("options", "confirms", "operation", "before", "after"),
    [
        ({}, True, DELIVER, {Delay, NetworkPartition}, {Redeliver}),
        ({"acknowledge": "before"}, True, DELIVER, {Delay, NetworkPartition}, set()),
        ({}, True, ACK, {LostRequest, Crash, Pause}, {Crash, Pause}),
        (
            {},
            True,
            "client.place/bus.publish orders",
            {*PUBLISHED},
            {LostReply, Pause, Crash},
        ),
        (
            {},
            False,
            "client.place/bus.publish orders",
            {*PUBLISHED} - {ErrorReply},
            {Pause, Crash},
        ),
    ],
)
def test_the_legal_faults_are_these(options, confirms, operation, before, after):
    shop = Shop(RabbitMQ("bus", queues=["orders"], confirms=confirms), **options)
    surface = shop.run().surfaces[operation]
    assert (set(surface.before) - RARE, set(surface.after) - RARE) == (before, after)
    assert not RARE & {*surface.searched_before, *surface.searched_after}
    assert RARE & {*surface.before, *surface.after}


def test_the_rows_are_those_of_the_page():
    page = Path(__file__).parents[3].joinpath("docs/how-to/rabbitmq.md").read_text("utf-8")
    assert table(ROWS, SEARCHABLE) in page


def test_a_broker_may_be_searched_further():
    shop = Shop(RabbitMQ("bus", queues=["orders"], searched=RARE))
    surfaces = shop.run().surfaces
    searched = {
        operation: RARE & {*surface.searched_before, *surface.searched_after}
        for operation, surface in surfaces.items()
    }
    assert searched[DELIVER] == {BrokerRestart, ConsumerCancel}
    assert searched[ACK] == {HostDeath}
    assert searched["client.place/bus.publish orders"] == {BrokerAlarm, BrokerRestart}
    with pytest.raises(
        ValueError, match="searched must be some of BrokerAlarm, BrokerRestart, Hos"
    ):
        RabbitMQ("bus", queues=[], searched=(Delay,))


# ---- calm


def test_a_handler_gets_each_message_once_and_acknowledges_it():
    run = Shop().run()
    assert given(run) == ["1", "2", "3"]
    assert [event.entity for event in run.history.of("ack")] == [1, 2, 3]
    assert run.ending.verdict == "quiet"


def test_consumers_take_turns():
    run = Shop(replicas=2, items=4).run()
    told = [event.data["to"] for event in run.history.of("deliver")]
    assert told == ["worker#1", "worker#2", "worker#1", "worker#2"]


def test_prefetch_sends_work_to_whoever_is_free():
    shop = Shop(replicas=2, items=4, prefetch=1, work_ms=100)
    run = shop.run(Pause(Site("worker.on_order/sleep", "after"), lasting=10_000))
    by = {event.entity: event.data["to"] for event in run.history.of("deliver")}
    assert by == {1: "worker#1", 2: "worker#2", 3: "worker#2", 4: "worker#2"}


def test_without_prefetch_everything_waits_at_the_consumer():
    shop = Shop(replicas=2, items=4, work_ms=100)
    run = shop.run(Pause(Site("worker.on_order/sleep", "after"), lasting=10_000))
    by = {event.entity: event.data["to"] for event in run.history.of("deliver")}
    assert by == {1: "worker#1", 2: "worker#2", 3: "worker#1", 4: "worker#2"}


def test_only_the_first_of_single_active_consumers_receives_until_it_goes():
    queue = Queue(single_active_consumer=True)
    shop = Shop(RabbitMQ("bus", queues={"orders": queue}), replicas=2, items=4)
    calm = shop.run()
    assert {event.data["to"] for event in calm.history.of("deliver")} == {"worker#1"}
    run = shop.run(Crash(Site(HANDLE)))
    last = {event.entity: event.data["to"] for event in run.history.of("deliver")}
    assert last == dict.fromkeys((1, 2, 3, 4), "worker#2")


# ---- routing


def routed(bus, publish):
    system = System("shop")
    system.add(bus)
    system.service("worker")(
        lambda env: [env.consume(bus, queue, lambda value, delivery: None) for queue in bus.queues]
    )
    system.entry(examples=[1])(lambda env, item: publish(env.publisher(bus)))
    run = system.run()
    return sorted(event.data["group"] for event in run.history.of("deliver")), run


def test_a_topic_exchange_stores_one_copy_per_queue_however_many_bindings_match():
    topic = Exchange("topic", {"order.*": ["billing", "audit"], "#": "audit", "user.*": "crm"})
    bus = RabbitMQ("bus", queues=["billing", "audit", "crm"], exchanges={"events": topic})
    queues, _ = routed(bus, lambda publish: publish("order.created", 1, exchange="events"))
    assert queues == ["audit", "billing"]


def test_a_fanout_exchange_stores_a_copy_in_each_queue():
    bus = RabbitMQ("bus", queues=["a", "b"], exchanges={"all": Exchange("fanout", ["a", "b"])})
    queues, run = routed(bus, lambda publish: publish("whatever", 1, exchange="all"))
    assert queues == ["a", "b"]
    assert len(list(run.history.of("publish"))) == 1


def test_a_direct_exchange_routes_by_the_whole_key():
    direct = Exchange("direct", {"order": "a", "order.created": "b"})
    bus = RabbitMQ("bus", queues=["a", "b"], exchanges={"events": direct})
    queues, _ = routed(bus, lambda publish: publish("order.created", 1, exchange="events"))
    assert queues == ["b"]


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("order.*", "order.created", True),
        ("order.*", "order", False),
        ("order.*", "order.created.eu", False),
        ("order.#", "order", True),
        ("order.#", "order.created.eu", True),
        ("#", "", True),
        ("#.eu", "order.created.eu", True),
        ("*.created.#", "order.created", True),
        ("*", "order.created", False),
    ],
)
def test_topic_patterns(pattern, key, matches):
    assert topic_matches(tuple(pattern.split(".")), tuple(key.split("."))) is matches


def test_what_no_queue_is_bound_for_is_confirmed_and_dropped():
    bus = RabbitMQ("bus", queues=["a"], exchanges={"events": Exchange("topic", {"order.*": "a"})})
    queues, run = routed(bus, lambda publish: publish("user.created", 1, exchange="events"))
    assert queues == []
    assert dead(run) == [(1, "unroutable")]
    assert list(run.history.of("raised")) == []


def test_a_mandatory_message_that_reaches_no_queue_is_returned():
    bus = RabbitMQ("bus", queues=["a"], exchanges={"events": Exchange("topic", {"order.*": "a"})})
    raised = []

    def publish(send):
        try:
            send("user.created", 1, exchange="events", mandatory=True)
        except Unroutable as error:
            raised.append(str(error))

    routed(bus, publish)
    where = "client.<lambda>/bus.publish user.created"
    assert raised == [f"{where}: 312 NO_ROUTE: no queue is bound for it"]


# ---- publishing under faults


def relay(bus, *, retries=0):
    """A service that publishes from its main loop, and says what came of it."""
    system = System("shop")
    system.add(bus)

    @system.service("relay")
    def relay(env):
        publish = env.publisher(bus)

        def main():
            for attempt in range(retries + 1):
                try:
                    publish("orders", "o1")
                except (TimeoutError, ConnectionError) as error:
                    env.note("failed", order=type(error).__name__)
                else:
                    env.note("published", order=attempt)
                    break

        env.main(main)

    @system.service("worker")
    def worker(env):
        def on_order(value, delivery: Delivery):
            env.note("given", order=value, redelivered=delivery.redelivered)

        env.consume(bus, "orders", on_order)

    system.entry(examples=[1])(lambda env, item: None)
    return system


PUBLISH = "relay.main/bus.publish orders"


@pytest.mark.parametrize(
    ("fault", "said", "seen"),
    [
        (ErrorReply(Site(PUBLISH, entity=0)), ["ConnectionError"], []),
        (LostRequest(Site(PUBLISH, entity=0)), ["TimeoutError"], []),
        (LostReply(Site(PUBLISH, "after", entity=0)), ["TimeoutError"], ["o1"]),
        (NetworkPartition(Site(PUBLISH, entity=0), lasting=1_000), ["TimeoutError"], []),
        (Delay(Site(PUBLISH, entity=0)), [], ["o1"]),
    ],
)
def test_a_publisher_waits_for_its_confirm(fault, said, seen):
    run = relay(RabbitMQ("bus", queues=["orders"])).run(None, Schedule([fault]))
    assert notes(run, "failed") == said
    assert given(run) == seen
    assert run.unused == ()


def test_a_lost_confirm_makes_the_publisher_store_the_message_twice():
    lost = LostReply(Site(PUBLISH, "after", entity=0))
    run = relay(RabbitMQ("bus", queues=["orders"]), retries=1).run(None, Schedule([lost]))
    assert given(run) == ["o1", "o1"], "a second message: nothing says redelivered"


def test_without_confirms_a_message_is_lost_silently():
    bus = RabbitMQ("bus", queues=["orders"], confirms=False)
    run = relay(bus).run(None, Schedule([LostRequest(Site(PUBLISH, entity=0))]))
    assert notes(run, "published") == [0]
    assert given(run) == []


@pytest.mark.parametrize("kind", [ErrorReply, LostReply])
def test_without_confirms_there_is_nothing_to_refuse_or_lose(kind):
    bus = RabbitMQ("bus", queues=["orders"], confirms=False)
    phase = "after" if kind is LostReply else "before"
    with pytest.raises(IllegalFault, match="never happen"):
        relay(bus).run(None, Schedule([kind(Site(PUBLISH, phase, entity=0))]))


def test_a_full_queue_refuses_its_publisher():
    queue = Queue(length_max=0, overflow="reject-publish")
    run = relay(RabbitMQ("bus", queues={"orders": queue})).run()
    assert notes(run, "failed") == ["ConnectionError"]
    assert list(run.history.of("publish")) == []


def test_poison_is_stored_just_ahead_of_a_message():
    run = Shop(on_error="reject").run(Poison(Site("client.place/bus.publish orders", entity=2)))
    assert given(run) == ["1", "2", "3"]
    assert dead(run) == [(0, "rejected")]


# ---- losing a connection


def test_a_crash_gives_everything_unacknowledged_back_at_once():
    shop = Shop(replicas=2, items=4, work_ms=100)
    run = shop.run(Crash(Site("worker.on_order/sleep", "after")))
    assert given(run) == ["1", "2", "4", "1r", "3r"]
    [crash] = run.history.of("crash")
    assert times_of(run, "deliver", 1)[-1] == crash.at_ms
    assert times_of(run, "deliver", 3)[-1] == crash.at_ms, "pushed, and never seen by a handler"


def test_a_lost_connection_lets_another_handle_what_one_still_handles():
    shop = Shop(replicas=2, items=1, work_ms=100)
    run = shop.run(Redeliver(Site(DELIVER, "after")))
    assert given(run) == ["1", "1r"]
    started = [event.at_ms for event in run.history.of("note") if event.data["what"] == "given"]
    assert started[1] - started[0] < 100, "side by side"
    acks = [event.data for event in run.history.of("ack", "nack") if "error" in event.data]
    assert acks == [{"message": acks[0]["message"], "error": "void: connection lost"}]


def test_a_consumer_that_lost_its_connection_comes_back():
    run = Shop(items=2).run(Redeliver(Site(DELIVER, "after")))
    assert given(run) == ["1", "1r", "2r"], "2 had been sent, and nobody had seen it"
    assert run.ending.verdict == "quiet"


def test_a_lost_acknowledgement_brings_the_message_back():
    run = Shop(items=1).run(LostRequest(Site(ACK)))
    assert given(run) == ["1", "1r"]


def test_an_acknowledgement_that_arrived_does_not():
    run = Shop(items=1).run(Crash(Site(ACK, "after")))
    assert given(run) == ["1"]


def test_a_short_network_partition_only_delays():
    run = Shop().run(NetworkPartition(Site(DELIVER), lasting=59_000))
    assert given(run) == ["1", "2", "3"]
    assert times_of(run, "handled", 1) == [59_000]


def test_acknowledgements_are_held_up_by_a_short_network_partition():
    run = Shop(items=1).run(NetworkPartition(Site(DELIVER), way="out", lasting=59_000))
    assert times_of(run, "handled", 1) == [1]
    assert times_of(run, "ack", 1) == [59_000]
    assert given(run) == ["1"]


def test_a_long_one_loses_the_connection_after_two_missed_heartbeats():
    run = Shop(items=1).run(NetworkPartition(Site(DELIVER), way="out", lasting=119_000))
    assert given(run) == ["1"]
    run = Shop(items=1).run(NetworkPartition(Site(DELIVER), way="out", lasting=121_000))
    assert given(run) == ["1", "1r"]
    [back] = [event for event in run.history.of("nack") if "why" in event.data]
    assert back.at_ms == 120_000
    assert back.data["why"] == "missed heartbeats"


def test_a_delay_holds_up_one_link_in_order_and_no_other():
    run = Shop(replicas=2, items=4).run(Delay(Site(DELIVER), lasting=1_000))
    assert given(run) == ["2", "4", "1", "3"]


def test_a_redelivered_message_has_its_original_place_in_a_classic_queue():
    shop = Shop(items=3, prefetch=1, work_ms=100)
    run = shop.run(Crash(Site("worker.on_order/sleep", "after")))
    assert given(run) == ["1", "1r", "2", "3"]


def test_there_is_no_visibility_timeout():
    shop = Shop(replicas=2, items=1, work_ms=100, in_thread=True)
    run = shop.run(Pause(Site("worker.on_order/sleep", "after"), lasting=29 * 60_000))
    assert given(run) == ["1"]


def test_a_consumer_that_takes_half_an_hour_loses_its_channel():
    shop = Shop(replicas=2, items=1, work_ms=100, in_thread=True)
    run = shop.run(Pause(Site("worker.on_order/sleep", "after"), lasting=31 * 60_000))
    assert given(run) == ["1", "1r"]
    assert times_of(run, "deliver", 1) == [0, 30 * 60_000]


def test_from_4_3_on_only_quorum_queues_have_a_consumer_timeout():
    for kind, expected in (("classic", ["1"]), ("quorum", ["1", "1r"])):
        bus = RabbitMQ("bus", queues={"orders": kind}, version="4.3")
        shop = Shop(bus, replicas=2, items=1, work_ms=100, in_thread=True)
        run = shop.run(Pause(Site("worker.on_order/sleep", "after"), lasting=31 * 60_000))
        assert given(run) == expected


def test_who_acknowledges_on_hand_over_loses_what_was_sent():
    shop = Shop(items=3, arrival_ms=0, acknowledge="before", prefetch=1, work_ms=100)
    run = shop.run(Crash(Site("worker.on_order/sleep", "after")))
    assert given(run) == ["1"], "prefetch does not count, and nothing comes back"
    with pytest.raises(IllegalFault, match="never happen"):
        shop.run(Redeliver(Site(DELIVER, "after")))


# ---- failing handlers


def test_a_failed_message_is_requeued_after_a_while():
    shop = Shop(items=2)
    shop.fails = lambda order, times: order == 1 and times < 3
    run = shop.run()
    assert given(run) == ["1", "2", "1r", "1r"], "2 had been sent already"
    assert times_of(run, "handled", 2) == [1_001], "a plain consumer waits before it goes on"
    assert times_of(run, "deliver", 1) == [0, 1_001, 3_002]


def test_or_at_once_and_for_ever():
    shop = Shop(items=1, backoff_ms=0)
    shop.fails = lambda order, times: True
    run = shop.run(deliveries_max=50)
    assert run.ending.verdict == "budget"
    assert run.ending.reason == f"{DELIVER} handed out one message 50 times"


def test_a_rejected_message_is_dropped_or_goes_to_the_dead_letter_queue():
    queues = {"orders": Queue(dead_letter="parked"), "parked": "classic"}
    for bus in (RabbitMQ("bus", queues=["orders"]), RabbitMQ("bus", queues=queues)):
        shop = Shop(bus, on_error="reject")
        shop.fails = lambda order, times: order == 2
        run = shop.run()
        assert notes(run, "done") == [1, 3]
        assert dead(run) == [(2, "rejected")]
    [gone] = run.history.of("dead")
    again = [event for event in run.history.of("publish") if event.data.get("instead_of")]
    assert [event.cause for event in again] == [gone.index]
    assert [event.data["queues"] for event in again] == [["parked"]]


def test_an_exception_can_be_the_end_of_the_process():
    shop = Shop(items=1, on_error="crash")
    shop.fails = lambda order, times: next(fails, False)
    fails = iter([True])
    assert given(shop.run()) == ["1", "1r"]


def test_a_dead_letter_tells_its_story_in_its_headers():
    queues = {"orders": Queue(dead_letter="parked"), "parked": "classic"}
    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=queues))
    seen = []

    @system.service("worker")
    def worker(env):
        def on_order(order):
            raise ValueError("bad")

        def on_parked(order, delivery: Delivery):
            seen.append((dict(delivery.headers), delivery.redelivered))

        env.consume(bus, "orders", on_order, on_error="reject")
        env.consume(bus, "parked", on_parked)

    system.entry(examples=[1])(
        lambda env, item: env.publisher(bus)("orders", item, headers={"trace": "t1"})
    )
    system.run()
    [(headers, redelivered)] = seen
    assert headers["trace"] == "t1"
    assert headers["x-first-death-reason"] == "rejected"
    assert headers["x-death"] == [
        {
            "count": 1,
            "exchange": "",
            "queue": "orders",
            "reason": "rejected",
            "routing-keys": ["orders"],
        }
    ]
    assert redelivered is False


@pytest.mark.parametrize(
    ("version", "options", "deliveries"),
    [
        ("3.10", {"delivery_limit": 2}, 3),
        ("4.0", {"delivery_limit": 2}, 3),
        ("4.0", {}, 21),
        ("3.10", {}, None),
        ("4.0", {"delivery_limit": -1}, None),
        ("4.3", {}, None),
    ],
)
def test_the_delivery_limit_of_each_version(version, options, deliveries):
    """From 4.3 on giving back (`basic.nack`) does not count, so it never ends."""
    queues = {"orders": Queue("quorum", dead_letter="parked", **options), "parked": "classic"}
    shop = Shop(RabbitMQ("bus", queues=queues, version=version), items=1, backoff_ms=0)
    shop.fails = lambda order, times: True
    run = shop.run(deliveries_max=50)
    if deliveries is None:
        assert run.ending.verdict == "budget"
    else:
        assert len(given(run)) == deliveries
        assert dead(run) == [(1, "delivery_limit")]


def test_a_crash_counts_towards_the_delivery_limit_in_every_version():
    for version in ("3.10", "4.0", "4.3"):
        bus = RabbitMQ("bus", queues={"orders": Queue("quorum", delivery_limit=1)}, version=version)
        crashes = [Crash(Site(HANDLE, attempt=attempt)) for attempt in (1, 2)]
        run = Shop(bus, items=1).run(*crashes)
        assert dead(run) == [(1, "delivery_limit")]


def test_a_quorum_queue_says_how_often_a_message_came_back():
    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues={"orders": "quorum"}))
    counts = []

    @system.service("worker")
    def worker(env):
        def on_order(order, delivery: Delivery):
            counts.append(delivery.headers.get("x-delivery-count"))
            if len(counts) < 3:
                raise ValueError

        env.consume(bus, "orders", on_order)

    system.entry(examples=[1])(lambda env, item: env.publisher(bus)("orders", item))
    system.run()
    assert counts == [None, 1, 2]


@pytest.mark.parametrize(
    ("version", "told"),
    [("3.10", [(0, None), (0, "expired")]), ("4.3", [(2, None), (2, "expired")])],
    ids=["3.10", "4.3"],
)
def test_a_count_that_the_publisher_wrote_goes_on_but_quorum_queues_of_3_write_their_own(
    version, told
):
    queues = {
        "orders": Queue("quorum"),
        "wait": Queue("quorum", ttl_ms=1_000, dead_letter="orders"),
    }
    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=queues, version=version))
    seen = []

    @system.service("worker")
    def worker(env):
        def on_order(order, delivery: Delivery):
            names = ("x-delivery-count", "x-first-death-reason")
            seen.append(tuple(delivery.headers.get(name) for name in names))

        env.consume(bus, "orders", on_order)

    @system.entry(examples=[1])
    def place(env, item):
        for queue in ("orders", "wait"):
            env.publisher(bus)(queue, item, headers={"x-delivery-count": 2})

    system.run()
    assert seen == told


# ---- time


def test_a_retry_queue_brings_a_message_back_after_its_time_to_live():
    queues = {
        "orders": Queue(dead_letter="later"),
        "later": Queue(ttl_ms=60_000, dead_letter="orders"),
    }
    shop = Shop(RabbitMQ("bus", queues=queues), items=2, on_error="reject")
    shop.fails = lambda order, times: order == 1 and times < 3
    run = shop.run()
    assert given(run) == ["1", "2", "1", "1"], "a new message each time: not redelivered"
    starts = [event.at_ms for event in run.history.of("handled", "raised") if event.entity == 1]
    assert starts == [1, 60_002, 120_003]
    assert [reason for _, reason in dead(run)] == ["rejected", "expired", "rejected", "expired"]
    assert run.ending.verdict == "quiet"


def test_a_message_can_have_a_time_to_live_of_its_own():
    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=["orders"]))
    system.entry(examples=[1])(
        lambda env, item: env.publisher(bus)("orders", item, expiration_ms=5_000)
    )
    run = system.run()
    assert [(event.at_ms, event.data["reason"]) for event in run.history.of("dead")] == [
        (5_000, "expired")
    ]


def test_a_time_to_live_cannot_be_negative():
    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=["orders"]))
    system.entry(examples=[1])(
        lambda env, item: env.publisher(bus)("orders", item, expiration_ms=-1)
    )
    with pytest.raises(InvalidDefinition, match="expiration_ms must be at least 0, not -1"):
        system.run()


# ---- what is put together wrongly


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RabbitMQ("bus", queues="orders"), "queues must be names"),
        (lambda: RabbitMQ("bus", queues={"orders": 3}), "must be a Queue"),
        (lambda: RabbitMQ("bus", queues=[""]), "cannot be the name of a queue"),
        (lambda: RabbitMQ("bus", queues={"a": Queue(dead_letter="b")}), "'b', which is not"),
        (
            lambda: RabbitMQ("bus", queues={"a": Queue(dead_letter_exchange="dlx")}),
            "go to exchange 'dlx', which is not declared",
        ),
        (
            lambda: RabbitMQ("bus", queues=[], exchanges={"e": Exchange("topic", {"#": "a"})}),
            "exchange 'e' is bound to queue 'a', which is not declared; declared: none. Say it in",
        ),
        (lambda: RabbitMQ("bus", queues=[], exchanges={"e": "topic"}), "must be an Exchange"),
        (lambda: Exchange("topic", ["a"]), "binds by key"),
        (lambda: Queue(delivery_limit=3), "classic queue has no delivery_limit"),
        (lambda: Queue("quorum", priority_max=3), "quorum queue has no priority_max"),
        (lambda: Queue(dead_letter="a", dead_letter_exchange="b"), "not both"),
    ],
)
def test_a_contradiction_is_refused(make, words):
    with pytest.raises(InvalidDefinition, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Queue("lazy"), "kind must be one of 'classic', 'quorum', 'stream', not 'lazy'"),
        (lambda: Queue(ttl_ms=-1), "ttl_ms must be a whole number from 0, or None, not -1"),
        (lambda: RabbitMQ("bus", queues=[], version="3.9"), "version must be one of .*, not '3.9'"),
        (
            lambda: RabbitMQ("bus", queues=[], heartbeat_ms=-1),
            "heartbeat_ms must be a whole number from 0, not -1",
        ),
    ],
)
def test_a_value_out_of_range_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prefetch": -1}, "prefetch must be a whole number from 0, not -1"),
        ({"prefetch": "10"}, "prefetch must be a whole number from 0, not '10'"),
        (
            {"on_error": "later"},
            "must be one of 'retry', 'requeue', 'skip', 'reject', 'dead-letter'",
        ),
        ({"concurrency": 2}, "a plain handler runs one message at a time"),
        ({"group": "g"}, "there is no option 'group'; there are: prefetch, acknowledge, on_error"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options, words):
    with pytest.raises(
        InvalidDefinition,
        match=rf"worker.on_order consumes 'orders' \(at .*test_rabbitmq.py:\d+\): .*{words}",
    ):
        Shop(**options).run()


def test_a_queue_nobody_declared_is_refused_at_both_ends():
    bus = RabbitMQ("bus", queues=["orders"])
    system = System("shop")
    system.add(bus)
    system.entry(examples=[1])(lambda env, item: env.publisher(bus)("ordres", item))
    with pytest.raises(InvalidDefinition, match="no queue 'ordres' to publish to; it has: orders"):
        system.run()
    system = System("shop")
    system.add(bus)
    system.entry(examples=[1])(lambda env, item: None)
    system.service("worker")(lambda env: env.consume(bus, "ordres", lambda value: None))
    with pytest.raises(InvalidDefinition, match="no such queue; it has: orders"):
        system.run()


def test_a_long_queue_of_short_work_is_no_recursion():
    system = System("backlog")
    bus = system.add(RabbitMQ("bus", queues=["orders"]))

    @system.service("worker")
    def worker(env):
        def on_order(order):
            if order == 1:
                env.sleep(60)  # all others are sent ahead meanwhile

        env.consume(bus, "orders", on_order)

    @system.entry(examples=range(1, 1001))
    def place(env, order):
        env.publisher(bus)("orders", order)

    run = system.run()
    assert run.ending.verdict == "quiet"
    assert len([*run.history.of("handled")]) == 1000


@pytest.mark.parametrize("loops", [True, False])
def test_what_poison_leads_to_is_no_mistake_of_the_users(loops):
    system = System("router")
    queues = {"events": Queue("quorum", dead_letter="parked"), "Paid": Queue(), "parked": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    store = system.add(KeyValue("store"))

    @system.service("router")
    def router(env):
        publish, kept = env.publisher(bus), env.connect(store)

        def on_event(event):
            publish(event["type"], event)

        def on_paid(event):
            kept.put(event["id"], event)

        def loop():
            consumer = env.consumer(bus, "events", prefetch=1)
            for delivery in consumer:
                on_event(delivery.value)
                consumer.ack(delivery)

        env.main(loop) if loops else env.consume(bus, "events", on_event)
        env.consume(bus, "Paid", on_paid)

    @system.entry(examples=[{"type": "Paid", "id": "p1"}])
    def place(env, event):
        env.publisher(bus)("events", event)

    poison = Poison(Site("client.place/bus.publish events"), content="unknown-schema")
    run = system.run(None, Schedule([poison]))
    assert {event.data["error"].partition(":")[0] for event in run.history.of("raised")} == {
        "InvalidDefinition"
    }
    assert "router.on_paid/handle" in {event.operation for event in run.history.of("handled")}
    with pytest.raises(InvalidDefinition, match="no queue 'Refunded' to publish to"):
        system.run([{"type": "Refunded", "id": "p2"}])


# ---- full queues, letters that were published again, keys without words


@pytest.mark.parametrize(
    ("kind", "given_out", "died"),
    [
        ("classic", ["1", "2"], [(1, "maxlen")]),
        ("quorum", ["1", "2", "1r"], []),
    ],
)
def test_what_comes_back_to_a_full_queue(kind, given_out, died):
    queues = {"orders": Queue(kind, length_max=1, dead_letter="aside"), "aside": Queue()}
    options = {"items": 2, "work_ms": 50, "prefetch": 1, "backoff_ms": 0}
    shop = Shop(RabbitMQ("bus", queues=queues, version="3.10"), **options)
    shop.fails = lambda order, times: order == 1 and times == 1
    run = shop.run()
    assert given(run) == given_out
    assert dead(run) == died


def test_so_it_does_when_a_connection_is_lost():
    queues = {"orders": Queue(length_max=1, dead_letter="aside"), "aside": Queue()}
    shop = Shop(RabbitMQ("bus", queues=queues), items=2, work_ms=50, prefetch=1)
    run = shop.run(Redeliver(Site(DELIVER, "after")))
    assert dead(run) == [(1, "maxlen")]
    assert given(run) == ["1", "2"]


def deaths(version, headers=None, *, again=3):
    """The count of each death of a message that is published again with its headers."""
    system = System("retry")
    queues = {"work": Queue(dead_letter="dead"), "dead": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues, version=version))
    counts = []

    @system.service("worker")
    def worker(env):
        def fails(job):
            raise ValueError(job)

        env.consume(bus, "work", fails, on_error="reject")

    @system.service("again")
    def republish(env):
        publish = env.publisher(bus)

        def on_dead(job, delivery: Delivery):
            counts.append(delivery.headers["x-death"][0]["count"])
            if len(counts) < again:
                publish("work", job, headers=delivery.headers)

        env.consume(bus, "dead", on_dead)

    @system.entry(examples=[1])
    def submit(env, job):
        env.publisher(bus)("work", job, headers=headers)

    assert system.run().ending.verdict == "quiet"
    return counts


@pytest.mark.parametrize(
    ("version", "counts"), [("3.10", [1, 2, 3]), ("4.0", [1, 1, 1]), ("4.3", [1, 1, 1])]
)
def test_up_to_3_what_is_published_again_goes_on_counting(version, counts):
    assert deaths(version) == counts


def test_what_a_publisher_writes_there_counts_whoever_it_is():
    header = {"x-death": [{"queue": "work", "reason": "rejected", "count": 7}]}
    assert deaths("3.10", header, again=1) == [8]
    assert deaths("4.0", header, again=1) == [1]


def deaths_on_the_way(version):
    """Where a message has died that expires in four queues, one after the other."""
    system = System("expires")
    names = [f"q{number}" for number in range(5)]
    queues = {one: Queue(ttl_ms=50, dead_letter=after) for one, after in pairwise(names)}
    bus = system.add(RabbitMQ("bus", queues=queues | {"q4": Queue()}, version=version))
    found = []

    @system.service("reader")
    def reader(env):
        def read(_, delivery: Delivery):
            found.extend(death["queue"] for death in delivery.headers["x-death"])

        env.consume(bus, "q4", read)

    @system.entry(examples=[1])
    def submit(env, job):
        env.publisher(bus)("q0", job)

    assert system.run().ending.verdict == "quiet"
    return found


def test_up_to_3_12_earlier_deaths_are_turned_round_each_time():
    """Observed on 3.10.8; `group_by_queue_and_reason` of the server's source does it."""
    assert deaths_on_the_way("3.10") == ["q3", "q1", "q0", "q2"]
    assert deaths_on_the_way("4.0") == ["q3", "q2", "q1", "q0"]


@pytest.mark.parametrize("nonsense", ["x", 1, ["x"], [{}], [{"queue": "work"}]])
def test_nonsense_there_is_passed_over(nonsense):
    assert deaths("3.10", {"x-death": nonsense}, again=1) == [1]


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("*", "", False),
        ("#", "", True),
        ("", "", True),
        ("#.#", "", True),
        ("*.*", ".", True),
        ("*", ".", False),
        ("a.*", "a.", True),
        ("a.#", "a", True),
    ],
)
def test_an_empty_key_has_no_words(pattern, key, matches):
    bindings = {pattern: "orders", "never": "orders"}
    assert (Exchange("topic", bindings).route(key) == ("orders",)) is matches
