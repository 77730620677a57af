"""boto3's clients and resources in a run: their errors, retries, time-outs, pages, regions."""

import json
import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from chaosharness import (
    AWS,
    SQS,
    Delay,
    ErrorReply,
    LostReply,
    NetworkPartition,
    Schedule,
    Site,
    System,
)
from chaosharness.errors import InvalidDefinition
from tests.adapters.digests import printed_everywhere
from tests.adapters.test_boto3 import MADE_AT_IMPORT, said_by

SEND = "worker.outer/bus.send_message paid"
SEND_FIFO = "worker.outer/bus.send_message orders.fifo"
RECEIVE = "worker.outer/bus.receive_message paid"
TOPIC = "arn:aws:sns:eu-central-1:000000000000:news"


def before(fault, operation, attempt=1, **options):
    return fault(Site(operation, "before", attempt=attempt, entity=0), **options)


def bodies(queue, **options):
    """Take what a queue has, until it is empty."""
    found = []
    while True:
        answer = MADE_AT_IMPORT.receive_message(
            QueueUrl=f"u/{queue}", MaxNumberOfMessages=10, WaitTimeSeconds=2, **options
        )
        if not answer.get("Messages"):
            return found
        for one in answer["Messages"]:
            found.append(one["Body"])
            MADE_AT_IMPORT.delete_message(QueueUrl=f"u/{queue}", ReceiptHandle=one["ReceiptHandle"])


# ---- retries


@pytest.mark.parametrize(
    ("mode", "options", "refusals", "ends_in"),
    [
        ("legacy", {"max_attempts": 2}, 2, None),
        ("legacy", {"max_attempts": 2}, 3, "ServiceUnavailable"),
        ("legacy", {"max_attempts": 0}, 1, "ServiceUnavailable"),
        ("standard", {"max_attempts": 2}, 2, None),
        ("standard", {"max_attempts": 2}, 3, "ServiceUnavailable"),
        ("standard", {"total_max_attempts": 1}, 1, "ServiceUnavailable"),
        ("adaptive", {"max_attempts": 2}, 2, None),
        ("adaptive", {"max_attempts": 2}, 3, "ServiceUnavailable"),
    ],
)
def test_it_tries_as_often_as_its_mode_says(mode, options, refusals, ends_in):
    def main():
        sqs = boto3.client("sqs", config=Config(retries={"mode": mode, **options}))
        sqs.send_message(QueueUrl="u/paid", MessageBody="a")

    found, run = said_by(main, *(before(ErrorReply, SEND, 1 + nth) for nth in range(refusals)))
    code = None if found is None else found.response["Error"]["Code"]
    assert (code, run.unused) == (ends_in, ())


def test_a_quota_of_retries_is_used_up_and_belongs_to_one_process():
    def main():
        sqs = boto3.client("sqs", config=Config(retries={"mode": "standard", "max_attempts": 1}))
        told = []
        sqs = boto3.client("sqs", config=Config(retries={"mode": "standard"}))
        for _ in range(60):
            try:
                sqs.send_message(QueueUrl="u/paid", MessageBody="a")
            except ClientError as error:
                told.append(error.response["ResponseMetadata"].get("RetryAttempts"))
        return told

    faults = [before(ErrorReply, SEND, nth) for nth in range(1, 181)]
    told, _ = said_by(main, *faults)
    again, _ = said_by(main, *faults)
    assert told == again  # the quota of a run before is not that of this one
    assert told[0] == 2 and told[-1] == 0  # 500 tokens, 5 for each retry


def test_adaptive_mode_slows_down_once_it_is_throttled():
    def main():
        sqs = boto3.client("sqs", config=Config(retries={"mode": "adaptive"}))
        since = time.monotonic()
        for nth in range(4):
            sqs.send_message(
                QueueUrl="u/orders.fifo",
                MessageBody="a",
                MessageGroupId="g",
                MessageDeduplicationId=str(nth),
            )
        return time.monotonic() - since

    calm, _ = said_by(main)
    slow, run = said_by(main, before(ErrorReply, SEND_FIFO))
    assert not run.unused
    assert calm < 0.1 and slow > 2


def test_a_receive_that_is_refused_is_repeated_and_the_last_refusal_is_raised():
    def main():
        sqs = boto3.client("sqs", config=Config(retries={"max_attempts": 1}))
        sqs.send_message(QueueUrl="u/paid", MessageBody="a")
        return len(sqs.receive_message(QueueUrl="u/paid")["Messages"])

    assert said_by(main, before(ErrorReply, RECEIVE))[0] == 1
    twice, run = said_by(main, before(ErrorReply, RECEIVE), before(ErrorReply, RECEIVE, 2))
    assert twice.response["ResponseMetadata"]["HTTPStatusCode"] == 503 and not run.unused


# ---- what was done and not told


@pytest.mark.parametrize(("queue", "copies"), [("paid", 2), ("orders.fifo", 1)])
def test_a_lost_answer_has_it_sent_twice_and_fifo_recognises_it(queue, copies):
    def main():
        sqs = boto3.client("sqs", config=Config(read_timeout=2))
        more = {"MessageGroupId": "g", "MessageDeduplicationId": "d"}
        sqs.send_message(
            QueueUrl=f"u/{queue}", MessageBody="a", **(more if "fifo" in queue else {})
        )
        return bodies(queue)

    lost = LostReply(Site(f"worker.outer/bus.send_message {queue}", "after", entity=0))
    found, run = said_by(main, lost)
    assert (found, run.unused) == (["a"] * copies, ())


# ---- time-outs


def timed(**options):
    def main():
        once = Config(retries={"total_max_attempts": 1}, **options)
        sqs = boto3.client("sqs", config=once)
        since = time.monotonic()
        try:
            sqs.send_message(QueueUrl="u/paid", MessageBody="a")
        except (ConnectTimeoutError, ReadTimeoutError) as error:
            return type(error), round(time.monotonic() - since)
        return None, round(time.monotonic() - since)

    return main


def test_an_answer_takes_as_long_as_its_time_outs_let_it():
    late = before(Delay, SEND, lasting=5_000)
    assert said_by(timed(read_timeout=2), late)[0] == (ReadTimeoutError, 2)
    assert said_by(timed(read_timeout=9), late)[0] == (None, 5)
    cut = before(NetworkPartition, SEND, lasting=60_000)
    assert said_by(timed(connect_timeout=3, read_timeout=20), cut)[0] == (ConnectTimeoutError, 3)


def test_a_long_poll_outlives_a_short_read_time_out():
    def main():
        sqs = boto3.client("sqs", config=Config(read_timeout=5, retries={"max_attempts": 1}))
        since = time.monotonic()
        with pytest.raises(ReadTimeoutError):
            sqs.receive_message(QueueUrl="u/paid", WaitTimeSeconds=20)
        return 10 <= time.monotonic() - since <= 12

    assert said_by(main)[0]


# ---- queues at run time


def test_queues_are_made_changed_emptied_and_deleted_while_a_system_runs():
    def main():
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="new", Attributes={"VisibilityTimeout": "7"})["QueueUrl"]
        assert sqs.create_queue(QueueName="new")["QueueUrl"] == url
        with pytest.raises(sqs.exceptions.QueueNameExists):
            sqs.create_queue(QueueName="new", Attributes={"VisibilityTimeout": "8"})
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "9"})
        queue = boto3.resource("sqs").Queue(url)
        assert queue.attributes["VisibilityTimeout"] == "9"
        queue.send_message(MessageBody="a")
        assert [one.body for one in queue.receive_messages()] == ["a"]
        sqs.purge_queue(QueueUrl=url)
        with pytest.raises(sqs.exceptions.PurgeQueueInProgress):
            sqs.purge_queue(QueueUrl=url)
        time.sleep(10)
        assert queue.receive_messages() == []
        queue.delete()
        with pytest.raises(sqs.exceptions.QueueDoesNotExist):
            queue.send_message(MessageBody="a")
        with pytest.raises(sqs.exceptions.QueueDoesNotExist):
            sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20)
        return sorted(one.url.rpartition("/")[2] for one in boto3.resource("sqs").queues.all())

    assert said_by(main)[0] == ["orders", "orders.fifo", "paid"]


def test_lists_come_in_pages_and_tags_stay():
    def main():
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="new", tags={"team": "till"})["QueueUrl"]
        pages = sqs.get_paginator("list_queues").paginate(PaginationConfig={"PageSize": 3})
        assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "till"}
        policy = {"deadLetterTargetArn": "a:b:paid", "maxReceiveCount": 2}
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": json.dumps(policy)})
        assert sqs.list_dead_letter_source_queues(QueueUrl="u/paid")["queueUrls"] == [url]
        return [len(page["QueueUrls"]) for page in pages]

    assert said_by(main)[0] == [3, 1]


def test_time_stamps_are_those_of_the_clock_that_the_code_reads():
    def main():
        time.sleep(100)
        MADE_AT_IMPORT.send_message(QueueUrl="u/paid", MessageBody="a")
        time.sleep(5)
        [one] = MADE_AT_IMPORT.receive_message(
            QueueUrl="u/paid", MessageSystemAttributeNames=["SentTimestamp"]
        )["Messages"]
        return round(time.time() - int(one["Attributes"]["SentTimestamp"]) / 1000)

    assert said_by(main)[0] == 5


# ---- SNS


def test_topics_are_subscribed_to_and_published_to():
    def main():
        sns = boto3.client("sns")
        topic = sns.create_topic(Name="bills")["TopicArn"]
        queue = MADE_AT_IMPORT.get_queue_attributes(
            QueueUrl="u/orders", AttributeNames=["QueueArn"]
        )["Attributes"]["QueueArn"]
        only = {"FilterPolicy": json.dumps({"kind": ["big"]}), "RawMessageDelivery": "false"}
        subscription = sns.subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=queue, Attributes=only
        )["SubscriptionArn"]

        def big(kind):
            return {"kind": {"DataType": "String", "StringValue": kind}}

        sns.publish(TopicArn=topic, Message="a", MessageAttributes=big("big"))
        sns.publish(TopicArn=topic, Message="b", MessageAttributes=big("small"))
        told = sns.publish_batch(
            TopicArn=topic,
            PublishBatchRequestEntries=[
                {"Id": "1", "Message": "c", "MessageAttributes": big("big")},
                {"Id": "2", "Message": ""},
            ],
        )
        assert [one["Id"] for one in told["Failed"]] == ["2"]
        enveloped = [json.loads(one)["Message"] for one in bodies("orders")]
        sns.set_subscription_attributes(
            SubscriptionArn=subscription,
            AttributeName="RawMessageDelivery",
            AttributeValue="true",
        )
        sns.publish(TopicArn=topic, Message="d", MessageAttributes=big("big"))
        raw = bodies("orders")
        sns.unsubscribe(SubscriptionArn=subscription)
        sns.publish(TopicArn=topic, Message="e", MessageAttributes=big("big"))
        return enveloped, raw, bodies("orders")

    assert said_by(main)[0] == (["a", "c"], ["d"], [])


def test_topics_are_listed_and_gone_when_deleted():
    def main():
        sns = boto3.client("sns")
        [there] = [one["TopicArn"] for one in sns.list_topics()["Topics"]]
        pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=TOPIC)
        [subscription] = [one for page in pages for one in page["Subscriptions"]]
        attributes = sns.get_subscription_attributes(
            SubscriptionArn=subscription["SubscriptionArn"]
        )["Attributes"]
        resource = boto3.resource("sns").Topic(there)
        assert resource.attributes["SubscriptionsConfirmed"] == "1"
        resource.publish(Message="a")
        resource.delete()
        with pytest.raises(sns.exceptions.NotFoundException):
            sns.publish(TopicArn=TOPIC, Message="a")
        return there, attributes["RawMessageDelivery"], bodies("paid")

    assert said_by(main)[0] == (TOPIC, "true", ["a"])


# ---- regions, and what is not there


def two_regions(main):
    shop = System("shop")
    east, west = shop.add(SQS("east", ["orders"])), shop.add(SQS("west", ["orders"]))
    shop.add(AWS(east, region="us-east-1"))
    shop.add(AWS(west, region="us-west-2"))
    shop.service("worker")(lambda env: env.main(main))
    shop.entry(examples=[1])(lambda env, item: None)
    return shop.run([])


def test_a_client_reaches_its_own_region():
    found = []

    def main():
        east, west = (boto3.client("sqs", region_name=one) for one in ("us-east-1", "us-west-2"))
        east.send_message(QueueUrl="u/orders", MessageBody="a")
        for one in (west, east):
            found.append(len(one.receive_message(QueueUrl="u/orders").get("Messages", ())))

    assert two_regions(main).ending.verdict == "quiet"
    assert found == [0, 1]


def test_a_region_where_nothing_is_is_named():
    def main():
        boto3.client("sqs", region_name="ap-south-1").list_queues()

    with pytest.raises(
        InvalidDefinition,
        match=r"sqs.list_queues \(at .*clients.py:\d+\) reaches nobody in ap-south-1: "
        "AWS is in us-east-1, us-west-2 only",
    ):
        two_regions(main)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: boto3.client("s3").list_buckets(), r"s3.list_buckets \(at .*py:\d+\) reaches no"),
        (
            lambda: MADE_AT_IMPORT.add_permission(
                QueueUrl="u/paid", Label="a", AWSAccountIds=["1"], Actions=["*"]
            ),
            r"sqs.add_permission is not modelled \(at .*clients.py:\d+\)\. Leave it out",
        ),
        (
            lambda: boto3.client("sns").publish(PhoneNumber="1", Message="a"),
            r"sns.publish with PhoneNumber is not modelled \(at .*clients.py:\d+\)",
        ),
        (
            lambda: boto3.client("sns").subscribe(TopicArn=TOPIC, Protocol="email", Endpoint="a@b"),
            r"sns.subscribe with Protocol='email' is not modelled \(at .*clients",
        ),
    ],
)
def test_what_nobody_modelled_ends_the_run_in_one_sentence(call, words):
    with pytest.raises(InvalidDefinition, match=words) as found:
        said_by(call)
    assert "\n" not in str(found.value)


SAME = """
from chaosharness import Crash, Delay, ErrorReply, LostReply, Schedule, Site
from tests.adapters.test_boto3 import till
SEND = "till.handler/bus.send_message dead"
faults = [
    LostReply(Site(SEND, "after")),
    ErrorReply(Site(SEND, "before", attempt=2)),
    Crash(Site(SEND, "after", attempt=3)),
]
for number in range(len(faults) + 1):
    for _ in range(2):
        run = till().run(None, Schedule(faults[:number]))
        print(number, run.ending.verdict, run.digest(), len(run.unused))
"""


def test_a_history_is_the_same_everywhere():
    lines = printed_everywhere(SAME)
    assert lines[::2] == lines[1::2] and len(set(lines)) == 4
    assert all(" quiet " in one and one.endswith(" 0") for one in lines)


def test_a_schedule_has_one_history_in_one_process():
    def main():
        boto3.client("sqs", config=Config(retries={"mode": "adaptive"})).send_message(
            QueueUrl="u/paid", MessageBody="a"
        )

    lost = [LostReply(Site(SEND, "after", entity=0)), before(ErrorReply, SEND, 2)]
    assert said_by(main, *lost)[1].digest() == said_by(main, *lost)[1].digest()
    assert said_by(main)[1].digest() != said_by(main, *lost)[1].digest()
    assert Schedule(lost)


def test_a_queue_that_was_just_deleted_and_a_batch_of_nothing_are_refused():
    def main():
        sqs = boto3.client("sqs")
        url = sqs.create_queue(QueueName="short")["QueueUrl"]
        sqs.delete_queue(QueueUrl=url)
        with pytest.raises(sqs.exceptions.QueueDeletedRecently):
            sqs.create_queue(QueueName="short")
        time.sleep(61)
        sqs.create_queue(QueueName="short")
        with pytest.raises(sqs.exceptions.EmptyBatchRequest):
            sqs.send_message_batch(QueueUrl=url, Entries=[])
        with pytest.raises(ClientError, match="not valid for this queue type"):
            sqs.send_message(QueueUrl=url, MessageBody="m", MessageDeduplicationId="d")

    said_by(main)
