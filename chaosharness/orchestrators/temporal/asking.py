"""Questions to workflows, and waiting for updates and ends, on the server's side.

*Source*: temporalio/temporal, `service/history/api/queryworkflow` (rule T31), `workflow/update`;
`history.longPollExpirationInterval`, and sdk-core's own time for such calls.
"""

from collections.abc import Callable
from typing import Any, Final

import attrs

from chaosharness.externals.request import Server
from chaosharness.kernel.scope import Scope
from chaosharness.kernel.world import World
from chaosharness.orchestrators.temporal import updates
from chaosharness.orchestrators.temporal.run import Run, Update

__all__ = ["QUERY_MS", "Patient", "Question", "UpdateWaiter", "in_time"]

LONG_POLL_MS: Final = 20_000
"""How long the server holds an answer back; then it says that there is nothing yet."""
QUERY_MS: Final = 30_000
"""How long a client waits for a question's answer: a worker has to be found first."""
LONG_CALL_MS: Final = 70_000
"""How long a client waits for such an answer."""


@attrs.frozen
class Patient:
    """The server, as it is asked for what may take long."""

    engine: Server
    timeout_ms: int = LONG_CALL_MS

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def world(self) -> World:
        return self.engine.world

    @property
    def latency_ms(self) -> int:
        return self.engine.latency_ms

    def lost(self, operation: str) -> BaseException:
        """What a client sees when no answer comes."""
        return self.engine.lost(operation)

    def refused(self, operation: str) -> BaseException:
        """What a client sees when the server is away for a moment."""
        return self.engine.refused(operation)

    def lose_writes(self, scope: Scope) -> bool | None:
        """Lose nothing: what the server has answered is durable (T26)."""
        return self.engine.lose_writes(scope)

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Any, reply: Callable[..., None]
    ) -> None:
        """Have the server answer."""
        self.engine.serve(caller, operation, attempt, request, reply)


def in_time(
    world: World, function: Callable[..., None], late: Callable[[], None]
) -> Callable[..., None]:
    """Return `function`, and have `late` called where that was not called within a long poll."""
    timer = world.timer(LONG_POLL_MS, lambda _: late(), None)

    def called(*arguments: Any) -> None:
        world.agenda.cancel(timer)
        function(*arguments)

    return called


@attrs.frozen
class Question:
    """A query that waits for a worker."""

    run: Run
    name: str
    arguments: list[Any]
    headers: dict[str, Any]
    answered: Callable[..., None]
    since_ms: int

    @property
    def ready(self) -> bool:
        """Whether all that has happened is decided: a question sees no half of it."""
        completed = any(e["eventType"].endswith("TASK_COMPLETED") for e in self.run.events)
        return self.run.status != "RUNNING" or (completed and self.run.task is None)


@attrs.frozen
class UpdateWaiter:
    """Somebody who waits for an update to come as far as `wanted`."""

    update: Update
    wanted: str
    tell: Callable[[], None]

    @property
    def over(self) -> bool:
        return updates.is_over(self.update, wanted=self.wanted)
