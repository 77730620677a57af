"""boto3 as it is: its clients and resources, its errors and its retries; inside Lambda too."""

import json

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from chaosharness import (
    AWS,
    SNS,
    SQS,
    Crash,
    Gateway,
    Lambda,
    LostReply,
    Schedule,
    Site,
    SNSSubscription,
    SQSQueue,
    System,
)
from chaosharness.errors import InvalidDefinition

MADE_AT_IMPORT = boto3.client(
    "sqs", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
)


def system_of(main, *examples, queues=("orders", "paid", "orders.fifo")):
    shop = System("shop")
    bus = shop.add(SQS("bus", queues))
    topics = shop.add(SNS("topics", bus, {"news": [SNSSubscription("paid", raw=True)]}))
    shop.add(AWS(bus, topics))
    shop.service("worker")(lambda env: env.main(main))
    shop.entry(examples=list(examples) or [1])(
        lambda env, item: env.publisher(bus)("orders", item, key=str(item))
    )
    return shop


def said_by(main, *faults, items=(), **options):
    """Return what `main()` returned or raised, and the run."""
    found = []

    def outer():
        try:
            found.append(main())
        except (BotoCoreError, ClientError) as error:
            found.append(error)

    run = system_of(outer, *items, **options).run(list(items), Schedule(faults))
    assert run.ending.verdict == "quiet", run.ending
    [one] = found
    return one, run


def test_errors_are_botocores_own():
    def main():
        sqs = MADE_AT_IMPORT
        with pytest.raises(ParamValidationError, match="Missing required parameter"):
            sqs.send_message(QueueUrl="orders")
        with pytest.raises(sqs.exceptions.QueueDoesNotExist) as none:
            sqs.send_message(QueueUrl="https://sqs/0/absent", MessageBody="a")
        assert none.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
        with pytest.raises(ClientError) as receive:
            sqs.receive_message(QueueUrl="https://sqs/0/absent", WaitTimeSeconds=1)
        assert receive.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        with pytest.raises(ClientError, match="ReceiptHandleIsInvalid"):
            sqs.delete_message(QueueUrl="https://sqs/0/orders", ReceiptHandle="x")
        with pytest.raises(ClientError, match="WaitTimeSeconds"):
            sqs.receive_message(QueueUrl="https://sqs/0/orders", WaitTimeSeconds=21)
        batch = sqs.send_message_batch(
            QueueUrl="https://sqs/0/orders",
            Entries=[
                {"Id": "a", "MessageBody": "1"},
                {"Id": "b", "MessageBody": "1", "DelaySeconds": 901},
            ],
        )
        return [one["Id"] for one in batch["Successful"]], [one["Id"] for one in batch["Failed"]]

    assert said_by(main)[0] == (["a"], ["b"])


def test_resources_keep_track_of_the_message_in_hand():
    seen = []

    def main():
        queue = boto3.resource("sqs").get_queue_by_name(QueueName="orders")
        while True:
            for message in queue.receive_messages(MaxNumberOfMessages=10, WaitTimeSeconds=20):
                queue.meta.client.send_message(QueueUrl="u/paid", MessageBody=message.body)
                message.delete()

    run = system_of(main, "o1", "o2").run(["o1", "o2"])
    assert run.ending.verdict == "quiet"
    sends = [
        one.entity for one in run.history if one.kind == "publish" and one.data["topic"] == "paid"
    ]
    acks = [one.entity for one in run.history if one.kind == "ack"]
    assert sends == acks == [1, 2]
    assert not seen


def till(**options):
    shop = System("till")
    bus = shop.add(SQS("bus", {"orders": SQSQueue(dead_letter="dead"), "dead": SQSQueue()}))
    shop.add(AWS(bus))
    bank = shop.add(Gateway("bank"))
    sqs = boto3.client("sqs", region_name="eu-central-1", config=Config(read_timeout=2))

    @shop.service("till")
    def serve(env):
        client = env.client(bank)

        def handler(event, context):
            for record in event["Records"]:
                order = json.loads(record["body"])
                client.charge(order["id"], order["cents"], **options)
                sqs.send_message(QueueUrl="u/dead", MessageBody=record["body"])

        env.consume(bus, "orders", Lambda(handler, batch=1, timeout_ms=20_000))

    shop.entry(examples=[{"id": "o1", "cents": 5}])(
        lambda env, order: env.publisher(bus)("orders", order, key=order["id"])
    )
    return shop


def test_lambda_handlers_with_boto3_inside():
    crash = Crash(Site("till.handler/bus.send_message dead", "after"))
    run = till().run(None, Schedule([crash]))
    assert not run.unused
    charges = sum(one.kind == "effect" for one in run.history)
    assert charges == 2  # the whole batch comes again


def test_an_aws_that_cannot_be():
    for make, words in [
        (AWS, "needs the parts"),
        (lambda: AWS(Gateway("bank")), "takes an SQS, an SNS, an EventBridge, a DynamoDB or a"),
        (lambda: AWS(SQS("a", ["q"]), SQS("b", ["q"])), "one SQS"),
    ]:
        with pytest.raises(InvalidDefinition, match=words):
            make()
    alone = System("alone")
    alone.add(AWS(SQS("a", ["q"])))
    alone.service("s")(lambda env: None)
    alone.entry(examples=[1])(lambda env, item: None)
    with pytest.raises(InvalidDefinition, match="no part of this system"):
        alone.run([1])


def test_the_sdk_repeats_what_had_no_answer_and_sends_twice():
    def main():
        MADE_AT_IMPORT.send_message(QueueUrl="u/paid", MessageBody="a")

    lost = LostReply(Site("worker.outer/bus.send_message paid", "after", entity=0))
    found, run = said_by(main, lost)
    stored = [one for one in run.history if one.kind == "publish"]
    assert (found, len(stored), run.unused) == (None, 2, ())
    assert run.digest() == said_by(main, lost)[1].digest()
