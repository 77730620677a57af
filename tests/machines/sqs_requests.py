"""What was asked of SQS before it answered as recorded, by entry. Facts, in our words."""

import json

from chaosharness.machines.sqs import SqsMachine
from chaosharness.machines.sqs.attributes import ARN
from chaosharness.machines.sqs.wire import SqsWire

REQUESTS = {}
"""By the name of an entry, without the protocol that it was asked by."""

OTHER = {
    "test_list_queues_pagination": "addresses and a token of an emulator",
    "test_sqs_permission_lifecycle": "permissions",
    "test_send_message_via_queue_url_with_json_protocol": "an HTTP detail",
    "test_aws_trace_header_propagation": "a header that a client's hook adds",
}
"""Entries about what is no part of the model, and what that is."""

K = {"k": {"DataType": "String", "StringValue": "x"}}
FIFO = {"FifoQueue": "true"}
BY_CONTENT = {**FIFO, "ContentBasedDeduplication": "true"}
BY_GROUP = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
TRACE = {
    "AWSTraceHeader": {
        "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        "DataType": "String",
    }
}


class Aws:
    """A client of the machine, and its clock."""

    def __init__(self):
        self.machine = SqsMachine()
        self.wire = SqsWire(self.machine)
        self.now = 1_000_000
        self.queues = 0
        self.seen = {}

    def __call__(self, action, queue=None, **given):
        if queue is not None:
            given["QueueUrl"] = queue
        return self.wire.call(action, given, self.now)

    def see(self, key, answer):
        self.seen[key] = answer
        return answer

    def queue(self, name=None, **attributes):
        """Create a queue; `.fifo` by its attributes."""
        self.queues += 1
        fifo = ".fifo" if attributes.get("FifoQueue") else ""
        name = name or f"queue-{self.queues}{fifo}"
        answer = self("CreateQueue", QueueName=name, Attributes=attributes)
        return answer["QueueUrl"] if isinstance(answer, dict) else answer

    def send(self, queue, body, **more):
        return self("SendMessage", queue, MessageBody=body, **more)

    def receive(self, queue, **more):
        return self("ReceiveMessage", queue, **more)

    def delete(self, queue, answer, nth=0):
        handle = answer["Messages"][nth]["ReceiptHandle"]
        return self("DeleteMessage", queue, ReceiptHandle=handle)

    def attributes(self, queue, *names):
        return self("GetQueueAttributes", queue, AttributeNames=list(names) or ["All"])

    def set(self, queue, **attributes):
        return self("SetQueueAttributes", queue, Attributes=attributes)

    def wait(self, ms):
        self.now += ms

    def letters(self, receives, **attributes):
        """Create a dead-letter queue and a queue that uses it."""
        letters = self.queue(**{k: v for k, v in attributes.items() if "Fifo" in k or "Based" in k})
        policy = {"deadLetterTargetArn": arn(letters), "maxReceiveCount": receives}
        return self.queue(RedrivePolicy=json.dumps(policy), **attributes), letters


def arn(queue):
    return ARN + queue.rpartition("/")[2]


def asked(*entries):
    """Say which entries a function asks for."""

    def add(function):
        for entry in entries or (f"test_{function.__name__}",):
            REQUESTS[entry] = function
        return function

    return add


# ---- tags


@asked()
def tag_untag_queue(aws):
    queue = aws.queue()
    aws("TagQueue", queue, Tags={"tag1": "value1", "tag2": "value2", "tag3": ""})
    aws.see("get-tag-1", aws("ListQueueTags", queue))
    aws("UntagQueue", queue, TagKeys=["tag1", "tag3"])
    aws.see("get-tag-2", aws("ListQueueTags", queue))
    aws("UntagQueue", queue, TagKeys=["tag2"])
    aws.see("get-tag-after-untag", aws("ListQueueTags", queue))


# ---- limits


@asked("test_send_receive_max_number_of_messages")
def most_is_ten(aws):
    queue = aws.queue()
    aws.see("send_max_number_of_messages", aws.receive(queue, MaxNumberOfMessages=11))


@asked("test_send_oversized_message")
def too_long(aws):
    body = "a" * (1_048_576 - 8 + 1)
    aws.see("send_oversized_message", aws.send(aws.queue(), body, MessageAttributes=K))


@asked("test_send_message_with_updated_maximum_message_size")
def too_long_for_this_queue(aws):
    queue = aws.queue()
    aws.set(queue, MaximumMessageSize="1024")
    assert "MessageId" in aws.send(queue, "a" * 1024)
    aws.see("send_oversized_message", aws.send(queue, "a" * 1017, MessageAttributes=K))


@asked("test_send_message_batch_with_oversized_contents")
def batch_too_long(aws):
    first = {"Id": "1", "MessageBody": "a" * (1_048_576 - 8), "MessageAttributes": K}
    both = [first, {"Id": "2", "MessageBody": "a"}]
    aws.see("send_oversized_message_batch", aws("SendMessageBatch", aws.queue(), Entries=both))


@asked("test_send_message_batch_with_oversized_contents_with_updated_maximum_message_size")
def batch_of_just_the_size(aws):
    queue = aws.queue()
    aws.set(queue, MaximumMessageSize="2048")
    first = {"Id": "1", "MessageBody": "a" * (2048 - 8), "MessageAttributes": K}
    both = [first, {"Id": "2", "MessageBody": "a"}]
    aws.see("send_oversized_message_batch", aws("SendMessageBatch", queue, Entries=both))


@asked("test_send_batch_message_size")
def one_of_a_batch_too_long(aws):
    queue = aws.queue(MaximumMessageSize="1024")
    both = [
        {"Id": "a4cff0d1-1961-44bd-ae53-c6d5ed71ed08", "MessageBody": "a" * 1024},
        {"Id": "35b535ed-b76a-4ebd-b749-6eb35cdb55ee", "MessageBody": "a" * 1025},
    ]
    aws.see("send-message-batch-result", aws("SendMessageBatch", queue, Entries=both))


@asked("test_send_receive_wait_time_seconds")
def wait_is_twenty_seconds(aws):
    queue = aws.queue()
    aws.send(queue, "message"), aws.send(queue, "message")
    aws.see("recieve_message_error_too_large", aws.receive(queue, WaitTimeSeconds=21))
    aws.see("recieve_message_error_too_small", aws.receive(queue, WaitTimeSeconds=-1))
    aws.see("empty_short_poll_by_default_resp", aws.receive(queue))
    aws.see("empty_short_poll_explicit_resp", aws.receive(queue, WaitTimeSeconds=0))


@asked("test_receive_empty_queue")
def nothing_there(aws):
    queue = aws.queue()
    aws.see("empty_short_poll_resp_no_param", aws.receive(queue))
    aws.see("empty_short_poll_resp", aws.receive(queue, MaxNumberOfMessages=1))
    aws.see("empty_long_poll_resp", aws.receive(queue, WaitTimeSeconds=1))


@asked("test_send_empty_message")
def no_body(aws):
    aws.see("send_empty_message", aws.send(aws.queue(), ""))


@asked("test_send_message_with_empty_string_attribute")
def an_attribute_without_a_value(aws):
    empty = {"ErrorDetails": {"StringValue": "", "DataType": "String"}}
    aws.see("empty-string-attr", aws.send(aws.queue(), "test", MessageAttributes=empty))


def _invalid_id(parameter, attributes, value):
    def ask(aws):
        queue = aws.queue(**attributes)
        more = {"MessageGroupId": "g"} if attributes else {}
        aws.see("error-response", aws.send(queue, "Hello", **{**more, parameter: value}))

    return ask


for _which, _value in (("empty", ""), ("too_long", "a" * 129), ("spaces", "group 123")):
    for _entry, _parameter, _attributes in (
        ("test_message_deduplication_id_invalid", "MessageDeduplicationId", FIFO),
        (
            "test_send_message_to_standard_queue_with_invalid_message_group_id",
            "MessageGroupId",
            {},
        ),
    ):
        asked(f"{_entry}[{_which}]")(_invalid_id(_parameter, _attributes, _value))


@asked("test_message_deduplication_id_success")
def the_longest_id(aws):
    more = {"MessageGroupId": "test", "MessageDeduplicationId": "a" * 128}
    assert "MessageId" in aws.send(aws.queue(**FIFO), "Hello World!", **more)


# ---- batches


@asked("test_too_many_entries_in_batch_request")
def too_many_to_send(aws):
    many = [{"Id": f"m{n}", "MessageBody": "x"} for n in range(20)]
    answer = aws("SendMessageBatch", aws.queue(), Entries=many)
    aws.see("test_too_many_entries_in_batch_request", answer)


@asked("test_invalid_batch_id")
def an_id_with_a_colon(aws):
    bad = [{"Id": "message:1", "MessageBody": "x"}]
    aws.see("test_invalid_batch_id", aws("SendMessageBatch", aws.queue(), Entries=bad))


def _delete_with_id(name):
    def ask(aws):
        bad = [{"Id": name, "ReceiptHandle": "testHandle1"}]
        aws.see("error_response", aws("DeleteMessageBatch", aws.queue(), Entries=bad))

    return ask


for _name in ("", "testLongId" * 10, "invalid:id"):
    asked(f"test_delete_message_batch_invalid_msg_id[{_name}]")(_delete_with_id(_name))


@asked("test_delete_message_batch_with_too_large_batch")
def too_many_to_delete(aws):
    many = [{"Id": f"m{n}", "ReceiptHandle": "h"} for n in range(20)]
    aws.see("error_response", aws("DeleteMessageBatch", aws.queue(), Entries=many))


@asked("test_change_message_visibility_batch_with_too_large_batch")
def too_many_to_change(aws):
    many = [{"Id": f"m{n}", "ReceiptHandle": "h", "VisibilityTimeout": 1} for n in range(20)]
    aws.see("error_response", aws("ChangeMessageVisibilityBatch", aws.queue(), Entries=many))


@asked("test_send_batch_missing_deduplication_id_for_fifo_queue")
def a_batch_without_ids(aws):
    batch = [
        {"Id": "1", "MessageBody": "a", "MessageGroupId": "g", "MessageDeduplicationId": "d"},
        {"Id": "2", "MessageBody": "b", "MessageGroupId": "g"},
    ]
    answer = aws("SendMessageBatch", aws.queue(**FIFO), Entries=batch)
    aws.see("test_missing_deduplication_id_for_fifo_queue", answer)


@asked("test_send_batch_missing_message_group_id_for_fifo_queue")
def a_batch_without_groups(aws):
    batch = [{"Id": "1", "MessageBody": "a", "MessageDeduplicationId": "d"}]
    answer = aws("SendMessageBatch", aws.queue(**FIFO), Entries=batch)
    aws.see("test_missing_message_group_id_for_fifo_queue", answer)


# ---- queues and their attributes


@asked("test_create_fifo_queue_with_different_attributes_raises_error")
def another_fifo_queue_of_that_name(aws):
    aws.queue("q.fifo", **BY_CONTENT)
    other = {**BY_CONTENT, "ContentBasedDeduplication": "false"}
    aws.see("queue-already-exists", aws.queue("q.fifo", **other))


@asked("test_create_queue_with_different_attributes_raises_exception")
def another_queue_of_that_name(aws):
    waits = {"ReceiveMessageWaitTimeSeconds": "1"}
    queue = aws.queue("q", DelaySeconds="1", **waits)
    assert queue == aws.queue("q") == aws.queue("q", DelaySeconds="1")
    aws.see("create_queue_01", aws.queue("q", DelaySeconds="2", **waits))
    aws.set(queue, DelaySeconds="2")
    assert queue == aws.queue("q", DelaySeconds="2", **waits)
    aws.see("create_queue_02", aws.queue("q", DelaySeconds="1", **waits))


@asked("test_create_and_update_queue_attributes")
def attributes(aws):
    given = {"MessageRetentionPeriod": "604800", "VisibilityTimeout": "20"}
    queue = aws.queue(ReceiveMessageWaitTimeSeconds="10", **given)
    aws.see("get_queue_attributes", aws.attributes(queue))
    aws.set(queue, MaximumMessageSize="2048", VisibilityTimeout="69", DelaySeconds="420")
    aws.see("get_updated_queue_attributes", aws.attributes(queue))


@asked("test_fifo_set_content_based_deduplication_strategy")
def deduplication_by_content_is_changed(aws):
    queue = aws.queue(**BY_CONTENT)
    aws.see("before-update", aws.attributes(queue))
    aws.set(queue, ContentBasedDeduplication="false")
    aws.see("after-update", aws.attributes(queue))


@asked("test_set_queue_attributes_default_values")
def encryption_comes_and_goes(aws):
    queue = aws.queue()
    aws.see("get-queue-attributes-initial-values", aws.attributes(queue))
    aws.set(queue, KmsMasterKeyId="testKeyId", KmsDataKeyReusePeriodSeconds="6000")
    aws.see("get-queue-attributes-after-update", aws.attributes(queue))
    aws.set(queue, KmsMasterKeyId="", KmsDataKeyReusePeriodSeconds="300")
    aws.see("get-queue-attributes-after-set-to-defaults", aws.attributes(queue))


@asked("test_sse_queue_attributes")
def encryption(aws):
    names = ("KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled")
    queue = aws.queue()
    keys = {"KmsMasterKeyId": "testKeyId", "KmsDataKeyReusePeriodSeconds": "6000"}
    aws.set(queue, SqsManagedSseEnabled="false", **keys)
    aws.see("sse_kms_attributes", aws.attributes(queue, *names))
    queue = aws.queue()
    aws.set(queue, SqsManagedSseEnabled="true")
    aws.see("sse_sqs_attributes", aws.attributes(queue, *names))


@asked("test_sse_kms_and_sqs_are_mutually_exclusive")
def two_encryptions(aws):
    refused = aws.set(aws.queue(), KmsMasterKeyId="testKeyId", SqsManagedSseEnabled="true")
    words = "An error occurred (%s) when calling the SetQueueAttributes operation: %s"
    aws.see("error", words % (refused.code, refused.text))


@asked("test_set_unsupported_attribute_standard")
def a_standard_queue_stays_one(aws):
    queue = aws.queue()
    aws.see("invalid-attr-name-1", aws.set(queue, FifoQueue="true"))
    aws.see("invalid-attr-name-2", aws.set(queue, FifoQueue="false"))


@asked("test_set_unsupported_attribute_fifo")
def a_fifo_queue_stays_one(aws):
    aws.see("invalid-attr-name-1", aws.set(aws.queue(), FifoQueue="true"))
    queue = aws.queue(**FIFO)
    assert aws.set(queue, FifoQueue="true") == {}
    aws.see("invalid-attr-name-2", aws.set(queue, FifoQueue="false"))


@asked("test_create_standard_queue_with_fifo_attribute_raises_error")
def attributes_of_fifo_queues(aws):
    for key, name, value in (
        ("invalid-attribute-fifo-queue", "FifoQueue", "false"),
        ("invalid-attribute-content-based-deduplication", "ContentBasedDeduplication", "false"),
        ("invalid-attribute-deduplication-scope", "DeduplicationScope", "queue"),
        ("invalid-attribute-throughput-limit", "FifoThroughputLimit", "perQueue"),
    ):
        aws.see(key, aws.queue("standard", **{name: value}))


@asked("test_set_empty_redrive_policy")
def no_redrive_policy(aws):
    queue = aws.queue()
    policy = {"deadLetterTargetArn": arn(queue), "maxReceiveCount": "42"}
    for text, there in (("", False), (json.dumps(policy), True), ("", False)):
        aws.set(queue, RedrivePolicy=text)
        assert ("RedrivePolicy" in aws.attributes(queue)["Attributes"]) is there


@asked("test_non_existent_queue")
def no_queue(aws):
    queue = aws.queue("gone")
    assert aws("DeleteQueue", queue) == {}
    aws.see("queue-does-not-exist", aws.attributes(queue))
    aws.see("queue-does-not-exist-url", aws("GetQueueUrl", QueueName="gone"))


@asked("test_successive_purge_calls_fail")
def two_purges(aws):
    queue = aws.queue()
    aws("PurgeQueue", queue)
    aws.see("purge_queue_error", aws("PurgeQueue", queue))


# ---- what a receive shows


@asked("test_fifo_message_attributes")
def fifo_attributes(aws):
    queue = aws.queue(VisibilityTimeout="0", **BY_CONTENT, **BY_GROUP)
    more = {"MessageGroupId": "group-1", "MessageDeduplicationId": "dedup-1"}
    aws.see("send_message", aws.send(queue, "message-body-1", **more))
    for nth in (0, 1):
        aws.see(f"receive_message_{nth}", aws.receive(queue, AttributeNames=["All"]))


@asked("test_send_message_with_binary_attributes")
def bytes_as_attribute(aws):
    queue = aws.queue()
    value = b"traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01"
    given = {"attr1": {"BinaryValue": value, "DataType": "Binary"}}
    aws.send(queue, "test", MessageAttributes=given)
    aws.see("binary-attrs-msg", aws.receive(queue, MessageAttributeNames=["All"]))


@asked("test_receive_message_message_attribute_names_filters")
def attributes_by_name(aws):
    queue = aws.queue(VisibilityTimeout="0")
    given = {
        name: {"DataType": "String", "StringValue": value}
        for name, value in (("Help.Me", "Me"), ("Hello", "There"), ("General", "Kenobi"))
    }
    aws.see("send_message_response", aws.send(queue, "msg", MessageAttributes=given))
    for key, names in (("empty_filter", []), ("all_name", ["All"])):
        aws.see(key, aws.receive(queue, MessageAttributeNames=names))
    for key, names in (
        ("all_wildcard_asterisk", ["*"]),
        ("all_wildcard", [".*"]),
        ("only_non_existing_names", ["Foo", "Help"]),
        ("only_existing", ["Hello", "General"]),
        ("existing_and_non_existing", ["Foo", "Hello"]),
        ("prefix_filter", ["Hel.*"]),
    ):
        aws.see(key, aws.receive(queue, MessageAttributeNames=names)["Messages"][0])
    for key, names in (("illegal_name_1", ["AWS."]), ("illegal_name_2", ["..foo"])):
        aws.see(key, aws.receive(queue, MessageAttributeNames=names))


def _by_name(parameter):
    def ask(aws):
        queue = aws.queue(VisibilityTimeout="0")
        foo = {"Foo": {"DataType": "String", "StringValue": "Bar"}}
        aws.send(queue, "msg", MessageAttributes=foo)
        for key, names, of_message in (
            ("all_attributes", ["All"], []),
            ("all_system_and_message_attributes", ["All"], ["All"]),
            ("single_attribute", ["SenderId"], []),
            ("multiple_attributes", ["SenderId", "SequenceNumber"], []),
        ):
            more = {parameter: names, "MessageAttributeNames": of_message}
            aws.see(key, aws.receive(queue, **more))

    return ask


asked("test_receive_message_attribute_names_filters")(_by_name("AttributeNames"))
asked("test_receive_message_message_system_attribute_names_filters")(
    _by_name("MessageSystemAttributeNames")
)


@asked("test_message_system_attribute_names_with_attribute_names")
def both_lists_of_names(aws):
    queue = aws.queue(VisibilityTimeout="0")
    aws.send(queue, "msg")
    for key, names in (("same_values", ["All"]), ("different_values", ["SenderId"])):
        more = {"MessageSystemAttributeNames": ["All"], "AttributeNames": names}
        aws.see(key, aws.receive(queue, **more))


@asked("test_fair_queue_with_message_group_id")
def a_group_on_a_standard_queue(aws):
    queue = aws.queue()
    aws.see("send_message", aws.send(queue, "message", MessageGroupId="test"))
    answer = aws.receive(queue, AttributeNames=["All"])
    aws.see("get-message-with-deduplication-id", answer)


# ---- leases


@asked("test_delete_after_visibility_timeout")
def a_late_delete(aws):
    queue = aws.queue(VisibilityTimeout="1")
    aws.send(queue, "foobar")
    found = aws.receive(queue, WaitTimeSeconds=5)
    aws.wait(1_000)
    assert aws.delete(queue, found) == {}
    aws.see("delete_after_timeout_queue_empty", aws.receive(queue))


@asked("test_change_message_visibility_after_visibility_timeout_expiration")
def a_late_change(aws):
    queue = aws.queue(VisibilityTimeout="1")
    aws.send(queue, "test")
    handle = aws.receive(queue)["Messages"][0]["ReceiptHandle"]
    aws.wait(2_000)
    change = {"ReceiptHandle": handle, "VisibilityTimeout": 2}
    aws.see("visibility_timeout_expired", aws("ChangeMessageVisibility", queue, **change))


@asked("test_fifo_delete_after_visibility_timeout")
def a_late_delete_on_fifo(aws):
    queue = aws.queue(VisibilityTimeout="1", **BY_CONTENT)
    aws.send(queue, "foobar", MessageGroupId="1")
    found = aws.see("received_sqs_message", aws.receive(queue))
    aws.wait(1_000)
    aws.see("delete_after_timeout_fifo", aws.delete(queue, found))


@asked("test_fifo_delete_after_visibility_timeout_extended")
def a_delete_in_time(aws):
    queue = aws.queue(VisibilityTimeout="1", **BY_CONTENT)
    aws.send(queue, "foobar", MessageGroupId="1")
    found = aws.see("received_sqs_message", aws.receive(queue))
    handle = found["Messages"][0]["ReceiptHandle"]
    aws("ChangeMessageVisibility", queue, ReceiptHandle=handle, VisibilityTimeout=5)
    aws.wait(1_500)
    aws.see("delete_after_timeout_fifo_extended", aws.delete(queue, found))


def _extended(nth):
    def ask(aws):
        queue = aws.queue(VisibilityTimeout="1", **FIFO)
        for body in ("foo", "bar", "baz"):
            aws.send(queue, body, MessageGroupId="1", MessageDeduplicationId=body)
        found = aws.see("receive_all_messages", aws.receive(queue, MaxNumberOfMessages=5))
        handle = found["Messages"][nth]["ReceiptHandle"]
        aws("ChangeMessageVisibility", queue, ReceiptHandle=handle, VisibilityTimeout=4)
        aws.wait(2_500)
        aws.see("some-messages-invisible", aws.receive(queue, MaxNumberOfMessages=5))

    return ask


for _nth, _names in enumerate(
    (("0-visible", "all-invisible"), ("1-visible", "1-invisible"), ("2-visible", "no-invisible"))
):
    for _name in _names:
        _entry = "test_fifo_group_visibility_extends_with_change_message_visibility"
        asked(f"{_entry}[{_name}]")(_extended(_nth))


# ---- dead letters


@asked("test_dead_letter_queue_message_attributes")
def dead_letters_keep_what_they_had(aws):
    queue, letters = aws.letters(1)
    aws.see("dlq-arn", arn(letters))
    aws.see("sourcen-arn", arn(queue))
    foobar = {"MyAttribute": {"StringValue": "foobar", "DataType": "String"}}
    more = {"MessageSystemAttributes": TRACE, "MessageAttributes": foobar}
    aws.send(queue, "message-1", **more)
    aws.send(queue, "message-2")
    every = {"AttributeNames": ["All"], "MessageAttributeNames": ["All"]}
    found = []
    for _ in range(4):
        found += aws.receive(queue, VisibilityTimeout=0, **every).get("Messages", [])
    for one in found:
        one["Attributes"].pop("SenderId")  # masked away where it was recorded
    aws.see("rec-pre-dlq", found)
    dead = aws.receive(letters, MaxNumberOfMessages=10, **every)["Messages"]
    for one in dead:
        one["Attributes"].pop("SenderId")
    aws.see("dlq-messages", dead)


@asked("test_dead_letter_queue_with_fifo_and_content_based_deduplication")
def a_fifo_dead_letter(aws):
    queue, letters = aws.letters(2, VisibilityTimeout="60", **BY_CONTENT)
    first = aws.send(queue, "foobar", MessageGroupId="1")
    for _ in range(3):
        aws.receive(queue, VisibilityTimeout=0)
    [dead] = aws.receive(letters)["Messages"]
    assert (dead["MessageId"], dead["Body"]) == (first["MessageId"], "foobar")
    second = aws.send(queue, "foobar2", MessageGroupId="1")
    [found] = aws.receive(queue)["Messages"]
    assert (found["MessageId"], found["Body"]) == (second["MessageId"], "foobar2")


# ---- FIFO


@asked("test_fifo_empty_message_groups_added_back_to_queue")
def a_group_that_was_empty(aws):
    queue = aws.queue(**FIFO)
    aws.send(queue, "Message 1", MessageGroupId="g1", MessageDeduplicationId="1")
    found = aws.see("inital-fifo-receive", aws.receive(queue))
    aws.delete(queue, found)
    aws.see("empty-fifo-receive", aws.receive(queue))
    aws.send(queue, "Message 2", MessageGroupId="g1", MessageDeduplicationId="2")
    aws.see("final-fifo-receive", aws.receive(queue))


@asked("test_fifo_queue_send_message_with_delay_seconds_fails")
def a_delay_of_one_message(aws):
    queue = aws.queue(**BY_CONTENT)
    aws.see("send_message", aws.send(queue, "m", MessageGroupId="1", DelaySeconds=2))


@asked("test_fifo_queue_send_message_with_zero_delay_defaults_to_queue_delay")
def a_delay_of_the_queue(aws):
    queue = aws.queue(DelaySeconds="2", **BY_CONTENT)
    sent = aws.send(queue, "message-1", MessageGroupId="1", DelaySeconds=0)
    aws.see("send_message_result", sent)
    aws.wait(1_000)
    aws.see("receive_message_initial_result", aws.receive(queue))
    aws.wait(3_000)
    aws.see("receive_message_after_delay_result", aws.receive(queue))


def _once(*, by_content, groups, delete):
    def ask(aws):
        queue = aws.queue(**(BY_CONTENT if by_content else FIFO))
        more = {} if by_content else {"MessageDeduplicationId": "dedup1"}
        body = '{"foo": "bar"}'
        first, second = groups
        aws.send(queue, body, MessageGroupId=first, **more)
        if not delete:
            aws.send(queue, body, MessageGroupId=second, **more)
        found = aws.see("get-messages", aws.receive(queue))
        if delete:
            aws.delete(queue, found)
            aws.send(queue, body, MessageGroupId=second, **more)
        key = "get-messages-duplicate" if delete else "get-dedup-messages"
        aws.see(key, aws.receive(queue))

    return ask


for _by_content in (True, False):
    asked(f"test_fifo_deduplication_arrives_once_after_delete[{_by_content}]")(
        _once(by_content=_by_content, groups=("group-1", "group-1"), delete=True)
    )
    asked(f"test_fifo_deduplication_not_on_message_group_id[{_by_content}]")(
        _once(by_content=_by_content, groups=("group-1", "group-2"), delete=False)
    )


@asked("test_posting_to_fifo_requires_deduplicationid_group_id")
def a_group_and_an_id(aws):
    queue = aws.queue(**FIFO)
    for suffix in ("", "-query"):
        refused = aws.send(queue, "test", MessageGroupId="g")
        aws.see(f"invalid-parameter-value{suffix}", refused)
        refused = aws.send(queue, "test", MessageDeduplicationId="d")
        aws.see(f"missing-parameter{suffix}", refused)


def _two_groups(aws, queue, bodies=("Test", "Test"), **more):
    aws.send(queue, bodies[0], MessageGroupId="group1", **more)
    found = aws.see("same-dedup-different-grp-1", aws.receive(queue))
    aws.delete(queue, found)
    aws.send(queue, bodies[1], MessageGroupId="group2", **more)
    return aws.see("same-dedup-different-grp-2", aws.receive(queue))


SAME = {"MessageDeduplicationId": "same-dedup"}


@asked("test_sqs_fifo_same_dedup_id_different_message_groups")
def one_id_in_two_groups(aws):
    _two_groups(aws, aws.queue(**FIFO), **SAME)


@asked("test_fifo_high_throughput_ordering")
def one_id_in_two_groups_of_a_fast_queue(aws):
    _two_groups(aws, aws.queue(**FIFO, **BY_GROUP), ("Test1", "Test2"), **SAME)


@asked("test_sqs_fifo_message_group_scope_no_throughput_setting")
def one_body_in_two_groups(aws):
    _two_groups(aws, aws.queue(**BY_CONTENT, DeduplicationScope="messageGroup"))


@asked("test_fifo_change_to_high_throughput_after_creation")
def the_scope_stays_as_created(aws):
    queue = aws.queue(**FIFO, DeduplicationScope="queue")
    _two_groups(aws, queue, ("Test1", "Test2"), **SAME)
    aws.set(queue, **BY_GROUP)
    aws.see("set-to-high-throughput", aws.attributes(queue))
    aws.see("same-dedup-different-grp-high-throughput", aws.receive(queue))
    aws.send(queue, "Test3", MessageGroupId="group3", **SAME)
    aws.see("same-dedup-different-grp-high-throughput-2", aws.receive(queue))
    other = {"MessageDeduplicationId": "dedup_2"}
    aws.send(queue, "Test4", MessageGroupId="group4", **other)
    aws.delete(queue, aws.see("new-dedup2-high-throughput", aws.receive(queue)))
    aws.send(queue, "Test5", MessageGroupId="group5", **other)
    aws.see("same-dedup2-high-throughput", aws.receive(queue))


@asked("test_fifo_change_to_regular_throughput_after_creation")
def the_scope_stays_by_group(aws):
    queue = aws.queue(**FIFO, **BY_GROUP)
    aws.delete(queue, _two_groups(aws, queue, ("Test1", "Test2"), **SAME))
    aws.set(queue, DeduplicationScope="queue", FifoThroughputLimit="perQueue")
    aws.see("set-to-regular-throughput", aws.attributes(queue))
    aws.send(queue, "Test3", MessageGroupId="group3", **SAME)
    aws.see("same-dedup-different-grp-regular-throughput", aws.receive(queue))


def _counted(attributes, **more):
    def ask(aws):
        queue = aws.queue(VisibilityTimeout="60", **attributes)
        for n in range(1, 7):
            group = {name: value.format(n) for name, value in more.items()}
            aws.send(queue, f"message-{n}", **group)
        aws.receive(queue)
        for ms, visible, held in ((0, "5", "1"), (60_000, "6", "0")):
            aws.wait(ms)
            counts = aws.attributes(queue)["Attributes"]
            assert counts["ApproximateNumberOfMessages"] == visible
            assert counts["ApproximateNumberOfMessagesNotVisible"] == held

    return ask


asked("test_approximate_number_of_messages_not_visible")(_counted({}))
asked("test_fifo_approximate_number_of_messages_not_visible")(
    _counted(FIFO, MessageGroupId="{0}", MessageDeduplicationId="{0}")
)
