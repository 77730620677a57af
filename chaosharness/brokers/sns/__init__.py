"""SNS: topics that hand each message on to every queue that has subscribed."""

from chaosharness.brokers.sns.sns import SNS, SNSSubscription, SNSTopic

__all__ = ["SNS", "SNSSubscription", "SNSTopic"]
