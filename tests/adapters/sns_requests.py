"""What was asked of SNS by boto3, entry by entry, where AWS's answers were recorded: in our words.

Each takes a `Client`, and says what it was answered by the name that the recorder gave.
"""

import json

from botocore.exceptions import ClientError

from tests.adapters.sns_deliveries import REQUESTS as DELIVERIES

ARN = "arn:aws:sns:eu-central-1:000000000000:"
QUEUES = "arn:aws:sqs:eu-central-1:000000000000:"
LONG = "x" * 300_000
TEXT = {"DataType": "String"}


class Client:
    """Asks, and keeps what is answered."""

    def __init__(self, sns, sqs):
        self.sns, self.sqs = sns, sqs
        self.said = {}
        self.fifo = sns.create_topic(
            Name="all.fifo", Attributes={"FifoTopic": "true", "ContentBasedDeduplication": "false"}
        )["TopicArn"]

    def ask(self, key, call, **words):
        try:
            answer = call(**words)
        except ClientError as error:
            answer = {"Error": error.response["Error"]}
        self.said[key] = answer
        return answer

    def topic(self, name="news"):
        return self.sns.create_topic(Name=name)["TopicArn"]

    def subscribed(self, topic, queue="paid", **attributes):
        words = {"TopicArn": topic, "Protocol": "sqs", "Endpoint": f"{QUEUES}{queue}"}
        return self.sns.subscribe(**words, Attributes=attributes)["SubscriptionArn"]

    def attributes(self, key, subscription):
        get = self.sns.get_subscription_attributes
        return self.ask(key, get, SubscriptionArn=subscription)

    def received(self, key, queue="paid", names=(), most=10):
        words = {"MessageAttributeNames": ["All"], "WaitTimeSeconds": 2}
        if names:
            words["AttributeNames"] = list(names)
        found = self.sqs.receive_message(
            QueueUrl=f"u/{queue}", MaxNumberOfMessages=most, **words
        ).get("Messages", [])
        for one in found:
            self.sqs.delete_message(QueueUrl=f"u/{queue}", ReceiptHandle=one["ReceiptHandle"])
        self.said[key] = {"Messages": found} if found else {}


def batch(*entries):
    return [{"Id": str(n), "Message": "m", **one} for n, one in enumerate(entries, 1)]


def batch_exceptions(on):
    publish = on.sns.publish_batch
    on.ask("no-group-id", publish, TopicArn=on.fifo, PublishBatchRequestEntries=batch({}))
    many = batch(*[{}] * 11)
    on.ask("too-many-msg", publish, TopicArn=on.topic(), PublishBatchRequestEntries=many)
    same = batch({"Id": "1"}, {"Id": "1"})
    on.ask("same-msg-id", publish, TopicArn=on.topic(), PublishBatchRequestEntries=same)
    grouped = batch({"MessageGroupId": "g"})
    on.ask("no-dedup-id", publish, TopicArn=on.fifo, PublishBatchRequestEntries=grouped)
    texts = batch({"Message": json.dumps({"sqs": "only"}), "MessageStructure": "json"})
    words = {"TopicArn": on.topic(), "PublishBatchRequestEntries": texts}
    on.ask("no-default-key-json", publish, **words)


def entry_ids(on):
    for key, id in {
        "invalid-char-dot": "message.id",
        "invalid-char-special": "msg@123#test",
        "id-too-long-81": "a" * 81,
        "id-too-long-91": "myreally" + "really" * 12 + "longid",
        "valid-id-80-chars": "a" * 80,
        "valid-id-with-hyphen-underscore": "valid-message_123",
    }.items():
        if key == "id-too-long-91":
            id = on.recorded[key]["Error"]["Message"].rpartition(" ")[2]
        entries = batch({"Id": id})
        on.ask(key, on.sns.publish_batch, TopicArn=on.topic(), PublishBatchRequestEntries=entries)


def of_fifo(on):
    subscribe, publish = on.sns.subscribe, on.sns.publish
    words = {"Protocol": "sqs", "Endpoint": f"{QUEUES}orders.fifo"}
    on.ask("not-fifo-topic", subscribe, TopicArn=on.topic(), **words)
    on.ask("no-msg-group-id", publish, TopicArn=on.fifo, Message="m")
    on.ask("no-dedup-policy", publish, TopicArn=on.fifo, Message="m", MessageGroupId="g")
    words = {"Message": "m", "MessageDeduplicationId": "d"}
    on.ask("no-msg-dedup-regular-topic", publish, TopicArn=on.topic(), **words)
    plain = on.subscribed(on.fifo, "orders.fifo")
    policy = json.dumps({"deadLetterTargetArn": f"{QUEUES}paid"})
    on.ask(
        "regular-queue-for-dlq-of-fifo-topic",
        on.sns.set_subscription_attributes,
        SubscriptionArn=plain,
        AttributeName="RedrivePolicy",
        AttributeValue=policy,
    )


def topic_names(on):
    create, fifo = on.sns.create_topic, {"FifoTopic": "true"}
    on.ask("valid-name-max-length", create, Name="a" * 256)
    on.ask("name-too-long", create, Name="a" * 257)
    on.ask("name-too-short", create, Name="")
    on.ask("name-contains-fifo", create, Name="orders.fifo")
    on.ask("fifo-name-not-contains-fifo", create, Name="orders", Attributes=fifo)
    for nth, bad in enumerate("!@#$%^&*"):
        on.ask(f"name-invalid-char-{nth}", create, Name=f"orders{bad}")


def empty(on):
    on.subscribed(on.topic("quiet"), "quiet")
    on.ask("empty-msg-error", on.sns.publish, TopicArn=on.topic("quiet"), Message="")
    on.ask(
        "queue-attrs",
        on.sqs.get_queue_attributes,
        QueueUrl="u/quiet",
        AttributeNames=["ApproximateNumberOfMessages"],
    )


def prefixes(on):
    for key, kind in {
        "publish-error": "attr.type",
        "publish-error-2": "num",
        "publish-ok-1": "Number.longer",
        "publish-ok-2": "String.longer",
    }.items():
        attributes = {"attr1": {"DataType": kind, "StringValue": "1"}}
        on.ask(key, on.sns.publish, TopicArn=on.topic(), Message="m", MessageAttributes=attributes)


WRONG = {
    "missing_string_attr": {"attr1": {**TEXT, "StringValue": ""}},
    "fully_missing_string_attr": {"attr1": TEXT},
    "missing_binary_attr": {"attr1": {"DataType": "Binary", "BinaryValue": b""}},
    "str_attr_binary_value": {"attr1": {**TEXT, "BinaryValue": b"123"}},
    "int_attr_binary_value": {"attr1": {"DataType": "Number", "BinaryValue": b"123"}},
    "binary_attr_string_value": {"attr1": {"DataType": "Binary", "StringValue": "123"}},
    "invalid_attr_string_value": {"attr1": {"DataType": "InvalidType", "StringValue": "123"}},
    "too_long_name": {"a" * 257: {**TEXT, "StringValue": "v"}},
    "invalid_name": {"a^b": {**TEXT, "StringValue": "v"}},
    "invalid_name_2": {".abc": {**TEXT, "StringValue": "v"}},
    "invalid_name_3": {"abc.": {**TEXT, "StringValue": "v"}},
    "invalid_name_4": {"a..bc": {**TEXT, "StringValue": "v"}},
}


def wrong_attributes(on):
    for key, attributes in WRONG.items():
        words = {"TopicArn": on.topic(), "Message": "m", "MessageAttributes": attributes}
        on.ask(key, on.sns.publish, **words)
        on.ask(
            f"batch-{key}",
            on.sns.publish_batch,
            TopicArn=on.topic(),
            PublishBatchRequestEntries=batch({"MessageAttributes": attributes}),
        )


def unknown_topic(on):
    on.ask("success", on.sns.publish, TopicArn=on.topic(), Message="m")
    on.ask("error", on.sns.publish, TopicArn=f"{ARN}absent", Message="m")


def setting(on):
    subscription = on.subscribed(on.topic())
    for key, name, value in (
        ("fake-attribute", "FakeAttribute", "test"),
        ("raw-message-wrong-value", "RawMessageDelivery", "test-ValUe"),
        ("raw-message-empty-value", "RawMessageDelivery", ""),
        ("fake-arn-redrive-policy", "RedrivePolicy", '{"deadLetterTargetArn": "fake"}'),
    ):
        on.ask(
            key,
            on.sns.set_subscription_attributes,
            SubscriptionArn=subscription,
            AttributeName=name,
            AttributeValue=value,
        )


def wrong_arns(on):
    on.ask("invalid-topic-arn", on.sns.publish, TopicArn="randomstring", Message="m")
    on.ask("invalid-topic-arn-1", on.sns.publish, TopicArn="randomstring:1", Message="m")
    on.ask("empty-topic", on.sns.publish, TopicArn="", Message="m")


def no_subscription(on):
    gone = f"{on.topic()}:9b2b4c1e-0000-4000-8000-000000000000"
    on.ask("empty-unsubscribe", on.sns.unsubscribe, SubscriptionArn=gone)


def raw_and_not(on):
    topic = on.topic("fresh")
    subscription = on.subscribed(topic, RawMessageDelivery="true")
    on.attributes("sub-attrs-raw-true", subscription)
    number = {"attr1": {"DataType": "Number", "StringValue": "99.12"}}
    words = {"TopicArn": topic, "Message": "Test msg", "MessageAttributes": number}
    on.sns.publish(**words)
    on.received("message-raw-true")
    on.sns.set_subscription_attributes(
        SubscriptionArn=subscription, AttributeName="RawMessageDelivery", AttributeValue="false"
    )
    on.attributes("sub-attrs-raw-false", subscription)
    number["attr1"]["StringValue"] = "100.12"
    on.sns.publish(**words)
    on.received("message-raw-false")


def unknown_subscribed(on):
    words = {"Protocol": "sqs", "Endpoint": f"{QUEUES}paid"}
    on.ask("subscribe-unknown-topic", on.sns.subscribe, TopicArn=f"{ARN}absent", **words)


def protocol(on):
    words = {"Protocol": "test-protocol", "Endpoint": f"{QUEUES}paid"}
    on.ask("exception", on.sns.subscribe, TopicArn=on.topic(), **words)


def too_long(on):
    on.ask("error", on.sns.publish, TopicArn=on.topic(), Message=LONG)
    words = {"MessageAttributes": {"k": {**TEXT, "StringValue": "x" * 262_144}}, "Message": "m"}
    on.ask("error-with-attrs", on.sns.publish, TopicArn=on.topic(), **words)


def batch_too_long(on):
    publish, half = on.sns.publish_batch, "x" * 140_000
    entries = batch({"Message": half}, {"Message": half})
    on.ask("error-no-attrs", publish, TopicArn=on.topic(), PublishBatchRequestEntries=entries)
    words = {"MessageAttributes": {"k": {**TEXT, "StringValue": half}}}
    entries = batch({"Message": half, **words})
    on.ask("error-with-attrs", publish, TopicArn=on.topic(), PublishBatchRequestEntries=entries)


def subjects(on):
    on.ask("response-without-subject", on.sns.publish, TopicArn=on.topic(), Message="m")
    words = {"TopicArn": on.topic(), "Message": "m", "Subject": ""}
    on.ask("response-with-empty-subject", on.sns.publish, **words)


def batch_without_topic(on):
    words = {"TopicArn": f"{ARN}absent", "PublishBatchRequestEntries": batch({})}
    on.ask("publish-batch-no-topic", on.sns.publish_batch, **words)


def deleting(on):
    topic = on.topic("gone")
    on.ask("delete-topic", on.sns.delete_topic, TopicArn=topic)
    on.ask("delete-topic-again", on.sns.delete_topic, TopicArn=topic)


def deleting_none(on):
    on.ask("delete-non-existent-topic", on.sns.delete_topic, TopicArn=f"{ARN}absent")


def twice(on):
    topic = on.topic("double-sub-befdfdff")
    words = {"TopicArn": topic, "Protocol": "sqs", "Endpoint": f"{QUEUES}paid"}
    on.ask("double-subscription-first", on.sns.subscribe, **words)
    on.ask("double-subscription-second", on.sns.subscribe, **words)


def no_such(on):
    topic = on.topic("fresh")
    words = {"TopicArn": topic, "Protocol": "sqs", "Endpoint": f"{QUEUES}paid"}
    subscription = on.ask("sub", on.sns.subscribe, **words)["SubscriptionArn"]
    on.attributes("sub-attrs", subscription)
    listed = on.sns.list_subscriptions_by_topic
    on.ask("subscriptions-for-topic-before-unsub", listed, TopicArn=topic)
    on.sns.unsubscribe(SubscriptionArn=subscription)
    on.ask("subscriptions-for-topic-after-unsub", listed, TopicArn=topic)
    on.ask(
        "sub-not-found",
        on.sns.set_subscription_attributes,
        SubscriptionArn=subscription,
        AttributeName="RawMessageDelivery",
        AttributeValue="true",
    )


def none_there(on):
    on.attributes("get-sub-attrs-nonexistent", f"{on.topic()}:absent")


def topic_arns(on):
    subscribe, words = on.sns.subscribe, {"Protocol": "sqs", "Endpoint": f"{QUEUES}paid"}
    on.ask("invalid-subscribe-arn-1", subscribe, TopicArn="randomstring", **words)
    on.ask("invalid-subscribe-arn-2", subscribe, TopicArn="arn:aws:sns:us:1", **words)
    on.ask("non-existent-topic", subscribe, TopicArn=f"{ARN}absent", **words)


def unsubscribe_arns(on):
    for key, arn in {
        "invalid-unsubscribe-arn-1": "randomstring",
        "invalid-unsubscribe-arn-2": "arn:aws:sns:us:1",
        "invalid-unsubscribe-arn-3": f"{ARN}news",
        "invalid-unsubscribe-arn-4": "",
    }.items():
        on.ask(key, on.sns.unsubscribe, SubscriptionArn=arn)


def unsubscribe_gone(on):
    on.ask("unsubscribe-deleted-topic", on.sns.unsubscribe, SubscriptionArn="randomstring")


def twice_unsubscribed(on):
    subscription = on.subscribed(on.topic("fresh"))
    on.ask("unsubscribe-1", on.sns.unsubscribe, SubscriptionArn=subscription)
    on.ask("unsubscribe-2", on.sns.unsubscribe, SubscriptionArn=subscription)


def by_url(key):
    def ask(on):
        words = {"TopicArn": on.topic(), "Protocol": "sqs", "Endpoint": "https://sqs/0/paid"}
        on.ask(key, on.sns.subscribe, **words)

    return ask


def with_attributes(on):
    words = {"TopicArn": on.topic("fresh"), "Protocol": "sqs", "Endpoint": f"{QUEUES}paid"}
    raw = {"RawMessageDelivery": "wrongvalue"}
    on.ask("subscribe-wrong-attr", on.sns.subscribe, **words, Attributes=raw)
    raw = {"RawMessageDelivery": "true"}
    arn = on.ask("subscribe", on.sns.subscribe, **words, Attributes=raw)["SubscriptionArn"]
    on.attributes("get-attrs", arn)
    on.attributes("get-attrs-nonexistent-sub", f"{on.topic()}:absent")


def subscribed_again(on):
    words = {"TopicArn": on.topic("fresh"), "Protocol": "sqs", "Endpoint": f"{QUEUES}paid"}
    raw = {"RawMessageDelivery": "true"}
    arn = on.ask("subscribe", on.sns.subscribe, **words, Attributes=raw)["SubscriptionArn"]
    on.attributes("get-sub-attrs", arn)
    on.ask("subscribe-exact-same-raw", on.sns.subscribe, **words, Attributes=raw)
    on.ask("subscribe-idempotent", on.sns.subscribe, **words, Attributes=raw)
    on.ask("subscribe-idempotent-no-attributes", on.sns.subscribe, **words)
    on.ask("subscribe-idempotent-empty-attributes", on.sns.subscribe, **words, Attributes={})
    on.ask("subscribe-missing-attributes", on.sns.subscribe, **words)
    other = {"RawMessageDelivery": "false"}
    on.ask("subscribe-diff-attributes", on.sns.subscribe, **words, Attributes=other)


def by_either_arn(on):
    topic = on.topic("fresh")
    on.subscribed(topic)
    on.sns.publish(TopicArn=topic, Message="test-msg-1")
    on.received("receive-topic-arn")
    on.sns.publish(TargetArn=topic, Message="test-msg-2")
    on.received("receive-target-arn")


def unicode_chars(on):
    topic = on.topic("fresh")
    on.subscribed(topic)
    on.sns.publish(TopicArn=topic, Message='ö§a1"_!?,. £$-')
    on.received("received-message")


def before_and_after(on):
    topic = on.topic("fresh")
    words = {"TopicArn": topic, "Message": "test_message_before", "Subject": "test-subject-before"}
    on.ask("publish-before-subscribing", on.sns.publish, **words)
    on.subscribed(topic)
    words = {"Message": "test_message_after", "Subject": "test-subject-after-sub"}
    on.ask("publish-after-subscribing", on.sns.publish, TopicArn=topic, **words)
    on.received("receive-messages")


def filtered(on):
    topic = on.topic("fresh")
    policy = json.dumps({"attr1": [{"numeric": [">", 0, "<=", 100]}]})
    on.attributes("subscription-attributes", on.subscribed(topic, FilterPolicy=policy))
    number = {"attr1": {"DataType": "Number", "StringValue": "99.12"}}
    on.sns.publish(TopicArn=topic, Message="This is a test message", MessageAttributes=number)
    on.received("messages")


def raw_binary(on):
    topic = on.topic("fresh")
    on.attributes("subscription-attributes", on.subscribed(topic, RawMessageDelivery="true"))
    words = {"store": {"DataType": "Binary", "BinaryValue": b"\x02\x03\x04"}}
    on.sns.publish(TopicArn=topic, Message="This is a test message", MessageAttributes=words)
    on.received("messages-response")


def attributes_arrive(on):
    topic, names = on.topic("fresh"), ("All",)
    subscription = on.subscribed(topic, RawMessageDelivery="true")
    attributes = {
        "an-attribute-key": {**TEXT, "StringValue": "an-attribute-value"},
        "binary-attribute": {"DataType": "Binary", "BinaryValue": b"\x02\x03\x04"},
    }
    words = {"TopicArn": topic, "Message": "text", "MessageAttributes": attributes}
    on.ask("publish-msg-raw", on.sns.publish, **words)
    on.received("raw-delivery-msg-attrs", names=names)
    on.sns.set_subscription_attributes(
        SubscriptionArn=subscription, AttributeName="RawMessageDelivery", AttributeValue="false"
    )
    on.ask("publish-msg-json", on.sns.publish, **words)
    on.received("json-delivery-msg-attrs", names=names)


def listed(on):
    topic = on.topic("fresh")
    on.subscribed(topic)
    on.ask("list-subscriptions-by-topic", on.sns.list_subscriptions_by_topic, TopicArn=topic)


def set_raw(on):
    subscription = on.subscribed(on.topic("fresh"))
    on.sns.set_subscription_attributes(
        SubscriptionArn=subscription, AttributeName="RawMessageDelivery", AttributeValue="true"
    )
    on.attributes("set-subscription-attributes", subscription)


REQUESTS = {
    "test_publish_batch_exceptions": batch_exceptions,
    "test_publish_batch_invalid_entry_id": entry_ids,
    "test_validations_for_fifo": of_fifo,
    "test_create_topic_name_constraints": topic_names,
    "test_empty_sns_message": empty,
    "test_message_attributes_prefixes": prefixes,
    "test_empty_or_wrong_message_attributes": wrong_attributes,
    "test_unknown_topic_publish": unknown_topic,
    "test_validate_set_sub_attributes": setting,
    "test_publish_wrong_arn_format": wrong_arns,
    "test_unsubscribe_from_non_existing_subscription": no_subscription,
    "test_publish_sqs_from_sns": raw_and_not,
    "test_subscribe_unknown_topic": unknown_subscribed,
    "test_subscribe_with_invalid_protocol": protocol,
    "test_publish_too_long_message": too_long,
    "test_publish_batch_too_long_message": batch_too_long,
    "test_publish_with_empty_subject": subjects,
    "test_publish_batch_messages_without_topic": batch_without_topic,
    "test_delete_topic_idempotency": deleting,
    "test_delete_non_existent_topic": deleting_none,
    "test_double_subscription": twice,
    "test_not_found_error_on_set_subscription_attributes": no_such,
    "test_get_subscription_attributes_error_not_exists": none_there,
    "test_subscribe_with_invalid_topic": topic_arns,
    "test_unsubscribe_wrong_arn_format": unsubscribe_arns,
    "test_unsubscribe_from_deleted_topic": unsubscribe_gone,
    "test_unsubscribe_idempotency": twice_unsubscribed,
    "test_subscribe_sqs_queue_url": by_url("subscribe-sqs-via-url-error"),
    "test_subscribe_to_sqs_with_queue_url": by_url("sub-queue-url"),
    "test_create_subscriptions_with_attributes": with_attributes,
    "test_subscribe_idempotency": subscribed_again,
    "test_publish_message_by_target_arn": by_either_arn,
    "test_publish_unicode_chars": unicode_chars,
    "test_publish_message_before_subscribe_topic": before_and_after,
    "test_subscribe_sqs_queue": filtered,
    "test_attribute_raw_subscribe": raw_binary,
    "test_message_attributes_not_missing": attributes_arrive,
    "test_getting_subscriptions_by_topic": listed,
    "test_set_subscription_attributes": set_raw,
    **DELIVERIES,
}
