"""trio on virtual time: real trio, as a guest of the kernel, one run for each incarnation.

trio's guest mode lets a host drive it: it hands over its next tick as a callback, which is
called here when there is something to do, and asks its clock how long it may sleep, which
tells that it is idle and until when. Starting a guest costs 0.3 ms, so guests are kept and
used again by later runs; one that is not clean at the end of its run is given up.

Source:
    trio 0.26 to 0.35, "Using guest mode to run Trio on top of other event loops" and
    `trio/_core/_run.py`. Beyond trio's public interface, for which it knows one run per
    thread only: `GLOBAL_RUN_CONTEXT` (several guests take turns), the deadlines that are
    pending (quiescence), the switch for a deterministic order (used by pytest-trio too).

Not modelled:
    Sockets, processes and other real I/O (refused); signals (never come);
    `trio.from_thread`; `trio.testing.wait_all_tasks_blocked` with a cushion.
    `trio.to_thread.run_sync` runs its function beside trio as plain code on virtual time, in
    no thread. Tasks that become runnable together run in the order in which they were made.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextvars import Context
from math import ceil, inf
from typing import Any, Final, NoReturn

import trio
from greenlet import GreenletExit
from outcome import Outcome, Value
from trio._core import _run

from chaosharness.errors import InternalError, RealIO
from chaosharness.handlers.carrier import Done, Read, park
from chaosharness.handlers.foreign import explain
from chaosharness.handlers.later import LaterScript, Steps
from chaosharness.handlers.pins import EPOCH_MS
from chaosharness.handlers.script import Script, T
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope
from chaosharness.kernel.world import World

TICKS_MAX: Final = 1_000
"""Ticks at one instant; after them, virtual time begins to pass."""

BUSY_MAX: Final = 20_000
"""Milliseconds of virtual time that trio may stay busy without ever being idle."""

RETIRE_TICKS_MAX: Final = 200
"""Ticks that abandoned tasks get to end in, when their run is over."""

_TICK_MS: Final = 0.01  # less than this is a rounding error of seconds since 1970
_AGES_S: Final = 1e12

_CONTEXT: Final = _run.GLOBAL_RUN_CONTEXT


class Trio:
    """`async def` under trio: the guest of one incarnation, as a colour."""

    name = "trio"
    is_async = True

    def __init__(self, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self.guest: Guest | None = None

    @staticmethod
    def checkpoint() -> Steps:
        """Raise `Cancelled` where trio would: at every wait, even one that is over at once."""
        yield from trio.lowlevel.checkpoint_if_cancelled().__await__()

    def drive(self, script: Script[T], scope: Scope) -> LaterScript:
        """Return what awaits the end of a script."""
        return LaterScript(script, scope)

    def steps(self, script: Script[Any], scope: Scope) -> Steps:
        """Run a script, blocking the task at each of its waits."""
        guest = self.guest
        assert guest is not None
        value: Any = None
        while True:
            try:
                wait = script.send(value)
            except StopIteration as stop:
                return stop.value
            wake = Wake(guest)
            if isinstance(wait, int):
                scope.world.after(wait, wake.now)
            elif wait is not None:
                wait(wake)
            value = yield from wake.wait()
            scope.steps = 0

    def block(self, script: Script[T], scope: Scope) -> T:
        """Wait without awaiting: trio as a whole stands still, in this incarnation."""
        guest = self.guest
        assert guest is not None
        guest.leave()
        try:
            return park(script, scope)
        finally:
            guest.enter()

    def start(
        self,
        scope: Scope,
        function: Callable[..., Any],
        read: Read | None,
        message: Any,
        done: Done,
    ) -> None:
        """Begin to run `await function(*read(message))`; `done` is told how it ended."""
        guest = self.guest
        if guest is None:
            guest = self.guest = take_guest(self.incarnation)
        context = scope.world.context.copy()
        context.run(SCOPE.set, scope)
        guest.inbox.append((_spawn, (guest, scope, function, read, message, done, context)))
        guest.ask()

    def dispose(self) -> None:
        """End what is left at the end of a run. Its ports refuse."""
        if self.guest is not None:
            self.guest.retire()
            self.guest = None


def _spawn(guest: Guest, scope: Scope, *rest: Any) -> None:
    *rest, context = rest
    trio.lowlevel.spawn_system_task(
        _handle, guest, scope, *rest, name=scope.place, context=context
    )


async def _handle(
    guest: Guest,
    scope: Scope,
    function: Callable[..., Any],
    read: Read | None,
    message: Any,
    done: Done,
) -> None:
    result: Any = None
    error: BaseException | None = None
    cancel = trio.CancelScope()
    guest.handling[cancel] = None
    try:
        with cancel:
            result = function() if read is None else function(*read(message))
            if hasattr(result, "__await__"):
                result = await result
    except BaseException as raised:  # a system task must not raise, or trio breaks down
        error = raised
    del guest.handling[cancel]
    if guest.dead or cancel.cancelled_caught:
        return
    if error is not None:
        if _interrupted(error):
            guest.fatal = error
            return
        misplaced = explain(scope, error)
        if misplaced is not None:
            scope.world.refuse(misplaced)
    guest.ended.append((done, scope, result, error))


def _interrupted(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)


class Wake:
    """Wakes a task, once: a `Resume`."""

    __slots__ = ("_done", "_guest", "_task", "_value")

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._task: Any = None
        self._done = False
        self._value: Any = None

    def __call__(self, value: Any) -> None:
        if self._resolve(value):
            self._guest.ask()

    def now(self, value: Any) -> None:
        """The same, called by the agenda: trio can run at once."""
        if self._resolve(value) and not self._guest.asked:
            self._guest.pump()

    def _resolve(self, value: Any) -> bool:
        if self._done or self._guest.dead:
            return False
        self._done = True
        self._value = value
        if self._task is not None:
            self._guest.inbox.append((self._go, ()))
        return True

    def _go(self) -> None:
        task, self._task = self._task, None
        if task is not None:  # else it was cancelled in the meantime
            trio.lowlevel.reschedule(task, Value(self._value))

    def wait(self, *, cancellable: bool = True) -> Steps:
        """Block the running task until this is called; return what it is called with."""
        if self._done:
            return self._value
        self._task = trio.lowlevel.current_task()
        abort = self._abort if cancellable else _refuse_abort
        return (yield from trio.lowlevel.wait_task_rescheduled(abort).__await__())

    def _abort(self, _: Any) -> trio.lowlevel.Abort:
        self._done = True
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


def _refuse_abort(_: Any) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


class VirtualClock(trio.abc.Clock):
    """The clock of a guest. That trio asks it when to wake up means that trio is idle."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest

    def start_clock(self) -> None:
        """Nothing to start."""

    def current_time(self) -> float:
        """Return the virtual time as `time.monotonic()` does, in seconds."""
        return self.guest.time()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Note that trio is idle until `deadline`; 0, so that it never really sleeps."""
        guest = self.guest
        if deadline > guest.time():
            guest.idle = True
            guest.deadline = deadline
        return 0.0


class Guest:
    """One run of trio, lent to one incarnation after the other.

    Attributes:
        inbox: What to call inside trio before its next tick.
        ended: Handlers that have ended, to be told outside.
        idle: Whether trio had nothing to do after its last tick.
        deadline: When trio wants to be called again, in seconds of its clock.
        handling: The cancel scopes of the handlers that have not ended.
        woke_at: For quiescence: what `world.effects` was when the timers that are pending
            were set after a timer went off; -1 where that is not so for one of them.
    """

    def __init__(self) -> None:
        self.world: World | None = None
        self.incarnation: Incarnation | None = None
        self.inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.ended: list[tuple[Done, Scope, Any, BaseException | None]] = []
        self.handling: dict[trio.CancelScope, None] = {}
        self.asked = False
        self.running = False
        self.idle = False
        self.deadline = inf
        self.woke_at = -1
        self.busy_ms = 0
        self.fatal: BaseException | None = None
        self._entry: Entry | None = None
        self._entry_deadline = inf
        self._reached_s = 0.0
        self._woke = -1
        self._stamps: dict[tuple[Any, float], int] = {}
        self._tick: Callable[[], object] | None = None
        self._over: Outcome[None] | None = None
        self._life = trio.CancelScope()
        self._task: Any = None
        self._outer: dict[str, Any] = {}
        self._outer_hooks: Any = None
        self._outer_order: Any = None
        self._process = os.getpid()
        self._start()

    # ---- starting and stopping trio

    def _start(self) -> None:
        self._hooks: Any = sys.get_asyncgen_hooks()
        self._runner: Any = None
        interrupt = _hide_interrupt()
        self.enter()
        try:
            trio.lowlevel.start_guest_run(
                self._live,
                run_sync_soon_threadsafe=self._set_tick,
                run_sync_soon_not_threadsafe=self._set_tick,
                done_callback=self._set_over,
                host_uses_signal_set_wakeup_fd=True,  # signals are none of its business
                clock=VirtualClock(self),
            )
            self._runner = _CONTEXT.runner
            self._hooks = sys.get_asyncgen_hooks()
            if sys.platform != "win32":
                self._runner.io_manager = NoIO(self._runner, self._refuse)
            self._settle(RETIRE_TICKS_MAX)
            self._tasks = trio.lowlevel.current_statistics().tasks_living
        finally:
            self.leave()
            if interrupt is not None:
                signal.signal(signal.SIGINT, interrupt)

    async def _live(self) -> None:
        with self._life:
            await trio.sleep_forever()

    def _set_tick(self, tick: Callable[[], object]) -> None:
        self._tick = tick

    def _set_over(self, over: Outcome[None]) -> None:
        self._over = over

    def stop(self) -> bool:
        """End this run of trio for good; say whether it did."""
        if self._over is None and self._process == os.getpid():
            self.enter()
            try:
                self._life.cancel()
                self._settle(RETIRE_TICKS_MAX)
            finally:
                self.leave()
        return self._over is not None

    # ---- taking turns with other guests, and with whoever runs trio around the harness

    def enter(self) -> None:
        """Become the run of trio in this thread."""
        names = _CONTEXT.__dict__
        if names:
            self._outer = dict(names)
            names.clear()
        if self._runner is not None:
            names["runner"] = self._runner
        if self._task is not None:
            names["task"], self._task = self._task, None
            _run.sniffio_library.name = "trio"  # we were called by a task, and go back to it
        self._outer_hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(*self._hooks)
        self._outer_order = (_run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r)
        _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
        _run._r = IN_ORDER  # type: ignore[assignment]

    def leave(self) -> None:
        """Be it no longer: somebody else's code runs next."""
        names = _CONTEXT.__dict__
        self._task = names.get("task")
        if self._task is not None:
            _run.sniffio_library.name = None
        names.clear()
        if self._outer:
            names.update(self._outer)
            self._outer = {}
        sys.set_asyncgen_hooks(*self._outer_hooks)
        _run._ALLOW_DETERMINISTIC_SCHEDULING, _run._r = self._outer_order  # type: ignore[misc]

    # ---- one run of the harness

    def serve(self, incarnation: Incarnation) -> None:
        """Begin to work for an incarnation."""
        self.incarnation = incarnation
        self.world = incarnation.world
        self.woke_at = self._woke = -1
        self._reached_s = 0.0
        self._runner.system_context = incarnation.world.context
        self._runner._locals.clear()  # run-local variables: nothing survives a run
        incarnation.on_death.append(self._die)

    @property
    def dead(self) -> bool:
        """Whether nothing of this guest may run any more."""
        incarnation = self.incarnation
        return incarnation is None or not incarnation.alive or incarnation.world.ending is not None

    def time(self) -> float:
        """Return the virtual time as `time.monotonic()` does, in seconds."""
        incarnation = self.incarnation
        if incarnation is None:
            return self._reached_s
        now_s = (EPOCH_MS + incarnation.world.now + incarnation.skew_ms) / 1000
        return now_s if now_s > self._reached_s else self._reached_s

    def ask(self) -> None:
        """Have the agenda run this guest, at the present time."""
        if not self.running and not self.asked and not self.dead:
            self.asked = True
            assert self.world is not None
            self.world.after(0, self.pump)

    def pump(self, _: Any = None) -> None:
        """Run trio until it is idle. Called by the agenda only.

        Nobody's code may lie beneath this on the stack: a blocking port may stop all of it.
        """
        self.asked = False
        if self.running or self.dead:
            return
        self.running = True
        self.enter()
        try:
            self._run()
        finally:
            self.leave()
            self.running = False
        if self.fatal is not None:
            fatal, self.fatal = self.fatal, None
            raise fatal
        self._tell_ended()

    def _run(self) -> None:
        ticks_max = 1 if self.busy_ms else TICKS_MAX
        for _ in range(ticks_max):
            while self.inbox:
                inbox, self.inbox = self.inbox, []
                for function, arguments in inbox:
                    function(*arguments)
            self._one_tick()
            if self.dead or self.fatal is not None:
                return
            if self.idle and not self.inbox:
                self.busy_ms = 0
                self._set_timer()
                return
        self._stay_busy()

    def _one_tick(self) -> None:
        self.idle = False
        tick, self._tick = self._tick, None
        if tick is None:
            raise InternalError("a trio run of the harness has ended before its time")
        tick()
        if self.idle and self._runner.entry_queue.size():
            self.idle = False  # callbacks of run_sync_soon wait for the next ticks
        if self._over is not None and not self._life.cancel_called:
            self._break_down()

    def _break_down(self) -> NoReturn:
        error = getattr(self._over, "error", None)
        while error is not None:
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt
            error = error.__cause__ or error.__context__
        raise InternalError("trio broke down") from getattr(self._over, "error", None)

    def _settle(self, ticks_max: int) -> None:
        self.idle = False
        for _ in range(ticks_max):
            if self._over is not None or self.idle:
                return
            self._one_tick()

    def _stay_busy(self) -> None:
        """Let time pass although trio is never idle: its code may wait by asking again."""
        assert self.world is not None
        self.busy_ms += 1
        if self.busy_ms > BUSY_MAX:
            self.world.end("spinning", f"{self._place()} keeps trio busy without end")
        self.asked = True
        self.world.after(1, self.pump)

    def _place(self) -> str:
        assert self.world is not None
        for scope, place in self.world.in_flight.items():
            if scope.incarnation is self.incarnation:
                return place
        return "" if self.incarnation is None else self.incarnation.label

    def _tell_ended(self) -> None:
        """Tell how handlers ended. That may run other code, which may stop: so it comes last."""
        if not self.ended:
            return
        assert self.world is not None
        ended, self.ended = self.ended, []
        for one in ended[1:]:
            self.world.after(0, self._tell, one)
        self._tell(ended[0])

    def _tell(self, ended: tuple[Done, Scope, Any, BaseException | None]) -> None:
        done, scope, result, error = ended
        if scope.incarnation.alive and scope.world.ending is None:
            done(scope, result, error)

    def _refuse(self, what: str) -> NoReturn:
        """Call the run off: what was asked for would leave the simulated world."""
        assert self.world is not None
        scope = SCOPE.get()
        error = RealIO(what, where=self._place() if scope is None else scope.place)
        self.world.refuse(error)
        raise error

    # ---- timers

    def _set_timer(self) -> None:
        """Put the next deadline on the agenda."""
        world = self.world
        assert world is not None
        deadline = self.deadline
        if self._entry is not None and self._entry_deadline != deadline:
            world.agenda.cancel(self._entry)
            self._entry = None
        if deadline == inf:
            return
        self._stamp(self._woke)
        if self._entry is None and deadline < _AGES_S:
            assert self.incarnation is not None
            due = ceil(deadline * 1000 - EPOCH_MS - self.incarnation.skew_ms - _TICK_MS)
            due = max(due, world.now + 1)
            self._entry = world.agenda.add(due, self._go_off, None, self)
            self._entry_deadline = deadline

    def _go_off(self, _: None) -> None:
        assert self.world is not None
        self._entry = None
        self._reached_s = max(self._reached_s, self._entry_deadline)
        self._stamp(-1)
        self._woke = -1 if self.world.in_flight else self.world.effects
        if not self.asked:
            self.pump()

    def _stamp(self, stamp: int) -> None:
        """Note when the pending deadlines were set: what `world.effects` was at the last timer.

        The agenda knows of the next deadline only. A loop that sleeps, finds nothing to do and
        sleeps again is quiet; but a later deadline may still change something.
        """
        assert self.world is not None
        if self.world.in_flight:
            self.woke_at = -1
            return
        known, self._stamps = self._stamps, {}
        for deadline, _, cancel in self._runner.deadlines._heap:
            if cancel._registered_deadline == deadline:
                self._stamps[cancel, deadline] = known.get((cancel, deadline), stamp)
        stamps = set(self._stamps.values())
        self.woke_at = stamps.pop() if len(stamps) == 1 else -1

    # ---- the end

    def _die(self) -> None:
        """The incarnation has crashed: nothing of it goes on, no timer of it goes off."""
        if self._entry is not None:
            self._entry = self._entry and self._cancel_entry(self._entry)

    def _cancel_entry(self, entry: Entry) -> None:
        assert self.world is not None
        self.world.agenda.cancel(entry)

    def retire(self) -> None:
        """End what is left of the handlers, with their ports dead, and go back to the pool."""
        self._entry = None
        self._stamps.clear()
        self.inbox.clear()
        self.ended.clear()
        self.asked = False
        self.busy_ms = 0
        clean = not self.running and self._over is None
        if clean and (self.handling or not self.idle):
            clean = self._end_tasks()
        self.incarnation = self.world = None
        if clean:
            _POOL.guests.append(self)
        elif not self.stop():
            _STUBBORN.append(self)

    def _end_tasks(self) -> bool:
        """Cancel what is left; say whether it is gone."""
        self.enter()
        try:
            for _ in range(3):
                for cancel in tuple(self.handling):
                    cancel.cancel()
                self._settle(RETIRE_TICKS_MAX)
                if not self.handling:
                    break
                self._reached_s += _AGES_S  # it may sleep, shielded from cancellation
                self.idle = False
            left = trio.lowlevel.current_statistics().tasks_living
            return not self.handling and left == self._tasks
        finally:
            self.leave()


class InOrder:
    """What stands for trio's random generator: it leaves things in order."""

    def shuffle(self, tasks: list[Any]) -> None:
        """Put the task that was made first at the end, from where trio takes the next."""
        tasks.reverse()

    def random(self) -> float:
        """Return a constant."""
        return 0.0

    def uniform(self, low: float, high: float) -> float:
        """Return a constant."""
        return low


IN_ORDER: Final = InOrder()


class NoIO:
    """What stands for trio's I/O manager: there is no I/O, and asking the system costs 3 µs."""

    def __init__(self, runner: Any, refuse: Callable[[str], NoReturn]) -> None:
        self._real = runner.io_manager
        self._queue = runner.entry_queue
        self._refuse = refuse

    def get_events(self, timeout: float) -> Any:
        """Return the wake-ups of `run_sync_soon`, if there are any."""
        return self._real.get_events(0) if self._queue.size() else []

    async def wait_readable(self, fd: Any) -> None:
        """Wait for trio's own wake-ups, and for nothing else."""
        if fd is not self._queue.wakeup.wakeup_sock:
            self._refuse("trio.lowlevel.wait_readable")
        await self._real.wait_readable(fd)

    async def wait_writable(self, fd: Any) -> None:
        """Refuse."""
        self._refuse("trio.lowlevel.wait_writable")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Pool(threading.local):
    def __init__(self) -> None:
        self.guests: list[Guest] = []


_POOL: Final = _Pool()
_STUBBORN: Final[list[Guest]] = []
"""Guests with tasks that swallow every cancellation. Kept for good: they cannot be ended."""


def take_guest(incarnation: Incarnation) -> Guest:
    """Return a guest that works for this incarnation from now on."""
    guests = _POOL.guests
    guest = guests.pop() if guests else Guest()
    if guest._process != os.getpid():  # made before a fork: its files are shared with the parent
        _STUBBORN.append(guest)
        guest = Guest()
    guest.serve(incarnation)
    return guest


def _hide_interrupt() -> Any:
    """Have trio leave Ctrl-C alone: it takes over the default handler only."""
    if threading.current_thread() is not threading.main_thread():
        return None
    handler = signal.getsignal(signal.SIGINT)
    if handler is not signal.default_int_handler:
        return None
    signal.signal(signal.SIGINT, lambda *_: None)
    return handler


def _stop_all() -> None:
    for guest in _POOL.guests:
        guest.stop()


atexit.register(_stop_all)
