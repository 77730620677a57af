"""aio-pika as it is: callbacks, iterators, `process()`, confirms and its own reconnects."""

import asyncio
import json
from contextlib import suppress

import aio_pika
import aiormq
import pytest
from aio_pika import DeliveryMode, ExchangeType, Message

from chaosharness import (
    AMQP,
    BrokerAlarm,
    BrokerRestart,
    ConsumerCancel,
    Crash,
    ErrorReply,
    LostReply,
    LostRequest,
    NetworkPartition,
    Pause,
    RabbitMQ,
    Redeliver,
    Schedule,
    Site,
    System,
)
from chaosharness.errors import InvalidDefinition

URL = "amqp://guest:guest@rabbit/"
PUBLISH = "worker.main/bus.publish orders"
DELIVER = "bus.orders/deliver to worker"


def played(code, *faults, items=(), **options):
    """Run `await code(found)` as a service's main loop; return what it found, and the run."""
    found = []

    async def main():
        await code(found)

    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=["orders", "paid"], **options))
    system.add(AMQP("rabbit", bus))
    system.service("worker")(lambda env: env.main(main))
    system.entry(examples=["o1"])(lambda env, item: env.publisher(bus)("orders", item, key=item))
    run = system.run(items, Schedule(faults))
    assert (run.ending.verdict, run.unused) == ("quiet", ()), run.ending
    return found, run


async def channel_of(**options):
    connection = await aio_pika.connect_robust(URL)
    return await connection.channel(**options)


async def told(awaitable):
    """Return the class of what something awaited gives, or raises."""
    try:
        return type(await awaitable).__name__
    except Exception as error:
        return type(error).__name__


async def published(found, **options):
    channel = await channel_of(**options)
    began = asyncio.get_running_loop().time()
    found.append(await told(channel.default_exchange.publish(Message(b"1"), "orders")))
    found.append(round(asyncio.get_running_loop().time() - began))


@pytest.mark.parametrize(
    ("fault", "outcome", "took_s", "stored"),
    [
        (None, "Ack", 0, 1),
        (LostReply(Site(PUBLISH, "after", entity=0)), "AMQPConnectionError", 30, 1),
        (LostRequest(Site(PUBLISH, entity=0)), "AMQPConnectionError", 30, 0),
        (ErrorReply(Site(PUBLISH, entity=0)), "DeliveryError", 0, 0),
        (BrokerRestart(Site(PUBLISH, entity=0)), "AMQPConnectionError", 0, 0),
        (Pause(Site(PUBLISH, "after", entity=0), lasting=5_000), "Ack", 5, 1),
    ],
)
def test_what_becomes_of_a_publish_is_told_as_aio_pika_tells_it(fault, outcome, took_s, stored):
    found, run = played(published, *filter(None, [fault]))
    assert found == [outcome, took_s]
    assert len([*run.history.of("publish")]) == stored


ALARM = BrokerAlarm(Site(PUBLISH, entity=0), lasting=5_000)


@pytest.mark.parametrize(
    ("confirms", "patience_s", "told_as", "took_s"),
    [
        (True, None, "Ack", 5),
        (True, 2, "TimeoutError", 2),
        (False, None, "NoneType", 0),
    ],
)
def test_a_broker_under_alarm_reads_nothing_and_confirms_nothing(
    confirms, patience_s, told_as, took_s
):
    """What was written is stored when the alarm is over, whoever has given up waiting."""

    async def code(found):
        channel = await channel_of(publisher_confirms=confirms)
        began = asyncio.get_running_loop().time()
        sent = channel.default_exchange.publish(Message(b"1"), "orders", timeout=patience_s)
        found.append(await told(sent))
        found.append(round(asyncio.get_running_loop().time() - began))

    found, run = played(code, ALARM)
    assert found == [told_as, took_s]
    [stored] = run.history.of("publish")
    assert stored.at_ms >= 5_000


def test_under_alarm_who_only_consumes_goes_on_and_who_publishes_acknowledges_nothing():
    """Acknowledgements on a blocked connection are read when the alarm is over."""

    async def code(found):
        channel = await channel_of()
        queue = await channel.get_queue("orders")
        await asyncio.sleep(1)
        message = await queue.get()
        other = await channel_of()
        reading = await other.get_queue("paid")
        await other.default_exchange.publish(Message(b"paid"), "paid")
        blocked = asyncio.create_task(
            channel.default_exchange.publish(Message(b"second"), "orders")
        )
        await asyncio.sleep(1)
        acknowledged = asyncio.create_task(message.ack())
        one = await reading.get()
        await one.ack()
        await asyncio.gather(blocked, acknowledged)

    _, run = played(code, BrokerAlarm(Site(PUBLISH), lasting=5_000), items=["o1"])
    moments = [one.at_ms for one in run.history.of("ack")]
    assert moments[0] < 5_000 <= moments[1]


def test_without_confirms_what_is_lost_is_lost_silently():
    async def blindly(found):
        await published(found, publisher_confirms=False)

    found, run = played(blindly, LostRequest(Site(PUBLISH, entity=0)))
    assert found == ["NoneType", 0]
    assert not [*run.history.of("publish")]


async def consumed(found):
    channel = await channel_of()
    await channel.set_qos(prefetch_count=1)
    queue = await channel.get_queue("orders")

    async def on_order(message):
        async with message.process():
            found.append((message.body, message.redelivered))
            await asyncio.sleep(1)

    await queue.consume(on_order)
    await asyncio.Future()


AGAIN = [(b"o1", False), (b"o1", True)]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Redeliver(Site(DELIVER, "after")), AGAIN),
        (LostRequest(Site("worker.on_order/bus.ack")), AGAIN),
        (Crash(Site("worker.on_order/handle", "before")), [(b"o1", True)]),
        (Crash(Site("worker.on_order/bus.ack", "after")), [(b"o1", False)]),
        (BrokerRestart(Site(DELIVER, "after"), down=5_000), AGAIN),
        (NetworkPartition(Site(DELIVER), lasting=300_000), [(b"o1", True)]),
        (ConsumerCancel(Site(DELIVER, "after")), [(b"o1", False)]),
    ],
)
def test_its_own_reconnects_bring_it_back(fault, expected):
    found, _ = played(consumed, fault, items=["o1"])
    assert found[-1] == expected[-1]
    assert found[0] in expected


def test_iterators_and_get_work_for_the_message_in_hand():
    async def iterating(found):
        channel = await channel_of()
        queue = await channel.declare_queue("orders", durable=True)
        async with queue.iterator(timeout=3) as messages:
            with suppress(asyncio.TimeoutError):
                async for message in messages:
                    async with message.process():
                        await channel.default_exchange.publish(Message(message.body), "paid")
                        found.append(message.body)
        first = await (await channel.get_queue("paid")).get()
        await first.ack()
        found.append(first.body)
        found.append(await (await channel.get_queue("orders")).get(fail=False))

    found, run = played(iterating, items=["o1", "o2"])
    assert found == [b"o1", b"o2", b"o1", None]
    sent = [one.entity for one in run.history.of("publish") if one.operation.endswith(" paid")]
    assert sent == [1, 2]
    acks = [one for one in run.history.of("ack") if one.operation.endswith("bus.ack")]
    assert [one.entity for one in acks] == [1, 2, 1]


def test_what_the_broker_refuses_is_raised():
    async def refused(found):
        connection = await aio_pika.connect(URL)
        found.append(await told((await connection.channel()).get_queue("none")))
        channel = await connection.channel()
        topic = await channel.declare_exchange("topic", ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue("mine", durable=True)
        await queue.bind(topic, "a.*")
        sent = Message(b"1", headers={"n": 1}, delivery_mode=DeliveryMode.PERSISTENT, expiration=60)
        found.append(await told(topic.publish(sent, "a.b", mandatory=True)))
        got = await queue.get()
        found.append((got.headers, got.delivery_mode, got.expiration, got.routing_key))
        await got.reject(requeue=True)
        found.append((await queue.get(no_ack=True)).redelivered)
        found.append(await told(topic.publish(Message(b"1"), "b", mandatory=True)))
        found.append(await told(channel.declare_queue("mine", durable=False)))
        await connection.close()

    found, _ = played(refused)
    assert found == [
        *("ChannelNotFoundEntity", "Ack"),
        ({"n": 1}, DeliveryMode.PERSISTENT, 60.0, "a.b"),
        *(True, "DeliveredMessage", "ChannelPreconditionFailed"),
    ]


async def transacts(found):
    channel = await channel_of(publisher_confirms=False)
    async with channel.transaction():
        pass


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (transacts, r"Tx.Select is not modelled \(at tests/adapters/test_aio_pika.* with confirms"),
    ],
)
def test_what_is_not_modelled_is_said_with_the_line_that_waits_for_it(code, words):
    """The library asks in a task of its own, in which no line of the user's stands."""
    with pytest.raises(InvalidDefinition, match=words):
        played(code)


def test_aiormq_alone_and_nobody_at_the_address():
    async def bare(found):
        connection = await aiormq.connect(URL)
        channel = await connection.channel()
        await channel.basic_publish(b"x", routing_key="orders")
        found.append((await channel.basic_get("orders", no_ack=True)).body)
        await connection.close()

    found, run = played(bare)
    assert found == [b"x"]
    assert "aiormq" in run.spoken

    async def elsewhere(found):
        await aio_pika.connect_robust("amqp://other/")

    with pytest.raises(InvalidDefinition, match=r"'other' with aiormq.* only at: rabbit"):
        played(elsewhere)


# ---- the same program, on ports


def on_aio_pika(env, bus):
    async def main():
        channel = await channel_of()
        await channel.set_qos(prefetch_count=1)
        queue = await channel.get_queue("orders")

        async def on_order(message):
            async with message.process(requeue=True):
                await asyncio.sleep(0.5)
                body = json.dumps(json.loads(message.body)).encode()
                await channel.default_exchange.publish(Message(body), "paid")

        await queue.consume(on_order)
        await asyncio.Future()

    env.main(main)


def on_ports(env, bus):
    publish = env.publisher(bus)

    async def on_order(order: dict):
        await asyncio.sleep(0.5)
        await publish("paid", order)

    env.consume(bus, "orders", on_order, prefetch=1)


def history_of(service, *faults):
    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=["orders", "paid"]))
    system.add(AMQP("rabbit", bus))
    system.service("payments", replicas=2)(lambda env: service(env, bus))

    @system.entry(examples=[{"order": "o1", "cents": 5}, {"order": "o2", "cents": 7}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["order"])

    run = system.run(None, Schedule(faults))
    assert (run.ending.verdict, run.unused) == ("quiet", ())
    kinds = ("publish", "deliver", "ack", "crash", "fault")
    return [
        (one.at_ms, one.kind, one.actor, one.operation, one.entity, one.attempt)
        for one in run.history
        if one.kind in kinds
    ]


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [Crash(Site("payments.on_order/bus.publish paid", "after"))],
        [Crash(Site("payments.on_order/handle"))],
        [Pause(Site("payments.on_order/bus.publish paid", "after"), lasting=5)],
    ],
    ids=["calm", "crash", "crash before", "pause"],
)
def test_its_history_is_that_of_the_same_program_on_ports(faults):
    assert history_of(on_aio_pika, *faults) == history_of(on_ports, *faults)


class Clerk:
    """A worker whose object is the callback, as a container of dependencies makes them."""

    async def __call__(self, message):
        await message.ack()


def test_an_object_that_is_the_callback_is_named_after_its_class():
    async def code(found):
        channel = await channel_of()
        await (await channel.get_queue("orders")).consume(Clerk())
        await asyncio.Future()

    _, run = played(code, items=["o1"])
    assert "worker.Clerk/bus.ack" in {event.operation for event in run.history}
