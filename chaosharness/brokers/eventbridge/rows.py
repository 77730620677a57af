"""What EventBridge can legally do to those who use it, as rows.

There is one profile, `any`: at least once, in no order.
"""

from __future__ import annotations

from typing import Final

from chaosharness.faults import (
    Delay,
    Duplicate,
    ErrorReply,
    LostReply,
    LostRequest,
    NetworkPartition,
)
from chaosharness.handlers.legality import STALLS, Row, rows_of, surface_of
from chaosharness.handlers.port import Surface

ANY: Final = "any"
GUIDE: Final = "EventBridge User Guide"
HTTP: Final = "HTTP, and the retries of AWS SDKs"
PUT: Final = f'{GUIDE}, "Sending events with PutEvents": handling failures'
RETRIES: Final = f'{GUIDE}, "How EventBridge retries delivering events"'
TWICE: Final = f'{GUIDE}, "Troubleshooting": my rule ran more than once for one event'


_rows: Final = rows_of("EventBridge")


ROWS: Final[tuple[Row, ...]] = (
    *_rows(
        (ANY,),
        "publish",
        "before",
        (Delay, "the request takes longer; requests do not wait for each other", HTTP),
        (Duplicate, "the SDK repeats a call whose answer was lost: two events", HTTP),
        (ErrorReply, "throttled, or a passing server error", HTTP),
        (LostRequest, "it never arrives", HTTP),
        (NetworkPartition, "EventBridge cannot be reached", HTTP),
    ),
    *_rows((ANY,), "publish", "after", (LostReply, "the caller sees a timeout", HTTP), *STALLS),
    *_rows((ANY,), "publish", "before", *STALLS, searched=False),
    *_rows(
        (ANY,),
        "entry",
        "before",
        (ErrorReply, "this entry fails, and the call succeeds: `FailedEntryCount` says so", PUT),
    ),
    *_rows(
        (ANY,),
        "fan out",
        "before",
        (Delay, "this target gets it later: there is no order", RETRIES),
        (ErrorReply, "an attempt fails, and is repeated", RETRIES),
    ),
    *_rows((ANY,), "fan out", "after", (Duplicate, "the target gets it twice", TWICE)),
)

PUBLISH: Final[Surface] = surface_of(ROWS, ANY, "publish")
ENTRY: Final[Surface] = surface_of(ROWS, ANY, "entry")
FAN_OUT: Final[Surface] = surface_of(ROWS, ANY, "fan out")
