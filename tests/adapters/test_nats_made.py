"""Streams and consumers that code makes while it runs: as a running nats-server has them."""

import asyncio
import json
from functools import partial

import pytest

pytest.importorskip("nats")

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StorageType

from benchmarks import nats_server
from chaosharness import NATS, KeyValue, System, check, smallest

SERVER = "nats://bus.shop.example:4222"


async def tried(awaitable):
    """Return what is answered, or what is raised, in words."""
    try:
        return await awaitable
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def of_stream(info):
    """Return what is told of a stream, without what each server makes up."""
    if not hasattr(info, "state"):
        return str(info)
    config = {word: value for word, value in info.config.as_dict().items() if word != "metadata"}
    state = info.state
    return config, (state.messages, state.bytes, state.last_seq, state.consumer_count)


def of_consumer(info):
    """Return what is told of a consumer."""
    if isinstance(info, str):
        return info
    config = {word: value for word, value in info.config.as_dict().items() if word != "metadata"}
    return config, info.name, info.stream_name, info.push_bound, info.num_pending


async def streams(js):
    """Make, change, and delete streams, right and wrong."""
    orders = {"name": "ORDERS", "subjects": ["orders.*"]}
    made = [of_stream(await tried(js.add_stream(**orders)))]
    for more in (
        {},
        {"subjects": ["orders.*", "parcels"]},
        *({"max_msgs": 10}, {"max_msgs": -1}, {"max_msgs": 0}, {"max_bytes": 1_000}),
        *({"max_age": 60}, {"duplicate_window": 10}, {"duplicate_window": 120}),
        *({"retention": RetentionPolicy.WORK_QUEUE}, {"retention": RetentionPolicy.LIMITS}),
        *({"storage": StorageType.MEMORY}, {"description": "of the shop"}, {"max_msg_size": 5}),
        *(
            {"num_replicas": 1},
            {"deny_purge": True},
            {"max_consumers": 3},
            {"metadata": {"a": "b"}},
        ),
        *({"max_age": 1, "duplicate_window": 2}, {"max_age": 0.01}, {"duplicate_window": 0.01}),
        *({"max_age": -1}, {"num_replicas": 7}, {"subjects": ["orders.*", "orders.a"]}),
        *({"subjects": ["a..b"]}, {"subjects": [">"]}, {"subjects": ["$JS.API.>"]}),
    ):
        made.append((more, of_stream(await tried(js.add_stream(**orders | more)))))
    made.append(of_stream(await tried(js.add_stream(name="OTHER", subjects=["orders.new"]))))
    made.append(of_stream(await tried(js.add_stream(name="bare"))))
    for more in (
        *({"max_msgs": 2}, {"max_age": 60}, {"subjects": ["orders.*", "parcels"]}, {}),
        *({"subjects": ["bare"]}, {"storage": StorageType.MEMORY}, {"deny_purge": True}, {}),
        {"retention": RetentionPolicy.WORK_QUEUE},
    ):
        made.append((more, of_stream(await tried(js.update_stream(**orders | more)))))
    made.append(await tried(js.purge_stream("ORDERS")))
    for awaitable in (
        js.update_stream(name="NONE"),
        js.delete_stream("NONE"),
        js.purge_stream("NONE"),
        js.stream_info("NONE"),
        js.delete_stream("ORDERS"),
        js.stream_info("ORDERS"),
        js.publish("orders.placed", b"1"),
        js.find_stream_name_by_subject("bare"),
        js.find_stream_name_by_subject("orders.placed"),
    ):
        made.append(of_stream(await tried(awaitable)))
    made.append([of_stream(one) for one in await js.streams_info()])
    return made


async def messages(js):
    """Limits, purges, and reading what is there."""
    found = []
    await js.add_stream(name="S", subjects=["s.*"], max_msgs_per_subject=3, max_bytes=300)
    for number in range(5):
        await js.publish(f"s.{number % 2}", b"x" * 20, headers={"Nats-Msg-Id": str(number)})
    found.append(of_stream(await js.stream_info("S")))
    found.append(await tried(js.publish("s.a", b"x" * 400)))
    for wanted in (
        {"seq": 4},
        {"subject": "s.1"},
        {"seq": 1},
        {"seq": 4, "subject": "s.0", "next": True},
    ):
        got = await tried(js.get_msg("S", **wanted))
        found.append(getattr(got, "__dict__", got))
    found.append(await tried(js.delete_msg("S", 5)))
    found.append(await tried(js.delete_msg("S", 5)))
    found.append(await tried(js.purge_stream("S", keep=1)))
    found.append(of_stream(await js.stream_info("S")))
    found.append(await tried(js.purge_stream("S", seq=2, keep=1)))
    found.append(await tried(js.purge_stream("S", subject="s.1")))
    await js.update_stream(name="S", subjects=["s.*"], max_msgs=1)
    for number in range(2):
        await js.publish("s.a", str(number).encode())
    found.append((await js.stream_info("S")).state.messages)
    await js.update_stream(name="S", subjects=["s.*"], max_msg_size=5)
    found.append(await tried(js.publish("s.a", b"123456")))
    return found


WRONG = (
    {"ack_wait": -1},
    {"filter_subject": "orders.a", "filter_subjects": ["orders.b"]},
    {"filter_subjects": ["orders.*", "orders.a"]},
    {"filter_subject": "orders..a"},
    {"deliver_subject": "x.*"},
    {"deliver_subject": "orders.x"},
    {"deliver_subject": "x", "max_waiting": 4},
    {"flow_control": True},
    {"idle_heartbeat": 1},
    {"opt_start_seq": 3},
    {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE},
    {"deliver_policy": DeliverPolicy.BY_START_TIME},
    {"deliver_policy": DeliverPolicy.LAST_PER_SUBJECT},
    {"backoff": [1, 2], "max_deliver": 1},
)
CHANGES = (
    {},
    {"ack_wait": 60},
    {"max_deliver": 3},
    {"max_ack_pending": 7},
    {"filter_subject": "orders.a"},
    {"filter_subjects": ["orders.a", "orders.b"]},
    {"backoff": [1, 2], "max_deliver": 5},
    {"sample_freq": "10%"},
    {"description": "bills"},
    {"deliver_policy": DeliverPolicy.NEW},
    {"ack_policy": AckPolicy.NONE},
    {"max_waiting": 5},
    {"deliver_subject": "zz"},
    {"mem_storage": True},
    {"inactive_threshold": 30},
    {"num_replicas": 1},
)
RIGHT = (
    {"ack_policy": AckPolicy.NONE},
    {"ack_policy": AckPolicy.ALL, "max_ack_pending": -1},
    {"max_deliver": 0, "max_ack_pending": 0, "ack_wait": 0},
    {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": 2},
    {"backoff": [1, 2], "max_deliver": 3},
    {"filter_subject": ">"},
    {"deliver_subject": "elsewhere", "deliver_group": "g"},
)


async def consumers(js):
    """Make, change, and delete consumers, right and wrong."""
    found = []
    await js.add_stream(name="ORDERS", subjects=["orders.*"], max_consumers=20)
    await js.publish("orders.a", b"1")
    for more in (*WRONG, *CHANGES):
        config = ConsumerConfig(durable_name="billing", **more)
        if more in WRONG:
            config.durable_name = "wrong"
        found.append((more, of_consumer(await tried(js.add_consumer("ORDERS", config)))))
        if more in CHANGES:
            config = ConsumerConfig(durable_name="billing")
            found.append(of_consumer(await tried(js.add_consumer("ORDERS", config))))
    for number, more in enumerate(RIGHT):
        config = ConsumerConfig(durable_name=f"c{number}", **more)
        found.append((more, of_consumer(await tried(js.add_consumer("ORDERS", config)))))
    config = ConsumerConfig(name="named")
    found.append(of_consumer(await tried(js.add_consumer("ORDERS", config))))
    config = ConsumerConfig(name="named", durable_name="other")
    found.append(of_consumer(await tried(js.add_consumer("ORDERS", config))))
    found.append(of_consumer(await tried(js.add_consumer("NONE", durable_name="c"))))
    await js.add_stream(name="ONE", subjects=["one"], max_consumers=1)
    for name in ("a", "b", "a"):
        found.append(of_consumer(await tried(js.add_consumer("ONE", durable_name=name))))
    for awaitable in (
        js.delete_consumer("ONE", "a"),
        js.delete_consumer("ONE", "a"),
        js.delete_consumer("NONE", "a"),
        js.consumer_info("ONE", "a"),
    ):
        found.append(await tried(awaitable))
    found.append(sorted(one.name for one in await js.consumers_info("ORDERS")))
    return found


async def subscriptions(js):
    """Bind to what is there, rightly and wrongly; lose it."""
    found = []
    await js.add_stream(name="S", subjects=["s.*"])
    await js.add_consumer("S", durable_name="pulled", ack_policy="explicit")
    for options in (
        {"durable": "pulled"},
        {"durable": "pulled", "config": ConsumerConfig()},
        {"queue": "pulled"},
        {"durable": "pulled", "queue": "other"},
    ):
        found.append(await tried(js.subscribe("s.a", **options)))
    pushed = await js.subscribe("s.a", durable="pushed", config=ConsumerConfig(ack_wait=10))
    await asyncio.sleep(1)
    info = await pushed.consumer_info()
    found += [info.config.ack_wait, info.config.filter_subject, info.push_bound]
    for options in ({"durable": "pushed"}, {"queue": "pushed"}):
        found.append(await tried(js.subscribe("s.a", **options)))
    shared = await js.subscribe("s.a", queue="workers")
    found.append((await shared.consumer_info()).config.deliver_group)
    found.append(await tried(js.subscribe("s.a", durable="workers")))
    found.append(await tried(js.subscribe("nowhere", durable="new")))
    await js.publish("s.a", b"1")
    for sub in (pushed, shared):
        message = await sub.next_msg(timeout=2)
        await message.ack_sync()
        found.append((message.data, message.metadata.consumer))
    await pushed.unsubscribe()
    await asyncio.sleep(1)
    found.append((await js.consumer_info("S", "pushed")).push_bound)
    drifted = await js.pull_subscribe("s.a", durable="pulled", config=ConsumerConfig(ack_wait=3))
    found.append((await drifted.consumer_info()).config.ack_wait)  # it is there: nothing changes
    [message] = await drifted.fetch(timeout=2)
    found.append(message.data)
    await js.delete_consumer("S", "pulled")
    found.append(await tried(drifted.fetch(timeout=1)))
    found.append(await tried(message.ack_sync(timeout=0.5)))
    short = await js.pull_subscribe("s.a", config=ConsumerConfig(inactive_threshold=0.2))
    info = await short.consumer_info()
    found += [info.config.durable_name, info.config.inactive_threshold, info.num_pending]
    [message] = await short.fetch(timeout=2)
    await message.ack_sync()
    await asyncio.sleep(1.5)
    found.append(await tried(short.fetch(timeout=1)))
    short = await js.subscribe("s.a", inactive_threshold=0.2, manual_ack=True)
    await asyncio.sleep(1.5)
    name = (await short.consumer_info()).name
    await short.unsubscribe()
    await asyncio.sleep(1.5)
    found.append(await tried(js.consumer_info("S", name)))
    return found


PROGRAMS = [streams, messages, consumers, subscriptions]


def plain(answer):
    """Return an answer as both sides can be compared: no enums, no tuples."""
    return json.loads(json.dumps(answer, default=str))


async def heard(program, address):
    connection = await nats.connect(address)
    try:
        return plain(await program(connection.jetstream()))
    finally:
        await connection.close()


def asked(program):
    """Return what a program hears in a run, on a server that has nothing."""
    found = []
    system = System("shop")
    system.add(NATS("bus", {}))

    @system.entry(examples=["o1"])
    async def ask(env, order):
        found.append(await heard(program, SERVER))

    assert system.run().ending.verdict == "quiet"
    return found[0]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_a_program_hears_what_a_running_server_says(program):
    if (lacks := nats_server.missing()) is not None:
        pytest.skip(lacks)
    with nats_server.running() as port:
        theirs = asyncio.run(heard(program, f"nats://127.0.0.1:{port}"))
    for one, other in zip(asked(program), theirs, strict=True):
        assert one == other


# ---- services whose world begins empty


def shop(main, *, replicas=1):
    """A service that makes what it needs; a client that sends once all is up."""
    system = System("shop", arrival_ms=1_000)
    system.add(NATS("bus", {}))
    shown = system.add(KeyValue("billed"))

    @system.service("billing", replicas=replicas)
    def billing(env):
        store = env.connect(shown)

        async def put(message, *, once=True):
            order = json.loads(message.data)["id"]
            count = 1 if once else int(await store.get(order) or 0) + 1
            await store.put(order, str(count))

        async def run():
            await main(put)

        env.main(run)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    async def place(env, order):
        connection = await nats.connect(SERVER)
        stream = connection.jetstream()
        await stream.add_stream(name="ORDERS", subjects=["orders.*"])
        await stream.publish(
            "orders.placed", json.dumps(order).encode(), headers={"Nats-Msg-Id": order["id"]}
        )
        await connection.close()

    return system


async def begin():
    connection = await nats.connect(SERVER)
    stream = connection.jetstream()
    await stream.add_stream(name="ORDERS", subjects=["orders.*"])
    return stream


async def fetched(put, subscribe, settle):
    stream = await begin()
    orders = await subscribe(stream)
    while True:
        try:
            messages = await orders.fetch(5, timeout=5)
        except nats.errors.TimeoutError:
            continue
        for message in messages:
            try:
                await put(message)
            except (ValueError, KeyError):
                await message.term()
                continue
            await settle(message)


def durable(stream):
    config = ConsumerConfig(ack_wait=20, max_ack_pending=10)
    return stream.pull_subscribe("orders.placed", durable="billing", config=config)


def anew(stream):
    """A right one: each process begins with all there is."""
    return stream.pull_subscribe("orders.placed")


def forgetful(stream):
    """A broken one: it begins with what comes, and what came before is nobody's."""
    config = ConsumerConfig(deliver_policy=DeliverPolicy.NEW)
    return stream.pull_subscribe("orders.placed", config=config)


async def ack(message):
    await message.ack()


async def right(put):
    await fetched(put, durable, ack)


async def right_anew(put):
    await fetched(put, anew, ack)


async def broken(put):
    await fetched(put, forgetful, ack)


async def listening(put, **options):
    async def on_order(message):
        try:
            await put(message)
        except (ValueError, KeyError):
            await message.term()

    stream = await begin()
    await stream.subscribe("orders.placed", cb=on_order, **options)
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("main", "replicas"),
    [(right, 2), (right_anew, 1), (listening, 1), (partial(listening, durable="billing"), 1)],
)
def test_what_code_makes_by_itself_is_judged_as_what_is_declared(main, replicas):
    run = shop(main, replicas=replicas).run()
    [state] = run.history.of("state")
    assert state.data["items"] == {"o1": "1", "o2": "1"}
    check(shop(main, replicas=replicas), faults_max=1)


def test_a_consumer_that_is_made_anew_with_each_process_loses_what_came_meanwhile():
    found = smallest(shop(broken), faults_max=1)
    assert len(found.schedule) == 1
    assert "for item 2 (o2), which is there without faults" in found.findings[0].summary
