"""SQS: queues whose messages are leased."""

from chaosharness.machines.sqs.machine import SqsMachine
from chaosharness.machines.sqs.settings import QueueSettings

__all__ = ["QueueSettings", "SqsMachine"]
