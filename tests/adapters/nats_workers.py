"""Workers on JetStream as teams write them: nats-py, nothing of chaosharness."""

import json

import nats
from nats.js.api import ConsumerConfig

SERVER = "nats://bus.shop.example:4222"


async def begin():
    connection = await nats.connect(SERVER)
    stream = connection.jetstream()
    await stream.add_stream(name="ORDERS", subjects=["orders.*"])
    return connection, stream


async def place(order):
    connection = await nats.connect(SERVER)
    await connection.jetstream().publish("orders.placed", json.dumps(order).encode())
    await connection.close()


async def bill(once, settle):
    """Fetch orders, and bill each."""
    _, stream = await begin()
    config = ConsumerConfig(ack_wait=30)
    orders = await stream.pull_subscribe("orders.placed", durable="billing", config=config)
    while True:
        try:
            messages = await orders.fetch(5, timeout=5)
        except nats.errors.TimeoutError:
            continue
        for message in messages:
            try:
                order = json.loads(message.data)["id"]
            except (ValueError, KeyError):
                await message.term()
                continue
            await once(order, message)
            await settle(message)


async def ack(message):
    await message.ack()


async def ack_sync(message):
    while True:
        try:
            return await message.ack_sync(timeout=2)
        except nats.errors.TimeoutError:
            message._ackd = False


async def nak(message):
    if message.metadata.num_delivered < 2:
        await message.nak(delay=10)
    else:
        await message.in_progress()
        await message.ack()
