"""How a run ends: what changes nothing keeps nobody awake, and what dies is named."""

from itertools import pairwise
from typing import Any

import pytest

from chaosharness import (
    Books,
    Budget,
    External,
    Kafka,
    KeyValue,
    Queue,
    RabbitMQ,
    Schedule,
    Site,
    SQLite,
    StoreOutage,
    System,
    assumed,
)
from chaosharness.errors import InvalidDefinition

SCHEMA = """
CREATE TABLE jobs (id TEXT PRIMARY KEY, taken INTEGER);
CREATE TABLE beats (worker TEXT PRIMARY KEY, at_ms INTEGER);
INSERT INTO jobs VALUES ('j1', 0);
"""


def looping(make: Any, *, runtime: Any = None, background: bool = False) -> System:
    """Return a system with one loop, made by `make(env, db, done)`."""
    system = System("looping")
    store, done = system.add(SQLite("db", SCHEMA)), system.add(KeyValue("done"))

    @system.service("worker", runtime=runtime)
    def worker(env):
        loop = make(env, env.connect(store), env.connect(done))
        env.main(loop, background=background)

    @system.entry(examples=["nothing"])
    def begin(env, item): ...

    return system


def consuming(handler: Any, broker: Any = None, **options: Any) -> System:
    """Return a system whose one handler is given a message."""
    system = System("consuming")
    bus = system.add(broker or Kafka("bus", topics={"orders": 1}))
    store = system.add(KeyValue("done"))

    @system.service("worker")
    def worker(env):
        done = env.connect(store)

        def on_order(order: dict[str, Any]) -> None:
            handler(env, done, order)

        env.consume(bus, "orders", on_order, **options)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    return system


# ---- what changes nothing keeps nobody awake


def test_a_commit_that_moves_no_offset_is_no_effect():
    system = System("poller")
    bus, done = system.add(Kafka("bus", topics={"orders": 1})), system.add(KeyValue("done"))

    @system.service("worker")
    def worker(env):
        consumer, store = env.consumer(bus, "orders"), env.connect(done)

        def loop():
            while True:
                for record in consumer.poll(10, timeout_s=1):
                    store.put(str(record.value), "done")
                consumer.commit()

        env.main(loop)

    @system.entry(examples=[1])
    def place(env, order):
        env.publisher(bus)("orders", order)

    run = system.run()
    assert run.ending.verdict == "quiet"
    assert len(run.history) < 30


def claim_nothing(env, db, done):
    def loop():
        while True:
            sql = "UPDATE jobs SET taken = 1 WHERE taken = 0 RETURNING id"
            row = db.execute(sql).fetchone()
            db.commit()
            if row is None:
                env.sleep(5)

    return loop


def set_what_is_set(env, db, done):
    def loop():
        while True:
            with db:
                db.execute("UPDATE jobs SET taken = 0 WHERE id = 'j1'")
            env.sleep(5)

    return loop


def replace_by_the_same(env, db, done):
    def loop():
        while True:
            with db:
                db.execute("INSERT OR REPLACE INTO jobs VALUES ('j1', 7)")
            env.sleep(5)

    return loop


def put_the_same(env, db, done):
    def loop():
        while True:
            done.put("state", "up")
            env.sleep(5)

    return loop


@pytest.mark.parametrize(
    "make",
    [claim_nothing, set_what_is_set, replace_by_the_same, put_the_same],
    ids=lambda make: make.__name__,
)
def test_a_loop_that_writes_what_is_there_already_comes_to_rest(make):
    run = looping(make).run()
    assert run.ending.verdict == "quiet"
    assert len(run.history) < 100


@pytest.mark.parametrize("background", [False, True])
def test_a_loop_that_writes_something_else_each_time_rests_only_in_the_background(background):
    def beat(env, db, done):
        def loop():
            beats = 0
            while True:
                beats += 1
                with db:
                    db.execute("INSERT OR REPLACE INTO beats VALUES ('w', ?)", (beats,))
                env.sleep(60)

        return loop

    ending = looping(beat, background=background).run().ending
    assert ending.verdict == ("quiet" if background else "budget")
    assert background or "begin the loop with background=True" in ending.reason


@pytest.mark.parametrize(("beat_s", "poll_s"), [(1, 10), (10, 1), (10, 10), (30, 300)])
def test_a_background_heartbeat_keeps_no_other_loop_from_rest(beat_s, poll_s):
    system = System("beats")
    store, done = system.add(SQLite("db", SCHEMA)), system.add(KeyValue("done"))

    @system.service("worker")
    def worker(env):
        db, out = env.connect(store), env.connect(done)

        def beat():
            while True:
                with db:
                    db.execute("INSERT OR REPLACE INTO beats VALUES ('w', ?)", (env.now_ms(),))
                env.sleep(beat_s)

        def poll():
            while True:
                sql = "SELECT id FROM jobs WHERE taken < ?"
                for (job,) in db.execute(sql, (env.now_ms() - 600_000,)).fetchall():
                    out.put(job, "done")
                env.sleep(poll_s)

        env.main(beat, background=True)
        env.main(poll)

    @system.entry(examples=["nothing"])
    def begin(env, item): ...

    run = system.run()
    assert run.ending.verdict == "quiet"
    assert Books(run.history).values("done") == {"j1": "done"}


class Bank:
    """Says how a payment stands; nothing else."""

    reads = ("status",)

    def status(self, payment):
        return "pending"


def test_asking_how_things_stand_is_no_effect():
    system = System("asking")
    bank = system.add(External("bank", Bank, reads=("status",)))

    @system.service("ledger")
    def ledger(env):
        env.serve("balance", lambda account: 100)

    @system.service("worker")
    def worker(env):
        client = env.client(bank)

        def loop():
            while True:
                env.call("ledger", "balance", "a1")
                client.status("p1")
                env.sleep(5)

        env.main(loop)

    @system.entry(examples=["nothing"])
    def begin(env, item): ...

    run = system.run()
    assert run.ending.verdict == "quiet"
    assert len(run.history) < 40


@pytest.mark.parametrize("calm_ms", [3_000, 400_000])
def test_a_short_calm_is_enough_for_a_system_that_has_nothing_to_do(calm_ms):
    budget = Budget(chaos_ms=3_000, calm_ms=calm_ms)
    run = consuming(lambda env, done, order: None).run(budget=budget)
    assert run.ending.verdict == "quiet"


def test_a_calm_that_heals_nothing_ends_at_once():
    run = looping(claim_nothing).run()
    [calm] = [event for event in run.history if event.kind == "phase"]
    assert calm.at_ms == [*run.history][-1].at_ms


# ---- why a run went on


def test_an_ending_says_which_loops_were_run_on_and_how_far():
    def watch(env, db, done):
        def loop():
            while True:
                env.now_ms()
                env.sleep(5)

        return loop

    run = looping(watch).run()
    [ran_on] = run.ending.ran_on
    assert (ran_on.place, ran_on.why) == ("worker.loop", "reads a clock")
    assert ran_on.after_ms >= 20_000
    [end] = [event for event in run.history if event.kind == "end"]
    assert end.data["ran_on"] == [["worker.loop", "reads a clock", ran_on.after_ms]]


def test_an_ending_says_nothing_of_loops_at_rest():
    run = looping(claim_nothing).run()
    assert run.ending.ran_on == ()
    [end] = [event for event in run.history if event.kind == "end"]
    assert "ran_on" not in end.data


# ---- deliveries during an outage


@pytest.mark.parametrize("lasting", ["timeout", "long"])
def test_many_deliveries_during_an_outage_end_the_chaos_and_not_the_run(lasting):
    system = System("restarts", budget=Budget(deliveries_max=10))
    bus = system.add(RabbitMQ("bus", queues={"in": Queue("quorum", delivery_limit=-1)}))
    store = system.add(SQLite("db", "CREATE TABLE done (id TEXT PRIMARY KEY);"))

    @system.service("worker")
    def worker(env):
        consumer, db = env.consumer(bus, "in", read_as=dict), env.connect(store)

        def loop():
            for delivery in consumer:
                with db:
                    db.execute("INSERT OR IGNORE INTO done VALUES (?)", (delivery.value["id"],))
                consumer.ack(delivery)

        env.main(loop)

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("in", order)

    outage = StoreOutage(Site("worker.loop/db.commit"), lasting=lasting)
    run = system.run(None, Schedule([outage]))
    assert run.ending.verdict == "quiet"
    assert len(Books(run.history).rows("db", "done")) == 1
    assert [one.name for one in assumed(system) if one.findings(run.evidence())] == []


# ---- code that fails by itself


def test_a_factory_that_raises_is_refused_with_its_place():
    system = System("broken")

    @system.service("worker")
    def worker(env):
        raise KeyError("DATABASE_URL")

    @system.entry(examples=["x"])
    def begin(env, item): ...

    words = r"worker/start raised KeyError: 'DATABASE_URL' at tests/system/test_ends.py:\d+"
    with pytest.raises(InvalidDefinition, match=words) as caught:
        system.run()
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("runtime", [None, "ports", "asyncio", "trio"])
def test_a_loop_that_raises_at_its_first_line_is_refused_with_its_place(runtime):
    def broken(env, db, done):
        def loop():
            raise KeyError("config")

        async def loop_async():
            raise KeyError("config")

        return loop if runtime is None else loop_async

    words = r"raised KeyError: 'config' at tests/system/test_ends.py:\d+"
    with pytest.raises(InvalidDefinition, match=words) as caught:
        looping(broken, runtime=runtime).run()
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_loop_that_dies_after_its_first_step_ends_in_a_verdict_that_names_the_error():
    def broken(env, db, done):
        def loop():
            db.execute("SELECT 1")
            raise ValueError("no such colour")

        return loop

    run = looping(broken).run()
    assert run.ending.verdict == "stuck"
    words = "worker dies as often as it is started: worker.loop raised ValueError: no such colour"
    assert run.ending.reason.startswith(words)
    assert len(run.history) < 100
    starts = [event.at_ms for event in run.history if event.kind == "start"]
    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert waits[:7] == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]


def test_a_loop_that_works_after_its_third_start_is_part_of_the_calm_run():
    def slow(env, db, done):
        def loop():
            if int(done.get("starts", 0)) < 3:
                done.put("starts", int(done.get("starts", 0)) + 1)
                raise ConnectionError("not yet")
            done.put("it", "done")

        return loop

    run = looping(slow).run()
    assert run.ending.verdict == "quiet"
    assert Books(run.history).values("done")["it"] == "done"


RABBITS = [
    Queue("classic"),
    Queue("quorum", delivery_limit=-1),
]


@pytest.mark.parametrize(
    "broker",
    [Kafka("bus", {"orders": 1}), *(RabbitMQ("bus", queues={"orders": one}) for one in RABBITS)],
    ids=["kafka", "classic", "quorum"],
)
def test_a_handler_that_raises_at_every_delivery_is_refused_with_its_place(broker):
    def handle(env, done, order):
        raise TypeError("Receipt is no text")

    with pytest.raises(
        InvalidDefinition, match=r"Receipt is no text at tests/system/test_ends.py:"
    ) as got:
        consuming(handle, broker).run()
    assert isinstance(got.value.__cause__, TypeError)


@pytest.mark.parametrize(
    ("broker", "options"),
    [
        (Kafka("bus", {"orders": 1}), {"on_error": "dead-letter"}),
        (Kafka("bus", {"orders": 1}), {"on_error": "skip"}),
        (RabbitMQ("bus", queues={"orders": Queue()}), {"on_error": "reject"}),
        (RabbitMQ("bus", queues={"orders": Queue("quorum", delivery_limit=20)}), {}),
    ],
    ids=["dead-letter", "skip", "reject", "delivery limit"],
)
def test_a_message_that_goes_where_it_was_declared_to_go_is_part_of_the_calm_run(broker, options):
    def handle(env, done, order):
        raise TypeError("no")

    assert consuming(handle, broker, **options).run().ending.verdict == "quiet"


def fails_for_two_hours(env, done, order):
    if env.now_ms() < 7_200_000:
        raise TimeoutError("too early")
    done.put("it", "done")


def fails_five_times(env, done, order):
    tries = int(done.get("tries", 0)) + 1
    done.put("tries", tries)
    if tries < 5:
        raise ConnectionError("not yet")
    done.put("it", "done")


@pytest.mark.parametrize("handle", [fails_for_two_hours, fails_five_times])
def test_a_handler_that_succeeds_later_is_part_of_the_calm_run(handle):
    run = consuming(handle).run()
    assert run.ending.verdict == "quiet"
    assert Books(run.history).values("done")["it"] == "done"
