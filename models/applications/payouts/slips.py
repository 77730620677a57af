"""What goes wrong with such a worker: each function is one with one slip."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer
from aiokafka.errors import CommitFailedError, IllegalStateError

from models.applications.payouts.worker import (
    BANK,
    SERVERS,
    consumer_of,
    handle,
    pay_out,
    request_of,
)


async def commits_by_itself() -> None:
    """Leave commits to the client, which commits what is not done yet."""

    async def take(message: Any, bank: Any, producer: Any) -> None:
        await asyncio.sleep(6)  # a look at the risk of it
        await handle(message, bank, producer)

    await _loop(take, commits=False)


async def not_waited_for() -> None:
    """Take `send` for sent: it returns a future, and the commit comes first."""

    async def take(message: Any, bank: Any, producer: Any) -> None:
        request = request_of(message)
        if request is not None:
            await pay_out(request, bank)
            await producer.send("paid-out", message.value, key=message.key)

    await _loop(take)


async def keyless() -> None:
    """Pay out without a key: a request that comes again is paid out again."""

    async def take(message: Any, bank: Any, producer: Any) -> None:
        request = request_of(message)
        if request is not None:
            body = {"order": request["id"], "cents": request["cents"]}
            (await bank.post(BANK, json=body)).raise_for_status()
            await producer.send_and_wait("paid-out", message.value, key=message.key)

    await _loop(take)


async def passes_what_failed() -> None:
    """Log an error and go on: the next commit passes the request that was not paid out."""

    async def take(message: Any, bank: Any, producer: Any) -> None:
        try:
            await handle(message, bank, producer)
        except httpx.HTTPError:
            logging.getLogger(__name__).debug("not paid out", exc_info=True)

    await _loop(take)


async def _loop(take: Callable[[Any, Any, Any], Awaitable[None]], *, commits: bool = True) -> None:
    async with (
        httpx.AsyncClient(timeout=5) as bank,
        AIOKafkaProducer(bootstrap_servers=SERVERS, enable_idempotence=True) as producer,
        consumer_of(enable_auto_commit=not commits) as consumer,
    ):
        async for message in consumer:
            await take(message, bank, producer)
            if commits:
                with suppress(CommitFailedError, IllegalStateError):
                    await consumer.commit()
