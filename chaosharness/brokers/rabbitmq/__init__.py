"""RabbitMQ, as its documentation says it behaves, and as it was seen to."""

from __future__ import annotations

from chaosharness.brokers.rabbitmq.errors import ChannelClosed, ConsumerCancelled, Unroutable
from chaosharness.brokers.rabbitmq.rabbitmq import RabbitMQ
from chaosharness.brokers.rabbitmq.topology import Exchange, Queue

__all__ = ["ChannelClosed", "ConsumerCancelled", "Exchange", "Queue", "RabbitMQ", "Unroutable"]
