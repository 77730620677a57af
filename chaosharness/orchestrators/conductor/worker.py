"""A worker in a system: polls tasks of one name in one incarnation of a service, and reports.

What can strike is where a real worker can be struck: the answer to its poll is lost (C3), it dies
before, amid or after its work, its report is lost and sent again (C17), it reports too late (C5),
or it cannot reach the server for so long that it gives up, and the result is lost.

*Source*: conductor-python 2.0, `automator/task_runner.py`: reports are sent four times, after 10,
20 and 30 s; the lease is extended at 80 % of the response timeout, where that is asked for.
Where its process is told to stop (`GracefulStop`), what it has in hand is cut off, as by a crash:
the processes of `TaskHandler` have no handler of SIGTERM (`automator/task_handler.py`,
`stop_processes`: terminate, and kill after 5 s). The server notices by the response timeout.

*Not modelled*: the interval between two polls (a worker that is free gets a task at once), polling
that slows down, `update_task_v2` and the task that it brings back.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs

from chaosharness.errors import RefusedValue
from chaosharness.faults import Crash, Delay, LostReply, LostRequest, NetworkPartition, Pause
from chaosharness.handlers.handling import ended, reach, suffer
from chaosharness.handlers.port import HANDLE, Peer, cut, strikes, trouble
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import World
from chaosharness.orchestrators.conductor.functions import bind, given_task, in_context, result_of
from chaosharness.orchestrators.conductor.records import Task
from chaosharness.orchestrators.conductor.server import Result, Server
from chaosharness.orchestrators.outage import Outage
from chaosharness.orchestrators.store_rows import store_surface

__all__ = ["Engine", "Worker"]

POLL: Final = store_surface("conductor", "poll")
REPORT: Final = store_surface(
    "conductor", "report", before=(NetworkPartition,), also_before=(Crash, Pause, Delay),
    also_after=(Crash, Pause),
)  # fmt: skip
WAITS_MS: Final = (0, 10_000, 20_000, 30_000)
"""How long a worker waits before each time that it sends a result."""


class Engine(Peer, Protocol):
    """What a worker needs of the server that it polls."""

    world: World
    server: Server
    latency_ms: int
    outage: Outage

    @property
    def up(self) -> bool:
        """Whether the server's process lives, and its store is there."""

    def scope_of(self, workflow_id: str) -> Scope:
        """Whose work a workflow is, and what it was caused by last."""

    def perform(self, steps: Any, caller: Scope, finish: Callable[[Any], None]) -> None:
        """Have the server carry an operation out, unless it dies amid."""

    def go_on(self) -> None:
        """Hand out what is ready, and be woken in time."""


@attrs.define(eq=False)
class Worker:
    """Polls one queue, of a task's name or of a domain's, as many at once as it has threads.

    `library` says whether the function is given a `Task` of conductor-python.
    """

    engine: Engine
    incarnation: Incarnation
    service: str
    place: str
    name: str
    function: Callable[..., Any]
    colour: Any
    threads: int = 1
    extends_lease: bool = False
    library: bool = False
    busy: int = 0

    @property
    def free(self) -> bool:
        """Whether it polls now, and can reach the server."""
        if not self.incarnation.alive or self.busy >= self.threads:
            return False
        unreachable = self.engine.world.unreachable
        return not unreachable or not (
            (self.service, self.engine.name) in unreachable
            or (self.engine.name, self.service) in unreachable
        )

    def _scope(self, workflow_id: str) -> Scope:
        owner = self.engine.scope_of(workflow_id)
        return Scope(
            self.engine.world,
            self.incarnation,
            self.place,
            owner.entity,
            owner.cause,
            self.colour,
            owner.hops + 1,
            owner.message,
        )

    def poll(self, workflow_id: str) -> None:
        """Ask for a task; whose it will be is known."""
        engine = self.engine
        scope = self._scope(workflow_id)
        operation = f"{self.place}/poll"
        attempt = reach(scope, operation, POLL)
        worker = self.incarnation.label

        def got(task: Task | None) -> None:
            if task is None:
                return
            if operation in engine.world.armed and any(
                isinstance(fault, LostReply)
                for fault in strikes(scope, operation, "after", attempt)
            ):
                data = {"outcome": "unknown", "happened": True}
                scope.record("reply", operation, attempt, data)
                return
            self.busy += 1
            scope.cause = engine.scope_of(workflow_id).cause
            engine.world.after(engine.latency_ms // 2, lambda _: self._begin(scope, task))

        engine.perform(engine.server.poll(self.name, worker), engine.scope_of(workflow_id), got)

    def _begin(self, scope: Scope, task: Task) -> None:
        if self.incarnation.alive:
            drive_in_kernel(self._work(scope, task), scope.world)

    def _work(self, scope: Scope, task: Task) -> Script[None]:
        world = scope.world
        world.in_flight[scope] = self.place
        operation = f"{self.place}/handle"
        attempt = reach(scope, operation, HANDLE)
        yield from suffer(scope, operation, "before", attempt)
        if scope.hops > world.hops_max and world.too_far(scope.hops):
            world.end("budget", f"a cycle of calls through {self.place}")
            return
        given = given_task(task, library=self.library)
        working = [True]
        self._extend_lease(task, working)

        def done(scope: Scope, value: Any, error: BaseException | None) -> None:
            working.clear()
            if ended(scope, operation, attempt, error):
                script = self._after(scope, task, operation, attempt, value, error)
                drive_in_kernel(script, world)

        scope.colour.start(scope, _caller(self.function, given), _none, None, done)

    def _extend_lease(self, task: Task, working: list[bool]) -> None:
        definition = task.step.task_def
        if not self.extends_lease or definition is None or not definition.response_timeout_s:
            return
        every_ms = definition.response_timeout_s * 800

        def beat(_: Any) -> None:
            if working and self.incarnation.alive:
                if self.engine.up:
                    extend = Result(task_id=task.id, status="IN_PROGRESS", extend_lease=True)
                    owner = self.engine.scope_of(task.workflow)
                    self.engine.perform(self.engine.server.update(extend), owner, _nothing)
                self.engine.world.after(every_ms, beat)

        self.engine.world.after(every_ms, beat)

    def _after(
        self,
        scope: Scope,
        task: Task,
        operation: str,
        attempt: int,
        value: Any,
        error: BaseException | None,
    ) -> Script[None]:
        """Report how the work has ended, as often as the library tries."""
        yield from suffer(scope, operation, "after", attempt)
        world = scope.world
        try:
            result = result_of(task, value, error, operation)
        except RefusedValue as wrong:
            if world.is_mistake(wrong):
                world.refuse(wrong)
                return
            result = result_of(task, None, wrong, operation)
        world.in_flight[scope] = self.place
        for wait_ms in WAITS_MS:
            yield wait_ms
            if (yield from self._report(scope, task, result)):
                break
        else:
            data = {"outcome": "failed", "error": "Task result LOST", "happened": False}
            scope.record("reply", f"{self.place}/report", len(WAITS_MS), data)
        world.in_flight.pop(scope, None)
        self.busy -= 1
        self.engine.go_on()

    def _report(self, scope: Scope, task: Task, result: Result) -> Script[bool]:
        """Send a result once; say whether the server has answered."""
        engine, world = self.engine, scope.world
        operation = f"{self.place}/report"
        attempt = reach(scope, operation, REPORT)
        lost = False
        if operation in world.armed:
            for fault in strikes(scope, operation, "before", attempt):
                if isinstance(fault, LostRequest):
                    lost = True
                else:
                    yield from trouble(scope, fault, engine)
            engine.outage.strike(scope)
        if lost or cut(scope, engine, "out"):
            yield engine.timeout_ms
            return False
        yield engine.latency_ms
        if not engine.up:
            return False  # refused at once
        answered: list[bool] = []
        late = engine.server.store.tasks[task.id].terminal
        owner = engine.scope_of(task.workflow)
        owner.cause = scope.cause
        engine.perform(engine.server.update(result), owner, lambda _: answered.append(True))
        if operation in world.armed:
            for fault in strikes(scope, operation, "after", attempt):
                if isinstance(fault, LostReply):
                    answered.clear()
                else:
                    yield from trouble(scope, fault, engine)
        if not answered or cut(scope, engine, "back"):
            yield engine.timeout_ms
            return False
        if late:
            scope.record("reply", operation, attempt, {"outcome": "ok", "late": True})
        return True


def _caller(function: Callable[..., Any], task: Any) -> Callable[..., Any]:
    """The function with what it is called with, in the colour that it has."""
    from chaosharness.handlers.colours import is_async

    def bound() -> Any:
        positional, named = bind(function, task)
        return function(*positional, **named)

    def handle() -> Any:
        with in_context(task):
            return bound()

    async def handle_async() -> Any:
        with in_context(task):
            return await bound()

    return handle_async if is_async(function) else handle


def _none(_: Any) -> tuple[()]:
    return ()


def _nothing(_: Any) -> None:
    """Nobody waits for it."""
