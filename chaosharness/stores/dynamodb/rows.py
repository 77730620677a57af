"""What a request to DynamoDB's tables can legally suffer, as rows.

There is one profile, `any`. Code on ports asks by these; code that uses boto3 asks as for any
call (`externals/rows.py`), and meets the same tables: their copies and batches are here.
"""

from __future__ import annotations

from typing import Final

from chaosharness.faults import Delay, ErrorReply, LostReply, LostRequest, NetworkPartition
from chaosharness.handlers.legality import DEATH, STALL, Row, rows_of, surface_of
from chaosharness.handlers.port import Surface

ANY: Final = "any"
GUIDE: Final = "DynamoDB Developer Guide"
ERRORS: Final = f'{GUIDE}, "Error handling with DynamoDB"'
HTTP: Final = "HTTP, and the retries of AWS SDKs"
READS: Final = f'{GUIDE}, "Read consistency"'
BATCH: Final = "API Reference, BatchWriteItem: UnprocessedItems"

_rows: Final = rows_of("DynamoDB")
_REFUSED: Final = (
    (ErrorReply, "ProvisionedThroughputExceededException; nothing happened", ERRORS),
    (LostRequest, "it never arrives: the caller sees a timeout", HTTP),
)
_CUT: Final = (NetworkPartition, "DynamoDB cannot be reached", HTTP)

ROWS: Final[tuple[Row, ...]] = (
    *_rows((ANY,), "read", "before", *_REFUSED),
    *_rows((ANY,), "read", "before", DEATH, STALL, _CUT, searched=False),
    *_rows((ANY,), "read", "after", STALL),
    *_rows((ANY,), "read", "after", DEATH, searched=False),
    *_rows((ANY,), "write", "before", *_REFUSED, _CUT),
    *_rows((ANY,), "write", "before", STALL, DEATH, searched=False),
    *_rows((ANY,), "write", "after", (LostReply, "done: the caller sees a timeout", HTTP)),
    *_rows((ANY,), "write", "after", STALL, DEATH),
    *_rows(
        (ANY,),
        "copy",
        "before",
        (Delay, "who reads without `consistent` sees the item as it was", READS),
    ),
    *_rows(
        (ANY,),
        "write of a batch",
        "before",
        (ErrorReply, "it is left undone, and the call succeeds: `UnprocessedItems`", BATCH),
    ),
)

READING: Final[Surface] = surface_of(ROWS, ANY, "read")
WRITING: Final[Surface] = surface_of(ROWS, ANY, "write")
COPY: Final[Surface] = surface_of(ROWS, ANY, "copy")
BATCHED: Final[Surface] = surface_of(ROWS, ANY, "write of a batch")
