"""Threads in virtual time: plain code of the same process, in a greenlet of its own.

A thread that code of a run starts is no real thread. It runs beside the code that started it and
stops where plain code stops: at ports, sleeps, locks, queues, and at `join`. It ends with its
incarnation. What it does counts for the message that was in hand when it was started.

So the methods of `threading.Thread` are exchanged, once and for good; outside of a run they are
Python's own.

Source:
    CPython 3.11 to 3.13, `Lib/threading.py`.

Not modelled:
    Threads change at these places only: data races between two of them, in lines that reach none,
    are not found. An error in a thread of `_thread.start_new_thread` goes to
    `threading.excepthook`, as that of any thread, and not to `sys.unraisablehook`.
    `threading.get_ident` differs where it is called by this name (`from threading import
    get_ident` has the real one). `sqlite3` takes all threads for one (`check_same_thread`).
"""

from __future__ import annotations

import _thread
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, Final

from greenlet import GreenletExit

from chaosharness.handlers import thread_locals
from chaosharness.handlers.carrier import Plain, park
from chaosharness.handlers.exchange import exchange
from chaosharness.handlers.fingerprint import of_function
from chaosharness.handlers.places import told
from chaosharness.handlers.port import current_scope
from chaosharness.handlers.script import Script, T
from chaosharness.kernel.rest import Loop, State
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope


class ThreadScope(Scope):
    """The scope of code in a thread of a run."""

    __slots__ = ("background", "thread")

    def __init__(self, parent: Scope, place: str, thread: VirtualThread) -> None:
        super().__init__(
            parent.world,
            parent.incarnation,
            place,
            parent.entity,
            parent.cause,
            THREADED,
            parent.hops,
            parent.message,
        )
        self.background = parent.background
        self.thread = thread


class Threaded(Plain):
    """Plain code in a thread of a run: what `threading.local` keeps goes with it."""

    @staticmethod
    def drive(script: Script[T], scope: Scope) -> T:
        """Wait in the caller's greenlet, on whosever behalf: the thread is the one that runs."""
        return park(script, scope, _inside)

    block = drive

    @staticmethod
    def running_loop() -> Any:
        """Return the thread that goes on now: it is left when its code is taken away."""
        return _inside


THREADED: Final = Threaded()


class Locals:
    """What `threading.local` keeps for code that a thread of its own would run."""

    __slots__ = ("_locals",)

    def __init__(self) -> None:
        self._locals: dict[Any, Any] = {}

    def enter(self) -> None:
        """Go on: `threading.local` has the values of this thread."""
        global _inside  # noqa: PLW0603
        assert _inside is None
        self._locals = thread_locals.exchange(self._locals)
        _inside = self

    def leave(self) -> None:
        """Stop: `threading.local` has the values of the main thread again."""
        global _inside  # noqa: PLW0603
        if _inside is self:
            _inside = None
            self._locals = thread_locals.exchange(self._locals)

    def end(self) -> None:
        """Stop for good."""
        self.leave()
        self._locals.clear()


class Served(Plain):
    """Plain code that a server runs in a thread for each request, of which there is no object."""

    @staticmethod
    def drive(script: Script[T], scope: Scope) -> T:
        """Wait in the caller's greenlet."""
        return park(script, scope, _SERVING.get())

    block = drive

    @staticmethod
    def running_loop() -> Any:
        """Return the thread that goes on now: it is left when its code is taken away."""
        return _inside

    @staticmethod
    @contextmanager
    def serving(context: Context | None = None) -> Iterator[None]:
        """Have what runs inside see values of `threading.local` that nobody else does.

        Args:
            context: What it runs in, if not in this one.
        """
        kept = Locals()
        _SERVING.set(kept)
        if context is not None:
            context.run(_SERVING.set, kept)
        kept.enter()
        try:
            yield
        finally:
            kept.end()


SERVED: Final = Served()
_SERVING: Final[ContextVar[Locals | None]] = ContextVar("chaosharness.serving", default=None)


class VirtualThread(Locals):
    """A thread of one incarnation.

    Attributes:
        thread: The user's object.
        ident: What `get_ident` says in it.
        done: Set when it has ended.
        over: Whether it has ended.
        scope: On whose behalf it runs.
    """

    __slots__ = ("done", "ident", "over", "scope", "thread")

    def __init__(self, thread: threading.Thread, ident: int) -> None:
        super().__init__()
        self.thread = thread
        self.ident = ident
        self.done = threading.Event()
        self.over = False
        self.scope: Scope

    def look(self) -> State:
        """Return what its function knows, where it waits in no line of the user's (a timer)."""
        return of_function(_work_of(self.thread))

    def run(self) -> None:
        """Do its work; called in a greenlet of its own."""
        self.enter()
        self._shifts()
        try:
            self.thread.run()
        except (SystemExit, GreenletExit):
            pass  # SystemExit ends a thread, and nothing else
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if self._lives():
                self._failed(error)
        finally:
            self.leave()
            self._locals.clear()
            self.over = True
            self._shifts()
            self.thread._is_stopped = True  # type: ignore[attr-defined]
            if self._lives():
                self.done.set()

    def _shifts(self) -> None:
        """Have loops that rest go round once more: they may look at what this leaves in memory."""
        self.scope.incarnation.shifted = self.scope.world.stirred

    def _lives(self) -> bool:
        return self.scope.incarnation.alive and self.scope.world.ending is None

    def _failed(self, error: BaseException) -> None:
        """Record an error that left it, and tell the user's hook: the process lives on."""
        scope = self.scope
        if scope.world.is_mistake(error):
            scope.world.refuse(error)
            return
        scope.record("raised", "", 0, {**told(error), "thread": self.thread.name})
        hook = threading.excepthook
        if not _is_users(hook):
            return
        what = (type(error), error, error.__traceback__, self.thread)
        try:
            hook(threading.ExceptHookArgs(what))
        except Exception as worse:
            scope.record("raised", "", 0, {**told(worse), "thread": self.thread.name})


class Threads:
    """The threads of one incarnation, and what is counted for them there.

    Attributes:
        of: What stands for each thread that was started, oldest first.
    """

    __slots__ = ("_counted", "of")

    def __init__(self) -> None:
        self.of: dict[threading.Thread, VirtualThread] = {}
        self._counted: dict[str, int] = {}

    def number(self, what: str) -> int:
        """Count something; return its number, from 1."""
        self._counted[what] = number = self._counted.get(what, 0) + 1
        return number

    def living(self) -> list[threading.Thread]:
        """Return the threads that have not ended."""
        return [one.thread for one in self.of.values() if not one.over]

    def dispose(self) -> None:
        """At the end of the run nothing of them is left that Python would wait for."""
        come_home()
        for thread, one in self.of.items():
            one.over = True
            thread._is_stopped = True  # type: ignore[attr-defined]
            for forget in ON_END:
                forget(thread)


ON_END: Final[list[Callable[[threading.Thread], object]]] = []
"""Told at the end of a run of each thread that was started in it."""

_inside: Locals | None = None
"""The thread of a run whose code goes on now."""


def come_home() -> None:
    """Have `threading.local` be that of the main thread: code was taken away where it stood."""
    if _inside is not None:
        _inside.leave()


def threads_of(incarnation: Incarnation) -> Threads:
    """Return the threads of an incarnation."""
    threads: Threads | None = incarnation.threads
    if threads is None:
        threads = incarnation.threads = Threads()
        incarnation.kept.append(threads)
    return threads


def aim(function: Any, scope: Scope) -> None:
    """Have a function that runs in a copy of some context run on behalf of this scope there."""
    while isinstance(function, functools.partial):
        function = function.func
    context = getattr(function, "__self__", None)
    if isinstance(context, Context):
        context.run(SCOPE.set, scope)


def _work_of(thread: threading.Thread) -> functools.partial[Any]:
    """Return what a thread is there to do."""
    if isinstance(thread, threading.Timer):
        return functools.partial(thread.function, *thread.args, **thread.kwargs)
    target = getattr(thread, "_target", None)
    if target is None:
        return functools.partial(thread.run)
    return functools.partial(target, *thread._args, **thread._kwargs)  # type: ignore[attr-defined]


def _name_of(work: functools.partial[Any], thread: threading.Thread) -> str:
    """Return what a thread is called in sites: by its function, or by its class."""
    function: Any = work
    while isinstance(function, functools.partial):
        inner = function.func
        in_context = isinstance(getattr(inner, "__self__", None), Context)
        function = function.args[0] if in_context and function.args else inner
    function = getattr(function, "__func__", function)
    if type(thread) is not threading.Thread and getattr(function, "__name__", "") == "run":
        return type(thread).__name__
    return getattr(function, "__name__", None) or type(function).__name__


def _loop_of(parent: Scope, thread: threading.Thread, one: VirtualThread) -> Loop:
    """Return what is known of a thread between two sleeps.

    One that is started anew each time carries on for its predecessor; so does a timer that sets
    the next.
    """
    work = _work_of(thread)
    code = getattr(getattr(work.func, "__func__", work.func), "__code__", None)
    if parent.loop is None:
        parent.loop = Loop()
    above = parent.thread
    if above is not None and type(above.thread) is type(thread) is threading.Timer:
        former = _work_of(above.thread).func
        if getattr(getattr(former, "__func__", former), "__code__", None) is code:
            return parent.loop
    return parent.loop.child(code, one, lambda former: bool(former.over))


def _is_users(hook: Any) -> bool:
    """Say whether a hook is the user's: Python's prints, and pytest's warns, in each run."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    module = getattr(hook, "__module__", "") or ""
    return hook is not threading.__excepthook__ and not module.startswith("_pytest")


# ---- what stands in `threading`


def _copy_of(function: Any) -> Any:
    """Return a function as it is now, for the time when its code is another."""
    return type(function)(function.__code__, function.__globals__, function.__name__)


_INIT: Final[Any] = threading.Thread.__init__
_START: Final = threading.Thread.start
_JOIN: Final = threading.Thread.join
_IS_ALIVE: Final = threading.Thread.is_alive
_CURRENT: Final = _copy_of(threading.current_thread)
_ENUMERATE: Final = _copy_of(threading.enumerate)
_GET_IDENT: Final = threading.get_ident
_COUNTER: Final[Any] = threading._counter  # type: ignore[attr-defined]


@functools.wraps(_INIT)
def _init(self: Any, *arguments: Any, **options: Any) -> None:
    number_in_run(self)
    _INIT(self, *arguments, **options)


def number_in_run(thing: Any) -> None:
    """Give an object that code of a run makes a hash of its own: sets are in one order then."""
    scope = SCOPE.get()
    if scope is not None:
        thing._number_in_run = threads_of(scope.incarnation).number("objects")


def hash_in_run(thing: Any) -> int:
    """Return the hash of an object: its number, if it was made in a run."""
    number: int | None = thing.__dict__.get("_number_in_run")
    return object.__hash__(thing) if number is None else number


def _start(self: threading.Thread) -> None:
    """Start the thread."""
    if SCOPE.get() is None:
        _START(self)
        return
    parent = current_scope("threading.Thread.start")
    if not getattr(self, "_initialized", False):
        raise RuntimeError("thread.__init__() not called")
    threads = threads_of(parent.incarnation)
    if self in threads.of:
        raise RuntimeError("threads can only be started once")
    one = threads.of[self] = VirtualThread(self, threads.number("idents") + 1)
    work = _work_of(self)
    place = f"{parent.incarnation.service}.{_name_of(work, self)}"
    one.scope = scope = ThreadScope(parent, place, one)
    scope.loop = _loop_of(parent, self, one)
    aim(work, scope)
    self._ident = one.ident  # type: ignore[attr-defined]
    self._in_run = True  # type: ignore[attr-defined]
    self._started.set()  # type: ignore[attr-defined]
    parent.world.go_on(lambda _: THREADED.start(scope, one.run, None, None, _ended))


def _start_new_thread(
    function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
) -> int:
    """Stand for `_thread.start_new_thread`: a thread that nobody joins."""
    given = () if kwargs is None else (kwargs,)
    if SCOPE.get() is None or not callable(function) or not isinstance(args, tuple):
        ident: int = _NEW(function, args, *given)  # which says what is wrong
        return ident
    thread = threading.Thread(target=function, args=args, kwargs=kwargs, daemon=True)
    thread.start()
    assert thread.ident is not None
    return thread.ident


_NEW: Final[Any] = _thread.start_new_thread


def _ended(*_: object) -> None:
    """There is nobody to be told: who waits for a thread has joined it."""


def _join(self: threading.Thread, timeout: float | None = None) -> None:
    """Wait until the thread has ended: at once, where another process has begun it."""
    scope = SCOPE.get()
    threads = None if scope is None else scope.incarnation.threads
    one = None if threads is None else threads.of.get(self)
    if scope is None or one is None:
        if not getattr(self, "_in_run", False):
            _JOIN(self, timeout)
        return
    if scope.thread is one:
        raise RuntimeError("cannot join current thread")
    if one.done.wait(None if timeout is None else max(timeout, 0)):
        scope.cause = max(scope.cause, one.scope.cause)


def _is_alive(self: threading.Thread) -> bool:
    """Say whether the thread has begun and not ended."""
    scope = SCOPE.get()
    if scope is None or scope.incarnation.threads is None:
        return not getattr(self, "_in_run", False) and _IS_ALIVE(self)
    one = scope.incarnation.threads.of.get(self)
    if one is not None:
        return not one.over
    return not getattr(self, "_in_run", False) and _IS_ALIVE(self)


def _current_thread() -> threading.Thread:
    """Return the thread that this code runs in."""
    scope = SCOPE.get()
    return _CURRENT() if scope is None or scope.thread is None else scope.thread.thread  # type: ignore[no-any-return]


def _enumerate() -> list[threading.Thread]:
    """Return the threads that live: of this process, in a run."""
    scope = SCOPE.get()
    if scope is None:
        return list(_ENUMERATE())
    threads = scope.incarnation.threads
    return [threading.main_thread(), *([] if threads is None else threads.living())]


def _get_ident() -> int:
    """Return a number that no other living thread of this process has."""
    scope = SCOPE.get()
    return _GET_IDENT() if scope is None or scope.thread is None else scope.thread.ident


def _counter() -> int:
    """Return the number in the next thread's name: each process counts for itself."""
    scope = SCOPE.get()
    return _COUNTER() if scope is None else threads_of(scope.incarnation).number("names")


def install() -> None:
    """Put them there, once and for good; outside of runs they are the real ones."""
    module: Any = threading
    kind: Any = threading.Thread
    kind.__init__, kind.start, kind.join, kind.is_alive = _init, _start, _join, _is_alive
    kind.__hash__ = hash_in_run
    module._counter, module.get_ident = _counter, _get_ident
    module._in_run_current, module._in_run_all = _current_thread, _enumerate
    for real in (_NEW, _thread.start_new):  # its old name, a function of its own
        exchange(real, _start_new_thread, spared=("threading",))
    for name, stands in _STAND_FOR.items():  # also for those who imported it by name
        getattr(module, name).__code__ = stands.__code__


_STAND_FOR: Final[dict[str, Any]] = {
    "current_thread": lambda: _in_run_current(),  # type: ignore[name-defined]  # noqa: F821, PLW0108
    "enumerate": lambda: _in_run_all(),  # type: ignore[name-defined]  # noqa: F821, PLW0108
    "active_count": lambda: len(_in_run_all()),  # type: ignore[name-defined]  # noqa: F821
}
"""What the functions of `threading` do: read in its namespace, where `install` puts these names."""
