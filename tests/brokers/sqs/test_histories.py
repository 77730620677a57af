"""Laws of SQS on histories, product words aside: single faults and random pairs on small systems.

All single faults, and more pairs: CHAOSHARNESS_PAIRS=65 pytest tests/brokers/sqs/test_histories.py
"""

import json
import os
from random import Random

import pytest

from chaosharness import (
    SNS,
    SQS,
    Lambda,
    Redeliver,
    Schedule,
    SNSSubscription,
    SNSTopic,
    SQSQueue,
    System,
)
from chaosharness.brokers.at_work import AtWork
from chaosharness.machines.sqs import SqsMachine
from chaosharness.machines.sqs.queue import Queue
from chaosharness.search.sites import candidates

MORE = os.environ.get("CHAOSHARNESS_PAIRS")
PAIRS = int(MORE or "20")
SINGLES = 10_000 if MORE else 60


def handled(env, bus, queue):
    def on_order(order: dict):
        env.sleep(0.5)
        env.note("done", order=order["id"])

    env.consume(bus, queue, on_order, on_unreadable="skip")


def batched(env, bus, queue):
    async def on_order(order: dict):
        await env.sleep(0.5)
        env.note("done", order=order["id"])

    env.consume(bus, queue, on_order, batch=10, on_unreadable="dead-letter")


def looped(env, bus, queue):
    consumer = env.consumer(bus, queue, read_as=dict, on_unreadable="skip")

    def main():
        while True:
            for delivery in consumer.receive(3):
                env.sleep(0.5)
                env.note("done", order=delivery.value["id"])
                consumer.delete(delivery)

    env.main(main)


def called(env, bus, queue):
    def handler(event, context):
        failed = []
        for record in event["Records"]:
            try:
                env.note("done", order=json.loads(record["body"])["id"])
            except (ValueError, KeyError):
                failed.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failed}

    env.consume(bus, queue, Lambda(handler, batch=3, partial=True))


STYLES = {one.__name__: one for one in (handled, batched, looped, called)}
SHAPES = [
    (style, fifo, replicas, sns)
    for style in STYLES
    for fifo in ("", ".fifo")
    for replicas in (1, 2)
    for sns in (False, True)
]


def build(style, fifo, replicas, sns):
    system = System("small", arrival_ms=1)
    queue, letters = f"orders{fifo}", f"dead{fifo}"
    declared = SQSQueue(dead_letter=letters, receives_max=6, by_content=True)
    bus = system.add(SQS("bus", {queue: declared, letters: SQSQueue()}))
    into = bus
    if sns:
        subscribed = SNSTopic([SNSSubscription(queue, raw=True)], by_content=True)
        into = system.add(SNS("news", bus, {queue: subscribed}))

    @system.service("worker", replicas=replicas)
    def worker(env):
        STYLES[style](env, bus, queue)

    @system.entry(examples=[{"id": number} for number in range(4)])
    def place(env, order):
        env.publisher(into)(queue, order, key=f"k{order['id'] % 2}")

    return system


def check_laws(run, *, fifo):
    """Raise where a history breaks a law of SQS."""
    assert run.ending.verdict == "quiet", run.ending
    copies = any(isinstance(fault, Redeliver) for fault in run.schedule)
    history = run.history
    group_of, place_of, times, out, done, dead = {}, {}, {}, {}, set(), set()
    for event in history:
        data = event.data
        match event.kind:
            case "publish" if data["broker"] == "bus" and data["queues"]:
                group_of[event.index] = data["key"]
                place_of[event.index] = data["topic"]
            case "crash":
                dead.add(event.actor)
            case "deliver":
                name = data["message"]
                assert data["to"] not in dead, "handed to the dead"
                if not copies:
                    assert name not in done, "handed out after it was deleted"
                    assert name not in out, "handed out while somebody has it"
                    assert data["times"] == times.get(name, 0) + 1, "counted wrongly"
                if fifo:
                    for other in out:
                        group = group_of[other]  # what nobody can read has none that is known
                        mine = group is not None and group == group_of[name] and other < name
                        same = place_of[other] == place_of[name]
                        together = history[out[other]].at_ms == event.at_ms
                        assert not (mine and same) or together, "handed out past its group"
                times[name] = data["times"]
                out[name] = event.index
            case "ack":
                done.add(data["message"])
                out.pop(data["message"], None)
            case "nack" if "why" in data or data.get("requeue"):
                out.pop(data["message"], None)
            case "dead":
                done.add(data["message"])
                out.pop(data["message"], None)
    letters = {name for name, place in place_of.items() if place.startswith("dead")}
    assert set(group_of) - letters <= done, "a message is nowhere"


def schedules(system, seed):
    """All single faults, up to a number, and random pairs of them."""
    found = [one for one in candidates(system.run()) if one.site.operation != "worker/start"]
    chance = Random(seed)
    singles = found if len(found) <= SINGLES else chance.sample(found, SINGLES)
    yield from (Schedule([one]) for one in singles)
    yield from (Schedule(chance.sample(found, 2)) for _ in range(PAIRS))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: " ".join(map(str, shape)))
def test_the_laws_hold(shape):
    system = build(*shape)
    for schedule in schedules(system, SHAPES.index(shape)):
        try:
            check_laws(system.run(None, schedule), fifo=bool(shape[1]))
        except AssertionError as error:
            raise AssertionError(f"{error}: {schedule}") from None


# ---- the test of the test


def no_lock(queue, now):
    for record in list(queue.records.values()):
        if queue.is_visible(record, now):
            yield record


def drop(machine, queue, record, to, now):
    queue.remove(record)


def shout(queue, record, now):
    """Show a message twice: once more than there is."""
    show(queue, record, now)
    if record.receives == 1:
        record.receives = 0


show = Queue.show
WRONG = {
    "a group is no lock": (Queue, "_next_of_groups", no_lock, ("handled", ".fifo", 2, False)),
    "nothing comes back": (AtWork, "_tick", lambda *_: None, ("handled", "", 1, False)),
    "receives are forgotten": (Queue, "show", shout, ("handled", "", 1, False)),
    "dead letters vanish": (SqsMachine, "_bury", drop, ("looped", "", 1, False)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_machine_breaks_a_law(monkeypatch, wrong):
    owner, name, instead, shape = WRONG[wrong]
    monkeypatch.setattr(owner, name, instead)
    system = build(*shape)
    if wrong == "dead letters vanish":
        system = failing()
    with pytest.raises(AssertionError):
        for schedule in [Schedule(), *schedules(system, 0)]:
            check_laws(system.run(None, schedule), fifo=bool(shape[1]))


def failing():
    """A handler that can never do its work."""
    system = System("failing", arrival_ms=1)
    bus = system.add(SQS("bus", {"orders": SQSQueue(dead_letter="dead"), "dead": SQSQueue()}))

    @system.service("worker")
    def worker(env):
        def on_order(order):
            raise OSError("no")

        env.consume(bus, "orders", on_order)

    system.entry(examples=[1])(lambda env, item: env.publisher(bus)("orders", item, key="k"))
    return system


def test_a_failing_one_keeps_them():
    check_laws(failing().run(), fifo=False)
