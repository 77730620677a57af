"""What JetStream can legally do to those who use it, as rows.

`explicit` is a consumer whose messages are acknowledged: at least once, and what comes back
comes back late, so it is the weaker one where order matters. `all` is one whose acknowledgements
settle all before them too, done or not. `none` is one without acknowledgements: what is sent is
done, so at most once. `ordered` is the client's ordered
consumer: no acknowledgements, one reader, made anew where something is missing; it gives each
message in order, and none twice as long as its process lives. `bucket` is what is put into a
key-value or object store: it is a publish, but to a store, into which nobody puts garbage.
"""

from __future__ import annotations

from typing import Final

from chaosharness.faults import (
    Crash,
    Delay,
    ErrorReply,
    LostReply,
    LostRequest,
    NetworkPartition,
    Pause,
    Poison,
)
from chaosharness.handlers.legality import (
    ANYWHERE,
    PROCESS,
    STALLS,
    Row,
    rows_of,
    stop_of,
    surface_of,
)
from chaosharness.handlers.port import Surface

ANY: Final = "any stream"
EXPLICIT: Final = "explicit"
ALL: Final = "all"
NONE: Final = "none"
ORDERED: Final = "ordered"
CORE: Final = "core"
BUCKET: Final = "bucket"

ACKS: Final = 'NATS documentation, "Consumers": AckPolicy, AckWait'
DEDUPLICATION: Final = 'NATS documentation, "JetStream model deep dive": message deduplication'
BUCKETS: Final = "NATS architecture, ADR-8: a put is a publish, and its answer may be lost"
CONNECTION: Final = "one TCP connection: what is sent on it keeps its order, or is lost with it"
NO_LEADER: Final = "nats-server `errors.json`, 10008: while a leader is chosen"
ORDERED_SOURCE: Final = 'NATS documentation, "Consumers": ordered consumers'
AT_MOST_ONCE: Final = 'NATS documentation, "Core NATS": at most once'
SUBJECTS: Final = 'NATS documentation, "Subject-Based Messaging": anybody may publish'


ACKNOWLEDGED: Final = (EXPLICIT, ALL)

_rows: Final = rows_of("NATS JetStream")


ROWS: Final[tuple[Row, ...]] = (
    *_rows(
        (ANY,),
        "publish",
        "before",
        (Delay, "the connection lags: what the same client sends later waits", CONNECTION),
        (ErrorReply, "no leader just now: it was not stored", NO_LEADER),
        (LostRequest, "it never arrives: the caller sees a timeout", CONNECTION),
        (Poison, "somebody publishes what nobody can read", SUBJECTS),
        (NetworkPartition, "the server cannot be reached", CONNECTION),
    ),
    *_rows(
        (ANY,),
        "publish",
        "after",
        (
            LostReply,
            "its acknowledgement is lost: stored, and the caller sees a timeout",
            DEDUPLICATION,
        ),
        *STALLS,
    ),
    *_rows(
        (BUCKET,),
        "publish",
        "before",
        (Delay, "the connection lags: what the same client sends later waits", CONNECTION),
        (ErrorReply, "no leader just now: it was not stored", NO_LEADER),
        (LostRequest, "it never arrives: the caller sees a timeout", CONNECTION),
        (NetworkPartition, "the server cannot be reached", CONNECTION),
    ),
    *_rows(
        (BUCKET,),
        "publish",
        "after",
        (LostReply, "its answer is lost: stored, and the caller sees a timeout", BUCKETS),
        *STALLS,
    ),
    *_rows((ANY, BUCKET), "publish", "before", *STALLS, searched=False),
    *_rows(
        (EXPLICIT, ALL, NONE, ORDERED),
        "deliver",
        "before",
        (NetworkPartition, "the server cannot be reached", CONNECTION),
        (Delay, "it is under way for so long, and AckWait runs meanwhile", CONNECTION),
    ),
    *_rows(
        ACKNOWLEDGED,
        "deliver",
        "after",
        (LostReply, "it goes to a request whose client is gone: back after AckWait", ACKS),
    ),
    *_rows(
        (NONE,),
        "deliver",
        "after",
        (LostReply, "it goes to a request whose client is gone: done, and seen by nobody", ACKS),
    ),
    *_rows(
        (ORDERED,),
        "deliver",
        "after",
        (LostReply, "it is missing: the consumer is made anew behind the last one", ORDERED_SOURCE),
    ),
    *_rows(ACKNOWLEDGED, "ack", "before", (LostRequest, "nobody is told: it comes again", ACKS)),
    *_rows(ACKNOWLEDGED, "ack", "after", (Crash, "the process dies", PROCESS)),
    *_rows(ACKNOWLEDGED, "ack", "before", *STALLS, searched=False),
    *_rows(ACKNOWLEDGED, "ack", "after", (Pause, "", PROCESS), searched=False),
    *_rows(ACKNOWLEDGED, "ack sync", "before", (LostRequest, "the caller sees a timeout", ACKS)),
    *_rows(
        ACKNOWLEDGED,
        "ack sync",
        "after",
        (LostReply, "it is acknowledged, and the caller sees a timeout", ACKS),
        (Crash, "the process dies", PROCESS),
    ),
    *_rows(ACKNOWLEDGED, "ack sync", "before", *STALLS, searched=False),
    *_rows(ACKNOWLEDGED, "ack sync", "after", (Pause, "", PROCESS), searched=False),
    *_rows((ANY,), "get", "before", (LostRequest, "the caller sees a timeout", CONNECTION)),
    *_rows((ANY,), "get", "before", *STALLS, searched=False),
    *_rows((ANY,), "get", "after", *STALLS, searched=False),
    *_rows(ACKNOWLEDGED, "change", "before", (LostRequest, "nobody is told: AckWait runs", ACKS)),
    *_rows(ACKNOWLEDGED, "change", "before", *STALLS, searched=False),
    *_rows(ACKNOWLEDGED, "change", "after", *STALLS, searched=False),
    *_rows(
        ACKNOWLEDGED,
        ANYWHERE,
        "after",
        stop_of(
            "nothing more is pulled, and what is in hand acknowledged; "
            "what was pulled and not begun comes again after AckWait",
            'NATS documentation, "Consumers", AckWait',
        ),
        searched=False,
    ),
    *_rows(
        (CORE,),
        "publish",
        "before",
        (Delay, "the connection lags: what the same client sends later waits", CONNECTION),
        (LostRequest, "it is lost with its connection, and nobody is told", AT_MOST_ONCE),
        (Poison, "somebody publishes what nobody can read", SUBJECTS),
        (NetworkPartition, "the server cannot be reached", CONNECTION),
    ),
    *_rows((CORE,), "publish", "after", *STALLS),
    *_rows((CORE,), "publish", "before", *STALLS, searched=False),
    *_rows(
        (CORE,),
        "deliver",
        "before",
        (NetworkPartition, "who is cut off misses what is said meanwhile", AT_MOST_ONCE),
        (Delay, "it is under way for so long", CONNECTION),
    ),
    *_rows(
        (CORE,),
        "deliver",
        "after",
        (LostReply, "it is lost with its connection: nobody keeps it", AT_MOST_ONCE),
    ),
)

PUBLISH: Final = surface_of(ROWS, ANY, "publish")
PUT: Final = surface_of(ROWS, BUCKET, "publish")
DELIVER: Final[dict[str, Surface]] = {
    profile: surface_of(ROWS, profile, "deliver")
    for profile in (EXPLICIT, ALL, NONE, ORDERED, CORE)
}
CORE_PUBLISH: Final = surface_of(ROWS, CORE, "publish")
ACK: Final = surface_of(ROWS, EXPLICIT, "ack")
ACK_SYNC: Final = surface_of(ROWS, EXPLICIT, "ack sync")
GET: Final = surface_of(ROWS, ANY, "get")
CHANGE: Final = surface_of(ROWS, EXPLICIT, "change")
