"""What EventBridge can legally do to those who use it, as rows.

There is one profile, `any`: at least once, in no order.
"""

from __future__ import annotations

from typing import Final

from chaosharness.brokers.legality import At, Row, surface_of
from chaosharness.faults import (
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    Fault,
    LostReply,
    LostRequest,
    NetworkPartition,
    Pause,
)
from chaosharness.handlers.port import Surface
from chaosharness.kernel.site import Phase

ANY: Final = "any"
GUIDE: Final = "EventBridge User Guide"
HTTP: Final = "HTTP, and the retries of AWS SDKs"
PROCESS: Final = "any process"
PUT: Final = f'{GUIDE}, "Sending events with PutEvents": handling failures'
RETRIES: Final = f'{GUIDE}, "How EventBridge retries delivering events"'
TWICE: Final = f'{GUIDE}, "Troubleshooting": my rule ran more than once for one event'


def _rows(
    at: At, phase: Phase, *kinds: tuple[type[Fault], str, str], searched: bool = True
) -> tuple[Row, ...]:
    return tuple(
        Row("EventBridge", ANY, at, phase, fault, source, condition, searched)
        for fault, condition, source in kinds
    )


STALLS: Final = ((Pause, "the process stalls", PROCESS), (Crash, "the process dies", PROCESS))

ROWS: Final[tuple[Row, ...]] = (
    *_rows(
        "publish",
        "before",
        (Delay, "the request takes longer; requests do not wait for each other", HTTP),
        (Duplicate, "the SDK repeats a call whose answer was lost: two events", HTTP),
        (ErrorReply, "throttled, or a passing server error", HTTP),
        (LostRequest, "it never arrives", HTTP),
        (NetworkPartition, "EventBridge cannot be reached", HTTP),
    ),
    *_rows("publish", "after", (LostReply, "the caller sees a timeout", HTTP), *STALLS),
    *_rows("publish", "before", *STALLS, searched=False),
    *_rows(
        "entry",
        "before",
        (ErrorReply, "this entry fails, and the call succeeds: `FailedEntryCount` says so", PUT),
    ),
    *_rows(
        "fan out",
        "before",
        (Delay, "this target gets it later: there is no order", RETRIES),
        (ErrorReply, "an attempt fails, and is repeated", RETRIES),
    ),
    *_rows("fan out", "after", (Duplicate, "the target gets it twice", TWICE)),
)

PUBLISH: Final[Surface] = surface_of(ROWS, ANY, "publish")
ENTRY: Final[Surface] = surface_of(ROWS, ANY, "entry")
FAN_OUT: Final[Surface] = surface_of(ROWS, ANY, "fan out")
