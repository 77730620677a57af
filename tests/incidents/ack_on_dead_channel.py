"""An acknowledgement on a channel that is gone raises, and the consuming task is never seen again.

Kind: consumer dies silently, process lives on. Sources: mosquito/aio-pika issues 501 and 688,
taskiq-python/taskiq-aio-pika pull request 59.
Smallest fault: 1 (connection lost while a message is worked on).
Expected: `broken` is reported (messages stay in the queue for ever, nobody consumes). `right`
holds: the task goes on with the next message; the work knows a repeat.
"""

import asyncio
from contextlib import suppress

from chaosharness import ChannelClosed, External, Queue, RabbitMQ, System, eventually

FAULTS = 1


class Thumbnails:
    def __init__(self):
        self.made = set()

    def make(self, picture):
        if picture in self.made:
            return External.unchanged()
        self.made.add(picture)


def build(name, *, fixed):
    system = System(name)
    bus = system.add(
        RabbitMQ(
            "bus", queues={"pictures": Queue("quorum", dead_letter="parked"), "parked": Queue()}
        )
    )
    service = system.add(External("thumbnails", Thumbnails))

    @system.service("worker")
    def worker(env):
        consumer = env.consumer(bus, "pictures", read_as=bytes, prefetch=1)
        client = env.client(service)

        async def handle(message):
            await client.make(message.value.decode("utf-8", "replace"))
            await consumer.ack(message)

        async def consume():
            async for message in consumer:
                if not fixed:
                    await handle(message)
                    continue
                try:
                    await handle(message)
                except ChannelClosed:
                    continue  # it comes again
                except (ConnectionError, TimeoutError):
                    await asyncio.sleep(1)
                    with suppress(ChannelClosed):
                        await consumer.nack(message)

        tasks = set()

        async def main():
            tasks.add(asyncio.create_task(consume()))
            await asyncio.Event().wait()  # for ever: the process has other things to do

        env.main(main)

    @system.entry(examples=["p1", "p2"])
    def upload(env, picture):
        env.publisher(bus)("pictures", picture.encode(), key=picture)

    return system


def all_made(history):
    if any(history.of("dead")):
        return True  # put aside for a person
    return {"p1", "p2"} <= {e.data["picture"] for e in history.of("effect")}


CLAIMS = [eventually("every picture has a thumbnail", all_made)]
broken = build("ack on a dead channel", fixed=False)
right = build("ack on a dead channel is survived", fixed=True)
