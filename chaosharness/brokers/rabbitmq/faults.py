"""What RabbitMQ can legally do to those who use it.

========  ============================================================================
at        legal
========  ============================================================================
deliver   Delay (the link lags; its order is kept), NetworkPartition, Redeliver (the
          connection is lost while the handler runs). No Redeliver where the broker
          acknowledges by itself.
ack       LostRequest (the connection is lost first), Crash, Pause
publish   Delay (of the channel: what is sent on it later waits), ErrorReply (a negative
          confirm), LostRequest, LostReply (a lost confirm), Poison, NetworkPartition, Pause,
          Crash. Without confirms neither ErrorReply nor LostReply.
========  ============================================================================
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
    Redeliver,
)
from chaosharness.handlers.port import surface

DELIVER: Final = surface(before=(Delay, NetworkPartition), after=(Redeliver,))
DELIVER_AUTO: Final = surface(before=(Delay, NetworkPartition))
SETTLE: Final = surface(before=(LostRequest,), after=(Crash,), also=(Pause,), also_before=(Crash,))
PUBLISH: Final = surface(
    before=(Delay, ErrorReply, LostRequest, Poison, NetworkPartition),
    after=(LostReply, Pause, Crash),
    also_before=(Pause, Crash),
)
PUBLISH_BLINDLY: Final = surface(
    before=(Delay, LostRequest, Poison, NetworkPartition),
    after=(Pause, Crash),
    also_before=(Pause, Crash),
)
