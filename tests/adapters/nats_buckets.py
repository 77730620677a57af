"""Code that keeps what it knows in buckets of NATS, and knows nothing of the harness."""

import asyncio
import json

import nats
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError

SERVER = "nats://bus.shop.example:4222"


async def connected():
    connection = await nats.connect(SERVER)
    js = connection.jetstream()
    await js.add_stream(name="ORDERS", subjects=["orders.*"])
    return connection, js


async def place(order):
    connection, js = await connected()
    try:
        body = json.dumps(order).encode()
        await js.publish("orders.placed", body, headers={"Nats-Msg-Id": order["id"]})
    finally:
        await connection.close()


async def handled(handle, durable="stock"):
    """Handle each order, and acknowledge it."""
    _, js = await connected()
    bucket = await js.create_key_value(bucket="stock", history=5)
    orders = await js.pull_subscribe("orders.placed", durable=durable)
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
            await handle(bucket, order)
            await message.ack()


async def count_blindly(bucket, order):
    """A broken one: what it read may be old, and an order that comes again counts again."""
    try:
        sold = int((await bucket.get("sold")).value)
    except KeyNotFoundError:
        sold = 0
    await bucket.put("sold", str(sold + 1).encode())


async def count_by_revision(bucket, order):
    """A right one: the orders are part of what is counted, and a revision is written over once."""
    while True:
        try:
            entry = await bucket.get("sold")
        except KeyNotFoundError:
            try:
                await bucket.create("sold", json.dumps([order]).encode())
            except KeyWrongLastSequenceError:
                continue
            return
        sold = json.loads(entry.value)
        if order in sold:
            return
        try:
            await bucket.update("sold", json.dumps(sorted([*sold, order])).encode(), entry.revision)
        except KeyWrongLastSequenceError:
            continue
        return


async def mark_each(bucket, order):
    """A right one: a key for each order."""
    try:
        await bucket.create(order, b"sold")
    except KeyWrongLastSequenceError:
        return


async def shown(put, **options):
    """Show what a bucket holds, and what becomes of it."""
    _, js = await connected()
    bucket = await js.create_key_value(bucket="stock", history=5)
    watcher = await bucket.watchall(**options)
    async for entry in watcher:
        if entry is not None:
            await put(entry.key, entry.value.decode())


async def listed(put, tries=10**9):
    """Show what a stream holds, in its order; who tries once only has nothing come again."""

    async def on_order(message):
        try:
            order = json.loads(message.data)["id"]
        except (ValueError, KeyError):
            return
        for _ in range(tries):
            try:
                return await put(order, message.metadata.sequence.stream)
            except (ConnectionError, TimeoutError):
                await asyncio.sleep(1)

    _, js = await connected()
    await js.subscribe("orders.placed", cb=on_order, ordered_consumer=True)
    await asyncio.Event().wait()


async def filed(put):
    """Put each order into a file of its own, and show what is in it."""
    _, js = await connected()
    bucket = await js.create_object_store("files")
    orders = await js.pull_subscribe("orders.placed", durable="files")
    while True:
        try:
            [message] = await orders.fetch(1, timeout=5)
        except nats.errors.TimeoutError:
            continue
        try:
            order = json.loads(message.data)["id"]
        except (ValueError, KeyError):
            await message.term()
            continue
        await bucket.put(order, b"paper" * 100)
        found = await bucket.get(order)
        await put(order, len(found.data))
        await message.ack()
