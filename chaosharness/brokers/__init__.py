"""Message brokers, each with the rules of its product and no more faults than it has."""

from __future__ import annotations

from typing import Final

from chaosharness.brokers.broker import Broker
from chaosharness.brokers.kafka import CommitFailed, Kafka, ProducerFenced, RecordTooLarge
from chaosharness.brokers.message import Delivery
from chaosharness.brokers.nats import NATS, NATSConsumer, NATSError, NATSStream
from chaosharness.brokers.rabbitmq import (
    ChannelClosed,
    ConsumerCancelled,
    Exchange,
    Queue,
    RabbitMQ,
    Unroutable,
)
from chaosharness.brokers.redis import Pending, Redis, RedisError, RedisStream
from chaosharness.brokers.sns import SNS, SNSSubscription, SNSTopic
from chaosharness.brokers.sqs import SQS, AWSError, Lambda, SQSQueue

BROKERS: Final[tuple[type[Broker], ...]] = (Kafka, RabbitMQ, SQS, NATS, Redis)
"""Every product that is modelled. The laws in the tests hold for each of them."""

__all__ = [
    "BROKERS",
    "NATS",
    "SNS",
    "SQS",
    "AWSError",
    "Broker",
    "ChannelClosed",
    "CommitFailed",
    "ConsumerCancelled",
    "Delivery",
    "Exchange",
    "Kafka",
    "Lambda",
    "NATSConsumer",
    "NATSError",
    "NATSStream",
    "Pending",
    "ProducerFenced",
    "Queue",
    "RabbitMQ",
    "RecordTooLarge",
    "Redis",
    "RedisError",
    "RedisStream",
    "SNSSubscription",
    "SNSTopic",
    "SQSQueue",
    "Unroutable",
]
