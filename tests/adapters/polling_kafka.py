"""Loops on Kafka's clients as people write them; each writes what it was sent into a table."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Consumer
from kafka import KafkaConsumer

from tests.adapters.polling import write

OPTIONS = {"bootstrap_servers": "kafka:9092", "group_id": "g", "enable_auto_commit": False}
OPTIONS |= {"auto_offset_reset": "earliest"}


def confluent():
    settings = {"bootstrap.servers": "kafka:9092", "group.id": "g", "enable.auto.commit": False}
    consumer = Consumer({**settings, "auto.offset.reset": "earliest"})
    consumer.subscribe(["in"])
    return consumer


def confluent_writes_each_ten_seconds():
    consumer, held, since = confluent(), [], time.monotonic()
    while True:
        message = consumer.poll(1.0)
        if message is not None and not message.error():
            held.append(message)
        if held and time.monotonic() - since >= 10:
            write(one.value() for one in held)
            consumer.commit(asynchronous=False)
            held, since = [], time.monotonic()


def confluent_writes_when_idle():
    consumer, held, empty = confluent(), [], 0
    while True:
        found = consumer.consume(10, timeout=1.0)
        held += found
        empty = 0 if found else empty + 1
        if held and empty >= 5:
            write(one.value() for one in held)
            consumer.commit(asynchronous=False)
            held = []


def confluent_joins_and_leaves():
    while True:
        consumer = confluent()
        while found := consumer.consume(10, timeout=5.0):
            write(one.value() for one in found)
            consumer.commit(asynchronous=False)
        consumer.close()
        time.sleep(60)


def kafka_python_writes_each_ten_seconds():
    consumer, held, since = KafkaConsumer("in", **OPTIONS), [], time.time()
    while True:
        for found in consumer.poll(timeout_ms=1000).values():
            held += found
        if held and time.time() - since >= 10:
            write(one.value for one in held)
            consumer.commit()
            held, since = [], time.time()


async def aiokafka_writes_each_ten_seconds():
    loop = asyncio.get_running_loop()
    async with AIOKafkaConsumer("in", **OPTIONS) as consumer:
        held, since = [], loop.time()
        while True:
            for found in (await consumer.getmany(timeout_ms=1000)).values():
                held += found
            if held and loop.time() - since >= 10:
                write(one.value for one in held)
                await consumer.commit()
                held, since = [], loop.time()


async def aiokafka_writes_in_a_task():
    held = []

    async def write_now_and_then(consumer):
        while True:
            await asyncio.sleep(10)
            if held:
                batch, held[:] = held[:], []
                write(one.value for one in batch)
                places = {TopicPartition(one.topic, one.partition): one.offset + 1 for one in batch}
                await consumer.commit(places)

    async with AIOKafkaConsumer("in", **OPTIONS) as consumer:
        task = asyncio.create_task(write_now_and_then(consumer))
        async for message in consumer:
            held.append(message)
        task.cancel()


async def aiokafka_waits_for_one():
    async with AIOKafkaConsumer("in", **OPTIONS) as consumer:
        held = []
        while True:
            try:
                held.append(await asyncio.wait_for(consumer.getone(), 10))
            except TimeoutError:
                if held:
                    write(one.value for one in held)
                    await consumer.commit()
                    held = []


async def aiokafka_within_a_timeout():
    async with AIOKafkaConsumer("in", **OPTIONS) as consumer:
        while True:
            try:
                async with asyncio.timeout(5):
                    message = await consumer.getone()
            except TimeoutError:
                continue
            write([message.value])
            await consumer.commit()


async def aiokafka_until_it_is_told_to_stop():
    stop = asyncio.Event()
    async with AIOKafkaConsumer("in", **OPTIONS) as consumer:
        while not stop.is_set():
            asked = asyncio.create_task(consumer.getone())
            halt = asyncio.create_task(stop.wait())
            await asyncio.wait({asked, halt}, return_when=asyncio.FIRST_COMPLETED)
            halt.cancel()
            write([asked.result().value])
            await consumer.commit()


async def aiokafka_with_workers():
    todo = asyncio.Queue(maxsize=10)

    async def worker():
        while True:
            message = await todo.get()
            await asyncio.sleep(1)
            write([message.value])
            todo.task_done()

    async with AIOKafkaConsumer("in", **OPTIONS) as consumer, asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(worker())
        while True:
            found = await consumer.getmany(timeout_ms=1000)
            for messages in found.values():
                for message in messages:
                    await todo.put(message)
            await todo.join()
            if found:
                await consumer.commit()


async def aiokafka_joins_and_leaves():
    while True:
        async with AIOKafkaConsumer("in", **OPTIONS) as consumer:
            while found := await consumer.getmany(timeout_ms=5000):
                for messages in found.values():
                    write(one.value for one in messages)
                await consumer.commit()
        await asyncio.sleep(60)


LOOPS = [
    one for name, one in vars().items() if "_" in name and name.startswith(("conf", "kaf", "aio"))
]
