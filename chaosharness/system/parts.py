"""What a system is declared to be made of, and the names of things in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, Protocol

import attrs
import msgspec

from chaosharness.calls import RemoteError
from chaosharness.faults import ClockSkew, Fault, Redeploy
from chaosharness.handlers.port import surface
from chaosharness.kernel.allowed import spelled
from chaosharness.kernel.history import plain
from chaosharness.kernel.places import asked_at
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World

Factory = Callable[[Any], Any]
"""Builds a service from its ports: what it is given is an `Env`."""

CLIENT: Final = "client"
START: Final = surface(before=(ClockSkew,))
START_OF_EITHER: Final = surface(before=(ClockSkew, Redeploy))
"""The start of a service that has a previous version to be replaced by."""

OUTSIDE: Final = frozenset(
    kind
    for kind in Fault.__subclasses__()
    if kind.__name__ in ("Delay", "Poison", "Duplicate", "OldEvent", "NewEvent")
)
"""What may strike a client of the system: it is outside, and its own crashes are not ours."""


ANSWERS: Final = (RemoteError, OSError)
"""What a client is told by the system, or hears nothing: no mistake of its own."""


MEETS: Final[list[Callable[[Iterable[str]], None]]] = []
"""Who has client libraries met, by name: the room of adapters, once it is loaded."""

UNTESTED: Final[dict[str, tuple[str, str]]] = {}
"""Of libraries that were met: those whose version their adapter was not tested with, by name; the
package that code imports, and what to say."""


class Resource(Protocol):
    """Something a system is made of: a broker, a store, a third party."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def open(self, world: World) -> Any:
        """Return it, new, for one run."""


@attrs.define
class Service:
    """How a service is built."""

    name: str
    factory: Factory
    replicas: int
    runtime: str | None
    previous: Factory | None
    operation: str = attrs.field(init=False)
    place: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.operation = f"{self.name}/start"
        self.place = f"{self.name}.start"


def die(scope: Scope, why: str) -> None:
    """Have a process die because its own code raised: it is started again, later each time."""
    world, incarnation = scope.world, scope.incarnation
    falls, raw = world.falls, world.raw
    service, replica = incarnation.service, incarnation.replica
    falls.last = why
    down_ms = falls.delay_ms(raw, service, replica)
    if not (world.chaos and world.struck()) and falls.in_vain(raw, service, replica):
        world.end("stuck", f"{service} dies as often as it is started: {why}")
    world.crash(incarnation, down_ms, cause=scope.cause)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name that sites use for a handler."""
    name = getattr(function, "__name__", None)
    if name is None:
        if isinstance(function, partial):
            return name_of(function.func)
        return type(function).__name__
    return str(name)


def clipped(item: Any) -> str:
    """Return an item as code, or the beginning of it."""
    return spelled(item)


def describe(item: Any) -> Any:
    """Return a workload item as plain values, for the history."""
    try:
        return msgspec.to_builtins(item)
    except TypeError:
        return plain(vars(item)) if hasattr(item, "__dict__") else plain(item)


def no_part(resource: Any, system: str, parts: Mapping[str, Any]) -> str:
    """Say that something is no part of a system, and what to give in its place."""
    kind, name = type(resource).__name__, getattr(resource, "name", "")
    if isinstance(resource, str) and resource in parts:
        said, then = repr(resource), "give the part itself, which system.add(...) returned"
    elif isinstance(name, str) and name and not isinstance(resource, type):
        said, then = f"the {kind} {name!r}", f"add it first, with system.add({kind}(...))"
    else:
        known = ", ".join(parts) or "none"
        said = clipped(resource)
        then = f"give what system.add(...) returned; its parts are: {known}"
    return f"{said} is no part of system {system!r}{asked_at()}: {then}"
