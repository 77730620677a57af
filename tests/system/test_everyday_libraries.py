"""Libraries that services have in them everyday, in virtual time: schedulers, retries, caches."""

import asyncio
import io
import sqlite3
import time
import uuid
from importlib import import_module

import cachetools
import pydantic
import pytest
import tenacity
import ulid
import uuid_utils
import uuid_utils.compat
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.blocking import BlockingScheduler

from chaosharness import (
    Books,
    Crash,
    Delay,
    External,
    Queue,
    RabbitMQ,
    Schedule,
    Site,
    SQLite,
    System,
    explore,
    idempotent,
)

SCHEMA = "CREATE TABLE due (id TEXT PRIMARY KEY, receipt TEXT)"
GIVES_UP = (TimeoutError, ConnectionError, sqlite3.OperationalError)


class Bank:
    """It knows a request again by its key."""

    def __init__(self):
        self.receipts = {}

    def charge(self, order, key):
        if key in self.receipts:
            return External.unchanged(self.receipts[key])
        self.receipts[key] = f"r-{key}"
        return self.receipts[key]


# ---- APScheduler


def blocking(job):
    scheduler = BlockingScheduler()
    scheduler.add_job(job, "interval", seconds=30)
    scheduler.start()


def in_the_background(job):
    scheduler = BackgroundScheduler()
    scheduler.add_job(job, "interval", seconds=30)
    scheduler.start()
    while True:
        time.sleep(600)


async def on_a_loop(job):
    scheduler = AsyncIOScheduler()
    scheduler.add_job(job, "interval", seconds=30)
    scheduler.start()
    while True:
        await asyncio.sleep(600)


def scheduled(run_jobs):
    system = System("scheduled")
    bank, store = system.add(External("bank", Bank)), system.add(SQLite("db", SCHEMA))

    @system.service("collector")
    def collector(env):
        client = env.client(bank, blocking=True)
        db = env.connect(store, blocking=True)

        def collect():
            for (order,) in db.execute("SELECT id FROM due WHERE receipt IS NULL").fetchall():
                try:
                    receipt = client.charge(order, key=order)
                    with db:
                        db.execute("UPDATE due SET receipt = ? WHERE id = ?", (receipt, order))
                except GIVES_UP:
                    continue  # the next round comes

        async def on_the_loop():
            await run_jobs(collect)

        def main():
            run_jobs(collect)

        env.main(on_the_loop if asyncio.iscoroutinefunction(run_jobs) else main)

    @system.entry(examples=["o1"])
    def owe(env, order):
        db = env.connect(store)
        with db:
            db.execute("INSERT INTO due (id) VALUES (?)", (order,))

    return system


PLACES = {blocking: "main", in_the_background: "_main_loop", on_a_loop: "on_the_loop"}


@pytest.mark.parametrize("crash", [False, True], ids=["calm", "crash"])
@pytest.mark.parametrize(("run_jobs", "place"), PLACES.items())
def test_a_scheduler_with_nothing_to_do_is_quiet(run_jobs, place, crash):
    site = Site(f"collector.{place}/bank.charge", "after", 0)
    run = scheduled(run_jobs).run(None, Schedule([Crash(site)] if crash else []))
    assert len([*run.history.of("crash")]) == crash
    assert run.ending.verdict == "quiet"
    assert len(run.history) < 1_000
    assert Books(run.history).rows("db", "due") == [{"id": "o1", "receipt": "r-o1"}]


# ---- tenacity and cachetools


def till(handler):
    system = System("till")
    queues = {"orders": Queue("quorum", dead_letter="parked"), "parked": Queue()}
    bus = system.add(RabbitMQ("bus", queues=queues))
    bank = system.add(External("bank", Bank))

    @system.service("till")
    def build(env):
        env.consume(bus, "orders", handler(env.client(bank)), read_as=dict)

    @system.entry(examples=["o1", "o2"])
    def order(env, item):
        env.publisher(bus)("orders", {"id": item})

    return system


def tried_again(*, key):
    def handler(bank):
        @tenacity.retry(
            stop=tenacity.stop_after_attempt(4),
            wait=tenacity.wait_exponential_jitter(1, 10),
            reraise=True,
        )
        def pay(order):
            return bank.charge(order, key=key(order))

        return lambda message: pay(message["id"])

    return till(handler)


def remembered(*, when):
    def handler(bank):
        seen = cachetools.TTLCache(maxsize=100, ttl=600)

        def on_order(message):
            order = message["id"]
            if order in seen:
                return
            if when == "before":
                seen[order] = True
            bank.charge(order, key=order)
            seen[order] = True

        return on_order

    return till(handler)


RIGHT = {"tenacity": tried_again(key=lambda order: order), "cachetools": remembered(when="after")}
BROKEN = {
    "tenacity": tried_again(key=lambda order: str(uuid.uuid4())),
    "cachetools": remembered(when="before"),
}


@pytest.mark.parametrize("system", RIGHT.values(), ids=RIGHT)
def test_right_code_around_a_library_is_silent(system):
    assert explore(system, faults_max=1).result == "holds"


@pytest.mark.parametrize("system", BROKEN.values(), ids=BROKEN)
def test_broken_code_around_a_library_is_named(system):
    campaign = explore(system, faults_max=1, stop_at_first=True)
    [found] = campaign.counterexamples
    assert found.property == "idempotent"
    assert len(found.schedule) == 1


def test_a_retry_waits_in_virtual_time():
    late = Delay(Site("till.<lambda>/bank.charge"), lasting="timeout")
    run = RIGHT["tenacity"].run(["o1"], Schedule([late]))
    calls = [event.at_ms for event in run.history.of("call")]
    assert len(calls) == 2
    assert calls[1] - calls[0] > 10_000
    run.check(idempotent())


# ---- names that are made in order


class Event(pydantic.BaseModel):
    id: object = pydantic.Field(default_factory=uuid_utils.uuid7)


class Letter(pydantic.BaseModel):
    event: Event = pydantic.Field(default_factory=Event)


@pytest.mark.parametrize(
    "name",
    [
        ulid.ULID,
        uuid_utils.uuid1,
        uuid_utils.uuid4,
        uuid_utils.uuid6,
        uuid_utils.uuid7,
        uuid_utils.compat.uuid4,
        uuid_utils.compat.uuid7,
        lambda: Event().id,
        lambda: Letter.model_validate({"event": {}}).event.id,
    ],
    ids=[
        *("ulid", "uuid1", "uuid4", "uuid6", "uuid7", "compat.uuid4", "compat.uuid7"),
        *("a default of a model", "a default of a model inside of another"),
    ],
)
def test_names_of_things_are_the_same_in_each_run(name):
    """ulid remembers the last one in its module; uuid_utils is compiled, and asks the machine."""
    system = System("names")
    bus = system.add(RabbitMQ("bus", ["orders"]))

    @system.service("till", replicas=2)
    def till(env):
        env.consume(bus, "orders", lambda order: env.note("paid", ref=str(name())), read_as=dict)

    @system.entry(examples=[{"id": "o1"}, {"id": "o2"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    first, second = system.run(), system.run()
    assert first.digest() == second.digest()
    refs = [event.data["ref"] for event in first.history.of("note")]
    assert len({*refs}) == 2


def test_what_is_compiled_makes_what_its_standard_says():
    system = System("names")
    found = []

    @system.service("till")
    def till(env):
        env.every(1, lambda: None)
        for kind in (uuid_utils.uuid1, uuid_utils.uuid4, uuid_utils.uuid6, uuid_utils.uuid7):
            found.append(kind())

    system.entry(examples=[1])(lambda env, item: None)
    system.run()
    assert [one.version for one in found] == [1, 4, 6, 7]
    assert {one.variant for one in found} == {uuid_utils.RFC_4122}
    assert found[3].timestamp == 1_893_456_000_000  # the beginning of a run


def test_a_package_that_is_installed_may_be_called_ones_own(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "acme_names.py").write_text(
        "LAST = 0\n\ndef name():\n    global LAST\n    LAST += 1\n    return LAST\n"
    )
    (tmp_path / "acme_till.py").write_text(
        "import acme_names\n\ndef paid(order):\n    return acme_names.name()\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.syspath_prepend(str(tmp_path))
    paid = import_module("acme_till").paid

    def names(**options):
        system = System("names", **options)
        bus = system.add(RabbitMQ("bus", ["orders"]))

        @system.service("till")
        def till(env):
            handler = lambda order: env.note("paid", ref=paid(order))  # noqa: E731
            env.consume(bus, "orders", handler, read_as=dict)

        @system.entry(examples=[{"id": "o1"}])
        def place(env, order):
            env.publisher(bus)("orders", order)

        return system

    assert names().run().digest() != names().run().digest()
    system = names(own=["acme_names"])
    assert system.run().digest() == system.run().digest()
    assert names().run().digest() != names().run().digest()  # it is that system's alone
    with pytest.raises(TypeError, match="'acme names' is no name"):
        System("names", own="acme names")


# ---- tqdm


def test_a_bar_begins_no_thread_that_outlives_its_run():
    tqdm = pytest.importorskip("tqdm").tqdm
    system = System("imports")
    bus = system.add(RabbitMQ("bus", queues={"files": Queue()}))

    @system.service("importer")
    def importer(env):
        def on_file(file: dict):
            for _ in tqdm(range(file["rows"]), disable=False, file=io.StringIO()):
                env.sleep(5)

        env.consume(bus, "files", on_file)

    @system.entry(examples=[{"id": "f1", "rows": 3}])
    def upload(env, file):
        env.publisher(bus)("files", file)

    first, second = system.run(), system.run()
    assert first.digest() == second.digest()
    assert first.ending.ran_on == ()  # a monitor would look at a clock for ever
