"""What Kafka can legally do to those who use it, as rows.

A producer is `plain` or `idempotent` (`enable.idempotence`, or a transactional id): of a plain one
a record may be stored twice, which is the weaker guarantee. One with `acks=1` is a plain one that
is answered by the leader alone; one with `acks=0` is answered by nobody, and sends nothing again.
`called` is a handler that the harness calls per record, and commits for; `loop` is a loop that
commits by itself.

A topic that is `kept for a while`, `compacted`, or both, lets go of records by time or size,
whoever has read them: what strikes there is what makes a consumer late. `unclean` is a cluster in
which a replica may lead that had fallen behind (`unclean.leader.election.enable`).
"""

from __future__ import annotations

from typing import Final

from chaosharness.faults import (
    Delay,
    Duplicate,
    ErrorReply,
    LostReply,
    LostRequest,
    LostWrites,
    NetworkPartition,
    PartitionDelay,
    Poison,
    Rebalance,
)
from chaosharness.handlers.legality import (
    ANYWHERE,
    DEATH,
    STALL,
    Kind,
    Row,
    rows_of,
    stop_of,
    surface_of,
)
from chaosharness.handlers.port import Surface

ANY: Final = "any consumer"
PLAIN: Final = "plain"
IDEMPOTENT: Final = "idempotent"
LEADER: Final = "acks=1"
NOBODY: Final = "acks=0"
UNCLEAN: Final = "unclean"
RETAINED: Final = "kept for a while"
COMPACTED: Final = "compacted"
BOTH: Final = "both"
CALLED: Final = "called"
LOOP: Final = "loop"
TRANSACTIONAL: Final = "transactional"

ADMIN: Final = "administrator"

ADMINS: Final = "javadoc of Admin, `createPartitions`: a call that timed out may have been done"
CLEANER: Final = "Apache Kafka documentation, Design 4.8: the last record of a key stays"
COMMITS: Final = "javadoc of KafkaConsumer: a commit may have been taken when its caller is told no"
CONNECTION: Final = "one TCP connection: what is sent on it keeps its order, or is lost with it"
FETCHES: Final = "Apache Kafka documentation, Design 4.5: consumers fetch, when they can"
GROUPS: Final = "KIP-62: who is not heard of in time is out, and its commits are refused"
KEYS: Final = "any client may write to a topic"
LAGS: Final = "Apache Kafka documentation, Design 4.7: a partition waits for its leader"
LEADERS: Final = "Apache Kafka documentation, Design 4.7: acks=1 is an answer of the leader alone"
NO_ANSWER: Final = "ProducerConfig: with `acks=0` no answer is waited for, and nothing sent again"
NO_REPLICAS: Final = "protocol guide: NOT_ENOUGH_REPLICAS, NOT_LEADER_OR_FOLLOWER"
RETENTION: Final = (
    "topic configuration: `retention.ms` goes by time, `retention.bytes` by size, read or not"
)
RETRIES: Final = "Apache Kafka documentation, Design 4.6; KIP-98"
UNCLEAN_ELECTION: Final = "`unclean.leader.election.enable`; KIP-320: consumers had read further"
TRANSACTIONS: Final = "KIP-98: an end that was not answered may have been taken"


_rows: Final = rows_of("Kafka")

ANSWERED: Final = (PLAIN, LEADER, IDEMPOTENT)
PRODUCERS: Final = (*ANSWERED, NOBODY)
BEHIND: Final[Kind] = (
    LostWrites,
    "a new leader lacks it, and all behind it, read or not",
    UNCLEAN_ELECTION,
)
REFUSED_COMMIT: Final[Kind] = (Rebalance, "a heartbeat was missed: the commit is refused", GROUPS)

ROWS: Final[tuple[Row, ...]] = (
    *_rows(
        PRODUCERS,
        "publish",
        "before",
        (Delay, "it lags: what the same producer sends later waits", CONNECTION),
        (Poison, "somebody writes what nobody can read", KEYS),
    ),
    *_rows(
        ANSWERED,
        "publish",
        "before",
        (ErrorReply, "too few replicas, or no leader, just now: it was not stored", NO_REPLICAS),
        (LostRequest, "it never arrives: the caller sees a timeout", CONNECTION),
        (NetworkPartition, "the cluster cannot be reached", CONNECTION),
    ),
    *_rows(
        (NOBODY,),
        "publish",
        "before",
        (LostRequest, "it is lost or refused, and nobody is told", NO_ANSWER),
        (NetworkPartition, "what is sent meanwhile is lost, and nobody is told", NO_ANSWER),
    ),
    *_rows(
        (PLAIN, LEADER),
        "publish",
        "before",
        (Duplicate, "the producer sends again what was stored, and it is stored twice", RETRIES),
    ),
    *_rows(
        ANSWERED,
        "publish",
        "after",
        (LostReply, "it is stored, and the caller sees a timeout", RETRIES),
    ),
    *_rows(PRODUCERS, "publish", "after", STALL, DEATH),
    *_rows(PRODUCERS, "publish", "before", STALL, DEATH, searched=False),
    *_rows(
        (LEADER, NOBODY),
        "publish",
        "after",
        (LostWrites, "its leader fails before anybody else has it: it is gone", LEADERS),
    ),
    *_rows((UNCLEAN,), "publish", "after", BEHIND),
    *_rows((UNCLEAN,), "deliver", "after", BEHIND),
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
        (RETAINED, BOTH),
        "deliver",
        "before",
        (Delay, "longer than records are kept: this group never sees them", RETENTION),
        (PartitionDelay, "longer than records are kept: nobody sees them", RETENTION),
        (NetworkPartition, "longer than records are kept: they are gone", RETENTION),
    ),
    *_rows(
        (COMPACTED, BOTH),
        "deliver",
        "before",
        (Delay, "this group sees the last record of each key, and no more", CLEANER),
        (PartitionDelay, "all see the last record of each key, and no more", CLEANER),
        (NetworkPartition, "the last record of each key is left, and no more", CLEANER),
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
    *_rows(
        (ADMIN,),
        "create partitions",
        "before",
        (LostRequest, "it never arrives: the caller sees a timeout", ADMINS),
    ),
    *_rows(
        (ADMIN,),
        "create partitions",
        "after",
        (LostReply, "they are there, and the caller sees a timeout", ADMINS),
        DEATH,
    ),
    *_rows((ADMIN,), "create partitions", "before", STALL, DEATH, searched=False),
    *_rows((ADMIN,), "create partitions", "after", STALL, searched=False),
    *_rows(
        (ANY,),
        ANYWHERE,
        "after",
        stop_of(
            "handlers end, commit and leave their group at once; "
            "a loop that does not close its consumer is missed when its session is over",
            "javadoc of KafkaConsumer, `close`",
        ),
        searched=False,
    ),
)

SURFACES: Final[dict[tuple[str, bool], Surface]] = {
    (producer, unclean): surface_of(ROWS, producer, "publish", *(UNCLEAN,) * unclean)
    for producer in PRODUCERS
    for unclean in (False, True)
}
"""Of a publish: by the kind of a producer, and whether the elections of its cluster are unclean."""
DELIVERIES: Final[dict[tuple[str, bool], Surface]] = {
    (topic, unclean): surface_of(ROWS, ANY, "deliver", topic, *(UNCLEAN,) * unclean)
    for topic in (ANY, RETAINED, COMPACTED, BOTH)
    for unclean in (False, True)
}
"""Of a delivery: by how long its topic keeps records, and likewise."""
COMMIT: Final = surface_of(ROWS, CALLED, "commit")
"""By whoever calls a handler per message: nobody waits for the answer."""
LOOP_COMMIT: Final = surface_of(ROWS, LOOP, "commit")
"""By a main loop: it waits for the answer, and goes on without one."""
END: Final = surface_of(ROWS, TRANSACTIONAL, "end, send offsets")
"""Of a transaction, and what is asked in it: whoever asks waits for the answer."""
CHANGE: Final = surface_of(ROWS, ADMIN, "create partitions")
"""Of a call that changes a topic: whoever asks waits for the answer."""
