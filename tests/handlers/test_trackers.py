"""Trackers of errors and spans: what they send from a thread of their own is lost, and named."""

import logging
import subprocess
import sys
import threading
from importlib import import_module

import pytest

from chaosharness import Kafka, System, explore
from chaosharness.errors import InvalidDefinition, RealIO

TRACKER = """
import socket, threading, urllib.request
import requests

LOST = []

def start(send):
    def work():
        try:
            send()
        except BaseException as error:
            LOST.append(f"{type(error).__name__}")
            raise
    threading.Thread(target=work, daemon=True).start()

def by_requests():
    requests.post("https://errors.example/api", json={"error": 1}, timeout=5)

def by_socket():
    socket.create_connection(("errors.example", 443), 1)

def by_urllib():
    urllib.request.urlopen("http://errors.example/api")

def log_all():
    try:
        threading.Event().wait()
    except BaseException:
        import logging
        logging.getLogger("rollbar").exception("the worker died")
        raise
"""


@pytest.fixture
def tracker(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "rollbar.py").write_text(TRACKER)
    monkeypatch.syspath_prepend(str(folder))
    yield import_module("rollbar")
    del sys.modules["rollbar"]


def shop(opens):
    system = System("shop")
    bus = system.add(Kafka("bus", topics={"orders": 1}))

    @system.service("till")
    def till(env):
        opens()
        env.consume(
            bus, "orders", lambda order: env.note("order"), read_as=dict, on_unreadable="skip"
        )

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order, key=order["id"])

    return system


@pytest.mark.parametrize("way", ["by_requests", "by_socket", "by_urllib"])
def test_what_a_tracker_sends_is_lost_and_named(tracker, way):
    run = shop(lambda: tracker.start(getattr(tracker, way))).run()
    assert run.ending.verdict == "quiet"
    assert [one.split(":")[0] for one in run.unspoken if "rollbar" in one] == [
        "what rollbar sends to errors.example"
    ]
    assert tracker.LOST[0] in ("ConnectionError", "ConnectionRefusedError", "URLError")


def test_what_the_users_code_sends_by_a_client_that_a_tracker_has_wrapped_is_its_own(tracker):
    def sends():
        tracker.by_requests()

    with pytest.raises((InvalidDefinition, RealIO), match=r"errors\.example"):
        shop(sends).run()
    with pytest.raises((InvalidDefinition, RealIO), match=r"errors\.example"):
        shop(threading.Thread(target=sends).start).run()


def test_where_code_is_deployed_there_is_no_repository():
    said = []

    def asks():
        for words in (["git", "rev-parse", "HEAD"], ["git", "describe", "--tags"]):
            try:
                said.append(subprocess.check_output(words))
            except OSError as error:
                said.append(type(error).__name__)

    shop(asks).run()
    assert said == 2 * ["FileNotFoundError"]
    for words in (["git", "push"], ["true"]):
        with pytest.raises(RealIO, match="subprocess"):
            shop(lambda words=words: subprocess.run(words, check=True)).run()
    assert subprocess.run(["true"], check=True).returncode == 0


def test_code_that_is_taken_away_at_the_end_of_a_run_logs_nothing(tracker, caplog, capfd):
    system = shop(lambda: tracker.start(tracker.log_all))
    assert explore(system, faults_max=1).result == "holds"
    assert "the worker died" not in caplog.text + "".join(capfd.readouterr())
    logging.getLogger("rollbar").error("outside of runs")
    assert "outside of runs" in caplog.text
