"""DynamoDB as a pure machine: tables, expressions, transactions; see `machine.py`."""

from chaosharness.machines.dynamodb.evaluating import Item
from chaosharness.machines.dynamodb.machine import DynamoMachine, Failure
from chaosharness.machines.dynamodb.tables import TableSettings

__all__ = ["DynamoMachine", "Failure", "Item", "TableSettings"]
