"""Scripts: what a port does, written once for every colour of handler.

A port that has to wait (a call takes time, a fault stalls it) is a generator that
yields what it waits for and returns its result. Whoever runs it decides how to wait:
a greenlet parks, a coroutine awaits, the kernel takes a note on its agenda.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final, Protocol, TypeVar

from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World

T = TypeVar("T")

Resume = Callable[[Any], None]
"""Goes on with a waiting script, with this value. Only the first call counts."""

Wait = int | Callable[[Resume], None] | None
"""Milliseconds; or something that keeps the `Resume` and calls it later; or NEVER."""

Script = Generator[Wait, Any, T]

NEVER: Final = None
"""Wait for ever: the incarnation has died, and the code is abandoned where it stands."""


class Colour(Protocol):
    """How one kind of user code is run, and how it waits."""

    name: str
    is_async: bool

    def drive(self, script: Script[T], scope: Scope) -> Any:
        """Run a script for a caller of this colour: its result, or an awaitable of it."""

    def block(self, script: Script[T], scope: Scope) -> T:
        """Run a script for a caller that cannot await (a sqlite3 call in a coroutine)."""


def arm(wait: Wait, resume: Resume, world: World) -> None:
    """Have `resume` called when the wait is over."""
    if wait is None:
        return
    if isinstance(wait, int):
        world.after(wait, resume)
    else:
        wait(resume)


def drive_in_kernel(
    script: Script[T], world: World, finish: Callable[[T], None] | None = None
) -> None:
    """Run a script that belongs to no handler: the broker's or the harness's own."""
    _Alone(script, world, finish).go_on(None)


class _Alone:
    """A script on its way. No function that knows itself: that would be a circle for each."""

    __slots__ = ("finish", "script", "world")

    def __init__(self, script: Script[T], world: World, finish: Callable[[T], None] | None) -> None:
        self.script = script
        self.world = world
        self.finish = finish

    def go_on(self, value: Any) -> None:
        """Let it go on with what it waited for."""
        try:
            wait = self.script.send(value)
        except StopIteration as stop:
            if self.finish is not None:
                self.finish(stop.value)
            return
        if wait is not None:
            arm(wait, self.go_on, self.world)
