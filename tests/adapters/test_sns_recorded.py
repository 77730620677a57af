"""SNS by boto3, request by request, against what AWS answered."""

import json
from hashlib import sha256
from pathlib import Path

import boto3
import pytest

from chaosharness.adapters.aws import topics
from chaosharness.errors import InvalidDefinition
from tests.adapters.sns_deliveries import FILTERS, QUEUES, fifo_topic
from tests.adapters.sns_requests import REQUESTS, Client
from tests.adapters.test_boto3 import said_by
from tests.machines import recorded

ALL = {**REQUESTS, **FILTERS}
ENTRIES = recorded.entries("sns/test_sns")
OF_FILTERS = recorded.entries("sns/test_sns_filter_policy")


def answered(entry, asks):
    """Return what ours answers to the requests of an entry."""

    def main():
        client = Client(
            *(boto3.client(name, region_name="eu-central-1") for name in ("sns", "sqs"))
        )
        client.recorded = recorded_of(entry)
        asks(client)
        return client.said

    queues = ("orders", "paid", "orders.fifo", "quiet", "gone.fifo")
    return said_by(main, queues=queues)[0]


def recorded_of(entry):
    return OF_FILTERS[entry] if entry in FILTERS else ENTRIES[entry]


def differences(entry, asks):
    theirs = recorded_of(entry)
    said = answered(entry, asks)
    assert isinstance(said, dict), said
    assert said
    compare = recorded.Comparison(loose={"Owner", "Timestamp"})
    for key, answer in said.items():
        ours = {name: one for name, one in answer.items() if name != "ResponseMetadata"}
        found = compare.differences(without_signs(theirs[key]), recorded.plain(ours))
        yield from (f"{key}: {one}" for one in found)


SIGNS = {"Signature", "SignatureVersion", "SigningCertURL", "UnsubscribeURL"}
"""What an envelope has beside, at AWS: nothing is signed here, and nobody unsubscribes by a URL."""


def without_signs(answer):
    if isinstance(answer, dict):
        return {name: without_signs(one) for name, one in answer.items() if name not in SIGNS}
    return [without_signs(one) for one in answer] if isinstance(answer, list) else answer


@pytest.mark.skipif(not recorded.HERE, reason=recorded.ABSENT)
@pytest.mark.parametrize("entry", ALL)
def test_it_answers_as_aws_did(entry):
    assert [*differences(entry, ALL[entry])] == []


LEFT_OUT = {
    "platform endpoints": ("platform", "endpoints_of_deleted_app", "publish_non_existent_target"),
    "text messages": ("sms", "phone", "opted_out", "opt_in"),
    "subscribers by HTTP, and their confirmation": (
        "http",
        "confirm",
        "subscription_response",
        "creating_subscription",
    ),
    "functions that subscribe": ("lambda",),
    "other regions and accounts": ("region",),
    "permissions and policies of topics": ("permission", "policy_crud", "data_protection"),
    "tags": ("tags",),
    "attributes of topics beside FIFO": (
        "create_topic_different_attrs",
        "create_topic_should_be_idempotent",
        "create_topic_test_arn",
        "create_topic_with_attributes",
        "attributes_with_fifo_false",
    ),
    "trace headers": ("xray",),
    "a subscription that outlives its topic for a while": ("delete_subscriptions_on_delete_topic",),
    "nothing recorded": ("test_message_to_fifo_sqs_ordering",),
    "pages of a list, whose size is another": ("test_list_subscriptions",),
    "words of AWS's own JSON parser": ("subscribe_invalid_filter_policy",),
    "requests that no SDK makes": ("path_parameters",),
}
"""Kinds of entries that are not asked for, with what stands in their names. All of them are about
what is not modelled, or differ in what AWS adds and this does not."""
TOPICS = {"topic-attrs"}
"""What a topic has by default, its policies among it: attributes of topics beside FIFO."""
UNASKED = {
    **dict.fromkeys(
        (
            "test_publish_batch_messages_from_fifo_topic_to_fifo_queue[True]",
            "test_publish_batch_messages_from_fifo_topic_to_fifo_queue[False]",
            "test_publish_fifo_messages_to_dlq[True]",
            "test_publish_fifo_messages_to_dlq[False]",
        ),
        TOPICS,
    ),
    "test_sub_filter_policy_nested_property_constraints": {
        "sub-filter-policy-rule-no-list",  # where AWS's own JSON parser stands
    },
    "test_validations_for_fifo": {"not-fifo-queue"},  # attributes, compared elsewhere
    "test_validate_set_sub_attributes": {
        "invalid-json-filter-policy",  # words of AWS's own JSON parser
        "invalid-json-redrive-policy",
    },
    "test_empty_or_wrong_message_attributes": {
        "fully_missing_data_type",  # botocore refuses it before it is sent
        "batch-fully_missing_data_type",
    },
}


def why_left_out(entry):
    return [why for why, names in LEFT_OUT.items() if any(name in entry for name in names)]


@pytest.mark.skipif(not recorded.HERE, reason=recorded.ABSENT)
def test_what_is_compared_and_what_is_not():
    assert set(REQUESTS) <= set(ENTRIES)
    assert set(FILTERS) <= set(OF_FILTERS)
    unexplained = {one for one in set(ENTRIES) - set(REQUESTS) if len(why_left_out(one)) == 0}
    assert unexplained == set()
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "sqs.md").read_text("utf-8")
    assert f"| SNS, the other {len(ENTRIES)} | {len(REQUESTS)}, no difference" in page


@pytest.mark.skipif(not recorded.HERE, reason=recorded.ABSENT)
@pytest.mark.parametrize("entry", ALL)
def test_every_answer_of_an_entry_is_compared(entry):
    assert {*recorded_of(entry)} - {*answered(entry, ALL[entry])} == UNASKED.get(entry, set())


# ---- without the recordings


def by_client(asks):
    """Return what ours answers to requests that nobody has recorded."""

    def main():
        client = Client(
            *(boto3.client(name, region_name="eu-central-1") for name in ("sns", "sqs"))
        )
        asks(client)
        return client.said

    queues = ("orders", "paid", "orders.fifo", "quiet", "gone.fifo")
    return said_by(main, queues=queues)[0]


def dead_letters(on):
    topic = fifo_topic(on)
    policy = json.dumps({"deadLetterTargetArn": f"{QUEUES}orders.fifo"})
    on.subscribed(topic, "gone.fifo", RawMessageDelivery="true", RedrivePolicy=policy)
    on.sqs.delete_queue(QueueUrl="u/gone.fifo")
    for message in ("a", "b", "a"):
        on.sns.publish(TopicArn=topic, Message=message, MessageGroupId="g")
    on.received("letters", "orders.fifo", ("MessageGroupId", "MessageDeduplicationId"))


def test_dead_letters_of_a_fifo_topic_are_as_they_would_have_been_delivered():
    found = by_client(dead_letters)["letters"]["Messages"]
    assert [one["Body"] for one in found] == ["a", "b"]
    keys = [sha256(one).hexdigest() for one in (b"a", b"b")]
    assert [one["Attributes"] for one in found] == [
        {"MessageGroupId": "g", "MessageDeduplicationId": key} for key in keys
    ]


def test_each_protocol_has_a_text_of_its_own():
    def asks(on):
        on.subscribed(on.topic(), RawMessageDelivery="true")
        for nth, texts in enumerate(({"sqs": "for queues"}, {"http": "x"}, {"sqs": 1})):
            message = json.dumps({"default": "for all", **texts})
            words = {"Message": message, "MessageStructure": "json"}
            on.sns.publish(TopicArn=on.topic(), **words)
            on.received(nth)
        words["Message"] = "no JSON"
        on.ask("wrong", on.sns.publish, TopicArn=on.topic(), **words)

    said = by_client(asks)
    bodies = [said[nth]["Messages"][0]["Body"] for nth in range(3)]
    assert bodies == ["for queues", "for all", "for all"]
    assert said["wrong"]["Error"]["Code"] == "InvalidParameter"
    assert "JSON message body failed to parse" in said["wrong"]["Error"]["Message"]


def test_a_filter_is_refused_in_whole_sentences():
    def asks(on):
        words = {"TopicArn": on.topic("fresh"), "Protocol": "sqs", "Endpoint": f"{QUEUES}paid"}
        for key, policy in (("keys", {f"k{n}": ["v"] for n in range(6)}), ("in", {"a": {"b": []}})):
            wrong = {"FilterPolicy": json.dumps(policy)}
            on.ask(key, on.sns.subscribe, **words, Attributes=wrong)

    said = {key: one["Error"]["Message"] for key, one in by_client(asks).items()}
    where = "Invalid parameter: Attributes Reason: "
    assert said == {
        "keys": f"{where}FilterPolicy: Filter policy can not have more than 5 keys",
        "in": f"{where}Filter policy scope MessageAttributes does not support nested filter policy",
    }


def test_a_wrong_answer_is_told_apart(monkeypatch):
    if not recorded.HERE:
        pytest.skip(recorded.ABSENT)
    monkeypatch.setattr(topics, "refused", lambda action, given: None)
    found = [entry for entry in REQUESTS if tells_apart(entry)]
    assert len(found) > 10


def tells_apart(entry):
    try:
        return bool([*differences(entry, REQUESTS[entry])])
    except (AssertionError, KeyError, InvalidDefinition, ValueError):
        return True
