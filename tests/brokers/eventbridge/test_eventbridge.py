"""EventBridge in a run: rules that match, targets that are tried again, dead letters."""

import json
from pathlib import Path

import pytest

from chaosharness import (
    SQS,
    Delay,
    Duplicate,
    ErrorReply,
    EventBridge,
    EventRule,
    EventTarget,
    Redeliver,
    Schedule,
    Site,
    SQSQueue,
    System,
)
from chaosharness.brokers.eventbridge.rows import ROWS
from chaosharness.errors import IllegalFault, InvalidDefinition
from chaosharness.handlers.legality import table
from chaosharness.kernel.message_names import EVERY

PLACED = EventRule({"detail-type": ["OrderPlaced"]}, ["billing"])
BIG = EventRule(
    {"detail-type": ["OrderPlaced"], "detail": {"cents": [{"numeric": [">", 1_000]}]}}, "audit"
)
QUEUES = {"billing": SQSQueue(), "audit": SQSQueue(), "dead": SQSQueue()}


def shop(rules, items=({"id": "o1", "cents": 500}, {"id": "o2", "cents": 5_000}), **options):
    system = System("shop")
    queues = system.add(SQS("queues", options.pop("queues", QUEUES)))
    events = system.add(EventBridge("events", queues, rules, **options))

    @system.service("billing")
    def billing(env):
        def on_event(event: dict):
            env.note("billed", order=event["detail"]["id"], event=json.dumps(event))

        env.consume(queues, "billing", on_event)

    @system.service("audit")
    def audit(env):
        env.consume(queues, "audit", lambda event: env.note("audited", order=event["detail"]["id"]))

    @system.entry(examples=items)
    def place(env, order):
        env.publisher(events)("OrderPlaced", order, key=order["id"])

    return system


def said(run):
    return sorted((event.data["what"], event.data["order"]) for event in run.history.of("note"))


def site(target="billing", phase="before", **words):
    return Site(f"events.placed/deliver to {target}", phase, **words)


def test_each_rule_hands_on_what_it_matches():
    run = shop({"placed": PLACED, "big": BIG}).run()
    assert said(run) == [("audited", "o2"), ("billed", "o1"), ("billed", "o2")]
    event = json.loads(next(run.history.of("note")).data["event"])
    assert event["source"] == "app"
    assert {"version", "id", "time", "region", "account", "resources"} <= event.keys()


def test_an_event_that_no_rule_matches_is_taken_and_goes_nowhere():
    run = shop({"big": BIG}, items=[{"id": "o1", "cents": 5}]).run()
    assert said(run) == []
    assert len([*run.history.of("publish")]) == 1


def test_there_is_no_order_and_a_target_may_get_it_twice():
    system = shop({"placed": PLACED})
    late = system.run(None, Schedule([Delay(site(), lasting="timeout")]))
    assert not late.unused
    assert [event.data["order"] for event in late.history.of("note")] == ["o2", "o1"]
    twice = system.run(None, Schedule([Duplicate(site(phase="after"))]))
    assert said(twice) == [("billed", "o1"), ("billed", "o1"), ("billed", "o2")]


def test_an_attempt_that_fails_is_repeated_later():
    run = shop({"placed": PLACED}).run(None, Schedule([ErrorReply(site())]))
    assert said(run) == [("billed", "o1"), ("billed", "o2")]
    assert [event.data["order"] for event in run.history.of("note")] == ["o2", "o1"]


@pytest.mark.parametrize("dead_letter", ["dead", None])
def test_when_attempts_are_over_it_is_a_dead_letter_or_dropped(dead_letter):
    target = EventTarget("billing", attempts_max=1, dead_letter=dead_letter)
    rule = EventRule({"source": ["app"]}, target)
    fails = [ErrorReply(site(attempt=n)) for n in (1, 2)]
    run = shop({"placed": rule}).run(None, Schedule(fails))
    assert said(run) == [("billed", "o2")]
    [dead] = run.history.of("dead")
    assert (dead.data["reason"], dead.data["to"]) == (
        "MaximumRetryAttempts",
        [dead_letter] if dead_letter else [],
    )


def test_how_old_an_event_may_be():
    target = EventTarget("billing", age_ms_max=60_000, dead_letter="dead")
    fails = [ErrorReply(site(attempt=n)) for n in range(1, 12)]
    run = shop({"placed": EventRule({"source": ["app"]}, target)}).run(None, Schedule(fails))
    [dead] = run.history.of("dead")
    assert dead.data["reason"] == "MaximumEventAgeInSeconds"
    assert dead.at_ms <= 60_000


def test_a_publish_may_be_there_twice_as_well():
    twice = Duplicate(Site("client.place/events.publish OrderPlaced"))
    run = shop({"placed": PLACED}).run(None, Schedule([twice]))
    assert said(run) == [("billed", "o1"), ("billed", "o1"), ("billed", "o2")]


def test_what_cannot_happen_is_refused():
    with pytest.raises(IllegalFault, match="can never happen"):
        shop({"placed": PLACED}).run(None, Schedule([Redeliver(site(phase="after"))]))


def test_a_group_of_a_fifo_queue():
    queues = {**QUEUES, "orders.fifo": SQSQueue(by_content=True)}
    rule = EventRule({"source": ["app"]}, EventTarget("orders.fifo", group="all"))
    run = shop({"placed": rule}, queues=queues).run()
    stored = [one.data["queues"] for one in run.history.of("publish")]
    assert stored.count(["orders.fifo"]) == 2


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"r": EventRule({"source": ["app"]}, "nowhere")}, "has no such queue"),
        ({"r": EventRule({"source": ["app"]}, "q.fifo")}, "give EventTarget"),
        (
            {"r": EventRule({"source": ["app"]}, EventTarget("q.fifo", group="g"))},
            "by_content=True",
        ),
        (
            {"r": EventRule({"source": ["app"]}, EventTarget("billing", dead_letter="q.fifo"))},
            "a standard queue",
        ),
        ({"r": {"source": ["app"]}}, "EventRule"),
    ],
)
def test_a_bus_that_cannot_work_is_refused(rules, words):
    queues = SQS("queues", {**QUEUES, "q.fifo": SQSQueue()})
    with pytest.raises(InvalidDefinition, match=words):
        EventBridge("events", queues, rules)


def test_a_bus_has_no_consumers_and_takes_objects_only():
    system = shop({"placed": PLACED})

    @system.service("lost")
    def lost(env):
        env.consume(system.resources["events"], "placed", lambda event: None)

    with pytest.raises(InvalidDefinition, match="events has no consumers"):
        system.run()
    run = shop({"placed": PLACED}, items=[{"id": "o1", "cents": 5}])

    @run.service("numbers")
    def numbers(env):
        def send():
            try:
                env.publisher(run.resources["events"])("Counted", 5)
            except Exception as error:
                env.note("refused", order=error.response["Error"]["Code"])

        env.main(send)

    assert ("refused", "MalformedDetail") in said(run.run())


def test_where_a_type_may_go_is_known_without_a_run():
    events = EventBridge("events", SQS("queues", QUEUES), {"placed": PLACED, "big": BIG})
    assert events.goes_to("OrderPlaced", "") == [("queues", "billing"), ("queues", "audit")]
    assert events.goes_to("Other", "") == []
    assert len(events.goes_to(None, "")) == 2


def test_an_event_is_stored_once_and_named_by_its_message():
    every = Delay(site(message=EVERY), lasting=5)
    assert not shop({"placed": PLACED}).run(None, Schedule([every])).unused


def test_the_page_has_each_row():
    page = Path(__file__).parents[3] / "docs" / "how-to" / "eventbridge.md"
    assert table(ROWS) in page.read_text("utf-8")
    assert all(row.source and row.condition for row in ROWS if row.searched)
