"""AckPolicy `all` and `none` by nats-py: as a running server has them, and what they do to code."""

import asyncio
import json
from functools import partial

import pytest

pytest.importorskip("nats")

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from benchmarks import nats_server
from chaosharness import (
    NATS,
    Crash,
    KeyValue,
    LostReply,
    NATSConsumer,
    NATSStream,
    Schedule,
    Site,
    System,
    explore,
    smallest,
)
from chaosharness.errors import InvalidDefinition
from tests.adapters.digests import printed_everywhere

DELIVER = "bus.billing/deliver to billing"
SERVER = "nats://bus.shop.example"
CONFIGS = {
    "all": ConsumerConfig(ack_policy=AckPolicy.ALL, ack_wait=1, max_deliver=2),
    "none": ConsumerConfig(ack_policy=AckPolicy.NONE),
    "push": ConsumerConfig(ack_policy=AckPolicy.ALL, ack_wait=1),
    "sent": ConsumerConfig(ack_policy=AckPolicy.NONE),
}
PART = NATS(
    "bus",
    {
        "ORDERS": NATSStream(
            subjects="orders.*",
            consumers={
                "all": NATSConsumer(ack="all", ack_wait_ms=1_000, deliver_max=2),
                "none": NATSConsumer(ack="none"),
                "push": NATSConsumer(ack="all", ack_wait_ms=1_000),
                "sent": NATSConsumer(ack="none"),
            },
        )
    },
    url=SERVER,
)


def told(message):
    one = message.metadata
    return message.data.decode(), one.num_delivered, one.sequence.stream, one.sequence.consumer


async def state(subscription):
    await asyncio.sleep(0.05)  # nobody answers what was acknowledged
    one = await subscription.consumer_info()
    delivered, floor = one.delivered, one.ack_floor
    return (
        (delivered.consumer_seq, delivered.stream_seq),
        (floor.consumer_seq, floor.stream_seq),
        (one.num_ack_pending, one.num_redelivered, one.num_pending),
        (one.config.ack_policy, one.config.ack_wait),
    )


async def name_of(asked):
    with pytest.raises((nats.errors.Error, nats.js.errors.Error)) as error:
        await asked
    return type(error.value).__name__


async def heard(url):
    """Say what a program hears: of a server, or of the broker that stands for it."""
    connection = await nats.connect(url)
    stream = connection.jetstream()
    await stream.add_stream(name="ORDERS", subjects=["orders.*"])
    for number in range(5):
        await stream.publish("orders.placed", str(number).encode())
    return [
        *await heard_of_all(stream),
        *await heard_of_none(stream),
        *await heard_pushed(stream),
    ]


async def heard_of_all(stream):
    orders = await stream.pull_subscribe("orders.*", durable="all", config=CONFIGS["all"])
    first = await orders.fetch(4)
    found = [*map(told, first)]
    await first[1].ack_sync()  # and the one before it
    found.append(await state(orders))
    await first[0].ack_sync()  # it is settled, and that is answered too
    await first[3].nak()
    await asyncio.sleep(0.05)
    again = await orders.fetch(1)
    found += [*map(told, again), await state(orders)]
    await asyncio.sleep(1.5)  # AckWait is over: one of them was handed out as often as it may be
    found.append(await state(orders))
    late = await orders.fetch(2)
    found += [*map(told, late), await state(orders)]
    await late[-1].ack_sync()
    return [*found, await state(orders)]


async def heard_of_none(stream):
    orders = await stream.pull_subscribe("orders.*", durable="none", config=CONFIGS["none"])
    sent = await orders.fetch(3)
    found = [*map(told, sent), await state(orders)]
    await sent[0].nak()
    await sent[1].ack()
    found.append(await name_of(sent[2].ack_sync()))
    found.append(await state(orders))
    return [*found, *map(told, await orders.fetch(5))]


async def heard_pushed(stream):
    found = []
    orders = await stream.subscribe(
        "orders.*", durable="push", config=CONFIGS["push"], manual_ack=True
    )
    messages = [await orders.next_msg(timeout=1) for _ in range(5)]
    found += map(told, messages)
    await messages[2].ack_sync()
    found.append(await state(orders))
    found += [told(await orders.next_msg(timeout=2)) for _ in range(2)]
    await orders.unsubscribe()
    sent = await stream.subscribe("orders.*", durable="sent", config=CONFIGS["sent"])
    messages = [await sent.next_msg(timeout=1) for _ in range(5)]
    found += map(told, messages)
    await messages[4].ack()
    return [*found, await state(sent)]


def asked(function):
    found = []
    system = System("shop")
    system.add(PART)

    @system.entry(examples=[1])
    async def ask(env, number):
        found.append(await function())

    run = system.run()
    assert run.ending.verdict == "quiet", run.ending
    return found[0]


@pytest.mark.real_broker
def test_a_running_server_tells_the_same():
    lacks = nats_server.missing()
    if lacks is not None:
        pytest.skip(f"NATS is not compared: {lacks}")
    with nats_server.running() as port:
        theirs = asyncio.run(heard(f"nats://127.0.0.1:{port}"))
    assert asked(lambda: heard(SERVER)) == theirs


# ---- what it does to code


def shop(main, consumer, *, wait_s=0):
    """A service whose loop writes down each order once."""
    system = System("shop", arrival_ms=1)
    stream = NATSStream(subjects="orders.*", consumers={"billing": consumer})
    bus = system.add(NATS("bus", {"ORDERS": stream}))
    shown = system.add(KeyValue("billed"))

    @system.service("billing")
    def billing(env):
        store = env.connect(shown)

        async def run():
            await asyncio.sleep(wait_s)
            await main(store)

        env.main(run)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    async def place(env, order):
        await env.publisher(bus)("orders.placed", order, key=order["id"])

    return system


async def fetched(policy, handle, pending=None):
    connection = await nats.connect(SERVER)
    stream = connection.jetstream()
    config = ConsumerConfig(ack_policy=policy, max_ack_pending=pending)
    orders = await stream.pull_subscribe("orders.*", durable="billing", config=config)
    while True:
        try:
            messages = await orders.fetch(5, timeout=5)
        except nats.errors.TimeoutError:
            continue
        await handle(messages)


async def write(store, message):
    try:
        order = json.loads(message.data)["id"]
    except (ValueError, KeyError):
        return
    await store.put(order, "done")


async def the_last_of_a_batch(store, pending=None):
    """What is handed out at a time is acknowledged by its last one, when all of it is done."""

    async def handle(messages):
        for message in messages:
            await write(store, message)
        await messages[-1].ack()

    await fetched(AckPolicy.ALL, handle, pending)


async def newest_first(store):
    """A broken one: the newest is handled first, and its acknowledgement is one of the others."""

    async def handle(messages):
        for message in reversed(messages):
            await write(store, message)
            await message.ack()

    await fetched(AckPolicy.ALL, handle)


async def without(store):
    """A broken one: what is handed out is done, whoever dies with it."""

    async def handle(messages):
        for message in messages:
            await write(store, message)

    await fetched(AckPolicy.NONE, handle)


def test_one_at_a_time_is_silent():
    one = NATSConsumer(ack="all", ack_pending_max=1)
    campaign = explore(shop(partial(the_last_of_a_batch, pending=1), one), faults_max=1)
    assert campaign.result == "holds", campaign.sentences()


def test_what_was_lost_on_its_way_is_acknowledged_by_the_next_one():
    """The batch is done, and the server counts one before it in, which nobody ever saw."""
    found = smallest(shop(the_last_of_a_batch, NATSConsumer(ack="all")), faults_max=1)
    assert found.schedule == Schedule([LostReply(Site(DELIVER, "after"))])
    assert "billed lacks the row (key=o1" in found.findings[0].summary


def test_an_acknowledgement_of_what_is_not_done_yet_is_named():
    system = shop(newest_first, NATSConsumer(ack="all"), wait_s=1)
    crashes = explore(system, faults_max=1, kinds=[Crash], stop_at_first=True)
    [found] = crashes.counterexamples
    assert len(found.schedule) == 1
    assert "nothing came of item 1 (o1), and nobody was told" in found.findings[0].summary


def test_what_is_lost_without_acknowledgements_is_named():
    found = smallest(shop(without, NATSConsumer(ack="none")), faults_max=1)
    assert "billed lacks the row" in found.findings[0].summary and len(found.schedule) == 1
    lost = Schedule([LostReply(Site(DELIVER, "after"))])
    run = shop(without, NATSConsumer(ack="none")).run(None, lost)
    assert not run.unused
    assert len([one for one in run.history.of("deliver") if one.entity == 1]) == 1


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ConsumerConfig(ack_policy=AckPolicy.ALL), "ack_policy=all where bus has explicit"),
        (ConsumerConfig(deliver_policy=DeliverPolicy.NEW), "deliver_policy=new where bus has all"),
        (ConsumerConfig(ack_wait=5), "ack_wait=5000000000 where bus has 30000000000"),
        (
            ConsumerConfig(filter_subjects=["orders.paid"]),
            "filters=orders.paid where bus has orders.p",
        ),
        (ConsumerConfig(max_deliver=3), "max_deliver=3 where bus has -1"),
        (ConsumerConfig(backoff=[1, 2]), r"backoff=\[1000000000, 2000000000\] where bus has \[\]"),
        (ConsumerConfig(max_ack_pending=1), "max_ack_pending=1 where bus has 1000"),
    ],
)
def test_a_consumer_that_code_makes_otherwise_than_declared_is_said(config, words):
    async def main(store):
        connection = await nats.connect(SERVER)
        await connection.jetstream().pull_subscribe(
            "orders.placed", durable="billing", config=config
        )

    with pytest.raises(InvalidDefinition, match=words):
        shop(main, NATSConsumer(filters="orders.placed")).run()


SAME = """
from tests.adapters.test_nats_acks import *
lost = Schedule([LostReply(Site(DELIVER, "after"))])
for main, ack in ((the_last_of_a_batch, "all"), (newest_first, "all"), (without, "none")):
    for schedule in (None, lost):
        for _ in range(2):
            print(shop(main, NATSConsumer(ack=ack)).run(None, schedule).digest())
"""


def test_a_history_is_the_same_in_every_process():
    printed = printed_everywhere(SAME)
    assert len(printed) == 12 and printed[::2] == printed[1::2]
