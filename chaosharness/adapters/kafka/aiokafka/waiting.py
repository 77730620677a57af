"""What aiokafka waits for before it gives up: topics that are not there.

Source:
    aiokafka 0.14, `client.py`, `_wait_on_metadata`; `consumer/fetcher.py`, `_retrieve_offsets`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from aiokafka import errors

from chaosharness.adapters.kafka.absent import is_absent, is_unknown

SECOND_MS: Final = 1_000


async def until_there(cluster: Any, topic: str, patience_ms: float) -> None:
    """Wait until a topic is there.

    Raises:
        UnknownTopicOrPartitionError: It was not, for so long.
    """
    if not is_absent(cluster, topic):
        return
    made: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tell(_: Any) -> None:
        if not made.done():
            made.set_result(None)

    cluster.learning.when_made(topic, tell)
    await asyncio.wait([made], timeout=patience_ms / SECOND_MS)
    if topic not in cluster.logs:
        raise errors.UnknownTopicOrPartitionError


async def until_known(cluster: Any, places: Iterable[Any], patience_ms: float) -> None:
    """Wait until the log partitions of which offsets are asked are there.

    Raises:
        KafkaTimeoutError: They were not, for so long.
    """
    for one in places:
        if is_unknown(cluster, one):
            await asyncio.sleep(patience_ms / SECOND_MS)
        if is_unknown(cluster, one):
            words = f"Failed to get offsets by times in {patience_ms} ms"
            raise errors.KafkaTimeoutError(words)
