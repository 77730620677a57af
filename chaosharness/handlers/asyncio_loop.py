"""asyncio on virtual time: a real event loop class, one loop for each incarnation.

Its clock is the world's, its timers lie on the world's agenda, and what is ready runs
when the kernel says so. TaskGroup, gather, wait_for, timeout, Lock, Queue, cancellation
and context variables are the standard library's own.

Source:
    CPython 3.11 to 3.13, `asyncio/base_events.py` and `asyncio/events.py`.

Not modelled:
    Sockets, pipes, child processes and name look-ups (refused); signals (never come);
    debug mode. `run_in_executor` and `to_thread` run their function beside the loop as
    plain code on virtual time, in no thread: it stops at ports, and its own locks are
    never contended. Ready callbacks run first in, first out, as in asyncio.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from math import ceil, inf
from typing import Any, Final, NoReturn

from greenlet import GreenletExit

from chaosharness.errors import InternalError, RealIO
from chaosharness.handlers.carrier import PLAIN, Done, Read, park
from chaosharness.handlers.coroutine import CLOSE_MAX, close
from chaosharness.handlers.foreign import explain
from chaosharness.handlers.later import LaterScript, Steps
from chaosharness.handlers.pins import EPOCH_MS
from chaosharness.handlers.script import Script, T
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope

HANDLES_MAX: Final = 10_000
"""Callbacks that run at one instant; after them, virtual time begins to pass."""

BUSY_MAX: Final = 20_000
"""Milliseconds of virtual time that a loop may stay busy without ever being idle."""

_TICK_MS: Final = 0.01  # less than this is a rounding error of seconds since 1970


class Task(asyncio.Task[Any]):
    """A task whose place in sets does not depend on its address.

    `TaskGroup` and `asyncio.wait` keep tasks in sets, and go through them.
    """

    woke_at = -1
    """What `world.effects` was when a timer of this task went off last."""

    def __init__(self, coroutine: Any, number: int, **options: Any) -> None:
        self.number = number
        self.ran_in: Context = options["context"]
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self.number


class Chain:
    """What stands for a task where callbacks set one timer after another."""

    __slots__ = ("woke_at",)

    def __init__(self) -> None:
        self.woke_at = -1


class Timer(asyncio.TimerHandle):
    """A callback on the agenda of the world, and what quiescence wants to know of it."""

    __slots__ = ("entry", "setter", "woke_at")

    entry: Entry | None
    setter: Any
    woke_at: int


class Asyncio:
    """`async def` under asyncio: the loop of one incarnation, as a colour."""

    name = "asyncio"
    is_async = True
    checkpoint = None

    def __init__(self, incarnation: Incarnation) -> None:
        self.loop = VirtualLoop(incarnation)

    def drive(self, script: Script[T], scope: Scope) -> LaterScript:
        """Return what awaits the end of a script."""
        return LaterScript(script, scope)

    def steps(self, script: Script[Any], scope: Scope) -> Steps:
        """Run a script, awaiting a future at each of its waits."""
        loop = self.loop
        value: Any = None
        while True:
            try:
                wait = script.send(value)
            except StopIteration as stop:
                return stop.value
            future: asyncio.Future[Any] = asyncio.Future(loop=loop)
            if isinstance(wait, int):
                scope.world.after(wait, Resolve(loop, future).now)
            elif wait is not None:
                wait(Resolve(loop, future))
            value = yield from future
            scope.steps = 0

    def block(self, script: Script[T], scope: Scope) -> T:
        """Wait without awaiting: the whole loop of this incarnation stands still."""
        self.loop.leave()
        try:
            return park(script, scope)
        finally:
            self.loop.enter()

    def start(
        self,
        scope: Scope,
        function: Callable[..., Any],
        read: Read | None,
        message: Any,
        done: Done,
    ) -> None:
        """Begin to run `await function(*read(message))`; `done` is told how it ended."""
        loop = self.loop
        context = scope.world.context.copy()
        context.run(SCOPE.set, scope)
        coroutine = _handle(loop, scope, function, read, message, done)
        loop.spawn(coroutine, scope.place, context)

    def dispose(self) -> None:
        """End what is left at the end of a run. Its ports refuse."""
        self.loop.dispose()


async def _handle(
    loop: VirtualLoop,
    scope: Scope,
    function: Callable[..., Any],
    read: Read | None,
    message: Any,
    done: Done,
) -> None:
    try:
        result = function() if read is None else function(*read(message))
        if hasattr(result, "__await__"):
            result = await result
    except (GreenletExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        if not loop.dead:
            misplaced = explain(scope, error)
            if misplaced is not None:
                scope.world.refuse(misplaced)
            loop.ended.append((done, scope, None, error))
    else:
        loop.ended.append((done, scope, result, None))


class Resolve:
    """Resolves a future, once: a `Resume`."""

    __slots__ = ("future", "loop")

    def __init__(self, loop: VirtualLoop, future: asyncio.Future[Any]) -> None:
        self.loop = loop
        self.future = future

    def __call__(self, value: Any) -> None:
        if not self.future.done() and not self.loop.dead:
            self.future.set_result(value)

    def now(self, value: Any) -> None:
        """The same, called by the agenda: the loop can run at once."""
        if not self.future.done() and not self.loop.dead:
            self.loop.asked = True
            self.future.set_result(value)
            self.loop.pump()


class VirtualLoop(asyncio.AbstractEventLoop):
    """The event loop of one incarnation."""

    def __init__(self, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self.world = incarnation.world
        self.ready: deque[asyncio.Handle] = deque()
        self.ended: list[tuple[Done, Scope, Any, BaseException | None]] = []
        self.asked = False  # the agenda will run what is ready
        self.running = False  # what is ready runs now, or is blocked at a port
        self.busy_ms = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self._tasks_max = 16
        self._numbers = 0
        self._timers: dict[int, Entry] = {}
        self._reached_s = 0.0
        self._chain: Chain | Any = None
        self._failed: list[tuple[asyncio.Task[Any], Scope | None]] = []
        self._outer: Any = None
        self._hooks: Any = None
        self._factory: Any = None
        self._on_error: Any = None
        self.slow_callback_duration = inf
        incarnation.on_death.append(self._die)

    @property
    def dead(self) -> bool:
        """Whether nothing of this loop may run any more."""
        return not self.incarnation.alive or self.world.ending is not None

    # ---- running what is ready

    def pump(self, _: Any = None) -> None:
        """Run what is ready until nothing is. Called by the agenda only.

        Nobody's code may lie beneath this on the stack: a blocking port may stop all of it.
        """
        self.asked = False
        if self.running or self.dead:
            return
        self.running = True
        self.enter()
        try:
            self._run_ready()
        except SystemExit:
            self.world.crash(self.incarnation, "next", cause=len(self.world.raw) - 1)
        finally:
            self.leave()
            self.running = False
        self._tell_ended()

    def _run_ready(self) -> None:
        ready = self.ready
        incarnation = self.incarnation
        world = self.world
        left = len(ready) if self.busy_ms else HANDLES_MAX
        while ready:
            handle = ready.popleft()
            if handle._cancelled:  # type: ignore[attr-defined]
                continue
            self._chain = handle.setter if type(handle) is Timer else None
            handle._run()
            if not incarnation.alive or world.ending is not None:
                ready.clear()
                return
            left -= 1
            if left <= 0 and ready:
                self._stay_busy(handle)
                return
            if not ready and self._failed:
                self._report_failed()
        self.busy_ms = 0

    def _stay_busy(self, handle: asyncio.Handle) -> None:
        """Let time pass although the loop is never idle: it may wait by asking again."""
        self.busy_ms += 1
        if self.busy_ms > BUSY_MAX:
            scope = handle._context.get(SCOPE)  # type: ignore[attr-defined]
            place = self.incarnation.label if scope is None else scope.place
            self.world.end("spinning", f"{place} keeps its event loop busy without end")
        self.asked = True
        self.world.after(1, self.pump)

    def _tell_ended(self) -> None:
        """Tell how handlers ended. That may run other code, which may stop: so it comes last."""
        if not self.ended:
            return
        ended, self.ended = self.ended, []
        for one in ended[1:]:
            self.world.after(0, self._tell, one)
        self._tell(ended[0])

    def _tell(self, ended: tuple[Done, Scope, Any, BaseException | None]) -> None:
        done, scope, result, error = ended
        if not self.dead:
            done(scope, result, error)

    def enter(self) -> None:
        """Become the running loop of this thread."""
        self._outer = asyncio._get_running_loop()
        self._hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._finish_generator)

    def leave(self) -> None:
        """Be it no longer: somebody else's code runs next."""
        asyncio._set_running_loop(self._outer)
        sys.set_asyncgen_hooks(*self._hooks)

    def _ask(self) -> None:
        if not self.running and not self.asked and not self.dead:
            self.asked = True
            self.world.after(0, self.pump)

    # ---- the end

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
            for _ in range(CLOSE_MAX):
                tasks, self.tasks = self.tasks, []
                if not tasks:
                    break
                for task in tasks:
                    self._close(task)
        finally:
            self.leave()
            self.ready.clear()

    @staticmethod
    def _close(task: Any) -> None:
        if task.done():
            task._log_traceback = False
            return
        task._log_destroy_pending = False
        coroutine = task.get_coro()
        if coroutine is not None:
            close(coroutine, getattr(task, "ran_in", Context()))

    def _finish_generator(self, generator: Any) -> None:
        """Close an async generator that was dropped before its end, as asyncio does."""
        if not self.dead:
            self.create_task(generator.aclose())

    # ---- tasks

    def spawn(self, coroutine: Any, name: str, context: Context) -> None:
        """Start a handler as a task; its end is told by the handler itself."""
        self._numbers += 1
        task = Task(coroutine, self._numbers, loop=self, name=name, context=context)
        self._keep(task)

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
    ) -> Any:
        """Start a task, named after its number in this loop unless `name` is given."""
        self._numbers += 1
        name = f"Task-{self._numbers}" if name is None else str(name)
        if context is None:
            context = copy_context()
        if self._factory is not None:
            task = self._factory(self, coro, context=context, name=name, **options)
        else:
            task = Task(coro, self._numbers, loop=self, name=name, context=context, **options)
        self._keep(task)
        task.add_done_callback(self._has_ended)
        return task

    def _has_ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task._exception is not None:  # type: ignore[attr-defined]
            self._failed.append((task, SCOPE.get()))

    def _report_failed(self) -> None:
        """Record the errors of background tasks that nobody waits for."""
        failed, self._failed = self._failed, []
        for task, scope in failed:
            if task._log_traceback:  # type: ignore[attr-defined]
                task._log_traceback = False  # type: ignore[attr-defined]
                self._record(scope, task._exception, task.get_name())  # type: ignore[attr-defined]

    def _record(self, scope: Scope | None, error: Any, task: str) -> None:
        words = {"error": f"{type(error).__name__}: {error}", "task": task}
        if scope is None:
            self.world.record("raised", self.incarnation.label, data=words)
        else:
            scope.record("raised", "", 0, words)

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
        now_s = (EPOCH_MS + self.world.now + self.incarnation.skew_ms) / 1000
        return max(now_s, self._reached_s)

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback after what is ready already."""
        handle = asyncio.Handle(callback, args, self, context)
        self.ready.append(handle)
        if not self.running and not self.asked:
            self._ask()
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback `delay` seconds from now."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a time of this loop, in seconds; equal times in order of calls."""
        timer = Timer(when, callback, args, self, context)
        timer.entry = None
        timer.setter = setter = asyncio.current_task(self) or self._chain or Chain()
        timer.woke_at = getattr(setter, "woke_at", -1)
        if when <= self.time():
            self.ready.append(timer)
            self._ask()
        elif when < inf:
            world = self.world
            due = ceil(when * 1000 - EPOCH_MS - self.incarnation.skew_ms - _TICK_MS)
            due = max(due, world.now + 1)
            timer.entry = entry = world.agenda.add(due, self._go_off, timer, timer)
            self._timers[entry[1]] = entry
        return timer

    def _go_off(self, timer: Timer) -> None:
        assert timer.entry is not None
        del self._timers[timer.entry[1]]
        self._reached_s = max(self._reached_s, timer.when())
        timer.setter.woke_at = self.world.effects
        scope = timer._context.get(SCOPE)  # type: ignore[attr-defined]
        if scope is not None:
            scope.steps = 0
        self.ready.append(timer)
        if not self.asked:
            self.pump()

    def _timer_handle_cancelled(self, timer: Timer) -> None:
        """Called by a timer that is cancelled."""
        if timer.entry is not None and self._timers.pop(timer.entry[1], None) is not None:
            self.world.agenda.cancel(timer.entry)

    # ---- functions that block

    def run_in_executor(
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run a function beside the loop, as plain code that stops at ports. No thread starts."""
        parent = SCOPE.get()
        if parent is None:
            raise InternalError("run_in_executor outside a handler")
        future = self.create_future()
        resolve = Resolve(self, future)

        def done(scope: Scope, result: Any, error: BaseException | None) -> None:
            parent.cause = max(parent.cause, scope.cause)
            if error is None:
                resolve(result)
            elif not future.done():
                future.set_exception(_catchable(error))

        beside(parent, partial(func, *args), done)
        return future

    def set_default_executor(self, executor: Any) -> None:
        """Accepted, and never asked: functions run beside the loop."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to shut down."""

    async def shutdown_asyncgens(self) -> None:
        """Nothing to shut down."""

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
        if self._on_error is None:
            self.default_exception_handler(context)
        else:
            self._on_error(self, context)

    # ---- what this loop is, and is not

    def is_running(self) -> bool:
        """Say whether this loop runs: always, as far as its code can see."""
        return True

    def is_closed(self) -> bool:
        """Say whether this loop is closed: never."""
        return False

    def get_debug(self) -> bool:
        """Say whether debug mode is on: never."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Accepted, without effect."""

    def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:
        """Accepted, and never called: a crash gives no warning here."""

    def remove_signal_handler(self, sig: int) -> bool:
        """Accepted, without effect."""
        return True

    def run_forever(self) -> NoReturn:
        """Refuse: the kernel runs this loop."""
        raise RuntimeError("Runner.run() cannot be called from a running event loop")

    def run_until_complete(self, future: Any) -> NoReturn:
        """Refuse: the kernel runs this loop."""
        if asyncio.iscoroutine(future):
            future.close()
        raise RuntimeError("Runner.run() cannot be called from a running event loop")

    def stop(self) -> NoReturn:
        """Refuse: only a crash stops this loop."""
        raise self._refuse("loop.stop")

    def close(self) -> None:
        """Refuse: only a crash stops this loop."""
        raise self._refuse("loop.close")

    def _refuse(self, what: str) -> RealIO:
        """Call the run off: what was asked for would leave the simulated world."""
        scope = SCOPE.get()
        error = RealIO(what, where=self.incarnation.label if scope is None else scope.place)
        self.world.refuse(error)
        return error


def _catchable(error: BaseException) -> BaseException:
    """Return an exception that a future accepts."""
    if isinstance(error, StopIteration):
        return RuntimeError(f"function raised {error!r}")
    return error


Finish = Callable[[Scope, Any, BaseException | None], None]


def beside(parent: Scope, function: Callable[[], Any], done: Finish) -> None:
    """Run a function for a coroutine, as plain code on virtual time instead of in a thread."""
    scope = Scope(parent.incarnation, parent.place, parent.entity, parent.cause, PLAIN)
    scope.hops = parent.hops
    inner = function.func if isinstance(function, partial) else function
    if isinstance(inner, partial):
        inner = inner.func
    context = getattr(inner, "__self__", None)
    if isinstance(context, Context):  # asyncio.to_thread: a copy of the caller's, made for this
        context.run(SCOPE.set, scope)
    world = parent.world
    world.after(0, lambda _: PLAIN.start(scope, function, None, None, done))


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(self: VirtualLoop, *arguments: Any, **options: Any) -> NoReturn:
        raise self._refuse(f"asyncio's loop.{name}")

    refuse.__name__ = name
    return refuse


for _name in (
    "add_reader",
    "add_writer",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "getaddrinfo",
    "getnameinfo",
    "remove_reader",
    "remove_writer",
    "sendfile",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "start_tls",
    "subprocess_exec",
    "subprocess_shell",
):
    setattr(VirtualLoop, _name, _refusing(_name))
