"""The machine of EventBridge: patterns, refusals, retries, dead letters."""

import json

import pytest

from chaosharness.machines.eventbridge import EventBridgeMachine, RuleSettings, TargetSettings
from chaosharness.machines.eventbridge import machine as op
from chaosharness.machines.eventbridge.patterns import check, matches
from chaosharness.machines.eventbridge.settings import DAY_MS, pause_ms
from chaosharness.machines.machine import Buried, HandedOut, Refusal, Settled, Stored
from chaosharness.machines.sns.filters import BadPolicy

EVENT = {
    "source": "shop.orders",
    "detail-type": "OrderPlaced",
    "detail": {
        "cents": 500,
        "state": "new",
        "note": None,
        "paid": False,
        "tags": ["a", "b"],
        "lines": [{"sku": "x", "n": 1}, {"sku": "y", "n": 2}],
        "address": {"city": "Ulm", "ip": "10.0.0.7"},
    },
}


@pytest.mark.parametrize(
    ("detail", "passes"),
    [
        ({"state": ["new", "old"]}, True),
        ({"state": ["old"]}, False),
        ({"cents": [500]}, True),
        ({"cents": ["500"]}, False),
        ({"note": [None]}, True),
        ({"paid": [False]}, True),
        ({"tags": ["b"]}, True),
        ({"tags": ["c"]}, False),
        ({"state": [{"prefix": "ne"}]}, True),
        ({"state": [{"prefix": {"equals-ignore-case": "NE"}}]}, True),
        ({"state": [{"suffix": "w"}]}, True),
        ({"state": [{"equals-ignore-case": "NEW"}]}, True),
        ({"state": [{"wildcard": "n*w"}]}, True),
        ({"state": [{"wildcard": "n\\*w"}]}, False),
        ({"state": [{"anything-but": "old"}]}, True),
        ({"state": [{"anything-but": ["new", "old"]}]}, False),
        ({"state": [{"anything-but": {"prefix": "ne"}}]}, False),
        ({"state": [{"anything-but": {"suffix": ["x", "w"]}}]}, False),
        ({"state": [{"anything-but": {"wildcard": "o*"}}]}, True),
        ({"absent": [{"anything-but": "old"}]}, False),
        ({"cents": [{"numeric": [">", 100, "<=", 500]}]}, True),
        ({"cents": [{"numeric": ["<", 500]}]}, False),
        ({"state": [{"exists": True}]}, True),
        ({"absent": [{"exists": False}]}, True),
        ({"state": [{"exists": False}]}, False),
        ({"address": {"city": ["Ulm"]}}, True),
        ({"address": {"ip": [{"cidr": "10.0.0.0/24"}]}}, True),
        ({"lines": {"sku": ["x"], "n": [1]}}, True),
        ({"lines": {"sku": ["x"], "n": [2]}}, False),
        ({"$or": [{"state": ["old"]}, {"cents": [500]}]}, True),
        ({"$or": [{"state": ["old"]}, {"cents": [5]}]}, False),
    ],
)
def test_which_events_pass(detail, passes):
    pattern = {"source": [{"prefix": "shop."}], "detail": detail}
    check(pattern)
    assert matches(pattern, EVENT) is passes


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ({}, "Empty objects are not allowed"),
        ({"source": "shop"}, '"source" must be an object or an array'),
        ({"source": []}, "Empty arrays are not allowed"),
        ({"source": [{"like": "x"}]}, "Unrecognized match type like"),
        ({"source": [{"wildcard": 5}]}, "wildcard match pattern must be a string"),
        ({"source": [{"anything-but": {"cidr": "x"}}]}, "Unsupported anything-but pattern: cidr"),
        ({"source": [{"prefix": {"like": "x"}}]}, "Unsupported prefix pattern: like"),
        ("shop", "Filter is not an object"),
    ],
)
def test_what_is_no_pattern(pattern, reason):
    with pytest.raises(BadPolicy, match=reason):
        check(pattern)


def machine(**target):
    one = EventBridgeMachine()
    one.apply(op.PutRule("all", RuleSettings(pattern={"source": ["app"]})), 0)
    one.apply(op.PutTarget("all", "1", TargetSettings(queue="q", **target)), 0)
    return one


def put(one, now=0, **words):
    given = {"source": "app", "detail_type": "T", "detail": "{}", "message": "m"}
    return one.apply(op.PutEvent(**{**given, **words}), now)


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ({"source": ""}, "InvalidArgument", "Parameter Source is not valid"),
        ({"detail_type": ""}, "InvalidArgument", "DetailType is a required argument"),
        ({"detail": ""}, "InvalidArgument", "Detail is a required argument"),
        ({"detail": "{"}, "MalformedDetail", "Detail is malformed"),
        ({"detail": "5"}, "MalformedDetail", "Detail is malformed"),
    ],
)
def test_an_entry_that_is_refused(words, code, text):
    one = machine()
    answer = put(one, **words)
    assert isinstance(answer, Refusal)
    assert answer.code == code
    assert text in answer.text
    assert one.take() == []


def test_rules_and_targets_that_are_refused():
    one = machine()
    assert one.apply(op.PutTarget("none", "1", TargetSettings(queue="q")), 0).text == (
        "Rule none does not exist on EventBus default."
    )
    fifo = op.PutTarget("all", "2", TargetSettings(queue="q.fifo"))
    assert "SqsParameters must be specified" in one.apply(fifo, 0).text
    bad = one.apply(op.PutRule("bad", RuleSettings(pattern={"source": "app"})), 0)
    assert bad.code == "InvalidEventPatternException"
    assert one.apply(op.DeleteRule("all"), 0).code == "ValidationException"
    for number in range(2, 6):
        assert one.apply(op.PutTarget("all", str(number), TargetSettings(queue="q")), 0) is None
    sixth = one.apply(op.PutTarget("all", "6", TargetSettings(queue="q")), 0)
    assert sixth.code == "LimitExceededException"
    assert one.apply(op.RemoveTarget("all", "9"), 0).code == "ResourceNotFoundException"


def test_a_rule_that_is_off_and_one_without_targets_take_nothing():
    one = machine()
    one.apply(op.PutRule("all", RuleSettings(pattern={"source": ["app"]}, enabled=False)), 0)
    put(one)
    assert [type(fact) for fact in one.take()] == [Stored]


def fail_until_over(one):
    """Fail each attempt; return when it was given up, how many there were, and the last fact."""
    put(one)
    now, attempts = 0, 0
    while True:
        facts = one.take()
        for fact in facts:
            if isinstance(fact, Buried):
                return now, attempts, fact
            if isinstance(fact, HandedOut):
                attempts += 1
                one.apply(op.Failed(fact.receipt), now)
                facts += one.take()
        now = max(now, one.due() or now)
        one.tick(now)


def test_it_is_tried_for_a_day_and_186_times_at_most():
    now, attempts, fact = fail_until_over(machine())
    assert now <= DAY_MS
    assert (attempts, fact.reason) in ((186, "MaximumRetryAttempts"),) or (
        fact.reason == "MaximumEventAgeInSeconds" and now + pause_ms(attempts) > DAY_MS
    )
    now, attempts, fact = fail_until_over(machine(attempts_max=3, dead_letter="dead"))
    assert (attempts, fact.reason, fact.to) == (4, "MaximumRetryAttempts", "dead")
    assert now == sum(pause_ms(n) for n in (1, 2, 3))
    assert fail_until_over(machine(attempts_max=0))[1] == 1


def test_a_target_that_is_gone_is_not_tried_again():
    one = machine(dead_letter="dead")
    put(one)
    [_, handed] = one.take()
    assert one.apply(op.Failed(handed.receipt, for_good=True), 0) is False
    [buried] = one.take()
    letter = op.letter_of(handed.receipt, one.arn("all"), buried.reason)
    assert letter["ERROR_CODE"] == "NO_RESOURCE"
    assert "EXHAUSTED_RETRY_CONDITION" not in letter


def test_what_is_delivered_is_done_with():
    one = machine()
    name = put(one, now=1_500, detail='{"n":1}')
    [stored, handed] = one.take()
    assert isinstance(stored, Stored)
    event = json.loads(handed.receipt.body)
    assert (event["id"], event["detail"], event["time"]) == (name, {"n": 1}, "1970-01-01T00:00:01Z")
    one.apply(op.Delivered(handed.receipt), 2_000)
    assert [type(fact) for fact in one.take()] == [Settled]
    assert one.due() is None
