"""Property-based chaos testing for event-driven and saga systems, in virtual time.

Everything here is loaded when first used, so that the pytest plugin costs nothing to
projects that have chaosharness installed and do not use it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from chaosharness.brokers import CommitFailed as CommitFailed
    from chaosharness.brokers import Delivery as Delivery
    from chaosharness.brokers import Kafka as Kafka
    from chaosharness.calls import RemoteError as RemoteError
    from chaosharness.checkers import Evidence as Evidence
    from chaosharness.checkers import Finding as Finding
    from chaosharness.checkers import Property as Property
    from chaosharness.checkers import always as always
    from chaosharness.checkers import eventually as eventually
    from chaosharness.checkers import sometimes as sometimes
    from chaosharness.counterexample import Counterexample as Counterexample
    from chaosharness.externals.external import External as External
    from chaosharness.externals.gateway import Declined as Declined
    from chaosharness.externals.gateway import Gateway as Gateway
    from chaosharness.externals.gateway import Receipt as Receipt
    from chaosharness.faults import ClockSkew as ClockSkew
    from chaosharness.faults import Crash as Crash
    from chaosharness.faults import Delay as Delay
    from chaosharness.faults import Duplicate as Duplicate
    from chaosharness.faults import ErrorReply as ErrorReply
    from chaosharness.faults import FailedCommit as FailedCommit
    from chaosharness.faults import LostReply as LostReply
    from chaosharness.faults import LostRequest as LostRequest
    from chaosharness.faults import LostWrites as LostWrites
    from chaosharness.faults import NetworkPartition as NetworkPartition
    from chaosharness.faults import PartitionDelay as PartitionDelay
    from chaosharness.faults import Pause as Pause
    from chaosharness.faults import Poison as Poison
    from chaosharness.faults import Rebalance as Rebalance
    from chaosharness.faults import Redeliver as Redeliver
    from chaosharness.faults import Redeploy as Redeploy
    from chaosharness.faults import StoreOutage as StoreOutage
    from chaosharness.kernel.history import Event as Event
    from chaosharness.kernel.history import History as History
    from chaosharness.kernel.site import Site as Site
    from chaosharness.kernel.world import Budget as Budget
    from chaosharness.schedule import Schedule as Schedule
    from chaosharness.system import Env as Env
    from chaosharness.system import Run as Run
    from chaosharness.system import System as System

_HOME = {
    "brokers": ("CommitFailed", "Delivery", "Kafka"),
    "calls": ("RemoteError",),
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
