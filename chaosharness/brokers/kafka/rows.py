"""What Kafka can legally do to those who use it, as rows.

A producer is `plain` or `idempotent` (`enable.idempotence`, or a transactional id): of a plain one
a record may be stored twice, which is the weaker guarantee. `called` is a handler that the harness
calls per record, and commits for; `loop` is a loop that commits by itself.
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
    PartitionDelay,
    Pause,
    Poison,
    Rebalance,
)
from chaosharness.kernel.site import Phase

ANY: Final = "any consumer"
PLAIN: Final = "plain"
IDEMPOTENT: Final = "idempotent"
CALLED: Final = "called"
LOOP: Final = "loop"
TRANSACTIONAL: Final = "transactional"

COMMITS: Final = "javadoc of KafkaConsumer: a commit may have been taken when its caller is told no"
CONNECTION: Final = "one TCP connection: what is sent on it keeps its order, or is lost with it"
FETCHES: Final = "Apache Kafka documentation, Design 4.5: consumers fetch, when they can"
GROUPS: Final = "KIP-62: who is not heard of in time is out, and its commits are refused"
KEYS: Final = "any client may write to a topic"
LAGS: Final = "Apache Kafka documentation, Design 4.7: a partition waits for its leader"
NO_REPLICAS: Final = "protocol guide: NOT_ENOUGH_REPLICAS, NOT_LEADER_OR_FOLLOWER"
PROCESS: Final = "any process"
RETRIES: Final = "Apache Kafka documentation, Design 4.6; KIP-98"
TRANSACTIONS: Final = "KIP-98: an end that was not answered may have been taken"

Kind = tuple[type[Fault], str, str]


def _rows(
    profiles: tuple[str, ...], at: At, phase: Phase, *kinds: Kind, searched: bool = True
) -> tuple[Row, ...]:
    return tuple(
        Row("Kafka", profile, at, phase, fault, source, condition, searched)
        for fault, condition, source in kinds
        for profile in profiles
    )


STALL: Final[Kind] = (Pause, "the process stalls", PROCESS)
DEATH: Final[Kind] = (Crash, "the process dies", PROCESS)
REFUSED_COMMIT: Final[Kind] = (Rebalance, "a heartbeat was missed: the commit is refused", GROUPS)

ROWS: Final[tuple[Row, ...]] = (
    *_rows(
        (PLAIN, IDEMPOTENT),
        "publish",
        "before",
        (Delay, "it lags: what the same producer sends later waits", CONNECTION),
        (ErrorReply, "too few replicas, or no leader, just now: it was not stored", NO_REPLICAS),
        (LostRequest, "it never arrives: the caller sees a timeout", CONNECTION),
        (Poison, "somebody writes what nobody can read", KEYS),
        (NetworkPartition, "the cluster cannot be reached", CONNECTION),
    ),
    *_rows(
        (PLAIN,),
        "publish",
        "before",
        (Duplicate, "the producer sends again what was stored, and it is stored twice", RETRIES),
    ),
    *_rows(
        (PLAIN, IDEMPOTENT),
        "publish",
        "after",
        (LostReply, "it is stored, and the caller sees a timeout", RETRIES),
        STALL,
        DEATH,
    ),
    *_rows((PLAIN, IDEMPOTENT), "publish", "before", STALL, DEATH, searched=False),
    *_rows(
        (ANY,),
        "deliver",
        "before",
        (Delay, "this group sees the log partition later", FETCHES),
        (PartitionDelay, "all groups see the log partition later", LAGS),
        (Rebalance, "a heartbeat was missed: what is not committed comes again", GROUPS),
        (NetworkPartition, "the cluster cannot be reached", CONNECTION),
    ),
    *_rows(
        (CALLED, LOOP),
        "commit",
        "before",
        (LostRequest, "it never arrives: the offset stays where it was", COMMITS),
        REFUSED_COMMIT,
    ),
    *_rows((CALLED,), "commit", "after", DEATH),
    *_rows(
        (LOOP,),
        "commit",
        "after",
        (LostReply, "it is committed, and the caller sees a timeout", COMMITS),
        DEATH,
    ),
    *_rows((CALLED, LOOP), "commit", "before", STALL, DEATH, searched=False),
    *_rows((CALLED, LOOP), "commit", "after", STALL, searched=False),
    *_rows((CALLED,), "commit", "after", (LostReply, "nobody waits", COMMITS), searched=False),
    *_rows(
        (TRANSACTIONAL,),
        "end, send offsets",
        "before",
        (LostRequest, "it never arrives: the caller sees a timeout", TRANSACTIONS),
    ),
    *_rows(
        (TRANSACTIONAL,),
        "end, send offsets",
        "after",
        (LostReply, "it is decided, and the caller sees a timeout", TRANSACTIONS),
        DEATH,
    ),
    *_rows((TRANSACTIONAL,), "end, send offsets", "before", STALL, DEATH, searched=False),
    *_rows((TRANSACTIONAL,), "end, send offsets", "after", STALL, searched=False),
)

DELIVER: Final = surface_of(ROWS, ANY, "deliver")
COMMIT: Final = surface_of(ROWS, CALLED, "commit")
"""By whoever calls a handler per message: nobody waits for the answer."""
LOOP_COMMIT: Final = surface_of(ROWS, LOOP, "commit")
"""By a main loop: it waits for the answer, and goes on without one."""
END: Final = surface_of(ROWS, TRANSACTIONAL, "end, send offsets")
"""Of a transaction, and what is asked in it: whoever asks waits for the answer."""
PUBLISH: Final = surface_of(ROWS, IDEMPOTENT, "publish")
PUBLISH_TWICE: Final = surface_of(ROWS, PLAIN, "publish")
