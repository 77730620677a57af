"""Threads beside a `BlockingConnection`: work done elsewhere, acknowledged by a callback.

Nothing is claimed. The right services settle a message once its work is done; their twins do it
as soon as somebody else has the message in hand.
"""

import _thread
import functools
import importlib
import json
import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest
import requests

from chaosharness import (
    AMQP,
    Crash,
    ErrorReply,
    Gateway,
    LostReply,
    Pause,
    RabbitMQ,
    Redeliver,
    Schedule,
    Site,
    System,
    Web,
    explore,
)

KINDS = (Crash, ErrorReply, LostReply, Redeliver)
RABBIT = pika.ConnectionParameters("rabbit", heartbeat=60)


def charge(body):
    order = json.loads(body)
    charge = {"order": order["id"], "cents": 500, "key": order["id"]}
    requests.post("https://bank.example/charges", json=charge, timeout=10).raise_for_status()


def settle(connection, channel, tag, body):
    """Do the work, and have the connection's own thread say how it went."""
    try:
        charge(body)
    except requests.RequestException:
        said = functools.partial(channel.basic_nack, tag)
    else:
        said = functools.partial(channel.basic_ack, tag)
    connection.add_callback_threadsafe(said)


def forget(connection, channel, tag, body):
    """Do the work. Whoever handed it over has acknowledged it."""
    try:
        charge(body)
    except requests.RequestException:
        print("not charged")


def consume(connection, channel, hand_over, early):
    def on_message(channel, method, properties, body):
        hand_over(method.delivery_tag, body)
        if early:
            channel.basic_ack(method.delivery_tag)

    channel.basic_qos(prefetch_count=10)
    channel.basic_consume("charges", on_message)
    channel.start_consuming()


def a_thread_each(connection, channel, work):
    return lambda *job: threading.Thread(target=work, args=(connection, channel, *job)).start()


def a_thread_by_its_lowest_door(connection, channel, work):
    return lambda *job: _thread.start_new_thread(work, (connection, channel, *job))


def a_queue(connection, channel, work):
    jobs = queue.Queue(maxsize=5)

    def worker():
        while True:
            work(connection, channel, *jobs.get())
            jobs.task_done()

    threading.Thread(target=worker, daemon=True).start()
    return lambda *job: jobs.put(job)


def a_pool(connection, channel, work):
    pool = ThreadPoolExecutor(4)
    return lambda *job: pool.submit(work, connection, channel, *job)


def shop(by, early):
    def main():
        connection = pika.BlockingConnection(RABBIT)
        channel = connection.channel()
        hand_over = by(connection, channel, forget if early else settle)
        consume(connection, channel, hand_over, early)

    system = System("shop")
    bus = system.add(RabbitMQ("bus", queues=["charges"]))
    bank = system.add(Gateway("bank"))
    system.add(AMQP("rabbit", bus))
    system.add(Web("bank.example", bank, routes={"POST /charges": "charge"}))
    system.service("charger")(lambda env: env.main(main))

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("charges", order)

    return system


WAYS = (a_thread_each, a_thread_by_its_lowest_door, a_queue, a_pool)


@pytest.mark.parametrize("by", WAYS)
def test_what_is_acknowledged_behind_its_work_is_right(by):
    campaign = explore(shop(by, early=False), kinds=KINDS, faults_max=1)
    assert campaign.result == "holds"
    assert campaign.runs > 10


@pytest.mark.parametrize("by", WAYS)
def test_what_is_acknowledged_when_it_is_handed_over_is_named(by):
    campaign = explore(shop(by, early=True), kinds=(Crash, ErrorReply), faults_max=1)
    told = {
        fault.kind: one.findings[0].summary
        for one in campaign.counterexamples
        for fault in one.schedule
    }
    never = "bank did charge(cents=500, order=o1) never for item 1 (o1); without faults, once"
    assert told["crash"] == never
    assert told["error reply"].startswith("nothing came of item 1 (o1), and nobody was told")


# ---- a framework's own thread: no line of the user's is on its stack

FRAMEWORK = """
import threading
import pika

def work(on_order):
    channel = pika.BlockingConnection(pika.ConnectionParameters("rabbit")).channel()
    for method, properties, body in channel.consume("orders", inactivity_timeout=1):
        if method is not None:
            on_order(body)
            channel.basic_ack(method.delivery_tag)

def start(on_order):
    threading.Thread(target=work, args=(on_order,), daemon=True).start()
"""


def test_a_consumer_in_a_thread_of_a_framework_comes_to_rest(tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "acme_workers.py").write_text(FRAMEWORK)
    monkeypatch.syspath_prepend(str(folder))
    start = importlib.import_module("acme_workers").start
    system = System("till")
    bus = system.add(RabbitMQ("bus", queues=["orders"]))
    system.add(AMQP("rabbit", bus))
    system.add(Web("bank.example", system.add(Gateway("bank")), routes={"POST /charges": "charge"}))
    system.service("till")(lambda env: start(charge))

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        env.publisher(bus)("orders", order)

    run = system.run()
    assert run.ending.verdict == "quiet"
    assert not run.ending.ran_on  # what pika reads for its own time-outs is no clock of it


# ---- two services that consume in threads: a callback that stands still is in its own thread


def consumers_in_threads(heard, failed):
    """Two services that consume in a thread and try again whatever is raised, as many do."""
    system = System("two tills")
    bus = system.add(RabbitMQ("bus", queues=["left", "right"]))
    system.add(AMQP("rabbit", bus))
    local = threading.local()

    def listen(till):
        local.mine = till
        keys = threading.RLock()

        def on_order(channel, method, properties, body):
            with keys:  # held already, by this very thread
                heard.append((till, local.mine))
            channel.basic_ack(method.delivery_tag)

        try:
            channel = pika.BlockingConnection(RABBIT).channel()
            channel.basic_consume(till, on_order)
            with keys:
                channel.start_consuming()
        except Exception as error:
            failed.append(error)
            raise

    def serve(env, till):
        thread = threading.Thread(target=listen, args=(till,), daemon=True)
        env.main(thread.start)

    system.service("left")(lambda env: serve(env, "left"))
    system.service("right")(lambda env: serve(env, "right"))

    @system.entry(examples=[{"id": "o1"}])
    def place(env, order):
        for till in ("left", "right"):
            env.publisher(bus)(till, order)

    return system


def test_a_callback_that_stands_still_in_a_thread_lets_other_threads_go_on():
    heard, failed = [], []
    system = consumers_in_threads(heard, failed)
    pause = Pause(Site("left.on_order/handle", "before"), lasting=1_000)
    run = system.run(None, Schedule([pause]))
    assert not run.unused
    assert not failed
    assert sorted(heard) == [("left", "left"), ("right", "right")]
    assert run.ending.verdict == "quiet"
