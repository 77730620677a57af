"""nats-py, unmodified, on JetStream, in virtual time."""

import subprocess
import sys

import pytest

pytest.importorskip("nats")

import nats
from nats.js.api import ConsumerConfig

from chaosharness import (
    NATS,
    Crash,
    KeyValue,
    LostReply,
    NATSConsumer,
    NATSStream,
    Poison,
    Schedule,
    Site,
    System,
    check,
    idempotent,
    smallest,
)
from chaosharness.adapters import dispatch
from chaosharness.adapters.nats.nats import LIBRARY
from chaosharness.errors import InvalidDefinition
from tests.adapters import nats_workers as workers

ORDERS = [{"id": "o1"}, {"id": "o2"}]
DELIVER = "bus.billing/deliver to billing"


def part(url=workers.SERVER):
    billing = NATSConsumer(filters="orders.placed")
    stream = NATSStream(subjects="orders.*", consumers={"billing": billing})
    return NATS("bus", {"ORDERS": stream}, url=url)


def shop(settle, *, counts=False, replicas=1):
    system = System("shop")
    system.add(part())
    shown = system.add(KeyValue("billed"))

    @system.service("billing", replicas=replicas)
    def billing(env):
        store = env.connect(shown)

        async def put(order, message):
            count = int(await store.get(order) or 0) + 1 if counts else "done"
            await store.put(order, str(count))

        async def main():
            await workers.bill(put, settle)

        env.main(main)

    @system.entry(examples=ORDERS)
    async def place(env, order):
        await workers.place(order)

    system.claim(idempotent())
    return system


def asked(function):
    """Return what a program hears that asks in an entry."""
    found = []
    system = System("shop")
    system.add(part())

    @system.entry(examples=ORDERS[:1])
    async def ask(env, order):
        connection = await nats.connect(workers.SERVER)
        found.append(await function(connection, connection.jetstream()))

    assert system.run().ending.verdict == "quiet"
    return found[0]


ALL = pytest.mark.parametrize("settle", [workers.ack, workers.ack_sync, workers.nak])


@ALL
def test_right_code_is_silent_over_all_single_faults(settle):
    run = shop(settle).run()
    assert run.ending.verdict == "quiet" and not run.ending.ran_on
    spoken = {one.partition("/")[2] for one in run.spoken["nats"]}
    assert spoken >= {"bus.publish orders.placed", "bus.fetch", "bus.api"}
    assert [one.entity for one in run.history if one.kind == "commit"][:2] == [1, 2]
    check(shop(settle, replicas=2), faults_max=1)


def test_an_acknowledgement_that_is_lost_counts_twice():
    found = smallest(shop(workers.ack, counts=True), faults_max=1)
    assert [str(one) for one in found.schedule] == [
        "lost request before billing.main/bus.ack for item 1"
    ]
    assert "billed has value=2 (key=o1)" in found.findings[0].summary


def test_settlements_are_those_of_the_server():
    run = shop(workers.nak).run()
    again = [one for one in run.history.of("deliver") if one.entity == 1]
    assert [one.data["times"] for one in again] == [1, 2] and again[1].at_ms >= 10_000
    poison = Poison(Site("client.place/bus.publish orders.placed"))
    run = shop(workers.ack).run(None, Schedule([poison]))
    assert "billing.main/bus.term" in run.spoken["nats"] and not run.unused
    lost = LostReply(Site("billing.main/bus.ack_sync", "after"))
    run = shop(workers.ack_sync).run(None, Schedule([lost]))
    assert not any(one.kind == "raised" for one in run.history)
    assert [one.data["outcome"] for one in run.history.of("reply")] == ["unknown"]
    for fault in (LostReply(Site(DELIVER, "after")), Crash(Site("billing.main/bus.ack", "after"))):
        run = shop(workers.ack).run(None, Schedule([fault]))
        [state] = run.history.of("state")
        assert state.data["items"] == {"o1": "done", "o2": "done"}


def test_what_is_answered():
    async def talk(connection, stream):
        first = await stream.publish("orders.placed", b"1", headers={"Nats-Msg-Id": "a"})
        same = await stream.publish("orders.placed", b"1", headers={"Nats-Msg-Id": "a"})
        found = [first.stream, first.seq, same.seq, same.duplicate]
        info = await stream.add_stream(name="ORDERS", subjects=["orders.*"])
        found += [info.state.messages, (await stream.stream_info("ORDERS")).config.name]
        orders = await stream.pull_subscribe("orders.placed", "billing")
        [message] = await orders.fetch()
        told = message.metadata
        found += [message.data, message.headers, told.num_delivered, told.sequence.stream]
        found += [(await stream.consumer_info("ORDERS", "billing")).num_ack_pending]
        await message.ack_sync()
        for ask in (
            orders.fetch(timeout=1),
            stream.publish("nobody.cares", b""),
            stream.stream_info("NONE"),
            stream.publish("orders.placed", b"", headers={"Nats-Expected-Last-Sequence": "9"}),
            message.ack(),
        ):
            with pytest.raises(nats.errors.Error) as error:
                await ask
            found.append(type(error.value).__name__)
        await connection.drain()
        with pytest.raises(nats.errors.ConnectionClosedError):
            await stream.publish("orders.placed", b"")
        return found

    assert asked(talk) == [
        *("ORDERS", 1, 1, True, 1, "ORDERS", b"1", {"Nats-Msg-Id": "a"}, 1, 1, 1),
        *("TimeoutError", "NoStreamResponseError", "NotFoundError", "BadRequestError"),
        "MsgAlreadyAckdError",
    ]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (
            lambda nc, js: js.add_stream(name="ORDERS", subjects=["n"]),
            r"with subjects=\['n'\] where bus has \['orders\.\*'\].* leave it out of the system",
        ),
        (
            lambda nc, js: js.add_stream(name="ORDERS", subjects=["orders.*"], max_age=60),
            "max_age=60000000000 where bus has 0",
        ),
        (
            lambda nc, js: js.add_stream(name="NEW", no_ack=True),
            "a stream with no_ack=True is not modelled.* leave no_ack out",
        ),
        (
            lambda nc, js: js.reset_consumer("ORDERS", "billing"),
            "CONSUMER.RESET of JetStream's API",
        ),
        (
            lambda nc, js: js.add_consumer("ORDERS", ConsumerConfig(name="billing", ack_wait=5)),
            "ack_wait=5000000000 where bus has 30000000000",
        ),
    ],
)
def test_what_is_not_modelled_is_said(ask, words):
    with pytest.raises(InvalidDefinition, match=words):
        asked(ask)


def test_an_address_that_nobody_stands_for_is_said():
    system = System("shop")
    system.add(part("nats://other.example"))
    system.entry(examples=ORDERS)(lambda env, order: None)

    @system.service("billing")
    def billing(env):
        async def main():
            await workers.begin()

        env.main(main)

    with pytest.raises(
        InvalidDefinition, match=r"connects to bus.shop.example \(at .*is no server"
    ):
        system.run()


def test_another_version_is_refused_by_name():
    changed = dispatch.Library(
        "nats-py", LIBRARY.tested, (dispatch.Seam("nats.aio.client:Client.flush", ("self",), len),)
    )
    words = r"nats-py [\d.]+ is not as its adapter knows it: Client.flush\(self\) takes"
    with pytest.raises(InvalidDefinition, match=words):
        dispatch._found(changed, changed.seams[0].where, changed.seams[0].takes)


SAME = """
from tests.adapters.test_nats import *
for settle in (workers.ack, workers.ack_sync, workers.nak):
    system = shop(settle, replicas=2)
    poison = Poison(Site("client.place/bus.publish orders.placed"))
    for faults in ([], [LostReply(Site(DELIVER, "after"))], [poison]):
        for _ in range(2):
            print(system.run(None, Schedule(faults)).digest())
"""


def test_a_history_is_the_same_in_every_process():
    found = [
        subprocess.run(
            [sys.executable, "-c", SAME],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        for seed in ("1", "2")
    ]
    assert not found[0].returncode, found[0].stderr[-2000:]
    assert found[0].stdout == found[1].stdout
    lines = found[0].stdout.splitlines()
    assert len(lines) == 18 and lines[::2] == lines[1::2]
