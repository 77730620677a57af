"""How little Redis may promise: acknowledged writes that a failover loses."""

from __future__ import annotations

from typing import Final

import attrs

from chaosharness.brokers.guarantees import Guarantee
from chaosharness.brokers.redis.redis import Redis

EVERYSEC_MS: Final = 1_000


def _replicated(server: Redis) -> Redis:
    return server if server.loses_ms is not None else attrs.evolve(server, loses_ms=EVERYSEC_MS)


GUARANTEES: Final = (
    Guarantee(
        "Redis",
        "replicated",
        "writes that last",
        "at most once",
        "of a stream",
        "a failover loses what was written in the second before it, acknowledged or not",
        'redis.io, "Redis replication" and "Redis persistence" (`appendfsync everysec`)',
        _replicated,
    ),
)
