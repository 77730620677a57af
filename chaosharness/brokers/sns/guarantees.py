"""How little SNS may promise: a standard topic in the place of a FIFO one."""

from __future__ import annotations

from typing import Final

import attrs

from chaosharness.brokers.guarantees import Guarantee
from chaosharness.brokers.sns.sns import SNS
from chaosharness.brokers.sqs.sqs import FIFO


def _standard(topics: SNS) -> SNS:
    if not any(name.endswith(FIFO) for name in topics.topics):
        return topics
    return attrs.evolve(topics, fifo=False)


GUARANTEES: Final = (
    Guarantee(
        "SNS",
        "standard",
        "FIFO",
        "at least once",
        "best effort",
        "a subscriber gets messages in another order, twice, and what is published again as new",
        'SNS Developer Guide, "Message delivery for standard topics" and "for FIFO topics"',
        _standard,
    ),
)
