"""EventBridge: a bus whose rules hand events on to queues."""

from chaosharness.brokers.eventbridge.eventbridge import EventBridge, EventRule, EventTarget

__all__ = ["EventBridge", "EventRule", "EventTarget"]
