"""What SQS can legally do to those who use it, as rows.

`standard` is the weakest: at least once, best-effort order. `fifo` keeps the order of a group and
hands nothing out twice within its visibility timeout, so it has neither of the two faults of
`standard` at a delivery.
"""

from __future__ import annotations

from typing import Final

from chaosharness.faults import (
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    LostReply,
    LostRequest,
    NetworkPartition,
    Pause,
    Poison,
    Redeliver,
)
from chaosharness.handlers.legality import (
    ANYWHERE,
    PROCESS,
    STALLS,
    At,
    Row,
    rows_of,
    stop_of,
    surface_of,
)
from chaosharness.handlers.port import Surface

BOTH: Final = ("standard", "fifo")
GUIDE: Final = "SQS Developer Guide"
HTTP: Final = "HTTP, and the retries of AWS SDKs"
RETRY: Final = f'{GUIDE}, "At-least-once delivery"'
ORDER: Final = f'{GUIDE}, "Standard queues": best-effort ordering, short polling'
ENTRY: Final = "API Reference, SendMessageBatch: check for errors at a status of 200, too"
RECEIVE: Final = f'{GUIDE}, "Visibility timeout"; API Reference, ReceiveRequestAttemptId'


_rows: Final = rows_of("SQS")


ROWS: Final[tuple[Row, ...]] = (
    *_rows(
        BOTH,
        "publish",
        "before",
        (Delay, "the request takes longer; requests do not wait for each other", HTTP),
        (ErrorReply, "throttled, or a passing server error", HTTP),
        (LostRequest, "it never arrives", HTTP),
        (Poison, "somebody sends what nobody can read", GUIDE),
        (NetworkPartition, "SQS cannot be reached", HTTP),
    ),
    *_rows(
        ("standard",),
        "publish",
        "before",
        (Duplicate, "the SDK repeats a call whose answer was lost: two messages", HTTP),
    ),
    *_rows(BOTH, "publish", "after", (LostReply, "the caller sees a timeout", HTTP), *STALLS),
    *_rows(BOTH, "publish", "before", *STALLS, searched=False),
    *_rows(
        BOTH,
        "entry of a batch",
        "before",
        (ErrorReply, "it fails alone, and the call succeeds: `Failed` says so", ENTRY),
    ),
    *_rows(BOTH, "receive", "before", (ErrorReply, "throttled, or a passing server error", HTTP)),
    *_rows(BOTH, "receive", "before", *STALLS, searched=False),
    *_rows(BOTH, "receive", "after", *STALLS, searched=False),
    *_rows(
        ("standard",),
        "deliver",
        "before",
        (Delay, "the servers asked do not have it: later messages overtake it", ORDER),
    ),
    *_rows(BOTH, "deliver", "before", (NetworkPartition, "SQS cannot be reached", HTTP)),
    *_rows(
        ("standard",),
        "deliver",
        "after",
        (Redeliver, "a second server keeps its copy: it comes again, even if deleted", RETRY),
    ),
    *_rows(
        BOTH,
        "deliver",
        "after",
        (LostReply, "the answer of the receive is lost: hidden until its time is over", RECEIVE),
    ),
    *_rows(BOTH, "delete", "before", (LostRequest, "it comes again", HTTP)),
    *_rows(BOTH, "delete", "after", (Crash, "the process dies", PROCESS)),
    *_rows(BOTH, "delete", "before", *STALLS, searched=False),
    *_rows(BOTH, "delete", "after", (Pause, "", PROCESS), (LostReply, "", HTTP), searched=False),
    *_rows(BOTH, "loop delete", "before", (LostRequest, "it comes again", HTTP)),
    *_rows(
        BOTH,
        "loop delete",
        "after",
        (LostReply, "the caller sees a timeout", HTTP),
        (Crash, "the process dies", PROCESS),
    ),
    *_rows(BOTH, "loop delete", "before", *STALLS, searched=False),
    *_rows(BOTH, "loop delete", "after", (Pause, "", PROCESS), searched=False),
    *_rows(BOTH, "redrive", "before", (LostRequest, "nothing is moved", HTTP)),
    *_rows(
        BOTH,
        "redrive",
        "after",
        (LostReply, "it is moved; who asks again is told that it is", HTTP),
        (Crash, "the process dies", PROCESS),
    ),
    *_rows(BOTH, "redrive", "before", *STALLS, searched=False),
    *_rows(BOTH, "redrive", "after", (Pause, "", PROCESS), searched=False),
    *_rows(BOTH, "change", "before", (LostRequest, "the old time stands", HTTP)),
    *_rows(BOTH, "change", "before", *STALLS, searched=False),
    *_rows(BOTH, "change", "after", (LostReply, "", HTTP), *STALLS, searched=False),
    *_rows(
        BOTH,
        ANYWHERE,
        "after",
        stop_of(
            "nothing more is received, and what is in hand is deleted; "
            "what was received and not begun comes again when its visibility is over",
            'SQS Developer Guide, "Visibility timeout"',
        ),
        searched=False,
    ),
)

SURFACES: Final[dict[tuple[str, At], Surface]] = {
    (profile, at): surface_of(ROWS, profile, at)
    for profile in BOTH
    for at in (
        "publish",
        "entry of a batch",
        "receive",
        "deliver",
        "delete",
        "loop delete",
        "redrive",
        "change",
    )
}
