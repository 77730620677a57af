"""SNS by boto3, request by request, against what AWS answered."""

from pathlib import Path

import boto3
import pytest

from chaosharness.adapters.aws import topics
from chaosharness.errors import InvalidDefinition
from tests.adapters.sns_requests import REQUESTS, Client
from tests.adapters.test_boto3 import said_by
from tests.machines import recorded

ENTRIES = recorded.entries("sns/test_sns")


def answered(entry, asks):
    """Return what ours answers to the requests of an entry."""

    def main():
        client = Client(
            *(boto3.client(name, region_name="eu-central-1") for name in ("sns", "sqs"))
        )
        client.recorded = ENTRIES[entry]
        asks(client)
        return client.said

    queues = ("orders", "paid", "orders.fifo", "quiet")
    return said_by(main, queues=queues)[0]


def differences(entry, asks):
    theirs = ENTRIES[entry]
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
@pytest.mark.parametrize("entry", REQUESTS)
def test_it_answers_as_aws_did(entry):
    assert [*differences(entry, REQUESTS[entry])] == []


LEFT_OUT = {
    "platform endpoints": ("platform", "endpoints_of_deleted_app", "publish_non_existent_target"),
    "text messages": ("sms", "phone", "opted_out", "opt_in"),
    "subscribers by HTTP, and their confirmation": (
        "http",
        "confirm",
        "subscription_response",
        "creating_subscription",
        "subscribe_attributes",
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
        "create_duplicate_topic_check_idempotency",
        "attributes_with_fifo_false",
    ),
    "messages of one text for each protocol (MessageStructure)": ("message_structure",),
    "numbers in a sequence, and system attributes of messages on the way": (
        "fifo_topic",
        "to_fifo_sqs",
        "fifo_messages_to_dlq",
        "message_group_id",
        "xray",
        "batch_messages_from_sns",
        "redrive_policy_sqs",
    ),
    "a queue that is not there yet, or is deleted while it is subscribed": (
        "unknown_sqs_queue",
        "failure_to_deliver",
        "delete_subscriptions_on_delete_topic",
    ),
    "pages of a list, whose size is another": ("test_list_subscriptions",),
    "words of AWS's own JSON parser": ("subscribe_invalid_filter_policy",),
    "requests that no SDK makes": ("path_parameters",),
}
"""Kinds of entries that are not asked for, with what stands in their names. All of them are about
what is not modelled, or differ in what AWS adds and this does not."""
UNASKED = {
    "test_publish_batch_exceptions": {"no-default-key-json"},  # MessageStructure
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
    names = {entry.partition("[")[0] for entry in ENTRIES}
    assert set(REQUESTS) <= names
    unexplained = {one for one in names - set(REQUESTS) if not why_left_out(one)}
    assert unexplained == set()
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "sqs.md").read_text("utf-8")
    assert f"| SNS, the other {len(ENTRIES)} | {len(REQUESTS)}, no difference" in page


@pytest.mark.skipif(not recorded.HERE, reason=recorded.ABSENT)
@pytest.mark.parametrize("entry", REQUESTS)
def test_every_answer_of_an_entry_is_compared(entry):
    assert {*ENTRIES[entry]} - {*answered(entry, REQUESTS[entry])} == UNASKED.get(entry, set())


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
