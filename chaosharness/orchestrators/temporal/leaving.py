"""A worker that is told to shut down: it asks for nothing more, and finishes what it has.

*Source*: temporalio 1.35.0, `Worker.run` and `Worker.shutdown`; sdk-core,
`core/src/worker/activities.rs` (`worker_shutdown_failure`).
*Not modelled*: local activities that are cut off by it; tasks that the last polls bring.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

from temporalio.activity import ActivityCancellationDetails
from temporalio.testing import ActivityEnvironment

__all__ = ["SHUT_DOWN", "Leaving"]

SHUT_DOWN: Final = {
    "message": "Worker is shutting down and this activity did not complete in time",
    "source": "",
    "applicationFailureInfo": {"type": "WorkerShutdown"},
}
"""The failure of an activity that was cancelled because its worker shuts down: tried again."""


class Hands(Protocol):
    """A worker, as far as it has something in hand."""

    coming: int
    working: dict[str, ActivityEnvironment]
    busy: dict[str, Any]


class Leaving:
    """The shutdown of one worker, from when it is told.

    Args:
        worker: Who is told.
        done: Called once, when nothing is in hand any more.
    """

    def __init__(self, worker: Hands, done: Callable[[], None]) -> None:
        self._worker = worker
        self._done: Callable[[], None] | None = done

    def begin(self) -> None:
        """Have running activities know of it (`activity.is_worker_shutdown`)."""
        for environment in [*self._worker.working.values()]:
            environment.worker_shutdown()
        self.look()

    def cut_off(self, _: Any = None) -> None:
        """Cancel the activities that go on still: their time is over."""
        because = ActivityCancellationDetails(worker_shutdown=True)
        for environment in [*self._worker.working.values()]:
            environment.cancel(because)

    def look(self) -> None:
        """Say that it is done, if nothing is in hand any more."""
        worker = self._worker
        if self._done is not None and not (worker.coming or worker.working or worker.busy):
            done, self._done = self._done, None
            done()
