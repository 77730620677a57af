"""Exchanges, queues and their lives, in runs: what services see of them."""

import pytest

from chaosharness import Delivery, Queue, RabbitMQ, Schedule, Site, System
from chaosharness.brokers import ChannelClosed, ConsumerCancelled, Exchange
from chaosharness.errors import InvalidDefinition
from chaosharness.faults import BrokerRestart, ConsumerCancel, Crash, HostDeath, LostRequest


def world(queues, *, exchanges=None, items=(1,), services=(), entry=None, **options):
    """A system with one bus; `services` are `(name, builder(env, bus))`."""
    system = System("shop", arrival_ms=options.pop("arrival_ms", 1))
    bus = system.add(RabbitMQ("bus", queues=queues, exchanges=exchanges or {}, **options))
    for name, build in services:
        replicas = 2 if name.endswith("2") else 1
        system.service(name, replicas=replicas)(lambda env, build=build: build(env, bus))

    @system.entry(examples=list(items))
    def place(env, item):
        publish = env.publisher(bus)
        (entry or (lambda publish, item: publish(next(iter(queues)), item)))(publish, item)

    return system


def noting(queue, word=None, work_s=0.0, **options):
    def build(env, bus):
        def on_message(value, delivery: Delivery):
            env.note(
                word or queue,
                value=value,
                redelivered=delivery.redelivered,
                properties=dict(delivery.properties),
                headers={name: str(value) for name, value in delivery.headers.items()},
            )
            if work_s:
                env.sleep(work_s)

        env.consume(bus, queue, on_message, **options)

    return build


def noted(run, word=None):
    return [
        f"{event.data['value']}{'r' if event.data['redelivered'] else ''}"
        for event in run.history.of("note")
        if word in (None, event.data["what"]) and "redelivered" in event.data
    ]


def all_noted(run):
    return sorted(event.data["what"] for event in run.history.of("note"))


def dropped(run):
    return [event.data["reason"] for event in run.history.of("dead") if not event.data["to"]]


# ---- exchanges


def routed(exchanges, queues, key="", headers=None):
    system = world(
        queues,
        exchanges=exchanges,
        services=[(queue, noting(queue)) for queue in queues],
        entry=lambda publish, item: publish(key, item, exchange="ex", headers=headers),
    )
    return all_noted(system.run())


@pytest.mark.parametrize(
    ("bound", "headers", "goes"),
    [
        ({"format": "pdf", "pages": 3}, {"format": "pdf", "pages": 3}, True),
        ({"format": "pdf", "pages": 3}, {"format": "pdf"}, False),
        ({"format": "pdf", "pages": 3}, {"format": "pdf", "pages": "3"}, False),
        ({"x-match": "any", "format": "pdf", "pages": 3}, {"format": "pdf"}, True),
        ({"x-match": "any", "x-kind": 1}, {"x-kind": 1}, False),
        ({"x-match": "any-with-x", "x-kind": 1}, {"x-kind": 1}, True),
        ({"x-match": "any"}, {"format": "pdf"}, False),
        ({}, {}, True),
        ({"format": None}, {"format": "anything"}, True),
    ],
)
def test_a_headers_exchange_compares_headers(bound, headers, goes):
    exchange = Exchange("headers", {"a": bound})
    assert routed({"ex": exchange}, ["a"], headers=headers) == (["a"] if goes else [])


def test_what_goes_nowhere_goes_to_the_alternate_exchange():
    exchanges = {
        "ex": Exchange("topic", {"order.*": "a"}, alternate="rest"),
        "rest": Exchange("fanout", ["b"]),
    }
    assert routed(exchanges, ["a", "b"], "order.created") == ["a"]
    assert routed(exchanges, ["a", "b"], "mail.sent") == ["b"]


def test_exchanges_lead_to_exchanges_and_a_queue_gets_one_copy():
    exchanges = {
        "ex": Exchange("topic", {"order.*": "a"}, exchanges={"order.#": ["more", "ex"]}),
        "more": Exchange("fanout", ["a", "b"], exchanges=["ex"]),
    }
    assert routed(exchanges, ["a", "b"], "order.created") == ["a", "b"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Exchange("headers", ["a"]), "bindings must be .*x-match"),
        (lambda: Exchange("headers", {"a": {"x-match": "some"}}), "x-match: all, any"),
        (lambda: Exchange("topic", {"a": {"x": 1}}), "headers are for kind"),
        (
            lambda: RabbitMQ("b", [], exchanges={"x": Exchange("fanout", alternate="y")}),
            "alternate",
        ),
        (
            lambda: RabbitMQ("b", [], exchanges={"x": Exchange("fanout", exchanges=["y"])}),
            "bound to exchange 'y', which is not declared",
        ),
        (lambda: Queue("quorum", exclusive=True), "a quorum queue has no exclusive"),
        (lambda: Queue("quorum", durable=False), "a quorum queue has no durable=False"),
        (lambda: Queue("stream", ttl_ms=1), "a stream queue has no ttl_ms"),
        (lambda: Queue(expires_ms=0), "expires_ms must be a whole number from 1"),
    ],
)
def test_what_the_broker_would_refuse_is_refused_at_once(make, words):
    with pytest.raises((ValueError, InvalidDefinition), match=words):
        make()


# ---- lives of queues


def fan_out(queue, **options):
    """Publishes at 0 s, and at 5 s again; the worker's queue is bound to a fanout."""

    def later(env, bus):
        def loop():
            env.sleep(5)
            env.publisher(bus)("", 2, exchange="ex")

        env.main(loop)

    return world(
        {"own": queue},
        exchanges={"ex": Exchange("fanout", ["own"])},
        services=[("worker", noting("own", **options)), ("later", later)],
        entry=lambda publish, item: publish("", item, exchange="ex"),
    )


def test_an_exclusive_queue_goes_with_its_connection():
    site = Site("worker.on_message/handle")
    calm = fan_out(Queue(exclusive=True)).run()
    assert (noted(calm), dropped(calm)) == (["1", "2"], [])
    kept = fan_out(Queue(), work_s=1).run(None, Schedule([Crash(site, down=10_000)]))
    assert noted(kept) == ["1r", "2"]
    struck = Schedule([Crash(site, down=10_000)])
    run = fan_out(Queue(exclusive=True), work_s=1).run(None, struck)
    assert (noted(run), dropped(run)) == ([], ["deleted", "unroutable"])


def test_and_is_made_anew_with_the_next_one():
    struck = Schedule([Crash(Site("worker.on_message/handle"), down=1_000)])
    run = fan_out(Queue(exclusive=True)).run(None, struck)
    assert (noted(run), dropped(run)) == (["2"], ["deleted"])


def test_an_auto_delete_queue_goes_with_its_last_consumer():
    struck = Schedule([LostRequest(Site("worker.on_message/bus.ack"))])
    run = fan_out(Queue(auto_delete=True), work_s=1).run(None, struck)
    assert (noted(run), dropped(run)) == (["1", "2"], ["deleted"])


def test_a_queue_expires_when_nobody_has_used_it_for_a_while():
    struck = Schedule([Crash(Site("worker.on_message/handle"), down=4_000)])
    kept = fan_out(Queue(expires_ms=5_000)).run(None, struck)
    assert (noted(kept), dropped(kept)) == (["1r", "2"], [])
    gone = fan_out(Queue(expires_ms=3_000)).run(None, struck)
    assert (noted(gone), dropped(gone)) == (["2"], ["deleted"])


def test_an_exclusive_queue_is_locked_for_others():
    def other(env, bus):
        consumer = env.consumer(bus, "own")

        def loop():
            env.sleep(1)
            try:
                consumer.get()
            except ChannelClosed as error:
                env.note("refused", value=error.reply_code, text=error.reply_text)

        env.main(loop)

    queues = {"own": Queue(exclusive=True)}
    system = world(queues, services=[("worker", noting("own")), ("other", other)])
    [event] = [one for one in system.run().history.of("note") if one.data["what"] == "refused"]
    assert event.data["value"] == 405
    assert event.data["text"].startswith("RESOURCE_LOCKED - cannot obtain exclusive access")


# ---- consumers


def test_consumers_of_a_higher_priority_come_first():
    services = [
        ("low", noting("a", "low", work_s=1, prefetch=1)),
        ("high", noting("a", "high", work_s=1, prefetch=1, priority=5)),
    ]
    run = world(["a"], items=(1, 2, 3), arrival_ms=1_500, services=services).run()
    assert (noted(run, "high"), noted(run, "low")) == (["1", "2", "3"], [])
    run = world(["a"], items=(1, 2, 3), arrival_ms=1, services=services).run()
    assert (noted(run, "high"), noted(run, "low")) == (["1", "3"], ["2"])


def test_an_exclusive_consumer_is_alone_and_another_takes_over_when_it_is_gone():
    service = ("worker2", noting("a", exclusive=True))
    system = world(["a"], items=(1, 2, 3), arrival_ms=2_000, services=[service])
    run = system.run(None, Schedule([Crash(Site("worker2.on_message/handle"), down=60_000)]))
    assert noted(run) == ["1r", "2", "3"]
    assert {event.actor for event in run.history.of("note")} == {"worker2#2"}


def test_a_consumer_that_the_server_cancels_comes_back_or_does_not():
    def build(**options):
        services = [("worker", noting("a", work_s=0.5, **options))]
        return world(["a"], items=(1, 2), arrival_ms=5_000, services=services)

    struck = Schedule([ConsumerCancel(Site("bus.a/deliver to worker", "after"))])
    assert noted(build().run(None, struck)) == ["1", "2"], "what was in hand is still acknowledged"
    assert noted(build(on_cancel="stop").run(None, struck)) == ["1"]


def test_a_loop_is_told_that_it_was_cancelled():
    def cancelled(env, bus):
        consumer = env.consumer(bus, "a")

        def loop():
            while True:
                try:
                    delivery = consumer.receive()
                except ConsumerCancelled:
                    env.note("cancelled")
                    continue
                env.note("a", value=delivery.value, redelivered=delivery.redelivered)
                consumer.ack(delivery)

        env.main(loop)

    def operator(env, bus):
        def loop():
            env.sleep(2)
            env.client(bus).queue_delete("a")

        env.main(loop)

    services = [("worker", cancelled), ("operator", operator)]
    run = world(["a"], items=(1, 2), arrival_ms=5_000, services=services).run()
    assert all_noted(run) == ["a", "a", "cancelled"]


# ---- at run time


def managed(steps):
    """An operator does something at 0 s and notes what comes of it."""

    def operator(env, bus):
        def loop():
            rabbit, publish = env.client(bus), env.publisher(bus)
            for step in steps:
                try:
                    env.note("did", value=step(rabbit, publish))
                except ChannelClosed as error:
                    env.note("refused", value=f"{error.reply_code} {error.reply_text}")

        env.main(loop)

    system = world(
        {"a": Queue(length_max=9), "spare": Queue()},
        exchanges={"ex": Exchange("topic")},
        services=[("op", operator)],
        entry=lambda publish, item: publish("spare", item),
    )
    return [event.data["value"] for event in system.run().history.of("note")]


def test_what_is_declared_bound_purged_and_deleted():
    found = managed(
        [
            lambda rabbit, publish: rabbit.queue_declare("new", Queue(ttl_ms=60_000)),
            lambda rabbit, publish: rabbit.queue_bind("new", "ex", "order.*"),
            lambda rabbit, publish: publish("order.created", 1, exchange="ex"),
            lambda rabbit, publish: rabbit.queue_declare("new", passive=True),
            lambda rabbit, publish: rabbit.queue_purge("new"),
            lambda rabbit, publish: rabbit.queue_unbind("new", "ex", "order.*"),
            lambda rabbit, publish: publish("order.created", 2, exchange="ex"),
            lambda rabbit, publish: rabbit.queue_delete("new"),
            lambda rabbit, publish: rabbit.exchange_declare("more", "fanout"),
            lambda rabbit, publish: rabbit.exchange_bind("more", "ex", "#"),
            lambda rabbit, publish: rabbit.queue_bind("a", "more"),
            lambda rabbit, publish: publish("mail.sent", 3, exchange="ex"),
            lambda rabbit, publish: rabbit.queue_declare("a", Queue(length_max=9)),
        ]
    )
    assert found == [0, None, None, 1, 1, None, None, 0, None, None, None, None, 1]


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda rabbit, _: rabbit.queue_declare("b", passive=True), "404 NOT_FOUND - no queue 'b'"),
        (lambda rabbit, _: rabbit.queue_purge("b"), "404 NOT_FOUND - no queue 'b' in vhost '/'"),
        (
            lambda rabbit, _: rabbit.queue_declare("a"),
            "406 PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'a' in vhost '/': "
            "received none but current is the value '9' of type 'signedint'",
        ),
        (
            lambda rabbit, _: rabbit.queue_declare("a", Queue(length_max=9, durable=False)),
            "406 PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'a' in vhost '/': "
            "received 'false' but current is 'true'",
        ),
        (lambda rabbit, _: rabbit.queue_bind("a", "no"), "404 NOT_FOUND - no exchange 'no'"),
        (lambda rabbit, _: rabbit.queue_bind("a", ""), "403 ACCESS_REFUSED - operation not permit"),
        (
            lambda rabbit, _: rabbit.exchange_declare("ex", "fanout"),
            "406 PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'ex'",
        ),
        (lambda _, publish: publish("k", 1, exchange="no"), "404 NOT_FOUND - no exchange 'no'"),
        *(
            (
                lambda rabbit, _, flag=flag: rabbit.exchange_declare("ex", "topic", **{flag: True}),
                f"406 PRECONDITION_FAILED - inequivalent arg '{flag}' for exchange 'ex' in vhost "
                "'/': received 'true' but current is 'false'",
            )
            for flag in ("auto_delete", "internal")
        ),
    ],
)
def test_what_the_broker_refuses_the_caller_sees(step, words):
    [refused] = managed([step])
    assert refused.startswith(words)


def test_an_exchange_goes_with_its_last_binding():
    found = managed(
        [
            lambda rabbit, _: rabbit.exchange_declare("first", "fanout", auto_delete=True),
            lambda rabbit, _: rabbit.exchange_declare("then", "fanout", auto_delete=True),
            lambda rabbit, _: rabbit.exchange_bind("then", "first"),
            lambda rabbit, _: rabbit.queue_bind("a", "then"),
            lambda rabbit, publish: publish("k", 1, exchange="first"),
            lambda rabbit, _: rabbit.queue_unbind("a", "then", "other"),  # there is none
            lambda rabbit, _: rabbit.exchange_declare("first", "fanout", passive=True),
            lambda rabbit, _: rabbit.queue_unbind("a", "then"),
            lambda rabbit, publish: publish("k", 2, exchange="first"),
        ]
    )
    assert found[:-1] == [None] * 8
    assert found[-1].startswith("404 NOT_FOUND - no exchange 'first'")


def test_only_exchanges_publish_to_an_internal_one():
    found = managed(
        [
            lambda rabbit, _: rabbit.exchange_declare("inner", "fanout", internal=True),
            lambda rabbit, _: rabbit.exchange_declare("outer", "fanout"),
            lambda rabbit, _: rabbit.exchange_bind("inner", "outer"),
            lambda rabbit, _: rabbit.queue_bind("a", "inner"),
            lambda rabbit, publish: publish("k", 1, exchange="outer"),
            lambda rabbit, publish: publish("k", 2, exchange="inner"),
        ]
    )
    assert found[:-1] == [None] * 5
    words = "403 ACCESS_REFUSED - cannot publish to internal exchange 'inner' in vhost '/'"
    assert found[-1].startswith(words)


def test_a_publisher_that_shares_its_channel_takes_the_consumers_down_with_a_404():
    def worker(env, bus):
        env.client(bus)
        publish = env.publisher(bus, channel="main")

        async def on_message(value, delivery: Delivery):
            env.note("a", value=value, redelivered=delivery.redelivered)
            if not delivery.redelivered:
                try:
                    await publish("k", 1, exchange="typo")
                except ChannelClosed:
                    env.note("closed")

        env.consume(bus, "a", on_message, channel="main")

    run = world(["a"], services=[("worker", worker)]).run()
    assert noted(run, "a") == ["1", "1r"]


def test_properties_reach_the_receiver():
    def entry(publish, item):
        publish("a", item, message_id="m1", correlation_id="c1", reply_to="answers")

    run = world(["a"], services=[("worker", noting("a"))], entry=entry).run()
    [event] = run.history.of("note")
    assert event.data["properties"] == {
        "message_id": "m1",
        "correlation_id": "c1",
        "reply_to": "answers",
    }


# ---- the node and the machines


def test_a_node_that_dies_loses_what_was_not_persistent():
    def entry(publish, item):
        publish("a", item, persistent=item != 2)

    services = [("worker", noting("a", work_s=1, prefetch=1))]
    system = world(["a"], items=(1, 2, 3), services=services, entry=entry)
    run = system.run(None, Schedule([BrokerRestart(Site("bus.a/deliver to worker", "after", 3))]))
    assert noted(run) == ["1", "2", "3", "3r"]
    run = system.run(None, Schedule([BrokerRestart(Site("bus.a/deliver to worker", "after", 1))]))
    assert noted(run) == ["1", "1r"], "the others were refused: the node was down"
    system = world(["a"], items=(1, 2, 3), services=services, entry=entry, arrival_ms=0)
    run = system.run(None, Schedule([BrokerRestart(Site("bus.a/deliver to worker", "after", 1))]))
    assert (noted(run), dropped(run)) == (["1", "1r", "3r"], ["restart"])


def test_while_it_is_down_publishers_are_refused():
    services = [("worker", noting("a"))]
    system = world(["a"], items=(1, 2, 3), arrival_ms=20, services=services)
    struck = Schedule([BrokerRestart(Site("bus.a/deliver to worker", "after"), down=30)])
    run = system.run(None, struck)
    assert noted(run) == ["1", "1r", "3"], "the consumer takes a second to be back"
    [error] = [event.data["error"] for event in run.history.of("raised")]
    assert "bus is down: connection refused" in error


def test_when_a_machine_dies_its_messages_wait_for_two_heartbeats():
    services = [("worker2", noting("a", work_s=1))]
    system = world(["a"], services=services)
    crash, death = (
        system.run(None, Schedule([kind(Site("worker2.on_message/bus.ack"), down=600_000)]))
        for kind in (Crash, HostDeath)
    )
    at = [[event.at_ms for event in run.history.of("note")] for run in (crash, death)]
    assert at == [[1, 1_002], [1, 121_002]]


# ---- streams


def test_a_stream_is_read_by_all_from_where_each_says():
    services = [
        ("early", noting("log", "early", prefetch=10, start="first")),
        ("late", noting("log", "late", prefetch=10, start=1)),
    ]
    system = world({"log": "stream"}, items=(1, 2, 3), services=services)
    run = system.run()
    assert (noted(run, "early"), noted(run, "late")) == (["1", "2", "3"], ["2", "3"])
    [offset, *_] = [event.data["headers"]["x-stream-offset"] for event in run.history.of("note")]
    assert offset == "0"


def test_a_consumer_of_a_stream_begins_anew_each_time_and_next_misses_what_came_meanwhile():
    def build(start):
        services = [("worker", noting("log", prefetch=10, start=start))]
        return world({"log": "stream"}, items=(1, 2, 3), arrival_ms=2_000, services=services)

    struck = Schedule([Crash(Site("worker.on_message/handle", entity=2), down=3_000)])
    assert noted(build("first").run(None, struck)) == ["1", "1", "2", "3"]
    assert noted(build("next").run(None, struck)) == ["1"]


def test_a_stream_wants_a_prefetch():
    run = world({"log": "stream"}, services=[("worker", noting("log"))]).run()
    assert noted(run) == []
