"""A worker's program, as its users write it: it knows nothing of chaosharness."""

import asyncio
import os
import signal
from datetime import timedelta

import httpx
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

TEMPORAL = os.environ.get("TEMPORAL_ADDRESS", "temporal.internal:7233")


async def charge_with(key: str, order: str) -> None:
    async with httpx.AsyncClient(timeout=5) as http:
        body = {"order": order, "cents": 500, "key": key}
        (await http.post("https://bank.example/charges", json=body)).raise_for_status()


@activity.defn(name="charge")
async def charge(order: str) -> None:
    await charge_with(order, order)


@activity.defn(name="charge")
async def charge_anew(order: str) -> None:
    await charge_with(f"{order}-{activity.info().attempt}", order)


@activity.defn(name="charge")
async def charge_slowly(order: str) -> None:
    await asyncio.sleep(20)
    await charge_with(order, order)


@workflow.defn
class Order:
    def __init__(self) -> None:
        self.packed = False

    @workflow.signal
    def pack(self) -> None:
        self.packed = True

    @workflow.run
    async def run(self, order: str) -> str:
        await workflow.execute_activity(
            "charge", order, start_to_close_timeout=timedelta(seconds=30)
        )
        await workflow.wait_condition(lambda: self.packed)
        return "done"


async def run(activity=charge) -> None:
    client = await Client.connect(TEMPORAL)
    worker = Worker(client, task_queue="orders", workflows=[Order], activities=[activity])
    await worker.run()


async def run_until_told(activity=charge_slowly) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    client = await Client.connect(TEMPORAL)
    async with Worker(
        client,
        task_queue="orders",
        workflows=[Order],
        activities=[activity],
        graceful_shutdown_timeout=timedelta(seconds=5),
    ) as worker:
        await told.wait()
    assert worker.is_shutdown and not worker.is_running


async def place(order: str) -> str:
    client = await Client.connect(TEMPORAL)
    handle = await client.start_workflow(Order.run, order, id=order, task_queue="orders")
    await handle.signal(Order.pack)
    return await handle.result()
