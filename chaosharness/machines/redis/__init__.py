"""Redis Streams, without a world: streams, consumer groups, and who holds what."""

from chaosharness.machines.redis.ids import StreamId
from chaosharness.machines.redis.machine import RedisMachine

__all__ = ["RedisMachine", "StreamId"]
