"""trio on virtual time: real trio, as a guest of the kernel, one run for each incarnation.

trio's guest mode lets a host drive it: it hands over its next tick as a callback, which is
called here when there is something to do, and asks its clock how long it may sleep, which
tells that it is idle and until when. To start a guest costs 0.3 ms, so guests are kept and
used again by later runs; one that is not clean at the end of its run is given up.

Source:
    trio 0.26 to 0.35, "Using guest mode to run Trio on top of other event loops" and
    `trio/_core/_run.py`. Beyond trio's public interface, which knows one run per thread
    only: `GLOBAL_RUN_CONTEXT` (guests take turns), the deadlines that are pending
    (quiescence), the switch for a deterministic order (which pytest-trio uses too), the I/O
    manager (there is none), run-local variables (forgotten after a run).

Not modelled:
    Sockets, processes and other real I/O (refused); signals but SIGTERM (never come);
    `trio.from_thread`; `trio.testing.wait_all_tasks_blocked`.
    `trio.to_thread.run_sync` runs its function beside trio as plain code on virtual time, in
    no thread. Tasks that become runnable together run in the order in which they were made,
    where trio tosses a coin.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import types
from collections.abc import Callable
from math import ceil, inf
from typing import Any, Final, NoReturn

import trio
from outcome import Outcome, Value
from trio._core import _run

from chaosharness.errors import InternalError
from chaosharness.handlers.carrier import aside
from chaosharness.handlers.clocks import SECONDS, clock_read
from chaosharness.handlers.guest import AGES_S, ROUNDING_MS, Guest
from chaosharness.handlers.later import Steps
from chaosharness.handlers.port import apart_ms
from chaosharness.handlers.trio_naps import Naps
from chaosharness.handlers.trio_unreal import IN_ORDER, NoIO, started_by_us
from chaosharness.kernel.agenda import Entry
from chaosharness.kernel.scope import Incarnation
from chaosharness.kernel.spans import EPOCH_MS

TICKS_MAX: Final = 1_000
"""Ticks at one instant; after them, virtual time begins to pass."""

RETIRE_TICKS_MAX: Final = 200
"""Ticks that abandoned tasks get to end in, when their run is over."""

ROUNDS_MAX: Final = 20
"""How often abandoned tasks are cancelled: their clean-up may hide behind one shield more."""

_CONTEXT: Final = _run.GLOBAL_RUN_CONTEXT
_ASKS: Final = {trio.current_time.__code__, _run.Runner.current_time.__code__}
"""Code of trio that is asked for the time, and asks the clock."""
_LIBRARY: Final[Any] = getattr(_run, "sniffio_library", threading.local())


class VirtualClock(trio.abc.Clock):
    """The clock of a guest. That trio asks it when to wake up means that trio is idle."""

    def __init__(self, guest: TrioGuest) -> None:
        self.guest = guest

    def start_clock(self) -> None:
        """Nothing to start."""

    def current_time(self) -> float:
        """Return the virtual time as `time.monotonic()` does, in seconds."""
        guest = self.guest
        frame = sys._getframe(1)
        if frame.f_code.co_name == "current_time" and guest.serving:  # not trio's own loop
            self._note(frame)
        return guest.time()

    def _note(self, frame: Any) -> None:
        """Take note of code that has asked trio itself for the time."""
        while frame.f_code in _ASKS:
            frame = frame.f_back
        if not frame.f_globals.get("__name__", "").startswith("trio."):
            clock_read(frame, SECONDS)

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Note that trio is idle until `deadline`; 0, so that it never really sleeps."""
        guest = self.guest
        if deadline > guest.time():
            guest.idle = True
            guest.deadline = deadline
        return 0.0


class Wake:
    """Wakes a task, once: a `Resume`."""

    __slots__ = ("_done", "_guest", "_task", "_value")

    def __init__(self, guest: TrioGuest) -> None:
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

    @types.coroutine
    def wait(self, *, cancellable: bool = True) -> Steps:
        """Block the running task until this is called; return what it is called with."""
        if self._done:
            return self._value
        self._task = trio.lowlevel.current_task()
        abort = self._abort if cancellable else self._abort_if_dead
        return (yield from trio.lowlevel.wait_task_rescheduled(abort).__await__())

    def _abort(self, _: Any) -> trio.lowlevel.Abort:
        self._done = True
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _abort_if_dead(self, _: Any) -> trio.lowlevel.Abort:
        return self._abort(_) if self._guest.dead else trio.lowlevel.Abort.FAILED


class TrioGuest(Guest):
    """One run of trio, lent to one incarnation after the other.

    Attributes:
        inbox: What to call inside trio before its next tick.
        idle: Whether trio had nothing to do after its last tick.
        deadline: When trio wants to be called again, in seconds of its clock.
        fatal: What must end the run of the harness: Ctrl-C.
        serving: Whether it works for an incarnation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inbox: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.idle = False
        self.deadline = inf
        self.fatal: BaseException | None = None
        self.process = os.getpid()
        self.serving = False
        self._entry: Entry | None = None
        self._entry_deadline = inf
        self._apart = False
        self._reached_s = 0.0
        self._naps = Naps(self)
        self._pending: set[tuple[Any, float]] = set()
        self._tick: Callable[[], object] | None = None
        self._over: Outcome[None] | None = None
        self._life = trio.CancelScope()
        self._stopping = False
        self._nursery: Any = None
        self._task: Any = None
        self._outer: dict[str, Any] = {}
        self._outer_hooks: Any = None
        self._outer_order: Any = None
        self._runner: Any = None
        self._hooks: Any = sys.get_asyncgen_hooks()
        self._start()

    # ---- starting and stopping trio

    def _start(self) -> None:
        self.enter()
        try:
            with started_by_us():
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
                self._runner.io_manager = NoIO(self._runner)
            self._settle()
            self._tasks = trio.lowlevel.current_statistics().tasks_living
        finally:
            self.leave()

    async def _live(self) -> None:
        with self._life:
            while True:  # one nursery lasts until a run leaves tasks behind in it
                async with trio.open_nursery() as self._nursery:
                    await trio.sleep_forever()

    def _set_tick(self, tick: Callable[[], object]) -> None:
        self._tick = tick

    def _set_over(self, over: Outcome[None]) -> None:
        self._over = over

    def stop(self) -> bool:
        """End this run of trio for good; say whether it did."""
        if self._over is None and not self.running and self.process == os.getpid():
            self.enter()
            try:
                self._stopping = True
                self._life.cancel()
                if self._tick is not None:  # else it has been taken away in mid-tick
                    aside(self._settle)
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
        if self._task is not None:  # a task has called the kernel, which now returns to it
            names["task"], self._task = self._task, None
            _LIBRARY.name = "trio"
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
            _LIBRARY.name = None
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
        self.serving = True
        self._naps = Naps(self)
        self._apart = False
        self._reached_s = 0.0
        self._runner.system_context = incarnation.world.context
        self._runner._locals.clear()
        incarnation.on_death.append(self._die)

    def time(self) -> float:
        """Return the virtual time as `time.monotonic()` does, in seconds."""
        if not self.serving:
            return self._reached_s
        now_s = (EPOCH_MS + self.world.now + self.incarnation.skew_ms) / 1000
        return now_s if now_s > self._reached_s else self._reached_s

    def tasks(self) -> set[Any]:
        """Return its tasks that have not ended, trio's own among them."""
        return self._runner.tasks  # type: ignore[no-any-return]

    def spawn(self, name: str, task: tuple[Any, ...]) -> None:
        """Start a task; called inside trio, in the context that it shall run in."""
        self._nursery.start_soon(*task, name=name)

    def pump(self, _: Any = None) -> None:
        """Run what is ready. Called by the agenda only."""
        super().pump()
        if self.fatal is not None:
            fatal, self.fatal = self.fatal, None
            raise fatal

    def run_ready(self) -> None:
        """Run trio until it is idle."""
        for _ in range(1 if self.busy_ms else TICKS_MAX):
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
        self.stay_busy(self._place())

    def _one_tick(self) -> None:
        self.idle = False
        tick, self._tick = self._tick, None
        if tick is None:
            raise InternalError("a trio run of the harness has ended before its time")
        tick()
        if self.idle and self._runner.entry_queue.size():
            self.idle = False  # callbacks of run_sync_soon wait for the next ticks
        if self._over is not None and not self._stopping:
            self._break_down()

    def _break_down(self) -> NoReturn:
        first = error = getattr(self._over, "error", None)
        while error is not None:
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt
            error = error.__cause__ or error.__context__
        raise InternalError("trio broke down") from first

    def _settle(self) -> None:
        self.idle = False
        for _ in range(RETIRE_TICKS_MAX):
            if self._over is not None or self.idle:
                return
            self._one_tick()

    def _place(self) -> str:
        places = self.world.in_flight.items()
        mine = (place for scope, place in places if scope.incarnation is self.incarnation)
        return next(mine, self.incarnation.label)

    # ---- timers

    def _set_timer(self) -> None:
        """Put the next deadline on the agenda."""
        deadline = self.deadline
        world = self.world
        if self._entry is not None and self._entry_deadline != deadline:
            world.agenda.cancel(self._entry)
            self._entry = None
        if deadline >= AGES_S:
            return
        self._know_durations()
        self._naps.note(self._runner.deadlines._heap)
        if self._entry is None:
            due = self._due_ms(deadline)
            due += self._apart_ms(due)
            self._entry = world.agenda.add(max(due, world.now + 1), self._go_off, None, self._naps)
            self._entry_deadline = deadline

    def _apart_ms(self, due: int) -> int:
        """Return how much later the first timer of a replica goes off, beside its handlers.

        No other goes off with it that was to go off later: a limit would run out, as by a fault.
        """
        replica = self.incarnation.replica
        if self._apart or replica == 1:
            return 0
        if any(scope.incarnation is self.incarnation for scope in self.world.in_flight):
            return 0
        longer_ms = apart_ms(self.incarnation)
        others = (self._due_ms(deadline) for _, deadline in self._pending)
        if any(due < other <= due + longer_ms for other in others):
            return 0
        self._apart = True
        return longer_ms

    def _due_ms(self, deadline: float) -> int:
        """Return when a deadline is over, in virtual time."""
        return ceil(deadline * 1000 - EPOCH_MS - self.incarnation.skew_ms - ROUNDING_MS)

    def _know_durations(self) -> None:
        """Tell the world how far ahead the deadlines are that were set since it was told last."""
        before, now = self._pending, self.world.now
        self._pending = {
            (cancel, deadline)
            for deadline, _, cancel in self._runner.deadlines._heap
            if deadline < AGES_S and cancel._registered_deadline == deadline
        }
        for _, deadline in self._pending - before:
            self.world.know_duration(self._due_ms(deadline) - now)

    def _go_off(self, _: None) -> None:
        self._entry = None
        self._reached_s = max(self._reached_s, self._entry_deadline)
        self._naps.woke(self._reached_s)
        if not self.asked:
            self.pump()

    # ---- the end

    def _die(self) -> None:
        """The incarnation has crashed: nothing of it goes on, no timer of it goes off."""
        if self._entry is not None:
            self.world.agenda.cancel(self._entry)
            self._entry = None

    def retire(self) -> None:
        """End what is left of the handlers, with their ports dead, and go back to the pool."""
        self._entry = None
        self._naps = Naps(self)
        self.inbox.clear()
        self.ended.clear()
        self.asked = False
        self.busy_ms = 0
        clean = not self.running and self._over is None and self._end_tasks()
        if clean:
            self.serving = False
            del self.incarnation, self.world
            _POOL.guests.append(self)
        elif not self.stop():
            self._give_up()

    def _end_tasks(self) -> bool:
        """Cancel what is left; say whether it is gone."""
        runner = self._runner
        if len(runner.tasks) == self._tasks and self.idle and not runner.runq:
            return True
        self.enter()
        try:
            for _ in range(ROUNDS_MAX):
                self._unshield()
                self._nursery.cancel_scope.cancel()
                if not aside(self._settle):
                    return False
                if len(runner.tasks) == self._tasks or self._over is not None:
                    return self._over is None
                self._reached_s += AGES_S  # it may wait for a deadline only
            return False
        finally:
            self.leave()

    def _unshield(self) -> None:
        """Open every shield: what waits behind one waits for a process that is gone."""
        for task in self._runner.tasks:
            status = task._cancel_status
            while status is not None:
                if status._scope.shield:
                    status._scope.shield = False
                status = status._parent

    def _give_up(self) -> None:
        """Leave a run of trio as it is, with tasks that cannot be ended; close its files."""
        _STUBBORN.append(self)
        if self.process == os.getpid() and self._over is None:
            self._runner.entry_queue.close()
            self._runner.io_manager.close()


class _Pool(threading.local):
    def __init__(self) -> None:
        self.guests: list[TrioGuest] = []


_POOL: Final = _Pool()
_STUBBORN: Final[list[TrioGuest]] = []
"""Guests with tasks that swallow every cancellation. Kept for good: they cannot be ended."""


def take_guest(incarnation: Incarnation) -> TrioGuest:
    """Return a guest that works for this incarnation from now on."""
    guests = _POOL.guests
    guest = guests.pop() if guests else TrioGuest()
    if guest.process != os.getpid():  # made before a fork: its files are the parent's, too
        _STUBBORN.append(guest)
        return take_guest(incarnation)
    guest.serve(incarnation)
    return guest


def _stop_all() -> None:
    for guest in _POOL.guests:
        guest.stop()


atexit.register(_stop_all)
