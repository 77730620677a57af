"""Redis Streams: a log that groups share, and pending lists that nobody empties for you."""

from chaosharness.brokers.redis.consumers import Pending
from chaosharness.brokers.redis.errors import RedisError
from chaosharness.brokers.redis.redis import Redis, RedisStream

__all__ = ["Pending", "Redis", "RedisError", "RedisStream"]
