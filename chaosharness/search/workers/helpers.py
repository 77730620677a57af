"""Who makes the runs of a search beside the process that searches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import msgspec

from chaosharness.errors import ChaosharnessError, InvalidDefinition
from chaosharness.schedule import Schedule
from chaosharness.search.seen import Examiner, Seen
from chaosharness.search.workers.messages import Answer
from chaosharness.search.workers.outpost import work
from chaosharness.search.workers.pool import Pool, Start
from chaosharness.search.workers.wire import Wire
from chaosharness.search.workers.work import brief_for, seen_of, units_of

TASKS: Final = 4
"""Tasks into which a batch is split where nobody says so."""


class Helpers(Protocol):
    """Who makes runs for a search."""

    def results(self, schedules: Sequence[Schedule]) -> Iterator[Seen]:
        """Run the schedules of one batch, and yield what each showed, in their order."""

    def close(self) -> None:
        """Make no more runs."""

    def kill(self) -> None:
        """Make no more runs, at once."""


def helpers(
    workers: int, *, target: str, start: Start | None, executor: Any
) -> Callable[[Examiner], Helpers] | None:
    """Return what starts them once the calm run is known; None for nobody.

    Raises:
        InvalidDefinition: It is no executor.
    """
    if executor is not None:
        if not callable(getattr(executor, "submit", None)):
            raise InvalidDefinition(
                f"{executor!r} cannot make runs: give what has submit(function, *arguments), such "
                "as a Dask client or a ProcessPoolExecutor"
            )
        return lambda examiner: Engine(examiner, executor, workers or TASKS, target=target)
    if workers:
        return lambda examiner: Pool(examiner, workers, target=target, start=start)
    return None


class Engine:
    """An engine of somebody else's, that does the units of one search as tasks.

    Args:
        examiner: Of the search, after its calm run.
        executor: Has `submit(function, *arguments)`, which returns a future.
        tasks: Into how many tasks a batch is split.
        target: Where the system is found, for the processes of the engine.

    Raises:
        InvalidDefinition: The system cannot be told to a process that loads it anew.
    """

    def __init__(self, examiner: Examiner, executor: Any, tasks: int, *, target: str) -> None:
        calm = examiner.calm
        assert calm is not None
        self.examiner = examiner
        self.executor = executor
        self.tasks = tasks
        self.wire = Wire(calm)
        brief = brief_for(examiner, target, who="an executor")
        self._brief = msgspec.msgpack.encode(brief)
        self._batch = 0
        self._ahead: list[Any] = []

    def results(self, schedules: Sequence[Schedule]) -> Iterator[Seen]:
        """Run the schedules of one batch, and yield what each showed, in their order."""
        self._batch += 1
        units = units_of(schedules)
        shares = [units[at :: self.tasks] for at in range(min(self.tasks, len(units)))]
        self._ahead = [self._submit(share) for share in shares]
        answers: dict[int, Answer] = {}
        for place, schedule in enumerate(schedules):
            if place not in answers:
                for one in self._result(place % self.tasks):
                    answer = msgspec.msgpack.decode(one, type=Answer)
                    answers[answer.place] = answer
            yield seen_of(answers.pop(place), schedule, self.examiner, self.wire)

    def _submit(self, share: list[Any]) -> Any:
        try:
            return self.executor.submit(work, self._brief, self._batch, share, **self._words())
        except Exception as error:
            raise _engine_failed(error) from error

    def _words(self) -> dict[str, Any]:
        """Return what a Dask client must be told: that no task is another's, or known already."""
        return {"pure": False} if hasattr(self.executor, "scheduler_info") else {}

    def _result(self, at: int) -> list[bytes]:
        try:
            found: list[bytes] = self._ahead[at].result()
        except ChaosharnessError:
            raise
        except Exception as error:
            raise _engine_failed(error) from error
        return found

    def close(self) -> None:
        """Make no more runs. The engine is its owner's, and stays."""
        self.kill()

    def kill(self) -> None:
        """Take back what was not begun."""
        for one in self._ahead:
            with suppress(Exception):
                one.cancel()
        self._ahead = []


def _engine_failed(error: Exception) -> ChaosharnessError:
    words = " ".join(str(error).split()) or "it says no more"
    return ChaosharnessError(f"the executor failed with {type(error).__name__}: {words}")
