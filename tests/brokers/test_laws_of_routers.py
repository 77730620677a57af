"""What what hands on promises: an event bus, topics, and streams of a table.

Nobody consumes from these themselves, so the laws are about what arrives at the other end.
"""

import json
from random import Random

import pytest

from chaosharness import (
    SNS,
    SQS,
    DynamoDB,
    DynamoStream,
    EventBridge,
    EventRule,
    Lambda,
    PartitionDelay,
    Rebalance,
    Redeliver,
    Schedule,
    Site,
    System,
)
from chaosharness.brokers.dynamodb.reader import Reader
from chaosharness.brokers.eventbridge.router import OpenEventBridge
from chaosharness.brokers.facts import Journal
from chaosharness.brokers.lines import Lines
from chaosharness.brokers.sns.sns import OpenSNS
from chaosharness.errors import IllegalFault
from chaosharness.machines.dynamodb.stream import StreamMachine
from chaosharness.machines.eventbridge import EventBridgeMachine
from chaosharness.search.sites import candidates

PAIRS = 60
CHANGES = [{"id": name, "n": n} for n in (1, 2, 3) for name in ("a", "b")]
KINDS = ("EventBridge", "SNS", "DynamoDB")


def small(kind):
    """One who sends changes of two items, and one at the other end who notes them."""
    system = System("small", arrival_ms=1)
    queues = system.add(SQS("queues", ["changes"]))
    send = {"EventBridge": by_events, "SNS": by_topic, "DynamoDB": by_table}[kind](system, queues)

    @system.service("desk")
    def desk(env):
        put = send(env)

        def change(one):
            env.note("sent", **one)
            put(one)
            env.note("taken", **one)

        env.serve("change", change)

    @system.entry(examples=CHANGES)
    def happen(env, one):
        env.call("desk", "change", one)

    return system


def reads_queue(system, queues, body_of):
    @system.service("reader", replicas=2)
    def reader(env):
        def on_message(message: dict):
            env.sleep(0.005)
            body = body_of(message)
            if "id" in body:  # else somebody sent what nobody can read
                env.note("got", **body)

        env.consume(queues, "changes", on_message, on_unreadable="skip")


def by_events(system, queues):
    rule = EventRule({"detail-type": ["Changed"]}, ["changes"])
    bus = system.add(EventBridge("bus", queues, {"all": rule}))
    reads_queue(system, queues, lambda event: event["detail"])

    def send(env):
        publish = env.publisher(bus)
        return lambda one: publish("Changed", one)

    return send


def by_topic(system, queues):
    bus = system.add(SNS("bus", queues, {"changed": ["changes"]}))
    reads_queue(system, queues, lambda message: json.loads(message["Message"]))

    def send(env):
        publish = env.publisher(bus)
        return lambda one: publish("changed", one)

    return send


def by_table(system, queues):
    db = system.add(DynamoDB("db", {"orders": "id"}))
    stream = system.add(DynamoStream("changes", db, "orders"))

    @system.service("reader", replicas=2)
    def reader(env):
        def handler(event, context):
            for record in event["Records"]:
                image = record["dynamodb"]["NewImage"]
                env.note("got", id=image["id"]["S"], n=int(image["n"]["N"]))

        env.consume(stream, "orders", Lambda(handler))

    def send(env):
        tables = env.connect(db)
        return lambda one: tables.put("orders", one)

    return send


def noted(run, what):
    found = [one.data for one in run.history.of("note") if one.data["what"] == what]
    return [(one["id"], one["n"]) for one in found]


def schedules(system, *, pairs=True):
    singles = candidates(system.run())
    assert len(singles) > 30
    yield from (Schedule([one]) for one in singles)
    chance = Random(8)
    for _ in range(PAIRS if pairs else 0):
        yield Schedule(chance.sample(singles, 2))


def quiet_runs(system, *, pairs=True):
    for schedule in schedules(system, pairs=pairs):
        run = system.run(None, schedule)
        assert run.ending.verdict == "quiet", (schedule, run.ending)
        yield schedule, run


# ---- the laws


def nothing_is_invented(kind):
    for schedule, run in quiet_runs(small(kind)):
        assert {*noted(run, "got")} <= {*noted(run, "sent")}, schedule


def what_was_taken_arrives(kind):
    for schedule, run in quiet_runs(small(kind)):
        assert {*noted(run, "taken")} <= {*noted(run, "got")}, schedule


def changes_of_one_item_come_in_their_order_at_first(kind):
    for schedule, run in quiet_runs(small(kind)):
        first = [*dict.fromkeys(noted(run, "got"))]
        sent = [*dict.fromkeys(noted(run, "sent"))]
        for name in ("a", "b"):
            mine = [n for id, n in first if id == name]
            assert mine == [n for id, n in sent if id == name and n in mine], schedule


def nothing_comes_twice_without_a_reason(kind):
    """A message that is handed out again was given back, or its reader died, since."""
    for schedule, run in quiet_runs(small(kind)):
        given, since = {}, 0
        for event in run.history.of("deliver", "nack", "crash", "raised"):
            if event.kind != "deliver":
                since = event.index
                continue
            key = event.data["group"], event.data["message"]
            assert given.get(key, -1) < since, schedule
            given[key] = event.index


def nothing_goes_to_the_dead(kind):
    for schedule, run in quiet_runs(small(kind)):
        dead = set()
        for event in run.history.of("crash", "deliver"):
            if event.kind == "crash":
                dead.add(event.actor)
            else:
                assert event.data["to"] not in dead, schedule


def the_same_run_twice_is_the_same(kind):
    first, second = small(kind), small(kind)
    for schedule in schedules(first, pairs=False):
        assert first.run(None, schedule).digest() == second.run(None, schedule).digest(), schedule


def illegal_faults_are_refused(kind):
    system = small(kind)
    place = "changes.orders" if kind == "DynamoDB" else "queues.changes"
    for fault in (Rebalance, PartitionDelay, *((Redeliver,) if kind == "DynamoDB" else ())):
        with pytest.raises(IllegalFault, match="can never happen in a real deployment"):
            system.run(None, Schedule([fault(Site(f"{place}/deliver to reader"))]))


LAWS = (
    nothing_is_invented,
    what_was_taken_arrives,
    changes_of_one_item_come_in_their_order_at_first,
    nothing_comes_twice_without_a_reason,
    nothing_goes_to_the_dead,
    the_same_run_twice_is_the_same,
    illegal_faults_are_refused,
)
DIFFERENCES = {
    ("EventBridge", changes_of_one_item_come_in_their_order_at_first): (
        "there is no order: an attempt that failed is repeated later"
    ),
    ("SNS", changes_of_one_item_come_in_their_order_at_first): (
        "a standard topic, and a standard queue: best-effort order"
    ),
    ("EventBridge", nothing_comes_twice_without_a_reason): (
        "a second server's copy of the standard queue it goes to"
    ),
    ("SNS", nothing_comes_twice_without_a_reason): (
        "a second server's copy of the standard queue it goes to"
    ),
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_law(kind, law):
    if (kind, law) in DIFFERENCES:
        with pytest.raises(AssertionError):
            law(kind)
    else:
        law(kind)


# ---- the test of the test


def forget(*_, **__):
    """Do nothing where something should be done."""


def backwards(machine, reader, shard):
    return left(machine, reader, shard)[::-1]


def goes_on_dead(reader, function):
    leave(reader, function)
    reader.idle.insert(0, function)


def begins_anew(reader, shard):
    machine = reader.stream.machine
    if not hasattr(machine, "anew"):
        machine.anew = machine.done[reader.place][shard.number] = 0
    done(reader, shard)


def invents(machine, operation, name, now):
    found = event(machine, operation, name, now)
    return {**found, "detail": {**found["detail"], "n": 99}}


def counting(write):
    numbers = iter(range(1_000_000))  # state that no run can set back

    def wrong(journal, *arguments):
        index = write(journal, *arguments)
        journal.world.raw[index][-1]["nonce"] = next(numbers)
        return index

    return wrong


left, leave, done = StreamMachine.left, Reader.leave, Reader.done
event = EventBridgeMachine._event
BREAKS = [
    (what_was_taken_arrives, "EventBridge", OpenEventBridge, "_arrive", forget),
    (what_was_taken_arrives, "SNS", OpenSNS, "_arrive", forget),
    (what_was_taken_arrives, "DynamoDB", Reader, "again", forget),
    (
        changes_of_one_item_come_in_their_order_at_first,
        "DynamoDB",
        StreamMachine,
        "left",
        backwards,
    ),
    (nothing_goes_to_the_dead, "EventBridge", Lines, "leave", forget),
    (nothing_goes_to_the_dead, "SNS", Lines, "leave", forget),
    (nothing_goes_to_the_dead, "DynamoDB", Reader, "leave", goes_on_dead),
    (what_was_taken_arrives, "DynamoDB", Reader, "leave", forget),
    (nothing_comes_twice_without_a_reason, "DynamoDB", Reader, "done", begins_anew),
    (nothing_is_invented, "EventBridge", EventBridgeMachine, "_event", invents),
    (the_same_run_twice_is_the_same, "EventBridge", Journal, "write", counting(Journal.write)),
    (the_same_run_twice_is_the_same, "SNS", Journal, "write", counting(Journal.write)),
    (the_same_run_twice_is_the_same, "DynamoDB", Journal, "write", counting(Journal.write)),
]


@pytest.mark.parametrize(("law", "kind", "owner", "where", "wrong"), BREAKS)
def test_a_law_is_broken_by_what_breaks_it(monkeypatch, law, kind, owner, where, wrong):
    monkeypatch.setattr(owner, where, wrong)
    with pytest.raises(AssertionError):
        law(kind)
