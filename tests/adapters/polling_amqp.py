"""Loops on RabbitMQ's clients as people write them; each writes what it was sent into a table."""

import asyncio
import time

import aio_pika
import pika

from tests.adapters.polling import write

ADDRESS = "amqp://guest:guest@rabbit/"


def connected():
    return pika.BlockingConnection(pika.ConnectionParameters("rabbit", heartbeat=60))


def pika_writes_each_ten_seconds():
    channel, held, since = connected().channel(), [], time.monotonic()
    channel.basic_qos(prefetch_count=50)
    for method, _, body in channel.consume("in", inactivity_timeout=1):
        if method is not None:
            held.append((method.delivery_tag, body))
        if held and time.monotonic() - since >= 10:
            write(body for _, body in held)
            channel.basic_ack(held[-1][0], multiple=True)
            held, since = [], time.monotonic()


def pika_writes_when_its_timer_is_due():
    connection, held = connected(), []
    channel = connection.channel()

    def flush():
        if held:
            write(body for _, body in held)
            channel.basic_ack(held[-1][0], multiple=True)
            held.clear()
        connection.call_later(10, flush)

    connection.call_later(10, flush)
    channel.basic_consume(
        "in", lambda _, method, __, body: held.append((method.delivery_tag, body))
    )
    channel.start_consuming()


def pika_writes_when_idle():
    channel, held, empty = connected().channel(), [], 0
    while True:
        method, _, body = channel.basic_get("in")
        if method:
            held.append((method.delivery_tag, body))
            empty = 0
            continue
        empty += 1
        if held and empty >= 5:
            write(body for _, body in held)
            channel.basic_ack(held[-1][0], multiple=True)
            held = []
        channel.connection.sleep(1)


def pika_connects_each_time():
    while True:
        connection = connected()
        channel = connection.channel()
        channel.queue_declare("in", durable=True)
        while True:
            method, _, body = channel.basic_get("in")
            if not method:
                break
            write([body])
            channel.basic_ack(method.delivery_tag)
        connection.close()
        time.sleep(30)


def pika_looks_into_the_queue():
    connection = connected()
    channel = connection.channel()
    while True:
        for _ in range(channel.queue_declare("in", passive=True).method.message_count):
            method, _, body = channel.basic_get("in")
            if method:
                write([body])
                channel.basic_ack(method.delivery_tag)
        connection.sleep(30)


async def aio_pika_consumes_anew():
    connection = await aio_pika.connect_robust(ADDRESS)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=50)
    queue = await channel.declare_queue("in", durable=True)
    while True:
        held = []
        try:
            async with queue.iterator(timeout=10) as messages:
                async for message in messages:
                    held.append(message)
        except TimeoutError:
            write(one.body for one in held)
            for message in held:
                await message.ack()


async def aio_pika_connects_each_time():
    while True:
        async with await aio_pika.connect(ADDRESS) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("in", durable=True)
            while (message := await queue.get(fail=False)) is not None:
                write([message.body])
                await message.ack()
        await asyncio.sleep(30)


async def aio_pika_by_a_queue_of_its_own():
    connection = await aio_pika.connect_robust(ADDRESS)
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=50)
    queue = await channel.declare_queue("in", durable=True)
    todo = asyncio.Queue()
    await queue.consume(todo.put)
    while True:
        held = [await todo.get()]
        await asyncio.sleep(10)
        while not todo.empty():
            held.append(todo.get_nowait())
        write(one.body for one in held)
        for message in held:
            await message.ack()


LOOPS = [one for name, one in vars().items() if name.startswith(("pika_", "aio_pika_"))]
