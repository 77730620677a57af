"""NATS JetStream: streams that keep messages, and consumers that hand them out on lease."""

from chaosharness.brokers.nats.errors import NATSError
from chaosharness.brokers.nats.nats import NATS, NATSConsumer, NATSStream

__all__ = ["NATS", "NATSConsumer", "NATSError", "NATSStream"]
