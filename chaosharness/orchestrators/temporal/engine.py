"""Temporal in a system: unmodified workflows, activities and clients on the server machine.

*Source*: temporalio/temporal; what is compared with the real server and the real sdk-core stands in
`docs/how-to/temporal.md`.
*Not modelled*: several servers, namespaces, Nexus; a store of which one shard alone is away.
"""

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs

from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.script import Script, drive_in_kernel
from chaosharness.kernel import allowed
from chaosharness.kernel.scope import Incarnation, Scope
from chaosharness.kernel.world import Waiting, World
from chaosharness.orchestrators.endless import Decisions
from chaosharness.orchestrators.given_up import note_given_up
from chaosharness.orchestrators.long_waits import AGAIN_MIN, LongWaits, how_often, if_meant
from chaosharness.orchestrators.outage import Outage
from chaosharness.orchestrators.temporal.asking import Polls
from chaosharness.orchestrators.temporal.deadlines import STICKY_MS, TRIES_MS
from chaosharness.orchestrators.temporal.rounds import Resting, Rounds
from chaosharness.orchestrators.temporal.run import Run
from chaosharness.orchestrators.temporal.server import Server
from chaosharness.orchestrators.temporal.unserved import DYNAMIC, Registry, abandoned, missing

__all__ = ["Temporal"]

NEW_RUNS_MAX: Final = 4
"""Runs of one workflow id that may begin before anybody looks."""

EXTRA: Final = "Temporal needs the library temporalio: pip install 'chaosharness[temporal]'"

FIRED: Final = "EVENT_TYPE_TIMER_FIRED"


@attrs.frozen
class Temporal:
    """A Temporal server: runs workflows and activities of the Python SDK as they are.

    Services run workers on it with `env.worker`, and call it with `env.client`, which is a
    `temporalio.client.Client`.

    Args:
        name: What reports call it.
        latency_ms: There and back, of a call to the server.
        timeout_ms: How long a client waits for the server.
        search_attributes: Those that the namespace has, as `temporal operator search-attribute
            create` makes them: types by name, such as `{"CustomerId": "Keyword"}`.
        data_converter: As given to `Client.connect`, for clients and workers; without a codec.
        interceptors: As given to `Client.connect`. Those that are a worker's, too, are round each
            worker, as in the library.
        timetable_runs: How often a cron, and a schedule by itself, has a workflow begin in one run
            of the system, which would never be quiet otherwise.
        address: What programs that connect by themselves give `Client.connect`, such as
            `"temporal:7233"`. Without one it stands for every address.

    These two are for `env.client` and `env.worker`; a client that a program connects has its own.

    Raises:
        InvalidDefinition: temporalio is not installed, or one of these is something else.
    """

    name: str = attrs.field(validator=allowed.text())
    latency_ms: int = attrs.field(default=20, validator=allowed.whole(0), kw_only=True)
    timeout_ms: int = attrs.field(default=10_000, validator=allowed.whole(1), kw_only=True)
    search_attributes: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    data_converter: Any = attrs.field(default=None, kw_only=True)
    interceptors: Sequence[Any] = attrs.field(default=(), kw_only=True)
    timetable_runs: int = attrs.field(default=2, validator=allowed.whole(0), kw_only=True)
    address: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        try:
            from chaosharness.orchestrators.temporal.given import check
        except ImportError:
            raise InvalidDefinition(EXTRA) from None
        check(self.name, self.search_attributes, self.data_converter, self.interceptors)
        if not (self.address is None or (isinstance(self.address, str) and self.address)):
            raise InvalidDefinition(
                f"Temporal {self.name!r}: address is what clients connect to, such as "
                f'"temporal:7233", not {self.address!r}'
            )

    def open(self, world: World) -> "OpenTemporal":
        """Return the server, with no runs, for one run of the system."""
        return OpenTemporal(self, world)


class OpenTemporal:
    """The server during one run of the system."""

    def __init__(self, definition: Temporal, world: World) -> None:
        self.definition = definition
        self.name = definition.name
        self.latency_ms = definition.latency_ms
        self.timeout_ms = definition.timeout_ms
        self.world = world
        self.server = Server(timetable_runs=definition.timetable_runs)
        self.server.timers_of = lambda type: how_often(world, type)
        self.owners: dict[str, Scope] = {}  # who has made a schedule
        self.server.searchable = dict(definition.search_attributes)
        self.incarnation = Incarnation(world, self.name, 0, 1, self.name)
        self.workers: dict[str, list[Any]] = {}
        self.dead: list[Any] = []  # workers, whose workflows are let go of at the end
        self.registry = Registry()
        self.known: dict[str, Any] = {}  # workers by the run that they have in their cache
        self.scopes: dict[str, Scope] = {}
        self.decisions = Decisions(world)
        self.waits = LongWaits(world)
        self.rounds = Rounds(self._state_of)
        self.outage = Outage(world, self._back)
        self.noted: set[str] = set()
        self.watchers: dict[str, list[Callable[[Run], None]]] = {}
        self.polls = Polls(world)
        self.asked: dict[str, tuple[str, Run]] = {}
        self.asks: list[Any] = []  # queries that no worker has been given
        self.updates: list[Any] = []  # those who wait for an update
        self._timer: Any = None
        self._going = False
        world.know_timeout(definition.timeout_ms)
        world.know_timeout(10_000)  # of a workflow task
        world.at_calm(self.miss_workers)
        world.at_calm(lambda: self.waits.until(self._due()))
        world.on_settled.append(self._abandoned)
        world.on_waiting.append(self._waiting)
        world.on_living.append(self._living)
        world.on_restless.append(self._restless)

    # ---- as a peer of its clients

    def lost(self, operation: str) -> BaseException:
        """Return what a client sees when no answer comes."""
        from chaosharness.orchestrators.temporal.rpc import unavailable

        return unavailable(f"{operation}: no answer within {self.timeout_ms} ms", "timeout")

    def refused(self, operation: str) -> BaseException:
        """Return what a client sees when the server is away for a moment."""
        from chaosharness.orchestrators.temporal.rpc import unavailable

        return unavailable(f"{operation}: unavailable", "unavailable")

    def lose_writes(self, scope: Scope) -> None:
        """Lose nothing: what the server has answered is durable (T26)."""

    @property
    def converter(self) -> Any:
        """How values become payloads."""
        from chaosharness.orchestrators.temporal.given import converter_of

        return converter_of(self.definition.data_converter)

    def client(self) -> Any:
        """Return a `temporalio.client.Client` of this server."""
        from chaosharness.orchestrators.temporal.rpc import client_of

        return client_of(self)

    def close(self) -> None:
        """Let go of everything, at the end of a run."""
        for worker in (*self.dead, *(one for some in self.workers.values() for one in some)):
            worker.let_go()
        self.dead.clear()
        self.workers.clear()
        self.known.clear()

    def serve(
        self, caller: Scope, operation: str, attempt: int, request: Any, reply: Callable[..., None]
    ) -> None:
        """Answer a client's request; one that comes while the store is away is refused in time."""
        from chaosharness.orchestrators.temporal.rpc import answer

        if self.outage.down:
            drive_in_kernel(
                self._serve_later(caller, operation, attempt, request, reply), self.world
            )
            return
        self.server.now_ms = max(self.server.now_ms, self.world.now)
        answer(self, caller, request, reply)
        self.go_on()

    def _serve_later(
        self, caller: Scope, operation: str, attempt: int, request: Any, reply: Callable[..., None]
    ) -> Script[None]:
        """Answer what a client asks again and again, as its library does; or refuse it."""
        if (yield from self.outage.reached(TRIES_MS)):
            self.serve(caller, operation, attempt, request, reply)
        else:
            reply(None, self.refused(operation), happened=False)

    # ---- workers

    def worker(
        self,
        incarnation: Incarnation,
        service: str,
        queue: str,
        workflows: Iterable[type],
        activities: Iterable[Callable[..., Any]],
        colour_of: Callable[[Callable[..., Any]], Any],
        cache_max: int,
        interceptors: Sequence[Any] = (),
        failures: Sequence[type[BaseException]] = (),
        grace: Any = timedelta(),
        client: Any = None,
        limits: Mapping[str, Any] | None = None,
    ) -> Any:
        """Have an incarnation poll a task queue, as long as it lives.

        With a `client` of its own it is a worker that user code runs: it has that client's
        converter and interceptors, and stops when that code says so.
        """
        from chaosharness.orchestrators.temporal.given import check_failures, of_workers
        from chaosharness.orchestrators.temporal.interception import interception_of
        from chaosharness.orchestrators.temporal.rpc import names_of
        from chaosharness.orchestrators.temporal.slots import slots_of
        from chaosharness.orchestrators.temporal.worker import Worker

        by_name, functions = names_of(workflows, activities, service)
        if not isinstance(cache_max, int) or cache_max < 0:
            raise InvalidDefinition(
                f"service {service!r}: max_cached_workflows must be 0 or more, not {cache_max!r}"
            )
        if not isinstance(grace, timedelta) or grace < timedelta():
            raise InvalidDefinition(
                f"service {service!r}: graceful_shutdown_timeout must be a timedelta of 0 or more, "
                f"not {grace!r}"
            )
        known = self.definition.interceptors if client is None else client.config()["interceptors"]
        converter = self.converter if client is None else client.data_converter
        made = Worker(
            self, incarnation, service, queue, by_name, functions, converter, colour_of,
            cache_max, interception_of([*of_workers(known), *interceptors], service),
            check_failures(failures, service), grace // timedelta(milliseconds=1),
            client=client or self.client(), is_own=client is not None,
            slots=slots_of(limits or {}, cache_max, f"service {service!r}"),
        )  # fmt: skip
        self.workers.setdefault(queue, []).append(made)
        self.registry.add(queue, service, by_name, functions)
        incarnation.on_death.append(lambda: self._bury(queue, made))
        self.world.after(0, lambda _: self.go_on())
        return made

    def _bury(self, queue: str, worker: Any) -> None:
        self.workers[queue].remove(worker)
        self.dead.append(worker)

    def check_worker(self, client: Any, service: str, config: Mapping[str, Any]) -> None:
        """Refuse a worker's workflows, activities and options where it is made.

        Raises:
            InvalidDefinition: One of them is wrong, or not modelled.
        """
        from chaosharness.orchestrators.temporal.given import check_codec
        from chaosharness.orchestrators.temporal.rpc import names_of

        names_of(config["workflows"], config["activities"], service)
        check_codec(client.data_converter, f"the client of a worker of service {service!r}")

    def names_that_wait(self) -> set[str] | None:
        """Return what `may_wait` may name: workflows; None where a worker has them by any name."""
        names = {run.type for chain in self.server.runs.values() for run in chain}
        for known in self.registry.workflows.values():
            names |= known.keys()
        return None if DYNAMIC in names else names

    def miss_workers(self) -> None:
        """Refuse what waits for a worker that there never was: a misspelt name, mostly.

        With a real server it waits for ever, and nobody is told. Looked for when the faults stop,
        and at the end: what begins after that waits, too.
        """
        words = "" if self.world.struck() else missing(self)
        if words:
            self.world.refuse(InvalidDefinition(words))

    def _abandoned(self) -> str:
        """Say what waits on a task queue that nobody polls any more, once a run is at rest."""
        polling = [one for queue in self.workers.values() for one in queue if one.shutdown.polls]
        deciding = {one.queue for one in polling if one.workflows}
        working = {one.queue for one in polling if one.activities}
        words = abandoned(self.server.latest(), deciding, working)
        if words or not self.server.runs:
            return words
        from chaosharness.orchestrators.temporal.waiting import for_ever

        def is_open(workflow_id: str) -> bool:
            return self.server.find(workflow_id).status == "RUNNING"

        return for_ever(
            self.server.latest(), self._class_of, is_open, self._is_meant, self._is_in_vain
        )

    def _is_in_vain(self, run: Run) -> bool:
        """Whether a run goes round and waits for what nothing in its rounds can bring."""
        worker = self.known.get(run.run_id)
        return self.rounds.is_bare(run) and worker is not None and worker.may_end(run)

    def _is_meant(self, run: Run) -> bool:
        """Whether a run may wait for ever: the user says so, or one of its kind was cancelled."""
        every = (one for chain in self.server.runs.values() for one in chain)
        cancelled = any(one.cancel_requested and one.type == run.type for one in every)
        return cancelled or run.type in self.world.may_wait

    def _waiting(self) -> Iterable[Waiting]:
        """Say what waits for a signal or an update that nobody has sent."""
        if not self.server.runs:
            return []
        from chaosharness.orchestrators.temporal.waiting import for_somebody

        return for_somebody(self.server.runs.values(), self._class_of)

    def _living(self) -> Iterable[Waiting]:
        """Say what goes on for ever, until somebody ends it from outside."""
        if not self.server.runs:
            return []
        from chaosharness.orchestrators.temporal.waiting import until_ended

        return until_ended(
            self.server.latest(), self._class_of, self.server.above, self.rounds.has_gone_round
        )

    def _restless(self) -> str:
        """Say which workflow goes on by its timers, though it is not seen to be for ever; or whose
        end somebody waits for, though nothing moves it any more."""
        from chaosharness.orchestrators.temporal.waiting import waited_for_in_vain

        for run in self.server.latest():
            if self.watchers.get(run.run_id) and (words := waited_for_in_vain(run)):
                return words
            chain = self.server.runs[run.workflow_id]
            fired = sum(one["eventType"] == FIRED for each in chain for one in each.events)
            if run.status == "RUNNING" and run.timers and fired >= AGAIN_MIN:
                who = f"Workflow {run.type!r} ({run.workflow_id})"
                return if_meant(who, [*self.server.above(run)][-1].type)
        return ""

    def _class_of(self, run: Run) -> type | None:
        """The workflow class of a run, where a worker has it."""
        for worker in self.workers.get(run.queue, ()):
            if run.type in worker.workflows:
                found: type = worker.workflows[run.type]
                return found
        return None

    # ---- runs

    def begun(self, run: Run, caller: Scope) -> None:
        """Remember whose work a run is."""
        if run.run_id not in self.scopes:
            self.world.effects += 1
            self.scopes[run.run_id] = Scope(
                self.world,
                self.incarnation,
                run.type,
                caller.entity,
                caller.cause,
                PLAIN,
                caller.hops + 1,
                caller.message,
            )

    def scope_of(self, run: Run) -> Scope:
        """Whose work a run is, and what it was caused by last."""
        found = self.scopes.get(run.run_id)
        if found is None:  # a child, or the next run of a chain
            for lasting in filter(None, (run.limits.run_ms, run.limits.execution_ms)):
                self.world.know_timeout(lasting)
            runs = self.server.runs[run.workflow_id]
            place = len(runs) - 1 if runs[-1] is run else runs.index(run)
            if place:
                source = self.scope_of(runs[place - 1])
            elif run.parent is not None:
                source = self.scope_of(self.server.find(run.parent[0]))
            elif run.timetable in self.owners:
                source = self.owners[run.timetable]
            else:
                source = Scope(self.world, self.incarnation, run.type, 0, -1, PLAIN)
            self.begun(run, source)
            found = self.scopes[run.run_id]
        return found

    # ---- going on

    def go_on(self) -> None:
        """Hand out what is ready, tell what has begun and ended, and be woken in time."""
        if self._going or self.outage.down:
            return
        self._going = True
        try:
            self.server.now_ms = max(self.server.now_ms, self.world.now)
            self._note()
            for queue in [*self.workers]:
                self._hand_out_decisions(queue)
                self._hand_out_work(queue)
            self._hand_out_questions()
            self._tell_of_updates()
        finally:
            self._going = False
        self._wake_in_time()

    def _hand_out_decisions(self, queue: str) -> None:
        for run in self.server.waiting_runs(queue):
            worker = self._worker_for(run, queue)
            if worker is None:
                continue
            task = self.server.poll_workflow(queue, run, identity=worker.identity)
            if task is not None:
                worker.slots.deciding.add(run.run_id)
                if worker.cache_max:
                    self.known[run.run_id] = worker
                self.world.effects += 1
                self.world.after(self.latency_ms // 2, _if_alive(worker, worker.decide, task))

    def _worker_for(self, run: Run, queue: str) -> Any:
        """The worker that has the run in its cache; any other once that one was waited for."""
        alive = [one for one in self.workers.get(queue, ()) if one.shutdown.polls]
        polling = [one for one in alive if one.workflows]
        able = [one for one in polling if one.runs(run.type)] or polling
        able = [one for one in able if one.slots.may_decide]
        task = run.task
        if task is not None and task.attempt > 1 and not run.sticky:
            self.known.pop(run.run_id, None)  # one that failed is anybody's again (T5)
        known = self.known.get(run.run_id)
        if known is not None and not (known.shutdown.polls and known.slots.may_decide):
            in_its_queue = task is not None and (task.written or task.speculative)
            if (
                task
                and in_its_queue
                and self.world.now < known.shutdown.waits_until_ms(task.since_ms)
            ):
                return None
            self.known.pop(run.run_id)
            self.server.expire_sticky(run)
            known = None
        if known is not None:
            return known
        return able[self.scope_of(run).entity % len(able)] if able else None

    def _hand_out_work(self, queue: str) -> None:
        for run, activity in self.server.ready_activities(queue):
            alive = [one for one in self.workers.get(queue, ()) if one.shutdown.polls]
            polling = [one for one in alive if one.activities]
            able = [one for one in polling if one.activity(activity.type)] or polling
            able = [one for one in able if one.slots.may_work]
            if not able:
                continue
            worker = able[self.scope_of(run).entity % len(able)]
            task = self.server.poll_activity(queue, activity, identity=worker.identity)
            if task is not None:
                for name in ("startToCloseTimeout", "heartbeatTimeout"):
                    if limit := activity.limit(name):
                        self.world.know_timeout(limit)
                worker.slots.working.add(task.token)
                self.world.effects += 1
                self.world.after(self.latency_ms // 2, _if_alive(worker, worker.work, task))

    def _hand_out_questions(self) -> None:
        """Ask the worker that knows the run, or any once that one was waited for (T31)."""
        for question in [*self.asks]:
            worker = self._worker_to_ask(question)
            if worker is not None:
                self.asks.remove(question)
                self.world.after(self.latency_ms // 2, _if_alive(worker, worker.ask, question))

    def _worker_to_ask(self, question: Any) -> Any:
        run = question.run
        if not question.ready:
            return None
        known = self.known.get(run.run_id)
        if known is not None and known.shutdown.polls:
            return known
        since_ms = question.since_ms
        if known is not None and self.world.now < known.shutdown.waits_until_ms(since_ms):
            return None
        alive = [one for one in self.workers.get(run.queue, ()) if one.shutdown.polls]
        able = [one for one in alive if one.runs(run.type)]
        return able[self.scope_of(run).entity % len(able)] if able else None

    def _tell_of_updates(self) -> None:
        for waiter in [*self.updates]:
            if waiter.over:
                self.updates.remove(waiter)
                waiter.tell()

    def _due(self) -> int | None:
        times = [due] if (due := self.server.due()) is not None else []
        for queue in self.workers:
            for run in self.server.waiting_runs(queue):
                known = self.known.get(run.run_id)
                if known is None or run.task is None:
                    continue
                if not (known.shutdown.polls and known.slots.may_decide):
                    times.append(known.shutdown.waits_until_ms(run.task.since_ms))
        times += [
            one.since_ms + STICKY_MS
            for one in self.asks
            if one.ready and self.world.now < one.since_ms + STICKY_MS
        ]
        return min(times, default=None)

    def _wake_in_time(self) -> None:
        if self._timer is not None:
            self.world.agenda.cancel(self._timer)
            self._timer = None
        for at in self.server.promised(made_up=not self.world.chaos):
            self.world.promise(at + self.world.budget.chaos_ms)
        due = self._due()
        self.waits.until(due)
        if due is not None:
            at = max(due, self.world.now)
            self._timer = self.world.agenda.add(at, self._tick, None, self._resting(at))

    def _resting(self, due_ms: int) -> Resting | None:
        """Say whether all that is due are workflows that go round by their timers, for ever."""
        world, server = self.world, self.server
        if world.chaos or self.asks or self.updates or server.timetables:
            return None
        for run in server.latest():
            if run.status != "RUNNING" or run.beyond:
                continue
            if run.task or run.buffer or run.updates or run.activities or run.not_before_ms:
                return None
            timed = any(not timer.beyond for timer in run.timers.values())
            if run.due_ms is not None or (timed and not self.rounds.goes_round(run, world.now)):
                return None
        return Resting(world, self.incarnation, due_ms - world.now, world.stirred)

    def _state_of(self, run: Run) -> Hashable:
        """Return in which state the workflow of a run sleeps, if a worker has it in its cache."""
        worker = self.known.get(run.run_id)
        return None if worker is None else worker.state_of(run)

    def _tick(self, _: Any) -> None:
        self._timer = None
        if self.outage.down:
            return
        before = self._facts()
        self.server.tick(self.world.now)
        if self._facts() != before:
            self.world.effects += 1
        self.go_on()

    def _back(self) -> None:
        """The store is there again: what was due meanwhile is done now, all at once (T25)."""
        if self._timer is not None:
            self.world.agenda.cancel(self._timer)
        self._tick(None)

    def _facts(self) -> tuple[int, int]:
        return self.server.made, sum(len(run.events) for run in self.server.latest())

    def _note(self) -> None:
        for runs in [*self.server.runs.values()]:
            for run in runs[-NEW_RUNS_MAX:]:
                if run.limits.cron and run.not_before_ms:
                    continue  # it has not begun
                while run.given_up:
                    of = f"activity {run.given_up.pop(0)}"
                    note_given_up(self.scope_of(run), run.workflow_id, of)
                if run.run_id not in self.noted:
                    self.noted.add(run.run_id)
                    self._say(run, "workflow started")
                if run.status != "RUNNING" and f"{run.run_id} ended" not in self.noted:
                    self.noted.add(f"{run.run_id} ended")
                    self._say(run, f"workflow {run.status.lower().replace('_', ' ')}")
                    for watcher in self.watchers.pop(run.run_id, ()):
                        watcher(run)

    def _say(self, run: Run, what: str) -> None:
        from chaosharness.orchestrators.temporal.protos import words_of_result

        scope = self.scope_of(run)
        self.world.effects += 1
        data: dict[str, Any] = {"what": what, "workflow": run.type, "saga": run.workflow_id}
        if run.parent is not None and run.workflow_id not in self.server.abandoned:
            data["parent"] = run.parent[0]
        if timetable := run.timetable or run.limits.cron:
            data["timetable"] = timetable
        if run.status == "COMPLETED" and (words := words_of_result(run.result)):
            data["result"] = words
        failure = (run.result or {}).get("failure") if run.status == "FAILED" else None
        if failure:
            data["error"] = failure.get("message", "")
        scope.record("note", "", 0, data)

    # ---- for people

    def event_histories(self) -> dict[str, str]:
        """Return the history of every run, as JSON that Temporal's own tools read."""
        from chaosharness.orchestrators.temporal.protos import event_json

        found: dict[str, str] = {}
        for runs in self.server.runs.values():
            for number, run in enumerate(runs, 1):
                name = run.workflow_id if number == len(runs) else f"{run.workflow_id} run {number}"
                found[name] = json.dumps({"events": [event_json(event) for event in run.events]})
        return found


def _if_alive(worker: Any, function: Callable[[Any], None], task: Any) -> Callable[[Any], None]:
    worker.shutdown.expect()

    def go(_: Any) -> None:
        worker.shutdown.came()
        if worker.alive:
            function(task)

    return go
