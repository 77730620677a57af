"""SQS: queues whose messages are leased."""

from chaosharness.brokers.sqs.errors import AWSError
from chaosharness.brokers.sqs.function import Lambda
from chaosharness.brokers.sqs.sqs import SQS, SQSQueue

__all__ = ["SQS", "AWSError", "Lambda", "SQSQueue"]
