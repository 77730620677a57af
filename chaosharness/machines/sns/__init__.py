"""SNS: topics that hand each message on to every subscriber."""

from chaosharness.machines.sns.machine import SnsMachine, SubscriptionSettings, TopicSettings

__all__ = ["SnsMachine", "SubscriptionSettings", "TopicSettings"]
