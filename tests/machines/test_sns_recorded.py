"""SNS's filter policies against what AWS answered, and SNS's machine rule by rule."""

import json
from pathlib import Path

import pytest

from chaosharness.machines.machine import Buried, HandedOut, Recognised, Refusal, Settled, Stored
from chaosharness.machines.sns import SnsMachine, SubscriptionSettings, TopicSettings
from chaosharness.machines.sns import machine as op
from chaosharness.machines.sns.filters import BadPolicy, check
from tests.adapters.sns_deliveries import FILTERS as BY_BOTO3
from tests.machines import recorded

FILTERS = recorded.entries("sns/test_sns_filter_policy")

# ---- which policies are refused, and in which words: (entry, key): (policy, of the body?)

CONDITIONS = {
    "test_validate_policy": {
        "error-condition-list": [["value"]],
        "error-condition-operator": [{"wrong-operator": True}],
        "error-condition-two-operators": [{"suffix": "value", "prefix": "value2"}],
    },
    "test_validate_policy_string_operators": {
        "error-condition-empty-array": [],
        "error-condition-is-numeric": [{"suffix": 100}],
        "error-condition-is-none": [{"suffix": None}],
        "error-condition-is-not-list-and-operator": {"suffix": "value"},
        "error-condition-empty-list": [{"suffix": []}],
        "error-condition-list-wrong-type": [{"suffix": ["test", "test2"]}],
        "error-condition-is-not-list-two-ops": {"suffix": "value", "prefix": "value"},
        "error-condition-is-not-list-and-no-operator": {"not-an-operator": "value"},
        "error-condition-bad-type": [{"cidr": ["bad-filter"]}],
        "error-condition-bad-cidr-str": [{"cidr": "bad-filter"}],
        "error-condition-bad-cidr-str-slash": [{"cidr": "bad-filter/64"}],
        "error-condition-bad-cidr-str-slash-2": [{"cidr": "bad-/64filter"}],
        "error-condition-bad-cidr-v4": [{"cidr": "xx.11.xx/8"}],
        "error-condition-bad-cidr-v6": [{"cidr": "xxxx:db8:1234:1a00::/64"}],
    },
    "test_validate_policy_numeric_operator": {
        "error-numeric-empty": [{"numeric": []}],
        "error-numeric-wrong-operator": [{"numeric": ["operator"]}],
        "error-numeric-operator-order": [{"numeric": [1, "<="]}],
        "error-numeric-type": [{"numeric": ["=", "000"]}],
        "error-numeric-missing-value": [{"numeric": [">="]}],
        "error-numeric-wrong-range-order": [{"numeric": ["<", 100, ">", 10]}],
        "error-numeric-wrong-range-operators": [{"numeric": [">=", 1, ">", 2]}],
        "error-numeric-wrong-value-order": [{"numeric": [">", 3, "<", 1]}],
        "error-numeric-missing-range-value": [{"numeric": [">", 20, "<="]}],
        "error-numeric-missing-range-operator": [{"numeric": [">", 20, 30]}],
        "error-numeric-wrong-second-range-operator": [{"numeric": [">", 20, "test"]}],
        "error-numeric-wrong-range-value-1-type": [{"numeric": [">", "20", "<", "30"]}],
        "error-numeric-wrong-range-value-2-type": [{"numeric": [">", 20, "<", "30"]}],
        "error-numeric-too-many-range": [{"numeric": [">", 20, "<", 30, "<", 50]}],
    },
    "test_validate_policy_exists_operator": {
        "error-condition-none": [{"exists": None}],
        "error-condition-string": [{"exists": "no"}],
    },
    "test_validate_policy_nested_anything_but_operator": {
        "error-condition-wrong-operator": [{"anything-but": {"wrong-operator": None}}],
        "error-condition-anything-but-suffix": [{"anything-but": {"suffix": "test"}}],
        "error-condition-anything-but-exists": [{"anything-but": {"exists": False}}],
        "error-condition-anything-but-prefix-wrong-type": [{"anything-but": {"prefix": False}}],
    },
    "test_policy_complexity": {
        "error-complexity-in-one-condition": [f"value{n}" for n in range(151)],
    },
}


def values(count):
    return [f"value{n}" for n in range(count)]


POLICIES = {
    ("test_policy_complexity", "error-complexity-in-two-conditions"): (
        {"key1": values(100), "key2": values(51)},
        False,
    ),
    ("test_policy_complexity", "error-complexity-too-many-fields"): (
        {f"key{n}": [f"value{n}"] for n in range(1, 7)},
        False,
    ),
    ("test_policy_complexity_with_or", "error-complexity-or-flat"): (
        {
            "source": values(4),
            "$or": [
                {"metricName": values(6)},
                {
                    "metricType": values(4),
                    "$or": [{"metricId": [1, 2, 3, 4]}, {"spaceId": [1, 2, 3, 4]}],
                },
            ],
        },
        False,
    ),
    ("test_policy_complexity_with_or", "error-complexity-or-nested"): (
        {
            "$or": [{"metricName": values(3)}, {"namespace": values(2)}],
            "detail": {
                "scope": values(2),
                "$or": [{"source": values(1)}, {"type": values(3)}],
            },
        },
        True,
    ),
    **{
        (entry, key): ({"key": condition}, True)
        for entry, keys in CONDITIONS.items()
        for key, condition in keys.items()
    },
}


@pytest.mark.skipif(not recorded.HERE, reason=recorded.ABSENT)
@pytest.mark.parametrize("place", POLICIES, ids="-".join)
def test_a_policy_is_refused_in_the_recorded_words(place):
    entry, key = place
    policy, body = POLICIES[place]
    error = FILTERS[entry][key]["Error"]
    with pytest.raises(BadPolicy) as refused:
        check(policy, body=body)
    words = f"Invalid parameter: Attributes Reason: FilterPolicy: {refused.value}"
    assert words == error.get("_normalized", error["Message"])


def test_a_policy_just_simple_enough():
    ids = {"metricId": [1, 2, 3, 4]}, {"spaceId": [1, 2, 3, 4, 5, 6, 7]}
    second = {"metricType": values(4), "$or": [*ids]}
    check({"source": values(3), "$or": [{"metricName": values(6)}, second]}, body=False)
    check({"key": [{"anything-but": {"prefix": "test-"}}, {"anything-but": "x"}]}, body=False)


def test_nested_policies_are_for_bodies():
    with pytest.raises(BadPolicy, match="does not support nested"):
        check({"object": {"key": [{"prefix": "auto-"}]}}, body=False)


# ---- which messages pass: (policy, those that do, those that do not)

S3 = {
    "eventName": "ObjectCreated:Put",
    "s3": {"object": {"key": "auto-insurance-2314.xml", "size": 17}},
}
REMOVED = {**S3, "eventName": "ObjectRemoved:Delete"}
HOME = {**S3, "s3": {"object": {"key": "home-insurance-2314.xml"}}}
TWO = [
    {**S3, "s3": {"object": [[{"key": "auto-insurance-2314.xml", "size": 17}]]}},
    {**HOME, "eventName": "ObjectRemoved:Delete"},
]
ALARM = "CloudWatch Alarm State Change"
SERVICE = {"scope": "Service", "source": "aws.cloudwatch"}
BODIES = {
    "test_filter_policy_on_message_body": (
        {
            "object": {
                "key": [{"prefix": "auto-"}, "hardcodedvalue"],
                "nested_key": [{"exists": False}],
            },
            "test": [{"exists": False}],
        },
        [{"object": {"key": "auto-test"}}, {"object": {"key": "hardcodedvalue"}}],
        [
            {"object": {"key": "test-auto"}},
            {"object": {"key": "auto-test"}, "test": "just-exists"},
            {"object": {"key": "auto-test", "nested_key": "just-exists"}},
            {"object": {"test": "auto-test"}},
            {"test": "auto-test"},
            "Regular string message",
        ],
    ),
    "test_filter_policy_on_message_body_dot_attribute": (
        {"object.nested.test": ["string.value"]},
        [
            {"object": {"nested": {"test": "string.value"}}},
            {"object.nested.test": "string.value"},
            {"object.nested": {"test": "string.value"}},
            {"object": {"nested.test": "string.value"}},
        ],
        [{"object": {"nested": {"test": "string.notvalue"}}}],
    ),
    "test_filter_policy_on_message_body_array_attributes": (
        {"headers": {"route-to": ["queue1"]}},
        [{"headers": {"route-to": ["queue1"]}}, {"headers": {"route-to": ["queue1", "queue2"]}}],
        [{"headers": {"route-to": ["queue3"]}}, {"headers": {"route-to": ["queue2"]}}],
    ),
    "test_filter_policy_on_message_body_array_of_object_attributes": (
        {
            "Records": {
                "s3": {"object": {"key": [{"prefix": "auto-"}]}},
                "eventName": [{"prefix": "ObjectCreated:"}],
            }
        },
        [{"Records": TWO}, {"Records": [S3]}],
        [{"Records": [REMOVED]}, {"Records": [HOME]}],
    ),
    "test_filter_policy_on_message_body_or_attribute": (
        {
            "$or": [
                {"metricName": ["CPUUtilization", "ReadLatency"]},
                {"namespace": ["AWS/EC2", "AWS/ES"]},
            ],
            "detail": {
                "scope": ["Service"],
                "$or": [{"source": ["aws.cloudwatch"]}, {"type": [ALARM]}],
            },
        },
        [
            {"metricName": "CPUUtilization", "detail": SERVICE},
            {"metricName": "ReadLatency", "detail": SERVICE},
            {"namespace": "AWS/EC2", "detail": SERVICE},
            {"namespace": "AWS/ES", "detail": SERVICE},
            {"metricName": "CPUUtilization", "detail": {"scope": "Service", "type": ALARM}},
        ],
        [
            {"metricName": "CPUUtilization", "detail": {"scope": "x", "type": ALARM}},
            {"metricName": "CPUUtilization", "detail": {"scope": "Service", "type": "x"}},
            {"metricName": "CPUUtilization", "detail": {"type": ALARM}},
            {"metricName": "CPUUtilization", "detail": {"scope": "Service"}},
            {"metricName": "CPUUtilization", "scope": "Service"},
            {"metricName": "AWS/EC2", "detail": {"scope": "Service", "type": ALARM}},
        ],
    ),
    "test_filter_policy_empty_array_payload": (
        {"detail": {"eventVersion": [""]}},
        [{"resources": [], "detail": {"eventVersion": "", "responseElements": None}}],
        [{"resources": [], "detail": {"eventVersion": "1"}}],
    ),
    "test_filter_policy_ip_address_condition": (
        {
            "detail": {
                "$or": [
                    {"sourceIPAddress": [{"cidr": "10.0.0.0/24"}]},
                    {"sourceIPAddressV6": [{"cidr": "2001:db8:1234:1a00::/64"}]},
                ]
            }
        },
        [
            {"detail": {"sourceIPAddress": "10.0.0.255"}},
            {"detail": {"sourceIPAddressV6": "2001:0db8:1234:1a00:0000:0000:0000:0000"}},
        ],
        [
            {"detail": {"sourceIPAddress": "10.0.0.256"}},
            {"detail": {"sourceIPAddressV6": "2001:0db8:123f:1a01:0000:0000:0000:0000"}},
        ],
    ),
}
ATTRIBUTES = {
    "test_filter_policy": (
        {"attr1": [{"numeric": [">", 0, "<=", 100]}]},
        [{"attr1": 99}],
        [{"attr1": 111}, {}, {"attr1": "99"}],
    ),
    "test_filter_policy, null": ({"attr1": [None, {"anything-but": "whatever"}]}, [], [{}]),
    "test_exists_filter_policy": (
        {"store": [{"exists": True}]},
        [{"store": 99, "def": 99}],
        [{"attr1": 111}],
    ),
    "test_exists_filter_policy, false": (
        {"store": [{"exists": False}]},
        [{"def": 99}],
        [{"store": 99, "def": 99}],
    ),
    "test_exists_filter_policy_attributes_array": (
        {"store": ["value1"]},
        [{"store": "value1"}, {"store": ["value1", "value2"]}],
        [{"store": ["value2", "value3"]}],
    ),
    "anything-but, ignoring case, numbers": (
        {"a": [{"anything-but": ["x", 5]}], "b": [{"equals-ignore-case": "Yes"}, 3]},
        [{"a": "y", "b": "YES"}, {"a": 6, "b": 3.0}],
        [{"a": "x", "b": "YES"}, {"a": 5, "b": 3}, {"b": 3}, {"a": "y", "b": "3"}],
    ),
}


def passed(policy, scope, body, attributes):
    machine = SnsMachine()
    machine.apply(op.CreateTopic("t", TopicSettings()), 0)
    settings = SubscriptionSettings(queue="q", filter_policy=policy, filter_scope=scope)
    machine.apply(op.Subscribe("t", settings), 0)
    machine.apply(op.Publish("t", body, "m", attributes=attributes), 0)
    return any(isinstance(fact, HandedOut) for fact in machine.take())


@pytest.mark.parametrize("entry", BODIES)
def test_bodies_pass_as_recorded(entry):
    policy, passing, others = BODIES[entry]
    check(policy, body=True)
    for wanted, bodies in ((True, passing), (False, others)):
        for body in bodies:
            text = body if isinstance(body, str) else json.dumps(body)
            assert passed(policy, "MessageBody", text, {}) is wanted, body


@pytest.mark.parametrize("entry", ATTRIBUTES)
def test_attributes_pass_as_recorded(entry):
    policy, passing, others = ATTRIBUTES[entry]
    check(policy, body=False)
    for wanted, given in ((True, passing), (False, others)):
        for attributes in given:
            assert passed(policy, "MessageAttributes", "m", attributes) is wanted, attributes


def compared_by_the_machine():
    """Return the entries of which a test above holds the machine against each."""
    asked = {entry for entry, _ in POLICIES} | set(BODIES) | set(ATTRIBUTES)
    return [entry for entry in FILTERS if entry.partition("[")[0] in asked]


@pytest.mark.skipif(not recorded.HERE, reason=recorded.ABSENT)
def test_what_is_compared_and_what_is_not():
    asked = {*compared_by_the_machine()} | set(BY_BOTO3)
    assert set(FILTERS) - asked == {"test_filter_policy_large_complex_payload"}
    assert FILTERS["test_filter_policy_large_complex_payload"] == {}  # nothing is recorded
    compared = len(asked)
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "sqs.md").read_text("utf-8")
    assert f"| SNS filter policies, {len(FILTERS)} | {compared}, no difference |" in page


# ---- the machine, rule by rule


def machine(*subscriptions, **topic):
    made = SnsMachine()
    made.apply(op.CreateTopic("t", TopicSettings(**topic)), 0)
    for one in subscriptions:
        made.apply(op.Subscribe("t", SubscriptionSettings(**one)), 0)
    return made


def attempts(made):
    return [fact.receipt for fact in made.take() if isinstance(fact, HandedOut)]


def test_every_subscriber_gets_a_message_of_its_own():
    made = machine({"queue": "a"}, {"queue": "b", "raw": True})
    made.apply(op.Publish("t", "hello", "m", attributes={"n": 1}), 0)
    wrapped, raw = attempts(made)
    assert json.loads(wrapped.body)["Message"] == "hello"
    assert json.loads(wrapped.body)["MessageAttributes"] == {"n": {"Type": "Number", "Value": "1"}}
    assert (raw.body, raw.attributes, wrapped.attributes) == ("hello", {"n": 1}, {})


def test_retries_come_as_documented():
    made = machine({"queue": "a", "dead_letter": "d"})
    made.apply(op.Publish("t", "hello", "m"), 0)
    [attempt] = attempts(made)
    now, waits = 0, []
    for _ in range(17):
        assert made.apply(op.Failed(attempt), now)
        due = now if made.due() is None else made.due()
        waits.append(due - now)
        now = due
        made.tick(now)
        [attempt] = attempts(made)
    assert waits[:5] == [0, 0, 0, 1_000, 1_000]
    assert waits[5:10] == [1_000, 2_000, 4_000, 8_000, 16_000]
    assert waits[10:] == [20_000] * 7
    assert attempt.number == 18


def test_retries_come_to_an_end():
    assert op.retry_ms(100_014) == 20_000
    assert op.retry_ms(100_015) is None


@pytest.mark.parametrize("letters", [None, "d"])
def test_what_is_gone_is_not_tried_again(letters):
    made = machine({"queue": "a", "dead_letter": letters})
    made.apply(op.Publish("t", "hello", "m"), 0)
    [attempt] = attempts(made)
    assert not made.apply(op.Failed(attempt, for_good=True), 0)
    assert made.take() == [Buried("m", "t", letters, "the queue is gone", 1)]
    assert made.due() is None


def test_what_is_delivered_is_done_with():
    made = machine({"queue": "a"})
    made.apply(op.Publish("t", "hello", "m"), 0)
    [attempt] = attempts(made)
    made.apply(op.Delivered(attempt), 5)
    assert [type(fact) for fact in made.take()] == [Settled]


def test_a_fifo_topic_recognises_what_it_knows():
    made = machine({"queue": "a.fifo"}, fifo=True, by_content=True)
    first = made.apply(op.Publish("t", "hello", "m", group="g"), 0)
    assert made.apply(op.Publish("t", "hello", "n", group="g"), 299_999) == first
    assert [type(one) for one in made.take()] == [Stored, HandedOut, Recognised]
    assert made.apply(op.Publish("t", "hello", "o", group="g"), 300_000) != first


@pytest.mark.parametrize(
    ("topic", "more", "words"),
    [
        ({"fifo": True}, {}, "The MessageGroupId parameter is required for FIFO topics"),
        ({"fifo": True}, {"group": "g"}, "ContentBasedDeduplication enabled"),
        ({}, {"deduplication": "d"}, "not valid for this topic type"),
        ({}, {"body": ""}, "Empty message"),
        ({}, {"body": "x" * 262_145}, "Message too long"),
    ],
)
def test_what_sns_refuses(topic, more, words):
    made = machine(**topic)
    refused = made.apply(op.Publish("t", **{"body": "x", **more}), 0)
    assert isinstance(refused, Refusal)
    assert refused.code == "InvalidParameter"
    assert words in refused.text


def test_fifo_queues_subscribe_to_fifo_topics_only():
    made = machine()
    settings = SubscriptionSettings(queue="a.fifo")
    assert "can not be subscribed" in made.apply(op.Subscribe("t", settings), 0).text
    assert made.apply(op.Publish("x", "m"), 0).code == "NotFound"
    with pytest.raises(TypeError, match="no operation of SNS"):
        made.apply("publish", 0)
