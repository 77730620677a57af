"""`async def` that awaits nothing but harness ports: stepped directly, without an event loop."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

from greenlet import GreenletExit

from chaosharness.handlers.carrier import Done, Read, aside, park, set_clock
from chaosharness.handlers.foreign import explain, explain_stop
from chaosharness.handlers.later import LaterScript, Steps
from chaosharness.handlers.script import Script, T, Wait
from chaosharness.kernel.scope import SCOPE, Scope


class Stop:
    """What a port yields to whoever steps the coroutine: it has to wait."""

    __slots__ = ("wait",)

    def __init__(self, wait: Wait) -> None:
        self.wait = wait


class Ports:
    """`async def` on harness ports only. Each handler run is stepped by itself.

    A blocking port (a sqlite3 call) stops this one coroutine and nobody else.
    """

    name = "ports"
    is_async = True
    checkpoint = None
    block = staticmethod(park)

    @staticmethod
    def running_loop() -> None:
        """Return None: there is no event loop."""

    @staticmethod
    def drive(script: Script[T], scope: Scope) -> LaterScript:
        """Return what awaits the end of a script."""
        return LaterScript(script, scope)

    @staticmethod
    def steps(script: Script[Any], scope: Scope) -> Steps:
        """Run a script, stopping the coroutine at each of its waits."""
        value: Any = None
        while True:
            try:
                wait = script.send(value)
            except StopIteration as stop:
                return stop.value
            value = yield Stop(wait)

    @staticmethod
    def start(
        scope: Scope, function: Callable[..., Any], read: Read | None, message: Any, done: Done
    ) -> None:
        """Begin to run `await function(*read(message))`; `done` is told how it ended."""
        Walk(scope, done).start(function, read, message)


PORTS: Final = Ports()


class Walk:
    """One coroutine on its way from port to port."""

    __slots__ = ("context", "coroutine", "done", "scope")

    def __init__(self, scope: Scope, done: Done) -> None:
        self.scope = scope
        self.done = done
        self.coroutine: Any = None
        self.context: Context = scope.world.context.copy()
        self.context.run(SCOPE.set, scope)

    def start(self, function: Callable[..., Any], read: Read | None, message: Any) -> None:
        """Make the coroutine, and take it to its first stop."""
        if self.scope.world.on_turn is not None:
            self.scope.world.on_turn(self.scope.incarnation)
        try:
            arguments = () if read is None else read(message)
            self.coroutine = self.context.run(_begin, function, arguments)
        except GreenletExit:
            return
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._end(None, error)
        else:
            self.step(None)

    def step(self, value: Any) -> None:
        """Take the coroutine to its next stop, or its end."""
        skew_ms = self.scope.incarnation.skew_ms
        if skew_ms:
            set_clock(self.scope.world, skew_ms)
        if self.scope.world.on_turn is not None:
            self.scope.world.on_turn(self.scope.incarnation)
        try:
            stop = self.context.run(self.coroutine.send, value)
        except StopIteration as end:
            self._end(end.value, None)
        except GreenletExit:
            return
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._end(None, error)
        else:
            self._stopped(stop)

    def _stopped(self, stop: Any) -> None:
        scope = self.scope
        if scope.incarnation.skew_ms:
            set_clock(scope.world)
        if type(stop) is not Stop:
            scope.world.refuse(explain_stop(scope, stop))
        scope.incarnation.kept.append(self)
        wait = getattr(stop, "wait", None)
        if isinstance(wait, int):
            scope.world.after(wait, self.go_on)
        elif wait is not None:
            wait(Go(self))

    def go_on(self, value: Any) -> None:
        """Take the coroutine on from a stop, unless it is dead by now."""
        scope = self.scope
        if scope.incarnation.alive and scope.world.ending is None:
            scope.incarnation.kept.remove(self)
            scope.steps = 0
            self.step(value)

    def _end(self, result: Any, error: BaseException | None) -> None:
        scope = self.scope
        if scope.incarnation.skew_ms:
            set_clock(scope.world)
        if not scope.incarnation.alive or scope.world.ending is not None:
            return
        misplaced = None if error is None else explain(scope, error)
        if misplaced is not None:
            scope.world.refuse(misplaced)
        self.done(scope, result, error)

    def dispose(self) -> None:
        """End the coroutine at the end of a run. Its ports refuse; its result is nobody's."""
        close(self.coroutine, self.context)


async def _begin(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    result = function(*arguments)
    return (await result) if hasattr(result, "__await__") else result


class Go:
    """Takes a coroutine on from one stop, once: a `Resume`.

    By way of the agenda: whoever calls it may be user code, and if the coroutine blocked
    on top of that on the stack, both would be blocked.
    """

    __slots__ = ("walk",)

    def __init__(self, walk: Walk) -> None:
        self.walk: Walk | None = walk

    def __call__(self, value: Any) -> None:
        walk, self.walk = self.walk, None
        if walk is not None:
            walk.scope.world.after(0, walk.go_on, value)


_LEAKED: Final[list[Any]] = []
"""Coroutines that refuse to end. Kept for good: freeing one would ask it to end once more."""

CLOSE_MAX: Final = 100


def close(coroutine: Any, context: Context) -> None:
    """Close a coroutine whose clean-up may try to wait, or to survive, and what it awaits.

    The outer one may be at its end while an inner one is not: that one would be freed alive.
    """
    inner, one = [], getattr(coroutine, "cr_await", None)
    while one is not None:
        inner.append(one)
        one = getattr(one, "cr_await", None)
    aside(_close, coroutine, context)
    for one in inner:
        if getattr(one, "cr_frame", None) is not None:
            aside(_close, one, context)


def close_awaited(generator: Any) -> None:
    """Close what an async generator awaits at the end of a run: whoever asked it is no more.

    Until Python 3.13 closing `agen.__anext__()` leaves the generator as it is. What it awaits would
    be closed when the interpreter ends, which asyncio's objects do not survive.
    """
    awaited = getattr(generator, "ag_await", None)
    if getattr(awaited, "cr_frame", None) is not None:
        close(awaited, Context())


def _close(coroutine: Any, context: Context) -> None:
    for _ in range(CLOSE_MAX):
        try:
            context.run(coroutine.close)
        except RuntimeError as error:  # it awaited something, or is running just now
            if "ignored GeneratorExit" not in str(error):
                return
        except BaseException:  # whatever the clean-up of abandoned code raises
            return
        else:
            return
    _LEAKED.append(coroutine)
