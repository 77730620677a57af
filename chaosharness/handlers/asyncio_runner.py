"""`asyncio.run` in plain code of a run: a loop of its own on virtual time, while the caller waits.

A loop that polls, and calls `asyncio.run(charge(order))` for each message; a thread with a server
of its own; `env.main` given `main`, which is `asyncio.run(amain())`. The loop is one as asyncio
code of the run has it, as long as the `Runner` lives: what is left is cancelled at its end.

Source:
    CPython 3.11 to 3.13, `Lib/asyncio/runners.py`.

Not modelled:
    `loop_factory`, `debug`, a context given to `Runner.run`, Ctrl+C. `loop.run_until_complete` runs
    coroutines so too, and `loop.run_forever` waits until `loop.stop`; a task that
    `loop.create_task` makes before begins at once. Futures that were made for a real loop are
    refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any
from weakref import WeakKeyDictionary

from chaosharness.handlers.asyncio_colour import Asyncio
from chaosharness.handlers.script import Resume, Script
from chaosharness.kernel.scope import Scope

_NAME = "asyncio"

_OURS: WeakKeyDictionary[Any, Inner] = WeakKeyDictionary()
"""Of each runner, and of each real loop that was to run."""


class Inner:
    """The loop of one `Runner`, in the process that made it."""

    def __init__(self, scope: Scope) -> None:
        self.incarnation = scope.incarnation
        self._stop: asyncio.Event | None = None
        self._stops = False
        self._colour = Asyncio(scope.incarnation)
        guests = scope.incarnation.guests
        self._key = _NAME if _NAME not in guests else f"{_NAME} {len(guests)}"
        while self._key in guests:
            self._key += "'"
        guests[self._key] = self._colour

    def run(self, scope: Scope, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine, and wait for its end."""
        own = Scope(
            scope.world,
            scope.incarnation,
            scope.place,
            scope.entity,
            scope.cause,
            self._colour,
            scope.hops,
            scope.message,
        )
        ended: list[tuple[Any, BaseException | None]] = []

        def begin(resume: Resume) -> None:
            def done(_: Scope, result: Any, error: BaseException | None) -> None:
                ended.append((result, error))
                resume(None)

            self._colour.start(own, lambda: coroutine, None, None, done)

        def script() -> Script[None]:
            yield begin

        scope.colour.block(script(), scope)
        scope.cause = max(scope.cause, own.cause)
        [(result, error)] = ended
        if error is not None:
            raise error
        return result

    def run_forever(self, scope: Scope) -> None:
        """Wait until somebody stops the loop: its tasks go on meanwhile."""
        self.run(scope, self._until_stopped())

    async def _until_stopped(self) -> None:
        self._stop = asyncio.Event()
        if not self._stops:
            await self._stop.wait()
        self._stop, self._stops = None, False

    def stop(self) -> None:
        """End `run_forever`; where it has not begun, as soon as it does."""
        self._stops = True
        if self._stop is not None:
            self._stop.set()

    def begin(self, scope: Scope, coroutine: Coroutine[Any, Any, Any], name: Any) -> Any:
        """Begin a task, and wait for nothing; return it."""

        async def task() -> asyncio.Task[Any]:
            return asyncio.create_task(coroutine, name=name)

        return self.run(scope, task())

    def close(self, scope: Scope) -> None:
        """Cancel what is left, and let the loop go."""
        loop = self._colour.loop
        left = [task for task in loop.tasks if not task.done()]
        if left and not loop.dead:
            self.run(scope, _cancelled(left))
        self.incarnation.guests.pop(self._key, None)
        self._colour.dispose()
        if not loop.dead:
            loop.let_go()


async def _cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def enter(owner: Any, scope: Scope) -> Inner:
    """Return the loop that stands for one in this process, a new one where there is none yet.

    Args:
        owner: The `Runner`, or the real loop.
        scope: On whose behalf it runs.
    """
    inner = _OURS.get(owner)
    if inner is None or inner.incarnation is not scope.incarnation:
        inner = _OURS[owner] = Inner(scope)
    return inner


def close(owner: Any, scope: Scope) -> None:
    """Stand for the `close` of a runner, or a loop."""
    inner = _OURS.get(owner)
    if inner is not None and inner.incarnation is scope.incarnation:
        del _OURS[owner]
        inner.close(scope)


def stop(owner: Any, scope: Scope) -> None:
    """Stand for the `stop` of a loop."""
    inner = _OURS.get(owner)
    if inner is not None and inner.incarnation is scope.incarnation:
        inner.stop()
