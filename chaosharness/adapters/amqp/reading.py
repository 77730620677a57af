"""What has arrived for a client, and how code waits for it."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import Any

from chaosharness.handlers.port import Nap, wait_of
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.places import is_installed, is_theirs
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import BACKGROUND


class Inbox:
    """What has arrived, in its order. One at a time waits for it."""

    def __init__(self) -> None:
        self._arrived: deque[Any] = deque()
        self._resume: Resume | None = None

    def __len__(self) -> int:
        return len(self._arrived)

    def put(self, *items: Any) -> None:
        """Add something, and wake who waits."""
        self._arrived.extend(items)
        self._wake()

    def rouse(self) -> None:
        """Wake who waits, if somebody does: what has arrived is None."""
        if self._resume is not None:
            self.put(None)

    def take(self) -> Iterator[Any]:
        """Yield what is there, and what comes meanwhile."""
        while self._arrived:
            yield self._arrived.popleft()

    def waiting(self, scope: Scope, due_ms: int | None, *, holds: bool = False) -> Script[None]:
        """Wait until something is there, or until a moment.

        Args:
            scope: Who waits.
            due_ms: Until when.
            holds: Whether it has something in hand that no message of its scope says.
        """
        world = scope.world
        over: list[None] = []
        timer: Any = None
        nap: Nap = BACKGROUND

        def expire(_: Any) -> None:
            over.append(None)
            nap.woke()
            self._wake()

        if due_ms is not None:
            delay_ms = due_ms - world.now
            if delay_ms <= 0:
                return
            world.know_duration(delay_ms)
            holds = holds or scope in world.in_flight
            nap = wait_of(scope, delay_ms, of_stack, _frame_of_user(), holds=holds)
            timer = world.timer(delay_ms, expire, None, nap)
        while not self._arrived and not over:
            yield self._keep
        if timer is not None:
            world.agenda.cancel(timer)

    def _keep(self, resume: Resume) -> None:
        self._resume = resume

    def _wake(self) -> None:
        resume, self._resume = self._resume, None
        if resume is not None:
            resume(None)


def _frame_of_user() -> FrameType | None:
    """Return the frame of the user's code that waits: a library's own holds numbers and times.

    Where a framework has made the thread (dramatiq), it is the frame that calls the client.
    """
    frame: FrameType | None = sys._getframe(1)
    client, caller = "", None
    while frame is not None:
        if is_theirs(frame):
            if not is_installed(frame.f_code.co_filename):
                return frame
            package = str(frame.f_globals.get("__name__")).partition(".")[0]
            client = client or package
            if caller is None and package != client:
                caller = frame
        frame = frame.f_back
    return caller
