"""What Redis Streams can legally do to those who use them, as rows.

A stream is a log: nothing is ever handed out in another order, and nothing comes back by itself. So
there is no redelivery to strike with; what strikes is an answer that is lost on its way, with
entries that are pending for somebody who does not know of them.

`lasting` is a Redis whose acknowledged writes last. `replicated` is one whose declaration says how
much a failover may lose (`loses_ms`).
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
    LostWrites,
    NetworkPartition,
    Pause,
    Poison,
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

PROFILES: Final = ("lasting", "replicated")
REPLICATED: Final = ("replicated",)
TCP: Final = "TCP, and the retries of clients"
RETRY: Final = "redis-py 6 and later: three retries by default, also of XADD"
READ: Final = "redis.io, XREADGROUP: what was handed out is pending, whoever heard of it"
LOSS: Final = 'redis.io, "Redis replication" and "Redis persistence": both are asynchronous'


_rows: Final = rows_of("Redis")

LOST: Final = (LostWrites, "a failover: the last writes are gone", LOSS)

ROWS: Final[tuple[Row, ...]] = (
    *_rows(
        PROFILES,
        "publish",
        "before",
        (Delay, "the command takes longer; those of a pool do not wait for each other", TCP),
        (Duplicate, "the client repeats a command whose answer was lost: two entries", RETRY),
        (ErrorReply, "LOADING, OOM, READONLY: refused for now", "redis.io, error replies"),
        (LostRequest, "it never arrives", TCP),
        (Poison, "somebody adds what nobody can read", "a stream takes any bytes"),
        (NetworkPartition, "Redis cannot be reached", TCP),
    ),
    *_rows(PROFILES, "publish", "before", *STALLS, searched=False),
    *_rows(PROFILES, "publish", "after", (LostReply, "the caller sees a timeout", TCP), *STALLS),
    *_rows(REPLICATED, "publish", "after", LOST),
    *_rows(PROFILES, "deliver", "before", (NetworkPartition, "Redis cannot be reached", TCP)),
    *_rows(
        PROFILES, "deliver", "after", (LostReply, "pending for a consumer that never saw it", READ)
    ),
    *_rows(REPLICATED, "deliver", "after", LOST),
    *_rows(PROFILES, "acknowledge", "before", (LostRequest, "it stays pending", TCP)),
    *_rows(PROFILES, "acknowledge", "after", (Crash, "the process dies", PROCESS)),
    *_rows(REPLICATED, "acknowledge", "after", LOST),
    *_rows(PROFILES, "acknowledge", "before", *STALLS, searched=False),
    *_rows(
        PROFILES, "acknowledge", "after", (Pause, "", PROCESS), (LostReply, "", TCP), searched=False
    ),
    *_rows(PROFILES, "loop acknowledge", "before", (LostRequest, "it stays pending", TCP)),
    *_rows(
        PROFILES,
        "loop acknowledge",
        "after",
        (LostReply, "the caller sees a timeout", TCP),
        (Crash, "the process dies", PROCESS),
    ),
    *_rows(REPLICATED, "loop acknowledge", "after", LOST),
    *_rows(PROFILES, "loop acknowledge", "before", *STALLS, searched=False),
    *_rows(PROFILES, "loop acknowledge", "after", (Pause, "", PROCESS), searched=False),
    *_rows(PROFILES, "claim", "before", (LostRequest, "nothing is claimed", TCP)),
    *_rows(
        PROFILES,
        "claim",
        "after",
        (LostReply, "claimed by a consumer that never saw it", READ),
        (Crash, "the process dies", PROCESS),
    ),
    *_rows(PROFILES, "claim", "before", *STALLS, searched=False),
    *_rows(PROFILES, "claim", "after", (Pause, "", PROCESS), searched=False),
    *_rows(PROFILES, "manage", "before", (LostRequest, "nothing is done", TCP)),
    *_rows(
        PROFILES,
        "manage",
        "after",
        (LostReply, "done; a client that repeats it is told BUSYGROUP, or does it twice", RETRY),
        (Crash, "the process dies", PROCESS),
    ),
    *_rows(PROFILES, "manage", "before", *STALLS, searched=False),
    *_rows(PROFILES, "manage", "after", (Pause, "", PROCESS), searched=False),
    *_rows(PROFILES, "look", "before", (LostRequest, "the caller sees a timeout", TCP)),
    *_rows(PROFILES, "look", "after", (Pause, "the process stalls", PROCESS)),
    *_rows(PROFILES, "look", "before", *STALLS, searched=False),
    *_rows(PROFILES, "look", "after", (Crash, "", PROCESS), (LostReply, "", TCP), searched=False),
    *_rows(
        PROFILES,
        ANYWHERE,
        "after",
        stop_of(
            "nothing more is read, and what is in hand acknowledged; "
            "what was read and not begun stays pending",
            'Redis documentation, "Streams", pending entries',
        ),
        searched=False,
    ),
)

SURFACES: Final[dict[tuple[str, At], Surface]] = {
    (profile, at): surface_of(ROWS, profile, at)
    for profile in PROFILES
    for at in ("publish", "deliver", "acknowledge", "loop acknowledge", "claim", "manage", "look")
}
