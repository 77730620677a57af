"""What a stream of DynamoDB can legally do to those who read it, as rows.

There is one profile, `any`: at least once, and the changes of one item in their order.
"""

from __future__ import annotations

from typing import Final

from chaosharness.faults import Crash, Delay, LostRequest, Pause
from chaosharness.handlers.legality import PROCESS, Row, rows_of, surface_of
from chaosharness.handlers.port import Surface

ANY: Final = "any"
GUIDE: Final = 'Lambda Developer Guide, "Using AWS Lambda with Amazon DynamoDB"'


_rows: Final = rows_of("DynamoDB stream")

ROWS: Final[tuple[Row, ...]] = (
    *_rows((ANY,), "deliver", "before", (Delay, "the shard lags: all that is behind waits", GUIDE)),
    *_rows((ANY,), "checkpoint", "before", (LostRequest, "the whole batch comes again", GUIDE)),
    *_rows((ANY,), "checkpoint", "after", (Crash, "the environment dies", PROCESS)),
    *_rows(
        (ANY,),
        "checkpoint",
        "before",
        (Pause, "the environment stalls", PROCESS),
        (Crash, "the environment dies", PROCESS),
        searched=False,
    ),
    *_rows((ANY,), "checkpoint", "after", (Pause, "", PROCESS), searched=False),
)

DELIVER: Final[Surface] = surface_of(ROWS, ANY, "deliver")
CHECKPOINT: Final[Surface] = surface_of(ROWS, ANY, "checkpoint")
