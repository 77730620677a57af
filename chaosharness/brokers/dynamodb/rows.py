"""What a stream of DynamoDB can legally do to those who read it, as rows.

There is one profile, `any`: at least once, and the changes of one item in their order.
"""

from __future__ import annotations

from typing import Final

from chaosharness.brokers.legality import At, Row, surface_of
from chaosharness.faults import Crash, Delay, Fault, LostRequest, Pause
from chaosharness.handlers.port import Surface
from chaosharness.kernel.site import Phase

ANY: Final = "any"
GUIDE: Final = 'Lambda Developer Guide, "Using AWS Lambda with Amazon DynamoDB"'
PROCESS: Final = "any process"


def _rows(
    at: At, phase: Phase, *kinds: tuple[type[Fault], str, str], searched: bool = True
) -> tuple[Row, ...]:
    return tuple(
        Row("DynamoDB stream", ANY, at, phase, fault, source, condition, searched)
        for fault, condition, source in kinds
    )


ROWS: Final[tuple[Row, ...]] = (
    *_rows("deliver", "before", (Delay, "the shard lags: all that is behind waits", GUIDE)),
    *_rows("checkpoint", "before", (LostRequest, "the whole batch comes again", GUIDE)),
    *_rows("checkpoint", "after", (Crash, "the environment dies", PROCESS)),
    *_rows(
        "checkpoint",
        "before",
        (Pause, "the environment stalls", PROCESS),
        (Crash, "the environment dies", PROCESS),
        searched=False,
    ),
    *_rows("checkpoint", "after", (Pause, "", PROCESS), searched=False),
)

DELIVER: Final[Surface] = surface_of(ROWS, ANY, "deliver")
CHECKPOINT: Final[Surface] = surface_of(ROWS, ANY, "checkpoint")
