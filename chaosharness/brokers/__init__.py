"""Message brokers, each with the rules of its product and no more faults than it has."""

from __future__ import annotations

from typing import Any, Final

from chaosharness.brokers.broker import Broker
from chaosharness.brokers.dynamodb import DynamoStream
from chaosharness.brokers.eventbridge import EventBridge, EventRule, EventTarget
from chaosharness.brokers.guarantees import Guarantee
from chaosharness.brokers.kafka import (
    CommitFailed,
    InvalidRecord,
    Kafka,
    KafkaTopic,
    ProducerFenced,
    RecordTooLarge,
)
from chaosharness.brokers.kafka import guarantees as kafka
from chaosharness.brokers.message import Delivery
from chaosharness.brokers.nats import NATS, NATSConsumer, NATSError, NATSStream
from chaosharness.brokers.nats import guarantees as nats
from chaosharness.brokers.rabbitmq import (
    ChannelClosed,
    ConsumerCancelled,
    Exchange,
    Queue,
    RabbitMQ,
    Unroutable,
)
from chaosharness.brokers.rabbitmq import guarantees as rabbitmq
from chaosharness.brokers.redis import Pending, Redis, RedisError, RedisStream
from chaosharness.brokers.redis import guarantees as redis
from chaosharness.brokers.sns import SNS, SNSSubscription, SNSTopic
from chaosharness.brokers.sns import guarantees as sns
from chaosharness.brokers.sqs import SQS, AWSError, Lambda, SQSQueue
from chaosharness.brokers.sqs import guarantees as sqs

BROKERS: Final[tuple[type[Broker], ...]] = (Kafka, RabbitMQ, SQS, NATS, Redis)
"""Every product that is modelled. The laws in the tests hold for each of them."""

GUARANTEES: Final[dict[type[Any], tuple[Guarantee, ...]]] = {
    Kafka: kafka.GUARANTEES,
    RabbitMQ: rabbitmq.GUARANTEES,
    SQS: sqs.GUARANTEES,
    SNS: sns.GUARANTEES,
    NATS: nats.GUARANTEES,
    Redis: redis.GUARANTEES,
}
"""What each product can promise less than it may be declared to."""

__all__ = [
    "BROKERS",
    "GUARANTEES",
    "NATS",
    "SNS",
    "SQS",
    "AWSError",
    "Broker",
    "ChannelClosed",
    "CommitFailed",
    "ConsumerCancelled",
    "Delivery",
    "DynamoStream",
    "EventBridge",
    "EventRule",
    "EventTarget",
    "Exchange",
    "Guarantee",
    "InvalidRecord",
    "Kafka",
    "KafkaTopic",
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
