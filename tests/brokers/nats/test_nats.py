"""JetStream in a run: what handlers and loops meet, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from chaosharness import (
    NATS,
    Crash,
    Delay,
    Delivery,
    LostReply,
    LostRequest,
    NATSConsumer,
    NATSError,
    NATSStream,
    Pause,
    Poison,
    Schedule,
    Site,
    System,
)
from chaosharness.brokers.nats.rows import ROWS
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.legality import table
from chaosharness.search.sites import candidates

ORDERS = [{"id": 1}, {"id": 2}]
DELIVER = "bus.worker/deliver to worker"


def shop(*, stream=None, consumer=None, replicas=1, colour="plain", items=ORDERS, **options):
    """A service that consumes what a client publishes, and takes half a second for each."""
    system = System("shop", arrival_ms=1)
    settings = {"subjects": "orders.*", **(stream or {})}
    one = NATSStream(consumers={"worker": NATSConsumer(**(consumer or {}))}, **settings)
    bus = system.add(NATS("bus", {"ORDERS": one}))

    @system.service("worker", replicas=replicas)
    def worker(env):
        def on_order(order: dict, delivery: Delivery):
            env.note("began", order=order["id"], redelivered=delivery.redelivered)
            env.sleep(0.5)
            env.note("done", order=order["id"])

        async def on_order_async(order: dict):
            await env.sleep(0.5)
            env.note("done", order=order["id"])

        handler = on_order if colour == "plain" else on_order_async
        env.consume(bus, "worker", handler, **options)

    @system.entry(examples=items)
    def place(env, order):
        env.publisher(bus)("orders.placed", order, key=f"o{order['id']}")

    return system


def loop(body, *, consumer=None, items=ORDERS, ordered=False):
    """A service with a loop of its own: `body(env, consumer, delivery)` for each delivery."""
    system = System("loop", arrival_ms=1)
    one = NATSConsumer(**(consumer or {}))
    bus = system.add(NATS("bus", {"ORDERS": NATSStream(consumers={"worker": one})}))

    @system.service("worker")
    def worker(env):
        source = "ORDERS" if ordered else "worker"
        fetching = env.consumer(bus, source, read_as=dict, ordered=ordered)

        def main():
            while True:
                for delivery in fetching.fetch(5):
                    body(env, fetching, delivery)

        env.main(main)

    @system.entry(examples=items)
    def place(env, order):
        env.publisher(bus)("ORDERS", order, key=f"o{order['id']}")

    return system


def notes(run, what):
    return [event.data["order"] for event in run.history.of("note") if event.data["what"] == what]


def run_with(system, *faults):
    run = system.run(None, Schedule(faults))
    assert run.ending.verdict == "quiet", run.ending
    return run


# ---- deliveries


def test_a_message_is_acknowledged_when_its_handler_has_returned():
    run = run_with(shop())
    assert notes(run, "done") == [1, 2]
    assert len([*run.history.of("ack")]) == 2


@pytest.mark.parametrize("colour", ["plain", "async"])
def test_a_crash_in_a_handler_brings_it_back_after_ack_wait(colour):
    run = run_with(
        shop(colour=colour),
        Crash(Site("worker.on_order/handle"))
        if colour == "plain"
        else Crash(Site("worker.on_order_async/handle")),
    )
    times = [(one.at_ms, one.data["times"]) for one in run.history.of("deliver") if one.entity == 1]
    assert [count for _, count in times] == [1, 2]
    assert times[1][0] - times[0][0] >= 30_000
    assert sorted(notes(run, "done")) == [1, 2]


def test_an_acknowledgement_that_is_lost_brings_it_back():
    run = run_with(shop(), LostRequest(Site("worker.on_order/bus.ack")))
    assert notes(run, "done") == [1, 2, 1]
    redelivered = [
        one.data["redelivered"] for one in run.history.of("note") if "redelivered" in one.data
    ]
    assert redelivered == [False, False, True]


def test_a_delivery_under_way_for_longer_than_ack_wait_is_handled_twice():
    system = shop(replicas=2, items=ORDERS[:1])
    run = run_with(system, Delay(Site(DELIVER), lasting=40_000))
    assert notes(run, "done") == [1, 1]


def test_a_delivery_to_a_client_that_is_gone_counts():
    run = run_with(shop(consumer={"deliver_max": 1}), LostReply(Site(DELIVER, "after")))
    assert notes(run, "done") == [2]
    [death] = run.history.of("dead")
    assert death.data["reason"] == "max deliveries"


def test_a_stall_longer_than_ack_wait_has_the_other_one_handle_it_too():
    run = run_with(
        shop(replicas=2, items=ORDERS[:1]), Pause(Site("worker.on_order/handle"), lasting=40_000)
    )
    assert notes(run, "done") == [1, 1]
    assert len([*run.history.of("ack")]) == 1  # the second finds it settled


def test_backoff_takes_the_place_of_ack_wait():
    system = shop(consumer={"backoff_ms": (1_000, 5_000), "deliver_max": 4}, items=ORDERS[:1])
    failing = [LostRequest(Site("worker.on_order/bus.ack", attempt=nth)) for nth in (1, 2, 3)]
    run = run_with(system, *failing)
    at = [event.at_ms for event in run.history.of("deliver")]
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert [round(gap, -2) for gap in gaps] == [1_000, 5_000, 5_000]


def test_nothing_new_is_handed_out_above_ack_pending_max():
    system = shop(consumer={"ack_pending_max": 1}, replicas=2)
    run = run_with(system, LostRequest(Site("worker.on_order/bus.ack")))
    assert notes(run, "done") == [1, 1, 2]


# ---- what errors lead to


def failing(times, **options):
    system = System("failing", arrival_ms=1)
    streams = {
        "ORDERS": NATSStream(
            retention="workqueue",
            consumers={"worker": NATSConsumer(dead_subject="dead", deliver_max=9)},
        ),
        "DEAD": NATSStream(subjects="dead"),
    }
    bus = system.add(NATS("bus", streams))
    left = [times]

    @system.service("worker")
    def worker(env):
        def on_order(order: dict):
            env.note("began", order=order["id"])
            if left[0] > 0:
                left[0] -= 1
                raise OSError("not now")
            env.note("done", order=order["id"])

        env.consume(bus, "worker", on_order, **options)

    system.entry(examples=ORDERS[:1])(lambda env, order: env.publisher(bus)("ORDERS", order))
    return system


def test_nak_gives_it_back_after_a_time():
    run = run_with(failing(2, on_error="nak", backoff_ms=700))
    at = [event.at_ms for event in run.history.of("deliver")]
    assert [later - earlier for earlier, later in pairwise(at)] == [701, 701]


def test_term_is_the_end_of_it():
    run = run_with(failing(1, on_error="term"))
    [death] = run.history.of("dead")
    assert (death.data["reason"], notes(run, "done")) == ("terminated OSError", [])


def test_dead_letters_are_published():
    run = run_with(failing(9, on_error="dead-letter", retries_max=2))
    assert notes(run, "began") == [1, 1]
    letter = [one for one in run.history.of("publish") if one.data["topic"] == "dead"]
    assert [one.data["value"] for one in letter] == [b'{"id":1}']


def test_the_notice_of_a_death_is_kept_where_a_stream_keeps_it():
    system = System("notices", arrival_ms=1)
    deaths = NATSStream(
        subjects="$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", consumers={"clerk": NATSConsumer()}
    )
    orders = NATSStream(consumers={"worker": NATSConsumer(deliver_max=2, ack_wait_ms=1_000)})
    bus = system.add(NATS("bus", {"ORDERS": orders, "DEATHS": deaths}))

    @system.service("worker")
    def worker(env):
        def on_order(order: dict):
            raise OSError("never")

        env.consume(bus, "worker", on_order)

    @system.service("clerk")
    def clerk(env):
        def on_death(notice: dict, delivery: Delivery):
            env.note("died", order=[notice["stream"], notice["stream_seq"], notice["deliveries"]])

        env.consume(bus, "clerk", on_death)

    system.entry(examples=ORDERS[:1])(lambda env, order: env.publisher(bus)("ORDERS", order))
    run = system.run()
    assert notes(run, "died") == [["ORDERS", 1, 2]]
    [death] = run.history.of("dead")
    assert death.data["to"] == ["DEATHS"]


# ---- publishing


def test_a_message_id_is_recognised_within_the_window():
    system = System("twice", arrival_ms=1)
    bus = system.add(NATS("bus", ["orders"]))
    answers = []

    @system.entry(examples=[{"id": 1}])
    def place(env, order):
        publish = env.publisher(bus)
        for wait_s in (0, 119, 2):
            env.sleep(wait_s)
            answers.append(publish("orders", order, message_id="o1"))

    run = system.run()
    assert [(one.sequence, one.duplicate) for one in answers] == [(1, False), (1, True), (2, False)]
    places = [event.data["queues"] for event in run.history.of("publish")]
    assert places == [["orders"], [], ["orders"]]


def test_what_no_stream_keeps_is_refused_as_the_product_does():
    heard = []
    system = System("astray", arrival_ms=1)
    bus = system.add(
        NATS("bus", {"ORDERS": NATSStream(subjects="orders.*", msgs_max=1, discard="new")})
    )

    @system.entry(examples=[{"id": 1}])
    def place(env, order):
        publish = env.publisher(bus)
        publish("orders.a", order)
        large = "x" * ((1 << 20) + 1)
        for subject, value in (("parcels.a", order), ("orders.b", order), ("orders.b", large)):
            try:
                publish(subject, value)
            except NATSError as error:
                heard.append((error.err_code, error.description))

    system.run()
    assert heard == [
        (503, "no response from stream"),
        (10077, "maximum messages exceeded"),
        (0, "nats: maximum payload exceeded"),
    ]


def test_poison_is_of_no_workload_item():
    site = Site("client.place/bus.publish orders.placed")
    run = run_with(shop(on_unreadable="term"), Poison(site))
    assert notes(run, "done") == [1, 2]
    assert [event.entity for event in run.history.of("dead")] == [0]


# ---- loops


def test_a_loop_keeps_a_message_by_saying_that_it_is_in_progress():
    def body(env, consumer, delivery):
        for _ in range(4):
            env.sleep(20)
            consumer.in_progress(delivery)
        env.note("done", order=delivery.value["id"])
        consumer.ack_sync(delivery)

    run = run_with(loop(body, items=ORDERS[:1]))
    assert [event.data["times"] for event in run.history.of("deliver")] == [1]
    assert notes(run, "done") == [1]


def test_a_loop_is_told_what_the_server_knows_of_a_delivery():
    def body(env, consumer, delivery):
        told = consumer.metadata(delivery)
        env.note("told", order=[told.stream, told.stream_seq, told.num_delivered, told.num_pending])
        if told.num_delivered == 1:
            consumer.nak(delivery, delay_s=2)
        else:
            consumer.term(delivery, "enough")

    run = run_with(loop(body, items=ORDERS[:1]))
    assert notes(run, "told") == [["ORDERS", 1, 1, 0], ["ORDERS", 1, 2, 0]]
    assert [one.data["reason"] for one in run.history.of("dead")] == ["terminated enough"]


def test_ack_sync_says_when_it_does_not_know():
    heard = []

    def body(env, consumer, delivery):
        try:
            consumer.ack_sync(delivery)
        except TimeoutError as error:
            heard.append(str(error))

    lost = LostReply(Site("worker.main/bus.ack_sync", "after"))
    run = run_with(loop(body, items=ORDERS[:1]), lost)
    assert heard == ["worker.main/bus.ack_sync: no answer from bus"]
    assert len([*run.history.of("deliver")]) == 1


def test_an_ordered_consumer_misses_nothing_and_swaps_nothing():
    def body(env, consumer, delivery):
        env.note("seen", order=delivery.value["id"])

    system = loop(body, ordered=True, items=[{"id": n} for n in range(1, 5)])
    assert notes(system.run(), "seen") == [1, 2, 3, 4]
    lost = LostReply(Site("bus.ORDERS/deliver to worker", "after", entity=2))
    assert notes(run_with(system, lost), "seen") == [1, 2, 3, 4]
    again = notes(run_with(system, Crash(Site("worker.main/seen", "after"))), "seen")
    assert again[-4:] == [1, 2, 3, 4]


def test_an_ordered_consumer_has_no_acknowledgements():
    system = loop(lambda env, consumer, delivery: consumer.ack(delivery), ordered=True)
    with pytest.raises(InvalidDefinition, match=r"an ordered consumer has no acknowledgements"):
        system.run()


def test_a_consumer_of_none_has_no_acknowledgements_either():
    system = loop(lambda env, consumer, one: consumer.ack(one), consumer={"ack": "none"})
    with pytest.raises(InvalidDefinition, match=r"ack='none' has no acknowledgements.*no ack\(\)"):
        system.run()
    with pytest.raises(InvalidDefinition, match=r"on_error must be one of 'skip', 'crash'"):
        shop(consumer={"ack": "none"}, on_error="nak").run()


def test_without_acknowledgements_a_message_dies_with_its_handler():
    run = run_with(shop(consumer={"ack": "none"}), Crash(Site("worker.on_order/handle")))
    assert notes(run, "done") == [2]
    assert len([*run.history.of("ack")]) == 2  # by the server, as it sends them
    lost = run_with(shop(consumer={"ack": "none"}), LostReply(Site(DELIVER, "after")))
    assert notes(lost, "done") == [2]
    unheard = Schedule([LostRequest(Site("worker.on_order/bus.ack"))])
    assert shop(consumer={"ack": "none"}).run(None, unheard).unused  # there is none to be lost


def test_one_acknowledgement_of_all_is_one_of_what_another_still_handles():
    one = {"ack": "all", "ack_wait_ms": 5_000}
    crash = Crash(Site("worker.on_order/handle", entity=1))
    items = [*ORDERS, {"id": 3}]
    assert sorted(notes(run_with(shop(consumer=one, items=items)), "done")) == [1, 2, 3]
    slow = run_with(shop(consumer=one, items=items, replicas=2), crash)
    assert sorted(notes(slow, "done")) == [2, 3]  # the second was acknowledged, and the first
    limited = shop(consumer={**one, "ack_pending_max": 1}, items=items, replicas=2)
    assert sorted(notes(run_with(limited, crash), "done")) == [1, 2, 3]


def test_a_loop_holds_nothing_that_an_acknowledgement_of_all_has_settled():
    fetched = []

    def body(env, consumer, delivery):
        fetched.append(delivery)
        env.note("seen", order=delivery.value["id"])
        if len(fetched) == 2:
            consumer.ack_sync(fetched[1])
            assert not consumer._held

    run = loop(body, consumer={"ack": "all"}).run()
    assert notes(run, "seen") == [1, 2]
    assert [one.data["message"] for one in run.history.of("ack")] == [
        one.data["message"] for one in run.history.of("deliver")
    ]


def test_a_loop_reads_a_message_by_its_sequence():
    heard = []

    def body(env, consumer, delivery):
        record = consumer.get("ORDERS", consumer.metadata(delivery).stream_seq)
        env.note("read", order=[record.subject, record.body])
        try:
            consumer.get("ORDERS", 99)
        except NATSError as error:
            heard.append((error.err_code, error.description))
        consumer.ack(delivery)

    run = run_with(loop(body, items=ORDERS[:1]))
    assert notes(run, "read") == [["ORDERS", '{"id":1}']]
    assert heard == [(10037, "no message found")]


# ---- what is refused


def with_stream(**settings):
    return NATS("bus", {"ORDERS": NATSStream(subjects="orders.*", **settings)})


TWO = {"a": NATSConsumer(), "b": NATSConsumer()}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NATS("bus", {"a b": NATSStream()}), r"the name of a stream"),
        (lambda: NATS("bus", 5), r"NATS.* streams .*names"),
        (lambda: NATS("bus", {"A": NATSConsumer()}), r"stream 'A' must be a NATSStream"),
        (
            lambda: with_stream(retention="workqueue", consumers=TWO),
            r"consumer 'b' of stream 'ORDERS': 10099: multiple non-filtered consumers",
        ),
        (
            lambda: with_stream(consumers={"a": NATSConsumer(backoff_ms=(1, 2), deliver_max=1)}),
            r"10116: max deliver is required to be > length of backoff",
        ),
        (
            lambda: NATS("bus", {"A": NATSStream(subjects="x.>"), "B": NATSStream(subjects="x.y")}),
            r"stream 'B': 10065: subjects overlap",
        ),
        (
            lambda: NATS("bus", {n: NATSStream(subjects=n, consumers=TWO) for n in "AB"}),
            r"consumer 'a' of stream 'B' has the name of one of stream 'A'",
        ),
        (
            lambda: with_stream(consumers={"a": NATSConsumer(dead_subject="dead")}),
            r"puts messages aside on 'dead', but no stream keeps it; they keep: orders\.\*",
        ),
    ],
)
def test_what_the_server_would_refuse_is_refused_at_once(make, words):
    with pytest.raises(InvalidDefinition, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: NATSConsumer(ack_wait_ms=0), "ack_wait_ms must be a whole number from 1 on"),
        (lambda: NATSConsumer(deliver_max=0), "deliver_max .* or -1 for no limit, not 0"),
        (lambda: NATSConsumer(deliver="middle"), "deliver must be one of 'all', 'last', 'new'"),
        (lambda: NATSConsumer(deliver="by_start_time"), "needs start="),
        (lambda: NATSStream(subjects="a..b"), "subjects must be subjects, words between dots"),
        (lambda: NATSStream(retention="for ever"), "retention must be one of 'limits'"),
        (lambda: NATSStream(duplicate_window_ms=10), "duplicate_window_ms .* from 100 on"),
        (lambda: NATSStream(age_ms_max=500, duplicate_window_ms=900), "must not be longer"),
    ],
)
def test_a_value_out_of_range_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prefetch": 5}, "there is no option 'prefetch'"),
        ({"batch": 0}, "batch must be a whole number from 1 on"),
        ({"concurrency": 2}, "a plain handler runs one message at a time"),
        ({"on_error": "dead-letter"}, r"declare it as NATSConsumer\(dead_subject='aside'\)"),
        ({"deliver": "new"}, r"deliver=\.\.\. is for ordered=True"),
        ({"ordered": True}, "has no stream 'worker'; it has: ORDERS"),
    ],
)
def test_an_option_that_there_is_not_is_refused(options, words):
    with pytest.raises(InvalidDefinition, match=words):
        shop(**options).run()


def test_a_subject_that_cannot_be_is_refused():
    system = System("astray")
    bus = system.add(NATS("bus", ["orders"]))
    system.entry(examples=[1])(lambda env, item: env.publisher(bus)("orders.*", item))
    with pytest.raises(InvalidDefinition, match=r"publishes on 'orders\.\*': a subject is words"):
        system.run()


# ---- always the same

DIGESTS = """
from chaosharness import Schedule
from chaosharness.search.sites import candidates
from tests.brokers.nats.test_nats import shop
system = shop(replicas=2)
for fault in candidates(system.run())[::7]:
    print(system.run(None, Schedule([fault])).digest())
"""


def test_the_same_schedule_is_the_same_run_in_another_process():
    found = []
    for seed in ("0", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()}
        done = subprocess.run(
            [sys.executable, "-c", DIGESTS],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        found.append(done.stdout.split())
    assert found[0] == found[1]
    assert len(found[0]) > 10


# ---- what is written down


def test_the_rows_are_those_of_the_page():
    page = Path(__file__).parents[3].joinpath("docs/how-to/nats.md").read_text("utf-8")
    assert table(ROWS) in page


def test_the_search_tries_what_the_rows_say():
    run = shop().run()
    here = [fault for fault in candidates(run) if fault.site.operation == DELIVER]
    mine = [row for row in ROWS if (row.profile, row.at) == ("explicit", "deliver")]
    tried = {(fault.site.phase, type(fault)) for fault in here}
    assert tried == {(row.phase, row.fault) for row in mine}


# ---- every colour


@pytest.mark.parametrize("runtime", ["asyncio", "trio", "ports"])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_loop_in_every_colour(runtime, ordered):
    system = System("colours", arrival_ms=1)
    bus = system.add(NATS("bus", {"ORDERS": NATSStream(consumers={"worker": NATSConsumer()})}))

    @system.service("worker", runtime=runtime)
    def worker(env):
        source = "ORDERS" if ordered else "worker"
        options = {"on_unreadable": "skip", "ordered": ordered}
        consumer = env.consumer(bus, source, read_as=dict, **options)

        async def main():
            while True:
                for delivery in await consumer.fetch(2):
                    env.note("done", order=delivery.value.get("id"))
                    if not ordered:
                        await consumer.in_progress(delivery)
                        await (consumer.ack if delivery.offset % 2 else consumer.ack_sync)(delivery)

        env.main(main)

    @system.service("relay", runtime=runtime)
    def relay(env):
        publish = env.publisher(bus)

        async def main():
            for order in ORDERS:
                answer = await publish("ORDERS", order, key=f"o{order['id']}")
                env.note("stored", order=answer.sequence)

        env.main(main)

    system.entry(examples=[0])(lambda env, item: env.note("begin", order=item))
    run = system.run()
    assert run.ending.verdict == "quiet"
    assert notes(run, "stored") == [1, 2]
    assert notes(run, "done") == [1, 2]
    for fault in candidates(run)[::5]:
        again = system.run(None, Schedule([fault]))
        assert again.ending.verdict == "quiet", (fault, again.ending)
        assert {1, 2} <= {*notes(again, "done")}, fault
