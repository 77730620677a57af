"""How little SQS may promise: a standard queue in the place of a FIFO one."""

from __future__ import annotations

from typing import Final

import attrs

from chaosharness.brokers.guarantees import Guarantee
from chaosharness.brokers.sqs.sqs import FIFO, SQS


def _standard(queues: SQS) -> SQS:
    if not any(name.endswith(FIFO) for name in queues.queues):
        return queues
    return attrs.evolve(queues, fifo=False)


GUARANTEES: Final = (
    Guarantee(
        "SQS",
        "standard",
        "FIFO",
        "at least once",
        "best effort",
        "messages overtake each other, come twice, and are not recognised when they are sent again",
        'SQS Developer Guide, "Amazon SQS standard queues"',
        _standard,
    ),
)
