"""The worker: each request is paid out, told of, and only then done with."""

from __future__ import annotations

import json
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import CommitFailedError, IllegalStateError

SERVERS = "kafka:9092"
BANK = "https://api.bank.example/transfers"


def consumer_of(**options: Any) -> Any:
    return AIOKafkaConsumer(
        "requests",
        bootstrap_servers=SERVERS,
        group_id="payouts",
        auto_offset_reset="earliest",
        **options,
    )


async def run() -> None:
    async with (
        httpx.AsyncClient(timeout=5) as bank,
        AIOKafkaProducer(bootstrap_servers=SERVERS, enable_idempotence=True) as producer,
        consumer_of(enable_auto_commit=False) as consumer,
    ):
        async for message in consumer:
            await handle(message, bank, producer)
            try:
                await consumer.commit()
            except (CommitFailedError, IllegalStateError):
                continue  # somebody else has it now, and will find it paid out


async def handle(message: Any, bank: httpx.AsyncClient, producer: Any) -> None:
    request = request_of(message)
    if request is None:
        return
    await pay_out(request, bank)
    await producer.send_and_wait("paid-out", message.value, key=message.key)


def request_of(message: Any) -> dict[str, Any] | None:
    """Return the request in a message; None if it is none, which nobody can mend here."""
    try:
        request = json.loads(message.value or b"")
    except ValueError:
        return None
    return request if "id" in request and "cents" in request else None


async def pay_out(request: dict[str, Any], bank: httpx.AsyncClient) -> None:
    body = {"order": request["id"], "cents": request["cents"]}
    answer = await bank.post(BANK, json=body, headers={"Idempotency-Key": request["id"]})
    answer.raise_for_status()
