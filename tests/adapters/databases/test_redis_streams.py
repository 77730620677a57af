"""redis-py's stream commands, unmodified, on the broker `Redis`, in virtual time."""

import asyncio
import subprocess
import sys

import pytest

pytest.importorskip("redis")
pytest.importorskip("fakeredis")

import redis
import redis.asyncio as redis_async

from chaosharness import (
    Crash,
    LostReply,
    LostRequest,
    NetworkPartition,
    Poison,
    Redis,
    RedisStore,
    Schedule,
    Site,
    System,
    check,
    idempotent,
    smallest,
)
from chaosharness.errors import IllegalFault, InvalidDefinition, PropertyViolated
from chaosharness.faults import Duplicate
from tests.adapters.databases import workers
from tests.adapters.databases.shops import shop as handlers
from tests.adapters.databases.workers import bus
from tests.machines.redis_sides import ABSENT, SERVER, server

ORDERS = [{"id": "o1"}, {"id": "o2"}]
DELIVER = "bus.orders/deliver to billing"


def place(env, order):
    workers.bus.xadd("orders", {"order": order["id"]})


def shop(main, *, entry=place, replicas=1, store=True, examples=ORDERS):
    system = System("shop")
    system.add(Redis("bus", ["orders"], url="redis://bus.shop.example"))
    if store:
        system.add(RedisStore("cache", persistence="always", url="redis://bus.shop.example"))
    system.service("billing", replicas=replicas)(lambda env: env.main(main))
    system.entry(examples=examples)(entry)
    system.claim(idempotent())
    return system


def billed(run):
    [state] = [one.data for one in run.history if one.kind == "state"]
    return state["items"].get("billed")


def told(function):
    """Return what a program without a loop sees of its answers."""
    found = []
    system = shop(lambda: None, entry=lambda env, order: found.append(function()), store=True)
    assert system.run(ORDERS[:1]).ending.verdict == "quiet"
    return found[0]


BOTH = pytest.mark.parametrize("main", [workers.worker, workers.worker_async])


@BOTH
def test_streams_go_to_the_broker_and_the_rest_to_the_store(main):
    run = shop(main).run()
    assert run.ending.verdict == "quiet" and not run.ending.ran_on
    assert billed(run) == ["o1", "o2"]
    spoken = {one.partition("/")[2] for one in run.spoken["redis"]}
    assert spoken >= {"bus.publish orders", "bus.read", "bus.ack", "cache.sadd"}
    published = [one.data["value"] for one in run.history if one.kind == "publish"]
    assert published == [b'{"order":"o1"}', b'{"order":"o2"}']
    assert [one.entity for one in run.history if one.kind == "commit"] == [1, 2]


@BOTH
def test_right_code_is_silent_over_all_single_faults(main):
    check(shop(main, examples=ORDERS[:1]), faults_max=1)


def test_a_lost_answer_to_a_read_is_nobodys_unless_somebody_claims():
    found = smallest(shop(workers.forgetful), faults_max=1)
    assert [str(one) for one in found.schedule] == [f"lost reply after {DELIVER} for item 1"]
    assert "cache lacks the row (key=billed, value=[o1])" in found.findings[0].summary
    lost = LostReply(Site(DELIVER, "after"))
    run = shop(workers.worker).run(None, Schedule([lost]))
    assert billed(run) == ["o1", "o2"]
    again = [one for one in run.history if one.kind == "deliver" and one.entity == 1]
    assert [one.data["times"] for one in again] == [1, 2]
    assert again[1].at_ms >= 60_000  # not before it has been idle for a minute
    counted = smallest(shop(workers.counting), faults_max=1)
    assert counted.findings[0].summary.startswith("cache lacks the row (key=billed, value=1)")


def forward(order):
    bus.xadd("orders", {"order": order["id"]})


def test_a_client_that_was_not_answered_adds_twice():
    system = handlers(forward, Redis("log", ["orders"]))
    site = Site("orders.on_order/log.publish orders", "after")

    def added(*faults):
        run = system.run(None, Schedule(faults))
        assert not any(one.kind == "raised" for one in run.history)
        return sum(one.operation == site.operation for one in run.history.of("publish"))

    assert added() == 2
    assert added(LostReply(site)) == 3  # redis-py's own retry
    assert added(LostRequest(Site(site.operation))) == 2
    with pytest.raises(IllegalFault):  # that is redis-py's doing, and strikes as a lost reply
        added(Duplicate(Site(site.operation)))


def test_a_cut_network_and_what_nobody_can_read():
    cut = NetworkPartition(Site(DELIVER), lasting=30_000)
    run = shop(workers.worker).run(None, Schedule([cut]))
    assert billed(run) == ["o1", "o2"]
    poison = Poison(Site("client.place/bus.publish orders"))
    run = shop(workers.worker_async).run(None, Schedule([poison]))
    assert len(billed(run)) == 3  # each field of it is garbage
    crash = Crash(Site("billing.worker/cache.sadd", "after"))
    run = shop(workers.worker).run(None, Schedule([crash]))
    assert billed(run) == ["o1", "o2"]


def test_a_client_gives_up_before_a_read_that_blocks_as_long():
    impatient = redis.Redis("bus.shop.example", socket_timeout=5, retry=None)

    def wait():
        workers.ensure(impatient)
        for block in (4_000, 5_000):
            try:
                heard = impatient.xreadgroup("billing", "ann", {"orders": ">"}, block=block)
            except redis.TimeoutError as error:
                heard = str(error)
            yield heard or "nothing"

    nothing, gave_up = told(lambda: list(wait()))
    assert nothing == "nothing" and "Timeout reading from bus" in gave_up


def looked_at(bus):
    yield bus.exists("orders"), bus.type("orders")
    yield bus.xinfo_stream("orders"), bus.xinfo_groups("orders")
    consumers = bus.xinfo_consumers("orders", "billing")
    yield [{**one, "idle": one["idle"] // 10_000} for one in consumers]
    full = bus.xinfo_stream("orders", full=True)
    yield full["entries"], sorted(full), sorted(full["groups"][0])
    for refused in (
        lambda: bus.xinfo_consumers("orders", "nobody"),
        lambda: bus.xgroup_setid("orders", "billing", "0", entries_read=-2),
    ):
        try:
            refused()
        except redis.ResponseError as error:
            yield str(error)
    moment_ms = bus.xpending_range("orders", "billing", "-", "+", 1)[0]["time_since_delivered"]
    yield moment_ms // 10_000, bus.xclaim("orders", "billing", "ann", 0, ["5-1"], time=1)
    yield bus.xpending_range("orders", "billing", "-", "+", 9, idle=10_000)[0]["message_id"]
    yield bus.xgroup_setid("orders", "billing", "5-2", entries_read=2)
    yield [(one["lag"], one["entries-read"]) for one in bus.xinfo_groups("orders")]


def all_of_it(bus):
    def new():
        return bus.xreadgroup("billing", "ann", {"orders": ">"}, count=2)

    first = bus.xadd("orders", {"n": 1}, id="5-1", maxlen=100)
    workers.ensure(bus)
    workers.ensure(bus)
    bus.xadd("orders", {"n": 2, "m": "x"}, id="5-2")
    bus.xadd("orders", {"n": 3}, id="6-1")
    yield first, bus.xlen("orders"), bus.xrange("orders", "(5-1", "5", count=5)
    yield bus.xrevrange("orders", count=1), bus.xread({"orders": "5-2"}, count=1)
    yield bus.xreadgroup("billing", "ann", {"orders": "0"})  # nothing of what is new
    yield new(), bus.xreadgroup("billing", "ann", {"orders": "0"}, count=1)
    yield bus.xpending("orders", "billing")
    yield [one["times_delivered"] for one in bus.xpending_range("orders", "billing", "-", "+", 9)]
    yield from looked_at(bus)
    yield bus.xclaim("orders", "billing", "bob", 0, ["5-1"])
    yield bus.xautoclaim("orders", "billing", "bob", 0, count=1, justid=True)
    yield bus.xack("orders", "billing", "5-1", "5-2"), bus.xdel("orders", "5-1")
    yield bus.xtrim("orders", maxlen=1), bus.xgroup_delconsumer("orders", "billing", "bob")
    yield bus.xgroup_destroy("orders", "billing"), bus.xlen("orders")
    with bus.pipeline(transaction=False) as pipe:
        yield pipe.xadd("orders", {"n": 4}, id="7-1").set("k", "v").xlen("orders").execute()
    with bus.pipeline() as pipe:
        yield pipe.set("k", "w").xadd("orders", {"n": 5}, id="7-2").get("k").execute()
    try:
        bus.xgroup_create("orders", "billing", id="x")
    except redis.ResponseError as error:
        yield str(error)


def rows(answer):
    return list(answer.values()) if isinstance(answer, dict) else [one for _, one in answer]


def test_what_is_answered_is_what_redis_answers():
    answers = told(lambda: list(all_of_it(bus)))
    assert answers[0] == ("5-1", 3, [("5-2", {"n": "2", "m": "x"})])
    assert rows(answers[2]) == [[]]
    assert rows(answers[3][0])[0][0] == ("5-1", {"n": "1"})
    assert answers[-2] == [True, "7-2", "w"]


@pytest.mark.real_broker
@pytest.mark.skipif(SERVER is None, reason=ABSENT)
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_running_redis_answers_the_same(tmp_path, protocol):
    options = {"decode_responses": True, "protocol": protocol}
    with server(tmp_path):
        real = redis.Redis(unix_socket_path=str(tmp_path / "redis.sock"), **options)
        theirs = list(all_of_it(real))
        real.close()
    ours = redis.Redis("bus.shop.example", **options)
    assert told(lambda: list(all_of_it(ours))) == theirs


def test_consumers_that_are_deleted_as_idle_take_along_what_is_pending():
    def reaped(careful):
        system = shop(workers.forgetful, examples=ORDERS[:1])
        system.service("reaper")(lambda env: env.main(lambda: workers.reaper(careful)))
        return system

    found = smallest(reaped(careful=False), faults_max=1)
    assert [str(one) for one in found.schedule] == [f"lost reply after {DELIVER} for item 1"]
    run = reaped(careful=True).run(None, found.schedule)
    assert run.ending.verdict == "quiet" and billed(run) == ["o1"]


async def lag():
    streams = redis_async.Redis(host="bus.shop.example", decode_responses=True)
    while (await streams.xinfo_groups("orders"))[0]["lag"]:
        await asyncio.sleep(1)
    rows = await streams.xinfo_groups("orders")
    return [(one["name"], one["entries-read"], one["pending"]) for one in rows]


def test_who_waits_for_a_lag_to_be_none_is_told():
    said = []
    system = shop(workers.worker)

    async def watch():
        await asyncio.sleep(60)
        said.append(await lag())

    system.service("watching")(lambda env: env.main(watch))
    assert system.run().ending.verdict == "quiet"
    assert said == [[("billing", 2, 0)]]


def test_entries_of_ports_and_of_clients_understand_each_other():
    seen = []

    def listen():
        workers.ensure(bus)
        for _ in range(2):
            found = bus.xread({"orders": "0"}, block=1_000)
            rows = found.values() if isinstance(found, dict) else [one for _, one in found]
            seen.extend(fields for one in rows for _, fields in one)

    system = System("shop")
    stream = system.add(Redis("bus", ["orders"]))
    system.service("listening")(lambda env: env.main(listen))
    system.service("taking")(lambda env: env.consume(stream, "orders", seen.append))

    @system.entry(examples=ORDERS[:1])
    def place(env, order):
        env.publisher(stream)("orders", order, key="k")
        bus.xadd("orders", {"id": "o2"})

    assert system.run().ending.verdict == "quiet"
    assert {"id": "o1"} in seen and {"id": "o2"} in seen
    assert {"value": '{"id":"o1"}', "key": "k"} in seen


def kept(ask, *words):
    """Ask of a stream that there is."""
    bus.xadd("orders", {"n": 1})
    return ask("orders", *words)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: kept(bus.delete), "DEL of the stream 'orders' is not modelled"),
        (lambda: kept(bus.expire, 60), "EXPIRE of the stream 'orders' is not modelled"),
        (lambda: bus.xread({"orders": "+"}), r"XREAD from \+ is not modelled"),
        (
            lambda: bus.execute_command("XACKDEL", "orders", "g", "KEEPREF", "IDS", 1, "1-1"),
            "XACKDEL is not modelled",
        ),
        (
            lambda: bus.pipeline().xreadgroup("g", "a", {"orders": ">"}).xlen("orders").execute(),
            "read in a pipeline is not modelled",
        ),
    ],
)
def test_what_is_not_modelled_is_said(ask, words):
    with pytest.raises(InvalidDefinition, match=words):
        told(ask)


def test_a_stream_need_not_be_declared():
    """Each is there once somebody adds to it, or makes a group for it."""
    system = System("shop")
    system.add(Redis("bus", [], url="redis://bus.shop.example"))
    system.add(RedisStore("cache", persistence="always", url="redis://bus.shop.example"))

    def bill():
        try:
            bus.xgroup_create("made", "billing", id="0", mkstream=True)
        except redis.ResponseError as error:
            assert "BUSYGROUP" in str(error)
        while True:
            entries = bus.xautoclaim("made", "billing", "b", 60_000)[1]
            answer = bus.xreadgroup("billing", "b", {"made": ">"}, count=10, block=5_000)
            for _, found in answer.items() if isinstance(answer, dict) else answer:
                entries += found[0] if found and isinstance(found[0], list) else found
            for name, fields in entries:
                bus.sadd("billed", *fields.values())
                bus.xadd("done", fields, maxlen=10)
                bus.xack("made", "billing", name)

    system.service("billing")(lambda env: env.main(bill))
    system.entry(examples=ORDERS[:1])(lambda env, order: bus.xadd("made", order))
    run = system.run()
    assert run.ending.verdict == "quiet"
    assert billed(run) == ["o1"]
    assert [one.data["topic"] for one in run.history.of("publish")] == ["made", "done"]
    with pytest.raises(PropertyViolated):  # what is added to "done" is added again
        check(system, faults_max=1)


def test_a_command_without_a_part_is_said():
    def count(env, order):
        bus.incr("orders placed")

    with pytest.raises(InvalidDefinition, match=r"INCRBY \(at .* is no command of streams, and no"):
        shop(workers.forgetful, entry=count, store=False).run()
    elsewhere = System("shop")
    elsewhere.add(Redis("bus", ["orders"], url="redis://other.example"))
    elsewhere.entry(examples=ORDERS)(place)
    with pytest.raises(InvalidDefinition, match=r"connects to bus.shop.example by redis"):
        elsewhere.run()
    with pytest.raises(InvalidDefinition, match="url"):
        Redis("bus", ["orders"], url="")


SAME = """
from tests.adapters.databases.test_redis_streams import *
for main in (workers.worker, workers.worker_async, workers.counting):
    system = shop(main, replicas=2)
    poison = Poison(Site("client.place/bus.publish orders"))
    for faults in ([], [LostReply(Site(DELIVER, "after"))], [poison]):
        for _ in range(2):
            print(main.__name__, system.run(None, Schedule(faults)).digest())
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
