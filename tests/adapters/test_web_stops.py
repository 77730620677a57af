"""A web server whose process is told to stop: what it finishes, what it refuses, how it ends."""

import asyncio
import signal
from contextlib import asynccontextmanager

import flask
import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI

from chaosharness import (
    GracefulStop,
    KeyValue,
    Schedule,
    Site,
    System,
    Web,
    explore,
)

PUT = "shop.create/db.put"


def shop(make, *, items=("a",), **options):
    """A service that answers with the application of `make(env, store)`, and its clients."""
    system = System("shop", arrival_ms=1)
    db = system.add(KeyValue("db"))
    site = system.add(Web("shop.example"))

    @system.service("shop", **options)
    def service(env):
        env.app(site, make(env, env.connect(db)))

    @system.entry(examples=[{"id": one} for one in items])
    def order(env, item):
        for _ in range(9):
            try:
                answer = httpx.post("https://shop.example/orders", json=item, timeout=60)
                env.note(item["id"], was=answer.status_code)
                return
            except httpx.HTTPError as error:
                env.note(item["id"], was=type(error).__name__)
                env.sleep(1)

    return system


def fast(shutdown=None, later=None, startup=None):
    """FastAPI: an order takes a second; the rest is what each test adds."""

    def make(env, store):
        @asynccontextmanager
        async def lifespan(app):
            if startup is not None:
                await startup(env, store)
            yield
            if shutdown is not None:
                await shutdown(env, store)

        app = FastAPI(lifespan=lifespan)

        @app.post("/orders")
        async def create(item: dict, background: BackgroundTasks):
            await store.put(item["id"], "begun")
            await asyncio.sleep(1)
            await store.put(item["id"], "done")
            if later is not None:
                later(env, store, item, background)

        return app

    return make


def flasks(env, store):
    app = flask.Flask("shop")

    @app.post("/orders")
    def create():
        item = flask.request.get_json()
        store.put(item["id"], "begun")
        env.sleep(1)
        store.put(item["id"], "done")
        return {}

    return app


def told(system, operation=PUT, phase="after", entity=1, **options):
    return system.run(None, Schedule([GracefulStop(Site(operation, phase, entity), **options)]))


def ends(run):
    return [event.data["how"] for event in run.history.of("crash")]


def seen(run):
    """Return what the clients were told, in order, as `(item, status or error)`."""
    return [(one.data["what"], one.data["was"]) for one in run.history.of("note")]


def rows(run):
    return next(one.data["items"] for one in run.history.of("state") if one.actor == "db")


@pytest.mark.parametrize("make", [fast(), flasks])
def test_what_is_in_hand_is_answered_and_whoever_comes_next_is_refused(make):
    run = told(shop(make, items=("a", "b")))
    assert ends(run) == ["stopped"]
    assert sorted(seen(run), key=str) == [("a", 200), ("b", "ConnectError"), ("b", 200)]
    assert [one.at_ms for one in run.history.of("crash")] == [1_001]


@pytest.mark.parametrize("make", [fast(), flasks])
def test_what_is_not_done_when_its_time_is_over_is_cut_off(make):
    run = told(shop(make), grace_ms=400)
    assert ends(run) == ["killed"]
    assert seen(run) == [("a", "RemoteProtocolError"), ("a", 200)]


def test_another_replica_takes_what_comes_meanwhile():
    run = told(shop(fast(), items=("a", "b", "c"), replicas=2))
    assert ends(run) == ["stopped"]
    assert sorted(seen(run), key=str) == [("a", 200), ("b", 200), ("c", 200)]


def test_the_application_is_shut_down_once_nothing_is_in_hand():
    async def shutdown(env, store):
        await store.put("closed", env.now_ms())
        await asyncio.sleep(2)
        await store.put("closed", env.now_ms())

    run = told(shop(fast(shutdown)))
    assert ends(run) == ["stopped"]
    assert [one.at_ms for one in run.history.of("crash")] == [3_001]
    assert rows(run)["closed"] % 10_000 == 3_001


def test_a_shutdown_that_fails_ends_the_process_all_the_same():
    async def shutdown(env, store):
        raise OSError("no connection")

    run = told(shop(fast(shutdown)))
    assert ends(run) == ["stopped"]
    assert [one.data["error"] for one in run.history.of("raised")] == ["OSError: no connection"]


def test_a_crash_gives_no_warning():
    async def shutdown(env, store):
        await store.put("closed", True)

    run = told(shop(fast(shutdown)), grace_ms=0)
    assert ends(run) == ["killed"]
    assert "closed" not in rows(run)


def in_the_background(env, store, item, background):
    async def mail():
        await asyncio.sleep(3)
        await store.put("mailed", item["id"])

    background.add_task(mail)


def aside(env, store, item, background):
    async def mail():
        try:
            await asyncio.sleep(3)
            await store.put("mailed", item["id"])
        finally:
            await store.put("ended", item["id"])

    asyncio.get_running_loop().kept = asyncio.create_task(mail())


def test_background_tasks_of_a_request_are_waited_for():
    run = told(shop(fast(later=in_the_background)))
    assert rows(run)["mailed"] == "a"
    assert [one.at_ms for one in run.history.of("crash")] == [4_001]


def test_tasks_of_nobody_are_cancelled():
    """As `asyncio.run` does it: their `finally` runs, while the process lives."""
    run = told(shop(fast(later=aside)))
    assert ends(run) == ["stopped"]
    assert "mailed" not in rows(run)
    assert rows(run)["ended"] == "a"


def test_a_server_that_has_not_begun_yet_comes_up_and_ends():
    async def startup(env, store):
        await store.put("up", True)
        await asyncio.sleep(1)

    async def shutdown(env, store):
        await store.put("closed", True)

    place = told(shop(fast(shutdown, startup=startup)), "shop.lifespan/db.put", entity=0)
    assert ends(place) == ["stopped"]
    assert rows(place)["closed"]
    assert seen(place)[0] == ("a", "ConnectError")
    assert seen(place)[-1] == ("a", 200)


def test_a_handler_of_the_application_takes_the_place_of_the_server_s():
    """So the server is never told: it goes on until it is killed."""

    async def startup(env, store):
        signal.signal(signal.SIGTERM, lambda *_: None)

    run = told(shop(fast(startup=startup), items=("a", "b")), grace_ms=5_000)
    assert ends(run) == ["killed"]
    assert sorted(seen(run), key=str) == [("a", 200), ("b", 200)]


def test_a_search_tries_it_where_it_is_asked_to():
    found = explore(shop(fast(later=in_the_background)), kinds=[GracefulStop], faults_max=1)
    assert found.result == "holds"
    assert any("graceful stop" in cell for cell in found.coverage.cells)
