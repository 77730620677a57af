"""What the event loops of user code have in common: the kernel lets them run, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, Final

from chaosharness.handlers.carrier import Done, set_clock
from chaosharness.handlers.threads import SERVED
from chaosharness.kernel.scope import SCOPE, Incarnation, Scope
from chaosharness.kernel.world import World

BUSY_MAX: Final = 20_000
"""Milliseconds of virtual time that a loop may stay busy without ever being idle."""

ROUNDING_MS: Final = 0.01
"""Less than this is a rounding error of seconds since 1970."""

AGES_S: Final = 1e12
"""Longer than anything: deadlines beyond are as good as none."""


class Guest:
    """The event loop of one incarnation.

    Nobody's code may lie beneath it on the stack when it runs, for a blocking port stops
    everything that does. So it runs when the agenda calls it, and not at once.

    Attributes:
        asked: The agenda will have it run.
        running: It runs now, or is blocked at a port.
        busy_ms: For how long it has not been idle, beyond the present instant.
        ended: Handlers that have ended, to be told when it no longer runs.
    """

    incarnation: Incarnation
    world: World

    def __init__(self) -> None:
        self.asked = False
        self.running = False
        self.busy_ms = 0
        self.ended: list[tuple[Done, Scope, Any, BaseException | None]] = []

    @property
    def dead(self) -> bool:
        """Whether nothing of it may run any more."""
        return not self.incarnation.alive or self.world.ending is not None

    def ask(self) -> None:
        """Have the agenda run it, at the present time."""
        if not self.running and not self.asked and not self.dead:
            self.asked = True
            self.world.go_on(self.pump)

    def pump(self, _: Any = None) -> None:
        """Run what is ready. Called by the agenda only."""
        self.asked = False
        if self.running or self.dead:
            return
        self.running = True
        skew_ms = self.incarnation.skew_ms
        if skew_ms:
            set_clock(self.world, skew_ms)
        if self.world.on_turn is not None:
            self.world.on_turn(self.incarnation)
        self.enter()
        try:
            self.run_ready()
        finally:
            self.leave()
            self.running = False
            if skew_ms:
                set_clock(self.world)
        if self.ended:
            self._tell_ended()

    def enter(self) -> None:
        """Become the event loop of this thread."""
        raise NotImplementedError

    def leave(self) -> None:
        """Be it no longer: somebody else's code runs next."""
        raise NotImplementedError

    def run_ready(self) -> None:
        """Run what is ready, between `enter` and `leave`, until nothing is."""
        raise NotImplementedError

    def stay_busy(self, place: str) -> None:
        """Let time pass although it is never idle: its code may wait by asking again and again."""
        self.busy_ms += 1
        if self.busy_ms > BUSY_MAX:
            self.world.end("spinning", f"{place} keeps its event loop busy without end")
        self.asked = True
        self.world.after(1, self.pump)

    def _tell_ended(self) -> None:
        # Telling may run other code, which may stop with us beneath it: so it comes last.
        ended, self.ended = self.ended, []
        for one in ended[1:]:
            self.world.after(0, self._tell, one)
        self._tell(ended[0])

    @staticmethod
    def _tell(ended: tuple[Done, Scope, Any, BaseException | None]) -> None:
        done, scope, result, error = ended
        if scope.incarnation.alive and scope.world.ending is None:
            done(scope, result, error)


def beside(parent: Scope, function: Callable[[], Any], done: Done) -> None:
    """Run a function for a coroutine, where others start a thread: as plain code that stops
    at ports, on virtual time, and has values of `threading.local` for itself. `done` is told how
    it ended.
    """
    scope = Scope(
        parent.world,
        parent.incarnation,
        parent.place,
        parent.entity,
        parent.cause,
        SERVED,
        parent.hops,
        parent.message,
    )
    inner = function.func if isinstance(function, partial) else None
    context = getattr(inner, "__self__", None)
    if isinstance(context, Context):  # a copy of the caller's context, made for this call
        context.run(SCOPE.set, scope)

    def join(scope: Scope, result: Any, error: BaseException | None) -> None:
        parent.cause = max(parent.cause, scope.cause)
        done(parent, result, error)

    def served() -> Any:
        with SERVED.serving(context if isinstance(context, Context) else None):
            return function()

    world = parent.world
    world.go_on(lambda _: SERVED.start(scope, served, None, None, join))
