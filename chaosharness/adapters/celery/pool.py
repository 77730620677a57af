"""The slots of a worker's pool: tasks that run at the same time, each on behalf of its message.

What a slot runs is Celery's own tracer (`build_tracer`), with the user's task inside, and what is
told to the request afterwards is what Celery's pools tell it. A slot is code that stops at ports,
as everything in a run.

`solo` has one slot, in which the worker itself stands still. The slots of `threads`, `gevent` and
`eventlet` are part of the worker, and die with it. Those of `prefork` are processes of their own: a
crash in a task kills its process, and the worker learns of it (`WorkerLostError`), as where the
kernel is out of memory. The worker acknowledges, and a crash there kills it with all of them.

Source:
    Celery 5.7, `concurrency/base.py` (`BasePool`, `apply_target`), `concurrency/gevent.py`,
    `concurrency/solo.py`, `worker/request.py` (`execute_using_pool`, `on_accepted`, `on_success`,
    `on_failure`); billiard 4.3, `pool.py` (`mark_as_worker_lost`, `_join_exited_workers`).

Not modelled:
    That a worker reads of a task's start from a pipe, while it runs already: here a task that is
    acknowledged early begins after its acknowledgement. Time limits: a task that exceeds one ends
    the run, in words. `max_tasks_per_child`, `revoke(terminate=True)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from celery.app.trace import build_tracer
from celery.concurrency.base import BasePool
from celery.exceptions import Ignore, Reject, Retry
from greenlet import GreenletExit

from chaosharness.adapters.amqp.handling import Handling, handling_of
from chaosharness.adapters.amqp.reading import Inbox
from chaosharness.adapters.celery.own import mine
from chaosharness.errors import InvalidDefinition
from chaosharness.handlers.carrier import PLAIN
from chaosharness.handlers.port import call_off, current_scope
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope

_MEANT = (Retry, Ignore, Reject)
"""What a task raises to say something to its worker."""

LOST_S = 10.0
"""How long a pool waits for a result of a process that is gone: `worker_lost_wait`."""


@attrs.define(eq=False)
class Job:
    """One task to be run in a slot, and who is told of it."""

    app: Any
    own: Scope
    request: Any
    trace: Callable[..., Any]
    arguments: tuple[Any, ...]
    accepted: Callable[[int, float], None]
    done: Callable[[Any], None]
    failed: Callable[[Any], None]
    limit_s: float | None
    line: Any = attrs.field(init=False)
    taken: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Learn which message it came by, before that is acknowledged."""
        message = self.request.message
        self.line = message.channel.line
        self.taken = self.line.take_up(message.delivery_tag)

    @property
    def function(self) -> Callable[..., Any]:
        """The user's own."""
        task = self.request.task
        found: Callable[..., Any] = getattr(task, "_orig_run", task.run)
        return found

    def handling(self, own: Scope) -> Handling | None:
        """Return the scope of the message that it came by, in a process."""
        return self.taken and handling_of(own, self.function, self.line, self.taken)

    def run(self) -> Any:
        """Run the task, with what Celery does around it; return what became of it."""
        task, world = self.request.task, self.own.world
        task.__trace__ = mine("tracer", task, lambda: build_tracer(task.name, task, app=self.app))
        self.app.set_current()
        began_ms = world.now
        result = self.trace(*self.arguments)
        took_ms = world.now - began_ms
        if self.limit_s is not None and took_ms > self.limit_s * 1000:
            call_off(
                InvalidDefinition(
                    f"celery: {task.name} ran for {took_ms / 1000:g} s, and its time limit is "
                    f"{self.limit_s:g} s: what a time limit does to a task is not modelled. Leave "
                    "the limit out of the code under test, or have what it waits for be shorter"
                )
            )
        return result


class Slots(BasePool):  # type: ignore[misc]
    """A pool of so many tasks at a time, in the worker itself."""

    is_green = True
    """The worker reads and answers heartbeats while tasks run."""

    pid: ClassVar[int] = 1

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._busy = 0
        self._left = Inbox()

    def on_apply(
        self,
        target: Any,
        args: Any = (),
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        error_callback: Any = None,
        timeout: float | None = None,
        soft_timeout: float | None = None,
        **_: Any,
    ) -> None:
        """Run a task in a slot: there is one free."""
        self._busy += 1
        limit_s = min([one for one in (timeout, soft_timeout) if one], default=None)
        own = current_scope("celery.pool")
        self.begin(
            Job(
                self.app,
                own,
                callback.__self__,
                target,
                tuple(args),
                accept_callback,
                callback,
                error_callback,
                limit_s,
            )
        )

    def begin(self, job: Job) -> None:
        """Begin with a task, beside the worker's own loop."""
        own = job.own
        held = job.handling(own)
        scope = _nobodys(own, own.incarnation) if held is None else held.scope
        call = _struck(held, lambda: self._all(job, held))

        def over(scope: Scope, _: Any, error: BaseException | None) -> None:
            if error is not None and held is not None:
                held.ended(error)
            self.free(scope.incarnation)

        own.world.after(0, lambda _: PLAIN.start(scope, call, None, None, over))

    def free(self, worker: Incarnation) -> None:
        """Have a slot free again, in the process of the worker."""
        self._busy -= 1
        slots = worker.clients["celery", "slots", id(self.app)][0]
        slots.release()
        self._left.rouse()

    def on_stop(self) -> None:
        """Wait until no task runs."""
        scope = current_scope("celery.pool")
        while self._busy:
            scope.colour.block(self._left.waiting(scope, None), scope)
            for _ in self._left.take():
                continue

    def _all(self, job: Job, held: Handling | None) -> None:
        """Accept a task, run it, and tell what became of it."""
        job.accepted(self.pid, job.own.world.now / 1000)
        result = job.run()
        job.done(result)
        if held is not None:
            held.ended(_error_in(result))


class Inline(Slots):
    """A pool of one, in the worker's own thread: nobody reads meanwhile."""

    is_green = False

    def begin(self, job: Job) -> None:
        """Run a task in the worker's place."""
        own = job.own
        held = job.handling(own)
        scope = own if held is None else held.scope
        mains = own.incarnation.mains
        mains.insert(0, scope)  # where the main thread stands, for handlers of signals
        token = SCOPE.set(scope)
        try:
            _struck(held, lambda: self._all(job, held))()
        except GreenletExit:
            raise
        except BaseException as error:
            if held is not None:
                held.ended(error)
            raise
        finally:
            SCOPE.reset(token)
            mains.remove(scope)
        self.free(own.incarnation)


class Child:
    """A process of a pool, and the task that it has."""

    def __init__(self, pool: Prefork, own: Scope, number: int) -> None:
        worker = own.incarnation
        label = f"{worker.label}/pool {number}"
        self._pool = pool
        self._worker = worker
        self.number = number
        self.job: Job | None = None
        self.incarnation = Incarnation(
            own.world, worker.service, worker.replica, worker.number, label
        )
        self.incarnation.parent = worker
        self.incarnation.skew_ms = worker.skew_ms
        own.world.incarnations.append(self.incarnation)
        self.incarnation.on_death.append(self._died)
        worker.on_death.append(self._orphaned)

    def _orphaned(self) -> None:
        """Die with the worker."""
        one = self.incarnation
        if one.alive:
            self.job = None
            one.alive = False
            one.world.clear_away((one,))

    def _died(self) -> None:
        """Have the worker learn that the process is gone."""
        self._pool.children.pop(self.number, None)
        job, self.job = self.job, None
        worker = self._worker
        if job is not None and worker.alive:
            job.own.world.after(round(LOST_S * 1000), lambda _: self._pool.lost(job))


class Prefork(Slots):
    """A pool of processes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.children: dict[int, Child] = {}

    def _child(self, own: Scope) -> Child:
        for number in range(1, self.limit + 2):
            child = self.children.get(number)
            if child is None:
                child = self.children[number] = Child(self, own, number)
            if child.job is None:
                return child
        raise AssertionError("no slot is free")

    def begin(self, job: Job) -> None:
        """Accept a task in the worker, and run it in a process of its own."""
        own = job.own
        if not self.active:
            self.free(own.incarnation)  # a pool that is closed takes nothing
            return
        child = self._child(own)
        child.job = job

        def accept() -> None:
            job.accepted(child.number, own.world.now / 1000)
            own.world.after(0, lambda _: self._run(job, child))

        self._in_worker(job, accept)

    def _run(self, job: Job, child: Child) -> None:
        if child.job is not job:
            return
        own = job.own
        of_child = _nobodys(own, child.incarnation)
        held = job.handling(of_child)
        scope = of_child if held is None else held.scope

        def over(scope: Scope, result: Any, error: BaseException | None) -> None:
            child.job = None
            if held is not None:
                held.ended(error if error is not None else _error_in(result))
            if error is None:
                self._in_worker(job, lambda: job.done(result), free=True)
            else:
                told = _told(error)
                self._in_worker(job, lambda: job.failed(told), free=True)

        PLAIN.start(scope, _struck(held, job.run), None, None, over)

    def lost(self, job: Job) -> None:
        """Tell a request that the process of its task is gone."""
        if not job.own.incarnation.alive:
            return
        told = _told(WorkerLostError("Worker exited prematurely: signal 9 (SIGKILL)."))
        self._in_worker(job, lambda: job.failed(told), free=True)

    def _in_worker(self, job: Job, call: Callable[[], None], *, free: bool = False) -> None:
        """Do something in the worker, on behalf of the message of a task."""
        own = job.own
        if not own.incarnation.alive:
            return
        scope = _nobodys(own, own.incarnation)
        if job.taken is not None:
            copy, cause = job.taken
            scope.place = f"{own.incarnation.service}.{job.function.__name__}"
            scope.entity, scope.message, scope.hops = copy.entity, copy.name, copy.hops
            scope.cause = cause
            scope.run = job.line
        own.world.in_flight[scope] = scope.place

        def over(scope: Scope, _: Any, error: BaseException | None) -> None:
            scope.world.in_flight.pop(scope, None)
            if error is not None and scope.world.is_mistake(error):
                scope.world.refuse(error)
            if free:
                self.free(own.incarnation)

        own.world.after(0, lambda _: PLAIN.start(scope, call, None, None, over))


def _nobodys(own: Scope, incarnation: Incarnation) -> Scope:
    return Scope(own.world, incarnation, own.place, 0, own.cause, PLAIN)


def _struck(held: Handling | None, run: Callable[[], Any]) -> Callable[[], Any]:
    """Return what runs a task, with what strikes before it and after it."""

    def call() -> Any:
        if held is None or held.operation not in held.scope.world.armed:
            return run()
        scope = held.scope
        scope.colour.block(held.strike("before"), scope)
        result = run()
        scope.colour.block(held.strike("after"), scope)
        return result

    return call


def _told(error: BaseException) -> Any:
    try:
        raise error
    except BaseException:
        return ExceptionInfo()


def _error_in(result: Any) -> BaseException | None:
    """Return the error that a task failed with, if it did."""
    if not isinstance(result, tuple) or not result[0]:
        return None
    error = getattr(result[1], "exception", None)
    error = getattr(error, "exc", error)  # what could not be pickled is in another
    return error if isinstance(error, BaseException) and not isinstance(error, _MEANT) else None
