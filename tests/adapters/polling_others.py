"""Loops on SQS, NATS and Redis Streams as people write them; each writes into a table."""

import asyncio
import time

import boto3
import nats
import redis

from tests.adapters.polling import write

URL = "https://sqs.eu-central-1.amazonaws.com/000000000000/in"


def boto3_writes_each_ten_seconds():
    sqs = boto3.client("sqs", region_name="eu-central-1")
    held, since = [], time.time()
    while True:
        answer = sqs.receive_message(QueueUrl=URL, MaxNumberOfMessages=10, WaitTimeSeconds=2)
        held += answer.get("Messages", [])
        if held and time.time() - since >= 10:
            write(one["Body"] for one in held)
            for one in held:
                sqs.delete_message(QueueUrl=URL, ReceiptHandle=one["ReceiptHandle"])
            held, since = [], time.time()


def boto3_looks_into_the_queue():
    sqs = boto3.client("sqs", region_name="eu-central-1")
    wanted = "ApproximateNumberOfMessages"
    while True:
        answer = sqs.get_queue_attributes(QueueUrl=URL, AttributeNames=[wanted])
        if int(answer["Attributes"][wanted]):
            answer = sqs.receive_message(QueueUrl=URL, MaxNumberOfMessages=10)
            for one in answer.get("Messages", []):
                write([one["Body"]])
                sqs.delete_message(QueueUrl=URL, ReceiptHandle=one["ReceiptHandle"])
        time.sleep(30)


async def nats_connects_each_time():
    while True:
        connection = await nats.connect("nats://nats.internal:4222")
        subscription = await connection.jetstream().pull_subscribe("in.x", durable="g")
        try:
            while True:
                for message in await subscription.fetch(10, timeout=2):
                    write([message.data])
                    await message.ack()
        except nats.errors.TimeoutError:
            await connection.close()
        await asyncio.sleep(60)


async def nats_waits_less_than_it_asks_for():
    connection = await nats.connect("nats://nats.internal:4222")
    subscription = await connection.jetstream().pull_subscribe("in.x", durable="g")
    while True:
        try:
            found = await asyncio.wait_for(subscription.fetch(1, timeout=30), 5)
        except TimeoutError:
            continue
        for message in found:
            write([message.data])
            await message.ack()


def redis_connects_each_time():
    while True:
        bus = redis.Redis("redis.internal", socket_timeout=10)
        try:
            bus.xgroup_create("in", "g", id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        answer = bus.xreadgroup("g", "g-1", {"in": ">"}, count=10) or []
        for _, entries in answer.items() if isinstance(answer, dict) else answer:
            for name, fields in entries:
                write([fields[b"body"]])
                bus.xack("in", "g", name)
        bus.close()
        time.sleep(30)


LOOPS = [one for name, one in vars().items() if name.startswith(("boto3_", "nats_", "redis_"))]
