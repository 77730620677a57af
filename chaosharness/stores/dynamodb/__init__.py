"""DynamoDB as a store: conditional writes, transactions, reads that are behind."""

from __future__ import annotations

from chaosharness.stores.dynamodb.connection import DynamoConnection, DynamoError
from chaosharness.stores.dynamodb.dynamodb import DynamoDB, DynamoTable

__all__ = ["DynamoConnection", "DynamoDB", "DynamoError", "DynamoTable"]
