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

__all__ = ["QUERY_MS", "Patient", "Polls", "Question", "UpdateWaiter", "in_time"]

LONG_POLL_MS: Final = 20_000
"""How long the server holds an answer back; then it says that there is nothing yet."""
VAIN_POLLS: Final = 6
"""Polls in a row without anything new, after which each is held open for twice as long."""
HELD_MAX_MS: Final = 1_800_000
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
    def known_ms(self) -> int:
        """How much of it is a time that searches size trouble by."""
        return min(self.timeout_ms, LONG_CALL_MS)

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


class Polls:
    """How long clients' polls for the end of a workflow, or of an update, are held open.

    As long as the server does, but where one after the other ends in vain and nothing happens
    anywhere: for a workflow that nothing moves any more a client asks to the end of the run,
    thousands of times, and each is a call that a search might have a fault strike.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._vain: dict[tuple[str, str], tuple[int, int]] = {}

    def in_vain(self, caller: Scope, req: Any) -> None:
        """Note that a poll has ended with nothing to tell."""
        effects = self._world.effects
        times, before = self._vain.get(_who(caller, req), (0, -1))
        self._vain[_who(caller, req)] = (times + 1 if before == effects else 1, effects)

    def hold_ms(self, caller: Scope, req: Any) -> int:
        """Return how long a poll that comes now is held open."""
        times, effects = self._vain.get(_who(caller, req), (0, -1))
        if effects != self._world.effects or times <= VAIN_POLLS:
            return LONG_POLL_MS
        return min(LONG_POLL_MS << times - VAIN_POLLS, HELD_MAX_MS)

    def timeout_ms(self, caller: Scope, req: Any) -> int:
        """Return how long a client waits for an answer that may be held back."""
        more_ms = self.hold_ms(caller, req) - LONG_POLL_MS
        return LONG_CALL_MS + 2 * more_ms  # others who ask the same may lengthen it meanwhile


def _who(caller: Scope, req: Any) -> tuple[str, str]:
    return caller.place, workflow_of(req)


def workflow_of(req: Any) -> str:
    """Return the id of the workflow that a client asks for, with which request ever."""
    if hasattr(req, "operations"):  # a start and an update at once
        return str(req.operations[0].start_workflow.workflow_id)
    asked = getattr(req, "update_ref", req)
    execution = getattr(asked, "workflow_execution", None) or asked.execution
    return str(execution.workflow_id)


def in_time(
    world: World,
    function: Callable[..., None],
    late: Callable[[], None],
    hold_ms: int = LONG_POLL_MS,
) -> Callable[..., None]:
    """Return `function`, and have `late` called where that was not called within a long poll."""
    timer = world.timer(hold_ms, lambda _: late(), None)

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
