"""What was asked of SNS by boto3 about what arrives: FIFO, batches, filters, queues that are gone.

As `sns_requests.py`, which has the client.
"""

import json

QUEUES = "arn:aws:sqs:eu-central-1:000000000000:"


# ---- a text for each protocol


def texts(on):
    for key, message in {
        "missing-default-key": json.dumps({"sqs": "only"}),
        "invalid-json": '{"default": "cut off',
        "duplicate-json-keys": '{"default": "first", "default": "second"}',
        "key-is-not-string": json.dumps({"default": {"object": "test"}}),
    }.items():
        words = {"Message": message, "MessageStructure": "json"}
        on.ask(key, on.sns.publish, TopicArn=on.topic(), **words)


def texts_arrive(on):
    topic = on.topic("fresh")
    on.subscribed(topic)
    for key, more in {
        "get-msg-json-sqs": {"sqs": json.dumps({"field": "value"})},
        "get-msg-json-default": {},
    }.items():
        message = json.dumps({"default": "default field", **more})
        on.sns.publish(TopicArn=topic, Message=message, MessageStructure="json")
        on.received(key)


# ---- FIFO


def fifo_topic(on, name="fresh.fifo", by_content=True):
    attributes = {"FifoTopic": "true", "ContentBasedDeduplication": str(by_content).lower()}
    return on.sns.create_topic(Name=name, Attributes=attributes)["TopicArn"]


def published_twice(queue, by_content):
    """Ask to publish what is recognised the second time."""

    def ask(on):
        topic = fifo_topic(on, by_content=by_content)
        on.subscribed(topic, queue)
        words = {"TopicArn": topic, "Message": "Test", "MessageGroupId": "message-group-id-1"}
        if not by_content:
            words["MessageDeduplicationId"] = "message-deduplication-id-1"
        on.sns.publish(**words)
        on.received("messages", queue, ("All",))
        on.sns.publish(**words)
        on.received("dedup-messages", queue, ("All",))

    return ask


def sent_once_each_way(raw):
    def ask(on):
        topic = fifo_topic(on)
        on.subscribed(topic, "orders.fifo", RawMessageDelivery=str(raw).lower())
        words = {"MessageGroupId": "message-group-id-1"}
        on.sns.publish(TopicArn=topic, Message="Test single", **words)
        entries = [{"Id": "1", "Message": "Test batched", **words}]
        on.sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)
        on.received("messages", "orders.fifo", ("All",))

    return ask


NUMBERS = {
    "attr1": {"DataType": "Number", "StringValue": "99.12"},
    "attr2": {"DataType": "Number", "StringValue": "109.12"},
}
ONE = {"attr1": {"DataType": "Number", "StringValue": "19.12"}}


def in_batches(by_content):
    def ask(on):
        topic = fifo_topic(on, by_content=by_content)
        subscription = on.subscribed(topic, "orders.fifo", RawMessageDelivery="true")
        on.attributes("sub-attrs-raw-true", subscription)
        group = {"MessageGroupId": "complexMessageGroupId"}
        entries = [
            {"Message": "Test Message with two attributes", "MessageAttributes": NUMBERS},
            {"Message": "Test Message with one attribute", "MessageAttributes": ONE},
            {"Message": "Test Message without attribute"},
        ]
        entries = [{"Id": str(n), **one, **group} for n, one in enumerate(entries, 1)]
        for n, one in enumerate(() if by_content else entries):
            one["MessageDeduplicationId"] = f"MessageDeduplicationId-{n}"
        words = {"TopicArn": topic, "PublishBatchRequestEntries": entries}
        on.ask("publish-batch-response-fifo", on.sns.publish_batch, **words)
        on.received("messages", "orders.fifo", ("All",))
        on.ask("republish-batch-response-fifo", on.sns.publish_batch, **words)
        on.received("duplicate-messages", "orders.fifo", ("All",))

    return ask


def batch_to_a_queue(on):
    topic = on.topic("fresh")
    on.attributes("sub-attrs-raw-true", on.subscribed(topic, RawMessageDelivery="true"))
    entries = [
        {"Message": "Test Message with two attributes", "MessageAttributes": NUMBERS},
        {"Message": "Test Message with one attribute", "MessageAttributes": ONE},
        {"Message": "Test Message without attribute"},
        {"Message": "Test Message without subject"},
        {"Message": json.dumps({"default": "text", "sqs": "test sqs"}), "MessageStructure": "json"},
    ]
    entries = [{"Id": str(n), **one} for n, one in enumerate(entries, 1)]
    words = {"TopicArn": topic, "PublishBatchRequestEntries": entries}
    on.ask("publish-batch", on.sns.publish_batch, **words)
    on.received("messages", names=("All",))
    on.said["messages"]["Messages"].sort(key=lambda one: one["Body"])


def grouped(on):
    topic = on.topic("fresh")
    on.subscribed(topic)
    on.sns.publish(
        TopicArn=topic,
        Message="test signature value with attributes",
        MessageAttributes={"attr1": {"DataType": "Number", "StringValue": "1"}},
        MessageGroupId="my-group-id-1",
    )
    on.received("messages", names=("All",))


# ---- a queue that is gone


def letters(raw):
    def ask(on):
        topic = on.topic("fresh")
        on.subscribed(
            topic,
            "quiet",
            RawMessageDelivery=str(raw).lower(),
            RedrivePolicy=json.dumps({"deadLetterTargetArn": f"{QUEUES}paid"}),
        )
        on.sqs.delete_queue(QueueUrl="u/quiet")
        on.sns.publish(
            TopicArn=topic,
            Message="test_dlq_after_sqs_endpoint_deleted",
            MessageAttributes={
                "attr1": {"DataType": "Number", "StringValue": "111"},
                "attr2": {"DataType": "Binary", "BinaryValue": b"\x02\x03\x04"},
            },
        )
        on.received("messages", names=("All",))

    return ask


def letters_later(on):
    topic = on.topic("fresh")
    subscription = on.subscribed(topic, "quiet")
    on.attributes("subscriptions-attrs", subscription)
    on.sns.publish(TopicArn=topic, Message="test_dlq_before_sqs_endpoint_deleted")
    on.received("messages-before-delete", "quiet")
    on.sqs.delete_queue(QueueUrl="u/quiet")
    on.ask("subscriptions", on.sns.list_subscriptions_by_topic, TopicArn=topic)
    policy = json.dumps({"deadLetterTargetArn": f"{QUEUES}paid"})
    on.sns.set_subscription_attributes(
        SubscriptionArn=subscription, AttributeName="RedrivePolicy", AttributeValue=policy
    )
    on.attributes("subscriptions-attrs-with-redrive", subscription)
    for nth in range(2):
        on.sns.publish(TopicArn=topic, Message=f"test_dlq_after_sqs_endpoint_deleted_{nth}")
        on.received(f"message-{nth}-after-delete")


def letters_of_fifo(raw):
    def ask(on):
        topic = fifo_topic(on, by_content=False)
        on.subscribed(
            topic,
            "gone.fifo",
            RawMessageDelivery=str(raw).lower(),
            RedrivePolicy=json.dumps({"deadLetterTargetArn": f"{QUEUES}orders.fifo"}),
        )
        on.sqs.delete_queue(QueueUrl="u/gone.fifo")
        entries = [
            {"Message": "Test Message with two attributes", "MessageAttributes": NUMBERS},
            {"Message": "Test Message with one attribute", "MessageAttributes": ONE},
            {"Message": "Test Message without attribute"},
        ]
        group = {"MessageGroupId": "complexMessageGroupId", "Subject": "Subject"}
        entries = [
            {"Id": str(n), **one, **group, "MessageDeduplicationId": f"MessageDeduplicationId-{n}"}
            for n, one in enumerate(entries, 1)
        ]
        words = {"TopicArn": topic, "PublishBatchRequestEntries": entries}
        on.ask("publish-batch-response-fifo", on.sns.publish_batch, **words)
        on.received("batch-messages-in-dlq", "orders.fifo", ("All",))
        said = on.recorded["messages-in-dlq"]["Messages"][0]
        body = said["Body"] if raw else said["Body"]["Message"]
        unique = said["Attributes"]["MessageDeduplicationId"]
        words = {"Message": body, "MessageGroupId": said["Attributes"]["MessageGroupId"]}
        words["MessageDeduplicationId"] = unique
        on.ask("publish-response-fifo", on.sns.publish, TopicArn=topic, **words)
        on.received("messages-in-dlq", "orders.fifo", ("All",))

    return ask


# ---- subscriptions, once more


def told_of(key, inner=False, **attributes):
    def ask(on):
        found = on.attributes(key, on.subscribed(on.topic("fresh"), **attributes))
        if inner:
            on.said[key] = found["Attributes"]

    return ask


def unknown_queue(on):
    topic = on.topic("fresh")
    words = {"TopicArn": topic, "Protocol": "sqs"}
    gone = f"{QUEUES}absent"
    on.ask("subscribe-unknown-sqs", on.sns.subscribe, Endpoint=gone, **words)
    on.ask("subscribe-unknown-sqs-invalid_arn", on.sns.subscribe, Endpoint="absent", **words)


def made_again(on):
    for key in ("response-created", *(f"response-same-arn-{nth}" for nth in range(3))):
        on.ask(key, on.sns.create_topic, Name="fresh")


# ---- filters


def change(on, key, subscription, name, value):
    words = {"SubscriptionArn": subscription, "AttributeName": name, "AttributeValue": value}
    return on.ask(key, on.sns.set_subscription_attributes, **words)


def nested(on):
    subscription = on.subscribed(on.topic("fresh"))
    policy = json.dumps({"object": {"key": [{"prefix": "auto-"}]}})
    change(on, "sub-filter-policy-nested-error", subscription, "FilterPolicy", policy)
    for name, value in (("FilterPolicyScope", "MessageBody"), ("FilterPolicy", policy)):
        change(on, "", subscription, name, value)
    del on.said[""]
    on.attributes("sub-attrs-after-setting-nested-policy", subscription)


def scopes(on):
    subscription = on.subscribed(on.topic("fresh"))
    on.attributes("sub-attrs-default", subscription)
    change(on, "", subscription, "FilterPolicyScope", "MessageBody")
    on.attributes("sub-attrs-filter-scope-body", subscription)
    key = "sub-attrs-filter-scope-error"
    change(on, key, subscription, "FilterPolicyScope", "RandomValue")
    change(on, "", subscription, "FilterPolicy", json.dumps({"attr": ["match-this"]}))
    del on.said[""]
    on.attributes("sub-attrs-after-setting-policy", subscription)


def constraints(on):
    subscription = on.subscribed(on.topic("fresh"))
    change(on, "", subscription, "FilterPolicyScope", "MessageBody")
    del on.said[""]
    many = [f"value_{n}" for n in range(4)]
    deep = {"key_a": {"key_b": {"key_c": many[:3]}}, "key_d": {"key_e": many}, "key_f": many[:3]}
    for key, policy in {
        "sub-filter-policy-nested-error-too-many-combinations": deep,
        "sub-filter-policy-max-attr-keys": {f"key_{n}": ["value"] for n in range(6)},
    }.items():
        change(on, key, subscription, "FilterPolicy", json.dumps(policy))


def filtered_and_not(on):
    topic = on.topic("fresh")
    policy = json.dumps({"attr1": [{"numeric": [">", 0, "<=", 100]}]})
    some = on.subscribed(topic, "paid", FilterPolicy=policy)
    every = on.subscribed(topic, "quiet")
    on.attributes("subscription-attributes-with-filter", some)
    on.attributes("subscription-attributes-no-filter", every)
    on.received("messages-no-filter-before-publish", "quiet")
    on.received("messages-with-filter-before-publish")
    for nth, (message, number) in enumerate(
        (("This is a test message", "99"), ("This is another test message", "111"))
    ):
        attributes = {"attr1": {"DataType": "Number", "StringValue": number}}
        entry = {"Id": "1", "Message": message, "MessageAttributes": attributes}
        on.sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[entry])
        on.received(f"messages-no-filter-after-publish-ok{'-1' if nth else ''}", "quiet")
        ending = "filtered" if nth else "ok"
        on.received(f"messages-with-filter-after-publish-{ending}")


FILTERS = {
    "test_sub_filter_policy_nested_property": nested,
    "test_set_subscription_filter_policy_scope": scopes,
    "test_sub_filter_policy_nested_property_constraints": constraints,
    "test_filter_policy_for_batch": filtered_and_not,
}
"""Those that are recorded with the filter policies."""


REQUESTS = {
    "test_message_structure_json_exc": texts,
    "test_message_structure_json_to_sqs": texts_arrive,
    "test_fifo_topic_to_regular_sqs[True]": published_twice("paid", by_content=True),
    "test_fifo_topic_to_regular_sqs[False]": published_twice("paid", by_content=False),
    "test_message_to_fifo_sqs[True]": published_twice("orders.fifo", by_content=True),
    "test_message_to_fifo_sqs[False]": published_twice("orders.fifo", by_content=False),
    "test_publish_to_fifo_topic_deduplication_on_topic_level": published_twice(
        "orders.fifo", by_content=True
    ),
    "test_publish_to_fifo_topic_to_sqs_queue_no_content_dedup[True]": sent_once_each_way(raw=True),
    "test_publish_to_fifo_topic_to_sqs_queue_no_content_dedup[False]": sent_once_each_way(
        raw=False
    ),
    "test_publish_batch_messages_from_fifo_topic_to_fifo_queue[True]": in_batches(by_content=True),
    "test_publish_batch_messages_from_fifo_topic_to_fifo_queue[False]": in_batches(
        by_content=False
    ),
    "test_publish_batch_messages_from_sns_to_sqs": batch_to_a_queue,
    "test_publish_message_group_id": grouped,
    "test_redrive_policy_sqs_queue_subscription[True]": letters(raw=True),
    "test_redrive_policy_sqs_queue_subscription[False]": letters(raw=False),
    "test_publish_fifo_messages_to_dlq[True]": letters_of_fifo(raw=True),
    "test_publish_fifo_messages_to_dlq[False]": letters_of_fifo(raw=False),
    "test_creating_subscription_with_attributes": told_of(
        "subscription-with-attributes", RawMessageDelivery="true"
    ),
    "test_subscribe_attributes": told_of("get-subscription-attributes"),
    "test_sqs_topic_subscription_confirmation": told_of("subscription-attrs", inner=True),
    "test_subscribe_unknown_sqs_queue": unknown_queue,
    "test_create_duplicate_topic_check_idempotency": made_again,
    "test_subscription_after_failure_to_deliver": letters_later,
}
