"""What code of a client library waits at until a message has come, or its time is over."""

from __future__ import annotations

from typing import Any

from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.world import World


class Bell:
    """Rung by whatever has something for one piece of code, which waits for it now and then."""

    __slots__ = ("_waiting", "_world")

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: Resume | None = None

    def ring(self) -> None:
        """Wake who waits, if anybody does."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting(None)

    def wait(self, wait_ms: int | None, nap: Any) -> Script[None]:
        """Wait until it rings.

        Args:
            wait_ms: For so long at most; None: for ever.
            nap: What stands for a wait with a limit, see `wait_of`.
        """
        timer: Any = None

        def over(_: Any) -> None:
            nap.woke()
            self.ring()

        def keep(resume: Resume) -> None:
            nonlocal timer
            self._waiting = resume
            if wait_ms is not None:
                timer = self._world.timer(wait_ms, over, None, nap)

        try:
            yield keep
        except GeneratorExit:  # the task that waited was cancelled
            self._waiting = None
            if nap is not None:
                nap.woke()
            raise
        finally:
            if timer is not None:
                self._world.agenda.cancel(timer)
