"""Local activities of one run: done by the worker while it has the workflow task.

Nothing of them is in the history before the task is completed. A worker that dies before, or a
task that fails because something was told meanwhile, does them all again.

*Source*: sdk-core, `core/src/worker/activities/local_activities.rs` (rule T29); histories
recorded with temporalio 1.35.0.
How many run at once: `slots.py`.
*Not modelled*: schedule-to-start timeouts; one that waits for a slot is not cancelled before it has
begun.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import attrs
from temporalio.exceptions import CancelledError
from temporalio.testing import ActivityEnvironment

from chaosharness.handlers.handling import ended, reach, suffer
from chaosharness.handlers.port import HANDLE
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Scope
from chaosharness.orchestrators.temporal.markers import End
from chaosharness.orchestrators.temporal.retries import next_pause_ms

__all__ = ["BEAT_SHARE", "Attempt", "LocalWork", "Performer"]

BEAT_SHARE: Final = 0.8
"""The part of a workflow task's time after which the worker asks for another task."""
THRESHOLD_MS: Final = 60_000
"""A longer pause between two attempts becomes a timer of the workflow's, unless it says so."""


class Performer(Protocol):
    """What a worker does for its local activities."""

    def scope_for(self, name: str) -> Scope:
        """A scope in which an activity of this run runs."""

    def environment(self, asked: Any, attempt: int, first_ms: int) -> ActivityEnvironment:
        """What an activity may ask about itself."""

    def call(self, environment: ActivityEnvironment, asked: Any) -> Callable[..., Any]:
        """The activity, in its context."""

    def arguments(self, asked: Any) -> tuple[Any, ...]:
        """What it is called with."""

    def result_json(self, result: Any) -> Any:
        """What it returned, as payloads."""

    def failure_json(self, error: BaseException) -> Mapping[str, Any]:
        """What it raised, as a failure."""

    def alive(self) -> bool:
        """Whether the worker lives."""

    def take(self, go: Callable[[], None]) -> bool:
        """Take a slot; where none is free, `go` is called once one is."""

    def give_back(self) -> None:
        """Have the slot be another one's."""


@attrs.define(eq=False)
class Attempt:
    """One attempt that is out."""

    asked: Any
    number: int
    first_ms: int
    environment: ActivityEnvironment | None = None
    stopped: bool = False


@attrs.define(eq=False)
class LocalWork:
    """The local activities of one run that are out, and who is told how each has ended."""

    performer: Performer
    told: Callable[[End], None]
    out: dict[int, Attempt] = attrs.field(factory=dict)
    given_up: bool = False  # the worker has lost the task: whatever they do now tells nobody

    def begin(self, asked: Any, now_ms: int) -> None:
        """Begin one, at the attempt that the workflow says."""
        first_ms = now_ms
        self._try(Attempt(asked, max(1, asked.attempt), first_ms))

    def stop(self, seq: int) -> None:
        """Ask one to stop."""
        attempt = self.out.get(seq)
        if attempt is not None and attempt.environment is not None:
            attempt.stopped = True
            attempt.environment.cancel()

    def _try(self, attempt: Attempt) -> None:
        seq = attempt.asked.seq
        if self.given_up or not self.performer.alive():
            return
        self.out[seq] = attempt
        if not self.performer.take(lambda: self._go_on(attempt)):
            return  # until a slot is free
        self._begin(attempt)

    def _go_on(self, attempt: Attempt) -> None:
        """A slot is free for one that has waited, if it still wants it."""
        if self._is_out(attempt):
            self._try(attempt)

    def _begin(self, attempt: Attempt) -> None:
        name = attempt.asked.activity_type
        scope = self.performer.scope_for(name)
        drive_in_kernel(self._work(scope, attempt), scope.world)

    def _work(self, scope: Scope, attempt: Attempt) -> Script[None]:
        world, asked = scope.world, attempt.asked
        world.in_flight[scope] = scope.place
        operation = f"{scope.place}/handle"
        number = reach(scope, operation, HANDLE)
        yield from suffer(scope, operation, "before", number)
        attempt.environment = self.performer.environment(asked, attempt.number, attempt.first_ms)
        limit = _milliseconds(asked.start_to_close_timeout)
        if limit:
            world.know_timeout(limit)
            world.after(limit, lambda _: self._timed_out(scope, attempt))

        def done(scope: Scope, result: Any, error: BaseException | None) -> None:
            self.performer.give_back()
            if ended(scope, operation, number, error):
                drive_in_kernel(
                    self._ended(scope, operation, number, attempt, result, error), world
                )

        call = self.performer.call(attempt.environment, asked)
        scope.colour.start(scope, call, _as_is, self.performer.arguments(asked), done)

    def _ended(
        self,
        scope: Scope,
        operation: str,
        number: int,
        attempt: Attempt,
        result: Any,
        error: BaseException | None,
    ) -> Script[None]:
        yield from suffer(scope, operation, "after", number)
        if not self._is_out(attempt):
            return  # it was given up: it ran on beside its successor
        encoded: Any = None
        if error is None:
            try:
                encoded = self.performer.result_json(result)
            except Exception as unserialisable:  # the user's value has no JSON form: it has failed
                error = unserialisable
        if attempt.stopped and isinstance(error, asyncio.CancelledError | CancelledError):
            failure = {"message": "Cancelled", "canceledFailureInfo": {}}
            self._tell(attempt, End(attempt.asked.seq, attempt.number, failure=failure))
        elif error is None:
            self._tell(attempt, End(attempt.asked.seq, attempt.number,
                                    encoded,
                                    first_ms=attempt.first_ms))  # fmt: skip
        else:
            self._failed(scope, attempt, self.performer.failure_json(error))

    def _timed_out(self, scope: Scope, attempt: Attempt) -> None:
        if self._is_out(attempt) and scope.incarnation.alive:
            if attempt.environment is not None:
                attempt.environment.cancel()
            kind = {"timeoutType": "TIMEOUT_TYPE_START_TO_CLOSE"}
            failure = {"message": "Activity timed out", "timeoutFailureInfo": kind}
            self._failed(scope, attempt, failure)

    def _failed(self, scope: Scope, attempt: Attempt, failure: Mapping[str, Any]) -> None:
        """Try again, here or by a timer of the workflow's; or that is how it has ended."""
        asked = attempt.asked
        end = End(asked.seq, attempt.number, failure=failure, first_ms=attempt.first_ms)
        pause_ms = next_pause_ms(asked.retry_policy, attempt.number, failure)
        total = _milliseconds(asked.schedule_to_close_timeout)
        late = (
            pause_ms is not None
            and total
            and (scope.world.now + pause_ms >= attempt.first_ms + total)
        )
        if pause_ms is None or late or "canceledFailureInfo" in failure:
            self._tell(attempt, end)
        elif pause_ms > (_milliseconds(asked.local_retry_threshold) or THRESHOLD_MS):
            self._tell(attempt, attrs.evolve(end, backoff_ms=pause_ms))
        else:
            following = Attempt(asked, attempt.number + 1, attempt.first_ms)
            self.out[asked.seq] = following

            def go(_: Any) -> None:
                if self._is_out(following) and scope.incarnation.alive:
                    self._try(following)

            scope.world.effects += 1
            scope.world.after(pause_ms, go)

    def _is_out(self, attempt: Attempt) -> bool:
        return not self.given_up and self.out.get(attempt.asked.seq) is attempt

    def _tell(self, attempt: Attempt, end: End) -> None:
        del self.out[attempt.asked.seq]
        self.told(end)


def _milliseconds(duration: Any) -> int:
    found: int = round(duration.ToNanoseconds() / 1_000_000)
    return found


def _as_is(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return arguments
