"""What aiokafka says before its `start`, without a subscription, with one, and after its `stop`.

One program, in a run and against librdkafka's mock cluster: the client there is the library's own.
"""

import asyncio
from contextlib import suppress
from functools import partial

import pytest

pytest.importorskip("aiokafka")

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks import kafka_peers
from chaosharness import Kafka, KafkaServers, System
from chaosharness.errors import InvalidDefinition

SERVERS = "kafka:9092"
FIRST = TopicPartition("orders", 0)
NONE = TopicPartition("orders", -5)
FAR = TopicPartition("orders", 99)


async def said(call):
    """Return what a call gives, or what it raises and in which words."""
    try:
        found = call()
        if asyncio.iscoroutine(found):
            found = await asyncio.wait_for(found, 5)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return sorted(found) if isinstance(found, set | frozenset) else found


def calls(consumer):
    """Return what is asked of a consumer in every state."""
    return {
        "pause": lambda: consumer.pause(FIRST),
        "pause none": lambda: consumer.pause(NONE),
        "pause nothing": consumer.pause,
        "pause a topic": lambda: consumer.pause("orders"),
        "paused": consumer.paused,
        "resume": lambda: consumer.resume(FIRST),
        "resume a topic": lambda: consumer.resume("orders"),
        "seek": lambda: consumer.seek(FIRST, 0),
        "seek backwards": lambda: consumer.seek(FIRST, -1),
        "seek none": lambda: consumer.seek(NONE, 0),
        "seek far": lambda: consumer.seek(FAR, 0),
        "position": lambda: consumer.position(FIRST),
        "position of none": lambda: consumer.position(NONE),
        "to the beginning of none": lambda: consumer.seek_to_beginning(NONE),
        "to the end of none": lambda: consumer.seek_to_end(NONE),
        "to what none has committed": lambda: consumer.seek_to_committed(NONE),
        "to the beginning of a topic": lambda: consumer.seek_to_beginning("orders"),
        "highwater of a topic": lambda: consumer.highwater("orders"),
        "highwater of none": lambda: consumer.highwater(NONE),
        "commit": consumer.commit,
        "commit at": lambda: consumer.commit({FIRST: 0}),
        "commit none": lambda: consumer.commit({NONE: 1}),
        "commit nothing": lambda: consumer.commit({}),
        "committed": lambda: consumer.committed(FIRST),
        "assignment": consumer.assignment,
    }


def before(consumer):
    """Return what is asked of one that has not begun, or that has nothing."""
    return {
        "to the beginning": consumer.seek_to_beginning,
        "to the end": consumer.seek_to_end,
        "to what is committed": consumer.seek_to_committed,
    }


def unstarted(consumer):
    """Return what is asked of one that has not begun: later it waits."""
    return {
        "getone": consumer.getone,
        "getmany": consumer.getmany,
        "beginnings": lambda: consumer.beginning_offsets([FIRST]),
        "ends": lambda: consumer.end_offsets([FIRST]),
        "times": lambda: consumer.offsets_for_times({FIRST: 1}),
    }


async def ended(consumer):
    """Stop one whose tasks may not have begun: the library cancels them, and is cancelled."""
    with suppress(asyncio.CancelledError):
        await consumer.stop()


async def consumers(servers, seen):
    """Ask consumers in each state."""

    async def ask(state, asked):
        seen.extend([(state, what, await said(call)) for what, call in asked.items()])

    def made(*topics, **options):
        return AIOKafkaConsumer(*topics, bootstrap_servers=servers, **options)

    one = made("orders", group_id="a")
    await ask("unstarted", calls(one) | before(one) | unstarted(one))
    await one.stop()
    await ask("stopped at once", {"getone": one.getone})
    alone = made()
    await ask("unstarted, in no group", calls(alone) | before(alone) | unstarted(alone))
    alone.assign([FIRST])
    early = {what: calls(alone)[what] for what in ("seek", "position", "pause", "paused")}
    early["highwater"] = lambda: alone.highwater(FIRST)
    await ask("assigned before it starts", early | before(alone))
    await alone.start()
    await ask("assigned", {"paused": alone.paused})
    await ended(alone)
    idle = made(group_id="b")
    await idle.start()
    await ask("of nothing", calls(idle) | before(idle))
    await ended(idle)
    one = made("orders", group_id="c", auto_offset_reset="earliest", enable_auto_commit=False)
    await one.start()
    await ask("started", calls(one))
    await one.stop()
    await ask("stopped", calls(one))


async def producers(servers, seen):
    """Ask producers in each state."""

    async def ask(state, asked):
        seen.extend([(state, what, await said(call)) for what, call in asked.items()])

    one = AIOKafkaProducer(bootstrap_servers=servers)
    transactions = {
        "begin": one.begin_transaction,
        "commit": one.commit_transaction,
        "abort": one.abort_transaction,
    }
    await ask("unstarted", {"nothing": lambda: one.send("orders"), "flush": one.flush})
    await ask("unstarted", transactions)
    await one.start()
    wrong = {
        "to none": lambda: one.send("orders", b"x", partition=-5),
        "to far": lambda: one.send("orders", b"x", partition=99),
        "text": lambda: one.send("orders", "x"),
    }
    await ask("started", wrong | transactions)
    await one.stop()
    await ask("stopped", {"send": lambda: one.send("orders", b"x"), "stop": one.stop})
    two = AIOKafkaProducer(bootstrap_servers=servers, transactional_id="t")
    offsets = {"offsets": lambda: two.send_offsets_to_transaction({FIRST: 1}, "g")}
    await ask(
        "unstarted, of transactions",
        {"commit": two.commit_transaction, "abort": two.abort_transaction, **offsets},
    )


def test_nothing_is_known_of_what_was_not_fetched_yet():
    async def program(servers, seen):
        one = AIOKafkaConsumer("orders", bootstrap_servers=servers, group_id="g")
        alone = AIOKafkaConsumer(bootstrap_servers=servers)
        alone.assign([FIRST])
        for consumer in (one, alone):
            await consumer.start()
            seen.append(consumer.highwater(FIRST))
            await asyncio.sleep(0.1)
            seen.append(consumer.highwater(FIRST))
            await consumer.stop()
            seen.append(consumer.highwater(FIRST))

    assert in_a_run(program) == [None, 0, 0] * 2


def in_a_run(program):
    """Return what a program sees inside of a run."""
    seen = []
    system = System("shop")
    bus = system.add(Kafka("bus", {"orders": 4}, new_groups=True, assignment="round-robin"))
    system.add(KafkaServers(SERVERS, bus))
    system.service("reader")(lambda env: env.main(partial(program, SERVERS, seen)))
    system.entry(examples=["o1"])(lambda env, item: None)
    system.run()
    return seen


@pytest.mark.parametrize("program", [consumers, producers], ids=lambda one: one.__name__)
def test_a_client_says_the_same_as_the_library(program):
    theirs = []
    if (lacks := kafka_peers.missing("mock")) is not None:
        pytest.skip(lacks)
    with kafka_peers.running("mock") as port:
        asyncio.run(program(f"127.0.0.1:{port}", theirs))
    for mine, real in zip(in_a_run(program), theirs, strict=True):
        assert mine == real


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda one: one.send("orders", b"x"), r"send\(\) before start\(\) .* it waits for ever"),
        (lambda one: one.begin_transaction(), r"begin_transaction\(\) before start\(\) is not"),
    ],
)
def test_what_would_wait_for_ever_is_called_off(call, words):
    async def program(servers, seen):
        await call(AIOKafkaProducer(bootstrap_servers=servers, transactional_id="t"))

    with pytest.raises(InvalidDefinition, match=words):
        in_a_run(program)
