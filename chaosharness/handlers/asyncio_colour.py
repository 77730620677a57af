"""`async def` under asyncio: how the kernel starts it, and how its ports wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from greenlet import GreenletExit

from chaosharness.handlers.asyncio_loop import VirtualLoop
from chaosharness.handlers.carrier import Done, Read, park
from chaosharness.handlers.foreign import explain
from chaosharness.handlers.later import LaterScript, Steps
from chaosharness.handlers.script import Script, T
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope


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
        return park(script, scope, self.loop)

    def running_loop(self) -> VirtualLoop | None:
        """Return the event loop, if it runs now."""
        return self.loop if self.loop.running else None

    def waiting(self) -> Iterator[tuple[Any, Any]]:
        """Yield the contexts and coroutines of the tasks that have not ended, oldest first."""
        for task in self.loop.tasks:
            if not task.done():
                yield getattr(task, "ran_in", None), task.get_coro()

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
            self.future.set_result(value)  # which has the loop ask the agenda for a run

    def now(self, value: Any) -> None:
        """The same, called by the agenda: the loop can run at once."""
        loop = self.loop
        if self.future.done() or loop.dead:
            return
        if loop.asked:
            self.future.set_result(value)
        else:
            loop.asked = True
            self.future.set_result(value)
            loop.pump()
