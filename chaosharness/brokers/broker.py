"""What every broker is to a system: a definition that can be opened for one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from chaosharness.kernel.world import World


class OpenBroker(Protocol):
    """A broker during one run."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def publisher(self) -> Callable[..., Callable[..., Any]]:
        """`publisher(**options)`: a new producer or channel, with an order of its own.

        What it returns is called as `publish(topic, value, key=None, headers=None)`: it stores
        a message and waits for the answer; in `async` code, await it.
        """

    @property
    def consume(self) -> Callable[..., None]:
        """`consume(intake, source, service=..., **options)`: a handler called per message."""

    @property
    def consumer(self) -> Callable[..., Any]:
        """`consumer(incarnation, sources, decode, service=..., **options)`: for a main loop."""

    def close(self) -> None:
        """Let go of everything, at the end of a run."""


class Broker(Protocol):
    """A broker as it is declared: immutable, and the same for every run."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def open(self, world: World) -> OpenBroker:
        """Return it, empty, for one run."""


def declared(state: Any) -> Any:
    """Return what a part of a run was declared as: another promises less, and stands for it."""
    return getattr(state, "stands_for", None) or getattr(state, "definition", None)
