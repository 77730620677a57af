"""The watchdog: code that runs on without reaching a port ends in a verdict, not a hang."""

from __future__ import annotations

import _thread
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final, NoReturn

from chaosharness.errors import Spinning
from chaosharness.handlers.streams import own_error

LIMIT_S: Final = 10.0
_LOOKS: Final = 20  # looks at the counter within one limit
_AGAIN_S: Final = 0.1  # between two exceptions, for a handler that swallows them
_REPORT_AFTER: Final = 50  # exceptions without effect: about 5 s
_DEBUGGERS: Final = {"bdb", "pdb", "pydevd", "_pydevd_bundle.pydevd"}
# Ignored by default and used by almost nobody; SIGALRM belongs to pytest-timeout.
_SIGNAL: Final[int] = getattr(signal, "SIGURG", 0)  # 0 where there are no such signals

ANSWERS: Final[list[int]] = [0]
"""How often a real server has answered: code that waits for one does not spin."""

_watched: set[Watchdog] = set()
_thread_runs = False


class Watchdog:
    """Watch one kernel, between `start` and `stop`, in the thread that calls `start`.

    A daemon thread, one per process, looks at `progress` from time to time. If it has not
    changed for `limit_s` seconds of real time, the watched thread is interrupted, and again
    every 0.1 s until `progress` changes or `stop` is called. In the main thread a signal does
    it, which also ends a `select` or a wait for a child; in other threads
    `PyThreadState_SetAsyncExc`, which strikes at the next bytecode only.

    What is interrupted calls `strike`, which raises `Spinning`; a run takes its code away
    instead (`handlers.carrier.vanish`): an exception can be swallowed, by `except BaseException`
    or inside C, and this cannot.

    Args:
        where: Returns the place of the code that runs now, for the message. Called in the
            watched thread.
        limit_s: Real seconds.

    Attributes:
        progress: Written by the kernel whenever something happens; any change will do.

    Not modelled:
        Code that never returns from C (a huge `int` power, a wait in a thread other than the
        main one): after about 5 s without effect, a message on stderr shows its stack. A
        handler under a debugger is left alone.
    """

    __slots__ = (
        "_idle_s",
        "_lock",
        "_seen",
        "_shots",
        "_thread",
        "_thrown",
        "_where",
        "limit_s",
        "progress",
    )

    def __init__(self, *, where: Callable[[], str], limit_s: float = LIMIT_S) -> None:
        self._where = where
        self._lock = _thread.allocate_lock()
        self._seen = self.progress = 0
        self._idle_s = 0.0
        self._shots = 0
        self._thread = 0
        self._thrown = False
        self.limit_s = limit_s

    def start(self) -> None:
        """Watch this thread from now on. Call it before guards are on: it may start a thread."""
        if not _thread_runs:
            _run_thread()
        self._thread = _thread.get_ident()
        self._seen = -1
        self._shots = 0
        self._thrown = False
        _watched.add(self)

    def stop(self) -> None:
        """Watch no longer. No `Spinning` of this watchdog is raised after this returns."""
        while True:
            try:
                with self._lock:
                    _watched.discard(self)
                    self._shots = 0
                    if self._thrown:
                        _take_back(self._thread)
                        self._thrown = False
                return
            except Spinning:
                continue

    def _look(self, waited_s: float) -> None:
        """Judge the counter after a wait. Called by the watching thread."""
        with self._lock:
            if self not in _watched:
                return
            if self.progress != self._seen:
                self._seen = self.progress
                self._idle_s = 0.0
                self._shots = 0
                return
            self._idle_s += waited_s
            if self._idle_s < self.limit_s:
                return
            frame = sys._current_frames().get(self._thread)
            if _debugged(frame):
                return
            self._shots += 1
            if self._shots == _REPORT_AFTER:
                self._report(frame)
            if self._thread == threading.main_thread().ident and _handler_set():
                signal.pthread_kill(self._thread, _SIGNAL)  # looks for itself where it is
            elif is_above_others(frame):
                self._thrown = True
                _raise_in(self._thread, self._spinning_class())

    def _report(self, frame: FrameType | None) -> None:
        """Show where code that cannot be stopped stands. The process hangs from here on."""
        import traceback

        stack = "".join(traceback.format_stack(frame))
        print(
            f"chaosharness: code ran for more than {self.limit_s:g} s without reaching a port, "
            f"and could not be interrupted: it runs inside C. Its stack:\n{stack}",
            file=own_error(),
            flush=True,
        )

    def wait_s(self) -> float:
        """Return how long the watching thread may wait before its next look, in seconds."""
        return _AGAIN_S if self._shots else self.limit_s / _LOOKS

    def fired(self) -> bool:
        """Say whether the watched code is over its limit, and has been interrupted."""
        return self._shots > 0 and self.progress == self._seen

    def strike(self) -> NoReturn:
        """End the code that runs; called in the watched thread, above that code."""
        raise Spinning(self._where(), self.limit_s)

    def _spinning_class(self) -> type[Spinning]:
        """Return a class that needs no argument: C makes the instance, in the other thread.

        That is when `strike` is called, which need not come back.
        """
        strike = self.strike

        class Interrupted(Spinning):
            def __init__(self) -> None:
                try:
                    strike()
                except Spinning as error:
                    super().__init__(error.where, error.seconds)

        Interrupted.__name__ = Interrupted.__qualname__ = "Spinning"
        return Interrupted


def _raise_in(thread: int, error: type[BaseException]) -> None:
    """Set the exception that a thread raises at its next bytecode."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


class _TakenBack(BaseException):
    """Takes the place of an exception that was set and may not have been raised yet."""


def _take_back(thread: int) -> None:
    """See to it that this thread, which calls, has no exception ahead of it.

    By raising another in its place. Setting NULL would clear the exception and leave the
    interpreter's flag up that asks for it, for good: each call then goes the slow way, and
    under a tracer CPython 3.11 never gets past the first instruction of a function.
    """
    try:
        _raise_in(thread, _TakenBack)
        while True:
            pass
    except _TakenBack:
        return


def _on_signal(number: int, frame: FrameType | None) -> None:
    if not is_above_others(frame):
        return
    for watchdog in tuple(_watched):
        if watchdog.fired():
            watchdog.strike()


def _handler_set() -> bool:
    return _SIGNAL != 0 and signal.getsignal(_SIGNAL) is _on_signal


def is_above_others(frame: FrameType | None) -> bool:
    """Say whether code that is not ours runs, or has called ours: else leave it to end."""
    while frame is not None:
        if not str(frame.f_globals.get("__name__")).startswith("chaosharness."):
            return True
        frame = frame.f_back
    return False


def _debugged(frame: FrameType | None) -> bool:
    """Say whether a debugger is at work, where people take their time."""
    while frame is not None:
        if frame.f_globals.get("__name__") in _DEBUGGERS:
            return True
        frame = frame.f_back
    return False


def _run_thread() -> None:
    """Start the one watching thread of the process."""
    global _thread_runs  # noqa: PLW0603
    _thread_runs = True
    if (
        _SIGNAL
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(_SIGNAL) is signal.SIG_DFL
    ):
        signal.signal(_SIGNAL, _on_signal)
    threading.Thread(target=_watch, name="chaosharness watchdog", daemon=True).start()


def _watch() -> None:
    # The wait itself is the clock: every other clock of the process shows virtual time
    # during a run, and `time.sleep` is refused.
    closed = _thread.allocate_lock()
    closed.acquire()
    while True:
        wait_s = min([LIMIT_S / _LOOKS, *(dog.wait_s() for dog in tuple(_watched))])
        closed.acquire(timeout=wait_s)
        for dog in tuple(_watched):
            dog._look(wait_s)


def _after_fork() -> None:
    """A forked child has none of its parent's threads, and nothing under way."""
    global _thread_runs  # noqa: PLW0603
    _thread_runs = False
    _watched.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
