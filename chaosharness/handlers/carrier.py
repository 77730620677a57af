"""Carriers: pooled greenlets in which user code runs, so that it can stop anywhere.

A plain function cannot be stopped at a port and resumed later; a greenlet can. A new
greenlet costs 12 µs and a switch 0.3 µs, hence the pool. Event loops run inside
carriers too: a coroutine that calls a blocking port blocks its whole loop, as it would
in production, and nobody else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from greenlet import GreenletExit, getcurrent, greenlet

from chaosharness.errors import InternalError
from chaosharness.handlers.script import Script, T, arm
from chaosharness.kernel.scope import SCOPE, Scope

Read = Callable[[Any], tuple[Any, ...]]
"""Turns a message into the arguments of its handler."""


class Carrier(greenlet):
    """A greenlet that runs one job after another; between jobs it waits in the pool."""

    pool: CarrierPool

    def run(self, job: Callable[..., None], *arguments: Any) -> None:
        while True:
            job(*arguments)
            if self.pool is None:
                return
            self.pool.idle.append(self)
            job, arguments = self.pool.hub.switch()


class CarrierPool:
    """The carriers of one hub: the greenlet in which the kernel's loop runs."""

    __slots__ = ("hub", "idle")

    def __init__(self, hub: greenlet) -> None:
        self.hub = hub
        self.idle: list[Carrier] = []

    def start(self, job: Callable[..., None], *arguments: Any) -> None:
        """Run `job(*arguments)` in a carrier until it ends or parks. Called by the hub."""
        idle = self.idle
        if idle:
            idle.pop().switch((job, arguments))
        else:
            carrier = Carrier(parent=self.hub)
            carrier.pool = self
            carrier.switch(job, *arguments)


class _Pools(threading.local):
    pool: CarrierPool | None = None


_POOLS: Final = _Pools()


def current_pool() -> CarrierPool:
    """Return the pool of the running greenlet, which becomes the hub."""
    pool = _POOLS.pool
    if pool is None or pool.hub is not getcurrent():
        pool = _POOLS.pool = CarrierPool(getcurrent())
    return pool


class Parked:
    """A carrier that waits, and the scope it waits for. Calling it resumes the carrier."""

    __slots__ = ("carrier", "done", "scope")

    def __init__(self, carrier: greenlet, scope: Scope) -> None:
        self.carrier = carrier
        self.scope = scope
        self.done = False

    def __call__(self, value: Any) -> None:
        if self.done:
            return
        self.done = True
        if self.scope.incarnation.alive and self.scope.world.ending is None:
            self.carrier.switch(value)


def park(script: Script[T], scope: Scope) -> T:
    """Run a script in the current carrier, stopping at each of its waits."""
    carrier = getcurrent()
    hub = carrier.parent
    if hub is None:
        raise InternalError(f"{scope.place} reached a port outside its carrier")
    value: Any = None
    while True:
        try:
            wait = script.send(value)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        scope.incarnation.kept.append(carrier)
        arm(wait, Parked(carrier, scope), scope.world)
        value = hub.switch()
        scope.incarnation.kept.remove(carrier)


def dispose(carrier: greenlet) -> None:
    """End a parked carrier at the end of a run. Its ports refuse; its result is nobody's."""
    if carrier.dead:
        return
    try:
        carrier.throw(GreenletExit)
    except BaseException:  # whatever the clean-up of abandoned code raises is of no interest
        return


Done = Callable[[Scope, Any, BaseException | None], None]
"""Told how code ended: its scope, its result, its error."""


class Plain:
    """Plain `def`: runs in a carrier and stops at ports."""

    name = "plain"
    is_async = False

    @staticmethod
    def drive(script: Script[T], scope: Scope) -> T:
        """Wait in the caller's greenlet."""
        return park(script, scope)

    block = drive

    @staticmethod
    def start(
        scope: Scope, function: Callable[..., Any], read: Read | None, message: Any, done: Done
    ) -> None:
        """Begin to run `function(*read(message))`; `done` is told how it ended."""
        current_pool().start(_run_plain, scope, function, read, message, done)


PLAIN: Final = Plain()


def _run_plain(
    scope: Scope, function: Callable[..., Any], read: Read | None, message: Any, done: Done
) -> None:
    SCOPE.set(scope)
    try:
        result = function() if read is None else function(*read(message))
    except GreenletExit:
        return
    except BaseException as error:
        if scope.incarnation.alive and scope.world.ending is None:
            done(scope, None, error)
        return
    if scope.incarnation.alive and scope.world.ending is None:
        done(scope, result, None)
