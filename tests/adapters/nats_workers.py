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


# ---- push consumers, and core NATS


def on_order(once):
    async def handle(message):
        try:
            order = json.loads(message.data)["id"]
        except (ValueError, KeyError):
            await message.term()
            return
        await once(order, message)
        await message.ack()

    return handle


async def push(once, **options):
    """Have the server hand out orders, and bill each."""
    connection, stream = await begin()
    handle = on_order(once)
    await stream.subscribe("orders.placed", cb=handle, manual_ack=True, **options)
    return connection


async def push_next(once):
    """The same, one after another, in a loop."""
    _, stream = await begin()
    handle = on_order(once)
    orders = await stream.subscribe("orders.placed", durable="billing")
    while True:
        try:
            message = await orders.next_msg(timeout=5)
        except nats.errors.TimeoutError:
            continue
        await handle(message)


async def say(order):
    """Tell whoever listens."""
    connection = await nats.connect(SERVER)
    await connection.publish("prices.changed", json.dumps(order).encode())
    await connection.drain()


async def ask(price):
    """Ask for a price, three times at most."""
    connection = await nats.connect(SERVER)
    for _ in range(3):
        try:
            return await connection.request("prices.get", price, timeout=1)
        except (nats.errors.TimeoutError, nats.errors.NoRespondersError):
            continue
    return None
