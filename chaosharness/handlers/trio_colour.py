"""`async def` under trio: how the kernel starts it, and how its ports wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import copy_context
from functools import partial
from typing import Any, Final

import trio

from chaosharness.handlers.carrier import Done, Read, park
from chaosharness.handlers.foreign import explain
from chaosharness.handlers.guest import beside
from chaosharness.handlers.later import LaterScript, Steps
from chaosharness.handlers.script import Script, T
from chaosharness.handlers.trio_guest import TrioGuest, Wake, take_guest
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope


class Trio:
    """`async def` under trio: the guest of one incarnation, as a colour."""

    name = "trio"
    is_async = True

    def __init__(self, incarnation: Incarnation) -> None:
        self.incarnation = incarnation
        self.guest: TrioGuest | None = None

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
        return park(script, scope, self.guest)

    def running_loop(self) -> TrioGuest | None:
        """Return the run of trio, if it runs now."""
        return self.guest if self.guest is not None and self.guest.running else None

    def waiting(self) -> Iterator[tuple[Any, Any]]:
        """Yield the contexts and coroutines of the tasks that have not ended, oldest first."""
        if self.guest is not None:
            for task in sorted(self.guest.tasks(), key=_number):
                yield task.context, task.coro

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
        task = (_handle, guest, scope, function, read, message, done)
        guest.inbox.append((context.run, (guest.spawn, scope.place, task)))
        guest.ask()

    def dispose(self) -> None:
        """End what is left at the end of a run. Its ports refuse."""
        if self.guest is not None:
            self.guest.retire()
            self.guest = None


async def _handle(
    guest: TrioGuest,
    scope: Scope,
    function: Callable[..., Any],
    read: Read | None,
    message: Any,
    done: Done,
) -> None:
    result: Any = None
    error: BaseException | None = None
    try:
        result = function() if read is None else function(*read(message))
        if hasattr(result, "__await__"):
            result = await result
    except BaseException as raised:  # nothing may leave the task: its nursery would break down
        if guest.dead:
            return
        if _interrupted(raised):
            guest.fatal = raised
            return
        misplaced = explain(scope, raised)
        if misplaced is not None:
            scope.world.refuse(misplaced)
        error = raised
    if not guest.dead:
        guest.ended.append((done, scope, result, error))


def _interrupted(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)


_IN_THREAD: Final = trio.to_thread.run_sync


async def run_beside(sync_fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Stand for `trio.to_thread.run_sync`: in a handler, no thread starts.

    The function runs as plain code on virtual time, and stops at ports.
    """
    guest = getattr(trio.lowlevel.current_clock(), "guest", None)
    scope = SCOPE.get()
    if not isinstance(guest, TrioGuest) or scope is None:
        return await _IN_THREAD(sync_fn, *args, **options)
    await trio.lowlevel.checkpoint_if_cancelled()
    limiter = options.get("limiter") or trio.to_thread.current_default_thread_limiter()
    borrower = object()
    await limiter.acquire_on_behalf_of(borrower)
    try:
        wake = Wake(guest)
        context = copy_context()
        beside(scope, partial(context.run, sync_fn, *args), lambda _, *how: wake(how))
        abandon = options.get("abandon_on_cancel") or options.get("cancellable")
        result, error = await wake.wait(cancellable=bool(abandon))
    finally:
        limiter.release_on_behalf_of(borrower)
    if error is not None:
        raise error
    return result


trio.to_thread.run_sync = run_beside  # type: ignore[assignment]


def _number(task: Any) -> int:
    return int(task._counter)
