"""Property-based chaos testing for event-driven and saga systems, in virtual time.

Everything here is loaded when first used, so that the pytest plugin costs nothing to
projects that have chaosharness installed and do not use it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from chaosharness.brokers import CommitFailed, Delivery, Kafka
    from chaosharness.checkers import Evidence, Finding, Property, always, eventually, sometimes
    from chaosharness.counterexample import Counterexample
    from chaosharness.externals.external import External
    from chaosharness.externals.gateway import Declined, Gateway, Receipt
    from chaosharness.faults import (
        ClockSkew,
        Crash,
        Delay,
        Duplicate,
        ErrorReply,
        FailedCommit,
        LostReply,
        LostRequest,
        LostWrites,
        NetworkPartition,
        PartitionDelay,
        Pause,
        Poison,
        Rebalance,
        Redeliver,
        Redeploy,
        StoreOutage,
    )
    from chaosharness.kernel.history import Event, History
    from chaosharness.kernel.site import Site
    from chaosharness.kernel.world import Budget
    from chaosharness.schedule import Schedule
    from chaosharness.system import Env, Run, System

_HOME = {
    "brokers": ("CommitFailed", "Delivery", "Kafka"),
    "checkers": ("Evidence", "Finding", "Property", "always", "eventually", "sometimes"),
    "counterexample": ("Counterexample",),
    "externals.external": ("External",),
    "externals.gateway": ("Declined", "Gateway", "Receipt"),
    "faults": (
        "ClockSkew",
        "Crash",
        "Delay",
        "Duplicate",
        "ErrorReply",
        "FailedCommit",
        "LostReply",
        "LostRequest",
        "LostWrites",
        "NetworkPartition",
        "PartitionDelay",
        "Pause",
        "Poison",
        "Rebalance",
        "Redeliver",
        "Redeploy",
        "StoreOutage",
    ),
    "kernel.history": ("Event", "History"),
    "kernel.site": ("Site",),
    "kernel.world": ("Budget",),
    "schedule": ("Schedule",),
    "system": ("Env", "Run", "System"),
}
_ROOM_OF = {name: room for room, names in _HOME.items() for name in names}

__all__ = sorted(_ROOM_OF)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module 'chaosharness' has no attribute {name!r}")
    value = getattr(import_module(f"chaosharness.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
