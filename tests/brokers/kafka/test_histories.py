"""Laws of Kafka on histories: single faults and random pairs on small systems.

All single faults, and more pairs:
CHAOSHARNESS_PAIRS=65 pytest tests/brokers/kafka/test_histories.py
"""

from __future__ import annotations

import os
from random import Random

import pytest

from chaosharness import CommitFailed, Kafka, ProducerFenced, Schedule, System
from chaosharness.brokers.kafka.coordination import Coordination
from chaosharness.brokers.kafka.listeners import Listeners
from chaosharness.brokers.kafka.rows import ROWS
from chaosharness.machines.kafka.log import Log
from chaosharness.search.sites import candidates

MORE = os.environ.get("CHAOSHARNESS_PAIRS")
PAIRS = int(MORE or "12")
SINGLES = 10_000 if MORE else 40


def handled(env, bus):
    def on_order(order: dict):
        env.sleep(0.5)
        env.note("done", order=order.get("id"))

    env.consume(bus, "orders", on_order, on_unreadable="dead-letter")


def told(env, bus, **options):
    """A loop with listeners: it says what it is given and what is taken back."""

    def says(what):
        return lambda places: env.note(what, places=[list(place) for place in places])

    consumer = env.consumer(
        bus,
        "orders",
        on_unreadable="skip",
        on_assign=says("given"),
        on_revoke=says("revoked"),
        on_lost=says("lost"),
        **options,
    )

    def main():
        while True:
            for delivery in consumer.poll(3, timeout_s=1):
                env.sleep(0.5)
                env.note("done", order=delivery.value.get("id"))
                try:
                    consumer.commit(delivery)
                except (CommitFailed, OSError):
                    continue  # what was polled is in hand, whoever has its log partition now

    env.main(main)


def static(env, bus):
    told(env, bus, instance=f"worker-{env.incarnation.replica}")


def decided(env, bus):
    """A loop that copies in transactions; what it has copied is read by who waits for the end."""
    consumer = env.consumer(bus, "orders", on_unreadable="skip")
    produce = env.publisher(bus, transactional_id=f"worker-{env.incarnation.replica}")

    def main():
        while True:
            batch = consumer.poll(3, timeout_s=5)
            if not batch:
                continue
            produce.begin()
            try:
                for delivery in batch:
                    env.sleep(0.1)
                    produce("done", delivery.value, key="done")
                produce.send_offsets(consumer)
                produce.commit()
            except (CommitFailed, ProducerFenced, OSError):
                raise SystemExit(1) from None

    env.main(main)


STYLES = {one.__name__: one for one in (handled, told, static, decided)}
SHAPES = [
    (style, assignment, replicas, count)
    for style in STYLES
    for assignment in ("range", "cooperative-sticky")
    for replicas in (1, 2)
    for count in (1, 2)
]


def build(style, assignment, replicas, count):
    system = System("small", arrival_ms=1)
    options = {"idempotent_producer": True, "session_timeout_ms": 10_000}
    topics = {"orders": count, "done": 1}
    bus = system.add(Kafka("bus", topics, assignment=assignment, **options))

    @system.service("worker", replicas=replicas)
    def worker(env):
        STYLES[style](env, bus)

    @system.service("reader")
    def reader(env):
        env.consume(
            bus,
            "done",
            lambda order: env.note("read", order=order.get("id")),
            isolation="read_committed",
            on_unreadable="skip",
        )

    @system.entry(examples=[{"id": number} for number in range(3)])
    def place(env, order):
        env.publisher(bus)("orders", order, key=f"k{order['id']}")

    return system


def check_laws(run, *, style):
    """Raise where a history breaks a law of Kafka."""
    assert run.ending.verdict == "quiet", run.ending
    history = run.history
    places, last, dead, withdrawn, owners, has, shared = {}, {}, set(), set(), {}, {}, set()
    copied = {}
    for event in history:
        data = event.data
        match event.kind:
            case "publish":
                places[event.index] = (data["topic"], data["partition"], data["offset"])
                if data["topic"] == "done":
                    copied[event.index] = data["value"]
            case "crash":
                dead.add(event.actor)
                has.pop(event.actor, None)
            case "rollback":
                withdrawn |= {*data["withdrawn"]}
            case "rebalance":
                for label, mine in data["members"].items():
                    owners[data["group"], place_of(label, style)] = {*mine}
                last = {key: at for key, at in last.items() if key[0] != data["group"]}
            case "deliver":
                topic, index, offset = places[data["message"]]
                key = (data["group"], topic, index, data["to"])
                whose = place_of(data["to"], style)
                assert data["to"] not in dead, "handed to the dead"
                assert last.get(key, -1) < offset, "handed out of order in a generation"
                assert f"{topic}[{index}]" in owners[data["group"], whose], "not its own"
                if data["group"] == "reader":
                    assert data["message"] not in withdrawn, "what was aborted was read"
                elif style in ("told", "static"):
                    assert (topic, index) in has.get(data["to"], ()), "nobody told it"
                last[key] = offset
            case "note" if data["what"] == "given":
                mine = {tuple(place) for place in data["places"]}
                for label, others in has.items():
                    if label != event.actor:
                        shared |= {(label, place) for place in mine & others}
                has.setdefault(event.actor, set()).update(mine)
            case "note" if data["what"] in ("revoked", "lost"):
                gone = {tuple(place) for place in data["places"]}
                assert gone <= has.get(event.actor, set()), "what it never had is taken back"
                has[event.actor] -= gone
                if data["what"] == "revoked":
                    late = shared & {(event.actor, place) for place in gone}
                    assert not late, "it is asked to give back what another has already"
    notes = [one.data for one in history.of("note") if one.data["what"] in ("done", "read")]
    done = [one["order"] for one in notes if one["order"] is not None]  # the rest was no order
    assert {*done} == {0, 1, 2}, "an order is lost"
    kept = [value for index, value in copied.items() if index not in withdrawn]
    assert len({*kept}) == len(kept), "an order was copied twice"


def place_of(label, style):
    """Return whose a log partition is: a static member's next life has what it had."""
    return label.partition("/")[0] if style == "static" else label


def schedules(system, seed):
    """All single faults, up to a number, and random pairs of them."""
    found = [
        one for one in candidates(system.run()) if one.site.operation.partition("/")[2] != "start"
    ]
    chance = Random(seed)
    singles = found if len(found) <= SINGLES else chance.sample(found, SINGLES)
    yield from (Schedule([one]) for one in singles)
    yield from (Schedule(chance.sample(found, 2)) for _ in range(PAIRS))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: " ".join(map(str, shape)))
def test_the_laws_hold(shape):
    system = build(*shape)
    for schedule in schedules(system, SHAPES.index(shape)):
        try:
            check_laws(system.run(None, schedule), style=shape[0])
        except AssertionError as error:
            raise AssertionError(f"{error}: {schedule}") from None


def test_the_search_tries_what_the_rows_say():
    for style, at, profile in (
        ("handled", "bus.orders/deliver to worker", ("deliver", "any consumer")),
        ("handled", "worker.on_order/bus.commit", ("commit", "called")),
        ("told", "worker.main/bus.commit", ("commit", "loop")),
        ("decided", "worker.main/bus.commit_transaction", ("end, send offsets", "transactional")),
        ("decided", "worker.main/bus.publish done", ("publish", "idempotent")),
    ):
        run = build(style, "range", 1, 1).run()
        here = [one for one in candidates(run) if one.site.operation == at]
        rows = [row for row in ROWS if (row.at, row.profile) == profile and row.searched]
        tried = {(one.site.phase, type(one)) for one in here}
        assert tried == {(row.phase, row.fault) for row in rows}, at


# ---- the test of the test


def tells_nobody(listeners, member):
    """Call nobody, and take what there is for told."""
    listeners.told = tuple(member.slots)
    listeners._generation = member.generation
    return iter(())


def shows_all(log, offset, *, committed_only=False):
    end = log.stable if committed_only else log.end
    return next((at for at in range(offset, end) if log.records[at] is not None), None)


def keeps_reading(coordination, member):
    """Let who was expelled go on."""


def forgets_commits(coordination, member, places):
    before, member.group.committed = member.group.committed, {}
    give(coordination, member, places)
    member.group.committed = before


def waits_for_nobody(coordination, member):
    return False


give = Coordination._give
BROKEN = {
    "listeners hear nothing": (Listeners, "calls", tells_nobody, "told", "nobody told it"),
    "nobody is waited for": (Coordination, "_tells", waits_for_nobody, "told", "nobody told it"),
    "what was aborted is seen": (Log, "next", shows_all, "decided", "what was aborted was read"),
    "who is out reads on": (Coordination, "take_away", keeps_reading, "handled", "not its own"),
    "nothing is committed": (Coordination, "_give", forgets_commits, "decided", "copied twice"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_cluster_breaks_a_law(monkeypatch, name):
    owner, where, broken, style, words = BROKEN[name]
    monkeypatch.setattr(owner, where, broken)
    system = build(style, "range", 2, 2)
    with pytest.raises(AssertionError, match=words):
        for schedule in schedules(system, 0):
            check_laws(system.run(None, schedule), style=style)
