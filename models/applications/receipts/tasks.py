"""The broker, and the task that charges: what fails comes again, under the same key."""

from __future__ import annotations

import asyncio

import httpx
from taskiq.api import run_receiver_task
from taskiq_aio_pika import AioPikaBroker

broker = AioPikaBroker("amqp://guest:guest@rabbit/")
BANK = "https://api.bank.example/charges"


async def post(order: str, cents: int, key: str) -> None:
    """Charge until the bank has answered: taskiq acknowledges a task that raises."""
    async with httpx.AsyncClient() as client:
        while True:
            try:
                body = {"order": order, "cents": cents}
                headers = {"Idempotency-Key": key} if key else {}
                answer = await client.post(BANK, json=body, headers=headers, timeout=10)
                answer.raise_for_status()
                return
            except httpx.HTTPError:
                await asyncio.sleep(5)


@broker.task
async def charge(order: str, cents: int) -> None:
    await post(order, cents, order)


@broker.task
async def keyless(order: str, cents: int) -> None:
    """Charge without a key."""
    await post(order, cents, "")


@broker.task(ack_type="when_received")
async def acknowledged_first(order: str, cents: int) -> None:
    """Acknowledge before the work."""
    await post(order, cents, order)


@broker.task
async def once(order: str, cents: int) -> None:
    """Fail where the bank does: a task that raises is acknowledged as any other."""
    async with httpx.AsyncClient() as client:
        body = {"order": order, "cents": cents}
        headers = {"Idempotency-Key": order}
        (await client.post(BANK, json=body, headers=headers, timeout=10)).raise_for_status()


async def work() -> None:
    """What `taskiq worker models.applications.receipts.tasks:broker` runs in each process."""
    await run_receiver_task(broker, run_startup=True)


async def send(task: str, order: str, cents: int) -> None:
    await broker.startup()
    await globals()[task].kiq(order, cents)
