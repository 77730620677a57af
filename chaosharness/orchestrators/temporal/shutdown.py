"""A worker that is shut down, as its process is told to stop: what it finishes, what it cancels.

It polls no more. Workflow tasks that it has in hand are completed, with their local activities.
Activities go on for `graceful_shutdown_timeout`; then they are cancelled. One that ends by that is
reported as failed, which the server tries again as its retry policy has it. When nothing is in
hand, its sticky queue is given up: tasks that come later need not wait for it.

*Source*: temporalio 1.35, `worker/_worker.py` (`run`) and `_activity.py`; sdk-core,
`core/src/worker/activities.rs` (`ActivityTaskStream`, `worker_shutdown_failure`) and
`worker/mod.rs` (`shutdown`: local activities are waited for, `ShutdownWorker` comes at the end).
*Not modelled*: plugins; what `Worker.run` does where it fails by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Final

import temporalio.activity
import temporalio.exceptions
from temporalio.testing import ActivityEnvironment

from chaosharness.handlers.carrier import PLAIN, Plain
from chaosharness.handlers.script import Script, T
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.orchestrators.temporal.deadlines import STICKY_MS

__all__ = ["FAILURE", "InHand", "Interruptible", "Shutdown"]

CANCELLED: Final = (temporalio.exceptions.CancelledError, asyncio.CancelledError)
FAILURE: Final = {
    "message": "Worker is shutting down and this activity did not complete in time",
    "applicationFailureInfo": {"type": "WorkerShutdown"},
}
"""What the server is told of an activity that ended because its worker was shut down."""


class Interruptible(Plain):
    """A plain activity, as a thread in which an error may be raised: when its next wait is over."""

    def __init__(self) -> None:
        self.raised: Callable[[], BaseException | None] = lambda: None

    def drive(self, script: Script[T], scope: Scope) -> T:  # type: ignore[override]
        """Wait in the caller's greenlet; then raise, if something is to be raised."""
        found = PLAIN.drive(script, scope)
        error = self.raised()
        if error is not None:
            raise error
        return found

    block = drive


class InHand:
    """An activity that a worker works on."""

    def __init__(self, environment: ActivityEnvironment, colour: Any) -> None:
        self.environment = environment
        self.colour = colour
        self.is_cancelled = False

    def told(self) -> None:
        """Learn that the worker is shut down: `activity.is_worker_shutdown()`."""
        self.environment.worker_shutdown()

    def cancel(self) -> None:
        """Be cancelled, unless it was already."""
        environment = self.environment
        if environment._cancelled:
            return
        self.is_cancelled = True
        details = temporalio.activity.ActivityCancellationDetails(worker_shutdown=True)
        if not isinstance(self.colour, Interruptible):
            environment.cancel(details)
            return
        raisers = []
        for one in environment._activities:
            if one.cancel_thread_raiser is not None:
                raisers.append(one.cancel_thread_raiser)
                one.cancel_thread_raiser = None  # it would raise in the only thread that there is
        environment.cancel(details)

        def raised() -> BaseException | None:
            if not raisers or any(one._shield_depth for one in raisers):
                return None
            raisers.clear()
            return temporalio.exceptions.CancelledError()

        self.colour.raised = raised


class Shutdown:
    """Whether a worker polls, and what it has in hand.

    Args:
        incarnation: Whose worker it is.
        grace_ms: How long its activities may go on.
        is_deciding: Says whether a workflow task is in hand.
        is_own: Whether user code runs the worker, and says when it is shut down.
    """

    def __init__(
        self,
        incarnation: Incarnation,
        grace_ms: int,
        is_deciding: Callable[[], bool],
        *,
        is_own: bool = False,
    ) -> None:
        self.incarnation = incarnation
        self.grace_ms = grace_ms
        self.told_ms: int | None = None
        """When the server was told that the worker's sticky queue is over."""
        self._is_deciding = is_deciding
        self._in_hand: dict[str, InHand] = {}
        self._coming = 0
        self._is_closed = False
        self._cancels = False
        self._done: Callable[[], None] | None = None
        if not is_own:
            incarnation.takers.append(self)
        incarnation.on_death.append(self._ended)

    @property
    def polls(self) -> bool:
        """Whether it asks for tasks."""
        return self.incarnation.alive and not self._is_closed

    def waits_until_ms(self, since_ms: int) -> int:
        """Return how long what came for this worker's sticky queue waits for it there (T5)."""
        if self.told_ms is not None and since_ms > self.told_ms:
            return since_ms
        return since_ms + STICKY_MS

    def cease(self, done: Callable[[], None] | None = None) -> None:
        """Poll no more; cancel activities when their time is over.

        Args:
            done: Called once, when nothing is in hand any more.
        """
        self._is_closed = True
        self._done = done
        for one in self._in_hand.values():
            one.told()
        world = self.incarnation.world
        if self.grace_ms:
            world.know_timeout(self.grace_ms)
            world.after(self.grace_ms, self._cancel)
        else:
            self._cancel(None)
        self.look()

    def is_busy(self) -> bool:
        """Say whether something is in hand."""
        return bool(self._in_hand or self._coming or self._is_deciding())

    def expect(self) -> None:
        """Learn that the server has handed out a task, which is on its way."""
        self._coming += 1

    def came(self) -> None:
        """Learn that it has arrived."""
        self._coming -= 1

    def begin(self, token: str, environment: ActivityEnvironment, colour: Any) -> None:
        """Have an activity in hand."""
        one = self._in_hand[token] = InHand(environment, colour)
        if self._is_closed:
            one.told()
        if self._cancels:
            one.cancel()

    def failure(self, token: str, error: BaseException | None) -> dict[str, Any] | None:
        """Return what is told of an activity that ended because it was cancelled from here."""
        one = self._in_hand.get(token)
        if one is not None and one.is_cancelled and isinstance(error, CANCELLED):
            return {**FAILURE}
        return None

    def reporting(self, token: str, script: Script[None]) -> Generator[Any, Any, None]:
        """Report how an activity has ended; it is in hand until then."""
        yield from script
        self._in_hand.pop(token, None)
        self.look()

    def look(self) -> None:
        """Have the process end, or whoever waits go on, if there is nothing to do any more."""
        if self._done is not None and not self.is_busy():
            done, self._done = self._done, None
            self._ended()
            done()
        if self.incarnation.stopping is not None:
            self.incarnation.stopping.look()

    def _cancel(self, _: Any) -> None:
        self._cancels = True
        for one in [*self._in_hand.values()]:
            if self.incarnation.alive:
                one.cancel()

    def _ended(self) -> None:
        if self._is_closed and self.told_ms is None and not self.is_busy():
            self.told_ms = self.incarnation.world.now
