"""Streams of DynamoDB tables, as Lambda functions get them."""

from chaosharness.brokers.dynamodb.stream import DynamoStream

__all__ = ["DynamoStream"]
