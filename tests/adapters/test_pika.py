"""pika as it is: its own states, loops and exceptions, in virtual time."""

import json
import time

import pika
import pytest
import requests
from pika import BlockingConnection, ConnectionParameters, exceptions

from chaosharness import (
    AMQP,
    BrokerAlarm,
    BrokerRestart,
    ConsumerCancel,
    Crash,
    Delay,
    Delivery,
    ErrorReply,
    Gateway,
    LostReply,
    LostRequest,
    NetworkPartition,
    Pause,
    RabbitMQ,
    Redeliver,
    Schedule,
    Site,
    System,
    Web,
)
from chaosharness.errors import InvalidDefinition

RABBIT = ConnectionParameters("rabbit")
PUBLISH = "worker.main/bus.publish orders"
DELIVER = "bus.orders/deliver to worker"


def played(code, *faults, items=(), **options):
    """Run `code(found)` as a service's main loop; return what it found, and the run."""
    found = []

    def main():
        code(found)

    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=["orders"], **options))
    system.add(AMQP("rabbit", bus))
    system.service("worker")(lambda env: env.main(main))
    system.entry(examples=["o1"])(lambda env, item: env.publisher(bus)("orders", item, key=item))
    run = system.run(items, Schedule(faults))
    assert (run.ending.verdict, run.unused) == ("quiet", ())
    return found, run


def told(call):
    """Return what a call gives, or the class and the code of what it raises."""
    try:
        return call()
    except exceptions.AMQPError as error:
        return (type(error).__name__, getattr(error, "reply_code", None))


def channel_of(parameters=RABBIT):
    return BlockingConnection(parameters).channel()


def published(found, confirms=True):
    channel = channel_of()
    if confirms:
        channel.confirm_delivery()
    began = time.monotonic()
    found.append(told(lambda: channel.basic_publish("", "orders", b"1")))
    found.append((time.monotonic() - began, channel.connection.is_open))


@pytest.mark.parametrize(
    ("fault", "outcome", "took_s", "is_open", "stored"),
    [
        (LostReply(Site(PUBLISH, "after", entity=0)), "StreamLostError", 30, False, 1),
        (LostRequest(Site(PUBLISH, entity=0)), "StreamLostError", 30, False, 0),
        (ErrorReply(Site(PUBLISH, entity=0)), "NackError", 0, True, 0),
        (BrokerRestart(Site(PUBLISH, entity=0)), "StreamLostError", 0, False, 0),
        (
            Pause(Site(PUBLISH, "after", entity=0), lasting=200_000),
            "StreamLostError",
            200,
            False,
            1,
        ),
    ],
)
def test_what_becomes_of_a_publish_is_told_as_pika_tells_it(
    fault, outcome, took_s, is_open, stored
):
    found, run = played(published, fault)
    assert found[0] == (outcome, None)
    assert (round(found[1][0]), found[1][1]) == (took_s, is_open)
    assert len([*run.history.of("publish")]) == stored


def test_without_confirms_what_is_lost_is_lost_silently():
    found, run = played(lambda found: published(found, False), LostRequest(Site(PUBLISH, entity=0)))
    assert found == [None, (0, True)]
    assert not [*run.history.of("publish")]


def test_heartbeats_that_a_slow_callback_misses():
    def slow(found):
        channel = channel_of(ConnectionParameters("rabbit", heartbeat=10))

        def on_order(channel, method, properties, body):
            found.append(method.redelivered)
            time.sleep(30)
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume("orders", on_order)
        found.append(told(channel.start_consuming))

    found, run = played(slow, items=["o1"])
    assert found == [False, ("StreamLostError", None)]
    assert [one.data["why"] for one in run.history.of("nack") if "why" in one.data] == [
        "missed heartbeats"
    ]


@pytest.mark.parametrize("heartbeat", [0, 600, None])
def test_heartbeats_that_are_not_missed(heartbeat):
    def slow(found):
        channel = channel_of(ConnectionParameters("rabbit", heartbeat=heartbeat))

        def on_order(channel, method, properties, body):
            for _ in range(10):
                time.sleep(19)
                if heartbeat is None:
                    channel.connection.process_data_events()
            channel.basic_ack(method.delivery_tag)
            channel.stop_consuming()

        channel.basic_consume("orders", on_order)
        found.append(told(channel.start_consuming))

    assert played(slow, items=["o1"])[0] == [None]


def test_an_idle_publisher_loses_its_connection_too():
    def idle(found):
        channel = channel_of()
        time.sleep(121)
        found.append(told(lambda: channel.basic_publish("", "orders", b"1")))

    assert played(idle)[0] == [("StreamLostError", None)]


def test_a_silent_server_is_noticed_by_who_listens():
    def listening(found):
        channel = channel_of()
        channel.basic_consume("orders", lambda *_: None)
        found.append((told(channel.start_consuming), time.monotonic()))

    cut = NetworkPartition(Site(DELIVER), lasting="long")
    [(error, _)] = played(listening, cut, items=["o1"])[0]
    assert error == ("AMQPHeartbeatTimeout", None)


def consumed(found):
    def on_order(channel, method, properties, body):
        found.append((body, method.redelivered))
        time.sleep(1)
        channel.basic_ack(method.delivery_tag)

    while True:
        try:
            channel = channel_of()
            channel.basic_consume("orders", on_order)
            channel.start_consuming()
            found.append("no consumers left")
        except exceptions.AMQPConnectionError as error:
            found.append(type(error).__name__)
            time.sleep(3)


LOST, REFUSED = "StreamLostError", "AMQPConnectionError"


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Redeliver(Site(DELIVER, "after")), [(b"o1", False), LOST, (b"o1", True)]),
        (LostRequest(Site("worker.on_order/bus.ack")), [(b"o1", False), LOST, (b"o1", True)]),
        (Crash(Site("worker.on_order/bus.ack", "after")), [(b"o1", False)]),
        (Crash(Site("worker.on_order/handle", "before")), [(b"o1", True)]),
        (ConsumerCancel(Site(DELIVER, "after")), [(b"o1", False), "no consumers left"]),
        (
            BrokerRestart(Site(DELIVER, "after"), down=5_000),
            [(b"o1", False), LOST, REFUSED, (b"o1", True)],
        ),
    ],
)
def test_a_reconnect_loop_as_users_write_it(fault, expected):
    assert played(consumed, fault, items=["o1"])[0] == expected


def test_generators_and_get_work_for_the_message_in_hand():
    def looping(found):
        channel = channel_of()
        for method, _, body in channel.consume("orders", inactivity_timeout=3):
            if method is None:
                break
            found.append((body, time.monotonic()))
            channel.basic_publish("", "paid", body)
            channel.basic_ack(method.delivery_tag)
        channel.cancel()
        channel.basic_publish("", "orders", b"last")
        method, _, body = channel.basic_get("orders", auto_ack=True)
        found.append((body, method.message_count))
        found.append(channel.basic_get("orders"))

    found, run = played(looping, items=["o1", "o2"])
    assert [one[0] for one in found[:2]] == [b"o1", b"o2"]
    assert found[2:] == [(b"last", 0), (None, None, None)]
    acks = [one for one in run.history.of("ack") if one.operation.endswith("bus.ack")]
    assert [one.entity for one in acks] == [1, 2]
    sent = [one.entity for one in run.history.of("publish") if one.operation.endswith(" paid")]
    assert sent == [1, 2]


def test_timers_and_callbacks_run_in_its_loop():
    def timed(found):
        connection = BlockingConnection(RABBIT)
        connection.call_later(2, lambda: found.append(round(time.monotonic() - began)))
        connection.add_callback_threadsafe(lambda: found.append("now"))
        began = time.monotonic()
        connection.process_data_events()
        connection.sleep(3)
        connection.close()

    assert played(timed)[0] == ["now", 2]


def test_a_loop_that_looks_again_and_again_is_quiet():
    def looking(found):
        channel = channel_of()
        while True:
            method, _, _ = channel.basic_get("orders")
            if method is not None:
                channel.basic_ack(method.delivery_tag)
            channel.connection.process_data_events(time_limit=1)

    played(looking, items=["o1"])


def test_properties_get_through_both_ways():
    sent = pika.BasicProperties(
        *("application/json", None, {"n": 1}, 2, 5, "c1", "answers", "60000", "m1", 1_700_000_000),
        *("order", "guest", "shop"),
    )
    seen = []

    def producing(found):
        channel = channel_of()
        channel.queue_declare("ours", durable=True)
        channel.basic_publish("", "ours", b"1", sent)
        channel.basic_publish("", "theirs", b'{"a": 1}', pika.BasicProperties(message_id="m2"))
        found.append(channel.basic_get("ours")[1])
        time.sleep(1)
        found.append(channel.basic_get("answers")[1:])

    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=["theirs", "answers"]))
    system.add(AMQP("rabbit", bus))
    found = []
    system.service("worker")(lambda env: env.main(lambda: producing(found)))

    @system.service("ported")
    def ported(env):
        publish = env.publisher(bus)

        def on_message(value: dict, delivery: Delivery):
            seen.append((value, delivery.properties["message_id"]))
            publish("answers", {"b": 2}, correlation_id="c2", headers={"x": "y"})

        env.consume(bus, "theirs", on_message)

    system.entry(examples=[1])(lambda env, item: None)
    system.run()
    assert vars(found[0]) == vars(sent)
    assert seen == [({"a": 1}, "m2")]
    properties, body = found[1]
    assert (properties.correlation_id, properties.headers, body) == ("c2", {"x": "y"}, b'{"b":2}')


# ---- the same program, on ports


def on_pika(env, bank):
    def on_order(channel, method, properties, body):
        order = json.loads(body)
        requests.post("https://bank.example/charges", json=order, timeout=10).raise_for_status()
        channel.basic_publish("", "paid", json.dumps({"order": order["order"]}))
        channel.basic_ack(method.delivery_tag)

    def main():
        while True:
            try:
                channel = channel_of()
                channel.confirm_delivery()
                channel.basic_qos(prefetch_count=1)
                channel.basic_consume("orders", on_order)
                channel.start_consuming()
            except exceptions.AMQPConnectionError:
                time.sleep(1)

    env.main(main)


def on_ports(env, bank):
    charge = env.client(bank).charge
    bus = env._stage.system.resources["bus"]
    publish = env.publisher(bus)

    def on_order(order: dict):
        charge(**order)
        publish("paid", {"order": order["order"]})

    env.consume(bus, "orders", on_order, prefetch=1)


def history_of(service, *faults):
    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=["orders", "paid"]))
    system.add(AMQP("rabbit", bus))
    bank = system.add(Gateway("bank"))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    system.service("payments", replicas=2)(lambda env: service(env, bank))

    @system.entry(examples=[{"order": "o1", "cents": 5}, {"order": "o2", "cents": 7}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["order"])

    run = system.run(None, Schedule(faults))
    assert (run.ending.verdict, run.unused) == ("quiet", ())
    kinds = ("publish", "deliver", "call", "effect", "ack", "crash", "fault")
    return [
        (one.at_ms, one.kind, one.actor, one.operation, one.entity, one.attempt)
        for one in run.history
        if one.kind in kinds
    ]


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [Crash(Site("payments.on_order/bank.charge", "after"))],
        [Crash(Site("payments.on_order/handle"))],
        [Delay(Site("payments.on_order/bank.charge", entity=2), lasting=7)],
        [Pause(Site("payments.on_order/bus.publish paid", "after"), lasting=5)],
    ],
    ids=["calm", "crash", "crash before", "late", "pause"],
)
def test_its_history_is_that_of_the_same_program_on_ports(faults):
    assert history_of(on_pika, *faults) == history_of(on_ports, *faults)


# ---- what is refused in words


def test_an_address_where_nobody_listens_is_told():
    with pytest.raises(InvalidDefinition, match=r"'rabbit2:5673' with pika \(at .*only at: rabbit"):
        played(lambda found: channel_of(ConnectionParameters("rabbit2", 5673)))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (lambda: pika.SelectConnection(RABBIT), "SelectConnection is not modelled"),
        (lambda: channel_of().tx_select(), "Tx.Select is not modelled .* Publish with confirms"),
        (lambda: channel_of().basic_recover(), r"Basic.Recover is not .* basic_nack\(0, mult"),
        (
            lambda: channel_of().queue_declare("q", arguments={"x-strange": 1}),
            "'x-strange' of a queue is not modelled",
        ),
    ],
)
def test_what_is_not_modelled_ends_the_run_in_words(code, words):
    with pytest.raises(InvalidDefinition, match=words):
        played(lambda found: code())


def test_a_host_name_needs_its_broker():
    system = System("shop")
    system.add(AMQP("rabbit", RabbitMQ("bus")))
    system.entry(examples=[1])(lambda env, item: None)
    with pytest.raises(InvalidDefinition, match=r"AMQP\('rabbit'\) speaks for 'bus', which is no"):
        system.run()


def test_outside_a_run_it_is_the_real_library():
    with pytest.raises(exceptions.AMQPConnectionError):
        BlockingConnection(ConnectionParameters("127.0.0.1", 1))


@pytest.mark.parametrize(("shared", "handed"), [(True, 1), (False, 2)])
def test_a_global_prefetch_is_shared_by_the_consumers_of_a_channel(shared, handed):
    def code(found):
        channel = pika.BlockingConnection(RABBIT).channel()
        channel.basic_qos(prefetch_count=1, global_qos=shared)
        for queue in ("a", "b"):
            channel.queue_declare(queue)
            channel.basic_publish("", queue, b"x")
            channel.basic_consume(queue, lambda _, method, *__: found.append(method))
        channel.connection.process_data_events(5)
        channel.connection.process_data_events(5)
        first = len(found)
        channel.basic_ack(found[0].delivery_tag)
        channel.connection.process_data_events(5)
        found[:] = [first, len(found)]

    assert played(code)[0] == [handed, 2]


@pytest.mark.parametrize(
    ("timeout_s", "end", "after_s"),
    [(None, None, 5), (2, ("ConnectionBlockedTimeout", None), 2)],
)
@pytest.mark.parametrize("confirms", [True, False])
def test_a_blocked_connection_is_told_of_and_may_be_given_up(timeout_s, end, after_s, confirms):
    """Without confirms nobody waits, and it is told once it reads.

    With them pika gives up inside of `basic_publish`, which calls no callbacks of the user's.
    """
    heard = []

    def code(found):
        parameters = ConnectionParameters("rabbit", blocked_connection_timeout=timeout_s)
        connection = BlockingConnection(parameters)
        connection.add_on_connection_blocked_callback(lambda *_: heard.append("blocked"))
        connection.add_on_connection_unblocked_callback(lambda *_: heard.append("unblocked"))
        channel = connection.channel()
        if confirms:
            channel.confirm_delivery()
        began = time.monotonic()
        found.append(told(lambda: channel.basic_publish("", "orders", b"1")))
        if not confirms:
            found[-1] = told(lambda: connection.sleep(10))
        found.append(time.monotonic() - began)

    alarm = BrokerAlarm(Site(PUBLISH, entity=0), lasting=5_000)
    found, run = played(code, alarm)
    assert found[0] == end
    assert after_s <= found[1] < (after_s + 1 if confirms or timeout_s else 11)
    told_of = ["blocked", "unblocked"][: 2 if timeout_s is None else 1]
    assert heard == ([] if confirms else told_of)
    [stored] = run.history.of("publish")
    assert stored.at_ms >= 5_000, "the bytes were written, whoever waits"


def test_attempts_to_connect_come_to_an_end_while_the_broker_is_away():
    """Pika counts them, and no local of the user's does: its rounds are no rest."""
    patient = ConnectionParameters("rabbit", connection_attempts=27, retry_delay=5)

    def code(found):
        while len(found) < 2:
            try:
                connection = BlockingConnection(patient)
                connection.channel().basic_publish("", "orders", b"{}")
                connection.close()
            except exceptions.AMQPConnectionError as error:
                found.append((type(error).__name__, time.time()))

    began = 1_893_456_000
    away = BrokerRestart(Site(PUBLISH, "before", 0, 1), down=3_600_000)
    found, _ = played(code, away)
    assert found[-1][0] == "AMQPConnectionError"
    assert 130 <= found[-1][1] - began < 270
