"""What SNS can legally do to those who use it, as rows."""

from __future__ import annotations

from typing import Final

import attrs

from chaosharness.brokers.sqs.rows import BOTH
from chaosharness.brokers.sqs.rows import ROWS as SQS_ROWS
from chaosharness.faults import Delay, Duplicate, ErrorReply
from chaosharness.handlers.legality import At, Row, surface_of
from chaosharness.handlers.port import Surface

RETRIES: Final = 'SNS Developer Guide, "Message delivery retries"'
LATE: Final = "this subscriber gets it later than the others"
FAILS: Final = "an attempt fails, and is repeated"
TWICE: Final = "the queue's answer is lost: it gets it twice"

FROM_SQS: Final = ("publish", "entry of a batch")
"""What is asked of SNS as it is of SQS."""

ROWS: Final[tuple[Row, ...]] = (
    *(attrs.evolve(row, product="SNS") for row in SQS_ROWS if row.at in FROM_SQS),
    *(Row("SNS", profile, "fan out", "before", Delay, RETRIES, LATE) for profile in BOTH),
    *(Row("SNS", profile, "fan out", "before", ErrorReply, RETRIES, FAILS) for profile in BOTH),
    Row("SNS", "standard", "fan out", "after", Duplicate, RETRIES, TWICE),
)

SURFACES: Final[dict[tuple[str, At], Surface]] = {
    (profile, at): surface_of(ROWS, profile, at)
    for profile in BOTH
    for at in (*FROM_SQS, "fan out")
}
