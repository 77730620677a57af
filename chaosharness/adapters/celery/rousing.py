"""Rousing a worker that waits for Redis: apart, for Celery on RabbitMQ has no redis-py."""

from __future__ import annotations

from typing import Final

from chaosharness.kernel.scope import Incarnation
from chaosharness.stores.redis.redis import OpenRedis

ROUSED: Final = "roused"
"""What has whoever waits look up, though nothing has come."""


def rouse(incarnation: Incarnation) -> None:
    """Have a worker look up that waits."""
    for store in incarnation.world.states.values():
        book = store.kept.get("celery") if isinstance(store, OpenRedis) else None
        for one, inbox in [] if book is None else book.waiting:
            if one is incarnation:
                inbox.put(ROUSED)
