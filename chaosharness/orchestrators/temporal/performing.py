"""What a worker does for its local activities."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from temporalio.testing import ActivityEnvironment

from chaosharness.kernel.scope import Scope
from chaosharness.orchestrators.temporal.calling import environment_of, runner_of
from chaosharness.orchestrators.temporal.protos import moment
from chaosharness.orchestrators.temporal.run import Run

__all__ = ["Performing"]


@attrs.frozen
class Performing:
    """A worker, as the local activities of one run see it."""

    worker: Any
    run: Run

    def alive(self) -> bool:
        return bool(self.worker.alive)

    def take(self, go: Callable[[], None]) -> bool:
        """Take a slot; where none is free, `go` is called once one is."""
        return bool(self.worker.slots.take_local(go))

    def give_back(self) -> None:
        """Have the slot be another one's."""
        self.worker.slots.give_local()

    def scope_for(self, name: str) -> Scope:
        scope: Scope = self.worker.doing(self.run, name)
        return scope

    def environment(self, asked: Any, attempt: int, first_ms: int) -> ActivityEnvironment:
        run = self.run
        return environment_of(
            {
                "activity_id": asked.activity_id,
                "activity_type": asked.activity_type,
                "attempt": attempt,
                "is_local": True,
                "scheduled_time": moment(first_ms),
                "started_time": moment(self.worker.engine.world.now),
                "task_queue": run.queue,
                "workflow_id": run.workflow_id,
                "workflow_run_id": run.run_id,
                "workflow_type": run.type,
            },
            self.worker.converter,
            self.worker.client,
        )

    def call(self, environment: ActivityEnvironment, asked: Any) -> Callable[..., Any]:
        worker, headers = self.worker, dict(asked.headers)
        known = worker.activity(asked.activity_type)
        assert known is not None
        function: Callable[..., Any] = runner_of(environment, known, worker.interception, headers)
        return function

    def arguments(self, asked: Any) -> tuple[Any, ...]:
        function = self.worker.activity(asked.activity_type)
        found: tuple[Any, ...] = self.worker.arguments_of(function, [*asked.arguments])
        return found

    def result_json(self, result: Any) -> Any:
        return self.worker.result_json(result)

    def failure_json(self, error: BaseException) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.worker.failure_json(error)
        return found
