"""What a call can legally suffer, as rows: a third party's, another service's, one of an SDK.

There is one profile, `any`: a request and its answer travel on a network, and either may be late
or lost. What the caller is told is the library's own: a time-out, an error of the service.
"""

from __future__ import annotations

from typing import Final

from chaosharness.faults import (
    Delay,
    ErrorReply,
    LostReply,
    LostRequest,
    NetworkPartition,
)
from chaosharness.handlers.legality import STALLS, Row, rows_of, surface_of
from chaosharness.handlers.port import Surface

ANY: Final = "any"
NETWORK: Final = "any network: what is sent may be late, or lost"
SERVER: Final = "HTTP, RFC 9110, 15.6: 500, 503; an SDK's own words for it"

_rows: Final = rows_of("a call")

ROWS: Final[tuple[Row, ...]] = (
    *_rows(
        (ANY,),
        "call",
        "before",
        (Delay, "it is answered later, also when nobody waits any more", NETWORK),
        (ErrorReply, "it is refused for now, and nothing happened", SERVER),
        (LostRequest, "it never arrives: the caller sees a timeout", NETWORK),
        (NetworkPartition, "who is asked cannot be reached, or not heard", NETWORK),
    ),
    *_rows((ANY,), "call", "after", (LostReply, "it happened: the caller sees a timeout", NETWORK)),
    *_rows((ANY,), "call", "after", *STALLS),
    *_rows((ANY,), "call", "before", *STALLS, searched=False),
)

CALL: Final[Surface] = surface_of(ROWS, ANY, "call")
