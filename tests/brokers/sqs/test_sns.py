"""SNS in a run: every subscriber by itself."""

import json

import pytest

from chaosharness import (
    SNS,
    SQS,
    Delay,
    Duplicate,
    ErrorReply,
    Schedule,
    Site,
    SNSSubscription,
    SNSTopic,
    System,
)
from chaosharness.errors import IllegalFault, InvalidDefinition

FAN = "news.orders{0}/deliver to bill{0}"


def shop(fifo="", *, items=3, subscriptions=None, **words):
    system = System("shop", arrival_ms=1)
    bill, audit = f"bill{fifo}", f"audit{fifo}"
    bus = system.add(SQS("bus", [bill, audit]))
    given = subscriptions or [SNSSubscription(bill, raw=True), audit]
    news = system.add(SNS("news", bus, {f"orders{fifo}": SNSTopic(given, by_content=True)}))

    @system.service("billing")
    def billing(env):
        env.consume(bus, bill, lambda order: env.note("billed", order=order["id"]))

    @system.service("auditing")
    def auditing(env):
        def on_letter(letter: dict):
            env.note("audited", order=json.loads(letter["Message"])["id"])

        env.consume(bus, audit, on_letter)

    @system.entry(examples=[{"id": number} for number in range(items)])
    def place(env, order):
        kind = "even" if order["id"] % 2 == 0 else "odd"
        given = {"key": "k", "headers": {"kind": kind}, **words}
        env.publisher(news)(f"orders{fifo}", order, **given)

    return system


def notes(run, what):
    return [event.data["order"] for event in run.history.of("note") if event.data["what"] == what]


@pytest.mark.parametrize("fifo", ["", ".fifo"])
def test_every_subscriber_gets_everything(fifo):
    run = shop(fifo).run()
    assert notes(run, "billed") == notes(run, "audited") == [0, 1, 2]


def test_a_filter_lets_some_pass():
    one = SNSSubscription("bill", raw=True, filter_policy={"kind": ["even"]})
    run = shop(subscriptions=[one, "audit"]).run()
    assert (notes(run, "billed"), notes(run, "audited")) == ([0, 2], [0, 1, 2])
    body = {"filter_policy": {"id": [{"numeric": [">", 0]}]}, "filter_scope": "MessageBody"}
    one = SNSSubscription("bill", raw=True, **body)
    assert notes(shop(subscriptions=[one, "audit"]).run(), "billed") == [1, 2]


def test_one_subscriber_is_late_and_the_other_is_not():
    run = shop().run(None, Schedule([Delay(Site(FAN.format("")), lasting=1_000)]))
    assert (notes(run, "billed"), notes(run, "audited")) == ([1, 2, 0], [0, 1, 2])


def test_a_late_group_of_a_fifo_topic_stays_in_order():
    for fault in (Delay, ErrorReply):
        run = shop(".fifo").run(None, Schedule([fault(Site(FAN.format(".fifo")))]))
        assert notes(run, "billed") == notes(run, "audited") == [0, 1, 2]


def test_an_attempt_that_failed_is_repeated():
    faults = [ErrorReply(Site(FAN.format(""), attempt=nth)) for nth in range(1, 6)]
    run = shop(items=1).run(None, Schedule(faults))
    assert notes(run, "billed") == [0]
    assert (
        run.history[len(run.history) - 1].at_ms >= 2_000
    )  # the fifth and sixth come a second later


def test_a_subscriber_may_get_it_twice():
    run = shop().run(None, Schedule([Duplicate(Site(FAN.format(""), "after"))]))
    assert notes(run, "billed").count(0) == 2
    with pytest.raises(IllegalFault):
        shop(".fifo").run(None, Schedule([Duplicate(Site(FAN.format(".fifo"), "after"))]))


def test_the_copies_come_from_what_was_published():
    run = shop(items=1).run()
    published, *copies = run.history.of("publish")
    assert {event.cause for event in copies} == {published.index}
    assert [event.data["broker"] for event in (published, *copies)] == ["news", "bus", "bus"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda bus: SNS("news", bus, {"t": "nowhere"}),
            "'nowhere' subscribes to 't', but bus has",
        ),
        (lambda bus: SNS("news", bus, {"t": "a.fifo"}), "can not be subscribed to standard"),
        (lambda bus: SNS("news", "bus", {"t": "a"}), "needs the SQS of its queues"),
        (lambda bus: SNSSubscription("a", filter_policy={"x": []}), "Empty arrays are not allowed"),
        (
            lambda bus: SNSSubscription("a", filter_policy="x"),
            "filter_policy must be a policy such",
        ),
        (lambda bus: SNS("news", bus, ["t"]), "topics must be who has subscribed to each"),
        (lambda bus: SNS("news", bus, {"t": [5]}), "subscriptions must be names of queues"),
        (lambda bus: SNS("news", bus, {"t": 5}), "subscriptions must be names of queues"),
    ],
)
def test_topics_that_cannot_be(make, message):
    with pytest.raises(InvalidDefinition, match=message):
        make(SQS("bus", ["a", "a.fifo"]))


def test_the_queues_come_first():
    system = System("shop")
    bus = SQS("bus", ["a"])
    system.add(SNS("news", bus, {"t": "a"}))
    system.add(bus)
    system.entry(examples=[1])(lambda env, item: None)
    with pytest.raises(InvalidDefinition, match="must be given before it"):
        system.run()


def test_a_refusal_is_the_one_of_aws():
    with pytest.raises(InvalidDefinition, match="MessageGroupId parameter is required"):
        shop(".fifo", key=None).run()
    with pytest.raises(InvalidDefinition, match="news has no topic 'x'; it has: orders"):
        system = shop()
        news = system.resources["news"]
        system.service("other")(lambda env: env.publisher(news)("x", 1))
        system.run()


@pytest.mark.parametrize("way", ["consume", "consumer"])
def test_a_topic_has_no_consumers(way):
    system = shop()
    news = system.resources["news"]

    @system.service("other")
    def other(env):
        if way == "consume":
            env.consume(news, "orders", lambda value: None)
        else:
            env.consumer(news, "orders")

    with pytest.raises(InvalidDefinition, match="consume from one of bus"):
        system.run()
