"""What RabbitMQ can legally do to those who use it.

========  ============================================================================
at        legal
========  ============================================================================
deliver   Delay (the link lags; its order is kept), NetworkPartition, Redeliver (the
          connection is lost while the handler runs). No Redeliver where the broker
          acknowledges by itself. BrokerRestart and ConsumerCancel, once it was sent.
ack       LostRequest (the connection is lost first), Crash, Pause, HostDeath
publish   Delay (of the channel: what is sent on it later waits), ErrorReply (a negative
          confirm), LostRequest, LostReply (a lost confirm), Poison, NetworkPartition, Pause,
          Crash, BrokerRestart. Without confirms neither ErrorReply nor LostReply. Duplicate
          where the client sends again by itself what nobody confirmed (`resends`). Where the
          confirm is read later, it may also be late (a Delay after it).
========  ============================================================================
"""

from __future__ import annotations

from typing import Final

from chaosharness.faults import (
    BrokerRestart,
    ConsumerCancel,
    Crash,
    Delay,
    Duplicate,
    ErrorReply,
    Fault,
    HostDeath,
    LostReply,
    LostRequest,
    NetworkPartition,
    Pause,
    Poison,
    Redeliver,
)
from chaosharness.handlers.port import Surface, surface

SEARCHABLE: Final = (BrokerRestart, HostDeath, ConsumerCancel)
"""Legal where a row above says so, but searched only if a broker is told to."""

DELIVER: Final = surface(
    before=(Delay, NetworkPartition),
    after=(Redeliver,),
    also_after=(BrokerRestart, ConsumerCancel),
)
DELIVER_AUTO: Final = surface(
    before=(Delay, NetworkPartition), also_after=(BrokerRestart, ConsumerCancel)
)
SETTLE: Final = surface(
    before=(LostRequest,),
    after=(Crash,),
    also=(Pause,),
    also_before=(Crash, HostDeath),
    also_after=(HostDeath,),
)
PUBLISH: Final = surface(
    before=(Delay, ErrorReply, LostRequest, Poison, NetworkPartition),
    after=(LostReply, Pause, Crash),
    also_before=(Pause, Crash, BrokerRestart),
)
PUBLISH_AGAIN: Final = surface(
    before=(Delay, ErrorReply, LostRequest, Poison, NetworkPartition, Duplicate),
    after=(LostReply, Pause, Crash),
    also_before=(Pause, Crash, BrokerRestart),
)
PUBLISH_BLINDLY: Final = surface(
    before=(Delay, LostRequest, Poison, NetworkPartition),
    after=(Pause, Crash),
    also_before=(Pause, Crash, BrokerRestart),
)
SEND: Final = surface(
    before=(Delay, ErrorReply, LostRequest, Poison, NetworkPartition),
    after=(Delay, LostReply, Pause, Crash),
    also_before=(Pause, Crash, BrokerRestart),
)

_WIDENED: Final[dict[tuple[int, tuple[type[Fault], ...]], Surface]] = {}


def widened(found: Surface, kinds: tuple[type[Fault], ...]) -> Surface:
    """Return a surface of which a search tries these kinds as well, where they are legal."""
    if not kinds:
        return found
    key = (id(found), kinds)
    if key not in _WIDENED:
        _WIDENED[key] = Surface(
            found.before,
            found.after,
            (*found.searched_before, *(k for k in kinds if k in found.before)),
            (*found.searched_after, *(k for k in kinds if k in found.after)),
        )
    return _WIDENED[key]
