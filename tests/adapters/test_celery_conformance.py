"""A small Celery application on a real worker with a real Redis, and on both of the harness."""

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

pytest.importorskip("celery")
pytest.importorskip("redis")

from chaosharness import Crash, GracefulStop, RedisStore, Schedule, Site, System
from tests.adapters.celery_errands import errands, run_all
from tests.machines.redis_sides import ABSENT, SERVER, redis

pytestmark = [
    pytest.mark.real_broker,
    pytest.mark.skipif(SERVER is None, reason=ABSENT),
]
OPTIONS = ("--concurrency=1", "--without-gossip", "--without-mingle", "--without-heartbeat")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A redis-server of our own."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    folder = tmp_path_factory.mktemp("celery")
    asked = {"--port": str(port), "--bind": "127.0.0.1", "--save": "", "--dir": str(folder)}
    command = [SERVER, *(word for pair in asked.items() for word in pair)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        client = redis.Redis(port=port)
        for _ in range(500):
            with suppress(redis.exceptions.ConnectionError):
                client.ping()
                break
            time.sleep(0.01)
        yield f"redis://127.0.0.1:{port}/0"
        process.terminate()


@pytest.fixture
def url(server):
    """An empty one: a worker that is killed leaves what it had noted and not yet acknowledged."""
    redis.from_url(server).flushdb()
    return server


@contextmanager
def working(url, path, *options):
    """Run a real worker; its notes go to a file. What is not over by then is killed."""
    command = [
        sys.executable,
        "-m",
        "tests.adapters.celery_errands",
        url,
        str(path),
        *OPTIONS,
        *options,
    ]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def notes(path, count):
    """Return what a real worker has noted, once that is so much."""
    for _ in range(500):
        if path.read_text("utf-8").count("\n") >= count:
            break
        time.sleep(0.01)
    return [ast.literal_eval(line) for line in path.read_text("utf-8").splitlines()]


def simulated(client, *faults, options=()):
    """Do the same in the harness; return what is noted, and what the client sees."""
    noted, seen = [], []
    app = errands("redis://redis/0", lambda *words: noted.append(words))
    system = System("errands", arrival_ms=0)
    system.add(RedisStore("redis", persistence="always"))
    main = lambda: app.worker_main(["worker", *OPTIONS, *options])  # noqa: E731
    system.service("workers")(lambda env: env.main(main))
    system.entry(examples=["all"])(lambda env, order: seen.extend(client(app)))
    run = system.run(None, Schedule(faults))
    assert (run.ending.verdict, run.unused) == ("quiet", ())
    return noted, seen


def test_each_task_goes_through_the_same_steps(url, tmp_path):
    path = tmp_path / "notes"
    noted, seen = simulated(run_all)
    with working(url, path):
        theirs = run_all(errands(url, print))
        assert noted == notes(path, len(noted))
    assert seen == theirs
    assert ("flaky", "begins", 2, False) in noted and ("never", "is", "FAILURE") in noted


def test_what_a_killed_worker_held_comes_again(url, tmp_path):
    path = tmp_path / "notes"
    path.touch()
    app = errands(url, print)
    tedious = app.errands[4]
    with working(url, path, "--pool=solo") as worker:
        result = tedious.delay(1)
        while not path.stat().st_size:
            time.sleep(0.01)
        os.killpg(worker.pid, signal.SIGKILL)
    crash = Crash(Site("workers.tedious/sleep", "after"))
    client = lambda app: [app.errands[4].delay(1).get(timeout=700)]  # noqa: E731
    noted, _ = simulated(client, crash, options=["--pool=solo"])
    with working(url, path, "--pool=solo"):
        assert result.get(timeout=30) == "done"
        assert noted == notes(path, len(noted))
    assert [one for one in noted if one[1] == "begins"] == [
        ("tedious", "begins", 0, False),
        ("tedious", "begins", 0, True),
    ]


def left(client):
    """Return what waits in the queue, from its head on, and how much nobody has acknowledged."""
    waits = [json.loads(one)["headers"]["argsrepr"] for one in client.lrange("celery", 0, -1)]
    return waits, client.hlen("unacked"), client.zcard("unacked_index")


@pytest.mark.parametrize(("pool", "held"), [("prefork", 3), ("threads", 3), ("solo", 1)])
def test_what_a_worker_leaves_that_is_told_to_stop(url, tmp_path, pool, held):
    path = tmp_path / "notes"
    path.touch()
    options = [f"--pool={pool}", "--prefetch-multiplier=3"]
    client = redis.from_url(url)
    for seconds in (1, 2, 3, 4):
        errands(url, print).errands[4].delay(seconds)
    with working(url, path, *options) as worker:
        while not path.stat().st_size or left(client)[1] < held:
            time.sleep(0.01)
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.wait(20) == 0
    theirs = left(client)

    def asks(app):
        for seconds in (1, 2, 3, 4):
            app.errands[4].delay(seconds)
        time.sleep(30)
        return [left(redis.Redis(host="redis"))]

    told = GracefulStop(Site("workers.tedious/sleep", "before"), down=60_000)
    noted, seen = simulated(asks, told, options=options)
    assert seen == [theirs]
    assert noted[:3] == notes(path, 3)
    assert (theirs[1:], sorted(theirs[0])) == ((0, 0), ["(2,)", "(3,)", "(4,)"])
