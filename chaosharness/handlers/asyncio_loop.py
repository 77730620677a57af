"""asyncio on virtual time: a real event loop class, one loop for each incarnation.

Its clock is the world's, its timers lie on the world's agenda, and what is ready runs
when the kernel says so. TaskGroup, gather, wait_for, timeout, Lock, Queue, cancellation
and context variables are the standard library's own.

Source:
    CPython 3.11 to 3.13, `asyncio/base_events.py` and `asyncio/events.py`.

Not modelled:
    Sockets, pipes, child processes and name look-ups (refused); signals but SIGTERM
    (never come); debug mode. `run_in_executor` and `to_thread` run their function beside the
    loop as plain code on virtual time, in no thread: it stops at ports, and nowhere else.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from functools import partial
from math import ceil
from types import FrameType
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack
from weakref import ReferenceType, ref

from chaosharness.errors import STANDS_FOR, InternalError, RealIO
from chaosharness.handlers.asyncio_signals import SignalLoop
from chaosharness.handlers.clocks import MEASURING, SECONDS, clock_read
from chaosharness.handlers.coroutine import CLOSE_MAX, close, close_awaited
from chaosharness.handlers.fingerprint import OURS
from chaosharness.handlers.guest import AGES_S, ROUNDING_MS, Guest, beside
from chaosharness.handlers.places import asked_at, asked_by, awaited_at, told
from chaosharness.handlers.port import apart_ms
from chaosharness.handlers.recall import of_stack, spot_of
from chaosharness.handlers.unwaited import standing
from chaosharness.kernel.agenda import ARGUMENT, DUE, TICKET, Entry
from chaosharness.kernel.rest import Loop, Wait
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope
from chaosharness.kernel.spans import EPOCH_MS
from chaosharness.kernel.world import BACKGROUND, Background

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

WAKE_UP: Final = asyncio.futures._set_result_unless_cancelled  # type: ignore[attr-defined]
"""What `asyncio.sleep` has called when it is over."""

HANDLES_MAX: Final = 10_000
"""Callbacks that run at one instant; after them, virtual time begins to pass."""


class Task(asyncio.Task[Any]):
    """A task whose place in sets does not depend on its address.

    `TaskGroup` and `asyncio.wait` keep tasks in sets, and go through them.
    """

    parent: Any = None
    """The task that has started it."""

    loop_of: Loop | None = None
    """What is known of it between two sleeps."""

    def __init__(self, coroutine: Any, number: int, **options: Any) -> None:
        self.number = number
        self.ran_in: Context = options["context"]
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self.number


class Chain:
    """What stands for a task where callbacks set one timer after another."""

    __slots__ = ("loop_of",)

    def __init__(self) -> None:
        self.loop_of: Loop | None = None


class Timer(asyncio.TimerHandle):
    """A callback on the agenda of the world.

    Attributes:
        setter: The task or chain of callbacks that set it.
        wait: What stands for the sleep of its setter, once it lies on the agenda.
    """

    __slots__ = ("entry", "setter", "wait")

    entry: Entry | None
    setter: Any
    wait: Wait | Background


class Soon(asyncio.Handle):
    """A callback that a chain has put off until the next round: the chain goes on in it.

    Attributes:
        setter: The chain.
    """

    __slots__ = ("setter",)

    setter: Chain


class VirtualLoop(Guest, SignalLoop):
    """The event loop of one incarnation."""

    def is_closed(self) -> bool:
        """Say whether this loop is closed: it is once its process is dead.

        Objects of libraries ask it when they are collected, before they start a task to tidy up.
        """
        return self.dead

    def __init__(self, incarnation: Incarnation) -> None:
        super().__init__()
        self.incarnation = incarnation
        self.world = incarnation.world
        self.ready: deque[asyncio.Handle] = deque()
        self.tasks: list[asyncio.Task[Any]] = []
        self._tasks_max = 16
        self._numbers = 0
        self._timers: dict[int, Entry] = {}
        self._apart: dict[tuple[Any, bool], int] = {}  # which code waited longer, and since when
        self._reached_s = 0.0
        self._chain: Any = None
        self._failed: list[tuple[asyncio.Task[Any], Scope | None]] = []
        self._nobody = Scope(incarnation.world, incarnation, incarnation.label, 0, -1, None)
        self._outer: Any = None
        self._outer_hooks: Any = None
        self._factory: Any = None
        self._on_error: Any = None
        self._generators: list[ReferenceType[Any]] = []
        self._generators_max = 16
        incarnation.on_death.append(self._die)

    # ---- running what is ready

    def enter(self) -> None:
        """Become the running loop of this thread."""
        self._outer = asyncio._get_running_loop()
        self._outer_hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(self._begin_generator, self._finish_generator)

    def leave(self) -> None:
        """Be it no longer: somebody else's code runs next."""
        asyncio._set_running_loop(self._outer)
        sys.set_asyncgen_hooks(*self._outer_hooks)

    def run_ready(self) -> None:
        """Run callbacks until none is ready; first in, first out."""
        ready = self.ready
        incarnation = self.incarnation
        world = self.world
        left = len(ready) if self.busy_ms else HANDLES_MAX
        while ready:
            handle = ready.popleft()
            if handle._cancelled:
                continue
            self._chain = handle.setter if isinstance(handle, (Timer, Soon)) else None
            try:
                handle._run()
            except SystemExit:  # a task has ended the process
                world.crash(incarnation, "next", cause=len(world.raw) - 1)
            if not incarnation.alive or world.ending is not None:
                ready.clear()
                return
            left -= 1
            if left <= 0 and ready:
                scope = handle._context.get(SCOPE)  # type: ignore[attr-defined]
                self.stay_busy(incarnation.label if scope is None else scope.place)
                return
            if not ready and self._failed:
                self._report_failed()
        self.busy_ms = 0

    # ---- tasks

    def spawn(self, coroutine: Any, name: str, context: Context) -> None:
        """Start a handler as a task; its end is told by the handler itself."""
        self._numbers += 1
        self._keep(Task(coroutine, self._numbers, loop=self, name=name, context=context))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        """Hold on to a task; let go of those that have ended, from time to time."""
        tasks = self.tasks
        tasks.append(task)
        if len(tasks) > self._tasks_max:
            self.tasks = [one for one in tasks if not one.done()]
            self._tasks_max = 2 * len(self.tasks) + 16

    def create_task(
        self,
        coro: Any,
        *,
        name: object = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        """Start a task, named after its number in this loop unless `name` is given."""
        self._numbers += 1
        name = f"Task-{self._numbers}" if name is None else str(name)
        context = copy_context() if context is None else context
        task: asyncio.Task[Any]
        if self._factory is not None:
            task = self._factory(self, coro, context=context, **options)
            task.set_name(name)
        else:
            task = Task(coro, self._numbers, loop=self, name=name, context=context, **options)
            task.parent = asyncio.current_task(self) or self._chain
        self._keep(task)
        task.add_done_callback(self._has_ended)
        return task

    def set_task_factory(self, factory: Any) -> None:
        """Have tasks made by `factory(loop, coroutine, ...)`."""
        self._factory = factory

    def get_task_factory(self) -> Any:
        """Return what makes tasks, or None."""
        return self._factory

    def create_future(self) -> asyncio.Future[Any]:
        """Return a new future."""
        return asyncio.Future(loop=self)

    # ---- callbacks and time

    def time(self) -> float:
        """Return the virtual time as `time.monotonic()` does, in seconds."""
        frame = sys._getframe(1)
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(("asyncio", OURS)) and name not in MEASURING:
            clock_read(frame, SECONDS)
        return self._time()

    def _time(self) -> float:
        now_s = (EPOCH_MS + self.world.now + self.incarnation.skew_ms) / 1000
        return max(now_s, self._reached_s)

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Run a callback after what is ready already."""
        chain = self._chain
        if type(chain) is Chain and asyncio.current_task(self) is None:
            soon = Soon(callback, args, self, context)
            soon.setter = chain
            handle: asyncio.Handle = soon
        else:
            handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        if not self.running and not self.asked:
            self.ask()
        return handle

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """The same, for code of another thread: what it starts is code of this loop."""
        scope = SCOPE.get()
        if scope is not None and scope.thread is not None:
            context = copy_context() if context is None else context
            colour = self.incarnation.guests.get("asyncio", scope.colour)
            context.run(SCOPE.set, standing(scope, colour))
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback `delay` seconds from now."""
        return self.call_at(self._time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback at a time of this loop, in seconds; equal times in order of calls."""
        timer = Timer(when, callback, args, self, context)
        timer.entry = None
        timer.setter = asyncio.current_task(self) or self._chain or Chain()
        if when <= self._time():
            self.ready.append(timer)
            self.ask()
        elif when < AGES_S:
            world = self.world
            due = ceil(when * 1000 - EPOCH_MS - self.incarnation.skew_ms - ROUNDING_MS)
            due = max(due, world.now + 1)
            world.know_duration(due - world.now)
            if self.incarnation.replica > 1:
                due += self._apart_ms(timer.setter, callback is WAKE_UP, due)
            timer.wait = self._wait(timer.setter, due - world.now, sys._getframe(1))
            entry = world.agenda.add(due, self._go_off, timer, timer.wait)
            timer.entry = self._timers[entry[TICKET]] = entry
        return timer

    def _apart_ms(self, setter: Any, sleeps: bool, due: int) -> int:
        """Return how much longer a task waits: the first sleep, and the first wait with a limit
        (for a flag that tells it to stop), of a loop that is no handler's.

        A loop that has a new task for each round sleeps longer once, and no limit that somebody
        has set runs out because of it: that would be a fault, and calm has none.
        """
        scope = SCOPE.get() or self._nobody
        if scope in self.world.in_flight:
            return 0
        coroutine = setter.get_coro() if isinstance(setter, Task) else setter
        kind = getattr(coroutine, "cr_code", setter), sleeps
        now = self.world.now
        longer_ms = apart_ms(scope.incarnation)
        if self._apart.get(kind, now) != now or self._runs_out(due, due + longer_ms):
            return 0
        self._apart[kind] = now
        return longer_ms

    def _runs_out(self, due: int, until: int) -> bool:
        """Say whether a limit ends after one time, and not after another."""
        return any(
            due < entry[DUE] <= until and entry[ARGUMENT]._callback is not WAKE_UP
            for entry in self._timers.values()
        )

    def _wait(self, setter: Any, delay_ms: int, frame: FrameType) -> Wait | Background:
        """Return what stands for the sleep of a task that sets a timer now."""
        scope = SCOPE.get() or self._nobody
        if scope.background:
            return BACKGROUND
        at = None if scope in self.world.in_flight else frame
        look = partial(of_stack, beside=self._beside(setter))
        return Wait(self.world, self._loop_of(setter), scope, delay_ms, look, at, spot=spot_of)

    def _beside(self, setter: Any) -> Iterator[Any]:
        """Yield the coroutines of the other tasks that wait, handlers at work aside."""
        in_flight = self.world.in_flight
        for task in self.tasks:
            if task is not setter and not task.done():
                context = getattr(task, "ran_in", None)
                if context is None or context.get(SCOPE) not in in_flight:
                    yield task.get_coro()

    def _loop_of(self, setter: Any) -> Loop:
        loop: Loop | None = getattr(setter, "loop_of", None)
        if loop is None:
            parent = getattr(setter, "parent", None)
            if parent is None or not isinstance(setter, Task):
                loop = Loop()
            else:
                code = getattr(setter.get_coro(), "cr_code", None)
                loop = self._loop_of(parent).child(code, setter, Task.done)
            if isinstance(setter, (Task, Chain)):
                setter.loop_of = loop
        return loop

    def _go_off(self, timer: Timer) -> None:
        assert timer.entry is not None
        del self._timers[timer.entry[TICKET]]
        timer.entry = None
        self._reached_s = max(self._reached_s, timer.when())
        timer.wait.woke()
        self.ready.append(timer)
        if not self.asked:
            self.pump()

    def _timer_handle_cancelled(self, timer: Timer) -> None:
        """Called by a timer that is cancelled.

        One that a task has left behind (a pool's, for what is idle) is no sleep of that task. Where
        it is set anew in each round it never goes off: who cancels it has come round.
        """
        if timer.entry is not None and self._timers.pop(timer.entry[TICKET], None) is not None:
            self.world.agenda.cancel(timer.entry)
            if isinstance(timer.setter, asyncio.Task) and timer.setter.done():
                shifted = self.incarnation.shifted
                timer.wait.woke()
                self.incarnation.shifted = shifted  # nobody else has gone on by it

    # ---- functions that block

    def run_in_executor(
        self, executor: Any, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function beside the loop, as plain code that stops at ports. No thread starts.

        Raises:
            RealIO: It is to be run in another process.
        """
        scope = SCOPE.get()
        if scope is None:
            raise InternalError("run_in_executor outside a handler")
        if executor is not None and type(executor).__module__ == "concurrent.futures.process":
            raise self.refuse("ProcessPoolExecutor.submit by loop.run_in_executor")
        future = self.create_future()

        def done(_: Scope, result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            elif isinstance(error, StopIteration):  # which a future does not accept
                future.set_exception(RuntimeError(f"{func!r} raised {error!r}"))
            else:
                future.set_exception(error)

        beside(scope, partial(func, *args), done)
        return future

    # ---- errors

    def set_exception_handler(self, handler: Any) -> None:
        """Have `handler(loop, context)` told about exceptions of callbacks."""
        self._on_error = handler

    def get_exception_handler(self) -> Any:
        """Return what is told about exceptions of callbacks, or None."""
        return self._on_error

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Record the exception of a callback."""
        error = context.get("exception")
        if error is not None and not self.dead and "future" not in context:
            self._record(SCOPE.get(), error, "callback")

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell whoever wants to know about the exception of a callback."""
        if self.dead:
            return
        ran_in = getattr(context.get("handle"), "_context", None) or copy_context()
        if self._on_error is None:
            ran_in.run(self.default_exception_handler, context)
            return
        try:
            ran_in.run(self._on_error, self, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            ran_in.run(self._record, ran_in.get(SCOPE), error, "exception handler")

    def _has_ended(self, task: Any) -> None:
        if not task.cancelled() and task._exception is not None:
            self._failed.append((task, SCOPE.get()))

    def _report_failed(self) -> None:
        """Record the errors of background tasks that nobody waits for."""
        failed, self._failed = self._failed, []
        for task, scope in failed:
            if task._log_traceback:
                task._log_traceback = False
                self._record(scope, task._exception, task.get_name())

    def _record(self, scope: Scope | None, error: Any, task: str) -> None:
        words = {**told(error), "task": task}
        if scope is None:
            self.world.record("raised", self.incarnation.label, data=words)
        else:
            scope.record("raised", "", 0, words)

    def hosts(self) -> Iterable[Any]:
        """Return the parts of this run: some listen at an address."""
        return self.incarnation.world.states.values()

    def refuse(self, what: str) -> RealIO:
        """Call the run off: what was asked for would leave the simulated world."""
        scope = SCOPE.get()
        place = self.incarnation.label if scope is None else scope.place
        at, by = asked_at(), asked_by(STANDS_FOR)
        if not at or not by:  # a task of a library's: whoever waits for it has asked
            tasks = (task.get_coro() for task in self.tasks if not task.done())
            their_at, their_by = awaited_at(tasks, STANDS_FOR)
            at, by = at or their_at, by or their_by
        error = RealIO(what, where=place, at=at, by=by)
        self.world.refuse(error)
        return error

    # ---- the end

    def let_go(self) -> None:
        """End it while its process lives on: no timer of it goes off."""
        self.incarnation.on_death.remove(self._die)
        self._die()

    def _die(self) -> None:
        """The incarnation has crashed: nothing of it goes on, no timer of it goes off."""
        for entry in self._timers.values():
            self.world.agenda.cancel(entry)
        self._timers.clear()

    def dispose(self) -> None:
        """Close what is left of every task. Its ports refuse, so it changes nothing."""
        if not self.tasks:
            return
        self.enter()
        try:
            for _ in range(CLOSE_MAX):  # closing one may start another
                tasks, self.tasks = self.tasks, []
                for task in tasks:
                    self._close(task)
                if not self.tasks:
                    break
            for reference in self._generators:
                close_awaited(reference())
        finally:
            self.leave()
            self.ready.clear()
            self._timers.clear()
            self._generators.clear()

    @staticmethod
    def _close(task: Any) -> None:
        if task.done():
            task._log_traceback = False
            return
        task._log_destroy_pending = False
        coroutine = task.get_coro()
        if coroutine is not None:
            close(coroutine, getattr(task, "ran_in", None) or Context())

    def _begin_generator(self, generator: Any) -> None:
        """Remember an async generator: who closes a task does not end what that asks for more."""
        self._generators.append(ref(generator))
        if len(self._generators) > self._generators_max:
            self._generators = [one for one in self._generators if one() is not None]
            self._generators_max = 2 * len(self._generators) + 16

    def _finish_generator(self, generator: Any) -> None:
        """Close an async generator that was dropped before its end, as asyncio does."""
        if not self.dead:
            self.create_task(generator.aclose())


def _in_order(items: Iterable[Any] = ()) -> Any:
    """Stand for `set` inside `asyncio.tasks`: coroutines go in the order they were given.

    `asyncio.as_completed` makes a set of coroutines and starts them in the order of that
    set: that of their addresses, which is another in each process.
    """
    if isinstance(asyncio._get_running_loop(), VirtualLoop):
        items = tuple(items)
        return dict.fromkeys(items) if items else set()
    return set(items)


asyncio.tasks.set = _in_order  # type: ignore[attr-defined]
