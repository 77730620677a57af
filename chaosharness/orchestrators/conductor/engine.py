"""Conductor in a system: its server, which can die between two of its writes, and its workers.

*Source*: `server.py` and `worker.py` name theirs; rules C3, C5, C9, C11, C13.
*Not modelled*: more than one server, so its locks; a server that stalls; one write that fails
anywhere but where tasks are made (a store that is away is away for all of them).
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from chaosharness.errors import InvalidDefinition
from chaosharness.faults import Delay, Redeploy
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.handling import reach, suffer
from chaosharness.handlers.port import strikes, surface
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel.allowed import meant, spelled
from chaosharness.kernel.mortal import Once
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import Waiting, World
from chaosharness.orchestrators.conductor.client import ConductorClient
from chaosharness.orchestrators.conductor.definition import Blueprint, TaskDef
from chaosharness.orchestrators.conductor.functions import registered, takes_library_s
from chaosharness.orchestrators.conductor.limits import ACTIVE_MS, POSTPONED_MS
from chaosharness.orchestrators.conductor.mapping import SYSTEM
from chaosharness.orchestrators.conductor.outside import Endpoint, Outside
from chaosharness.orchestrators.conductor.records import (
    RUNNING,
    SCHEDULED,
    Task,
    Workflow,
    plain_ref,
)
from chaosharness.orchestrators.conductor.refusals import ConductorError
from chaosharness.orchestrators.conductor.searching import Query, found
from chaosharness.orchestrators.conductor.server import Result, Server
from chaosharness.orchestrators.conductor.steps import (
    Called,
    Ended,
    Failed,
    Published,
    Scheduled,
    Started,
    Steps,
    Trial,
    Write,
)
from chaosharness.orchestrators.conductor.store import Store
from chaosharness.orchestrators.conductor.worker import Worker
from chaosharness.orchestrators.endless import Decisions
from chaosharness.orchestrators.given_up import note_given_up
from chaosharness.orchestrators.long_waits import AGAIN_MIN, LongWaits, how_often, if_meant
from chaosharness.orchestrators.outage import Outage
from chaosharness.orchestrators.store_rows import store_surface

__all__ = ["OpenConductor"]

WRITE: Final = store_surface("conductor", "save workflow")
"""The server may die after each of its writes, whatever it is."""

MAKE: Final = store_surface("conductor", "create tasks")
"""Where tasks are made, in a store that may fail (C11)."""

SEARCH: Final = store_surface("conductor", "search")
"""What is searched is an index, as old as the delay (C19)."""

BEGIN: Final = surface(before=(Redeploy,))
"""A workflow begins before its definition is registered anew, and keeps what it began with (C1)."""


class OpenConductor:
    """The server during one run."""

    def __init__(
        self,
        world: World,
        *,
        name: str,
        blueprints: Mapping[str, Blueprint],
        versions: Mapping[tuple[str, int], Blueprint],
        before: Mapping[str, Blueprint],
        store_may_fail: bool,
        task_defs: Mapping[str, TaskDef],
        latency_ms: int,
        timeout_ms: int,
    ) -> None:
        self.world = world
        self.name = name
        self.before = before
        self.every = (*versions.values(), *before.values())
        self.task_defs = task_defs
        self.latency_ms = latency_ms
        self.timeout_ms = timeout_ms
        self.server = Server(
            Store(), dict(blueprints), task_defs.get, versions=dict(versions),
            store_may_fail=store_may_fail, polled=self._is_polled,
        )  # fmt: skip
        self.polled_ms: dict[str, int] = {}  # of queues whose worker is busy, or gone
        self.workers: dict[str, list[Worker]] = {}
        self.outside = Outside(self)
        self.scopes: dict[str, Scope] = {}
        self.watched: dict[str, Scope] = {}
        self.given_up: set[str] = set()  # tasks whose time was over, by their ids
        self.decisions = Decisions(world)
        self._stays_before = False
        self._tried: dict[str, int] = {}  # attempts at writes that might have failed
        self._timer: Any = None
        self._going = False
        self.outage = Outage(world, self.go_on)
        self.incarnation = self._begin(1)
        self._know_timeouts()
        world.on_network.append(self.go_on)
        world.at_calm(self.miss_workers)
        self.waits = LongWaits(world)
        world.at_calm(lambda: self.waits.until(self.server.due()))
        world.on_settled.append(self._abandoned)
        world.on_waiting.append(self._unanswered)
        world.on_living.append(self._living)
        world.on_restless.append(self._restless)
        self.server.store.waits_of = lambda name: how_often(world, name)

    def names_that_wait(self) -> Iterator[str]:
        """Yield what `may_wait` may name: workflows, and their tasks by reference name."""
        store = self.server.store
        known = (*self.server.blueprints.values(), *self.server.versions.values())
        for one in (*known, *(workflow.blueprint for workflow in store.workflows.values())):
            yield one.name
            yield from (step.ref for step in one.everything())
        yield from (plain_ref(task.ref) for task in store.tasks.values())

    def miss_workers(self) -> None:
        """Refuse a task that waits for a worker that there never was: a misspelt name, mostly.

        With a real server it waits for ever, unless it has a poll timeout, and nobody is told.
        """
        words = "" if self.world.struck() else self._unserved({*self.workers})
        if words:
            self.world.refuse(InvalidDefinition(words))

    def _abandoned(self) -> str:
        """Say which task waits for a worker, and nobody polls for it any more; or nothing.

        A deploy may do that: workflows that run keep the names of their tasks.
        """
        return self._unserved({name for name, polling in self.workers.items() if polling})

    def _unanswered(self) -> Iterator[Waiting]:
        """Yield which task waits to be completed from outside, and nobody has done so."""
        store = self.server.store
        for workflow in store.workflows.values():
            for task in store.view(workflow.id).tasks if workflow.status == RUNNING else ():
                outside = task.kind == "HUMAN" or (
                    task.kind == "WAIT" and task.wait_until_ms is None
                )
                if outside and not task.terminal:
                    yield (
                        (plain_ref(task.ref), workflow.blueprint.name),
                        f"task {task.ref!r} ({task.kind}) of workflow {workflow.id!r} waits to be "
                        "completed, and nobody has done so",
                    )

    def _living(self) -> Iterator[Waiting]:
        """Yield which workflow goes on for ever: it has waited so often that no run looks on."""
        store = self.server.store
        for workflow in store.workflows.values():
            for task in store.view(workflow.id).tasks if workflow.status == RUNNING else ():
                if task.kind == "WAIT" and not task.terminal and task.id in store.left:
                    yield (
                        (*store.names_above(workflow), plain_ref(task.ref)),
                        f"workflow {workflow.id!r} goes on for ever by its task "
                        f"{plain_ref(task.ref)!r} (WAIT), and nobody has ended it",
                    )

    def _restless(self) -> str:
        """Say which workflow waits again and again, though no run has left it for that."""
        store = self.server.store
        waited = Counter(
            store.names_above(store.workflows[task.workflow])[-1]
            for task in store.tasks.values()
            if task.kind == "WAIT" and task.terminal
        )
        for workflow in store.workflows.values():
            name = workflow.blueprint.name
            if workflow.status == RUNNING and waited[name] >= AGAIN_MIN:
                return if_meant(f"Workflow {workflow.id!r}", name)
        return ""

    def _unserved(self, polled: Collection[str]) -> str:
        """Say which task waits for a worker for what is not among these; or nothing."""
        store = self.server.store
        for workflow in store.workflows.values():
            for task in store.view(workflow.id).tasks if workflow.status == RUNNING else ():
                found = task.step.task_def
                if task.status != SCHEDULED or task.kind in SYSTEM or task.queue_name in polled:
                    continue
                if found is None or not found.poll_timeout_s:
                    known = ", ".join(map(repr, sorted(polled))) or "none"
                    words = (
                        f"task {spelled(task.ref)} of {workflow.id} waits for a worker for "
                        f"{spelled(task.kind)}"
                        + ("" if task.domain is None else f" in domain {spelled(task.domain)}")
                    )
                    near = meant(task.kind, polled)
                    words += f", and there is none; polled are: {known}"
                    return words + (f".{near}" if near else "")
        return ""

    def _begin(self, number: int) -> Incarnation:
        """Return a process of the server; when it dies there is another one later."""
        made = Incarnation(self.world, self.name, 1, number, _label(self.name, number))
        made.restart = Once(lambda: self._again(number + 1))
        return made

    def _again(self, number: int) -> None:
        self.incarnation = self._begin(number)
        for scope in self.scopes.values():
            scope.incarnation = self.incarnation
        self.world.record("start", self.incarnation.label, cause=-1, data={})
        self.go_on()

    @property
    def up(self) -> bool:
        """Whether the server's process lives, and its store is there."""
        return self.incarnation.alive and not self.outage.down

    def _know_timeouts(self) -> None:
        self.world.know_timeout(self.timeout_ms)
        for blueprint in self.every:
            limits = [blueprint.timeout_s]
            for step in blueprint.everything():
                found = step.task_def
                if found is not None and (found.at_once or found.in_window):
                    self.world.know_duration(POSTPONED_MS)
                if found is not None and step.kind in ("SIMPLE", "DYNAMIC"):
                    limits += [found.response_timeout_s, found.timeout_s, found.poll_timeout_s]
            for seconds in filter(None, limits):
                self.world.know_timeout(seconds * 1000)

    # ---- as a peer of its clients

    def lost(self, operation: str) -> BaseException:
        """Return what a client sees when no answer comes."""
        return TimeoutError(f"{operation}: no answer within {self.timeout_ms} ms")

    def refused(self, operation: str) -> BaseException:
        """Return what a client sees when the server is away for a moment."""
        return ConnectionError(f"{operation}: connection refused, try again later")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: each write is durable."""

    def client(self) -> ConductorClient:
        """Return what a service calls it by."""
        return ConductorClient(self)

    def stay_before(self) -> None:
        """Have all begin under the definition before, to the end of the run."""
        self._stays_before = True

    def close(self) -> None:
        """Let go of everything, at the end of a run."""
        self.workers.clear()
        self.outside.endpoints.clear()

    def event_histories(self) -> dict[str, str]:
        """Return every workflow with its tasks, as `GET /workflow/{id}` answers it."""
        store = self.server.store
        return {name: json.dumps(store.load(name).as_json()) for name in store.workflows}

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Return the tasks of every workflow, as a table: the last attempt of each."""
        store = self.server.store
        return {
            f"{name} {one.status}": [task.as_row() for task in _last(store.view(name))]
            for name, one in store.workflows.items()
        }

    # ---- workers, and what HTTP and EVENT tasks ask

    def task_worker(
        self,
        incarnation: Incarnation,
        service: str,
        handler: Callable[..., Any],
        name: str | None,
        threads: int | None,
        domain: str | None,
        colour_of: Callable[[Callable[..., Any]], Any],
    ) -> str:
        """Have an incarnation poll for tasks of a name, as long as it lives; return the name."""
        import inspect

        said = registered(handler)
        named = name or (said.name if said is not None else handler.__name__)
        self._check_name(named, service)
        bare = inspect.unwrap(handler)
        domain = domain or (said.domain if said is not None else None)
        queue = f"{domain}:{named}" if domain else named
        worker = Worker(
            self, incarnation, service, f"{service}.{handler.__name__}", queue, bare,
            colour_of(bare), threads or (said.threads if said is not None else 1),
            said is not None and said.extends_lease, takes_library_s(bare),
        )  # fmt: skip
        polling = self.workers.setdefault(queue, [])
        polling.append(worker)

        def gone() -> None:
            self.polled_ms[queue] = self.world.now
            polling.remove(worker)

        incarnation.on_death.append(gone)
        self.world.after(0, lambda _: self.go_on())
        return named

    def _is_polled(self, queue: str) -> bool:
        """Whether a worker has polled a queue within the last seconds (C20)."""
        polled_ms = self.polled_ms.get(queue)
        lately = polled_ms is not None and self.world.now - polled_ms < ACTIVE_MS
        return lately or any(worker.free for worker in self.workers.get(queue, ()))

    def _check_name(self, name: str, service: str) -> None:
        every = [step for one in self.every for step in one.everything()]
        named = {step.name for step in every if step.kind == "SIMPLE"}
        known = sorted(named | self.task_defs.keys())
        made = any(step.kind in ("DYNAMIC", "FORK_JOIN_DYNAMIC") for step in every)
        if name not in known and not made:
            have = ", ".join(known) or "no task that is for a worker"
            raise InvalidDefinition(
                f"service {service!r} polls {self.name!r} for tasks {name!r}, which no workflow "
                f"has; they have: {have}"
            )

    def task_endpoint(
        self,
        target: str,
        incarnation: Incarnation,
        place: str,
        handler: Callable[..., Any],
        colour: Any,
    ) -> None:
        """Have an incarnation answer what HTTP and EVENT tasks ask."""
        self.outside.add(target, Endpoint(incarnation, place, handler, colour))

    # ---- operations

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Any, reply: Callable[..., None]
    ) -> None:
        """Do what a client asks, and answer; a server that is down refuses."""
        if not self.up:
            reply(None, self.refused(operation), happened=False)
            return
        what, words = request
        self._tell_time()
        try:
            if what == "start":
                words = {**words, "choose": lambda asked: self._begins_under(asked, caller)}
            if what == "search":
                steps = self._search(caller, **words)
            else:
                steps = getattr(self, f"_do_{what}")(**words)
        except ConductorError as error:
            reply(None, error, happened=False)
            return
        self.perform(steps, caller, lambda value: reply(value, None), reply)

    def _do_start(self, **words: Any) -> Steps[str]:
        return self.server.start(words.pop("name"), words.pop("given"), **words)

    def _begins_under(self, asked: Blueprint, caller: Scope) -> Blueprint:
        """The definition that was registered before, where a workflow begins before the deploy."""
        before = self.before.get(asked.name)
        if before is None:
            return asked
        place = f"{self.name}.{asked.name}"
        scope, operation = self._scope(place, caller), f"{place}/begin"
        attempt = reach(scope, operation, BEGIN)
        struck = operation in self.world.armed and strikes(scope, operation, "before", attempt)
        return before if struck or self._stays_before else asked

    def _do_get(self, workflow_id: str, tasks: bool) -> Steps[dict[str, Any]]:
        found = self.server.store.load(self.server.known(workflow_id)).as_json()
        if not tasks:
            found.pop("tasks")
        return _answer(found)

    def _search(self, caller: Scope, query: Query, start: int, size: int) -> Steps[dict[str, Any]]:
        """Answer from the index, which may not know yet what happened last (C19)."""
        scope, operation = self._scope(self.name, caller), f"{self.name}/search"
        attempt = reach(scope, operation, SEARCH)
        as_of = self.world.now
        for fault in strikes(scope, operation, "before", attempt):
            if isinstance(fault, Delay):  # no other is legal
                as_of -= self.world.due(fault.lasting) - self.world.now
        results = found(self.server.store.workflows.values(), query, as_of)
        return _answer({"totalHits": len(results), "results": results[start : start + size]})

    def _scope(self, place: str, caller: Scope) -> Scope:
        """The server's own work, for a caller."""
        return Scope(
            self.world, self.incarnation, place, caller.entity, caller.cause, PLAIN, caller.hops,
            caller.message,
        )  # fmt: skip

    def _do_end(self, workflow_id: str, reason: str) -> Steps[None]:
        return self.server.end(workflow_id, reason)

    def _do_result(self, **words: Any) -> Steps[None]:
        return self.server.update(Result(**words))

    def _do_result_of(self, workflow_id: str, ref: str, **words: Any) -> Steps[None]:
        task = self.server.store.load(self.server.known(workflow_id)).task(ref)
        if task is None:
            raise ConductorError(f"No task {ref} in workflow {workflow_id}")
        return self.server.update(Result(task_id=task.id, **words))

    def perform(
        self,
        steps: Steps[Any],
        caller: Scope,
        finish: Callable[[Any], None],
        refuse: Callable[..., None] | None = None,
    ) -> None:
        """Have the server carry an operation out, unless it dies amid: then nobody gets an answer.

        Args:
            steps: The operation.
            caller: Who asked: what begins is theirs.
            finish: Called with the result.
            refuse: Called with an error of the server's.
        """
        self._tell_time()
        drive_in_kernel(self._perform(steps, caller, finish, refuse), self.world)

    def _perform(
        self,
        steps: Steps[Any],
        caller: Scope,
        finish: Callable[[Any], None],
        refuse: Callable[..., None] | None,
    ) -> Script[None]:
        failed: Failed = None
        while True:
            try:
                write = steps.send(failed)
                failed = None
            except StopIteration as stop:
                self._hear(caller)
                finish(stop.value)
                self.go_on()
                return
            except ConductorError as error:
                if refuse is None:
                    raise
                refuse(None, error, happened=False)
                return
            self._hear(caller)
            if self.world.ending is not None:
                return
            if isinstance(write, Trial):
                failed = self._fails(write)
                continue
            self.world.effects += 1
            yield from self._struck(write)

    def _fails(self, trial: Trial) -> Failed:
        """How the store fails at a write; None where it does not."""
        scope = self.scope_of(trial.workflow)
        operation = f"{scope.place}/{trial.what}"
        attempt = self._tried[operation] = reach(scope, operation, MAKE)
        struck = strikes(scope, operation, "before", attempt)
        if struck:
            del self._tried[operation]
        return struck[0].outcome if struck else None

    def _struck(self, write: Write) -> Script[None]:
        """The server may die after each of its writes."""
        scope = self.scope_of(write.workflow)
        operation = f"{scope.place}/{write.what}"
        attempt = self._tried.pop(operation, 0) or reach(scope, operation, WRITE)
        yield from suffer(scope, operation, "after", attempt)

    # ---- what has happened

    def scope_of(self, workflow_id: str) -> Scope:
        """Whose work a workflow is, and what it was caused by last."""
        return self.scopes[workflow_id]

    def _hear(self, caller: Scope) -> None:
        for told in self.server.take():
            match told:
                case Started(workflow, because_of):
                    source = self.scopes[because_of] if because_of else caller
                    self._own(workflow, source)
                    self._note(workflow, "workflow started")
                case Ended(workflow):
                    self._note_given_up(workflow)
                    status = self.server.store.workflows[workflow].status
                    self._note(workflow, f"workflow {status.lower().replace('_', ' ')}", ends=True)
                case Scheduled(workflow, refs):
                    self._note_given_up(workflow)
                    scope = self.scopes[workflow]
                    self.decisions.count(scope, workflow)
                    data = {"commands": [f"schedules task {ref}" for ref in refs]}
                    scope.record("decide", f"{scope.place}/create tasks", 1, data)
                case Published():
                    self.outside.publish(told)
                case Called():
                    self.outside.call(told)

    def _own(self, workflow_id: str, source: Scope) -> None:
        blueprint = self.server.store.workflows[workflow_id].blueprint
        place = f"{self.name}.{blueprint.name}"
        self.scopes[workflow_id] = Scope(
            self.world, self.incarnation, place, source.entity, source.cause, PLAIN,
            source.hops + 1, source.message,
        )  # fmt: skip
        self.decisions.nest(self.scopes[workflow_id], workflow_id)

    def _note(self, workflow_id: str, what: str, *, ends: bool = False) -> None:
        workflow = self.server.store.view(workflow_id)
        data: dict[str, Any] = {"what": what, "workflow": workflow.blueprint.name,
                                "saga": workflow.id}  # fmt: skip
        if ends and workflow.reason:
            data["error"] = workflow.reason
        self.world.effects += 1
        self.scopes[workflow_id].record("note", "", 0, data)

    def _note_given_up(self, workflow_id: str) -> None:
        """Take note of tasks whose time is over, and that are not tried again."""
        for task in self.server.store.view(workflow_id).tasks:
            over = task.terminal and not task.retried and "imeout" in (task.reason or "")
            if over and task.id not in self.given_up:
                self.given_up.add(task.id)
                note_given_up(self.scopes[workflow_id], workflow_id, f"task {task.ref}")

    # ---- going on

    def _tell_time(self) -> None:
        self.server.now = max(self.server.now, self.world.now)

    def go_on(self) -> None:
        """Do what is due, hand out what is ready, and be woken in time."""
        if self._going or not self.up:
            return
        self._going = True
        try:
            self._tell_time()
            self._work()
            for name in [*self.workers]:
                self._hand_out(name)
        finally:
            self._going = False
        self._wake_in_time()

    def _work(self) -> None:
        """What the server does by itself: one thing after the other, as each may make others."""
        server = self.server
        while self.up and self.world.ending is None:
            works = list(server.works(self.world.now))
            if not works:
                return
            what, name = works[0]
            if what == "sweep":
                workflow_id, steps = name, server.sweep(name)
            else:
                workflow_id, steps = server.store.tasks[name].workflow, server.work(name)
            self.perform(steps, self.scope_of(workflow_id), _nothing)

    def _hand_out(self, name: str) -> None:
        store, now = self.server.store, self.server.now
        visible = store.queue(name).visible
        while visible and self.up:
            waiting = [(at, one) for one, at in visible.items() if at <= now]
            worker = self._next_worker(name)
            if worker is None or not waiting:
                return
            self.polled_ms[name] = self.world.now
            worker.poll(store.tasks[min(waiting)[1]].workflow)

    def _next_worker(self, name: str) -> Worker | None:
        free = [worker for worker in self.workers.get(name, ()) if worker.free]
        return min(free, key=lambda worker: worker.busy, default=None)

    def _wake_in_time(self) -> None:
        if self._timer is not None:
            self.world.agenda.cancel(self._timer)
            self._timer = None
        due = self.server.due() if self.up else None
        self.waits.until(due)
        if due is not None:
            self._timer = self.world.agenda.add(max(due, self.world.now), self._tick)

    def _tick(self, _: Any) -> None:
        self._timer = None
        self.go_on()


def _label(name: str, number: int) -> str:
    return name if number == 1 else f"{name}/{number}"


def _last(workflow: Workflow) -> Iterable[Task]:
    return {task.ref: task for task in workflow.tasks}.values()


def _answer(value: Any) -> Steps[Any]:
    """An operation that writes nothing."""
    return value
    yield


def _nothing(_: Any) -> None:
    """Nobody waits for it."""
