"""What Redis Streams can legally do to those who use them, as rows.

A stream is a log: nothing is ever handed out in another order, and nothing comes back by itself. So
there is no redelivery to strike with; what strikes is an answer that is lost on its way, with
entries that are pending for somebody who does not know of them.

`lasting` is a Redis whose acknowledged writes last. `replicated` is one whose declaration says how
much a failover may lose (`loses_ms`).
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
    LostWrites,
    NetworkPartition,
    Pause,
    Poison,
)
from chaosharness.handlers.port import Surface
from chaosharness.kernel.site import Phase

PROFILES: Final = ("lasting", "replicated")
REPLICATED: Final = ("replicated",)
PROCESS: Final = "any process"
TCP: Final = "TCP, and the retries of clients"
RETRY: Final = "redis-py 6 and later: three retries by default, also of XADD"
READ: Final = "redis.io, XREADGROUP: what was handed out is pending, whoever heard of it"
LOSS: Final = 'redis.io, "Redis replication" and "Redis persistence": both are asynchronous'


def _rows(
    at: At,
    phase: Phase,
    *kinds: tuple[type[Fault], str, str],
    profiles: tuple[str, ...] = PROFILES,
    searched: bool = True,
) -> tuple[Row, ...]:
    return tuple(
        Row("Redis", profile, at, phase, fault, source, condition, searched)
        for fault, condition, source in kinds
        for profile in profiles
    )


STALLS: Final = ((Pause, "the process stalls", PROCESS), (Crash, "the process dies", PROCESS))
LOST: Final = (LostWrites, "a failover: the last writes are gone", LOSS)

ROWS: Final[tuple[Row, ...]] = (
    *_rows(
        "publish",
        "before",
        (Delay, "the command takes longer; those of a pool do not wait for each other", TCP),
        (Duplicate, "the client repeats a command whose answer was lost: two entries", RETRY),
        (ErrorReply, "LOADING, OOM, READONLY: refused for now", "redis.io, error replies"),
        (LostRequest, "it never arrives", TCP),
        (Poison, "somebody adds what nobody can read", "a stream takes any bytes"),
        (NetworkPartition, "Redis cannot be reached", TCP),
    ),
    *_rows("publish", "before", *STALLS, searched=False),
    *_rows("publish", "after", (LostReply, "the caller sees a timeout", TCP), *STALLS),
    *_rows("publish", "after", LOST, profiles=REPLICATED),
    *_rows("deliver", "before", (NetworkPartition, "Redis cannot be reached", TCP)),
    *_rows("deliver", "after", (LostReply, "pending for a consumer that never saw it", READ)),
    *_rows("deliver", "after", LOST, profiles=REPLICATED),
    *_rows("acknowledge", "before", (LostRequest, "it stays pending", TCP)),
    *_rows("acknowledge", "after", (Crash, "the process dies", PROCESS)),
    *_rows("acknowledge", "after", LOST, profiles=REPLICATED),
    *_rows("acknowledge", "before", *STALLS, searched=False),
    *_rows("acknowledge", "after", (Pause, "", PROCESS), (LostReply, "", TCP), searched=False),
    *_rows("loop acknowledge", "before", (LostRequest, "it stays pending", TCP)),
    *_rows(
        "loop acknowledge",
        "after",
        (LostReply, "the caller sees a timeout", TCP),
        (Crash, "the process dies", PROCESS),
    ),
    *_rows("loop acknowledge", "after", LOST, profiles=REPLICATED),
    *_rows("loop acknowledge", "before", *STALLS, searched=False),
    *_rows("loop acknowledge", "after", (Pause, "", PROCESS), searched=False),
    *_rows("claim", "before", (LostRequest, "nothing is claimed", TCP)),
    *_rows(
        "claim",
        "after",
        (LostReply, "claimed by a consumer that never saw it", READ),
        (Crash, "the process dies", PROCESS),
    ),
    *_rows("claim", "before", *STALLS, searched=False),
    *_rows("claim", "after", (Pause, "", PROCESS), searched=False),
    *_rows("manage", "before", (LostRequest, "nothing is done", TCP)),
    *_rows(
        "manage",
        "after",
        (LostReply, "done; a client that repeats it is told BUSYGROUP, or does it twice", RETRY),
        (Crash, "the process dies", PROCESS),
    ),
    *_rows("manage", "before", *STALLS, searched=False),
    *_rows("manage", "after", (Pause, "", PROCESS), searched=False),
    *_rows("look", "before", (LostRequest, "the caller sees a timeout", TCP)),
    *_rows("look", "after", (Pause, "the process stalls", PROCESS)),
    *_rows("look", "before", *STALLS, searched=False),
    *_rows("look", "after", (Crash, "", PROCESS), (LostReply, "", TCP), searched=False),
)

SURFACES: Final[dict[tuple[str, At], Surface]] = {
    (profile, at): surface_of(ROWS, profile, at)
    for profile in PROFILES
    for at in ("publish", "deliver", "acknowledge", "loop acknowledge", "claim", "manage", "look")
}
