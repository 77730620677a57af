"""Push consumers and core NATS by nats-py, unmodified, in virtual time."""

import asyncio
import json
import subprocess
import sys
from functools import partial

import pytest

pytest.importorskip("nats")

import nats

from benchmarks import nats_server
from chaosharness import (
    Crash,
    Delay,
    Gateway,
    Kafka,
    KeyValue,
    LostReply,
    LostRequest,
    Pause,
    Poison,
    Schedule,
    Site,
    SQLite,
    System,
    check,
    idempotent,
    smallest,
)
from chaosharness.errors import PropertyViolated
from tests.adapters import nats_workers as workers
from tests.adapters.test_nats import ORDERS, asked, part

DELIVER = "bus.billing/deliver to billing"


def shop(main, *, counts=False, replicas=1, orders=ORDERS):
    """A service that bills what it is told, once or each time."""
    system = System("shop")
    system.add(part())
    shown = system.add(KeyValue("billed"))

    @system.service("billing", replicas=replicas)
    def billing(env):
        store = env.connect(shown)

        async def put(order, message):
            count = int(await store.get(order) or 0) + 1 if counts else "done"
            await store.put(order, str(count))

        env.main(partial(main, put))

    @system.entry(examples=orders)
    async def place(env, order):
        await workers.place(order)

    system.claim(idempotent())
    return system


async def durable(put):
    await workers.push(put, durable="billing")


async def queue(put):
    await workers.push(put, queue="billing")


def billed(run):
    [state] = run.history.of("state")
    return state.data["items"]


@pytest.mark.parametrize(
    ("main", "replicas", "place"),
    [(durable, 1, "handle"), (queue, 2, "handle"), (workers.push_next, 1, "main")],
)
def test_right_code_is_silent_over_all_single_faults(main, replicas, place):
    system = shop(main, replicas=replicas, orders=ORDERS[:1])
    run = system.run()
    assert run.ending.verdict == "quiet" and not run.ending.ran_on
    assert billed(run) == {"o1": "done"}
    assert [one.entity for one in run.history.of("ack")] == [1]
    check(system, faults_max=1)


def test_what_is_not_acknowledged_comes_again_and_counts_twice():
    found = smallest(shop(durable, counts=True), faults_max=1)
    assert [str(one) for one in found.schedule] == [
        "lost request before billing.handle/bus.ack for item 1"
    ]
    lost = LostReply(Site(DELIVER, "after"))
    run = shop(durable).run(None, Schedule([lost]))
    again = [one for one in run.history.of("deliver") if one.entity == 1]
    assert [one.data["times"] for one in again] == [1, 2] and again[1].at_ms >= 30_000
    assert billed(run) == {"o1": "done", "o2": "done"}
    poison = Poison(Site("client.place/bus.publish orders.placed"))
    run = shop(durable).run(None, Schedule([poison]))
    assert "billing.handle/bus.term" in run.spoken["nats"] and not run.unused
    crash = Crash(Site("billing.handle/handle"))
    assert billed(shop(durable).run(None, Schedule([crash]))) == {"o1": "done", "o2": "done"}


def test_a_queue_group_shares_its_messages():
    many = [{"id": f"o{number}"} for number in range(6)]
    run = shop(queue, replicas=2, orders=many).run()
    takers = [one.data["to"] for one in run.history.of("deliver")]
    assert len(takers) == 6 and len({*takers}) == 2


def test_ack_wait_runs_for_what_waits_in_the_client():
    """All of it is handed out at once, and the second order waits until the first is done."""

    async def slow(put):
        async def once(order, message):
            await asyncio.sleep(20)
            await put(order, message)

        await workers.push(once, durable="billing")

    run = shop(slow, counts=True).run()
    assert {one.data["times"] for one in run.history.of("deliver")} == {1, 2}
    assert billed(run)["o2"] == "2"


def prices(listen, entry, *, inside=False):
    """Somebody who listens, and who speaks to it: the client, or a service of the system."""
    system = System("prices")
    system.add(part())
    shown = system.add(KeyValue("known"))

    @system.service("pricing")
    def pricing(env):
        store = env.connect(shown)

        async def main():
            await listen(await nats.connect(workers.SERVER), store)

        env.main(main)

    if inside:

        @system.service("shop")
        def shop(env):
            async def main():
                await entry(ORDERS[0])

            env.main(main)

    @system.entry(examples=ORDERS[:1])
    async def client(env, order):
        if not inside:
            await entry(order)

    return system


async def by_callback(connection, store):
    async def on_change(message):
        try:
            await store.put(json.loads(message.data)["id"], "new")
        except (ValueError, KeyError):
            return

    await connection.subscribe("prices.*", cb=on_change)


async def by_iterator(connection, store):
    changes = await connection.subscribe("prices.>")
    async for message in changes.messages:
        try:
            await store.put(json.loads(message.data)["id"], "new")
        except (ValueError, KeyError):
            continue


@pytest.mark.parametrize("listen", [by_callback, by_iterator])
def test_core_nats_tells_whoever_listens_at_most_once(listen):
    system = prices(listen, workers.say)
    run = system.run()
    assert run.ending.verdict == "quiet" and billed(run) == {"o1": "new"}
    [delivery] = run.history.of("deliver")
    assert (delivery.entity, delivery.data["topic"]) == (1, "prices.changed")
    subject = "prices.*" if listen is by_callback else "prices.>"
    deliver = f"bus.{subject}/deliver to pricing"
    publish = "client.client/bus.publish_core prices.changed"
    gone = system.run(None, Schedule([LostReply(Site(deliver, "after"))]))
    assert not gone.unused and billed(gone) == {}
    late = system.run(None, Schedule([Delay(Site(deliver), lasting=60_000)]))
    assert billed(late) == {"o1": "new"} and next(late.history.of("deliver")).at_ms >= 60_000
    poisoned = system.run(None, Schedule([Poison(Site(publish))]))
    assert len([*poisoned.history.of("deliver")]) == 2 and billed(poisoned) == {"o1": "new"}
    never = LostRequest(Site("shop.main/bus.publish_core prices.changed", entity=0))
    run = prices(listen, workers.say, inside=True).run(None, Schedule([never]))
    assert not run.unused and billed(run) == {} and not [*run.history.of("raised")]


def test_what_is_said_at_most_once_is_missed_with_nothing_claimed():
    found = smallest(prices(by_callback, workers.say), faults_max=1)
    [fault] = found.schedule
    assert type(fault) in (LostRequest, LostReply)
    assert "known lacks the row (key=o1" in found.findings[0].summary


async def answering(connection, store):
    async def on_question(message):
        await message.respond(b"500 for " + message.data)

    await connection.subscribe("prices.get", queue="pricing", cb=on_question)


def test_a_request_is_answered_by_one_who_listens():
    heard = []

    async def ask(order):
        answer = await workers.ask(order["id"].encode())
        heard.append(None if answer is None else answer.data)

    system = prices(answering, ask, inside=True)
    assert system.run().ending.verdict == "quiet" and heard.pop() == b"500 for o1"
    asking = "shop.main/bus.publish_core prices.get"
    for fault, took_ms in (
        (LostRequest(Site(asking, entity=0)), 1_000),
        (LostRequest(Site("pricing.on_question/bus.respond", entity=0)), 1_000),
        (Pause(Site("pricing.on_question/handle", entity=0), lasting=400), 400),
    ):
        run = system.run(None, Schedule([fault]))
        assert not run.unused and heard.pop() == b"500 for o1"
        assert max(one.at_ms for one in run.history) >= took_ms
    nobody = prices(by_callback, ask)
    nobody.run()
    assert heard.pop() is None  # it listens, and does not answer


def test_a_stream_keeps_what_is_said_on_its_subject():
    async def talk(connection, stream):
        heard = await connection.subscribe("orders.>")
        await connection.publish("orders.placed", b"{}", headers={"trace": "7"})
        first = await heard.next_msg(timeout=1)
        await stream.publish("orders.placed", b"[]")
        second = await heard.next_msg(timeout=1)
        with pytest.raises(nats.errors.TimeoutError):
            await heard.next_msg(timeout=1)
        await heard.unsubscribe()
        await connection.publish("orders.placed", b"")
        state = (await stream.stream_info("ORDERS")).state
        return [first.data, first.headers, second.data, state.messages]

    assert asked(talk) == [b"{}", {"trace": "7"}, b"[]", 3]


async def heard(url):
    """Say what a program hears: of a server, or of the broker that stands for it."""
    connection = await nats.connect(url)
    stream = connection.jetstream()
    await stream.add_stream(name="ORDERS", subjects=["orders.*"])
    found = []

    async def note(message):
        found.append((message.subject, message.data, message.reply != ""))

    async def answer(message):
        await message.respond(b"for " + message.data)

    each = await connection.subscribe("a.*", cb=note)
    for _ in range(2):
        await connection.subscribe("a.b", queue="group", cb=note)
    await connection.subscribe("ask", cb=answer)
    await connection.flush()
    await connection.publish("a.b", b"1", reply="r")
    await connection.publish("b.b", b"2")
    found.append((await connection.request("ask", b"3", timeout=1)).data)
    found.append((await connection.request("ask", b"4", timeout=1, old_style=True)).data)
    await each.unsubscribe()
    await connection.publish("a.b", b"5")
    await connection.flush()
    await asyncio.sleep(0.1)
    found.sort(key=str)
    for wrong in (connection.request("nobody", b""), each.unsubscribe()):
        with pytest.raises(nats.errors.Error) as error:
            await wrong
        found.append(type(error.value).__name__)
    return found + await heard_of_a_consumer(connection, stream)


async def heard_of_a_consumer(connection, stream):
    found = []
    for number in range(3):
        await stream.publish("orders.placed", str(number).encode())
    orders = await stream.subscribe("orders.placed", durable="billing")
    for _ in range(3):
        message = await orders.next_msg(timeout=1)
        told = message.metadata
        found.append((message.subject, message.data, told.num_delivered, told.sequence.stream))
        if message.data == b"1":
            await message.nak()
        else:
            await message.ack()
    again = await orders.next_msg(timeout=1)
    found.append((again.data, again.metadata.num_delivered))
    await again.ack()
    await asyncio.sleep(0.1)  # nobody answers that
    info = await orders.consumer_info()
    found += [info.push_bound, info.num_ack_pending, info.config.deliver_group]
    for wrong in (
        orders.next_msg(timeout=0.05),
        stream.subscribe("orders.placed", durable="billing"),
        stream.subscribe("orders.placed", queue="billing"),
        again.ack(),
    ):
        with pytest.raises((nats.errors.Error, nats.js.errors.Error)) as error:
            await wrong
        found.append((type(error.value).__name__, str(error.value).partition(": Msg(")[0]))
    await orders.unsubscribe()
    late = await stream.subscribe("orders.placed", durable="billing")
    await connection.publish("orders.placed", b"last")
    found.append((await late.next_msg(timeout=1)).data)
    await connection.drain()
    return found


@pytest.mark.real_broker
def test_a_running_server_tells_the_same():
    lacks = nats_server.missing()
    if lacks is not None:
        pytest.skip(f"NATS is not compared: {lacks}")
    with nats_server.running() as port:
        theirs = asyncio.run(heard(f"nats://127.0.0.1:{port}"))
    assert asked(lambda connection, stream: heard(workers.SERVER)) == theirs


SAME = """
from tests.adapters.test_nats_listening import *
for main, replicas in ((durable, 1), (queue, 2), (workers.push_next, 1)):
    system = shop(main, replicas=replicas)
    for faults in ([], [LostReply(Site(DELIVER, "after"))]):
        for _ in range(2):
            print(system.run(None, Schedule(faults)).digest())
for listen in (by_callback, by_iterator):
    for _ in range(2):
        print(prices(listen, workers.say).run().digest())
system = prices(answering, lambda order: workers.ask(b"o1"), inside=True)
for _ in range(2):
    print(system.run().digest())
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


def hinted(*, looks_anyway):
    """Orders in a table, and a hint on core NATS that there is something to do."""
    system = System("hinted")
    system.add(part())
    table = system.add(SQLite("db", "CREATE TABLE orders (id TEXT PRIMARY KEY, state TEXT)"))
    placed = system.add(Kafka("placed", topics={"placed": 1}))
    bank = system.add(Gateway("bank"))

    @system.service("cashier")
    def cashier(env):
        database, client = env.connect(table), env.client(bank)
        todo = "SELECT id FROM orders WHERE state = 'new' ORDER BY id"

        async def main():
            connection = await nats.connect(workers.SERVER)
            hints = await connection.subscribe("hints")
            while True:
                try:
                    await hints.next_msg(timeout=5)
                except nats.errors.TimeoutError:
                    if not looks_anyway:
                        continue
                for (order,) in database.execute(todo).fetchall():
                    try:
                        await client.charge(order, 500, key=order)
                    except OSError:
                        continue
                    with database:
                        database.execute("UPDATE orders SET state = 'paid' WHERE id = ?", (order,))

        env.main(main)

    @system.service("shop")
    def shop(env):
        database = env.connect(table)
        connection = None

        async def on_placed(order):
            nonlocal connection
            with database:
                database.execute("INSERT OR IGNORE INTO orders VALUES (?, 'new')", (order["id"],))
            if connection is None:
                connection = await nats.connect(workers.SERVER)
            await connection.publish("hints", json.dumps(order).encode())

        env.consume(placed, "placed", on_placed, on_unreadable="skip")

    @system.entry(examples=[{"id": "o1"}])
    async def place(env, order):
        await env.publisher(placed)("placed", order, key=order["id"])

    system.claim(idempotent())
    return system


LOST_HINT = Schedule([LostRequest(Site("shop.on_placed/bus.publish_core hints"))])


def test_a_hint_that_is_not_heard_is_no_finding_where_somebody_looks_anyway():
    run = hinted(looks_anyway=True).run(None, LOST_HINT)
    assert [event.operation for event in run.history.of("fault")]
    run.check(idempotent())
    check(hinted(looks_anyway=True), faults_max=1)


def test_what_is_done_because_of_a_hint_alone_is_lost_with_it():
    with pytest.raises(PropertyViolated, match=r"bank did charge\(cents=500, order=o1\) never"):
        hinted(looks_anyway=False).run(None, LOST_HINT).check(idempotent())
