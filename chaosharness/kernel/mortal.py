"""What can die in a run, and what is done once only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Mortal(Protocol):
    """What can be killed: an incarnation of a service, or one of its processes."""

    alive: bool
    guests: dict[str, Any]
    kept: list[Any]
    label: str
    processes: list[Any]
    on_death: list[Callable[[], None]]
    restart: Callable[[], None] | None
    redeploy: Callable[[], None] | None

    @property
    def host(self) -> Mortal | None:
        """What it lives on and dies with; None where it lives by itself."""


class Located(Protocol):
    """Whoever is at work, and dies with its incarnation: a scope."""

    run: Any
    """What a handler works on; None for code that takes its messages by itself."""

    @property
    def incarnation(self) -> Mortal:
        """The life it is part of."""


class Once:
    """Does something at the first call, and nothing at any later one."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def __call__(self, _: Any = None) -> None:
        if self.action is not None:
            action, self.action = self.action, None
            action()
