"""Redis Streams in a run: what a consumer meets, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chaosharness import (
    Crash,
    LostReply,
    LostWrites,
    Redis,
    RedisError,
    RedisStream,
    Schedule,
    Site,
    System,
    explore,
    nothing_acknowledged_lost,
)
from chaosharness.brokers.redis.rows import ROWS
from chaosharness.errors import IllegalFault, InvalidDefinition
from chaosharness.handlers.legality import table

DELIVER = "bus.orders/deliver to worker"
ROOT = Path(__file__).parents[3]


def shop(*, items=2, replicas=1, handle=None, stream=None, loses_ms=None, **options):
    """One service that consumes what a client adds."""
    system = System("shop", arrival_ms=1)
    streams = {"orders": stream or RedisStream(), "aside": RedisStream()}
    bus = system.add(Redis("bus", streams, loses_ms=loses_ms))

    @system.service("worker", replicas=replicas)
    def worker(env):
        def on_order(order):
            if handle is not None:
                handle(env, order)
            env.note("handled", order=order["id"])

        env.consume(bus, "orders", on_order, **options)

    @system.entry(examples=[{"id": number + 1} for number in range(items)])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def handled(run):
    return [event.data["order"] for event in run.history.of("note")]


def looping(main, *, items=2, **options):
    """A service with a loop of its own: `main(env, consumer)`."""
    system = System("looping", arrival_ms=1)
    bus = system.add(Redis("bus", ["orders"]))

    @system.service("worker")
    def worker(env):
        consumer = env.consumer(bus, "orders", read_as=dict, **options)
        env.main(lambda: main(env, consumer))

    @system.entry(examples=[{"id": number + 1} for number in range(items)])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


def test_what_a_name_held_is_read_again_after_a_restart():
    crash = Schedule([Crash(Site("worker.on_order/handle"))])
    assert handled(shop(count=1).run(None, crash)) == [1, 2]
    assert handled(shop(count=1, history=False).run(None, crash)) == [2]


def test_a_lost_answer_stays_pending_until_somebody_claims_it():
    lost = Schedule([LostReply(Site(DELIVER, "after"))])
    assert handled(shop(count=1).run(None, lost)) == [2]
    assert handled(shop(count=1, claim_ms=9_000).run(None, lost)) == [2, 1]


def test_an_error_puts_aside_after_so_many_times():
    def fails(env, order):
        raise ValueError(order)

    system = shop(
        items=1,
        handle=fails,
        claim_ms=1_000,
        on_error="dead-letter",
        retries_max=3,
        dead_letter="aside",
    )
    run = system.run()
    assert [event.data["times"] for event in run.history.of("deliver")] == [1, 2, 3]
    assert [event.data["to"] for event in run.history.of("dead")] == ["aside"]


def test_two_groups_get_everything_and_two_workers_share():
    system = System("fan", arrival_ms=1)
    bus = system.add(Redis("bus", ["orders"]))
    for name in ("left", "right"):

        def serve(env):
            def on_order(order):
                env.note("handled", order=order["id"])

            env.consume(bus, "orders", on_order)

        system.service(name, replicas=2)(serve)

    @system.entry(examples=[{"id": 1}, {"id": 2}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    assert sorted(handled(system.run())) == [1, 1, 2, 2]


def test_a_loop_sees_what_is_pending_and_claims_it():
    seen = []

    def main(env, consumer):
        got = list(consumer.read(10))
        env.sleep(5)
        seen[:] = [(one.consumer, one.times, one.idle_s >= 5) for one in consumer.pending()]
        again = list(consumer.read(10, start="0"))
        claimed = list(consumer.claim(0, consumer.pending()[0].id))
        seen.append(([one.value["id"] for one in again], [one.value["id"] for one in claimed]))
        seen.append((consumer.pending()[0].times, consumer.ack(*got), consumer.ack(*got)))

    looping(main, items=1).run()
    assert seen == [("worker-1", 1, True), ([1], [1]), (3, 1, 0)]


def by_autoclaim(env, consumer):
    return consumer.autoclaim(600)


def by_pending(env, consumer):
    return consumer.claim(0, *[one.id for one in consumer.pending(min_idle_s=600)] or ["0-1"])


def by_looking_at_idle_times(env, consumer):
    idle = [one.id for one in consumer.pending() if one.idle_s >= 600]
    return consumer.claim(0, *idle) if idle else ()


@pytest.mark.parametrize("claim", [by_autoclaim, by_pending, by_looking_at_idle_times])
def test_a_loop_that_waits_for_idle_times_is_not_at_rest(claim):
    def main(env, consumer):
        while True:
            for one in [*claim(env, consumer), *consumer.read(10)]:
                env.note("handled", order=one.value["id"])
                consumer.ack(one)

    lost = Schedule([LostReply(Site(DELIVER, "after"))])
    assert sorted(handled(looping(main).run(None, lost))) == [1, 2]


def test_a_deleted_consumer_takes_its_pending_entries_along():
    seen = []

    def main(env, consumer):
        consumer.read(10)
        seen.append(consumer.delete_consumer("worker-1"))
        seen.append(consumer.pending())
        seen.append(list(consumer.read(10, start="0")))

    run = looping(main, items=1).run()
    assert seen == [1, [], []]
    assert [event.data["reason"] for event in run.history.of("dead")] == ["consumer deleted"]


def test_an_async_loop_awaits():
    system = System("later", arrival_ms=1)
    bus = system.add(Redis("bus", ["orders"]))

    @system.service("worker")
    def worker(env):
        consumer = env.consumer(bus, "orders", read_as=dict)

        async def main():
            for one in await consumer.read(10):
                env.note("handled", order=one.value["id"])
                await consumer.ack(one)
            assert not list(await consumer.autoclaim(0))

        env.main(main)

    @system.entry(examples=[{"id": 1}])
    async def place(env, order):
        await env.publisher(bus)("orders", order)

    assert handled(system.run()) == [1]


def test_what_redis_refuses_is_its_own_error():
    seen = []

    def main(env, consumer):
        try:
            consumer.claim(0, "no id")
        except RedisError as error:
            seen.append((error.code, str(error)))

    looping(main).run()
    assert seen[0][0] == "ERR"
    assert "Invalid stream ID" in seen[0][1]


def test_trimming_takes_what_nobody_has_read():
    def slow(env, order):
        env.sleep(5)

    system = shop(items=4, handle=slow, count=1, stream=RedisStream(maxlen=1, about=False))
    run = system.run()
    assert handled(run) == [1, 4]
    assert [event.data["reason"] for event in run.history.of("dead")] == ["trimmed", "trimmed"]


def test_a_failover_loses_what_it_may_where_that_is_declared_only():
    def slow(env, order):
        env.sleep(5)

    lost = Schedule([LostWrites(Site(DELIVER, "after", entity=2))])
    system = shop(items=3, count=1, handle=slow, loses_ms=10_000, claim_ms=60_000)
    # The third was stored, and is gone; that the first was acknowledged is forgotten.
    assert handled(system.run(None, lost)) == [1, 2, 1]
    system.claim(nothing_acknowledged_lost())
    found = explore(system, faults_max=1).counterexamples
    assert LostWrites in {type(fault) for one in found for fault in one.schedule}
    with pytest.raises(IllegalFault):
        shop(items=3).run(None, lost)


def test_a_lost_acknowledgement_brings_an_entry_back_after_a_failover():
    lost = Schedule([LostWrites(Site("worker.on_order/bus.ack", "after"))])
    late = shop(items=1, loses_ms=1, handle=lambda env, order: env.sleep(5), claim_ms=30_000)
    assert handled(late.run(None, lost)) == [1, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 0}, "count must be a whole number from 1, not 0"),
        ({"claim_ms": "soon"}, "claim_ms must be a whole number from 0, not 'soon'"),
        ({"start": "now"}, "start must be one of '0', '\\$', not 'now'"),
        ({"group": 3}, "group must be a text, not 3"),
        ({"visibility_ms": 3}, "there is no option 'visibility_ms'"),
        ({"on_error": "dead-letter"}, "needs dead_letter='a stream'"),
        ({"on_error": "dead-letter", "dead_letter": "aside"}, "say claim_ms=30_000"),
        ({"dead_letter": "nowhere"}, "bus has no stream 'nowhere'; it has: aside, orders"),
    ],
)
def test_a_wrong_option_is_told_in_a_sentence(options, words):
    with pytest.raises(InvalidDefinition, match=words):
        shop(**options).run()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Redis("bus", 3), "streams"),
        (lambda: Redis("bus", {"orders": 3}), "must be a RedisStream, not 3"),
        (lambda: RedisStream(maxlen=1, keep_ms=1), "by maxlen or by keep_ms, not by both"),
        (lambda: Redis("bus", ["orders"], loses_ms=-1), "loses_ms"),
    ],
)
def test_a_wrong_definition_is_told_in_a_sentence(make, words):
    with pytest.raises(InvalidDefinition, match=words):
        make()


DIGESTS = """
from chaosharness import Crash, LostReply, Schedule, Site
from models.redis_streams.loop import dead_consumers_deleted, name_of_each_start
from models.redis_streams.till import till
for make in (till, name_of_each_start, dead_consumers_deleted):
    for faults in ([], [LostReply(Site("bus.orders/deliver to billing", "after"))]):
        print(make().run(None, Schedule(faults)).digest())
"""


def test_two_processes_and_two_hash_seeds_have_one_digest():
    def digests(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", DIGESTS]
        return subprocess.check_output(command, env=environment, cwd=ROOT, text=True)

    assert digests("1") == digests("2")


def test_the_page_shows_the_rows():
    page = (ROOT / "docs" / "how-to" / "redis-streams.md").read_text("utf-8")
    assert table(ROWS) in page
