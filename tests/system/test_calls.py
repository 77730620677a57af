"""Calls between services."""

import pytest

from chaosharness import (
    Crash,
    Gateway,
    LostReply,
    LostRequest,
    NetworkPartition,
    Pause,
    RemoteError,
    Schedule,
    Site,
    System,
)
from chaosharness.errors import InvalidDefinition

ASK = "orders.create/pricing.quote"


def shop(*, retries=5):
    """Return a shop that asks for a price, and then charges it."""
    system = System("shop")
    bank = system.add(Gateway("bank"))

    @system.service("pricing", replicas=2)
    def pricing(env):
        def quote(order):
            if order["n"] < 0:
                raise ValueError("negative")
            return {"cents": order["n"] * 100}

        env.serve("quote", quote)

    @system.service("orders")
    def orders(env):
        client = env.client(bank)

        def price(order):
            for _ in range(retries):
                try:
                    return env.call("pricing", "quote", order, timeout_s=2)["cents"]
                except (TimeoutError, ConnectionError):
                    env.sleep(1)
            return 0

        def create(order):
            cents = price(order)
            if cents:
                client.charge(order["id"], cents, key=order["id"])
            return {"charged": cents}

        env.serve("create", create)

    @system.entry(examples=[{"id": "a", "n": 1}, {"id": "b", "n": 2}])
    def place(env, order):
        answer = env.call("orders", "create", order, timeout_s=600)
        env.note("answered", charged=answer["charged"])

    return system


def answers(run):
    return sorted(note.data["charged"] for note in run.history.of("note"))


def test_a_call_is_answered():
    run = shop().run()
    assert answers(run) == [100, 200]
    assert run.ending.verdict == "quiet"


@pytest.mark.parametrize(
    "fault",
    [
        Crash(Site("pricing.quote/handle")),
        LostRequest(Site(ASK)),
        LostReply(Site(ASK, "after")),
        NetworkPartition(Site(ASK), way="out", lasting=1_500),
        Pause(Site(ASK, "after"), lasting=1_500),
    ],
    ids=lambda fault: fault.kind,
)
def test_what_is_lost_is_asked_again(fault):
    run = shop().run(schedule=Schedule([fault]))
    assert run.unused == ()
    assert answers(run) == [100, 200]


def test_a_lost_reply_was_handled_all_the_same():
    run = shop().run(schedule=Schedule([LostReply(Site(ASK, "after"))]))
    handled = [e for e in run.history.of("handled") if e.operation == "pricing.quote/handle"]
    assert [event.entity for event in handled].count(1) == 2


def test_an_error_of_the_other_side_is_a_remote_error():
    run = shop().run([{"id": "c", "n": -1}])
    raised = [event.data["error"] for event in run.history.of("raised")]
    assert raised[0] == "ValueError: negative"
    assert any(words.startswith(RemoteError.__name__) for words in raised)


def test_nobody_there_is_a_refused_connection():
    schedule = Schedule(
        [
            Crash(Site("pricing.quote/handle", attempt=1), down="long"),
            Crash(Site("pricing.quote/handle", attempt=2), down="long"),
        ]
    )
    run = shop(retries=3).run([{"id": "a", "n": 1}], schedule)
    assert answers(run) == [0]
    refused = [event for event in run.history.of("reply") if "Connection" in str(event.data)]
    assert refused


@pytest.mark.parametrize("seconds", [-2, "2", None, float("nan"), float("inf"), True])
def test_a_timeout_that_is_no_time_is_a_mistake_and_the_next_run_is_well(seconds):
    def asking(timeout_s):
        shop = System("shop")

        @shop.service("prices")
        def prices(env):
            env.serve("price", lambda item: 5)

        @shop.entry(examples=["book"])
        def ask(env, item):
            env.note("told", cents=env.call("prices", "price", item, timeout_s=timeout_s))

        return shop

    with pytest.raises(InvalidDefinition, match=r"timeout_s of seconds from 0, not .*test_calls"):
        asking(seconds).run()
    assert [event.data["cents"] for event in asking(2.5).run().history.of("note")] == [5]
