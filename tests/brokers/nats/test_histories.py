"""Laws of JetStream on histories: single faults and random pairs on small systems.

All single faults, and more pairs: CHAOSHARNESS_PAIRS=65 pytest tests/brokers/nats/test_histories.py
"""

from __future__ import annotations

import os
from random import Random

import pytest

from chaosharness import NATS, NATSConsumer, NATSStream, Schedule, System
from chaosharness.brokers.at_work import AtWork
from chaosharness.machines.nats import NatsMachine
from chaosharness.machines.nats.consumer import Consumer
from chaosharness.search.sites import candidates

MORE = os.environ.get("CHAOSHARNESS_PAIRS")
PAIRS = int(MORE or "20")
SINGLES = 10_000 if MORE else 60


def handled(env, bus):
    def on_order(order: dict):
        env.sleep(0.5)
        env.note("done", order=order["id"])

    env.consume(bus, "orders", on_order, on_unreadable="term")


def batched(env, bus):
    async def on_order(order: dict):
        await env.sleep(0.5)
        env.note("done", order=order["id"])

    env.consume(bus, "orders", on_order, batch=10, on_error="nak", on_unreadable="dead-letter")


def looped(env, bus):
    consumer = env.consumer(bus, "orders", read_as=dict, on_unreadable="skip")

    def main():
        while True:
            for delivery in consumer.fetch(3):
                env.sleep(0.5)
                env.note("done", order=delivery.value["id"])
                consumer.ack(delivery)

    env.main(main)


STYLES = {one.__name__: one for one in (handled, batched, looped)}
SHAPES = [
    (style, pending, replicas, retention)
    for style in STYLES
    for pending in (1, 1_000)
    for replicas in (1, 2)
    for retention in ("limits", "workqueue")
]


def build(style, pending, replicas, retention):
    system = System("small", arrival_ms=1)
    consumer = NATSConsumer(ack_pending_max=pending, deliver_max=6, dead_subject="dead")
    streams = {
        "ORDERS": NATSStream(
            subjects="orders", retention=retention, consumers={"orders": consumer}
        ),
        "DEAD": NATSStream(subjects="dead"),
    }
    bus = system.add(NATS("bus", streams))

    @system.service("worker", replicas=replicas)
    def worker(env):
        STYLES[style](env, bus)

    @system.entry(examples=[{"id": number} for number in range(4)])
    def place(env, order):
        env.publisher(bus)("orders", order, key=f"k{order['id']}")

    return system


def check_laws(run, *, pending):
    """Raise where a history breaks a law of JetStream."""
    assert run.ending.verdict == "quiet", run.ending
    places, times, out, done, dead = {}, {}, set(), set(), set()
    for event in run.history:
        data = event.data
        match event.kind:
            case "publish" if data["queues"]:
                places[event.index] = data["topic"]
            case "crash":
                dead.add(event.actor)
            case "deliver":
                name = data["message"]
                assert data["to"] not in dead, "handed to the dead"
                assert name not in done, "handed out after it was settled"
                assert name not in out, "handed out while somebody has it"
                assert data["times"] == times.get(name, 0) + 1, "counted wrongly"
                waiting = {one for one in times if one not in done}
                if pending == 1 and name not in times:
                    assert not waiting, "handed out before what is not settled"
                    assert all(one < name for one in times), "handed out past an older one"
                times[name] = data["times"]
                out.add(name)
            case "ack" | "dead":
                done.add(data["message"])
                out.discard(data["message"])
            case "nack" if "why" in data or data.get("requeue"):
                out.discard(data["message"])
    assert set(places) <= done, "a message is nowhere"
    assert len(run.schedule) or not [*run.history.of("dead")], "given up in calm"


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
            check_laws(system.run(None, schedule), pending=shape[1])
        except AssertionError as error:
            raise AssertionError(f"{error}: {schedule}") from None


# ---- the test of the test


def never_settled(machine, handle, now, reason=""):
    """Take no note of an acknowledgement."""


def forgetful(consumer, sequence, holder, now):
    """Hand a message out, and count it as if it had never been."""
    consumer.times.pop(sequence, None)
    return hold(consumer, sequence, holder, now)


hold = Consumer.hold
WRONG = {
    "nothing comes back": (AtWork, "_tick", lambda *_: None, ("handled", 1_000, 1, "limits")),
    "nothing is settled": (NatsMachine, "_settle", never_settled, ("looped", 1_000, 1, "limits")),
    "deliveries are forgotten": (Consumer, "hold", forgetful, ("handled", 1_000, 1, "limits")),
    "no limit": (Consumer, "is_full", lambda consumer: False, ("handled", 1, 2, "limits")),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_machine_breaks_a_law(monkeypatch, wrong):
    owner, name, instead, shape = WRONG[wrong]
    monkeypatch.setattr(owner, name, instead)
    system = build(*shape)
    with pytest.raises(AssertionError):
        for schedule in [Schedule(), *schedules(system, 0)]:
            check_laws(system.run(None, schedule), pending=shape[1])
