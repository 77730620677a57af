"""RabbitMQ, as its documentation says it behaves, and as it was seen to."""

from __future__ import annotations

from chaosharness.brokers.rabbitmq.consumers import ChannelClosed
from chaosharness.brokers.rabbitmq.rabbitmq import RabbitMQ, Unroutable
from chaosharness.brokers.rabbitmq.topology import Exchange, Queue

__all__ = ["ChannelClosed", "Exchange", "Queue", "RabbitMQ", "Unroutable"]
