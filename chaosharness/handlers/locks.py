"""Locks of `threading` wait in virtual time, and belong to the process that uses them.

A real lock would block the one thread there is, and with it whoever holds the lock. So the
methods of the two lock types, and of `queue.SimpleQueue`, are exchanged in the types
themselves: locks made before the run have them too, and all that is built on locks
(`Condition`, `Event`, `Semaphore`, `Barrier`, `Queue`, `Future`) follows.

Inside a run a lock has a state of its own in each incarnation: replicas are processes, and
share no lock; a process that starts again finds it free.

Source:
    CPython 3.11 to 3.13, `Modules/_threadmodule.c`, `Modules/_queuemodule.c`,
    `Lib/threading.py`, `Lib/queue.py`.

Not modelled:
    Fairness: who waits longest gets the lock. `threading._PyRLock`. Locks of
    `multiprocessing` that were made before the run. What stands in a queue is no state of ours:
    a queue at module level is shared by all incarnations, and outlives them.
"""

from __future__ import annotations

import _queue
import _thread
import ctypes
import gc
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from math import ceil
from types import BuiltinMethodType, FrameType
from typing import Any, Final

from chaosharness.handlers.insides import thawed
from chaosharness.handlers.places import user_frame, where
from chaosharness.handlers.port import Nap, apart_ms, current_scope, has_slept, wait_of
from chaosharness.handlers.recall import of_stack
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.rest import Loop
from chaosharness.kernel.scope import SCOPE, Scope
from chaosharness.kernel.world import BACKGROUND

_Lock: Final[Any] = type(_thread.allocate_lock())
_RLock: Final[Any] = _thread.RLock
_SimpleQueue: Final[Any] = _queue.SimpleQueue

_OUTSIDE: Final = object()
"""Who holds a lock that was locked before the run, and not by code of the run."""

_SIGNALS: Final = ("wait", "get", "put")
"""Waiting in these is no wait for somebody who holds something, but for news."""


class State:
    """What a lock is like in one incarnation.

    Attributes:
        owner: Who holds it: `None`, a scope (plain code), a thread that code has started, an
            incarnation (its event loop).
        by: The scope that took it, to be named.
        depth: How often its owner has taken it.
        waiters: Who waits, longest first.
    """

    __slots__ = ("by", "depth", "owner", "waiters")

    def __init__(self) -> None:
        self.owner: Any = None
        self.by: Scope | None = None
        self.depth = 0
        self.waiters: deque[Waiter] = deque()


class Waiter:
    """Somebody who waits for a lock: a scope, and how it is resumed."""

    __slots__ = ("resume", "scope")

    def __init__(self, scope: Scope, resume: Resume) -> None:
        self.scope = scope
        self.resume = resume


def _owner(scope: Scope) -> Any:
    """Return who holds what this scope takes: the handlers of an event loop are one thread."""
    if scope.colour.is_async:
        return scope.incarnation
    return scope if scope.thread is None else scope.thread


def _state(scope: Scope, lock: Any) -> State:
    """Return what a lock is like for a scope."""
    states = scope.incarnation.locks
    return states.get(lock) or _first_seen(states, lock)


def _first_seen(states: dict[Any, State], lock: Any) -> State:
    """Return what a lock is like that this incarnation has not touched, or has free again."""
    state = states[lock] = State()
    if _really_locked(lock):
        state.owner = _OUTSIDE
    return state


def _really_locked(lock: Any) -> bool:
    """Say whether a lock was locked before the run, by somebody else than this thread."""
    if type(lock) is _Lock:
        return bool(_LOCKED(lock))
    if not _RLOCK_ACQUIRE(lock, False):
        return True
    _RLOCK_RELEASE(lock)
    return False


def take(scope: Scope, lock: Any, blocking: bool, timeout: float, again: bool) -> bool:
    """Take a lock for a scope, or wait for it; say whether it was taken.

    Args:
        scope: Whose code asks.
        lock: What it asks for.
        blocking: Whether to wait.
        timeout: For how long at most, in seconds; -1 for ever.
        again: Whether its owner may take it again (`RLock`).
    """
    if timeout != -1:
        if not blocking:
            raise ValueError("can't specify a timeout for a non-blocking call")
        if timeout < 0:
            raise ValueError("timeout value must be a non-negative number")
    states = scope.incarnation.locks
    state = states.get(lock) or _first_seen(states, lock)
    owner = _owner(scope)
    if state.owner is None:
        state.owner = owner
        state.by = scope
        state.depth = 1
        return True
    if again and state.owner is owner:
        state.depth += 1
        return True
    if not blocking or timeout == 0:
        return False
    return wait(state, None if timeout == -1 else timeout)


def give_back(scope: Scope, lock: Any, again: bool) -> None:
    """Give a lock back: whoever has waited longest has it from now on.

    Raises:
        RuntimeError: It is not locked; or, of an `RLock`, not by this code.
    """
    states = scope.incarnation.locks
    state = states.get(lock) or _first_seen(states, lock)
    if again and state.owner is not _owner(scope):
        raise RuntimeError("cannot release un-acquired lock")
    if state.owner is None:
        del states[lock]
        raise RuntimeError("release unlocked lock")
    state.depth -= 1
    if state.depth > 0:
        return
    if state.waiters or state.owner is _OUTSIDE:
        _let_go(scope, lock, state)
    else:
        del states[lock]


def _let_go(scope: Scope, lock: Any, state: State) -> None:
    """Hand a lock on; one that was locked before the run is free in this incarnation."""
    if state.waiters:
        waiter = state.waiters.popleft()
        state.owner = _owner(waiter.scope)
        state.by = waiter.scope
        state.depth = 1
        scope.world.go_on(waiter.resume, True)
    elif state.owner is _OUTSIDE:  # from now on it is free in this incarnation
        state.owner = state.by = None
    else:
        del scope.incarnation.locks[lock]


def wait(state: State, timeout_s: float | None) -> bool:
    """Wait in virtual time, at most so long, for what a state says; say whether it came.

    Raises:
        Abandoned: The incarnation has died.
    """
    scope = current_scope("a lock")
    frame = user_frame(sys._getframe(1))
    world = scope.world
    # Who waits for news (a queue, an event) is at rest; who waits for a holder is not.
    flying = world.in_flight.get(scope)
    if timeout_s is None:
        if not _for_news(sys._getframe(2)):
            holder = "" if state.by is None else f" that {state.by.place} holds"
            words = f"{flying or scope.place} (at {where(frame)}, for a lock{holder})"
            world.in_flight[scope] = words
        elif flying is not None:
            world.in_flight[scope] = f"{flying} (at {where(frame)})"
    elif flying is None and not has_slept(scope) and _for_news(sys._getframe(2)):
        timeout_s += apart_ms(scope.incarnation) / 1000  # a loop that looks whether it has to stop
    nap = _nap(scope, timeout_s, frame, flying is not None)
    got = scope.colour.block(_wait(scope, state, timeout_s, nap), scope)
    if got:
        # it goes on, and may touch what others look at
        scope.incarnation.shifted = scope.world.stirred
    if flying is not None:
        world.in_flight[scope] = flying
    else:
        world.in_flight.pop(scope, None)
    return bool(got)


def _nap(scope: Scope, timeout_s: float | None, frame: FrameType | None, flying: bool) -> Nap:
    """Return what a wait that ends by itself is told to wait for."""
    if timeout_s is None:
        if frame is not None:
            _see_whether_it_stands_as_before(scope, frame)
        return BACKGROUND
    delay_ms = ceil(timeout_s * 1000)
    if frame is None and scope.thread is not None and not flying:  # a timer
        return wait_of(scope, delay_ms, type(scope.thread).look, scope.thread)
    return wait_of(scope, delay_ms, of_stack, None if flying else frame)


def _see_whether_it_stands_as_before(scope: Scope, frame: FrameType) -> None:
    """Have no round be skipped in which a thread that was woken went on to something else.

    Who hands the same to a queue again and again is at rest; who takes it may count it.
    """
    if scope.loop is None:
        scope.loop = Loop()
    world, before = scope.world, scope.loop.stood
    if before is None or before[0] != world.effects:
        found, sure = None, False  # there is nothing to skip yet: it need not be looked at
    else:
        found, sure = of_stack(frame)
    stands = (world.effects, found, scope.clock)
    if not sure or before != stands:
        scope.loop.stood = stands
        if world.is_resting():
            world.stir()
        else:
            world.unlike += 1


def _wait(scope: Scope, state: State, timeout_s: float | None, nap: Nap) -> Script[bool]:
    world = scope.world

    def keep(resume: Resume) -> None:
        waiter = Waiter(scope, resume)
        state.waiters.append(waiter)
        if timeout_s is not None:
            due_ms = world.now + max(ceil(timeout_s * 1000 - 0.01), 1)
            world.agenda.add(due_ms, give_up, waiter, nap)

    def give_up(waiter: Waiter) -> None:
        if waiter in state.waiters:
            state.waiters.remove(waiter)
            nap.woke()
            waiter.resume(False)

    return bool((yield keep))


def _for_news(frame: FrameType | None) -> bool:
    """Say whether code waits for news, and not for somebody who holds what it wants."""
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        frame = frame.f_back
    if frame is None or frame.f_globals.get("__name__") not in ("threading", "_queue"):
        return False
    if frame.f_code.co_name != "wait":  # of Condition, on which all the others stand
        return False
    above = frame.f_back
    bounded = above is not None and type(above.f_locals.get("self")) is threading.BoundedSemaphore
    return not bounded


# ---- what stands in the types


_LOCKED: Final[Callable[..., Any]] = _Lock.locked
_RLOCK_ACQUIRE: Final[Callable[..., Any]] = _RLock.acquire
_RLOCK_RELEASE: Final[Callable[..., Any]] = _RLock.release


def _for_lock(kind: Any, again: bool) -> dict[str, Any]:
    """Return methods that stand for those of a lock type; outside of runs they are the real ones.

    What they need is bound when they are made: they may run when the interpreter shuts down.
    """
    get, real_acquire, real_release = SCOPE.get, kind.acquire, kind.release
    take_it, give_it_back = take, give_back

    def acquire(self: Any, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the lock."""
        scope = get()
        if scope is None:
            return real_acquire(self, blocking, timeout)  # type: ignore[no-any-return]
        return take_it(scope, self, blocking, timeout, again)

    def release(self: Any) -> None:
        """Give the lock back."""
        scope = get()
        if scope is None:
            return real_release(self)  # type: ignore[no-any-return]
        return give_it_back(scope, self, again)

    def __enter__(self: Any) -> bool:
        scope = get()
        if scope is None:
            return real_acquire(self)  # type: ignore[no-any-return]
        return take_it(scope, self, True, -1, again)

    def __exit__(self: Any, *error: object) -> None:
        scope = get()
        if scope is None:
            real_release(self)
        else:
            give_it_back(scope, self, again)

    return {
        "acquire": acquire,
        "release": release,
        "__enter__": __enter__,
        "__exit__": __exit__,
    }


def _locked(self: Any) -> bool:
    """Say whether the lock is taken."""
    scope = SCOPE.get()
    if scope is None:
        return _LOCKED(self)  # type: ignore[no-any-return]
    state = scope.incarnation.locks.get(self)
    return bool(_LOCKED(self) if state is None else state.owner is not None)


def _for_condition(kind: Any) -> dict[str, Any]:
    """Return what `Condition` asks of an `RLock`: to be given back and taken at any depth."""
    get = SCOPE.get
    is_owned, release_save, acquire_restore = (
        kind._is_owned,
        kind._release_save,
        kind._acquire_restore,
    )

    def _is_owned(self: Any) -> bool:
        scope = get()
        if scope is None:
            return is_owned(self)  # type: ignore[no-any-return]
        state = scope.incarnation.locks.get(self)
        return state is not None and state.owner is _owner(scope)

    def _release_save(self: Any) -> Any:
        scope = get()
        if scope is None:
            return release_save(self)
        state = _state(scope, self)
        if state.owner is not _owner(scope):
            raise RuntimeError("cannot release un-acquired lock")
        depth = state.depth
        _let_go(scope, self, state)
        return depth

    def _acquire_restore(self: Any, saved: Any) -> None:
        scope = get()
        if scope is None:
            acquire_restore(self, saved)
            return
        take(scope, self, True, -1, False)
        _state(scope, self).depth = saved

    return {
        "_is_owned": _is_owned,
        "_release_save": _release_save,
        "_acquire_restore": _acquire_restore,
    }


def _for_queue(kind: Any) -> dict[str, Any]:
    real_get, real_put = kind.get, kind.put

    def get(self: Any, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return an item."""
        scope = SCOPE.get()
        if scope is None:
            return real_get(self, block, timeout)
        if block and timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        while block and self.empty():
            state = _state_of_queue(scope, self)
            if not _wait_for_item(state, timeout) and timeout is not None:
                break
        return real_get(self, False)

    def put(self: Any, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item on the queue."""
        real_put(self, item)
        scope = SCOPE.get()
        if scope is not None:
            state = scope.incarnation.locks.get(self)
            if state is not None and state.waiters:
                scope.world.go_on(state.waiters.popleft().resume, True)

    def get_nowait(self: Any) -> Any:
        """Remove and return an item, or raise `Empty`."""
        return real_get(self, False)

    def put_nowait(self: Any, item: Any) -> None:
        """Put an item on the queue."""
        put(self, item)

    return {"get": get, "put": put, "get_nowait": get_nowait, "put_nowait": put_nowait}


def _state_of_queue(scope: Scope, queue: Any) -> State:
    states = scope.incarnation.locks
    state: State | None = states.get(queue)
    if state is None:
        state = states[queue] = State()
    return state


def _wait_for_item(state: State, timeout_s: float | None) -> bool:
    scope = current_scope("a queue")
    in_flight = scope.world.in_flight
    frame = user_frame(sys._getframe(1))
    flying = in_flight.get(scope)
    if flying is not None and timeout_s is None:
        in_flight[scope] = f"{flying} (at {where(frame)})"
    nap = _nap(scope, timeout_s, frame, flying is not None)
    got = scope.colour.block(_wait(scope, state, timeout_s, nap), scope)
    if got:
        # it goes on, and may touch what others look at
        scope.incarnation.shifted = scope.world.stirred
    if flying is not None:
        in_flight[scope] = flying
    return bool(got)


# ---- putting it there


def install() -> None:
    """Exchange the methods of the lock types, once and for good."""
    by_names = {**_for_lock(_Lock, False), "locked": _locked}
    _exchange(
        _Lock,
        {
            **by_names,
            "acquire_lock": by_names["acquire"],
            "release_lock": by_names["release"],
            "locked_lock": _locked,
        },
    )
    _exchange(_RLock, {**_for_lock(_RLock, True), **_for_condition(_RLock)})
    _exchange(_SimpleQueue, _for_queue(_SimpleQueue))
    with thawed():
        for found in gc.get_objects():
            if issubclass(type(found), threading.Condition):  # a lazy object would be asked
                _bind_again(found)


def _exchange(kind: type, methods: dict[str, Any]) -> None:
    """Put methods into a type of C, which refuses to have its attributes set."""
    names = gc.get_referents(kind.__dict__)[0]
    for name, method in methods.items():
        if name in names:
            method.__name__ = name
            method.__qualname__ = f"{kind.__qualname__}.{name}"
            names[name] = method
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind))


def _bind_again(condition: threading.Condition) -> None:
    """Have a condition that was made before use what its lock has now."""
    lock: Any = condition._lock  # type: ignore[attr-defined]
    for name in ("acquire", "release", "_release_save", "_acquire_restore", "_is_owned"):
        if type(condition.__dict__.get(name)) is BuiltinMethodType:
            setattr(condition, name, getattr(lock, name))


# ---- one thread at a time


_process = _thread.RLock()
"""Held by the thread that is inside a run."""


def enter_process() -> bool:
    """Begin a run in this thread, unless another thread is inside one; runs may be nested."""
    return bool(_RLOCK_ACQUIRE(_process, False))


def leave_process() -> None:
    """End a run in this thread."""
    _RLOCK_RELEASE(_process)


def _after_fork() -> None:
    """A forked child has none of its parent's threads, and no run under way."""
    global _process  # noqa: PLW0603
    _process = _thread.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
