"""What code waits for that a client does in the background."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, Final

from chaosharness.handlers.blocking import blocking
from chaosharness.handlers.port import current_scope, wait_of
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World

SECOND_MS: Final = 1_000


class Latch:
    """Wakes all who wait for news, each time that there is some."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: list[Resume] = []

    def tell(self) -> None:
        """Wake all who wait."""
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            self._world.after(0, resume)

    def wait(self, seconds: float | None) -> None:
        """Wait for news, for so long at most."""
        most_ms = None if seconds is None else max(round(seconds * SECOND_MS), 0)
        self._wait(most_ms, sys._getframe(1))

    @blocking
    def _wait(self, most_ms: int | None, at: FrameType) -> None:
        scope = current_scope("wait", self._world)
        scope.colour.drive(self._until_told(scope, most_ms, at), scope)

    def _until_told(self, scope: Scope, most_ms: int | None, at: FrameType) -> Script[None]:
        nap: Any = None if most_ms is None else wait_of(scope, most_ms, of_stack, at)
        timer: Any = None

        def keep(resume: Resume) -> None:
            nonlocal timer
            self._waiting.append(resume)
            if most_ms is not None:
                timer = self._world.timer(most_ms, give_up, resume, nap)

        def give_up(resume: Resume) -> None:
            nap.woke()
            if resume in self._waiting:
                self._waiting.remove(resume)
                resume(None)

        try:
            yield keep
        finally:
            if timer is not None:
                self._world.agenda.cancel(timer)
