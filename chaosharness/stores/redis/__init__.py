"""Redis as a store: keys, counters, locks; what survives what."""

from __future__ import annotations

from chaosharness.stores.redis.redis import RedisStore

__all__ = ["RedisStore"]
