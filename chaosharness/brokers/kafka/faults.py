"""What Kafka can legally do to those who use it.

=======  ===============================================================================
at       legal
=======  ===============================================================================
deliver  Delay (this group sees the log partition later), PartitionDelay (all groups do),
         Rebalance (what is not committed comes again), NetworkPartition. Order in a log
         partition is kept by all of them.
commit   LostRequest, LostReply, Rebalance (the commit is fenced), Crash, Pause
end      of a transaction, and its offsets: LostRequest, LostReply, Crash, Pause
publish  Delay, ErrorReply, LostRequest, LostReply, Poison, NetworkPartition, Pause, Crash;
         Duplicate where the producer is not idempotent
=======  ===============================================================================
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
    PartitionDelay,
    Pause,
    Poison,
    Rebalance,
)
from chaosharness.handlers.port import Kinds, surface

DELIVER: Final = surface(before=(Delay, PartitionDelay, Rebalance, NetworkPartition))
_COMMIT_BEFORE: Final[Kinds] = (LostRequest, Rebalance)
COMMIT: Final = surface(
    before=_COMMIT_BEFORE,
    after=(Crash,),
    also=(Pause,),
    also_before=(Crash,),
    also_after=(LostReply,),
)
"""By whoever calls a handler per message: nobody waits for the answer."""
LOOP_COMMIT: Final = surface(
    before=_COMMIT_BEFORE, after=(LostReply, Crash), also=(Pause,), also_before=(Crash,)
)
"""By a main loop: it waits for the answer, and goes on without one."""
END: Final = surface(
    before=(LostRequest,), after=(LostReply, Crash), also=(Pause,), also_before=(Crash,)
)
"""Of a transaction, and what is asked in it: whoever asks waits for the answer."""
_PUBLISH_BEFORE: Final[Kinds] = (Delay, ErrorReply, LostRequest, Poison, NetworkPartition)
PUBLISH: Final = surface(
    before=_PUBLISH_BEFORE, after=(LostReply, Pause, Crash), also_before=(Pause, Crash)
)
PUBLISH_TWICE: Final = surface(
    before=(*_PUBLISH_BEFORE, Duplicate),
    after=(LostReply, Pause, Crash),
    also_before=(Pause, Crash),
)
