"""Guards: user code that sleeps, connects or starts something for real is told so.

Virtual time stands still while a handler waits for the real world, and the answer would
be different tomorrow. An audit hook sees these calls inside C, whichever name the user
imported them by.
"""

from __future__ import annotations

import asyncio.base_events
import asyncio.runners
import ctypes
import errno
import operator
import os
import socket
import sys
import threading
import time  # noqa: TID251  (to stand in for time.sleep)
from _thread import get_ident
from collections.abc import Callable
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from chaosharness.errors import STANDS_FOR, RealIO
from chaosharness.handlers import locks, pools, threads, unawaited, unvisited
from chaosharness.handlers.carrier import can_wait
from chaosharness.handlers.exits import IN_RUN, TAKES, stand_for
from chaosharness.handlers.insides import words_of
from chaosharness.handlers.places import asked_at, asked_by
from chaosharness.handlers.stopping import take_signal
from chaosharness.handlers.trackers import refuse_lost
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.options import IN_CHARGE

try:
    import _posixsubprocess
except ImportError:  # Windows has none
    _posixsubprocess = None  # type: ignore[assignment]

# Audit events, and which of their arguments says what was asked for.
_REFUSED: Final[dict[str, int | None]] = {
    "_thread.start_joinable_thread": None,  # Python 3.13
    "_thread.start_new_thread": None,  # Python 3.12
    "ftplib.connect": 1,
    "http.client.connect": 1,
    "imaplib.open": 1,
    "os.exec": 0,
    "os.fork": None,
    "os.forkpty": None,
    "os.kill": 0,
    "os.killpg": 0,
    "os.posix_spawn": 0,
    "os.spawn": 1,
    "os.system": 0,
    "poplib.connect": 1,
    "pty.spawn": 0,
    "signal.pthread_kill": 1,
    "smtplib.connect": 1,
    "socket.bind": 1,
    "socket.connect": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyaddr": 0,
    "socket.gethostbyname": 0,
    "socket.getnameinfo": 0,
    "socket.sendmsg": 1,
    "socket.sendto": 1,
    "subprocess.Popen": 1,
    "telnetlib.Telnet.open": 1,
    "urllib.Request": 0,
}
_NAMES: Final = {
    "_thread.start_joinable_thread": "threading.Thread.start",
    "_thread.start_new_thread": "threading.Thread.start",
    "http.client.connect": "http.client.HTTPConnection.connect",
    "urllib.Request": "urllib.request.urlopen",
}
_ADDRESSED: Final = frozenset(
    ("http.client.connect", "socket.connect", "socket.getaddrinfo", "urllib.Request")
)
_PAIRING: Final = {"socketpair", "_fallback_socketpair"}

_guard: Guards | None = None
"""The guard that is on. Read by everything below."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _guard is None or event not in _REFUSED or _guard.thread != get_ident():
        return
    if event in ("socket.bind", "socket.connect"):
        # Windows has no socketpair: an event loop makes its own from two loopback sockets.
        code = sys._getframe(1).f_code
        if code.co_name in _PAIRING and code.co_filename == socket.__file__:
            return
    if _importing():
        return
    if event == "subprocess.Popen" and _asks_which_code(arguments[1]):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "git")
    shown = _REFUSED[event]
    if event in _ADDRESSED and shown is not None:
        refuse_lost(_spelled(arguments[shown]))
    name = _NAMES.get(event, event)
    _guard.refuse(name if shown is None else f"{name}({arguments[shown]!r})")


def _spelled(address: Any) -> str:
    """Return an address in words: a host, or a host and its port."""
    if isinstance(address, tuple):
        return ":".join(map(str, address[:2]))
    return urlsplit(str(address)).netloc or str(address)


def _asks_which_code(command: Any) -> bool:
    """Say whether a program is to tell of which version the code is, as trackers of errors ask.

    That is no part of a system. It is answered as where code is deployed without its repository.
    """
    words = [*command[:2]] if isinstance(command, list | tuple) else []
    return words[:1] == ["git"] and words[1:] in (["rev-parse"], ["describe"])


def _importing() -> bool:
    """Say whether a module is being imported: what it does once, when loaded, is its own affair.

    `ctypes.util.find_library`, for one, starts a child process.
    """
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


class _Sleeper:
    """What `time.sleep` meets while a guard is on.

    Assigning `time.sleep` would miss `from time import sleep`. So the built-in function
    object itself is made to be `[_Sleeper()].remove`, for a while: it takes one argument
    too, compares it with this object, in Python, and returns None. What is removed is a
    copy that was added before: several may sleep at the same time.
    """

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, seconds: object) -> bool:
        if _guard is not None and _guard.thread == get_ident():
            _guard.sleep(_checked(seconds))
        else:  # another thread: really wait. A lock that nobody opens is a clock, too.
            lock = threading.Lock()
            lock.acquire()
            lock.acquire(timeout=_checked(seconds))
        _SLEEPERS.append(self)
        return True


def _checked(seconds: Any) -> float:
    """Return the argument of `time.sleep`, or raise what that raises."""
    length = float(seconds) if isinstance(seconds, float) else float(operator.index(seconds))
    if length < 0:
        raise ValueError("sleep length must be non-negative")
    return length


_SLEEP: Final = time.sleep
_SLEEPERS: Final[list[object]] = [_Sleeper()]
_SLEEP_WORDS: Final = words_of(_SLEEP)
_SLEEP_REAL: Final = tuple(_SLEEP_WORDS)
_SLEEP_VIRTUAL: Final = tuple(words_of(_SLEEPERS.remove))


def _ending(call: str) -> None:
    """Refuse what code under test asks for: that the process ends, say."""
    if _guard is not None and _guard.thread == get_ident():
        _guard.refuse(call)


def _signal(number: Any, handler: Any) -> Any:
    """Keep a handler of a signal for the process of a run that asks, in this thread."""
    if _guard is None or _guard.thread != get_ident():
        return NotImplemented
    return take_signal(number, handler)


def _start_thread(*arguments: Any, **keywords: Any) -> Any:
    """Stand for `threading._start_new_thread` in Python 3.11, where it has no event."""
    if _guard is not None and _guard.thread == get_ident():
        _guard.refuse("threading.Thread.start")
    return _START_THREAD(*arguments, **keywords)


def _spawn(*arguments: Any) -> Any:
    """Stand for what `multiprocessing` spawns processes by: it has no event."""
    if _guard is not None and _guard.thread == get_ident() and not _importing():
        _guard.refuse("multiprocessing.Process.start")
    return _SPAWN(*arguments)


_SPAWN: Final[Any] = getattr(_posixsubprocess, "fork_exec", None)
_START_THREAD: Final[Any] = getattr(threading, "_start_new_thread", None)
_ENTER: Final = asyncio.runners.Runner.__enter__
_RUN: Final = asyncio.runners.Runner.run
_CLOSE: Final = asyncio.runners.Runner.close
_RUN_UNTIL: Final = asyncio.base_events.BaseEventLoop.run_until_complete
_RUN_FOREVER: Final = asyncio.base_events.BaseEventLoop.run_forever
_STOP: Final = asyncio.base_events.BaseEventLoop.stop
_CREATE_TASK: Final = asyncio.base_events.BaseEventLoop.create_task


def _inner_loop(owner: Any, what: str) -> tuple[Any, Scope] | None:
    """Return what stands for an event loop of plain code of a run, and whose; None outside."""
    if _guard is None or _guard.thread != get_ident() or asyncio._get_running_loop() is not None:
        return None
    scope = SCOPE.get()
    if scope is None or scope.colour is None or scope.colour.is_async or not can_wait(scope.world):
        _guard.refuse(what)
    from chaosharness.handlers.asyncio_runner import enter  # loaded where somebody needs it

    return enter(owner, scope), scope


def _enter_runner(self: asyncio.runners.Runner) -> asyncio.runners.Runner:
    return _ENTER(self) if _inner_loop(self, "asyncio.run") is None else self


def _run_runner(self: asyncio.runners.Runner, coro: Any, **options: Any) -> Any:
    found = _inner_loop(self, "asyncio.run") if asyncio.iscoroutine(coro) else None
    return _RUN(self, coro, **options) if found is None else found[0].run(found[1], coro)


def _close_runner(self: asyncio.runners.Runner) -> None:
    scope = SCOPE.get()
    if scope is not None:
        from chaosharness.handlers.asyncio_runner import close

        close(self, scope)
    _CLOSE(self)  # of one that has not begun a real loop it is nothing


def _run_until_complete(self: asyncio.base_events.BaseEventLoop, future: Any) -> Any:
    if SCOPE.get() is not None and asyncio.isfuture(future):
        if future.get_loop() is self and _guard is not None:
            _guard.refuse("an asyncio event loop of its own")  # made for the real one
        future = _awaited(future)
    ours = asyncio.iscoroutine(future)
    found = _inner_loop(self, "an asyncio event loop of its own") if ours else None
    return _RUN_UNTIL(self, future) if found is None else found[0].run(found[1], future)


async def _awaited(future: Any) -> Any:
    return await future


def _run_forever(self: asyncio.base_events.BaseEventLoop) -> None:
    found = _inner_loop(self, "an asyncio event loop of its own")
    if found is None:
        _RUN_FOREVER(self)
    else:
        found[0].run_forever(found[1])


def _stop(self: asyncio.base_events.BaseEventLoop) -> None:
    scope = SCOPE.get()
    if scope is not None:
        from chaosharness.handlers.asyncio_runner import stop

        stop(self, scope)
    _STOP(self)


def _create_task(self: asyncio.base_events.BaseEventLoop, coro: Any, **options: Any) -> Any:
    if SCOPE.get() is None or not asyncio.iscoroutine(coro):
        return _CREATE_TASK(self, coro, **options)
    found = _inner_loop(self, "an asyncio event loop of its own")
    if found is None:
        return _CREATE_TASK(self, coro, **options)
    return found[0].begin(found[1], coro, options.get("name"))


_installed = False


def _install() -> None:
    """Put in place, once and for good, what passes straight through while no guard is on."""
    global _installed  # noqa: PLW0603
    if _installed:
        return
    _installed = True
    sys.addaudithook(_hook)
    stand_for()
    IN_CHARGE.append(_ending)
    IN_RUN.append(_ending)
    TAKES.append(_signal)
    unvisited.REFUSES.append(_ending)
    if _posixsubprocess is not None:
        _posixsubprocess.fork_exec = _spawn
    if sys.version_info < (3, 12):
        threading._start_new_thread = _start_thread  # type: ignore[attr-defined]
    asyncio.runners.Runner.__enter__ = _enter_runner  # type: ignore[method-assign]
    asyncio.runners.Runner.run = _run_runner  # type: ignore[method-assign]
    asyncio.runners.Runner.close = _close_runner  # type: ignore[method-assign]
    asyncio.base_events.BaseEventLoop.run_until_complete = (  # type: ignore[method-assign]
        _run_until_complete
    )
    asyncio.base_events.BaseEventLoop.run_forever = _run_forever  # type: ignore[method-assign]
    asyncio.base_events.BaseEventLoop.stop = _stop  # type: ignore[method-assign]
    asyncio.base_events.BaseEventLoop.create_task = _create_task  # type: ignore[method-assign]
    locks.install()
    threads.install()
    pools.install()
    unawaited.install()
    unvisited.install()
    # The function object will refer to our list from time to time: count that reference.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_SLEEPERS))


class Guards:
    """Refuse the real world to one thread, between `on` and `off`.

    Refused: `time.sleep` (in a run it waits in virtual time), sockets that connect or look up
    a name (those that wait for calls, and datagrams: `handlers.unvisited`), child processes
    (`git rev-parse` and `git describe` are not found, as where code is deployed),
    real threads, alarms, `os._exit` and whatever else ends the process, asyncio loops that the
    code starts itself. A handler of a signal is kept for the process of the run
    (`handlers.stopping`). Free: whatever a module does while it is imported, sockets in pairs
    (event loops make them), files, SQLite, other threads.
    Guards may be nested.

    Args:
        where: Returns the place of the code that runs now, for the message.

    Attributes:
        refused: Every refusal, oldest first. User code may catch a `RealIO` and retry; the
            kernel reads here that it happened.

    Source:
        CPython 3.13, "Audit events table". The hook stays for the life of the process, as
        audit hooks do; `id()` and `sys._getframe()`, which raise an event, cost 0.15 µs
        more with any hook at all.

    Not modelled:
        Waiting in `select`, with or without a timeout, and trio or asyncio loops that the
        handler starts otherwise than by `asyncio.run`: they raise no event, and end at the
        watchdog. (Locks, events and queues wait in virtual time: `handlers.locks`.) Sockets
        that were connected before the run. Files.
    """

    __slots__ = ("_outer", "_where", "refused", "thread")

    def __init__(self, *, where: Callable[[], str]) -> None:
        _install()
        self._where = where
        self._outer: list[Guards | None] = []
        self.refused: list[RealIO] = []
        self.thread = 0

    def on(self) -> None:
        """Refuse from here on, in this thread."""
        global _guard  # noqa: PLW0603
        self._outer.append(_guard)
        self.thread = get_ident()
        _guard = self
        _SLEEP_WORDS[:] = _SLEEP_VIRTUAL

    def off(self) -> None:
        """Put back what the last `on` found."""
        global _guard  # noqa: PLW0603
        _guard = self._outer.pop()
        if _guard is None:
            _SLEEP_WORDS[:] = _SLEEP_REAL

    def sleep(self, seconds: float) -> None:
        """Stand for `time.sleep` in this thread: refuse it."""
        self.refuse(f"time.sleep({seconds:g})")

    def refuse(self, what: str) -> NoReturn:
        """Raise for a call that would leave the simulated world, and remember it."""
        error = RealIO(what, where=self._where(), at=asked_at(), by=asked_by(STANDS_FOR))
        self.refused.append(error)
        raise error
