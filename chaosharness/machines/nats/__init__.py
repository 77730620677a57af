"""NATS JetStream: streams that keep messages, and consumers that hand them out on lease."""

from chaosharness.machines.nats.machine import NatsMachine
from chaosharness.machines.nats.settings import ConsumerSettings, StreamSettings

__all__ = ["ConsumerSettings", "NatsMachine", "StreamSettings"]
