"""aiobotocore on asyncio. It asks for a botocore of its own: `bash .ci/oldest aiobotocore`."""

import asyncio

import pytest

from chaosharness import (
    AWS,
    SNS,
    SQS,
    Crash,
    DynamoDB,
    ErrorReply,
    Gateway,
    LostReply,
    Schedule,
    Site,
    System,
)
from chaosharness.errors import InvalidDefinition
from tests.adapters.digests import printed_everywhere

pytest.importorskip("aiobotocore", reason="aiobotocore is not installed: nothing is shown of it")
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

SEND = "worker.outer/bus.send_message paid"


def system_of(main):
    shop = System("shop")
    bus = shop.add(SQS("bus", ["orders", "paid"]))
    topics = shop.add(SNS("topics", bus, {"news": ["paid"]}))
    db = shop.add(DynamoDB("db", {"orders": "id"}))
    shop.add(AWS(bus, topics, db))
    shop.service("worker")(lambda env: env.main(main))
    shop.entry(examples=[1])(lambda env, item: env.publisher(bus)("orders", item))
    return shop


def said_by(main, *faults):
    found = []

    async def outer():
        try:
            found.append(await main())
        except ClientError as error:
            found.append(error)

    run = system_of(outer).run([], Schedule(faults))
    assert run.ending.verdict == "quiet" and not run.unused, (run.ending, run.unused)
    [one] = found
    return one, run


async def send_and_take():
    config = AioConfig(read_timeout=2)
    async with get_session().create_client("sqs", config=config) as sqs:
        await sqs.send_message(QueueUrl="u/paid", MessageBody="a")
        answer = await sqs.receive_message(
            QueueUrl="u/paid", MaxNumberOfMessages=10, WaitTimeSeconds=1
        )
        for one in answer["Messages"]:
            await sqs.delete_message(QueueUrl="u/paid", ReceiptHandle=one["ReceiptHandle"])
        return len(answer["Messages"])


def test_what_was_done_and_not_told_is_done_twice():
    assert said_by(send_and_take)[0] == 1
    assert said_by(send_and_take, LostReply(Site(SEND, "after", entity=0)))[0] == 2
    assert said_by(send_and_take, ErrorReply(Site(SEND, entity=0)))[0] == 1


def test_errors_pages_and_other_services():
    async def main():
        session = get_session()
        async with (
            session.create_client("sqs") as sqs,
            session.create_client("sns") as sns,
            session.create_client("dynamodb") as db,
        ):
            with pytest.raises(sqs.exceptions.QueueDoesNotExist):
                await sqs.send_message(QueueUrl="u/absent", MessageBody="a")
            queues = [
                url
                async for page in sqs.get_paginator("list_queues").paginate()
                for url in page["QueueUrls"]
            ]
            [topic] = (await sns.list_topics())["Topics"]
            await sns.publish(TopicArn=topic["TopicArn"], Message="a")
            put = {"TableName": "orders", "Item": {"id": {"S": "o1"}}}
            await db.put_item(**put)
            with pytest.raises(db.exceptions.ConditionalCheckFailedException):
                await db.put_item(**put, ConditionExpression="attribute_not_exists(id)")
            return len(queues)

    assert said_by(main)[0] == 2


def test_two_calls_at_a_time_take_the_time_of_one():
    async def main():
        async with get_session().create_client("sqs") as sqs:
            since = asyncio.get_running_loop().time()
            await asyncio.gather(
                *(sqs.send_message(QueueUrl="u/paid", MessageBody="a") for _ in range(5))
            )
            return round((asyncio.get_running_loop().time() - since) * 1000)

    assert said_by(main)[0] == 10


def till(**options):
    shop = System("till")
    bus = shop.add(SQS("bus", ["orders", "paid"]))
    shop.add(AWS(bus))
    bank = shop.add(Gateway("bank"))

    @shop.service("till")
    def serve(env):
        client = env.client(bank)

        async def main():
            async with get_session().create_client("sqs") as sqs:
                while True:
                    answer = await sqs.receive_message(QueueUrl="u/orders", WaitTimeSeconds=20)
                    for one in answer.get("Messages", ()):
                        more = {"key": one["Body"]} if options.get("keyed") else {}
                        try:
                            await client.charge(one["Body"], 5, **more)
                        except OSError:
                            continue
                        await sqs.delete_message(
                            QueueUrl="u/orders", ReceiptHandle=one["ReceiptHandle"]
                        )

        env.main(main)

    shop.entry(examples=["o1"])(lambda env, order: env.publisher(bus)("orders", order, key=order))
    return shop


@pytest.mark.parametrize(("keyed", "charges"), [(False, 2), (True, 1)])
def test_a_loop_charges_again_what_it_was_not_told_of(keyed, charges):
    lost = LostReply(Site("till.main/bank.charge", "after"))
    run = till(keyed=keyed).run(None, Schedule([lost]))
    assert run.ending.verdict == "quiet" and not run.unused
    assert sum(one.kind == "effect" for one in run.history) == charges


def test_what_is_not_modelled_is_named():
    async def main():
        config = AioConfig(retries={"mode": "adaptive"})
        async with get_session().create_client("sqs", config=config) as sqs:
            await sqs.list_queues()

    with pytest.raises(InvalidDefinition, match="'adaptive' of aiobotocore is not modelled"):
        said_by(main)


SAME = """
from chaosharness import Crash, ErrorReply, LostReply, Schedule, Site
from tests.adapters.test_aiobotocore import SEND, said_by, send_and_take
for faults in ([], [LostReply(Site(SEND, "after", entity=0))], [ErrorReply(Site(SEND, entity=0))]):
    for _ in range(2):
        print(said_by(send_and_take, *faults)[1].digest())
"""


def test_a_history_is_the_same_everywhere():
    lines = printed_everywhere(SAME)
    assert lines[::2] == lines[1::2] and len(set(lines)) == 3


def test_a_crash_has_the_message_come_again():
    crash = Crash(Site("till.main/bank.charge", "after"))
    run = till().run(None, Schedule([crash]))
    assert run.ending.verdict == "quiet" and not run.unused
    assert sum(one.kind == "effect" for one in run.history) == 2
